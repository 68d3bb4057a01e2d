"""Per-sample layer profiles of a study's measurements: long frames with columns layer, unit and value.

A unit is the unit of sampling: an example or a weight matrix. LookupError names what the study lacks.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps

import numpy as np
import pandas as pd

from ..core.roles import Run
from .ability import ABLE, able
from .measurements import Measurements, own_text

_COLUMNS = ["layer", "unit", "value"]
# What attention_change is made of: all of it, what RL changed in the weights, and what it changed in the text that is read.
PARTS = TOTAL, WEIGHTS, TEXT = "total", "weights", "text"


def wanted(frame: pd.DataFrame | None, what: str) -> pd.DataFrame:
    """Return the frame; raise LookupError(what) if it is None or empty."""
    if frame is None or frame.empty:
        raise LookupError(what)
    return frame


def once(compute: Callable) -> Callable:
    """Compute a profile of a study's measurements once; its other arguments are hashable."""

    @wraps(compute)
    def kept(measured: Measurements, *of):
        key = (compute.__name__, *of)
        if key not in measured.computed:
            measured.computed[key] = compute(measured, *of)
        return measured.computed[key]

    return kept


def of_run(frame: pd.DataFrame, run: Run) -> pd.DataFrame:
    """The rows of a run."""
    return frame[(frame.recipe == run.recipe) & (frame.run == run.number)]


def _mass(frame: pd.DataFrame, what: str) -> pd.Series:
    return wanted(frame, f"no attention of {what}").set_index(["layer", "id"]).attention_mass


@once
def attention_change(measured: Measurements, run: Run, part: str = TOTAL) -> pd.DataFrame:
    """Change in attention mass on vision tokens from IN to RL, per example (Section 2.3).

    A longer text dilutes attention, so that the change has two parts, which add up to it. total: each model over its own
    response, as in the paper; weights: RL's weights minus IN's over the same response, mean of the two responses; text: RL's
    response minus IN's under the same weights, mean of the two models. Examples that failed in any of what is compared
    are dropped.
    """
    frame = of_run(wanted(measured.attention, "no attention"), run)
    own = own_text(frame)
    before, after = (own[own.stage == stage] for stage in ("IN", "RL"))
    old, new = _mass(before, "IN"), _mass(after, "RL")
    if part == TOTAL:
        change = new - old
    else:
        wanted(frame if "text" in frame else None, "no attention over the other's response")
        # A response goes by the text of its own model's rows, whatever their stage: a retrained IN may stand in for RL.
        crossed = _mass(frame[(frame.stage == "RL") & frame.text.isin(before.text)], "RL over IN's response")
        reverse = _mass(frame[(frame.stage == "IN") & frame.text.isin(after.text)], "IN over RL's response")
        change = (crossed - old + new - reverse) / 2 if part == WEIGHTS else (reverse - old + new - crossed) / 2
    change = wanted(change.dropna().rename("value").reset_index(), "every sample failed")
    return change.rename(columns={"id": "unit"})[_COLUMNS]


def _probed(frame: pd.DataFrame, hit: str) -> pd.DataFrame:
    frame = frame[(frame.layer >= 0) & ~frame.failed.astype(bool)]
    if frame.empty:
        raise LookupError("every sample failed")
    return frame.assign(unit=frame.task + " " + frame.id.astype(str), value=frame[hit].astype(float))[_COLUMNS]


def _swapped(measured: Measurements, function: str) -> pd.DataFrame:
    """Informative swap records of a function, in the paper's mode. LookupError if the Base has not mastered the function:
    changes to its answers would then be uninformative."""
    swaps = wanted(measured.swaps, "no localization")
    part = wanted(swaps[swaps.function == function], f"no pairs of {function}")
    part = wanted(part[~part.unchangeable.astype(bool)], f"no swap can change a pair of {function}")
    if (right := able(part)[function]) < ABLE:
        raise LookupError(f"the Base has only {right:.0%} of the {function} pairs right without a swap")
    part = wanted(part[part["mode"] == "hidden_state_at_layer"], "the study did not run the mode hidden_state_at_layer")
    return part.assign(task=function)


def swap_changes(measured: Measurements, function: str) -> pd.DataFrame:
    """Whether a swap at a layer changed the Base's answer, per pair. Drops failed samples and pairs that no swap can change."""
    return _probed(_swapped(measured, function), "changed")


@once
def image_reads(measured: Measurements, function: str) -> pd.DataFrame:
    """Where the image is read, per pair: change under a swap at layer l minus change under a swap at layer l + 1.

    A swap at layer l replaces the image for all layers from l on, so the change rate falls with depth whatever the layers
    compute; the drop from l to l + 1 is what layer l reads. Nothing is read after the last layer. Pairs with a failed
    sample are dropped.
    """
    frame = swap_changes(measured, function)
    table = frame.pivot(index="unit", columns="layer", values="value").dropna()
    if table.empty:
        raise LookupError("every sample failed")
    reads = table - table.shift(-1, axis=1, fill_value=0.0)
    return reads.reset_index().melt(id_vars="unit", var_name="layer")[_COLUMNS]


@once
def skip_errors(measured: Measurements) -> pd.DataFrame:
    """Whether the Base's answer was wrong with a layer skipped, per example."""
    return _probed(wanted(measured.skips, "no localization"), "wrong")


@once
def _updates(measured: Measurements, run: Run, stage: str) -> pd.DataFrame:
    frame = of_run(wanted(measured.updates, "no updates"), run)
    frame = frame[(frame.stage == stage) & (frame.component == "layer")]
    return wanted(frame, f"no update of {stage}")


@once
def energy(measured: Measurements, run: Run, stage: str) -> pd.DataFrame:
    """Update energy: squared Frobenius norm of a layer's update, summed over its matrices, relative to the mean over layers.
    One value per layer (all matrices are measured): 1 is the mean layer, 0 an unchanged layer. LookupError for a zero update."""
    squares = _updates(measured, run, stage).assign(square=lambda f: f.frobenius**2).groupby("layer").square.sum()
    if not squares.any():
        raise LookupError(f"the update of {stage} is exactly zero")
    return (squares / squares.mean()).rename("value").reset_index().assign(unit="layer")[_COLUMNS]


def _both_updates(measured: Measurements, run: Run, column: str) -> tuple[pd.Series, pd.Series]:
    """A column of IN's and RL's update tables, by (layer, matrix); NaN where it is within the rounding of the stored weights."""
    sides = []
    for stage in ("IN", "RL"):
        frame = _updates(measured, run, stage).set_index(["layer", "matrix"])
        sides.append(frame[column].where(frame.spectral > frame.rounding_floor))
    return sides[0], sides[1]


@once
def slope_change(measured: Measurements, run: Run) -> pd.DataFrame:
    """Slope of the log singular value spectrum, RL's minus IN's, per weight matrix; lower means RL's is steeper.

    Updates of rank 0 or 1 have no slope. For a low-rank update it covers only the nonzero ranks: see concentration_change.
    """
    before, after = _both_updates(measured, run, "slope")
    change = wanted((after - before).dropna().rename("value").reset_index(), "no two spectra to compare")
    return change.rename(columns={"matrix": "unit"})[_COLUMNS]


@once
def concentration_change(measured: Measurements, run: Run) -> pd.DataFrame:
    """Log stable rank of the update (sum sigma^2 / sigma_1^2), RL's minus IN's, per weight matrix; lower means RL's update is
    concentrated in fewer directions, whatever its rank."""
    before, after = (np.log(side.where(side > 0)) for side in _both_updates(measured, run, "stable_rank"))
    change = wanted((after - before).dropna().rename("value").reset_index(), "no two spectra to compare")
    return change.rename(columns={"matrix": "unit"})[_COLUMNS]


@once
def by_region(measured: Measurements, profile: Callable, *of) -> pd.DataFrame:
    """A profile averaged over each region's layers: index unit, columns early, mid, late. profile(measured, *of): a function above."""
    frame = profile(measured, *of)
    return frame.assign(region=frame.layer.map(measured.regions.of)).groupby(["unit", "region"]).value.mean().unstack()
