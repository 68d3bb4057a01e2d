"""`frankenstein status`: what a study has, what is to be done, and what failed last."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from ..core.errors import InputError
from ..core.terminal import columns, paint
from . import config, plan
from .layout import Layout
from .workflow import last_lines, stages

_SHOWN = 5  # failures


def study_file(given: Path) -> tuple[Path, Path]:
    """(study file, directory in which its workflow runs) of a study file, or of a results folder (results/NAME).

    Raises InputError if it is neither. The path of the file is relative to the directory, or absolute.
    """
    if not given.is_dir():
        return given, Path()
    named = given / "config"
    if not named.is_file():
        raise InputError(f"{given}: no file `config`: not a study's results, or the study was never started")
    return Path(named.read_text().strip()), given.resolve().parents[1]


def status(given: Path, snakefile: Path) -> str:
    """Jobs done and to be done (again, where what they rest on has changed) by stage, the jobs that failed last with the end of their logs, and the report.

    given: a study file, or a study's results folder. Takes two dry runs. Raises InputError as config.load does.
    """
    path, root = study_file(given)
    paths = Layout(config.load(config.read(root / path)).study)
    with ThreadPoolExecutor() as pool:
        runs = [
            pool.submit(plan.dry_run, path, snakefile.resolve(), *arguments, root=root)
            for arguments in ([], ["--forceall"])
        ]
        missing, every = (plan.jobs(run.result()) for run in runs)
    lines = [f"{paths.results}: {len(every) - len(missing)} of {len(every)} jobs are done and up to date", ""]
    of = stages(snakefile)
    rows = [["stage", "done", "to do"]]
    for stage in dict.fromkeys(of.values()):
        total, left = (sum(of[rule] == stage for rule in table.rule) for table in (every, missing))
        rows += [[stage, str(total - left), str(left)]] if total else []
    lines += columns(rows)
    locked = any((root / ".snakemake" / "locks").glob("*"))
    if locked:
        lines += ["", "A run is under way in this directory, or was killed (then: `snakemake --unlock`)."]
    lines += _failures(missing, root, locked)
    report, partial = (root / name for name in (paths.report, paths.partial_report))
    made = report if report.exists() else partial if partial.exists() else None
    lines += ["", f"report: {made.relative_to(root)}, of {_when(made)}" if made else "report: not yet made"]
    if len(missing):
        lines.append(f"to go on: frankenstein run {path}")
    return "\n".join(lines)


def _failures(missing, root: Path, locked: bool) -> list[str]:
    """Missing jobs that left a log and not all of their outputs, the latest first: Snakemake removes a failed job's outputs."""
    found = [
        (log, job.rule, job.wildcards)
        for job in missing.itertuples()
        for log in (root / name for name in job.log)
        if log.exists() and not all((root / name).exists() for name in job.output)
    ]
    found.sort(key=lambda failure: -failure[0].stat().st_mtime)
    lines = ["", "running, or failed:" if locked else "failed, or interrupted:"] if found else []
    for log, rule, wildcards in found[:_SHOWN]:
        lines.append(f"  {paint(' '.join([rule, *wildcards.values()]), 'bad')}, {_when(log)}")
        lines += [f"      {line}" for line in last_lines(log)]
        lines.append(f"      log: {log.relative_to(root)}")
    return [*lines, *([f"  and {len(found) - _SHOWN} more"] if len(found) > _SHOWN else [])]


def _when(path: Path) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(path.stat().st_mtime))
