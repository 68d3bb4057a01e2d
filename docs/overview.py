"""What a study found, as one picture, from its tables: `python docs/overview.py results/mini overview.png`.

Left: what RL gained on the tasks that it was rewarded for, run by run. Right: at which layers the Base still reads the image.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from frankenstein.core.errors import InputError
from frankenstein.core.regions import Regions
from frankenstein.report import drawing, style

_PROBE = "hidden_state_at_layer"  # the paper's


def draw(study: Path) -> Figure:
    """The picture of a study's results folder. Raises InputError if the study has not made what it shows."""
    gains, swaps = _read(study / "tables" / "rewarded.csv"), _read(study / "figures" / "figure4.csv")
    figure, (left, right) = plt.subplots(1, 2, figsize=(1.35 * style.PAGE, 2.9), width_ratios=(1, 1.15))
    _gains(left, gains)
    _swaps(right, swaps[(swaps.probe == _PROBE) & (swaps.layer >= 0)], Regions.read(study / "regions.json"))
    n = int(gains.n.max())
    figure.supxlabel(
        f"study {study.name}: at most {n} examples per run, 95 % intervals",
        fontsize=7,
        color="#555555",
        x=0.99,
        ha="right",
    )
    return figure


def _read(path: Path) -> pd.DataFrame:
    if not path.exists():
        raise InputError(f"{path}: missing; run the study first, with the chapters evaluation and localization")
    return pd.read_csv(path)


def _gains(axis, table: pd.DataFrame) -> None:
    """Accuracy of IN and RL on the rewarded tasks as an arrow per run, with the gain and its 95 % interval beside it."""
    for place, row in enumerate(table.iloc[::-1].itertuples()):
        color = style.ORANGE if row.low > 0 else style.GREY
        axis.annotate("", (row.RL, place), (row.IN, place), arrowprops={"arrowstyle": "-|>", "color": color, "lw": 2})
        axis.plot(row.IN, place, "o", color=style.BLUE, ms=5)
        text = f"{row.difference:+.1f} points [{row.low:.1f}, {row.high:.1f}]"
        axis.text(max(row.IN, row.RL) + 2, place, text, va="center", fontsize=7.5, color=color)
    axis.set_yticks(
        range(len(table)),
        [f"{row.tasks.replace('_', ' ')}\n{row.recipe}, run {row.run}" for row in table.iloc[::-1].itertuples()],
    )
    axis.set_ylim(-0.6, len(table) - 0.4)
    lowest, highest = table[["IN", "RL"]].min().min(), table[["IN", "RL"]].max().max()
    axis.set_xlim(max(0, lowest - 5), highest + 0.75 * max(10, highest - lowest))
    axis.set_xlabel("accuracy on the tasks that RL is rewarded for, %")
    axis.set_title("Did RL improve anything? From IN (dot) to RL (arrow)", loc="left", fontsize=9)


def _swaps(axis, table: pd.DataFrame, regions: Regions) -> None:
    """Share of answers that change when the image is exchanged at a layer, a line per vision function."""
    drawing.shade(axis, regions)
    for function, part in table.groupby("function", sort=False):
        able = bool(part.able.all())
        label = function if able else f"{function} (the Base is wrong on most)"
        color = style.FUNCTIONS[function] if able else style.GREY
        shown = part.assign(**{name: 100 * part[name] for name in ("rate", "low", "high")})
        drawing.band(axis, shown, "rate", color, label, style.MARKERS[function], "-" if able else ":")
    axis.set_ylim(0, 119)
    axis.set_yticks(range(0, 101, 25))
    axis.set_ylabel("answers that follow, %")
    axis.set_xlabel("layer at which the image is exchanged for another")
    axis.set_title("Where does the model see? Exchange the image at one layer", loc="left", fontsize=9)
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17), ncol=4)


def main(study: str, out: str) -> None:
    """Draw the picture of a results folder to a file."""
    drawing.save(draw(Path(study)), out)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    try:
        main(*sys.argv[1:])
    except InputError as error:
        sys.exit(f"error: {error}")
