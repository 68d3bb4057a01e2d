"""One module per figure: `data` (its numbers), `draw`, `describe` (alt text), and documentation of its CSV columns.

A module has KIND (the first sentence of the alt text), ROWS and COLUMNS (in the format of workflow/report/columns.yaml),
data(measured) -> DataFrame, draw(table, measured) -> Figure, describe(table) -> list of phrases.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from types import ModuleType

import pandas as pd


def names() -> list[str]:
    """Names of all available figures, whether or not a study produces them."""
    return sorted(path.stem for path in Path(__file__).parent.glob("*.py") if path.stem != "__init__")


def load(name: str) -> ModuleType:
    """Import the module of a figure."""
    return import_module(f"{__name__}.{name}")


def alt_text(name: str, table: pd.DataFrame) -> str:
    """Alt text of a figure, generated from its CSV."""
    module = load(name)
    parts = module.describe(table) if len(table) else ["nothing was measured"]
    return f"{module.KIND}. " + "; ".join(parts) + "."
