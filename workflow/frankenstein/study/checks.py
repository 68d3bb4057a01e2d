"""Consistency checks between the keys of a study, beyond the schema's checks of each key."""

from __future__ import annotations

import difflib
from urllib.parse import urlsplit

from ..core import regions
from ..core.errors import InputError
from ..data.benchmarks import BENCHMARKS
from ..merging import hybrid_spec
from ..mini import questions
from .schema import CHAPTERS, Finetuned, Pretrained, Reinforced, Study


def _refuse(key: str, why: str) -> None:
    raise InputError(f"config: {key}: {why}")


def check_references(study: Study) -> None:
    _check_hybrids(study)
    _check_checkpoints(study)
    _check_recipes(study)
    _check_tasks(study)


def _check_hybrids(study: Study) -> None:
    rest = study.merging.rest_from
    for part, donor in (rest if isinstance(rest, dict) else {"": rest}).items():
        key = "merging.rest_from" + (part and f".{part}")
        if part not in ("", *hybrid_spec.REST):
            _refuse(key, f"unknown part; known: {', '.join(hybrid_spec.REST)}")
        if donor not in (hybrid_spec.EARLY, "in", "rl", "base"):
            _refuse(key, f"unknown donor {donor!r}; known: early, in, rl, base")
        for recipe in study.of("merging"):
            if donor == "base" and not study.recipes[recipe].base:
                _refuse(key, f"base, but recipes.{recipe} has no base")
    for name in study.merging.hybrids:
        key = f"merging.hybrids.{name}"
        if name in ("Base", "IN", "RL"):
            _refuse(key, "is a reserved name: Base, IN and RL are the stages")
        if name.replace("-", ":") in hybrid_spec.HYBRIDS:
            _refuse(key, "is one of the paper's six hybrids, which are always made")
        try:
            unknown = set(study.donors(name)) - {"IN", "RL", "BASE", "SEED"}
        except InputError as error:
            _refuse(key, str(error))
        if unknown:
            _refuse(key, f"no donor {min(unknown)!r}: a recipe has IN, RL, BASE, and SEED (its `retrained`)")
        for recipe in study.of("merging"):
            for donor, key_of in (("BASE", "base"), ("SEED", "retrained")):
                if donor in study.donors(name) and not getattr(study.recipes[recipe], key_of):
                    _refuse(key, f"takes from {donor}, and recipes.{recipe} has no {key_of}")


def _check_checkpoints(study: Study) -> None:
    names = ", ".join(study.checkpoints)
    for key, (first, second) in {
        "cuts": study.regions.cuts,
        **{f"also.{k}": cuts for k, cuts in enumerate(study.regions.also)},
    }.items():
        if not first < second:
            _refuse(f"regions.{key}", f"[{first}, {second}] are out of order: need first < second")
    for name, source in study.checkpoints.items():
        if isinstance(source, Finetuned | Reinforced) and source.start not in study.checkpoints:
            _refuse(f"checkpoints.{name}.from", f"no checkpoint {source.start!r}; there are {names}")
        if isinstance(source, Pretrained):
            regions.Regions(study.regions.cuts, source.model.layers)
            total = sum(stage.share for stage in source.curriculum)
            if abs(total - 1) > 1e-6:
                _refuse(f"checkpoints.{name}.curriculum", f"the stages' shares sum to {total:g} instead of 1")
        if isinstance(source, Reinforced):
            if (source.questions is None) == (source.prompt_file is None):
                _refuse(f"checkpoints.{name}", "give exactly one of questions and prompt_file")
            rollouts = source.prompts_per_step * source.num_generations
            at_once = source.micro_batch or max(1, rollouts // source.gpus)
            if rollouts % (at_once * source.gpus):
                _refuse(
                    f"checkpoints.{name}",
                    f"{rollouts} rollouts per step (prompts_per_step {source.prompts_per_step} x num_generations "
                    f"{source.num_generations}) must be a multiple of micro_batch {at_once} x gpus {source.gpus}",
                )
            if source.gpus > 1 and not source.accelerate:
                _refuse(
                    f"checkpoints.{name}.gpus",
                    "more than one GPU needs an accelerate configuration file (`accelerate`)",
                )
            own = ("accelerate", "bf16", "micro_batch", "frozen_components", "vllm_gpu_memory_utilization")
            if source.questions and (set_ := [key for key in own if getattr(source, key)]):
                _refuse(f"checkpoints.{name}.{set_[0]}", "needs a prompt_file")
        seen, at = [name], source
        while isinstance(at, Finetuned | Reinforced):
            if at.start in seen:
                _refuse(f"checkpoints.{name}.from", f"{' <- '.join([*seen, at.start])} is circular")
            seen.append(at.start)
            at = study.checkpoints.get(at.start)


def _check_recipes(study: Study) -> None:
    names = ", ".join(study.checkpoints)
    owner: dict[str, str] = {}
    for recipe_name, recipe in study.recipes.items():
        run = study.runs[recipe_name]
        at = f"recipes.{run.recipe}" + (f".runs.{run.number - 1}" if run.number > 1 else "")  # as the file has it
        # role -> (checkpoint, required start of its training, region that must be frozen)
        roles = {
            **({"base": (recipe.base, None, None)} if recipe.base else {}),
            "in": (recipe.instruct, recipe.base, None),
            **({"retrained": (recipe.retrained, recipe.base, None)} if recipe.retrained else {}),
            "rl": (recipe.rl, recipe.instruct, None),
            **{f"frozen.{region}": (name, recipe.instruct, region) for region, name in recipe.frozen.items()},
        }
        for role, (name, start, region) in roles.items():
            if role not in ("base", "retrained") and name == recipe.retrained:
                _refuse(f"{at}.retrained", f"{name!r} is also {at}.{role}: give an IN trained with another seed")
            if name not in study.checkpoints:
                _refuse(f"{at}.{role}", f"no checkpoint {name!r}; there are {names}")
            other = owner.setdefault(name, recipe_name) if role != "base" else recipe_name
            if study.recipes[other].system_prompt != recipe.system_prompt:
                _refuse(
                    f"{at}.{role}",
                    f"{name!r} is also in recipe {other}, which has another system_prompt; a checkpoint is evaluated with one",
                )
            if role != "base" and study.recipes[other].chat_template_from != recipe.chat_template_from:
                _refuse(
                    f"{at}.{role}",
                    f"{name!r} is also in recipe {other}, which has another chat_template_from; a checkpoint is evaluated with one",
                )
            source = study.checkpoints[name]
            if isinstance(source, Reinforced) and source.frozen != region:
                _refuse(f"{at}.{role}", f"{name!r} has frozen: {source.frozen}")
            if start and isinstance(source, Finetuned | Reinforced) and source.start != start:
                _refuse(f"{at}.{role}", f"{name!r} was trained from {source.start!r}, not from {start!r}")
        members = _members(study, study.runs[recipe_name].recipe)
        if recipe.chat_template_from not in (None, *members):
            _refuse(
                f"{at}.chat_template_from",
                f"{recipe.chat_template_from!r} is not in the recipe, which has {', '.join(members)}",
            )
        if recipe.retrained:
            _check_retrained(study, recipe_name)
        for chapter in recipe.chapters or ():
            if recipe_name not in study.of(chapter):
                lacks = "frozen" if chapter == "freezing" else "base"
                _refuse(f"{at}.chapters", f"{chapter} needs {at}.{lacks}")
    for chapter in study.chapters:
        if (
            study.chapters != list(CHAPTERS)
            and not study.of(chapter)
            and not any(r.chapters for r in study.recipes.values())
        ):
            _refuse(
                "chapters",
                f"{chapter}: no recipe has {'frozen' if chapter == 'freezing' else 'a base'}, which it needs",
            )
    bases = {recipe.base for recipe in study.recipes.values()} - {None}
    if shared := sorted(bases & set(owner)):
        _refuse(f"recipes.{owner[shared[0]]}", f"{shared[0]!r} is also a Base")
    if len(probed := {study.recipes[name].base for name in study.of("localization")}) > 1:
        _refuse(
            "recipes",
            f"Figure 4 shows one Base, but the recipes have {', '.join(sorted(probed))}: remove localization from the chapters of all but one",
        )


def _members(study: Study, recipe: str) -> list[str]:
    """The checkpoints of all runs of a recipe, any of which may lend its chat template to all."""
    found: list[str | None] = []
    for name, run in study.runs.items():
        one = study.recipes[name]
        if run.recipe == recipe:
            found += [one.base, one.instruct, one.retrained, one.rl, *one.frozen.values()]
    return [name for name in dict.fromkeys(found) if name]


def _check_retrained(study: Study, recipe_name: str) -> None:
    """Check, as far as the configuration shows, that the retrained IN differs from the IN only in its seed."""
    recipe, at = study.recipes[recipe_name], f"recipes.{recipe_name}.retrained"
    one, other = (study.checkpoints[name] for name in (recipe.instruct, recipe.retrained))
    if isinstance(one, Finetuned) and isinstance(other, Finetuned):
        settings, others = (source.model_dump(exclude={"seed"}) for source in (one, other))
        if one.seed == other.seed:
            _refuse(at, f"{recipe.retrained!r} has the same seed as {recipe.instruct!r}, {one.seed}")
        if odd := [key for key in settings if settings[key] != others[key]]:
            _refuse(
                at,
                f"{recipe.retrained!r} differs from {recipe.instruct!r} in {', '.join(odd)}, but should differ only in its seed",
            )
    elif isinstance(other, Reinforced | Pretrained) or isinstance(one, Finetuned):
        _refuse(at, f"{recipe.retrained!r} is not an IN like {recipe.instruct!r}")


def _check_tasks(study: Study) -> None:
    _check_datasets(study)
    abilities, benchmarks = study.abilities, study.evaluation.benchmarks
    asked = {f"abilities.{name}": [task] for name, task in abilities.model_dump().items()}
    lists = {"evaluation.benchmarks": benchmarks, "probes.skip_tasks": study.probes.skip_tasks or []}
    for key, found in (asked | lists).items():
        for task in found:
            if task not in study.datasets and task not in questions.KINDS:
                known = [*study.datasets, *questions.KINDS]
                close = difflib.get_close_matches(task, known, 1)
                hint = f"; did you mean {close[0]!r}?" if close else ""
                _refuse(key, f"no task {task!r}{hint} There are {', '.join(known)}")
    for task in study.merging.benchmarks:
        if task not in benchmarks:
            _refuse("merging.benchmarks", f"{task!r} is not in evaluation.benchmarks: {', '.join(benchmarks)}")
    for task in study.skip_tasks():
        if study.has_image(task):
            _refuse("probes.skip_tasks", f"{task} has images; layers are skipped on text (paper, Section 3.1)")
    for key in ("abilities.vision", "abilities.vision_to_reasoning"):
        if not study.has_image(asked[key][0]):
            _refuse(key, f"{asked[key][0]} has no images")
    for kind in ("descriptions", "judge"):
        _check_helper(study, kind)
    if not study.descriptions and study.evaluated() and (lacking := study.described()):
        _refuse(
            "descriptions",
            f"{lacking[0]} needs image descriptions for M_v2r and comes without any: name their source",
        )
    _check_servers(study)
    mini = [task for task in study.datasets_needed() if task not in study.datasets]
    if mini and study.evaluation.examples is None:
        _refuse("evaluation.examples", f"missing: the number of examples per task (needed for {mini[0]})")
    _check_probes(study)


def _check_datasets(study: Study) -> None:
    for name, dataset in study.datasets.items():
        key, source = f"datasets.{name}", BENCHMARKS[dataset.benchmark]
        if name in questions.KINDS:
            _refuse(key, "is a task of the mini study")
        if dataset.split and dataset.split not in source.files:
            _refuse(f"{key}.split", f"{dataset.benchmark} has {', '.join(source.files)}")
        if dataset.path and (dataset.repo or dataset.revision):
            _refuse(f"{key}.path", "give either path, or repo and revision")


def _check_url(key: str, url: str) -> None:
    """Reject URLs with credentials or a query: they would leak into logs and the report."""
    parts = urlsplit(url)
    if parts.username or parts.password or parts.query:
        _refuse(key, "must contain no user, password or query; the API key is read from the environment (key_env)")


def _check_helper(study: Study, kind: str) -> None:
    helper = getattr(study, kind)
    if helper is None:
        return
    ways = [way for way in ("file", "checkpoint", "endpoint") if getattr(helper, way, None)]
    if len(ways) != 1:
        _refuse(kind, f"exactly one of {'file, ' * (kind == 'descriptions')}checkpoint, endpoint")
    if helper.endpoint:
        _check_url(f"{kind}.endpoint.url", helper.endpoint.url)
    if helper.checkpoint and helper.checkpoint not in study.checkpoints:
        _refuse(f"{kind}.checkpoint", f"no checkpoint {helper.checkpoint!r}; there are {', '.join(study.checkpoints)}")


def _check_servers(study: Study) -> None:
    hybrids = {name: run for run in study.of("merging") for name in study.hybrids(run).values()}
    for name, server in study.evaluation.servers.items():
        key = f"evaluation.servers.{name}"
        _check_url(f"{key}.url", server.url)
        if name not in study.checkpoints and name not in hybrids:
            known = [*study.checkpoints, *hybrids]
            close = difflib.get_close_matches(name, known, 1)
            _refuse(key, f"no such checkpoint{f'; did you mean {close[0]!r}?' if close else ''}")
        if name in hybrids and not study.merging.keep:
            _refuse(key, "a hybrid that is served must be on disk: set merging.keep to true")
        if study.evaluation.max_pixels:
            _refuse(
                key,
                "evaluation.max_pixels does not reach a server: set the limit when starting it, and leave the key out",
            )


def _check_probes(study: Study) -> None:
    probes = study.probes
    if probes.path and probes.source != "published":
        _refuse("probes.path", "needs source: published")
    if len(set(probes.modes)) < len(probes.modes):
        _refuse("probes.modes", f"{', '.join(probes.modes)}: list each mode once")
    if probes.unequal_images == "interpolate" and probes.modes != ["hidden_state_at_layer"]:
        _refuse(
            "probes.unequal_images", "interpolate works only with hidden_state_at_layer: keys contain their positions"
        )
    if probes.shards > min(probes.pairs, probes.skip_examples, probes.attention_examples):
        _refuse("probes.shards", f"{probes.shards} shards, but a probe has fewer examples than that")
    sizes = [("attention_examples", study.abilities.vision_to_reasoning)] if study.of("attention") else []
    sizes += [("skip_examples", task) for task in study.skip_tasks()] if study.of("localization") else []
    for key, task in sizes:
        dataset = study.datasets.get(task)
        n = dataset.sample if dataset else study.evaluation.examples
        if n is not None and getattr(probes, key) > n:
            _refuse(f"probes.{key}", f"{getattr(probes, key)} examples of {task}, which has only {n}")
