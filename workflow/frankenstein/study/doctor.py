"""`frankenstein doctor`: whether this machine can run a study, and what to do where it can't."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import NamedTuple

from ..core.errors import InputError
from ..core.terminal import size
from ..models import gpu, hub
from . import workflow

OK, MISSING, NOTE = "ok", "missing", "-"
_SHOWN = ("torch", "transformers", "snakemake", "trl")  # versions worth a line of their own
_MEMORY, _DISK = 8e9, 5e9  # bytes that the mini study takes: README, and its results with room to spare


class Line(NamedTuple):
    """A finding. state: ok, missing (needed by the default study) or - (needed by some studies alone); todo: the remedy."""

    state: str
    what: str
    todo: str = ""


def examine() -> Iterator[Line]:
    """What there is, line by line; the slow ones (torch, the size of the cache) are last."""
    yield from _python()
    yield from _workflow()
    yield from _machine()
    yield from _optional()
    yield from _slurm()
    yield from _hub()
    yield from _gpu()


def _python() -> Iterator[Line]:
    from packaging.requirements import Requirement

    good = sys.version_info >= (3, 11)
    yield Line(OK if good else MISSING, f"Python {platform.python_version()}", "" if good else "install 3.11 or newer")
    try:
        needed = [Requirement(text) for text in requires("frankenstein-vlm") or ()]
    except PackageNotFoundError:
        yield Line(MISSING, "frankenstein-vlm is not installed", "in its clone: pip install -c constraints.txt -e .")
        return
    bad = []
    for requirement in needed:
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        have = _version(requirement.name)
        if have is None or not requirement.specifier.contains(have, prereleases=True):
            bad.append(f"{requirement}{f' (here {have})' if have else ''}")
    told = ", ".join(f"{name} {_version(name)}" for name in _SHOWN if _version(name))
    yield Line(OK, f"frankenstein {_version('frankenstein-vlm')}, {told}")
    if bad:
        yield Line(MISSING, f"packages: {', '.join(bad)}", "in the clone: pip install -c constraints.txt -e .")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _workflow() -> Iterator[Line]:
    try:
        yield Line(OK, f"workflow: {workflow.snakefile().resolve()}")
    except InputError as error:
        yield Line(MISSING, "workflow", str(error))


def _machine() -> Iterator[Line]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    enough = memory >= 0.95 * _MEMORY  # a part is the kernel's
    yield Line(
        OK if enough else MISSING,
        f"{cores} core{'s' * (cores > 1)}, {size(memory)} of memory",
        "" if enough else "the mini study takes 8 GB",
    )
    free = shutil.disk_usage(Path.cwd()).free
    yield Line(
        OK if free >= _DISK else MISSING,
        f"disk here: {size(free)} free",
        "" if free >= _DISK else f"the mini study takes up to {size(_DISK)}",
    )
    if not os.access(Path.cwd(), os.W_OK):
        yield Line(MISSING, f"{Path.cwd()} can't be written to", "run from a folder of your own")


def _optional() -> Iterator[Line]:
    for package, what, todo in (
        ("vllm", "for evaluation.engine: vllm", "an environment of its own: pip install -c constraints-vllm.txt -e '.[vllm]'"),
        ("openai", "for judges, descriptions and checkpoints behind an API", "pip install -c constraints.txt -e '.[api]'"),
    ):  # fmt: skip
        have = _version(package)
        yield Line(OK if have else NOTE, f"{package} {have or 'is not installed'} ({what})", "" if have else todo)


def _slurm() -> Iterator[Line]:
    if not shutil.which("sbatch"):
        yield Line(NOTE, "Slurm: no sbatch here")
        return
    told = _output("sbatch", "--version")
    plugin = _version("snakemake-executor-plugin-slurm")
    yield Line(OK, f"Slurm: {told or 'sbatch'}, profile profiles/slurm")
    if not plugin:
        yield Line(
            NOTE, "snakemake-executor-plugin-slurm is not installed", "pip install -c constraints.txt -e '.[slurm]'"
        )


def _hub() -> Iterator[Line]:
    from huggingface_hub import constants, get_token

    cache = hub.cache()
    there = next(path for path in (cache, *cache.parents) if path.exists())
    held = sum(path.stat().st_size for path in cache.glob("*/blobs/*") if path.is_file())
    yield Line(OK, f"Hub cache: {cache}, {size(held)}, {size(shutil.disk_usage(there).free)} free (HF_HOME moves it)")
    token = get_token() is not None
    yield Line(
        OK if token else NOTE,
        f"Hub token: {'present' if token else 'none (public checkpoints need none)'}",
        "" if token else "`hf auth login`, for gated checkpoints and for `frankenstein push`",
    )
    if constants.HF_HUB_OFFLINE:
        yield Line(NOTE, "HF_HUB_OFFLINE is set: nothing is downloaded", "unset it to fetch checkpoints and benchmarks")


def _gpu() -> Iterator[Line]:
    found = _output("nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader")
    for number, row in enumerate((found or "").splitlines()):
        yield Line(OK, f"GPU {number}: {row} (name, memory, driver)")
    try:
        device = gpu.device()  # imports torch
    except InputError as error:
        yield Line(MISSING, "torch can't use the GPU", str(error))
    except ImportError as error:
        yield Line(MISSING, f"torch can't be imported: {error}", "pip install -c constraints.txt -e .")
    else:
        says = (
            "torch uses the GPU" if device == "cuda" else "torch runs on the CPU: enough for the mini study, not for 7B"
        )
        yield Line(OK if device == "cuda" or not found else NOTE, says)


def _output(*command: str) -> str | None:
    """What a program prints; None if it is not there or fails."""
    try:
        made = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return made.stdout.strip()


def report(show: Callable[[Line], None]) -> bool:
    """Show every line as it is found; whether nothing is missing that the default study needs."""
    good = True
    for line in examine():
        show(line)
        good = good and line.state != MISSING
    return good
