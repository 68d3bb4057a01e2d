"""Data dictionary of results/{study}/: for each file, what a row is and the columns with units (workflow/report/columns.yaml).

`python -m frankenstein.report.data_dictionary` writes results/README.md from it; tests check that page and every file that a study produces against it.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from functools import cache

import yaml

from . import figures
from .templates import FOLDER


@cache
def files() -> dict[str, dict]:
    """Path pattern below results/{study}/ -> rows (what a row is) and columns (name -> meaning with unit).

    A column name may be a pattern ("* low"); a trailing "?" marks an optional column.
    """
    found = yaml.safe_load((FOLDER / "columns.yaml").read_text())
    common = found.pop("common")
    modules = {name: figures.load(name) for name in figures.names()}
    found = {f"figures/{name}.csv": {"rows": of.ROWS, "columns": of.COLUMNS} for name, of in modules.items()} | found
    for entry in found.values():
        named = [{item: common[item.rstrip("?")]} if isinstance(item, str) else item for item in entry["columns"]]
        assert all(len(item) == 1 for item in named), named  # fails on an unquoted text with a comma
        entry["columns"] = {name: meaning for item in named for name, meaning in item.items()}
    return found


def columns(path: str) -> dict[str, str]:
    """The columns of a file below results/{study}/, from the first pattern matching its path. KeyError for an unknown file."""
    for pattern, entry in files().items():
        if fnmatchcase(path, pattern):
            return entry["columns"]
    raise KeyError(path)


def of(meaning: dict[str, str], column: str) -> str:
    """The meaning of a column; empty if it is not in the dictionary."""
    for name, text in meaning.items():
        if fnmatchcase(column, name.rstrip("?")):
            return text
    return ""


def differences(path: str, found: list[str]) -> list[str]:
    """Mismatches between a file's columns and the dictionary's."""
    meaning = columns(path)
    wanted = [name for name in meaning if not name.endswith("?") and "*" not in name]
    odd = [f"{path}: {column} is not in the dictionary" for column in found if not of(meaning, column)]
    return odd + [f"{path}: {name} is in the dictionary only" for name in wanted if name not in found]


def markdown() -> str:
    """The dictionary as a Markdown page."""
    lines = [
        "# What a study leaves here",
        "",
        "All outputs of a study are in `results/{study}/`. `report.html` is a self-contained report that you can share (above 25 MB with",
        "the folder `report` beside it); each figure is also available as PDF, PNG and CSV. Intervals are 95 %. `python -m frankenstein.report.data_dictionary` generates this page, and a test",
        "checks it against the files of a real study.",
        "",
    ]
    for pattern, entry in files().items():
        lines += [f"## `{pattern}`", "", f"A row: {entry['rows']}.", "", "| column | what, unit |", "|---|---|"]
        lines += [f"| `{name}` | {text} |" for name, text in entry["columns"].items()]
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    (FOLDER.parents[1] / "results" / "README.md").write_text(markdown())
