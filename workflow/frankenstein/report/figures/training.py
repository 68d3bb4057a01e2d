"""Training curves of the checkpoints that the study trains."""

from __future__ import annotations

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from ...claims.measurements import Measurements
from ..drawing import by
from ..style import PAGE, PALETTE, SMALL

KIND = "Training curves"
ROWS = "one logged step of a training run"
COLUMNS = [
    {"step": "optimizer step"},
    "loss",
    "checkpoint",
    {"kind": "training method: pretrain, sft or grpo"},
    "reward?",
    "reward_answer?",
    "reward_format?",
    "completion_length?",
    "kl?",
]


def data(measured: Measurements) -> pd.DataFrame:
    """The training logs: checkpoint, kind (pretrain, sft, grpo), step, and the metrics the trainer logs."""
    return measured.training


def draw(table: pd.DataFrame, measured: Measurements) -> Figure:
    """Training curves: loss of the supervised stages, reward of the RL runs. table: checkpoint, kind, step, loss, reward."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(PAGE, 2.6))
    for axis, column, window, part in (
        (left, "loss", 1, table[table.kind != "grpo"]),
        (right, "reward_answer", 9, table[table.kind == "grpo"]),
    ):
        for i, (checkpoint, rows) in enumerate(part.groupby("checkpoint", sort=False)):
            axis.plot(
                rows.step,
                rows[column].rolling(window, min_periods=1).mean(),
                color=PALETTE[i % len(PALETTE)],
                lw=1,
                label=checkpoint,
                ls="-" if i < 6 else "--",
            )
        axis.set_xlabel("step")
        if not part.empty:
            axis.legend(fontsize=SMALL)
    left.set(ylabel="loss (nats per token)", title="supervised stages", yscale="log")
    right.set(ylabel="share of right answers", title="rollouts of GRPO (mean of 9 log rows)", ylim=(0, 1))
    return figure


def describe(table: pd.DataFrame) -> list[str]:
    """Phrases describing the figure, for its alt text."""

    def say(part):
        column = "reward_answer" if part.kind.iloc[0] == "grpo" else "loss"
        values = part[column].dropna()
        what = "share of right answers" if column == "reward_answer" else "loss"
        return f"{what} from {values.iloc[0]:.3g} to {values.iloc[-1]:.3g}" if len(values) else "no value"

    return by(table, ["checkpoint"], say)
