"""Figure 3: attention from reasoning to vision tokens by layer."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from ...claims.measurements import Measurements, own_text
from ...core.intervals import student
from ..drawing import bands, by, mean_run, panels, peak, shade, sizes
from ..style import STAGES

KIND = "Line plots of attention mass on vision tokens by layer"
ROWS = "one run, stage and layer"
COLUMNS = [
    "recipe",
    "run",
    "stage",
    "layer",
    "n",
    "failed",
    "attention_mass",
    {"low": "lower bound of the 95 % t interval of attention_mass"},
    {"high": "upper bound of the same interval"},
    "attention_mean",
]


def data(measured: Measurements) -> pd.DataFrame:
    """Attention of IN and RL over their own responses -> recipe, run, stage, layer, n, failed, attention_mass, attention_mean, low,
    high (95 % t interval of the mass)."""
    records = own_text(measured.attention)
    records = records[records.stage.isin(["IN", "RL"])]
    rows = []
    for (recipe, run, stage, layer), part in records.groupby(["recipe", "run", "stage", "layer"], sort=False):
        mass = part.attention_mass.dropna()
        rows.append(
            {
                "recipe": recipe,
                "run": run,
                "stage": stage,
                "layer": layer,
                "n": len(part),
                "failed": int(part.attention_mass.isna().sum()),
                "attention_mass": mass.mean(),
                **student(mass),
                "attention_mean": part.attention_mean.mean(),
            }
        )
    return pd.DataFrame(rows)


def draw(table: pd.DataFrame, measured: Measurements) -> Figure:
    """Figure 3: attention mass from reasoning to vision tokens by layer."""
    recipes = list(dict.fromkeys(table.recipe))
    figure, axes = panels(len(recipes), 2.5, sharey=True)
    for axis, recipe in zip(axes, recipes, strict=True):
        part = table[table.recipe == recipe]
        shade(axis, measured.regions)
        for stage, marker in (("IN", "o"), ("RL", "s")):
            bands(axis, part[part.stage == stage], "attention_mass", STAGES[stage], stage, marker)
        axis.set_title(f"recipe {recipe} ({sizes(part)})")
        axis.set_ylim(0, max(0.01, table.high.max()) * 1.15)
        axis.set_ylabel("aggregated attention\n(mass on vision tokens)")
    axes[0].legend()
    return figure


def describe(table: pd.DataFrame) -> list[str]:
    """Phrases describing the figure, for its alt text."""
    return by(table, ["recipe", "stage"], lambda part: peak(mean_run(part, "attention_mass"), "attention_mass"))
