"""Is a region special, or would any third of the layers do? Layer profiles vs. random layer sets and sliding windows."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
import pandas as pd

from ..core.intervals import student
from ..core.regions import NAMES, Regions
from . import layer_samples
from .estimates import EXAMPLES, LAYERS, MATRICES, RUNS
from .measurements import Measurements

REST = "rest"  # all layers outside a region
_DRAWS = 9999


def random_layers(
    profile: pd.DataFrame, regions: Regions, more: str, less: str | None, expect: str, seed: int
) -> float:
    """The fraction of random partitions of the layers into three sets of the regions' sizes in which the first set's mean (minus
    the second's, if given) is at least as extreme in the expected direction. It describes the profile and is no test.

    profile: layer, unit, value (layerwise). Adjacent layers are correlated, so contiguous regions are the extremes of many
    smooth profiles; `windows` shows whether another window is more extreme still. NaN if all layers have the same value.
    """
    values = profile.groupby("layer").value.mean().reindex(range(regions.layers)).to_numpy()
    if np.isnan(values).any() or np.isinf(values).any() or np.ptp(values) == 0:
        return np.nan
    labels = np.array([NAMES.index(regions.of(layer)) for layer in range(regions.layers)])
    rng = np.random.default_rng(seed)
    drawn = np.vstack([labels, rng.permuted(np.tile(labels, (_DRAWS, 1)), axis=1)])

    def mean(chosen: np.ndarray) -> np.ndarray:
        return (chosen * values).sum(1) / chosen.sum(1)

    first = drawn == NAMES.index(more)
    found = mean(first) - (mean(~first) if less == REST else mean(drawn == NAMES.index(less)) if less else 0)
    found = found if expect == "greater" else -found
    # Draws that differ from the observed value only by rounding count as equally extreme.
    return float((found >= found[0] - 1e-12 * np.ptp(values)).mean())


def _quantities(measured: Measurements) -> Iterator[tuple[str, str, pd.DataFrame]]:
    """Yields (quantity, of, layer profile) for every layer profile available in the study.

    Of a recipe with several runs, the units are the runs: the profile of a run is the mean over its units.
    """
    of_base = [("image reading", name, layer_samples.image_reads, (name,)) for name in _functions(measured)]
    of_base.append(("error rate", "layer skipped", layer_samples.skip_errors, ()))
    for quantity, of, profile, arguments in of_base:
        with contextlib.suppress(LookupError):
            yield quantity, of, profile(measured, *arguments)
    of_runs = [("attention mass, RL - IN", "", layer_samples.attention_change, ())]
    of_runs += [("update energy", f", {stage}", layer_samples.energy, (stage,)) for stage in ("IN", "RL")]
    of_runs.append(("slope, RL - IN", "", layer_samples.slope_change, ()))
    of_runs.append(("log stable rank, RL - IN", "", layer_samples.concentration_change, ()))
    for recipe in dict.fromkeys(run.recipe for run in measured.runs):
        for quantity, suffix, profile, arguments in of_runs:
            frames = []
            for run in measured.runs:
                with contextlib.suppress(LookupError):
                    frames += [profile(measured, run, *arguments)] if run.recipe == recipe else []
            if len(frames) > 1:
                means = [
                    frame.groupby("layer").value.mean().reset_index().assign(unit=k) for k, frame in enumerate(frames)
                ]
                frames = [pd.concat(means, ignore_index=True)]
            if frames:
                yield quantity, recipe + suffix, frames[0]


def _functions(measured: Measurements) -> list[str]:
    return [] if measured.swaps is None else list(dict.fromkeys(measured.swaps.function))


def windows(measured: Measurements) -> pd.DataFrame:
    """Every layerwise quantity averaged over sliding windows with as many layers as Mid.

    quantity, of, first, last (layers of the window), value (window mean minus the mean over all layers), low, high (95 % t
    interval over units: examples, matrices, or runs where there are several), n, unit, random_low, random_high (simultaneous band: in 95 % of random layer orders, no window lies
    outside it). Update energy has one value per layer, hence no interval.
    """
    columns = ["quantity", "of", "first", "last", "value", "low", "high", "n", "unit", "random_low", "random_high"]
    if measured.regions is None:
        return pd.DataFrame(columns=columns)
    size, layers, rows = len(measured.regions.range("mid")), measured.regions.layers, []
    for quantity, of, frame in _quantities(measured):
        table = frame.pivot(index="unit", columns="layer", values="value").reindex(columns=range(layers))
        centred = table.sub(table.mean(axis=1), axis=0)
        profile = centred.mean().to_numpy()
        rng = np.random.default_rng(measured.seed)
        orders = rng.permuted(np.tile(profile, (_DRAWS, 1)), axis=1)
        means = np.lib.stride_tricks.sliding_window_view(orders, size, axis=1).mean(-1)
        rounding = 1e-12 * np.ptp(profile)  # rounding alone must not put a window outside the band
        low, high = np.quantile(means.min(1), 0.025) - rounding, np.quantile(means.max(1), 0.975) + rounding
        several = sum(run.recipe == of.split(",")[0] for run in measured.runs) > 1
        unit = RUNS if several else MATRICES if quantity.startswith(("slope", "log stable")) else EXAMPLES
        for first in range(layers - size + 1):
            values = centred.loc[:, first : first + size - 1].mean(axis=1).dropna()
            row = {"quantity": quantity, "of": of, "first": first, "last": first + size - 1, "value": values.mean()}
            row |= {**student(values), "n": len(values), "unit": LAYERS if len(table) == 1 else unit}
            rows.append({**row, "random_low": low, "random_high": high})
    return pd.DataFrame(rows, columns=columns)
