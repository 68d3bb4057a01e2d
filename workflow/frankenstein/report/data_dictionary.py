"""The data dictionary of results/{study}/: each file, what a row is, its columns with units (workflow/report/columns.yaml).

`python -m frankenstein.report.data_dictionary` writes results/README.md from it; a test compares that, and every file that a study makes.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

import yaml

from . import figures

_REPORT = Path(__file__).parents[2] / "report"


@cache
def files() -> dict[str, dict]:
    """Pattern of a path below results/{study}/ -> rows (what one is) and columns (name -> meaning with unit).

    A name may be a pattern ("* low"), and one that ends in "?" need not be there.
    """
    found = yaml.safe_load((_REPORT / "columns.yaml").read_text())
    common = found.pop("common")
    modules = {name: figures.load(name) for name in figures.names()}
    found = {f"figures/{name}.csv": {"rows": of.ROWS, "columns": of.COLUMNS} for name, of in modules.items()} | found
    for entry in found.values():
        named = [{item: common[item.rstrip("?")]} if isinstance(item, str) else item for item in entry["columns"]]
        assert all(len(item) == 1 for item in named), named  # a comma in a text that is not quoted
        entry["columns"] = {name: meaning for item in named for name, meaning in item.items()}
    return found


def columns(path: str) -> dict[str, str]:
    """The columns of a file below results/{study}/: the first pattern that its path fits. KeyError for an unknown file."""
    for pattern, entry in files().items():
        if fnmatchcase(path, pattern):
            return entry["columns"]
    raise KeyError(path)


def of(meaning: dict[str, str], column: str) -> str:
    """What a column is; empty for one that the dictionary does not have."""
    for name, text in meaning.items():
        if fnmatchcase(column, name.rstrip("?")):
            return text
    return ""


def differences(path: str, found: list[str]) -> list[str]:
    """What a file's columns and the dictionary's do not have in common."""
    meaning = columns(path)
    wanted = [name for name in meaning if not name.endswith("?") and "*" not in name]
    odd = [f"{path}: {column} is not in the dictionary" for column in found if not of(meaning, column)]
    return odd + [f"{path}: {name} is in the dictionary only" for name in wanted if name not in found]


def markdown() -> str:
    """The dictionary as a page."""
    lines = [
        "# What a study leaves here",
        "",
        "Everything of a study is in `results/{study}/`. `report.html` is all of it on one page, to be sent to somebody; each figure is",
        "there as PDF, PNG and CSV. Intervals are 95 %. This page is made by `python -m frankenstein.report.data_dictionary`, and a test compares it",
        "with the files of a real study.",
        "",
    ]
    for pattern, entry in files().items():
        lines += [f"## `{pattern}`", "", f"A row: {entry['rows']}.", "", "| column | what, unit |", "|---|---|"]
        lines += [f"| `{name}` | {text} |" for name, text in entry["columns"].items()]
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    (_REPORT.parents[1] / "results" / "README.md").write_text(markdown())
