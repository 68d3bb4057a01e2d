"""The claims chart: each statement's estimate with its interval."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from ...claims import statements
from ...claims.measurements import Measurements
from ..drawing import by
from ..style import BLUE, GREY, ORANGE, PAGE, SMALL

KIND = "Estimates with 95 % intervals, one panel per claim"
ROWS = "one statement of a claim in one recipe (if recipe is empty, one Base, independent of the recipes)"
COLUMNS = [
    "claim",
    "statement",
    "recipe",
    "expect",
    "estimate",
    "low",
    "high",
    "p",
    "p_holm",
    {"n": "number of units (examples, layers or matrices)"},
    {"unit": "kind of unit: examples, layers or matrices"},
    {"sample": "digest of the units' values; equal if recipes share the data behind the statement"},
    {
        "needed": "for an undecided statement, number of units at which this effect would be detected with 80 % power at the level of Holm's first step; inf for an effect of zero"
    },
    {"detectable": "smallest effect detectable with n units at the same power and level"},
    "axis",
    {
        "p_layers": "share of random partitions of the layers into sets of the same sizes that are at least as extreme in the expected direction"
    },
    {
        "null": "for statements that compare RL with IN, the estimate with the retrained IN (another seed) in place of RL"
    },
    {"null_low": "lower bound of the 95 % interval of null"},
    {"null_high": "upper bound of the 95 % interval of null"},
    "verdict",
    {"why": "what is missing from the study, if the statement was not tested"},
]


def data(measured: Measurements, stated: list[dict]) -> pd.DataFrame:
    """statements.check_all for the given claims."""
    return statements.check_all(stated, measured)


def draw(table: pd.DataFrame, measured: Measurements) -> Figure:
    """The claims chart: each statement's estimate and 95 % interval (statements.check_all); one panel per claim, one row per recipe.

    Estimates have different units, so each claim has its own axis. Filled: decided; hollow: undecided; cross: the same
    statistic with IN retrained with another seed in RL's place.
    """
    table = table[table.estimate.notna()]
    names = list(dict.fromkeys(table.claim))
    heights = [len(table[table.claim == name]) for name in names] or [1]
    size = (PAGE, 0.5 + 0.22 * sum(heights) + 0.45 * len(heights))
    figure, axes = plt.subplots(len(heights), 1, figsize=size, squeeze=False, height_ratios=heights)
    colours = {"supported": BLUE, "contradicted": ORANGE, "undecided": GREY}
    for axis, name in zip(axes[:, 0], names, strict=False):
        part = table[table.claim == name].reset_index(drop=True)
        for at, row in part.iterrows():
            colour = colours[row.verdict]
            if not np.isnan(row.low):
                axis.plot([row.low, row.high], [at, at], color=colour, lw=1.2)
            axis.plot(row.estimate, at, "o", ms=4, color=colour, mfc="white" if row.verdict == "undecided" else colour)
            axis.plot([row.null_low, row.null_high], [at + 0.3] * 2, color="black", lw=0.6)
            axis.plot(row["null"], at + 0.3, "x", ms=3.5, color="black", mew=0.8)
        labels = [
            f"{row.statement} ({row.recipe + ', ' if row.recipe else ''}{row.n:.0f} {row.unit}) "
            f"{'→' if row.expect == 'greater' else '←'}"
            for row in part.itertuples()
        ]
        axis.set_yticks(range(len(part)), labels, fontsize=SMALL)
        axis.set_ylim(len(part) - 0.5, -0.5)
        axis.axvline(0, color="black", lw=0.6)
        axis.tick_params(axis="x", labelsize=SMALL)
        axis.set_xlabel(", ".join(dict.fromkeys(part.axis)), fontsize=SMALL)
        axis.set_title(f"claim {name}", loc="left")
    if not names:
        axes[0, 0].set_title("this study has nothing that a claim is about")
    handles = [
        plt.Line2D([], [], color=colour, marker="o", ms=4, lw=1.2, label=label, mfc=fill)
        for (label, colour), fill in zip(colours.items(), (BLUE, ORANGE, "white"), strict=True)
    ]
    if table["null"].notna().any():
        handles.append(plt.Line2D([], [], color="black", marker="x", ms=4, ls="", label="another seed in RL's place"))
    figure.legend(handles=handles, loc="outside lower center", ncols=4)
    return figure


def describe(table: pd.DataFrame) -> list[str]:
    """Phrases describing the figure, for its alt text."""

    def say(part: pd.DataFrame) -> str:
        return ", ".join(f"{n} {name}" for name, n in part.verdict.value_counts().items())

    return [f"all: {say(table)}", *by(table, ["claim"], say)]
