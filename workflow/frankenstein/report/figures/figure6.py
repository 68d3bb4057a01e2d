"""Figure 6: log singular value spectra of the updates over layer and rank."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from scipy.stats import t

from ...claims.measurements import Measurements
from ...updates import RANKS
from ..drawing import by
from ..style import GREY, PAGE, SEQUENTIAL, SMALL

KIND = "Surface plots of log(sigma_i / sigma_1) over layer and rank"
ROWS = "one run, stage, decoder layer and rank"
COLUMNS = [
    "recipe",
    "run",
    "stage",
    "layer",
    "rank",
    "log_ratio",
    {"low": "lower bound of the 95 % t interval over the layer's matrices"},
    "high",
    {"matrices": "number of matrices that have this rank"},
]


def data(measured: Measurements) -> pd.DataFrame:
    """recipe, run, stage, layer, rank (1 to RANKS), log_ratio, low, high, matrices: mean of log(sigma_i / sigma_1) over
    the decoder layer's matrices, with its 95 % t interval over them.

    Matrices whose update is exactly
    zero, or has a rank below this one, have no ratio here and are excluded; `matrices` counts the remaining ones.
    """
    sigmas = measured.spectra
    frame = sigmas[(sigmas.component == "layer") & (sigmas["rank"] <= RANKS)]
    by = frame.groupby(["recipe", "run", "stage", "layer", "rank"]).log_ratio
    found = by.agg(log_ratio="mean", deviation="std", matrices="count").reset_index()
    half = t.ppf(0.975, found.matrices - 1) * found.deviation / np.sqrt(found.matrices)
    found = found.assign(low=found.log_ratio - half, high=found.log_ratio + half)
    return found[["recipe", "run", "stage", "layer", "rank", "log_ratio", "low", "high", "matrices"]]


def draw(table: pd.DataFrame, measured: Measurements) -> Figure:
    """Figure 6: log(sigma_i / sigma_1) over layer and rank, mean of the runs, with trend lines at ranks 10, 20, 30, 40."""
    recipes = list(dict.fromkeys(table.recipe))
    figure = plt.figure(figsize=(PAGE, 3.0 * len(recipes)))
    low = table.log_ratio.min()
    for row, recipe in enumerate(recipes):
        for column, stage in enumerate(("IN", "RL")):
            part = table[(table.recipe == recipe) & (table.stage == stage)]
            grid = part.pivot_table(index="rank", columns="layer", values="log_ratio")
            axis = figure.add_subplot(len(recipes), 2, 2 * row + column + 1, projection="3d")
            layers, ranks = np.meshgrid(grid.columns, grid.index)
            axis.plot_surface(layers, ranks, grid.to_numpy(), cmap=SEQUENTIAL, alpha=0.75, lw=0, vmin=low, vmax=0)
            for rank in (10, 20, 30, 40):
                if rank in grid.index:
                    axis.plot(grid.columns, [rank] * len(grid.columns), grid.loc[rank], color="black", lw=1, zorder=9)
            mid = measured.regions.range("mid")
            edges = np.meshgrid([mid.start - 0.5, mid.stop - 0.5], [1, grid.index.max()])
            axis.plot_surface(*edges, np.full((2, 2), low), color=GREY, alpha=0.35)
            axis.set(xlabel="layer", ylabel="rank", zlim=(low, 0))
            axis.set_title(f"recipe {recipe}, {stage} update: log(σᵢ/σ₁)", fontsize=8)
            axis.view_init(elev=25, azim=50)
            axis.invert_xaxis()
            axis.tick_params(labelsize=SMALL, pad=0)
    return figure


def describe(table: pd.DataFrame) -> list[str]:
    """Phrases describing the figure, for its alt text."""
    return by(
        table[table["rank"] == table["rank"].max()],
        ["recipe", "stage"],
        lambda part: f"mean at rank {part['rank'].iloc[0]} {part.log_ratio.mean():.3g}",
    )
