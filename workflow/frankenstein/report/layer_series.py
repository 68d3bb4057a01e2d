"""The lines of the layerwise figures, from their tables, for the chart under each that is read layer by layer."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

_RANKS = (2, 5, 10, 20, 50)  # of Figure 6


@dataclass(frozen=True)
class _Lines:
    """What a figure's table shows by layer: the column `value`, named on the axis; one chart per value of the columns `charts`, one
    line per value of `lines`; interval: what low and high are; top: of the axis, None for the data's."""

    value: str
    axis: str
    charts: tuple[str, ...]
    lines: tuple[str, ...]
    interval: str = "95 % interval"
    top: float | None = None


_FIGURES = {
    "figure3": _Lines("attention_mass", "attention mass on vision tokens", ("recipe",), ("stage", "run")),
    "figure4": _Lines("rate", "change or error rate", ("probe",), ("function",), top=1.0),
    "figure5": _Lines(
        "frobenius_rms", "Frobenius norm / √entries", ("recipe",), ("stage", "run"), "quartiles over matrices"
    ),
    "figure6": _Lines("log_ratio", "log(σᵢ/σ₁)", ("recipe", "rank"), ("stage", "run")),
}


def of(figure: str, table: pd.DataFrame) -> dict | None:
    """axis, interval, top, and charts: name -> list of name, points ([layer, value, low, high], None where there is none); None for a figure
    that is not read layer by layer."""
    if figure not in _FIGURES or table.empty:
        return None
    shown = _FIGURES[figure]
    if "rank" in table:
        table = table[table["rank"].isin(_RANKS)]
    charts: dict[str, list] = {}
    for key, part in table.groupby([*shown.charts, *shown.lines], sort=False):
        chart, line = key[: len(shown.charts)], key[len(shown.charts) :]
        points = [
            [row.layer, *map(_rounded, (row[shown.value], row.low, row.high))]
            for _, row in part.sort_values("layer").iterrows()
        ]
        charts.setdefault(_named(shown.charts, chart), []).append({"name": _named(shown.lines, line), "points": points})
    return {"axis": shown.axis, "interval": shown.interval, "top": shown.top, "charts": charts}


def _named(columns: tuple[str, ...], values: tuple) -> str:
    """ "recipe one, rank 10"; values of the other columns speak for themselves."""
    return ", ".join(f"{column} {value}" if column in ("recipe", "rank", "run") else str(value) for column, value in zip(columns, values, strict=True))  # fmt: skip


def _rounded(value: float) -> float | None:
    return None if pd.isna(value) else float(f"{value:.4g}")
