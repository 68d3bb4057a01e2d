"""`frankenstein plan`: estimate a study's cost before running it, from Snakemake's dry run and `costs`."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd

from ..core.errors import InputError
from ..models import hub
from . import config, costs, schema
from .jobs import Jobs

_PROBES = ("attention", "attention_on_text", "swap_vision_tokens", "skip_layers")
_JOB = re.compile(r"^(?:local)?rule (\w+):\n((?:    .*\n)*)", re.M)


def dry_run(path: Path, snakefile: Path, *arguments: str, root: Path | None = None) -> str:
    """What Snakemake's dry run prints of a study. arguments: further ones for Snakemake; root: the directory to run it in.

    Raises InputError with the output if the dry run fails.
    """
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(snakefile), "--configfile", str(path), "--dry-run"]
    command += ["--quiet", "host"]  # in place of the profile's, which leaves out the jobs
    made = subprocess.run([*command, "--cores", "1", *arguments], cwd=root, capture_output=True, text=True, check=False)
    if made.returncode:
        raise InputError(f"{path}: the dry run fails:\n{(made.stdout + made.stderr)[-2000:]}")
    return made.stdout + made.stderr


def jobs(printed: str) -> pd.DataFrame:
    """Jobs that a dry run printed, one row per job: rule, checkpoint (the wildcard), wildcards, gpu, mem_mb, runtime (minutes),
    disk_mb, output, log (lists of paths)."""
    rows = []
    for rule, body in _JOB.findall(printed):
        found = re.search(r"^    resources: (.*)$", body, re.M)
        amounts = dict(re.findall(r"(\w+)=(\d+)(?:,|$)", found[1] if found else ""))
        kinds = ("gpu", "mem_mb", "runtime", "disk_mb")
        named = re.search(r"^    wildcards: (.*)$", body, re.M)
        files = {key: re.search(rf"^    {key}: (.*)$", body, re.M) for key in ("output", "log")}
        wildcards = dict(re.findall(r"(\w+)=([\w.-]+)", named[1] if named else ""))
        rows.append(
            {"rule": rule, "checkpoint": wildcards.get("checkpoint", ""), "wildcards": wildcards}
            | {kind: int(amounts.get(kind, 0)) for kind in kinds}
            | {key: found[1].split(", ") if found else [] for key, found in files.items()}
        )
    return pd.DataFrame(
        [row for row in rows if row["rule"] != "all"],
        columns=["rule", "checkpoint", "wildcards", "gpu", "mem_mb", "runtime", "disk_mb", "output", "log"],
    )


def plan(path: Path, snakefile: Path, gpu_mb: int = 80_000, measure: bool = False) -> str:
    """A study's plan as text: jobs by rule, GPU-hours, downloads, disk, memory, and warnings such as what does not fit ("!").

    gpu_mb: memory per available GPU; measure: replace what the hours rest on by what this machine does (study.measure).
    """
    study = config.load(config.read(path))
    if measure:
        from . import measure as machine

        costs.basis = machine.measure(study.evaluation.batch)
    table = jobs(dry_run(path, snakefile))
    if table.empty:
        return "nothing to be done"
    table["limit"] = table.gpu * table.runtime / 60
    table["gpu_hours"] = table.gpu * _expected(study, table) / 60
    rules = table.groupby("rule").agg(
        jobs=("rule", "size"), gpu_hours=("gpu_hours", "sum"), limit=("limit", "sum"), mem_mb=("mem_mb", "max"),
        runtime=("runtime", "max"),
    )  # fmt: skip
    rules["core_hours"] = table[table.gpu == 0].groupby("rule").runtime.sum() / 60
    head = (
        f"{'rule':20} {'jobs':>5} {'GPU-hours':>10} {'limit':>7} {'other hours':>11} {'memory, MB':>11} {'minutes':>8}"
    )
    lines = [head]
    for rule, row in rules.sort_values("gpu_hours", ascending=False).iterrows():
        other = 0 if pd.isna(row.core_hours) else row.core_hours
        lines.append(
            f"{rule:20} {row.jobs:5.0f} {row.gpu_hours:10.1f} {row.limit:7.1f} {other:11.1f} {row.mem_mb:11.0f} {row.runtime:8.0f}"
        )
    lines.append(
        f"{'all':20} {len(table):5} {table.gpu_hours.sum():10.1f} {table.limit.sum():7.1f} {rules.core_hours.sum():11.1f} "
        f"{table.mem_mb.max():11} {table.runtime.max():8}"
    )
    lines += ["", *_basis(study, table), ""]
    return "\n".join([*lines, *_storage(study, table), *_fits(study, table, gpu_mb)])


def _expected(study: schema.Study, table: pd.DataFrame) -> pd.Series:
    """Minutes that each job should take; the limit where there is no better estimate."""
    count = len(Jobs(study).in_memory)
    found = [costs.expected_minutes(study, job.rule, job.wildcards, count) for job in table.itertuples()]
    return pd.Series(found, index=table.index, dtype=float).fillna(table.runtime)


def _basis(study: schema.Study, table: pd.DataFrame) -> list[str]:
    """What the hours rest on, and what they would be with each engine."""
    totals = []
    for engine in ("vllm", "transformers"):
        evaluation = study.evaluation.model_copy(update={"engine": engine})
        hours = (table.gpu * _expected(study.model_copy(update={"evaluation": evaluation}), table)).sum() / 60
        totals.append(f"{hours:.1f} with {engine}{' (as configured)' * (engine == study.evaluation.engine)}")
    basis = costs.basis
    return [
        f"GPU-hours to be expected: {', '.join(totals)}. Limits are what jobs ask for: every response to its last token, slow starts.",
        f"Basis, {basis.where} (`--measure` on the GPU at hand): transformers decodes at {1000 * basis.layer:.2f} ms per layer and step,",
        f"or reads {basis.bandwidth / 1e12:.1f} TB/s, and a batch lasts to its last token; vLLM generates {basis.vllm:,.0f} tokens/s at 7B, "
        f"{basis.answer:,} per",
        f"response; {basis.flops / 1e12:.0f} TFLOP/s in forward passes (workflow/frankenstein/study/costs.py).",
    ]


def _storage(study: schema.Study, table: pd.DataFrame) -> list[str]:
    """Download size, and disk space of the hybrids as links or copies."""
    fetched = sorted(table[table.rule == "fetch_checkpoint"].checkpoint)
    download = sum(costs.weights_mb(study, name) for name in fetched) / 1000
    merged = [(recipe, checkpoint) for recipe in study.of("merging") for checkpoint in study.hybrids(recipe).values()]
    copies = sum(costs.weights_mb(study, checkpoint) for _, checkpoint in merged) / 1000
    parents = {getattr(study.recipes[recipe], role) for recipe, _ in merged for role in ("instruct", "rl")}
    links = sum(costs.weights_mb(study, name) for name in parents) / 1000
    kept = f"{copies:.0f} GB as copies, {links:.0f} GB as links; merging.layout is {study.merging.layout}"
    if not study.merging.keep:
        kept = "none, merged in memory" if Jobs(study).in_memory else f"{kept}; each is deleted once it has answered"
    return [
        f"downloads: {len(fetched)} checkpoints, {download:.0f} GB, to {hub.cache()}",
        f"disk for {len(merged)} hybrids: {kept}",
    ]


def _too_large(study: schema.Study, table: pd.DataFrame, gpu_mb: int) -> list[str]:
    """Checkpoints that the GPUs of a job cannot hold, by what they are needed for, and the key that helps."""
    vllm = study.evaluation.engine == "vllm"
    smaller = "" if vllm else "lower evaluation.batch or evaluation.max_new_tokens, or "
    generating = table[(table.rule == "generate") & ~table.checkpoint.isin(study.evaluation.servers)]
    probing = table[table.rule.isin(_PROBES)]
    work = (  # what, its jobs, GPUs per job, memory, what else helps
        ("generation", generating, "evaluation.gpus", costs.generate_gpu_mb, smaller),
        ("a probe", probing, "probes.gpus", costs.probe_gpu_mb, "lower probes.memory_mb, or "),
    )
    notes = []
    for what, rows, key, memory, otherwise in work:
        section, _, name = key.partition(".")
        gpus = getattr(getattr(study, section), name)
        needs: dict[tuple[int, int], list[str]] = {}
        for checkpoint in sorted(set(rows.checkpoint)):
            if (need := memory(study, checkpoint)) > gpu_mb * gpus:
                needs.setdefault((need, costs.loaded_gpu_mb(study, checkpoint)), []).append(checkpoint)
        for (need, weights), checkpoints in needs.items():
            # A power of two: tensor parallelism divides the attention heads, which come in multiples of one.
            enough = next(count for count in (2**power for power in range(32)) if need <= gpu_mb * count)
            notes.append(
                f"! {', '.join(checkpoints)}: {what} takes about {need / 1000:.0f} GB of GPU memory, {weights / 1000:.0f} of them for "
                f"weights, and {key}: {gpus} gives {gpus * gpu_mb / 1000:.0f} GB: {otherwise * (weights <= gpu_mb * gpus)}set {key} to {enough}"
            )
    return notes


def _fits(study: schema.Study, table: pd.DataFrame, gpu_mb: int) -> list[str]:
    notes, fetched = [], sorted(table[table.rule == "fetch_checkpoint"].checkpoint)
    for name in sorted(set(table[table.rule == "reinforce_prompts"].checkpoint)):
        if (need := costs.reinforce_gpu_mb(study, name)) > gpu_mb:
            share = study.checkpoints[name].vllm_gpu_memory_utilization
            of_vllm = f", {share:.0%} of it for vLLM (`vllm_gpu_memory_utilization`)" if share else ""
            notes.append(
                f"! {name}: RL takes about {need / 1000:.0f} GB on each of its GPUs{of_vllm}: more `gpus`, and FSDP by `accelerate`"
            )
    notes += _too_large(study, table, gpu_mb)
    for what, place, need in (
        ("downloads", hub.cache(), sum(costs.weights_mb(study, name) for name in fetched)),
        ("hybrids", Path.cwd(), int(table.disk_mb.sum())),
    ):
        free = shutil.disk_usage(next(path for path in (place, *place.parents) if path.exists())).free / 1e6
        if need > free:
            notes.append(f"! {what}: {need / 1000:.0f} GB, and {place} has {free / 1000:.0f} GB free")
    for name in sorted(set(table[table.rule == "adopt_checkpoint"].checkpoint)):
        if not (place := Path(study.checkpoints[name].path)).is_dir():
            notes.append(f"! {name}: {place} is not there yet; taken to be as large as Qwen2.5-VL-7B")
    unpinned = [name for name in fetched if study.checkpoints[name].revision is None]
    unpinned += [
        name
        for name, dataset in study.datasets.items()
        if not dataset.path and study.from_hub(name)["revision"] is None
    ]
    if unpinned:
        notes.append(f"! not pinned: {', '.join(unpinned)}: `frankenstein pin` first")
    return [*notes] or ["everything fits, by these estimates"]
