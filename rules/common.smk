# What the chapters share: the checked configuration, where things lie, and small helpers.
import os
import sys
from math import ceil
from pathlib import Path
from time import time

from snakemake.exceptions import WorkflowError

from frankenstein.core.errors import InputError
from frankenstein.core.provenance import code_hash
from frankenstein.core.regions import RETRAINED
from frankenstein.study import config as schema
from frankenstein.study import costs

try:
    study = schema.load(config)
except InputError as error:
    raise WorkflowError(str(error))

# Snakemake ignores a --workflow-profile that does not exist, and runs everything here.
for option, profile in zip(sys.argv, [*sys.argv[1:], ""]):
    option, equals, given = option.partition("=")
    profile = given if equals else profile
    if (
        option == "--workflow-profile"
        and profile != "none"
        and not Path(profile).is_dir()
        and not Path("profiles", profile).is_dir()
    ):
        raise WorkflowError(
            f"--workflow-profile {profile}: no such folder; there are {', '.join(sorted(map(str, Path('profiles').glob('*'))))}"
        )

RESULTS = f"results/{study.study}"


def check_place():
    """Before the first job: results can be written, and are no other file's study."""
    place = next(
        path for path in (Path(RESULTS), *Path(RESULTS).parents) if path.exists()
    )
    if not os.access(place, os.W_OK):
        raise WorkflowError(
            f"{place.resolve()} can not be written to: run from a folder of your own"
        )
    files = [os.path.relpath(path) for path in workflow.overwrite_configfiles]
    mine = files[-1] if files else "config/config.yaml"
    owner = Path(RESULTS) / "config"
    if owner.exists() and (other := owner.read_text().strip()) != mine:
        if Path(other).exists():
            raise WorkflowError(
                f"{RESULTS} holds the study of {other}; give the one of {mine} another name (its key `study`)"
            )
    owner.parent.mkdir(parents=True, exist_ok=True)
    owner.write_text(f"{mine}\n")


def check_claims():
    """Before the first job: a statement that no study could test is found now, not after hours."""
    from frankenstein.claims import claims  # takes a second

    try:
        claims.read(study.claims)
    except InputError as error:
        raise WorkflowError(str(error))


BEGAN = time()
WHOLE, PARTIAL = f"{RESULTS}/report.html", f"{RESULTS}/report.partial.html"


def report_arguments():
    """What report.write wants to know of this study."""
    return dict(
        results=RESULTS,
        config=config,
        names=list(dict.fromkeys([*study.checkpoints, *roles()])),
        figures=figures(),
        tables=tables(),
        evidence=evidence(*EVIDENCE),
        claim_files=study.claims,
        captions="workflow/report",
    )


def write_partial_report():
    """After a run that failed: what there is, and what there is not."""
    from frankenstein.report.page import write  # takes seconds

    try:
        write(PARTIAL, **report_arguments(), began=BEGAN)
        print(f"What there is, and what is missing: {PARTIAL}", file=sys.stderr)
    except Exception as error:  # must not hide why the run failed
        print(f"No report of what there is: {error}", file=sys.stderr)


onstart:
    check_place()
    check_claims()


onerror:
    write_partial_report()


SCRIPTS = Path(workflow.basedir) / "workflow" / "scripts"

MANIFEST = f"{RESULTS}/checkpoints/{{checkpoint}}/manifest.json"
WEIGHTS = f"{RESULTS}/checkpoints/{{checkpoint}}/model.safetensors"
MODEL = f"{RESULTS}/checkpoints/{{checkpoint}}/model"  # of a hybrid
SHARDS = f"{RESULTS}/shards/{{checkpoint}}"
PROMPT = f"{RESULTS}/prompts/{{recipe}}.json"
TRAINING_LOG = f"{RESULTS}/training/{{checkpoint}}.csv"
EXAMPLES = f"{RESULTS}/data/{{task}}.jsonl"
DOWNLOAD = f"{RESULTS}/downloads/{{task}}.json"
DESCRIPTIONS = f"{RESULTS}/data/{{task}}.descriptions.jsonl"
PAIRS = f"{RESULTS}/pairs/{{function}}.jsonl"
FIGURES = f"{RESULTS}/figures/{{figure}}.{{kind}}"
TABLES = f"{RESULTS}/tables/{{table}}.csv"
LAYERS = 28  # of a 7B model, for the minutes of its probes: a smaller one has fewer, or is faster
LOG = f"{RESULTS}/logs"
BENCHMARK = f"{RESULTS}/benchmarks"

RECIPES = list(study.recipes)
HYBRIDS = [name.partition(".")[2] for name in study.hybrids(RECIPES[0]).values()]
# The one Base that is probed, of those recipes whose chapters say so.
BASE = next((study.recipes[name].base for name in study.of("localization")), None)
# Recipes with figures by layer are of one depth: this checkpoint's.
LAYERWISE = study.of("attention", "updates", "localization")
# Tasks that the mini study makes, and those made of a public benchmark's files.
PUBLIC = [task for task in study.datasets_needed() if task in study.datasets]
MINI = [task for task in study.datasets_needed() if task not in study.datasets]


def one_of(names):
    """A wildcard constraint: exactly one of these names, or nothing where there are none."""
    return "|".join(sorted(names, key=len, reverse=True)) or "(?!)"


wildcard_constraints:
    checkpoint=rf"[A-Za-z0-9_-]+(\.({one_of(HYBRIDS)}))?",
    recipe=one_of(study.recipes),
    hybrid=one_of(HYBRIDS),
    task=one_of(study.datasets_needed()),
    function=one_of(study.probes.functions),
    shard=r"\d+",
    figure=r"[a-z0-9_]+",
    table=r"[a-z0-9_]+",


def code(script):
    """Hash of a script and the library modules that it uses: as a param, it reruns the rule when they change."""
    return code_hash(SCRIPTS / script)


def manifest(checkpoint):
    return MANIFEST.format(checkpoint=checkpoint)


def depth():
    """The manifest that says how many layers the figures by layer have."""
    if not LAYERWISE:
        return []
    others = study.of("attention", "updates")
    return manifest(study.recipes[others[0]].instruct if others else BASE)


def roles():
    """Every checkpoint that is evaluated: name -> [(recipe, role)], in the order of the paper's tables."""
    found = {}
    for name in study.evaluated():
        recipe = study.recipes[name]
        played = {
            "Base": recipe.base,
            "IN": recipe.instruct,
            RETRAINED: recipe.retrained,
        }
        if name in study.of("merging"):
            played |= study.hybrids(name)
        played["RL"] = recipe.rl
        if name in study.of("freezing"):
            for region, checkpoint in recipe.frozen.items():
                played[f"RL, {region.capitalize()} frozen"] = checkpoint
        for role, checkpoint in played.items():
            if checkpoint:
                found.setdefault(checkpoint, []).append((name, role))
    return found


def trained():
    """Every checkpoint that is trained here, and that the chapters need."""
    needed = {name for name in roles() if "." not in name}
    for name in LAYERWISE:
        recipe = study.recipes[name]
        if name in study.of("attention", "updates"):
            needed |= {recipe.instruct, recipe.rl}
        if name in study.of("attention") and recipe.retrained:
            needed.add(recipe.retrained)
        if name in study.of("localization", "updates"):
            needed.add(recipe.base)
    for name in list(needed):
        while start := getattr(study.checkpoints[name], "start", None):
            needed.add(start)
            name = start
    return [
        name
        for kind in ("pretrain", "sft", "grpo")
        for name in study.sources(kind)
        if name in needed
    ]


def source(wildcards):
    """Settings of a checkpoint as plain data, but for what changes nothing (params are compared from run to run)."""
    return study.checkpoints[wildcards.checkpoint].model_dump(
        exclude={"parameters", "gpus", "save_steps"}
    )


def save_steps(wildcards):
    """Every how many steps of RL its state is kept; 0: never."""
    return study.checkpoints[wildcards.checkpoint].save_steps or 0


def given_files(checkpoint):
    """The files of a checkpoint that is there already; none where the directory is missing, which its job reports."""
    directory = Path(study.checkpoints[checkpoint].path)
    return sorted(
        str(path)
        for pattern in ("*.safetensors", "*.json", "*.jinja")
        for path in directory.glob(pattern)
        if path.name != "manifest.json"
    )


def published_files(wildcards):
    """The files of a public task: the user's own, or the account of those that were fetched from the Hub."""
    return study.datasets[wildcards.task].path or DOWNLOAD.format(task=wildcards.task)


def helper_inputs(helper):
    """What a job needs that asks a checkpoint for help (descriptions, judge); an endpoint needs nothing."""
    return manifest(helper.checkpoint) if helper and helper.checkpoint else []


def host_mb(wildcards, attempt):
    """Memory of a job that loads the checkpoint of its wildcards."""
    return attempt * costs.host_mb(study, wildcards.checkpoint)


def probe_mb(wildcards, attempt):
    return attempt * costs.probe_mb(study, wildcards.checkpoint)


def generate_minutes(wildcards, attempt):
    return attempt * costs.generate_minutes(study, wildcards.checkpoint)


def swap_minutes(wildcards, attempt):
    rows = LAYERS * len(study.probes.modes)
    return attempt * costs.probe_minutes(
        study, wildcards.checkpoint, study.probes.pairs, rows
    )


def skip_minutes(wildcards, attempt):
    samples = study.probes.skip_examples * len(study.skip_tasks())
    return attempt * costs.probe_minutes(study, wildcards.checkpoint, samples, LAYERS)


def attention_minutes(wildcards, attempt):
    asked = ceil(study.probes.attention_examples / study.probes.shards)
    return attempt * costs.answer_minutes(
        study, wildcards.checkpoint, asked, study.evaluation.max_new_tokens
    )


def copy_minutes(wildcards, attempt):
    return attempt * costs.copy_minutes(study, wildcards.checkpoint)


def helper_mb(helper):
    """Memory of a job that asks a checkpoint for help, or an endpoint."""
    return (
        costs.host_mb(study, helper.checkpoint)
        if helper and helper.checkpoint
        else 2000
    )


def prompts(wildcards):
    """How the recipes render their prompts that a checkpoint is asked in; nothing for a Base, whose prompt is its own."""
    return expand(PROMPT, recipe=study.prompted_by(wildcards.checkpoint))


def lent_template(wildcards):
    """What a checkpoint is trained under where its recipe says whose chat template all get; else its start's is its own."""
    recipes = study.prompted_by(wildcards.checkpoint)
    lent = [name for name in recipes if study.recipes[name].chat_template_from]
    return PROMPT.format(recipe=lent[0]) if lent else []


def start(wildcards):
    return manifest(study.checkpoints[wildcards.checkpoint].start)


def stages(wildcards):
    recipe = study.recipes[wildcards.recipe]
    return {
        "base": manifest(recipe.base),
        "instruct": manifest(recipe.instruct),
        "reinforced": manifest(recipe.rl),
    }


EVIDENCE = ("grades", "attention", "localization", "updates")


def evidence(*parts):
    """What claims and controls rest on, as labelled files: grades, attention, localization, updates."""
    stages = {"IN": "instruct", "RL": "rl", RETRAINED: "retrained"}
    shards = range(study.probes.shards)
    files = dict(
        grades=[
            (GRADES.format(checkpoint=checkpoint), played)
            for checkpoint, played in roles().items()
            if "grades" in parts
        ],
        attention=[
            (recipe, stage, expand(ATTENTION, checkpoint=checkpoint, shard=shards))
            for recipe in study.of("attention")
            for stage, role in stages.items()
            if "attention" in parts
            and (checkpoint := getattr(study.recipes[recipe], role))
        ],
        updates=[
            (recipe, expand(UPDATES, recipe=recipe, shard=range(study.updates.shards)))
            for recipe in study.of("updates")
            if "updates" in parts
        ],
    )
    for name, probe in (("swaps", "swap"), ("skips", "skip")):
        there = BASE and "localization" in parts
        files[name] = (
            LOCALIZATION.format(checkpoint=BASE, probe=probe) if there else None
        )
    layered = set(parts) & {"attention", "localization", "updates"}
    files["manifest"] = (depth() or None) if layered else None
    return dict(
        files=files,
        recipes=RECIPES,
        abilities=study.abilities.model_dump() if "grades" in parts else {},
        benchmarks=study.evaluation.benchmarks if "grades" in parts else [],
        cuts=study.regions.cuts,
        seed=study.seed,
    )


def evidence_files(*parts):
    """The files of `evidence`, as inputs."""
    files = evidence(*parts)["files"]
    shards = [
        path for *_, paths in files["attention"] + files["updates"] for path in paths
    ]
    single = [files[name] for name in ("swaps", "skips", "manifest") if files[name]]
    return [path for path, _ in files["grades"]] + list(dict.fromkeys(shards)) + single


def figures():
    """The figures of the chapters that are asked for."""
    return (
        (["figure2"] if study.evaluated() else [])
        + (["figure3"] if study.of("attention") else [])
        + (["figure4", "heatmap"] if BASE else [])
        + (["figure5", "figure6", "spectra"] if study.of("updates") else [])
        + (["doses"] if study.of("merging") and study.doses() else [])
        + (["controls"] if LAYERWISE else [])
        + (["training"] if trained() else [])
        + ["claims"]
    )


def tables():
    return (
        (["scores", "vision", "differences", "paired"] if study.evaluated() else [])
        + (["categories"] if study.evaluated() and PUBLIC else [])
        + (["table2"] if study.of("merging") else [])
        + (["table3"] if study.of("freezing") else [])
        + (["attention"] if study.of("attention") else [])
        + (["energy"] if study.of("updates") else [])
        + (["overlaps"] if len(study.of("updates")) > 1 else [])
        + (["regions"] if LAYERWISE else [])
        + ["verdicts", "replicates", "paper_claims"]
    )


def captions():
    return [f"workflow/report/{name}.rst" for name in figures() + tables()]


def figure(name):
    """The outputs of a figure: PDF, PNG (in the report) and the CSV of what is drawn."""
    caption = f"../workflow/report/{name}.rst"
    return dict(
        pdf=FIGURES.format(figure=name, kind="pdf"),
        png=report(
            FIGURES.format(figure=name, kind="png"), caption=caption, category="Figures"
        ),
        table=FIGURES.format(figure=name, kind="csv"),
    )


def figure_data(name):
    """The numbers of a figure, where the study has it."""
    return FIGURES.format(figure=name, kind="csv") if name in figures() else []


def table(name):
    return report(
        TABLES.format(table=name),
        caption=f"../workflow/report/{name}.rst",
        category="Tables",
    )


def kept(path):
    """Hybrids stay, or go once their responses are made."""
    return path if study.merging.keep else temp(path)


def donor_manifests(wildcards):
    recipe = study.recipes[wildcards.recipe]
    donors = {"IN": recipe.instruct, "RL": recipe.rl, "BASE": recipe.base}
    return {label: manifest(donors[label]) for label in study.donors(wildcards.hybrid)}


def donor_shards(wildcards):
    """With layout link: the donors' shards, to be linked to."""
    if study.merging.layout == "copy":
        return []
    return [
        SHARDS.format(checkpoint=Path(path).parent.name)
        for path in donor_manifests(wildcards).values()
    ]
