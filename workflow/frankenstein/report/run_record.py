"""Record of a run, from a study's files: checkpoints, data, responses and failures, times, machines, versions."""

from __future__ import annotations

import contextlib
import json
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pandas as pd

from ..core import jsonl
from ..core.logs import RAN_ON, machine
from ..data import paper_tasks
from ..data.tasks import fingerprint, read_examples
from ..grading.outcome import UNGRADED, VERDICTS
from ..inference.cache import model_digest

_PACKAGES = ("frankenstein-vlm", "snakemake", "torch", "transformers", "trl", "numpy", "scipy", "pandas", "statsmodels", "math-verify", "vllm", "openai")  # fmt: skip


def checkpoints(results: Path, names: list[str]) -> pd.DataFrame:
    """checkpoint, from, layers, parameters, sha256 (of weights, config, tokenizer and processor; 16 digits), prompt.

    prompt: digest of the recipe's prompt as rendered by its chat template or the substituted one (templates.settle);
    equal within a recipe; none if the checkpoint was never prompted.
    """
    rows = []
    for path in (results / "checkpoints" / name / "manifest.json" for name in names):
        if not path.exists():
            continue
        manifest = json.loads(path.read_text())
        row = {"checkpoint": path.parent.name, "from": _origin(manifest.get("source") or {})}
        row |= {key: manifest.get(key) for key in ("layers", "parameters")}
        answered = results / "responses" / f"{path.parent.name}.0.jsonl"
        header = next(jsonl.read(answered), (0, {}))[1].get("header", {}) if answered.exists() else {}
        rows.append(row | {"sha256": model_digest(path), "prompt": header.get("prompt")})
    return pd.DataFrame(rows, columns=["checkpoint", "from", "layers", "parameters", "sha256", "prompt"])


def _origin(source: dict) -> str:
    """The origin of a checkpoint, according to its manifest."""
    if "hub" in source:
        return f"Hub: {source['hub']} @ {source.get('revision') or 'not pinned'}"
    if "path" in source:
        return f"directory {source['path']}"
    if "train" not in source:
        return "hybrid"
    start = source.get("start") or source.get("from")
    parts = [f"trained here: {source['train']}", f"from {start}" if start else "", f"seed {source['seed']}"]
    return ", ".join([*filter(None, parts), *([f"{source['frozen']} frozen"] if source.get("frozen") else [])])


def datasets(results: Path, config: dict) -> pd.DataFrame:
    """task, examples, from (the mini study, a file, or the Hub at a revision), fingerprint (tasks.fingerprint)."""
    rows = []
    for path in sorted(results.glob("data/*.jsonl")):
        task = path.stem
        if task.endswith(".descriptions"):
            continue
        public = (paper_tasks.TASKS | (config.get("datasets") or {})).get(task)
        account = results / "downloads" / f"{task}.json"
        origin = "the mini study"
        if public and public.get("path"):
            origin = f"{public['benchmark']}: {public['path']}"
        elif public:
            fetched = json.loads(account.read_text()) if account.exists() else {}
            origin = f"{public['benchmark']}: Hub, {fetched.get('repo')} @ {fetched.get('revision')}"
        examples = read_examples(path)
        rows.append({"task": task, "examples": len(examples), "from": origin, "fingerprint": fingerprint(examples)})
    return pd.DataFrame(rows, columns=["task", "examples", "from", "fingerprint"])


def grades(results: Path, names: list[str]) -> pd.DataFrame:
    parts = [
        pd.read_csv(path, keep_default_na=False, dtype={"id": str}).assign(checkpoint=name)
        for name in names
        if (path := results / "grades" / f"{name}.csv").exists()
    ]
    return pd.concat(parts) if parts else pd.DataFrame()


def responses(grades: pd.DataFrame) -> pd.DataFrame:
    """checkpoint, task, condition, n, right, wrong, abstained, ungraded, truncated (reached the limit on new tokens)."""
    if grades.empty:
        return grades
    by = grades.groupby(["checkpoint", "task", "condition"], sort=False)
    table = by.verdict.value_counts().unstack(fill_value=0).reindex(columns=list(VERDICTS), fill_value=0)
    truncated = by.truncated.agg(lambda part: int((part.astype(str) == "True").sum()))
    return table.assign(truncated=truncated, n=table.sum(axis=1)).reset_index()[
        ["checkpoint", "task", "condition", "n", *VERDICTS, "truncated"]
    ]


def ungraded(grades: pd.DataFrame) -> pd.DataFrame:
    """Number of ungraded responses by reason: reason, responses."""
    if grades.empty:
        return grades
    reasons = grades[grades.verdict == UNGRADED].reason.value_counts()
    return reasons.rename_axis("reason").rename("responses").reset_index()


def probes(results: Path, names: list[str]) -> pd.DataFrame:
    """checkpoint, probe, of, samples (answers with one layer swapped or skipped, or attention records of one layer), failed."""
    rows = []
    for path in sorted(results.glob("localization/*.*.csv")):
        checkpoint, probe, _ = path.name.rsplit(".", 2)
        if checkpoint not in names:
            continue
        frame = pd.read_csv(path)
        for of, part in frame.groupby("function" if probe == "swap" else "task", sort=False):
            rows.append((checkpoint, probe, of, len(part), int(part.failed.sum())))
    for path in sorted(results.glob("attention/*.csv")):
        if not path.name.endswith(".heads.csv") and path.name.rsplit(".", 2)[0] in names:
            frame = pd.read_csv(path)
            failed = int(frame.attention_mass.isna().sum())
            rows.append(
                (path.name.rsplit(".", 2)[0], "attention", f"shard {path.name.split('.')[-2]}", len(frame), failed)
            )
    return pd.DataFrame(rows, columns=["checkpoint", "probe", "of", "samples", "failed"])


def times(results: Path) -> pd.DataFrame:
    """rule, jobs, minutes (wall time, summed over jobs), longest (minutes of one job), peak_mb; each job's latest run."""
    rows = []
    for path in sorted(results.glob("benchmarks/**/*.tsv")):
        rule = path.relative_to(results / "benchmarks").parts[0].removesuffix(".tsv")
        rows.append(pd.read_csv(path, sep="\t", na_values="-").tail(1).assign(rule=rule))
    if not rows:
        return pd.DataFrame(columns=["rule", "jobs", "minutes", "longest", "peak_mb"])
    frame = pd.concat(rows)
    table = frame.groupby("rule").agg(
        jobs=("s", "size"), minutes=("s", "sum"), longest=("s", "max"), peak_mb=("max_rss", "max")
    )
    table[["minutes", "longest"]] /= 60
    table = table.sort_values("minutes", ascending=False).reset_index()
    whole = {"rule": "all", "jobs": table.jobs.sum(), "minutes": table.minutes.sum()}
    whole |= {"longest": table.longest.max(), "peak_mb": table.peak_mb.max()}
    return pd.concat([table, pd.DataFrame([whole])], ignore_index=True)


def machines(results: Path) -> dict[str, int]:
    """Machine -> number of jobs, from the job logs; without logs, the machine that makes the report."""
    found: dict[str, int] = {}
    for path in results.glob("logs/**/*.log"):
        with open(path, errors="replace") as file:
            first = file.readline().strip()
        if first.startswith(RAN_ON):
            found[first.removeprefix(RAN_ON)] = found.get(first.removeprefix(RAN_ON), 0) + 1
    return found or {machine(): 0}


def commit() -> str:
    """The commit of this code, with "-dirty" if files differ from it; empty outside a git repository."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True).stdout.strip()
    except OSError:  # git is not installed, as on many compute nodes
        return ""


def versions() -> dict[str, str]:
    """Versions of the packages that a study's numbers depend on, if installed where the report is made."""
    found = {}
    for name in _PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
