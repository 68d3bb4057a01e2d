"""Figure 4 as a heat map: layer by function."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ...claims.ability import UNABLE
from ...claims.measurements import Measurements
from ...core.regions import NAMES
from ..drawing import by, peak
from ..style import GREY, PAGE, SEQUENTIAL
from . import figure4

KIND = "Heat map of change rate and error rate, layer by function"
ROWS = 'one function (or "skip: TASK") and layer, on the Base'
COLUMNS = [
    {"of": 'vision function probed by swapping, or "skip: TASK"'},
    "layer",
    "n",
    "failed",
    {"rate": "change rate (swap) or error rate (skip), 0 to 1"},
    "low",
    "high",
]


def data(measured: Measurements) -> pd.DataFrame:
    """by_function applied to Figure 4's table."""
    return by_function(figure4.data(measured))


def by_function(rates: pd.DataFrame) -> pd.DataFrame:
    """Figure 4's table -> of (function, or "skip: TASK"), layer, n, failed, rate, low, high, for one swap mode (the
    paper's, if available).

    Functions that the Base has not mastered are marked in their names.
    """
    probes = list(dict.fromkeys(rates.probe))
    mode = "hidden_state_at_layer" if "hidden_state_at_layer" in probes else probes[0]
    found = rates[rates.probe.isin([mode, "skip"])]
    skipped = found.probe == "skip"
    named = found.function + np.where(found.able.astype("boolean").fillna(True), "", UNABLE)
    found = found.assign(of=np.where(skipped, "skip: " + found.function, named))
    return found[["of", "layer", "n", "failed", "rate", "low", "high"]]


def draw(table: pd.DataFrame, measured: Measurements) -> Figure:
    """Heat map of layer by function: change rate under swapping, error rate under skipping.

    Dots: the interval lies above that with nothing swapped or skipped. Hatched cells: all samples failed.
    """
    names = list(dict.fromkeys(table.of))
    figure, axis = plt.subplots(figsize=(PAGE, 0.9 + 0.28 * len(names)))
    rates = table[table.layer >= 0].pivot(index="of", columns="layer", values="rate").loc[names]
    axis.set_facecolor("white")
    axis.patch.set(hatch="////", edgecolor=GREY)
    image = axis.imshow(rates.to_numpy(), cmap=SEQUENTIAL, vmin=0, vmax=1, aspect="auto")
    for row, name in enumerate(names):
        part = table[table.of == name].set_index("layer")
        above = part.index[(part.low > part.high[-1]) & (part.index >= 0)]
        axis.scatter(above, [row] * len(above), s=9, color="white", edgecolors="black", linewidths=0.6)
    for cut in measured.regions.cuts:
        axis.axvline(cut - 0.5, color="white", lw=1.5)
    axis.set_yticks(range(len(names)), names)
    axis.set_xlabel("layer")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.spines[:].set_visible(False)
    for region in NAMES:
        layers = measured.regions.range(region)
        axis.text(
            (layers.start + layers.stop - 1) / 2, -0.6, region.capitalize(), ha="center", va="bottom", color="#555555"
        )
    figure.colorbar(image, ax=axis, label="change or error rate")
    return figure


def describe(table: pd.DataFrame) -> list[str]:
    """Phrases describing the figure, for its alt text."""
    return by(table, ["of"], lambda part: peak(part, "rate"))
