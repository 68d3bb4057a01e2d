"""Dose-response of hybrids (beyond the paper's Table 2)."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from ...claims import interpolation
from ...claims.measurements import Measurements
from ..drawing import by, panels, sizes
from ..style import BLUE, GREEN, ORANGE, SMALL

KIND = "Line plots of M_vis, M_v2r and M_rea in percent by share of RL"
ROWS = "one recipe, family of hybrids, metric and dose"
COLUMNS = [
    "recipe",
    {"family": "hybrid at dose 1, which names the family"},
    "metric",
    "role",
    {"dose": "share of RL in the interpolated layers, 0 to 1"},
    "n",
    {"value": "value of the metric, percent"},
    {"low": "lower bound of the 95 % Wilson interval, percent"},
    {"high": "upper bound, percent"},
    {"slope": "least-squares change from dose 0 to dose 1 over all doses, percentage points"},
    {"slope_low": "lower bound of the paired 95 % bootstrap interval, percentage points"},
    {"slope_high": "upper bound, percentage points"},
    {"p": "p-value of the slope, two-sided, uncorrected"},
]


def data(measured: Measurements) -> pd.DataFrame:
    """interpolation.response for the recipes with hybrids."""
    return interpolation.response(measured, list(measured.merged), measured.doses)


def draw(table: pd.DataFrame, measured: Measurements) -> Figure:
    """Dose-response of hybrids against the share of RL in the interpolated layers; one panel per recipe and family.

    table: interpolation.response.
    """
    pairs = list(dict.fromkeys(zip(table.recipe, table.family, strict=True)))
    figure, axes = panels(len(pairs), 2.9, sharey=True)
    for axis, (recipe, family) in zip(axes, pairs, strict=True):
        part = table[(table.recipe == recipe) & (table.family == family)]
        for (metric, line), colour, marker in zip(
            part.groupby("metric", sort=False), (BLUE, ORANGE, GREEN), "os^", strict=True
        ):
            first = line.iloc[0]
            label = f"{metric}: {first.slope:+.1f} [{first.slope_low:+.1f}, {first.slope_high:+.1f}] from 0 to 1"
            axis.plot(line.dose, line.value, color=colour, marker=marker, ms=3, lw=1.2, label=label)
            axis.fill_between(line.dose, line.low, line.high, color=colour, alpha=0.15, lw=0)
        axis.set_title(f"recipe {recipe} ({sizes(part)})")
        axis.set(xlabel=f"share of RL, from IN (0) to {family} (1)", ylabel="rate (%)", ylim=(0, 100))
        axis.legend(fontsize=SMALL, loc="upper center", bbox_to_anchor=(0.5, -0.2))
    return figure


def describe(table: pd.DataFrame) -> list[str]:
    """Phrases describing the figure, for its alt text."""
    return by(
        table,
        ["recipe", "family", "metric"],
        lambda part: ", ".join(f"{row.dose:g}: {row.value:g}" for row in part.itertuples()),
    )
