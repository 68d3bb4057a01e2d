# Shared by all chapters: the validated configuration, its jobs, and the checks before the first job.
import os
import sys
from pathlib import Path
from time import time

from snakemake.exceptions import WorkflowError

from frankenstein.core import cpu
from frankenstein.core.errors import InputError
from frankenstein.core.provenance import code_hash
from frankenstein.report import templates
from frankenstein.study import config as schema
from frankenstein.study import costs
from frankenstein.study.jobs import PARTS, REFERENCE, Jobs
from frankenstein.study.layout import Layout

try:
    study = schema.load(config)
except InputError as error:
    raise WorkflowError(str(error))

cpu.pin_kernels()  # jobs inherit it
HERE = workflow.current_basedir


def of_workflow(path):
    """Where a file of this repository is: relative where Snakemake runs in it, so that results copied to another clone stay up to
    date; absolute for a workflow that uses this one as a module; in Snakemake's cache if the module is fetched from a host.
    """
    if not HERE.is_local:
        return workflow.source_path(f"../{path}")
    root = Path(HERE.get_path_or_uri(secret_free=True)).parent
    return path if root == Path.cwd() else str(root / path)


paths = Layout(study.study)  # the location of every file
# Snakemake puts a module's prefix before files of rules; in params, it is up to us (`on_disk`).
jobs = Jobs(
    study,
    of_workflow(REFERENCE),
    results=str(workflow.modifier.modify_path(paths.results)),
)
on_disk = jobs.on_disk
LOG, BENCHMARK = f"{paths.results}/logs", f"{paths.results}/benchmarks"


def environment(vllm):
    """The conda environment of jobs that can use vLLM."""
    return f"../envs/{'vllm' if vllm else 'frankenstein'}.yaml"


# Of jobs that answer by the configured engine, and of RL, whose rollouts vLLM can make.
ENGINE = environment(study.evaluation.engine == "vllm")
ROLLOUTS = environment(
    any(
        getattr(source, "vllm_gpu_memory_utilization", None)
        for source in study.checkpoints.values()
    )
)
# Claims of one's own lie where the workflow runs, the paper's lie here.
CLAIMS = [path if Path(path).exists() else of_workflow(path) for path in study.claims]
# The report's templates, style and scripts.
PAGE = [of_workflow(f"workflow/report/{name}") for name in templates.PAGE]
BEGAN = time()
# Contents of the report, in the order in which the rules register them.
FIGURES, TABLES = [], []


def one_of(names):
    """A wildcard constraint: exactly one of these names, or nothing where there are none."""
    return "|".join(sorted(names, key=len, reverse=True)) or "(?!)"


def checkpoints(hybrids):
    """A wildcard constraint: a name of a checkpoint of the study, or of one of these hybrids of a run."""
    return rf"[A-Za-z0-9_-]+(\.({one_of(hybrids)}))?"


# Checkpoints that answer from disk; the other hybrids are merged in memory.
ON_DISK = checkpoints(set(jobs.hybrids) - set(jobs.in_memory))


wildcard_constraints:
    checkpoint=checkpoints(jobs.hybrids),
    recipe=one_of(study.recipes),
    hybrid=one_of(jobs.hybrids),
    task=one_of(study.datasets_needed()),
    function=one_of(study.probes.functions),
    shard=r"\d+",
    figure=r"[a-z0-9_]+",
    table=r"[a-z0-9_]+",


def code(script, *modules):
    """Hash of a script and of the library modules that it uses: as a param, it reruns the rule when they change."""
    return code_hash(of_workflow(f"workflow/scripts/{script}"), *modules)


def family(wildcards):
    """Hash of what the library says of the family of a job's checkpoint, or recipe, which the hash of its code leaves out.

    None until a checkpoint on the Hub has been fetched; Snakemake asks again when the job starts.
    """
    name = wildcards.get("checkpoint") or study.recipes[wildcards.recipe].instruct
    return jobs.family_hash(name)


def a_hybrid(wildcards):
    """A hybrid of a run that is merged in memory: all are asked the same."""
    return f"{wildcards.recipe}.{jobs.in_memory[0]}"


def per_attempt(cost):
    """A resource of a job on a checkpoint: what it should take, and as much again with every retry."""
    return lambda wildcards, attempt: attempt * cost(study, wildcards.checkpoint)


def figure(name, made=True):
    """The outputs of a figure (PDF, PNG, and the CSV of what is drawn); the report shows it where it is made."""
    FIGURES.extend([name] if made else [])
    png = paths.figure.format(figure=name, kind="png")
    caption = f"../workflow/report/{name}.rst"
    return dict(
        pdf=paths.figure.format(figure=name, kind="pdf"),
        png=report(png, caption=caption, category="Figures"),
        table=paths.figure.format(figure=name, kind="csv"),
    )


def table(name, made=True):
    """The output of a table; the report shows it where it is made."""
    TABLES.extend([name] if made else [])
    caption = f"../workflow/report/{name}.rst"
    return report(paths.table.format(table=name), caption=caption, category="Tables")


def kept(path):
    """Hybrids stay, or go once their responses are made."""
    return path if study.merging.keep else temp(path)


def report_arguments():
    """What report.page.write must know of this study."""
    return dict(
        results=on_disk.results,
        config=config,
        names=list(dict.fromkeys([*study.checkpoints, *jobs.roles()])),
        figures=FIGURES,
        tables=TABLES,
        settings=jobs.settings(*PARTS),
        claim_files=CLAIMS,
        captions=str(Path(of_workflow("workflow/report/columns.yaml")).parent),
    )


def check_profile():
    """Snakemake ignores a --workflow-profile that does not exist, and runs everything here."""
    for option, following in zip(sys.argv, [*sys.argv[1:], ""]):
        option, equals, given = option.partition("=")
        profile = given if equals else following
        there = Path(profile).is_dir() or Path("profiles", profile).is_dir()
        if option == "--workflow-profile" and profile != "none" and not there:
            known = ", ".join(sorted(map(str, Path("profiles").glob("*"))))
            raise WorkflowError(
                f"--workflow-profile {profile}: no such folder; there are {known}"
            )


def check_place():
    """Results can be written, and are no other file's study."""
    results = Path(paths.results)
    place = next(path for path in (results, *results.parents) if path.exists())
    if not os.access(place, os.W_OK):
        raise WorkflowError(
            f"{place.resolve()} can not be written to: run from a folder of your own"
        )
    files = [os.path.relpath(path) for path in workflow.overwrite_configfiles]
    mine = files[-1] if files else "config/config.yaml"
    owner = results / "config"
    if owner.exists() and (other := owner.read_text().strip()) != mine:
        if Path(other).exists():
            raise WorkflowError(
                f"{results} holds the study of {other}; give the one of {mine} another name (its key `study`)"
            )
    owner.parent.mkdir(parents=True, exist_ok=True)
    owner.write_text(f"{mine}\n")


def check_claims():
    """A statement that no study could test is found now, not after hours."""
    from frankenstein.claims import statements  # takes a second

    try:
        statements.read(CLAIMS)
    except InputError as error:
        raise WorkflowError(str(error))


def write_partial_report():
    """After a run that failed: what there is, and what there is not."""
    from frankenstein.report.page import write  # takes seconds

    try:
        files = jobs.files(*PARTS)
        write(paths.partial_report, files=files, began=BEGAN, **report_arguments())
        print(
            f"What there is, and what is missing: {paths.partial_report}",
            file=sys.stderr,
        )
    except Exception as error:  # must not hide why the run failed
        print(f"No report of what there is: {error}", file=sys.stderr)


check_profile()


onstart:
    check_place()
    check_claims()


onerror:
    write_partial_report()
