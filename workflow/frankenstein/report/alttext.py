"""What a figure shows, in words, from the numbers that it was drawn from: for those who do not see it."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd


def describe(figure: str, table: pd.DataFrame) -> str:
    """Alt text of a figure of `plots`, from its CSV."""
    parts = _FIGURES[figure](table) if len(table) else ["nothing was measured"]
    return f"{_KINDS[figure]}. " + "; ".join(parts) + "."


def _peak(part: pd.DataFrame, value: str) -> str:
    part = part[part.layer >= 0].reset_index(drop=True)
    if part[value].isna().all():
        return "no value"
    top, last = part.loc[part[value].idxmax()], part.loc[part.layer.idxmax()]
    return f"highest at layer {top.layer:.0f} ({top[value]:.3g}), {last[value]:.3g} at layer {last.layer:.0f}"


def _by(table: pd.DataFrame, keys: list[str], say: Callable[[pd.DataFrame], str]) -> list[str]:
    return [f"{', '.join(map(str, name))}: {say(part)}" for name, part in table.groupby(keys, sort=False)]


def _figure2(table: pd.DataFrame) -> list[str]:
    return _by(
        table, ["recipe", "ability"], lambda part: ", ".join(f"{row.stage} {row.value:g}" for row in part.itertuples())
    )


def _training(table: pd.DataFrame) -> list[str]:
    def say(part):
        column = "reward_answer" if part.kind.iloc[0] == "grpo" else "loss"
        values = part[column].dropna()
        what = "share of right answers" if column == "reward_answer" else "loss"
        return f"{what} from {values.iloc[0]:.3g} to {values.iloc[-1]:.3g}" if len(values) else "no value"

    return _by(table, ["checkpoint"], say)


def _claims(table: pd.DataFrame) -> list[str]:
    def say(part: pd.DataFrame) -> str:
        return ", ".join(f"{n} {name}" for name, n in part.verdict.value_counts().items())

    return [f"all: {say(table)}", *_by(table, ["claim"], say)]


def _windows(part: pd.DataFrame) -> str:
    part = part.reset_index(drop=True)
    if part.value.isna().all():
        return "no value"
    top = part.loc[part.value.idxmax()]
    beyond = "beyond" if top.value > top.random_high else "within"
    return f"highest in layers {top['first']:.0f} to {top['last']:.0f} ({top.value:+.3g}), {beyond} what 95 % of random orders of the layers have anywhere"


_FIGURES: dict[str, Callable[[pd.DataFrame], list[str]]] = {
    "figure2": _figure2,
    "figure3": lambda table: _by(table, ["recipe", "stage"], lambda part: _peak(part, "attention_mass")),
    "figure4": lambda table: _by(table, ["probe", "function"], lambda part: _peak(part, "rate")),
    "heatmap": lambda table: _by(table, ["of"], lambda part: _peak(part, "rate")),
    "figure5": lambda table: _by(table, ["recipe", "stage"], lambda part: _peak(part, "frobenius_rms")),
    "figure6": lambda table: _by(
        table[table["rank"] == table["rank"].max()],
        ["recipe", "stage"],
        lambda part: f"mean at rank {part['rank'].iloc[0]} {part.log_ratio.mean():.3g}",
    ),
    "spectra": lambda table: _by(
        table, ["recipe", "stage", "region"], lambda part: f"mean slope {part.slope.mean():.3g}"
    ),
    "doses": lambda table: _by(
        table,
        ["recipe", "family", "metric"],
        lambda part: ", ".join(f"{row.dose:g}: {row.value:g}" for row in part.itertuples()),
    ),
    "controls": lambda table: _by(table, ["quantity", "of"], _windows),
    "training": _training,
    "claims": _claims,
}
_KINDS = {
    "figure2": "Bars of accuracy in percent by recipe, ability and stage",
    "figure3": "Lines of attention mass on vision tokens by layer",
    "figure4": "Lines of change and error rate by layer",
    "heatmap": "Heat map of change and error rate, layer by function",
    "figure5": "Lines of the update's norm by layer",
    "figure6": "Surfaces of log(sigma_i / sigma_1) over layer and rank",
    "spectra": "Map of the spectra's difference, and lines of slope by layer",
    "doses": "Lines of rate in percent by share of RL",
    "controls": "Lines of window means by depth, less the mean of all layers",
    "training": "Training curves",
    "claims": "Estimates with intervals, a panel a claim",
}
