"""The workflow of a study: where its Snakefile is, and the stages that its rules belong to."""

from __future__ import annotations

import re
from pathlib import Path

from ..core.errors import InputError

_LAST_LINES = 12  # of a failed job's log
_RULE = re.compile(r"^(?:use rule \w+ as|rule) (\w+)", re.M)


def snakefile(given: Path | None = None) -> Path:
    """The Snakefile that is given, the current directory's, or that of the checkout which this library belongs to.

    Raises InputError where there is none: `pip install` brings the library alone.
    """
    if given:
        if not given.is_file():
            raise InputError(f"{given}: no such Snakefile")
        return given
    for path in (Path("Snakefile"), Path(__file__).parents[3] / "Snakefile"):
        if path.is_file() and (path.parent / "rules" / "reporting.smk").is_file():
            return path
    raise InputError("no Snakefile of Frankenstein here: run in a clone of the repository, or give --snakefile")


def stages(snakefile: Path) -> dict[str, str]:
    """Rule -> stage, which is the name of its file in rules/: "generate" -> "evaluation"; in the order of the Snakefile."""
    included = re.findall(r'^include: "(rules/\w+\.smk)"', Path(snakefile).read_text(), re.M)
    found = {}
    for name in included:
        path = Path(snakefile).parent / name
        found |= dict.fromkeys(_RULE.findall(path.read_text()), path.stem)
    return found


def last_lines(log: str | Path, count: int = _LAST_LINES) -> list[str]:
    """The last lines of a log; of a job that ended with an InputError, only that line."""
    try:
        lines = Path(log).read_text(errors="replace").strip().splitlines()
    except OSError:
        return []
    return lines[-1:] if lines and lines[-1].startswith("error: ") else lines[-count:]
