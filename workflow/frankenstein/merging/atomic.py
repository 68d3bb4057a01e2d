"""A directory that is there whole, or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from ..core.errors import InputError


def _runs(process: int) -> bool:
    """Whether there is such a process; /proc is Linux's alone, and without it every process would seem dead."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


@contextlib.contextmanager
def whole_or_not(out: Path, needed: int, again: bool = False) -> Iterator[Path]:
    """A directory to write `needed` bytes to, which becomes `out` at the end, or goes; what a killed run left goes too.

    again: what stands in `out` then is replaced; else it is left alone, and an error.
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
            shutil.rmtree(out)  # what links to its files keeps them
        os.replace(part, out)
    except BaseException as error:
        shutil.rmtree(part, ignore_errors=True)
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise InputError(f"{out}: the disk is full; what was written is removed") from None
        raise
