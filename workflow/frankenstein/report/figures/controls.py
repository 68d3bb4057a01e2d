"""Is a region special? Sliding windows compared with random layer orders."""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from ...claims import controls
from ...claims.measurements import Measurements
from ..drawing import band, by, panels, shade
from ..style import PALETTE

KIND = "Line plots of sliding-window means by depth, relative to the mean of all layers"
ROWS = "one quantity and window of layers"
COLUMNS = [
    {"quantity": "quantity measured per layer"},
    {"of": "recipe, stage or function it refers to"},
    {"first": "first layer of the window"},
    {"last": "last layer of the window"},
    {"value": "mean over the window minus the mean over all layers, in the unit of the quantity"},
    {"low": "lower bound of the 95 % t interval over units"},
    "high",
    {"n": "number of units"},
    {"unit": "kind of unit: examples, matrices or layers"},
    {
        "random_low": "lower bound of the random-order band: in 95 % of random orders of the layers, every window stays between random_low and random_high"
    },
    {"random_high": "upper bound of the same band"},
]


def data(measured: Measurements) -> pd.DataFrame:
    """controls.windows."""
    return controls.windows(measured)


def draw(table: pd.DataFrame, measured: Measurements) -> Figure:
    """Sliding windows (controls.windows), one panel per quantity. Dotted: 95 % band of random layer orders."""
    quantities = list(dict.fromkeys(table.quantity))
    figure, axes = panels(max(len(quantities), 1), 2.6)
    if not quantities:
        axes[0].set_title("this study has no layer profile")
    for axis, quantity in zip(axes, quantities, strict=False):
        shade(axis, measured.regions)
        axis.axhline(0, color="black", lw=0.6)
        for (name, part), colour, marker in zip(
            table[table.quantity == quantity].groupby("of", sort=False), PALETTE * 9, "os^Dv<" * 9, strict=False
        ):
            middle = (part["first"] + part["last"]) / 2
            band(axis, part.assign(layer=middle), "value", colour, name, marker)
            for bound in (part.random_low, part.random_high):
                axis.plot(middle, bound, color=colour, ls=":", lw=0.8)
        size = int(table["last"].iloc[0] - table["first"].iloc[0] + 1)
        axis.margins(y=0.15)  # room for the regions' names
        axis.set(xlabel=f"middle of {size} layers", ylabel="minus the mean of all layers")
        axis.set_title(quantity)
        axis.legend(ncols=4, columnspacing=1, loc="upper center", bbox_to_anchor=(0.5, -0.22))
    return figure


def _windows(part: pd.DataFrame) -> str:
    part = part.reset_index(drop=True)
    if part.value.isna().all():
        return "no value"
    top = part.loc[part.value.idxmax()]
    beyond = "beyond" if top.value > top.random_high else "within"
    return f"highest in layers {top['first']:.0f} to {top['last']:.0f} ({top.value:+.3g}), {beyond} what 95 % of random orders of the layers have anywhere"


def describe(table: pd.DataFrame) -> list[str]:
    """Phrases describing the figure, for its alt text."""
    return by(table, ["quantity", "of"], _windows)
