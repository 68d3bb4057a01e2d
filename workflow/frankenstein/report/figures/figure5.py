"""Figure 5: norm of the updates by layer."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ...claims.measurements import Measurements
from ..drawing import bands, by, mean_run, panels, peak, shade
from ..style import STAGES

KIND = "Line plots of the update norm by layer"
ROWS = "one run, stage and decoder layer"
COLUMNS = [
    "recipe",
    "run",
    "stage",
    "layer",
    "region",
    "frobenius",
    "frobenius_rms",
    {"low": "lower quartile of frobenius_rms over the layer's matrices"},
    {"high": "upper quartile"},
    "frobenius_relative",
    "share",
]


def data(measured: Measurements) -> pd.DataFrame:
    """Update records -> recipe, run, stage, layer, region, frobenius, frobenius_rms, low, high, frobenius_relative, share.

    Decoder layers only. A layer's Frobenius norm is the square root of the sum of its matrices' squared norms;
    frobenius_rms divides it by the square root of the number of entries (low, high: quartiles of the layer's matrices); share
    is the layer's fraction of the stage's squared norm over all decoder layers.
    """
    records, regions, keys = measured.updates, measured.regions, ["recipe", "run", "stage", "layer"]
    records = records[records.component == "layer"]
    frame = records.assign(square=records.frobenius**2, reference=records.weight_norm**2)
    frame["rms"] = np.sqrt(frame.square / frame.entries)
    layers = frame.groupby(keys)[["square", "reference", "entries"]].sum().reset_index()
    quartiles = frame.groupby(keys).rms.quantile([0.25, 0.75]).unstack().reset_index()
    total = layers.groupby(keys[:3])["square"].transform("sum")
    return layers[keys].assign(
        region=layers.layer.map(regions.of),
        frobenius=np.sqrt(layers.square),
        frobenius_rms=np.sqrt(layers.square / layers.entries),
        low=quartiles[0.25],
        high=quartiles[0.75],
        frobenius_relative=np.sqrt(layers.square / layers.reference),
        share=np.where(total > 0, layers.square / total.where(total > 0, 1), 0.0),
    )


def draw(table: pd.DataFrame, measured: Measurements) -> Figure:
    """Figure 5: Frobenius norm of the updates by layer, IN on the left axis and RL on the right (curves.table)."""
    recipes = list(dict.fromkeys(table.recipe))
    figure, axes = panels(len(recipes), 2.5)
    for axis, recipe in zip(axes, recipes, strict=True):
        shade(axis, measured.regions)
        twin = axis.twinx()
        twin.spines["right"].set_visible(True)
        for side, stage, marker in ((axis, "IN", "o"), (twin, "RL", "s")):
            part = table[(table.recipe == recipe) & (table.stage == stage)]
            bands(side, part, "frobenius_rms", STAGES[stage], stage, marker)
            side.set_ylabel(f"{stage} update: ‖ΔW‖ / √entries", color=STAGES[stage])
            side.tick_params(axis="y", colors=STAGES[stage])
            side.set_ylim(0, (part[["high", "frobenius_rms"]].max(axis=None) or 1) * 1.15)
        axis.set_title(f"recipe {recipe}")
    return figure


def describe(table: pd.DataFrame) -> list[str]:
    """Phrases describing the figure, for its alt text."""
    return by(table, ["recipe", "stage"], lambda part: peak(mean_run(part, "frobenius_rms"), "frobenius_rms"))
