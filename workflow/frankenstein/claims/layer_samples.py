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


def swap_changes(measured: Measurements, function: str) -> pd.DataFrame:
    """Whether a swap at the layer changed the Base's answer, by pair, in the paper's mode. Failed samples are left out, and so are
    pairs that no swap can change. LookupError where the Base can't do the function: what its answers change to says nothing."""
    swaps = wanted(measured.swaps, "no localization")
    part = wanted(swaps[swaps.function == function], f"no pairs of {function}")
    part = wanted(part[~part.unchangeable.astype(bool)], f"no swap can change a pair of {function}")
    if (right := able(part)[function]) < ABLE:
        raise LookupError(f"the Base has only {right:.0%} of the {function} pairs right without a swap")
    part = wanted(part[part["mode"] == "hidden_state_at_layer"], "hidden_state_at_layer is none of the modes")
    return _probed(part.assign(task=function), "changed")


def skip_errors(measured: Measurements) -> pd.DataFrame:
    """Whether the Base's answer was wrong with the layer skipped, by example."""
    return _probed(wanted(measured.skips, "no localization"), "wrong")


def _updates(measured: Measurements, recipe: str, stage: str) -> pd.DataFrame:
    frame = wanted(measured.updates, "no updates")
    frame = frame[(frame.recipe == recipe) & (frame.stage == stage) & (frame.component == "layer")]
    return wanted(frame, f"no update of {stage}")


def log_energy(measured: Measurements, recipe: str, stage: str) -> pd.DataFrame:
    """Log of a layer's squared Frobenius norm over its matrices: one value a layer, as all of the layer was measured.

    A layer that was not changed at all counts as a millionth of the least that was; -inf where none was.
    """
    squares = _updates(measured, recipe, stage).assign(square=lambda f: f.frobenius**2).groupby("layer").square.sum()
    changed = squares[squares > 0]
    values = np.log(np.maximum(squares, changed.min() * 1e-6)) if len(changed) else squares * 0.0 - np.inf
    return values.rename("value").reset_index().assign(unit="layer")[_COLUMNS]


def slope_change(measured: Measurements, recipe: str) -> pd.DataFrame:
    """Slope of the log spectrum, RL's less IN's, by weight matrix; lower: RL's is steeper."""
    both = {stage: _updates(measured, recipe, stage).set_index(["layer", "matrix"]).slope for stage in ("IN", "RL")}
    change = (both["RL"] - both["IN"]).dropna().rename("value").reset_index()
    change = wanted(change, "an update of exactly zero has no slope")
    return change.rename(columns={"matrix": "unit"})[_COLUMNS]
