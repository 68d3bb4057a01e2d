"""Is a region special, or would any third of the layers do? Layer profiles vs. random layer sets and sliding windows."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from ..core.intervals import student
from ..core.regions import NAMES, Regions
from . import layer_samples
from .measurements import Measurements

REST = "rest"  # all layers outside a region
_DRAWS = 9999


def p_layers(profile: pd.DataFrame, regions: Regions, more: str, less: str | None, expect: str, seed: int) -> float:
    """Permutation test over layers: the fraction of random partitions into three sets of the regions' sizes in which the
    first set's mean (minus the second's, if given) is at least as extreme in the expected direction.

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
    """Yields (quantity, of, layer profile) for every layer profile available in the study."""
    wanted = [("image reading", name, layer_samples.image_reads, (name,)) for name in _functions(measured)]
    wanted.append(("error rate", "layer skipped", layer_samples.skip_errors, ()))
    for recipe in measured.recipes:
        wanted.append(("attention mass, RL - IN", recipe, layer_samples.attention_change, (recipe,)))
        wanted += [
            ("update energy", f"{recipe}, {stage}", layer_samples.energy, (recipe, stage)) for stage in ("IN", "RL")
        ]
        wanted.append(("slope, RL - IN", recipe, layer_samples.slope_change, (recipe,)))
        wanted.append(("log stable rank, RL - IN", recipe, layer_samples.concentration_change, (recipe,)))
    for quantity, of, profile, arguments in wanted:
        try:
            found = profile(measured, *arguments)
        except LookupError:
            continue
        if not np.isinf(found.value).any():
            yield quantity, of, found


def _functions(measured: Measurements) -> list[str]:
    return [] if measured.swaps is None else list(dict.fromkeys(measured.swaps.function))


def windows(measured: Measurements) -> pd.DataFrame:
    """Every layerwise quantity averaged over sliding windows with as many layers as Mid.

    quantity, of, first, last (layers of the window), value (window mean minus the mean over all layers), low, high (95 % t
    interval over units), n, unit, random_low, random_high (simultaneous band: in 95 % of random layer orders, no window lies
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
        unit = layer_samples.MATRICES if quantity.startswith(("slope", "log stable")) else layer_samples.EXAMPLES
        for first in range(layers - size + 1):
            values = centred.loc[:, first : first + size - 1].mean(axis=1).dropna()
            row = {"quantity": quantity, "of": of, "first": first, "last": first + size - 1, "value": values.mean()}
            row |= {**student(values), "n": len(values), "unit": layer_samples.LAYERS if len(table) == 1 else unit}
            rows.append({**row, "random_low": low, "random_high": high})
    return pd.DataFrame(rows, columns=columns)
