"""Which jobs a study has, and what each needs: who plays what, files by name, and the settings that go with them."""

from __future__ import annotations

from pathlib import Path

from ..core import roles
from ..data.metrics import SHUFFLED
from .layout import Layout
from .schema import Study

_STAGES = ("instruct", "rl", "retrained")  # whose attention is measured
_LAYERED = {"attention", "localization", "updates", "spectra"}
REFERENCE = "workflow/claims/reference.yaml"
PARTS = ("grades", "attention", "localization", "updates")  # what claims rest on


class Jobs:
    """The jobs of a study, and where their files lie (`paths`)."""

    def __init__(self, study: Study):
        self.study = study
        self.paths = Layout(study.study)

    @property
    def base(self) -> str | None:
        """The one Base that is probed, of those recipes whose chapters say so."""
        return next((self.study.recipes[name].base for name in self.study.of("localization")), None)

    @property
    def layerwise(self) -> list[str]:
        """Recipes with figures by layer, which are of one depth."""
        return self.study.of("attention", "updates", "localization")

    @property
    def public(self) -> list[str]:
        """Tasks that are made of a public benchmark's files."""
        return [task for task in self.study.datasets_needed() if task in self.study.datasets]

    @property
    def mini(self) -> list[str]:
        """Tasks that the mini study makes."""
        return [task for task in self.study.datasets_needed() if task not in self.study.datasets]

    @property
    def hybrids(self) -> list[str]:
        """Hybrids as file names have them: IN-RL-RL, and the study's own."""
        recipe = next(iter(self.study.recipes))
        return [name.partition(".")[2] for name in self.study.hybrids(recipe).values()]

    def roles(self) -> dict[str, list[tuple[str, str]]]:
        """Every checkpoint that is evaluated -> [(recipe, role)], in the order of the paper's tables."""
        found: dict[str, list[tuple[str, str]]] = {}
        for name in self.study.evaluated():
            recipe = self.study.recipes[name]
            played = {"Base": recipe.base, "IN": recipe.instruct, roles.RETRAINED: recipe.retrained}
            if name in self.study.of("merging"):
                played |= self.study.hybrids(name)
            played["RL"] = recipe.rl
            if name in self.study.of("freezing"):
                played |= {roles.frozen(region): checkpoint for region, checkpoint in recipe.frozen.items()}
            for role, checkpoint in played.items():
                if checkpoint:
                    found.setdefault(checkpoint, []).append((name, role))
        return found

    def trained(self) -> dict[str, str]:
        """Every checkpoint that is trained here and that the chapters need -> how: pretrain, sft or grpo."""
        needed = {name for name in self.roles() if "." not in name}
        for name in self.layerwise:
            recipe = self.study.recipes[name]
            if name in self.study.of("attention", "updates"):
                needed |= {recipe.instruct, recipe.rl}
            if name in self.study.of("attention") and recipe.retrained:
                needed.add(recipe.retrained)
            if name in self.study.of("localization", "updates"):
                needed.add(recipe.base)
        for name in list(needed):
            while start := getattr(self.study.checkpoints[name], "start", None):
                needed.add(start)
                name = start
        kinds = ("pretrain", "sft", "grpo")
        return {name: kind for kind in kinds for name in self.study.sources(kind) if name in needed}

    def manifest(self, checkpoint: str) -> str:
        """The account of a checkpoint."""
        return self.paths.manifest.format(checkpoint=checkpoint)

    def depth(self) -> str | list[str]:
        """The manifest that says how many layers the figures by layer have; none where there are no such figures."""
        if not self.layerwise:
            return []
        others = self.study.of("attention", "updates")
        return self.manifest(self.study.recipes[others[0]].instruct if others else self.base)

    def given_files(self, checkpoint: str) -> list[str]:
        """The files of a checkpoint that is there already; none where the directory is missing, which its job reports."""
        directory = Path(self.study.checkpoints[checkpoint].path)
        return sorted(
            str(path)
            for pattern in ("*.safetensors", "*.json", "*.jinja")
            for path in directory.glob(pattern)
            if path.name != "manifest.json"
        )

    def published_files(self, task: str) -> str:
        """The files of a public task: the user's own, or the account of those that were fetched from the Hub."""
        return self.study.datasets[task].path or self.paths.download.format(task=task)

    def helper_input(self, helper) -> str | list[str]:
        """What a job needs that asks a checkpoint for help (descriptions, judge); an endpoint needs nothing."""
        return self.manifest(helper.checkpoint) if helper and helper.checkpoint else []

    def prompts(self, checkpoint: str) -> list[str]:
        """How the recipes render the prompts that a checkpoint is asked in; nothing for a Base, whose prompt is its own."""
        return [self.paths.prompt.format(recipe=recipe) for recipe in self.study.prompted_by(checkpoint)]

    def lent_template(self, checkpoint: str) -> str | list[str]:
        """What a checkpoint is trained under where its recipe says whose chat template all get; else its start's is its own."""
        for recipe in self.study.prompted_by(checkpoint):
            if self.study.recipes[recipe].chat_template_from:
                return self.paths.prompt.format(recipe=recipe)
        return []

    def start(self, checkpoint: str) -> str:
        """The account of the checkpoint that another one's training starts from."""
        return self.manifest(self.study.checkpoints[checkpoint].start)

    def settings_of(self, checkpoint: str) -> dict:
        """Settings of a checkpoint as plain data, but for what changes nothing (params are compared from run to run)."""
        return self.study.checkpoints[checkpoint].model_dump(exclude={"parameters", "gpus", "save_steps"})

    def cuts(self, checkpoint: str) -> tuple[int, int] | None:
        """The cuts that a checkpoint's training depends on: other cuts are another RL only where a region is frozen."""
        return self.study.regions.cuts if self.study.checkpoints[checkpoint].frozen else None

    def stages(self, recipe: str) -> dict[str, str]:
        """The accounts of Base, IN and RL."""
        found = self.study.recipes[recipe]
        labelled = {"base": found.base, "instruct": found.instruct, "reinforced": found.rl}
        return {label: self.manifest(checkpoint) for label, checkpoint in labelled.items()}

    def donors(self, recipe: str, hybrid: str) -> dict[str, str]:
        """The accounts of a hybrid's donors, by their names in its specification."""
        found = self.study.recipes[recipe]
        labelled = {"IN": found.instruct, "RL": found.rl, "BASE": found.base}
        return {label: self.manifest(labelled[label]) for label in self.study.donors(hybrid)}

    def donor_shards(self, recipe: str, hybrid: str) -> dict[str, str]:
        """With layout link: the donors' shards, to be linked to, as "shards.IN"."""
        if self.study.merging.layout == "copy":
            return {}
        return {
            f"shards.{label}": self.paths.shards.format(checkpoint=Path(path).parent.name)
            for label, path in self.donors(recipe, hybrid).items()
        }

    def asked(self) -> dict[str, str]:
        """What every checkpoint is asked: examples, images and descriptions by task, as "examples.TASK"."""
        study = self.study
        files: dict[str, str] = {}
        for task in study.tasks():
            files[f"examples.{task}"] = self.paths.examples.format(task=task)
            files[f"images.{task}"] = self.paths.images.format(task=task)
        for task in study.described():
            files[f"descriptions.{task}"] = self.paths.descriptions.format(task=task)
        return files

    def files(self, *parts: str) -> dict[str, str | list[str]]:
        """What a figure, table or claim rests on, by name (claims.measurements.read): the files of these parts.

        Parts: grades, scores, attention, localization, updates, spectra, subspaces, training.
        """
        study, paths = self.study, self.paths
        updates = study.of("updates")
        found: dict[str, str | list[str]] = {}
        if "grades" in parts:
            found |= {f"grades.{name}": paths.grades.format(checkpoint=name) for name in self.roles()}
        if "scores" in parts:
            found |= {"scores": paths.table.format(table="scores"), "reference": REFERENCE}
        if "attention" in parts:
            for recipe in study.of("attention"):
                for stage in _STAGES:
                    if checkpoint := getattr(study.recipes[recipe], stage):
                        shards = range(study.probes.shards)
                        found[f"attention.{recipe}.{stage}"] = [
                            paths.attention.format(checkpoint=checkpoint, shard=shard) for shard in shards
                        ]
        if "localization" in parts and self.base:
            found["swaps"] = paths.swaps.format(checkpoint=self.base)
            found["skips"] = paths.skips.format(checkpoint=self.base)
        for part in ("updates", "spectra", "subspaces"):
            if part in parts:
                for recipe in updates:
                    shards = range(study.updates.shards)
                    template = getattr(paths, part)
                    found[f"{part}.{recipe}"] = [template.format(recipe=recipe, shard=shard) for shard in shards]
        if "training" in parts:
            found |= {f"training.{name}": paths.training_log.format(checkpoint=name) for name in self.trained()}
        if _LAYERED & set(parts) and self.layerwise:
            found["regions"] = paths.regions
        return found

    def judged(self) -> dict[str, str]:
        """The judge's verdicts, as "judged.CHECKPOINT"; none without a judge."""
        names = self.roles() if self.study.judge else []
        return {f"judged.{name}": self.paths.judged.format(checkpoint=name) for name in names}

    def settings(self, *parts: str) -> dict:
        """What `measurements.read` must know beside the files of these parts; what others need is no setting of theirs."""
        study = self.study
        found: dict = {"recipes": list(study.recipes), "seed": study.seed}
        if "grades" in parts:
            found |= {"roles": self.roles(), "abilities": study.abilities.model_dump()}
            found |= {"benchmarks": study.evaluation.benchmarks}
        if "scores" in parts:
            found |= {"benchmarks": study.evaluation.benchmarks}
            found |= {"merged": study.of("merging"), "frozen": study.of("freezing")}
        if "doses" in parts:
            found |= {"merged": study.of("merging"), "doses": study.doses()}
        if "training" in parts:
            found |= {"kinds": self.trained()}
        return found

    def shuffled(self) -> list[str]:
        """Tasks that are asked once more, each question about another example's image."""
        return [task for task in self.study.tasks() if SHUFFLED in self.study.conditions(task)]
