"""Figure 2: accuracy by ability and stage."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from ...claims.measurements import Measurements
from ...claims.reference import paper_cells
from ..drawing import by, panels, percent, runs_of, sizes
from ..style import SMALL, STAGES

KIND = "Bar chart of accuracy in percent by recipe, ability and stage"
ROWS = "one run, ability and stage"
COLUMNS = [
    "recipe",
    "run",
    {"ability": "Average benchmark, Vision (M_vis), Vision-to-Reasoning (M_v2r), Reasoning (M_rea)"},
    "stage",
    "n",
    {"value": "accuracy, percent"},
    {"low": "lower bound of the 95 % interval (Wilson; normal for the average), percent"},
    {"high": "upper bound, percent"},
    {"paper": "value reported in the paper for a recipe of this name, percent"},
]


ABILITIES = {"M_vis": "Vision", "M_v2r": "Vision-to-Reasoning", "M_rea": "Reasoning"}


def data(measured: Measurements) -> pd.DataFrame:
    """recipe, run, ability, stage, n, value, low, high, paper. The benchmark average weights tasks equally; its interval
    is the normal interval for a mean of independent rates. paper: the paper's value for a recipe of the same name."""
    scores, benchmarks, reference = measured.scores, measured.benchmarks, measured.reference
    cells = paper_cells(reference).set_index(["table", "recipe", "role", "metric"]).value
    averages = reference["benchmark_average"]
    rows = []
    stages = scores[scores.role.isin(["Base", "IN", "RL"])]
    for (recipe, run, stage), part in stages.groupby(["recipe", "run", "role"], sort=False):
        tasks = part[part.metric.isin(benchmarks)]
        mean = tasks.value.mean()
        half = 1.96 * np.sqrt((tasks.value * (1 - tasks.value) / tasks.n).sum()) / len(tasks)
        label = {"recipe": recipe, "run": run, "stage": stage}
        average = {"ability": "Average benchmark", "n": tasks.n.min(), "value": mean}
        paper = averages.get(recipe, {}).get(stage, np.nan) / 100
        rows.append({**label, **average, "low": mean - half, "high": mean + half, "paper": paper})
        for metric, ability in ABILITIES.items():
            row = part[part.metric == metric].iloc[0][["n", "value", "low", "high"]]
            paper = cells.get(("table2", recipe, stage, metric), np.nan)
            rows.append({**label, "ability": ability, **row, "paper": paper})
    frame = pd.DataFrame(rows)[["recipe", "run", "ability", "stage", "n", "value", "low", "high", "paper"]]
    return percent(frame, ["value", "low", "high", "paper"])


def draw(table: pd.DataFrame, measured: Measurements) -> Figure:
    """Figure 2: accuracy by ability and stage. table: recipe, run, ability, stage, n, value, low, high, paper (percent).

    With several runs, bars are means and each run is a point; with one, the error bar is its interval over examples. Diamonds
    mark the paper's value for a recipe of the same name.
    """
    recipes = list(dict.fromkeys(table.recipe))
    figure, axes = panels(len(recipes), 2.6, sharey=True)
    abilities = list(dict.fromkeys(table.ability))
    for axis, recipe in zip(axes, recipes, strict=True):
        part = table[table.recipe == recipe]
        for i, (stage, colour) in enumerate(STAGES.items()):
            of_stage = part[part.stage == stage]
            columns = ["value", "low", "high", "paper"]
            rows = of_stage.groupby("ability")[columns].mean().reindex(abilities)
            x = np.arange(len(abilities)) + (i - 1) * 0.27
            axis.bar(x, rows.value, 0.25, color=colour, label=stage)
            if (runs := of_stage.run.nunique()) > 1:
                beside = (
                    of_stage.run.rank(method="dense") - (runs + 1) / 2
                ) / runs  # of one another, centred on the bar
                at = x[of_stage.ability.map(abilities.index)] + 0.15 * beside
                axis.plot(at, of_stage.value, ".", ms=2.5, color="black")
                rows = rows.assign(high=of_stage.groupby("ability").value.max())
            else:
                # Rounding can put a rate of exactly 0 or 1 just outside its Wilson interval.
                error = [(rows.value - rows.low).clip(lower=0), (rows.high - rows.value).clip(lower=0)]
                axis.errorbar(x, rows.value, error, fmt="none", ecolor="black", elinewidth=0.7, capsize=1.5)
            if rows.paper.notna().any():
                axis.plot(x, rows.paper, "D", ms=3, mfc="white", mec="black", mew=0.7)
            for at, value, high in zip(x, rows.value, rows.high, strict=True):
                if np.isnan(value):  # a recipe without a Base
                    continue
                axis.text(at, high + 1, f"{value:.0f}", ha="center", va="bottom", fontsize=SMALL)
        axis.set_xticks(
            range(len(abilities)), [ability.replace(" ", "\n").replace("-to-", "-to-\n") for ability in abilities]
        )
        axis.set_title(f"recipe {recipe} ({runs_of(part)}{sizes(part)})")
        axis.set(ylabel="accuracy (%)", ylim=(0, 112))
    handles, labels = axes[0].get_legend_handles_labels()
    if table.paper.notna().any():
        handles.append(plt.Line2D([], [], marker="D", ms=3, mfc="white", mec="black", ls=""))
        labels.append("the paper (Table 2)")
    figure.legend(handles, labels, loc="outside lower center", ncols=4)
    return figure


def describe(table: pd.DataFrame) -> list[str]:
    """Phrases describing the figure, for its alt text."""
    return by(
        table,
        ["recipe", "ability"],
        lambda part: ", ".join(
            f"{stage} {value:.3g}" for stage, value in part.groupby("stage", sort=False).value.mean().items()
        ),
    )
