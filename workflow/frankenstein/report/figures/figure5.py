"""Figure 5: norm of the updates by layer."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ...claims.estimates import interval
from ...claims.measurements import Measurements
from ..drawing import band, by, panels, peak, shade
from ..style import STAGES

KIND = "Line plots of the update norm by layer"
ROWS = "one recipe, stage and decoder layer"
COLUMNS = [
    "recipe",
    "stage",
    "layer",
    "region",
    "frobenius",
    "frobenius_rms",
    {"low": "lower bound of the 95 % interval of frobenius_rms, bootstrapped over the layer's matrices"},
    {"high": "upper bound of the same interval"},
    "frobenius_relative",
    "share",
]


def data(measured: Measurements) -> pd.DataFrame:
    """Update records -> recipe, stage, layer, region, frobenius, frobenius_rms, low, high, frobenius_relative, share.

    Decoder layers only. A layer's Frobenius norm is the square root of the sum of its matrices' squared norms;
    frobenius_rms divides it by the square root of the number of entries (low, high: 95 % bootstrap interval over the layer's
    matrices); share is the layer's fraction of the stage's squared norm over all decoder layers.
    """

    def rms(squares, entries, axis=-1):
        return np.sqrt(squares.sum(axis) / entries.sum(axis))

    records, regions = measured.updates, measured.regions
    records = records[records.component == "layer"]
    frame = records.assign(square=records.frobenius**2, reference=records.weight_norm**2)
    layers = (
        frame.groupby(["recipe", "stage", "layer"], sort=False)[["square", "reference", "entries"]]
        .sum()
        .reset_index()
        .sort_values(["recipe", "stage", "layer"], ignore_index=True)
    )
    total = layers.groupby(["recipe", "stage"])["square"].transform("sum")
    matrices = frame.groupby(["recipe", "stage", "layer"])
    bounds = []
    for key in layers[["recipe", "stage", "layer"]].itertuples(index=False, name=None):
        part = matrices.get_group(key)
        samples = part.square.to_numpy(float), part.entries.to_numpy(float)
        value = rms(*samples)
        bounds.append(interval(samples, rms, measured.seed, paired=True) if len(part) > 1 and value else (value, value))
    low, high = np.array(bounds).T if bounds else (None, None)
    return pd.DataFrame(
        {
            "recipe": layers.recipe,
            "stage": layers.stage,
            "layer": layers.layer,
            "region": layers.layer.map(regions.of),
            "frobenius": np.sqrt(layers.square),
            "frobenius_rms": np.sqrt(layers.square / layers.entries),
            "low": low,
            "high": high,
            "frobenius_relative": np.sqrt(layers.square / layers.reference),
            "share": np.where(total > 0, layers.square / total.where(total > 0, 1), 0.0),
        }
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
            band(side, part, "frobenius_rms", STAGES[stage], stage, marker)
            side.set_ylabel(f"{stage} update: ‖ΔW‖ / √entries", color=STAGES[stage])
            side.tick_params(axis="y", colors=STAGES[stage])
            side.set_ylim(0, (part.high.max() or 1) * 1.15)
        axis.set_title(f"recipe {recipe}")
    return figure


def describe(table: pd.DataFrame) -> list[str]:
    """Phrases describing the figure, for its alt text."""
    return by(table, ["recipe", "stage"], lambda part: peak(part, "frobenius_rms"))
