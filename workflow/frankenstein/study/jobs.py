"""The jobs of a study and their inputs: roles of checkpoints, files by name, and the settings that go with them."""

from __future__ import annotations

import json
from pathlib import Path

from ..core import roles
from ..core.provenance import code_hash
from ..models import family, hub
from .layout import Layout
from .schema import FromHub, LocalCheckpoint, Pretrained, Study

_LAYERED = {"attention", "localization", "updates", "spectra"}
REFERENCE = "workflow/claims/reference.yaml"
PARTS = ("grades", "attention", "localization", "updates")  # the parts that claims are computed from


def _read(path: Path, key: str) -> str | None:
    """A key of a JSON file; None if there is no such file, key or JSON, which the checkpoint's own job reports."""
    try:
        return json.loads(path.read_text()).get(key)
    except (OSError, ValueError):
        return None


class Jobs:
    """The jobs of a study and the locations of their files (`paths`).

    reference: the paper's numbers; results: the study's folder on disk, where that is not `paths.results` (in a Snakemake module
    with a prefix, which Snakemake puts before the files of rules by itself).
    """

    def __init__(self, study: Study, reference: str = REFERENCE, results: str = ""):
        self.study, self.reference = study, reference
        self.paths = Layout(study.study)
        self.on_disk = Layout(study.study, results)

    @property
    def base(self) -> str | None:
        """The one Base that is probed: that of the recipes with the localization chapter."""
        return next((self.study.recipes[name].base for name in self.study.of("localization")), None)

    @property
    def layerwise(self) -> list[str]:
        """Recipes with layerwise figures; their models must have the same depth."""
        return self.study.of("attention", "updates", "localization")

    @property
    def public(self) -> list[str]:
        """Tasks built from a public benchmark's files."""
        return [task for task in self.study.datasets_needed() if task in self.study.datasets]

    @property
    def mini(self) -> list[str]:
        """Tasks that the mini study generates."""
        return [task for task in self.study.datasets_needed() if task not in self.study.datasets]

    @property
    def hybrids(self) -> list[str]:
        """Hybrid names as used in file names: IN-RL-RL etc., and the study's own."""
        names = [name.partition(".")[2] for run in self.study.recipes for name in self.study.hybrids(run).values()]
        return list(dict.fromkeys(names))

    @property
    def in_memory(self) -> list[str]:
        """Hybrids that answer in one job per run, merged in memory, instead of being written first: those that all runs have."""
        if self.study.merging.keep:
            return []
        of_runs = [set(self.hybrids_of(run)) for run in self.study.of("merging")]
        return [name for name in self.hybrids if all(name in mine for mine in of_runs)]

    def hybrids_of(self, run: str) -> list[str]:
        """Names of a run's hybrids as used in file names."""
        return [name.partition(".")[2] for name in self.study.hybrids(run).values()]

    def of_hybrids(self, path: str) -> list[str]:
        """A file of each hybrid that is merged in memory, with the wildcard recipe for the run."""
        return [path.replace("{checkpoint}", f"{{recipe}}.{hybrid}") for hybrid in self.in_memory]

    def roles(self) -> dict[str, list[tuple[str, str]]]:
        """Evaluated checkpoint -> [(run name, role)], in the order of the paper's tables."""
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
        """Checkpoint that the study trains and its chapters need -> kind of training: pretrain, sft or grpo."""
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
        """Path of a checkpoint's manifest."""
        return self.paths.manifest.format(checkpoint=checkpoint)

    def depth(self) -> str | list[str]:
        """The manifest that gives the number of layers of the layerwise figures; empty if there are none."""
        if not self.layerwise:
            return []
        others = self.study.of("attention", "updates")
        return self.manifest(self.study.recipes[others[0]].instruct if others else self.base)

    def given_files(self, checkpoint: str) -> list[str]:
        """The files of an existing local checkpoint; empty if its directory is missing, which its job reports."""
        directory = Path(self.study.checkpoints[checkpoint].path)
        return sorted(
            str(path)
            for pattern in ("*.safetensors", "*.json", "*.jinja")
            for path in directory.glob(pattern)
            if path.name != "manifest.json"
        )

    def family(self, checkpoint: str) -> str | None:
        """Model family of a checkpoint (`model_type` in config.json); None for one on the Hub before it is fetched."""
        source = self.study.checkpoints[checkpoint]
        if isinstance(source, Pretrained):
            return "qwen2_5_vl"  # mini.model
        if isinstance(source, LocalCheckpoint):
            return _read(Path(source.path) / "config.json", "model_type")
        if isinstance(source, FromHub):
            # The manifest outlives the cache, and the cache outlives a manifest deleted to have it written again.
            recorded = _read(Path(self.on_disk.manifest.format(checkpoint=checkpoint)), "family")
            return recorded or _read(hub.cached(source.hub, source.revision, "config.json"), "model_type")
        return self.family(source.start)

    def family_hash(self, checkpoint: str) -> str | None:
        """Hash of the file of a checkpoint's family in models/families/; None if the family is unknown or unsupported."""
        found = self.family(checkpoint)
        return code_hash(family.FOLDER / f"{found}.py") if found in family.families() else None

    def published_files(self, task: str) -> str:
        """The files of a public task: the user's own, or the record of those fetched from the Hub."""
        return self.study.datasets[task].path or self.paths.download.format(task=task)

    def helper_input(self, helper) -> str | list[str]:
        """Input of a job that queries a helper model (descriptions, judge): the checkpoint's manifest; empty for an endpoint."""
        return self.manifest(helper.checkpoint) if helper and helper.checkpoint else []

    def helper_gpus(self, helper) -> int:
        """GPUs of such a job: those of a job that generates, or none for an endpoint."""
        return self.study.evaluation.gpus if helper and helper.checkpoint else 0

    def prompts(self, checkpoint: str) -> list[str]:
        """Prompt files of the recipes that prompt a checkpoint; empty for a Base, which uses its own prompt."""
        return [self.paths.prompt.format(recipe=recipe) for recipe in self.study.prompted_by(checkpoint)]

    def lent_template(self, checkpoint: str) -> str | list[str]:
        """The prompt file used in training if the recipe sets chat_template_from; otherwise empty: the start's template is kept."""
        for recipe in self.study.prompted_by(checkpoint):
            if self.study.recipes[recipe].chat_template_from:
                return self.paths.prompt.format(recipe=recipe)
        return []

    def start(self, checkpoint: str) -> str:
        """Manifest of the checkpoint that a checkpoint's training starts from."""
        return self.manifest(self.study.checkpoints[checkpoint].start)

    def settings_of(self, checkpoint: str) -> dict:
        """A checkpoint's settings as plain data, without those that do not affect results (Snakemake compares params between runs)."""
        return self.study.checkpoints[checkpoint].model_dump(exclude={"parameters", "gpus", "save_steps"})

    def cuts(self, checkpoint: str) -> tuple[int, int] | None:
        """The region cuts that a checkpoint's training depends on; None unless a region is frozen."""
        return self.study.regions.cuts if self.study.checkpoints[checkpoint].frozen else None

    def stages(self, recipe: str) -> dict[str, str]:
        """Manifests of Base, IN and RL."""
        found = self.study.recipes[recipe]
        labelled = {"base": found.base, "instruct": found.instruct, "reinforced": found.rl}
        return {label: self.manifest(checkpoint) for label, checkpoint in labelled.items()}

    def donors(self, recipe: str, hybrid: str) -> dict[str, str]:
        """Manifests of a hybrid's donors, keyed by their names in its specification."""
        found = self.study.recipes[recipe]
        labelled = {"IN": found.instruct, "RL": found.rl, "BASE": found.base, "SEED": found.retrained}
        return {label: self.manifest(labelled[label]) for label in self.study.donors(hybrid)}

    def donors_in_memory(self, recipe: str) -> dict[str, str]:
        """Manifests of the donors of a run's hybrids that are merged in memory, keyed as "donor.IN"."""
        found = {}
        for hybrid in self.in_memory:
            found |= {f"donor.{label}": path for label, path in self.donors(recipe, hybrid).items()}
        return found

    def donor_shards(self, recipe: str, hybrid: str) -> dict[str, str]:
        """The donors' weight shards to link to, keyed as "shards.IN"; empty with layout copy."""
        if self.study.merging.layout == "copy":
            return {}
        return {
            f"shards.{label}": self.paths.shards.format(checkpoint=Path(path).parent.name)
            for label, path in self.donors(recipe, hybrid).items()
        }

    def responses(self, checkpoint: str) -> list[str]:
        """The files of a checkpoint's responses."""
        shards = range(self.study.evaluation.shards)
        return [self.paths.responses.format(checkpoint=checkpoint, shard=shard) for shard in shards]

    def examples(self, checkpoint: str) -> list[str]:
        """The examples of the tasks that a checkpoint is evaluated on."""
        return [self.paths.examples.format(task=task) for task in self.study.tasks_of(checkpoint)]

    def server(self, checkpoint: str) -> dict | None:
        """The server that answers for a checkpoint, as plain data; None if the engine does."""
        found = self.study.evaluation.servers.get(checkpoint)
        return found.model_dump() if found else None

    def asked(self, checkpoint: str) -> dict[str, str]:
        """Evaluation inputs of a checkpoint: examples, images and descriptions by task, keyed as "examples.TASK"."""
        study = self.study
        files: dict[str, str] = {}
        for task in study.asked(checkpoint):
            files[f"examples.{task}"] = self.paths.examples.format(task=task)
            files[f"images.{task}"] = self.paths.images.format(task=task)
        for task in study.described():
            if "described" in study.asked(checkpoint).get(task, []):
                files[f"descriptions.{task}"] = self.paths.descriptions.format(task=task)
        return files

    def files(self, *parts: str) -> dict[str, str | list[str]]:
        """Inputs of a figure, table or claim: the files of the given parts, named as in claims.measurements.read.

        Parts: grades, scores, attention, localization, updates, spectra, subspaces, training. RECIPE in a name is the name of a
        run (Study.runs).
        """
        study, paths = self.study, self.paths
        updates = study.of("updates")
        found: dict[str, str | list[str]] = {}
        if "grades" in parts:
            found |= {f"grades.{name}": paths.grades.format(checkpoint=name) for name in self.roles()}
        if "scores" in parts:
            found |= {"scores": paths.table.format(table="scores"), "reference": self.reference}
        if "attention" in parts:
            for recipe in study.of("attention"):
                for stage in roles.ATTENDED:
                    if checkpoint := getattr(study.recipes[recipe], stage):
                        shards = range(study.probes.shards)
                        found[f"attention.{recipe}.{stage}"] = [
                            paths.attention.format(checkpoint=checkpoint, shard=shard) for shard in shards
                        ]
                found |= self._attention_on_text(recipe)
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

    def _attention_on_text(self, recipe: str) -> dict[str, list[str]]:
        """Attention of IN over each other attended checkpoint's response, and of that one over IN's."""
        found = {}
        for other in [stage for stage in roles.ATTENDED if stage != "instruct"]:
            if getattr(self.study.recipes[recipe], other):
                for stages in ((other, "instruct"), ("instruct", other)):
                    model, text = (getattr(self.study.recipes[recipe], stage) for stage in stages)
                    found[f"attention_on.{recipe}.{'.'.join(stages)}"] = [
                        self.paths.attention_on_text.format(checkpoint=model, text=text, shard=shard)
                        for shard in range(self.study.probes.shards)
                    ]
        return found

    def attention_maps(self) -> list[str]:
        """The maps beside the attention records."""
        records = [path for name, of in self.files("attention").items() if name.startswith("attention") for path in of]
        return [path.removesuffix(".csv") + ".maps.parquet" for path in records]

    def judged(self) -> dict[str, str]:
        """The judge's verdict files, keyed as "judged.CHECKPOINT"; empty without a judge."""
        names = self.roles() if self.study.judge else []
        return {f"judged.{name}": self.paths.judged.format(checkpoint=name) for name in names}

    def settings(self, *parts: str) -> dict:
        """Settings that `measurements.read` needs besides the files of the given parts, and no settings of other parts."""
        study = self.study
        runs = {
            name: [run.recipe, run.number, study.recipes[name].instruct, study.recipes[name].rl]
            for name, run in study.runs.items()
        }
        found: dict = {"runs": runs, "seed": study.seed}
        if "grades" in parts:
            found |= {"roles": self.roles(), "abilities": study.abilities.model_dump()}
            found |= {"benchmarks": study.evaluation.benchmarks}
        if "scores" in parts:
            found |= {"benchmarks": study.evaluation.benchmarks}
            found |= {"merged": study.of("merging"), "frozen": study.of("freezing")}
        if "doses" in parts:
            found |= {"merged": study.of("merging"), "doses": study.doses()}
        if "rewarded" in parts:
            found |= {"rewarded": self.rewarded()}
        if "training" in parts:
            found |= {"kinds": self.trained()}
        return found

    def rewarded(self) -> dict[str, list[str]]:
        """Run -> evaluated tasks that its RL was rewarded for, where the study trains it on its own tasks."""
        found = {}
        for run in self.study.evaluated():
            questions = getattr(self.study.checkpoints[self.study.recipes[run].rl], "questions", None)
            if tasks := [task for task in self.study.tasks() if task in (questions or {})]:
                found[run] = tasks
        return found
