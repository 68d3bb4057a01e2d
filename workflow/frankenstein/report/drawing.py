"""Helpers shared by the figures: panels, shaded regions, interval bands, and phrases for alt texts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..core.regions import NAMES, Regions
from .style import COLUMN, TINTS


def save(figure: Figure, *paths: str | Path) -> None:
    """Write a figure to each path (.pdf, .png) without dates, so that identical data gives identical files."""
    for path in paths:
        figure.savefig(path, metadata={"CreationDate": None} if str(path).endswith(".pdf") else {"Software": None})
    plt.close(figure)


def panels(n: int, height: float, **options):
    """(figure, n axes) in at most two columns, each one journal column wide."""
    columns = min(n, 2)
    rows = -(-n // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(COLUMN * columns, height * rows), squeeze=False, **options)
    for axis in axes.flat[n:]:
        axis.set_visible(False)
    return figure, axes.flat[:n]


def shade(axis, regions: Regions) -> None:
    """Shade Early, Mid and Late behind a layer profile."""
    for name, tint in zip(NAMES, TINTS, strict=True):
        layers = regions.range(name)
        axis.axvspan(layers.start - 0.5, layers.stop - 0.5, color=tint, zorder=0, lw=0)
        axis.text(
            (layers.start + layers.stop - 1) / 2, 0.99, name.capitalize(), transform=axis.get_xaxis_transform(),
            ha="center", va="top", color="#555555", fontsize=7,
        )  # fmt: skip
    axis.set_xlim(-0.5, regions.layers - 0.5)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set_xlabel("layer")


def band(axis, frame: pd.DataFrame, value: str, colour: str, label: str, marker: str = "o", style: str = "-") -> None:
    """Plot a line over layers with its interval band."""
    axis.plot(frame.layer, frame[value], color=colour, marker=marker, ms=3, lw=1.2, ls=style, label=label)
    axis.fill_between(frame.layer, frame.low, frame.high, color=colour, alpha=0.15, lw=0)


def bands(axis, frame: pd.DataFrame, value: str, colour: str, label: str, marker: str = "o") -> None:
    """A band for one run; for several, a thin line per run and their mean. frame has a column `run`."""
    runs = frame.run.nunique()
    if runs == 1:
        return band(axis, frame, value, colour, label, marker)
    for _, part in frame.groupby("run"):
        axis.plot(part.layer, part[value], color=colour, lw=0.5, alpha=0.6)
    mean = frame.groupby("layer")[value].mean()
    axis.plot(mean.index, mean, color=colour, marker=marker, ms=3, lw=1.4, label=f"{label}, mean of {runs} runs")


def sizes(frame: pd.DataFrame) -> str:
    """ "N = 100", plus the numbers of failed and truncated samples, if any."""
    sizes = sorted(set(frame.n))
    text = f"N = {sizes[0]}" if len(sizes) == 1 else f"N = {sizes[0]} to {sizes[-1]}"
    for column, what in (("failed", "samples failed"), ("truncated", "answers cut off")):
        if column in frame and (count := int(frame[column].sum())):
            text += f"; {count} of {int(frame.n.sum())} {what}"
    return text


def runs_of(frame: pd.DataFrame) -> str:
    """ "4 runs, " for a table of several runs, else nothing."""
    return f"{runs} runs, " if (runs := frame.run.nunique()) > 1 else ""


def mean_run(frame: pd.DataFrame, value: str) -> pd.DataFrame:
    """A layer profile averaged over the runs: layer and the value."""
    return frame.groupby("layer", as_index=False)[value].mean()


def percent(frame: pd.DataFrame, columns) -> pd.DataFrame:
    """Convert rates to percent, with one decimal."""
    return frame.assign(**{column: (100 * frame[column]).round(1) for column in columns})


def by(table: pd.DataFrame, keys: list[str], say: Callable[[pd.DataFrame], str]) -> list[str]:
    """One phrase per group of rows."""
    return [f"{', '.join(map(str, name))}: {say(part)}" for name, part in table.groupby(keys, sort=False)]


def peak(part: pd.DataFrame, value: str) -> str:
    """The maximum of a layer profile and its value at the last layer, in words."""
    part = part[part.layer >= 0].reset_index(drop=True)
    if part[value].isna().all():
        return "no value"
    top, last = part.loc[part[value].idxmax()], part.loc[part.layer.idxmax()]
    return f"highest at layer {top.layer:.0f} ({top[value]:.3g}), {last[value]:.3g} at layer {last.layer:.0f}"
