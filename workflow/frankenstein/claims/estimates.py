"""Estimates from samples, using scipy: intervals, one-sided p values in both directions, and power."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, inf

import numpy as np
from scipy import stats

from ..core.intervals import paired

LEVEL, POWER = 0.05, 0.8  # two-sided
_RESAMPLES = 4999
_AT_ONCE = 10**7  # values per resampling batch: 80 MB per copy


@dataclass(frozen=True)
class Estimate:
    """A statistic: value, 95 % interval, one-sided p values in both directions, sample size n and its unit.

    deviation: standard deviation over units; NaN if no more units exist to be sampled (layers, matrices).
    sample: digest of the units' values, equal for two statistics of the same values; empty if all values are zero.
    """

    value: float
    low: float
    high: float
    p_greater: float
    p_less: float
    n: int
    unit: str
    deviation: float = np.nan
    sample: str = ""

    def needed(self, level: float = LEVEL) -> float:
        """Sample size for 80 % power at the observed effect and deviation, two-sided at `level` (normal approximation). At
        least the smallest n at which a sign-flip test can reach the level; infinite for a value of zero."""
        if np.isnan(self.deviation) or np.isnan(self.value):
            return np.nan
        if self.value == 0:
            return inf
        return max(float(ceil((_quantiles(level) * self.deviation / self.value) ** 2)), float(ceil(np.log2(2 / level))))

    def detectable(self, level: float = LEVEL) -> float:
        """Minimum detectable effect: 80 % power with these n units, two-sided at `level` (normal approximation)."""
        return _quantiles(level) * self.deviation / np.sqrt(self.n) if self.n and self.deviation else np.nan


def _quantiles(level: float) -> float:
    return stats.norm.ppf(1 - level / 2) + stats.norm.ppf(POWER)


def _digest(*samples: np.ndarray) -> str:
    return hashlib.sha256(b"".join(np.ascontiguousarray(sample).tobytes() for sample in samples)).hexdigest()[:8]


def _batch(samples: tuple) -> int:
    return max(1, _AT_ONCE // sum(map(len, samples)))


def _permuted(samples: tuple, statistic: Callable, kind: str, seed: int) -> tuple[float, float]:
    """One-sided p values (greater, less) of a permutation test, from one null distribution. kind: scipy's permutation_type."""
    options = {"permutation_type": kind, "vectorized": True, "n_resamples": _RESAMPLES, "alternative": "greater"}
    options["batch"] = _batch(samples)
    found = stats.permutation_test(samples, statistic, rng=np.random.default_rng(seed), **options)
    null = found.null_distribution
    drawn = len(null) == _RESAMPLES  # fewer means exhaustive enumeration, which includes the observed arrangement
    below = null <= found.statistic + 1e-14 * abs(found.statistic)
    return float(found.pvalue), float((below.sum() + drawn) / (len(null) + drawn))


def interval(samples: tuple, statistic: Callable, seed: int, paired: bool = False) -> tuple[float, float]:
    """95 % percentile bootstrap interval of a vectorized statistic."""
    options = {"method": "percentile", "vectorized": True, "n_resamples": _RESAMPLES, "paired": paired}
    options["batch"] = _batch(samples)
    found = stats.bootstrap(samples, statistic, rng=np.random.default_rng(seed), **options).confidence_interval
    return float(found.low), float(found.high)


def of_mean(values, unit: str, seed: int) -> Estimate:
    """Mean of paired differences, one per unit: percentile bootstrap interval and sign-flip permutation test.

    If all differences are -1, 0 or 1 (two paired proportions), the interval is Bonett and Price's (intervals.paired) and the
    permutation test is McNemar's exact test (a binomial test).
    """
    values = np.asarray(values, float)
    n, mean = len(values), float(values.mean()) if len(values) else np.nan
    if n < 2 or np.isnan(mean):
        return Estimate(mean, np.nan, np.nan, 1.0, 1.0, n, unit)
    moved = values[values != 0]
    won = int((moved > 0).sum())
    deviation = (
        values.std(ddof=1) if np.ptp(values) else 0.0
    )  # for equal values, std can be a rounding error instead of zero
    if set(np.abs(moved)) <= {1.0}:  # also with no discordant pairs: the interval must not collapse to zero width
        bounds = paired(won, len(moved) - won, n)
        low, high = bounds["low"], bounds["high"]
        greater, less = (
            (stats.binomtest(won, len(moved), alternative=side).pvalue if len(moved) else 1.0)
            for side in ("greater", "less")
        )
    else:
        low, high = interval((values,), np.mean, seed)
        greater, less = _permuted((values,), np.mean, "samples", seed)
    return Estimate(mean, low, high, greater, less, n, unit, deviation, _digest(values) if len(moved) else "")


def of_difference(one: np.ndarray, other: np.ndarray, unit: str, seed: int) -> Estimate:
    """Difference in means of two samples: permutation test and percentile bootstrap. No deviation: no more units exist."""

    def difference(a, b, axis=-1):
        return np.mean(a, axis=axis) - np.mean(b, axis=axis)

    value, n = float(one.mean() - other.mean()), len(one) + len(other)
    if min(len(one), len(other)) < 2 or np.ptp([*one, *other]) == 0:
        return Estimate(value, np.nan, np.nan, 1.0, 1.0, n, unit)
    p = _permuted((one, other), difference, "independent", seed)
    return Estimate(value, *interval((one, other), difference, seed), *p, n, unit, sample=_digest(one, other))
