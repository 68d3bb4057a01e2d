"""JSON lines: one record per line, including files whose writer was interrupted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from .errors import InputError


def read(path: Path, torn: bool = False) -> Iterator[tuple[int, dict]]:
    """Yield (line number, record) for each line, skipping blank lines.

    torn: also skip a last line that lacks a newline and is not valid JSON, left by an interrupted writer. Raises
    InputError naming the file, the line and the problem.
    """
    lines = Path(path).read_bytes().split(b"\n")
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line.decode())
            if not isinstance(record, dict):
                raise ValueError("not an object")
        except ValueError as error:
            if torn and number == len(lines):
                return
            raise InputError(f"{path}, line {number}: not a JSON object ({error})") from None
        yield number, record


def line(record: dict) -> str:
    """A record serialized as one line."""
    return json.dumps(record, ensure_ascii=False).encode("utf-8", "replace").decode() + "\n"
