"""The claims chart: each statement's estimate with its interval, and the training runs as points."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from ...claims import testing, verdicts
from ...claims.estimates import RUNS
from ...claims.measurements import Measurements
from ..drawing import by
from ..style import BLUE, GREEN, GREY, ORANGE, PAGE, PALETTE, SMALL

KIND = "Estimates with 95 % intervals and training runs as points, one panel per claim"
ROWS = "one statement of a claim"
COLUMNS = [
    "claim",
    "statement",
    "expect",
    {"margin": "smallest relevant difference, in the unit of the estimate; empty if none is declared"},
    {
        "over": "what tests and interval generalize to: runs; examples (with one run, or on the one Base); nothing (the weights of one run, measured whole)"
    },
    {"n": "number of these"},
    {"units": "units measured in each run"},
    {"unit": "kind of unit: examples, layers or matrices"},
    {"estimate": "mean over the runs"},
    {"low": "lower bound of its 95 % interval"},
    "high",
    {"along": "number of runs with the expected sign (within the margin, where equal is expected)"},
    {"p_for": "one-sided p in the expected direction, uncorrected"},
    {"p_against": "one-sided p in the opposite direction, uncorrected"},
    {"p_within": "p of two one-sided tests (TOST) that the effect lies within the margin, uncorrected"},
    {"p_sign_flip": "two-sided p of the sign-flip test over runs, as a check of the t test"},
    {"share": "share of weight matrices with the expected sign, mean over the runs"},
    {"effect_size": "mean over weight matrices divided by their standard deviation, mean over the runs"},
    {"null": "the estimate with another seed in RL's place: the retrained IN, or a hybrid of it (IN:SEED:SEED)"},
    {"null_low": "lower bound of the 95 % interval of null"},
    {"null_high": "upper bound of the 95 % interval of null"},
    "axis",
    {"of_base": "True for statements about the one Base, which are not about RL"},
    {"why": "what could not be tested, and why"},
    {"level": "level of every one-sided test of this report: all its decisions together err in at most 5 % of reports"},
    "verdict",
    {
        "in_checkpoint": "with one run: what holds in the checkpoints of this run; the verdict, which is about RL, is undecided"
    },
    {"detectable": "effect that these data would show with 80 % power at this level"},
    {"needed_runs": "for an undecided statement, runs that would show an effect of the margin with 80 % power"},
    {"needed_examples": "examples in each of these runs"},
    {
        "random_layers": "share of random partitions of the layers into sets of the same sizes that are at least as extreme in the expected direction"
    },
]


def tables(measured: Measurements, stated: list[dict], partial: bool = False) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(statements, runs): testing.check_all with verdicts.decide, and random_layers (testing.random_layers)."""
    tested, in_runs = testing.check_all(stated, measured, partial)
    return verdicts.decide(tested).assign(random_layers=testing.random_layers(stated, measured)), in_runs


def draw(table: pd.DataFrame, in_runs: pd.DataFrame) -> Figure:
    """The claims chart: each statement's estimate and 95 % interval over runs, with the runs beside it, one panel per claim.

    Estimates have different units, so each claim has its own axis. Filled: decided; hollow: undecided; small points: runs, in
    the colour of their recipe; shaded: within the margin; cross: the same with another seed in RL's place.
    """
    table = table[table.estimate.notna()]
    names = list(dict.fromkeys(table.claim))
    heights = [len(table[table.claim == name]) for name in names] or [1]
    size = (PAGE, 0.6 + 0.34 * sum(heights) + 0.45 * len(heights))
    figure, axes = plt.subplots(len(heights), 1, figsize=size, squeeze=False, height_ratios=heights)
    colours = {
        verdicts.SUPPORTED: BLUE, verdicts.CONTRADICTED: ORANGE, verdicts.SAME: GREEN, verdicts.UNDECIDED: GREY,
    }  # fmt: skip
    recipes = list(dict.fromkeys(in_runs.recipe))
    for axis, name in zip(axes[:, 0], names, strict=False):
        part = table[table.claim == name].reset_index(drop=True)
        for at, row in part.iterrows():
            said = row.in_checkpoint or row.verdict
            if not np.isnan(row.margin):
                axis.fill_between([-row.margin, row.margin], at - 0.45, at + 0.45, color="#eeeeee", lw=0, zorder=0)
            axis.plot([row.low, row.high], [at, at], color=colours[said], lw=1.2)
            hollow = row.verdict == verdicts.UNDECIDED
            axis.plot(row.estimate, at, "o", ms=4.5, color=colours[said], mfc="white" if hollow else colours[said])
            if row.over == RUNS:
                runs = in_runs[(in_runs.claim == name) & (in_runs.statement == row.statement)]
                for i, recipe in enumerate(recipes):
                    values = runs[runs.recipe == recipe].estimate
                    axis.plot(values, [at - 0.27] * len(values), ".", ms=3, color=PALETTE[i % len(PALETTE)], alpha=0.8)
            axis.plot([row.null_low, row.null_high], [at + 0.28] * 2, color="black", lw=0.6)
            axis.plot(row["null"], at + 0.28, "x", ms=3.5, color="black", mew=0.8)
        labels = [
            f"{row.statement} ({f'{row.n:.0f} {row.over}' if row.over != 'nothing' else 'one run'}) {_SIGNS[row.expect]}"
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
        plt.Line2D([], [], color=colour, marker="o", ms=4, lw=1.2, label=label, mfc="white" if label == verdicts.UNDECIDED else colour)
        for label, colour in colours.items()
    ]  # fmt: skip
    if (table.over == RUNS).any():
        handles += [
            plt.Line2D([], [], color=PALETTE[i % len(PALETTE)], marker=".", ms=4, ls="", label=f"runs of {recipe}")
            for i, recipe in enumerate(recipes)
        ]
    if table["null"].notna().any():
        handles.append(plt.Line2D([], [], color="black", marker="x", ms=4, ls="", label="another seed in RL's place"))
    figure.legend(handles=handles, loc="outside lower center", ncols=4)
    return figure


_SIGNS = {"greater": "→", "less": "←", "equal": "="}


def describe(table: pd.DataFrame) -> list[str]:
    """Phrases describing the figure, for its alt text."""

    def say(part: pd.DataFrame) -> str:
        return ", ".join(f"{n} {name}" for name, n in part.verdict.value_counts().items())

    return [f"all: {say(table)}", *by(table, ["claim"], say)]
