"""Layer profiles from the measured, sample by sample: long frames of layer, unit and value.

A unit is what was sampled: an example, or a weight matrix. LookupError says what the study has not.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from .ability import ABLE, able
from .measurements import Measurements

EXAMPLES, LAYERS, MATRICES = "examples", "layers", "matrices"
_COLUMNS = ["layer", "unit", "value"]


def wanted(frame: pd.DataFrame | None, what: str) -> pd.DataFrame:
    """The frame, or LookupError(what) where there is none or nothing in it."""
    if frame is None or frame.empty:
        raise LookupError(what)
    return frame


def attention_change(measured: Measurements, recipe: str) -> pd.DataFrame:
    """RL - IN of the attention mass on vision tokens, by example. An example that failed in either has none."""
    frame = wanted(measured.attention, "no attention")
    frame = frame[frame.recipe == recipe]
    mass = frame.pivot(index=["layer", "id"], columns="stage", values="attention_mass")
    for stage in ("IN", "RL"):
        if stage not in mass:
            raise LookupError(f"no attention of {stage}")
    change = wanted((mass["RL"] - mass["IN"]).dropna().rename("value").reset_index(), "every sample failed")
    return change.rename(columns={"id": "unit"})[_COLUMNS]


def _probed(frame: pd.DataFrame, hit: str) -> pd.DataFrame:
    frame = frame[(frame.layer >= 0) & ~frame.failed.astype(bool)]
    if frame.empty:
        raise LookupError("every sample failed")
    return frame.assign(unit=frame.task + " " + frame.id.astype(str), value=frame[hit].astype(float))[_COLUMNS]


def _swapped(measured: Measurements, function: str) -> pd.DataFrame:
    """Records of swapping in the paper's mode that say something of a function. LookupError where the Base can't do it: what
    its answers change to says nothing."""
    swaps = wanted(measured.swaps, "no localization")
    part = wanted(swaps[swaps.function == function], f"no pairs of {function}")
    part = wanted(part[~part.unchangeable.astype(bool)], f"no swap can change a pair of {function}")
    if (right := able(part)[function]) < ABLE:
        raise LookupError(f"the Base has only {right:.0%} of the {function} pairs right without a swap")
    part = wanted(part[part["mode"] == "hidden_state_at_layer"], "hidden_state_at_layer is none of the modes")
    return part.assign(task=function)


def swap_changes(measured: Measurements, function: str) -> pd.DataFrame:
    """Whether a swap at the layer changed the Base's answer, by pair. Failed samples and pairs that no swap can change are left out."""
    return _probed(_swapped(measured, function), "changed")


def image_reads(measured: Measurements, function: str) -> pd.DataFrame:
    """Where the image is read, by pair: whether a swap at the layer changes the answer, minus whether one at the next layer does.

    A swap at layer l replaces the image for all layers from l on, so that its change rate falls with depth whatever the layers
    do; what it falls by from l to l + 1 is what layer l reads. Behind the last layer nothing is read. A pair with a failed
    sample is left out.
    """
    frame = swap_changes(measured, function)
    table = frame.pivot(index="unit", columns="layer", values="value").dropna()
    if table.empty:
        raise LookupError("every sample failed")
    reads = table - table.shift(-1, axis=1, fill_value=0.0)
    return reads.reset_index().melt(id_vars="unit", var_name="layer")[_COLUMNS]


def skip_errors(measured: Measurements) -> pd.DataFrame:
    """Whether the Base's answer was wrong with the layer skipped, by example."""
    return _probed(wanted(measured.skips, "no localization"), "wrong")


def _updates(measured: Measurements, recipe: str, stage: str) -> pd.DataFrame:
    frame = wanted(measured.updates, "no updates")
    frame = frame[(frame.recipe == recipe) & (frame.stage == stage) & (frame.component == "layer")]
    return wanted(frame, f"no update of {stage}")


def energy(measured: Measurements, recipe: str, stage: str) -> pd.DataFrame:
    """Squared Frobenius norm of a layer's update over its matrices, relative to the mean over layers: one value per layer, as
    all of the layer was measured. 1 is the mean layer, 0 a layer that was not changed. LookupError for an update of zero."""
    squares = _updates(measured, recipe, stage).assign(square=lambda f: f.frobenius**2).groupby("layer").square.sum()
    if not squares.any():
        raise LookupError(f"the update of {stage} is exactly zero")
    return (squares / squares.mean()).rename("value").reset_index().assign(unit="layer")[_COLUMNS]


def _both_updates(measured: Measurements, recipe: str, column: str) -> tuple[pd.Series, pd.Series]:
    """A column of IN's and of RL's updates by (layer, matrix), NaN where rounding of the stored weights alone may be as large."""
    sides = []
    for stage in ("IN", "RL"):
        frame = _updates(measured, recipe, stage).set_index(["layer", "matrix"])
        sides.append(frame[column].where(frame.spectral > frame.rounding_floor))
    return sides[0], sides[1]


def slope_change(measured: Measurements, recipe: str) -> pd.DataFrame:
    """Slope of the log spectrum, RL's minus IN's, per weight matrix; lower: RL's is steeper.

    An update of rank 1, or of zero, has no slope. One of low rank has one over its own ranks alone: see concentration_change.
    """
    before, after = _both_updates(measured, recipe, "slope")
    change = wanted((after - before).dropna().rename("value").reset_index(), "no two spectra to compare")
    return change.rename(columns={"matrix": "unit"})[_COLUMNS]


def concentration_change(measured: Measurements, recipe: str) -> pd.DataFrame:
    """Log of the update's stable rank (sum sigma^2 / sigma_1^2), RL's minus IN's, per weight matrix; lower: RL's update is
    concentrated on fewer directions, whatever its rank."""
    before, after = (np.log(side.where(side > 0)) for side in _both_updates(measured, recipe, "stable_rank"))
    change = wanted((after - before).dropna().rename("value").reset_index(), "no two spectra to compare")
    return change.rename(columns={"matrix": "unit"})[_COLUMNS]
