"""Figure 6 as heat maps: where RL's spectrum is steeper than IN's, and per-layer slopes."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ...claims.measurements import Measurements
from ...core.intervals import student
from ..drawing import bands, by, shade
from ..style import DIVERGING, PAGE, SMALL, STAGES
from . import figure6

KIND = "Heat map of the difference between the spectra, and line plots of slope by layer"
ROWS = "one run, stage and decoder layer"
COLUMNS = [
    "recipe",
    "run",
    "stage",
    "layer",
    "region",
    "slope",
    {"low": "lower bound of the 95 % t interval over the layer's matrices"},
    "high",
    {
        "floor": "log(rounding_floor / σ₁): lower values of log(σᵢ/σ₁) can arise from rounding of the stored weights alone"
    },
    {"matrices": "number of matrices with a slope"},
]


def data(measured: Measurements) -> pd.DataFrame:
    """Update records -> recipe, run, stage, layer, region, slope, low, high, floor, matrices. Lower slopes are steeper.

    slope: slope of the log singular value spectrum, averaged over a decoder layer's weight matrices with its 95 % t interval
    over them; a zero update has no slope. floor: mean log(rounding_floor / sigma_1); values of log(sigma_i / sigma_1) below
    it may be due to rounding of the weights alone.
    """
    records, regions = measured.updates, measured.regions
    frame = records[(records.component == "layer") & records.slope.notna()]
    rows = []
    for (recipe, run, stage, layer), part in frame.groupby(["recipe", "run", "stage", "layer"]):
        label = {"recipe": recipe, "run": run, "stage": stage, "layer": layer, "region": regions.of(layer)}
        rows.append(
            {**label, "slope": part.slope.mean(), **student(part.slope)}
            | {"floor": np.log(part.rounding_floor / part.spectral).mean(), "matrices": len(part)}
        )
    return pd.DataFrame(rows)


def draw(table: pd.DataFrame, measured: Measurements) -> Figure:
    """Figure 6 as heat maps: where RL's log spectrum lies below IN's, and each layer's slope.

    One row per recipe, mean of its runs. Ranks above a stage's line, if drawn, may be due to rounding of the stored weights alone.
    """
    spectra = figure6.data(measured)
    recipes = list(dict.fromkeys(spectra.recipe))
    figure, axes = plt.subplots(len(recipes), 2, figsize=(PAGE, 2.5 * len(recipes)), squeeze=False)
    tables = {
        recipe: spectra[spectra.recipe == recipe].pivot_table(
            index="rank", columns=["stage", "layer"], values="log_ratio"
        )
        for recipe in recipes
    }
    differences = {recipe: part["RL"] - part["IN"] for recipe, part in tables.items()}
    limit = max(float(np.nanmax(np.abs(part.to_numpy()), initial=0.0)) for part in differences.values()) or 1.0
    for (left, right), recipe in zip(axes, recipes, strict=True):
        part = differences[recipe]
        image = left.imshow(
            part.to_numpy(), cmap=DIVERGING, vmin=-limit, vmax=limit, aspect="auto", origin="lower",
            extent=(-0.5, measured.regions.layers - 0.5, 0.5, part.index.max() + 0.5),
        )  # fmt: skip
        for cut in measured.regions.cuts:
            left.axvline(cut - 0.5, color="black", lw=0.8)
        left.set(xlabel="layer", ylabel="rank")
        left.xaxis.set_major_locator(MaxNLocator(integer=True))
        left.set_title(f"recipe {recipe}: log(σᵢ/σ₁), RL − IN")
        for stage in ("IN", "RL"):
            floor = table[(table.recipe == recipe) & (table.stage == stage)].groupby("layer").floor.mean()
            meant = (tables[recipe][stage][floor.index] >= floor).sum()
            if (meant < len(part)).any():
                left.step(meant.index, meant + 0.5, where="mid", color=STAGES[stage], label=f"{stage}: rounding above")
                left.legend(fontsize=SMALL)
        figure.colorbar(image, ax=left, label="← RL steeper   IN steeper →")
        shade(right, measured.regions)
        for stage, marker in (("IN", "o"), ("RL", "s")):
            of_stage = table[(table.recipe == recipe) & (table.stage == stage)]
            bands(right, of_stage, "slope", STAGES[stage], stage, marker)
        right.set(ylabel="slope of log(σᵢ/σ₁) per rank")
        right.set_title("mean of the matrices" + (", 95 %" if table.run.nunique() == 1 else ""))
        right.legend()
    return figure


def describe(table: pd.DataFrame) -> list[str]:
    """Phrases describing the figure, for its alt text."""
    return by(table, ["recipe", "stage", "region"], lambda part: f"mean slope {part.slope.mean():.3g}")
