"""Text for a terminal: color where it is wanted, and aligned columns."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TextIO

_CODES = {"good": "32", "bad": "31", "note": "33", "strong": "1"}


def paint(text: str, style: str, stream: TextIO | None = None) -> str:
    """The text in color (style: good, bad, note, strong) if the stream (default: stdout) is a terminal that shows it.

    No color with NO_COLOR set (no-color.org) or TERM=dumb.
    """
    stream = stream or sys.stdout
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not stream.isatty():
        return text
    return f"\033[{_CODES[style]}m{text}\033[0m"


def columns(rows: Sequence[Sequence[str]], left: int = 1) -> list[str]:
    """Rows of equal length as lines of aligned columns, two spaces apart: the first `left` flush left, the others flush right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if at < left else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def size(count: float) -> str:
    """A number of bytes in words: 512 bytes, 2.6 MB, 15.2 GB."""
    for unit, least in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= least:
            return f"{count / least:.1f} {unit}"
    return f"{count:.0f} bytes"
