"""JSON lines: one record a line, and files whose writer was stopped."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from .errors import InputError


def read(path: Path, torn: bool = False) -> Iterator[tuple[int, dict]]:
    """(line number, record) of each line; blank lines are left out.

    torn: a last line without a newline that is no JSON is left out too, for its writer was stopped within it.
    Raises InputError: the file, the line, and what is wrong.
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
            raise InputError(f"{path}, line {number}: no JSON object ({error})") from None
        yield number, record


def line(record: dict) -> str:
    """A record as its line."""
    return json.dumps(record, ensure_ascii=False).encode("utf-8", "replace").decode() + "\n"
