"""Job logs: stdout and stderr in one file, headed by a line describing the machine; an InputError is logged as one line."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
import traceback
from pathlib import Path

from . import progress
from .errors import InputError

RAN_ON = "ran on: "


def machine() -> str:
    """Versions of Python, torch and transformers, and this machine's processor and GPUs, but not its name."""
    versions = [f"{name} {importlib.metadata.version(name)}" for name in ("torch", "transformers")]
    model = [line for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    processor = model[0].partition(":")[2].strip() if model else platform.processor() or platform.machine()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    gpus = [
        line.partition(":")[2].strip()
        for path in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
        for line in _lines(path)
        if line.startswith("Model:")
    ]
    return ", ".join([f"Python {platform.python_version()}", *versions, f"{processor} ({cores} cores)", *gpus])


def _lines(path: str | Path) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


def redirect(path: str) -> None:
    """Redirect stdout and stderr to a file from now on; an uncaught InputError is written without its traceback.

    What was a terminal before still gets the job's progress (`progress`).

    Works on file descriptors, so anything already holding stderr (transformers' logger) is redirected too.
    """
    progress.show(progress.name_of(path))
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)

    def hook(kind, error, trace):
        if issubclass(kind, InputError):
            print(f"error: {error}", file=sys.stderr)
        else:
            traceback.print_exception(kind, error, trace, file=sys.stderr)

    sys.excepthook = hook
    print(RAN_ON + machine(), flush=True)
