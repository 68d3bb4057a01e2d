"""Figure 4: change rate under vision-token swapping, error rate under layer skipping, by layer."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from ...claims.ability import ABLE, able
from ...claims.measurements import Measurements
from ...core.intervals import wilson
from ..drawing import band, by, panels, peak, shade, sizes
from ..style import BLUE, FUNCTIONS, GREEN, GREY, MARKERS, ORANGE, PINK

KIND = "Line plots of change rate and error rate by layer"
ROWS = "one probe (swap mode, or skip), function or task, and layer, on the Base"
COLUMNS = [
    {"function": "recognition, ocr, grounding or counting; for skip, the task"},
    {"probe": "hidden_state_at_layer, kv_from_layer, kv_at_layer_only or skip"},
    "layer",
    "n",
    "failed",
    {"rate": "change rate (swap) or error rate (skip), 0 to 1"},
    "low",
    "high",
    {"truncated": "number of answers (swap) or errors (skip) that reached the limit on new tokens"},
    {"text_rate": "share of pairs whose answer changed, by the rule of the paper's public script"},
    {"right_rate": "share of pairs still answered correctly"},
    {"base_right": "share of pairs that the Base answers correctly without a swap"},
    {"able": "whether base_right is at least 0.5; otherwise the change rate is not informative about the function"},
    {
        "unchangeable": "number of pairs that no swap can change because both images have the same gold answer; excluded from n"
    },
]


def _rates(frame: pd.DataFrame, by: list[str], counted: str) -> pd.DataFrame:
    """n, failed, and the rate of `counted` among all n with its 95 % interval.

    Failed samples stay in n. Their outcomes are unknown, so the interval runs from Wilson's lower bound with none of them
    counted to its upper bound with all of them counted.
    """
    rows = []
    for key, part in frame.groupby(by, sort=False):
        k, n, lost = int(part[counted].sum()), len(part), part.failed.astype(bool)
        failed = int(lost.sum())
        rate = {"rate": np.nan, "low": np.nan, "high": np.nan}
        if failed < n:  # if every sample failed there is no rate to show; 0 would be misleading
            sure, possible = int((part[counted] & ~lost).sum()), int((part[counted] | lost).sum())
            rate = {"rate": k / n, "low": wilson(sure, n)["low"], "high": wilson(possible, n)["high"]}
        rows.append({**dict(zip(by, key, strict=True)), "n": n, "failed": failed, **rate})
    return pd.DataFrame(rows)


def change_rates(table: pd.DataFrame) -> pd.DataFrame:
    """swap_table -> function, mode, layer (-1: no swap), n, failed, rate (change rate), low, high, truncated, text_rate, right_rate, base_right, able, unchangeable.

    Pairs that no swap can change are excluded from n and counted in `unchangeable`. truncated: answers that hit the token
    limit; base_right: right_rate without a swap; able: base_right is at least ABLE, without which the change rate is
    uninformative about the function.
    """
    modes = [mode for mode in dict.fromkeys(table["mode"]) if mode != "none"]
    fixed = table[table["mode"] == "none"].groupby("function").unchangeable.sum().astype(int)
    right = able(table)
    table = table[~table.unchangeable.astype(bool)]
    unswapped = table[table["mode"] == "none"]
    frame = pd.concat([pd.concat([unswapped.assign(mode=mode), table[table["mode"] == mode]]) for mode in modes])
    by = ["function", "mode", "layer"]
    extra = frame.groupby(by, sort=False).agg(
        truncated=("truncated", "sum"), text_rate=("text_changed", "mean"), right_rate=("right", "mean")
    )
    found = _rates(frame, by, "changed").merge(extra.reset_index().astype({"truncated": int}), on=by)
    base = found.function.map(right)
    return found.assign(base_right=base, able=base >= ABLE, unchangeable=found.function.map(fixed))


def error_rates(table: pd.DataFrame) -> pd.DataFrame:
    """skip_table -> task, layer (-1: none skipped), n, failed, rate (1 - accuracy), low, high, truncated (errors that hit the token limit)."""
    by = ["task", "layer"]
    cut = table.assign(cut=table.wrong & table.truncated.astype(bool)).groupby(by, sort=False).cut.sum()
    return _rates(table, by, "wrong").merge(cut.astype(int).rename("truncated").reset_index(), on=by)


def together(changes: pd.DataFrame, errors: pd.DataFrame) -> pd.DataFrame:
    """Combine change_rates and error_rates into one table; `probe` is the swap mode, or "skip"."""
    changes = changes.rename(columns={"mode": "probe"})
    return pd.concat([changes, errors.assign(probe="skip").rename(columns={"task": "function"})], ignore_index=True)


def data(measured: Measurements) -> pd.DataFrame:
    """The Base's change and error rates by layer."""
    return together(change_rates(measured.swaps), error_rates(measured.skips))


_MODES = {
    "hidden_state_at_layer": "hidden states swapped at a layer",
    "kv_from_layer": "keys and values swapped from a layer on",
    "kv_at_layer_only": "keys and values swapped at one layer",
}


def draw(table: pd.DataFrame, measured: Measurements) -> Figure:
    """Figure 4: change rate under vision-token swapping, one panel per mode; error rate under layer skipping.

    Dotted: nothing swapped or skipped. Dashed: errors that hit the token limit. Functions that the Base has not mastered are
    grey, labelled with the share of pairs it answers correctly.
    """
    errors = table[table.probe == "skip"].rename(columns={"function": "task"})
    changes = table[table.probe != "skip"].rename(columns={"probe": "mode"})
    modes = list(dict.fromkeys(changes["mode"]))
    figure, axes = panels(len(modes) + 1, 2.7)
    for axis in axes:
        shade(axis, measured.regions)
        axis.set(ylim=(-0.02, 1.12))
    for axis, mode in zip(axes[:-1], modes, strict=True):
        of_mode = changes[changes["mode"] == mode]
        for function, part in of_mode.groupby("function", sort=False):
            mastered, right = part[["able", "base_right"]].iloc[0]
            colour = FUNCTIONS[function] if mastered else GREY
            label = function if mastered else f"{function}: not mastered, {right:.0%} right"
            band(axis, part[part.layer >= 0], "rate", colour, label, MARKERS[function])
            axis.axhline(part[part.layer < 0].rate.item(), color=colour, ls=":", lw=0.8)
        axis.set(ylabel="change rate")
        axis.set_title(f"{_MODES[mode]}\n({sizes(of_mode)})")
        columns = 2 if of_mode.able.astype(bool).all() else 1  # functions the Base has not mastered have longer labels
        axis.legend(ncols=columns, columnspacing=1, loc="upper center", bbox_to_anchor=(0.5, -0.22))
    for (task, part), colour in zip(errors.groupby("task", sort=False), (BLUE, ORANGE, GREEN, PINK), strict=False):
        skipped = part[part.layer >= 0]
        band(axes[-1], skipped, "rate", colour, task)
        none = part[part.layer < 0].rate.item()
        axes[-1].axhline(none, color=colour, ls=":", lw=0.8, label=f"{task}, no layer skipped")
        if skipped.truncated.any():
            axes[-1].plot(
                skipped.layer, skipped.truncated / skipped.n, color=colour, ls="--", lw=0.9, label=f"{task}, cut off"
            )
    axes[-1].set(ylabel="error rate")
    axes[-1].set_title(f"layer skipping\n({sizes(errors)})")
    axes[-1].legend(ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.22))
    return figure


def describe(table: pd.DataFrame) -> list[str]:
    """Phrases describing the figure, for its alt text."""
    return by(table, ["probe", "function"], lambda part: peak(part, "rate"))
