"""The paper's reported numbers (workflow/claims/reference.yaml)."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import yaml

from ..core.intervals import wilson


def read(path: str | Path) -> dict:
    """The paper's Tables 2 and 3 in percent, and the Base's benchmark average."""
    return yaml.safe_load(Path(path).read_text())


def paper_cells(reference: dict) -> pd.DataFrame:
    """The paper's Tables 2 and 3, with the intervals it does not report: table, recipe, role, metric, n, value, low, high
    (rates with 95 % Wilson intervals). reference: the parsed YAML."""
    rows = []
    for table in ("table2", "table3"):
        n, roles = reference[table]["n"], reference[table]["roles"]
        for recipe, metrics in reference[table].items():
            if recipe in ("n", "roles"):
                continue
            for metric, percents in metrics.items():
                for role, percent in zip(roles, percents, strict=True):
                    hits = round(percent * n / 100)
                    cell = {"table": table, "recipe": recipe, "role": role, "metric": metric, "n": n}
                    rows.append({**cell, "value": hits / n, **wilson(hits, n)})
    return pd.DataFrame(rows)
