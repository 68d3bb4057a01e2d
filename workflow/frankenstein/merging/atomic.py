"""Atomic directory creation: the directory appears complete or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from ..core.errors import InputError


def _runs(process: int) -> bool:
    """Whether the process exists. Does not use /proc: outside Linux, every process would seem dead."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


@contextlib.contextmanager
def whole_or_not(out: Path, needed: int, again: bool = False) -> Iterator[Path]:
    """Context: a temporary directory for `needed` bytes that becomes `out` on success and is removed on failure.

    Also removes leftovers of killed runs. again: replace an existing `out`; otherwise an existing one is kept and an
    error raised.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    for left in out.parent.glob(f".{out.name}.*.partial"):
        if not _runs(int(left.name.split(".")[-2])):
            shutil.rmtree(left, ignore_errors=True)
    if needed > (free := shutil.disk_usage(out.parent).free):
        raise InputError(
            f"{out}: {needed / 1e9:.1f} GB to write, {free / 1e9:.1f} GB free on its disk; nothing written"
        )
    part = out.parent / f".{out.name}.{os.getpid()}.partial"
    part.mkdir()
    try:
        yield part
        if again and out.exists():
            shutil.rmtree(out)  # hard links to its files keep their data
        os.replace(part, out)
    except BaseException as error:
        shutil.rmtree(part, ignore_errors=True)
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise InputError(f"{out}: the disk is full; what was written is removed") from None
        raise
