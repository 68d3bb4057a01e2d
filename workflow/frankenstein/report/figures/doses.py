"""Dose-response of hybrids (beyond the paper's Table 2)."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from ...claims import interpolation
from ...claims.measurements import Measurements
from ...core.intervals import over_runs, standard_error
from ..drawing import by, panels, runs_of, sizes
from ..style import BLUE, GREEN, ORANGE, SMALL

KIND = "Line plots of M_vis, M_v2r and M_rea in percent by share of RL"
ROWS = "one run, family of hybrids, metric and dose"
COLUMNS = [
    "recipe",
    "run",
    {"family": "hybrid at dose 1, which names the family"},
    "metric",
    "role",
    {"dose": "share of RL in the interpolated layers, 0 to 1"},
    "n",
    {"value": "value of the metric, percent"},
    {"low": "lower bound of the 95 % Wilson interval, percent"},
    {"high": "upper bound, percent"},
    {"slope": "least-squares change from dose 0 to dose 1 over all doses, percentage points"},
    {"slope_low": "lower bound of its paired 95 % t interval over examples, percentage points"},
    {"slope_high": "upper bound, percentage points"},
    {"p": "p-value of the slope, two-sided, uncorrected"},
]


def data(measured: Measurements) -> pd.DataFrame:
    """interpolation.response for the runs with hybrids."""
    return interpolation.response(measured, measured.merged, measured.doses)


def draw(table: pd.DataFrame, measured: Measurements) -> Figure:
    """Dose-response of hybrids against the share of RL in the interpolated layers; one panel per recipe and family.

    table: interpolation.response. Of several runs, a thin line each and their mean.
    """
    pairs = list(dict.fromkeys(zip(table.recipe, table.family, strict=True)))
    figure, axes = panels(len(pairs), 2.9, sharey=True)
    for axis, (recipe, family) in zip(axes, pairs, strict=True):
        part = table[(table.recipe == recipe) & (table.family == family)]
        for (metric, line), colour, marker in zip(
            part.groupby("metric", sort=False), (BLUE, ORANGE, GREEN), "os^", strict=True
        ):
            of_runs, mean = line.groupby("run").first(), line.groupby("dose").value.mean()
            slopes = of_runs.slope
            if len(slopes) == 1:
                bounds = {"low": line.slope_low.iloc[0], "high": line.slope_high.iloc[0]}
                axis.fill_between(line.dose, line.low, line.high, color=colour, alpha=0.15, lw=0)
            else:
                # Two runs' t interval can reach further than a rate can change.
                errors = standard_error({"low": of_runs.slope_low, "high": of_runs.slope_high})
                bounds = {end: min(max(bound, -100), 100) for end, bound in over_runs(slopes, errors).items()}
                for _, one in line.groupby("run"):
                    axis.plot(one.dose, one.value, color=colour, lw=0.5, alpha=0.6)
            label = f"{metric}: {slopes.mean():+.1f} [{bounds['low']:+.1f}, {bounds['high']:+.1f}] from 0 to 1"
            axis.plot(mean.index, mean, color=colour, marker=marker, ms=3, lw=1.2, label=label)
        axis.set_title(f"recipe {recipe} ({runs_of(part)}{sizes(part)})")
        axis.set(xlabel=f"share of RL, from IN (0) to {family} (1)", ylabel="rate (%)", ylim=(0, 100))
        axis.legend(fontsize=SMALL, loc="upper center", bbox_to_anchor=(0.5, -0.2))
    return figure


def describe(table: pd.DataFrame) -> list[str]:
    """Phrases describing the figure, for its alt text."""
    return by(
        table,
        ["recipe", "family", "metric"],
        lambda part: ", ".join(f"{dose:g}: {value:.3g}" for dose, value in part.groupby("dose").value.mean().items()),
    )
