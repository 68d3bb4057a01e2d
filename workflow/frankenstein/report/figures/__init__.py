"""One module per figure: `data` (its numbers), `draw`, `describe` (in words), and what its CSV's columns are.

A module has KIND (the first sentence of the alt text), ROWS and COLUMNS (as workflow/report/columns.yaml has them),
data(measured) -> DataFrame, draw(table, measured) -> Figure, describe(table) -> list of phrases.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from types import ModuleType

import pandas as pd


def names() -> list[str]:
    """Every figure that there is, whatever a study makes."""
    return sorted(path.stem for path in Path(__file__).parent.glob("*.py") if path.stem != "__init__")


def load(name: str) -> ModuleType:
    """The module of a figure."""
    return import_module(f"{__name__}.{name}")


def alt_text(name: str, table: pd.DataFrame) -> str:
    """What a figure shows, from its CSV: for those who do not see it."""
    module = load(name)
    parts = module.describe(table) if len(table) else ["nothing was measured"]
    return f"{module.KIND}. " + "; ".join(parts) + "."
