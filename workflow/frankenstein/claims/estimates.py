"""Estimates and tests. The replicate is a training run: with several, tests are over runs; with one, over its examples."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil, inf, sqrt

import numpy as np
import pandas as pd
from scipy import special, stats

LEVEL, POWER = 0.05, 0.8
EXAMPLES, LAYERS, MATRICES = "examples", "layers", "matrices"
RUNS = "runs"
_MOST_RUNS = 100  # `needed` looks no further


@dataclass(frozen=True)
class Sample:
    """What a statistic measured in one run: a number, and the values of the units whose mean it is.

    index: names of the units [n]; values: float [n]; strata, clusters: int codes [n]. The number is the mean over strata (tasks)
    of the means over their units; units of one cluster (versions of one problem) are not independent. unit: examples, which
    are a sample of the questions that could be asked, or layers or matrices, which are all that the model has.
    """

    index: pd.Index
    values: np.ndarray
    strata: np.ndarray
    clusters: np.ndarray
    unit: str

    @property
    def weights(self) -> np.ndarray:
        """Weight of each unit in the number; they sum to one."""
        sizes = np.bincount(self.strata)
        return 1 / (sizes[self.strata] * np.count_nonzero(sizes))

    @property
    def value(self) -> float:
        sizes = np.bincount(self.strata)
        means = np.bincount(self.strata, self.values)[sizes > 0] / sizes[sizes > 0]
        return float(means.mean()) if len(means) else np.nan

    @property
    def drawn(self) -> bool:
        """Whether the units are a sample, so that other units could have been measured."""
        return self.unit == EXAMPLES

    @property
    def digest(self) -> str:
        """Equal for two samples of the same values."""
        return hashlib.sha256(self.values.tobytes()).hexdigest()

    def of(self, index: pd.Index) -> Sample:
        """The sample of some of its units, in this order."""
        if self.index.equals(index):
            return self
        at = self.index.get_indexer(index)
        return Sample(index, self.values[at], self.strata[at], self.clusters[at], self.unit)

    def minus(self, other: Sample) -> Sample:
        """The difference of two samples on the units that both have."""
        index = self.index if self.index.equals(other.index) else self.index.intersection(other.index)
        mine = self.of(index)
        return replace(mine, values=mine.values - other.of(index).values)


def sample(values: pd.Series, unit: str, strata=None, clusters=None) -> Sample:
    """A Sample of values indexed by unit; strata, clusters: labels aligned with them (default: one stratum, each unit on its own)."""
    n = len(values)
    strata = np.zeros(n, int) if strata is None else pd.factorize(strata)[0]
    clusters = np.arange(n) if clusters is None else pd.factorize(clusters)[0]
    return Sample(values.index, values.to_numpy(float), strata, clusters, unit)


@dataclass(frozen=True)
class Estimate:
    """An estimate with its 95 % interval and tests.

    over: what the tests generalize to: runs (other training runs, on other examples), examples (this checkpoint on other
    examples), or "" (measured whole, nothing to generalize to: no interval and no p). n: number of those. value: the mean.
    The t statistic of a hypothesis d is (centre - d) / error with `df` degrees of freedom; centre differs from value only
    where counts are smoothed. by_runs, by_examples: the parts of error² that more runs and more examples reduce; both: the
    part of by_runs that more examples reduce too. sign_flip: two-sided p of the sign-flip test over runs. among: where this is
    the smallest of several (see `smallest`), all of them; its tests are about the smallest of the true effects.
    """

    value: float
    unit: str
    n: int
    units: int
    over: str = ""
    centre: float = np.nan
    error: float = np.nan
    df: float = inf
    low: float = np.nan
    high: float = np.nan
    by_runs: float = 0.0
    by_examples: float = 0.0
    both: float = 0.0
    sign_flip: float = np.nan
    among: tuple[Estimate, ...] = ()

    def above(self, bound: float = 0.0) -> float:
        """One-sided p of the hypothesis that the effect is at most `bound`; 1 if there is no test."""
        if self.among:  # the smallest is above where all are
            return max(one.above(bound) for one in self.among)
        return 1.0 if not self.over else self._tail(self.centre - bound)

    def below(self, bound: float = 0.0) -> float:
        """One-sided p of the hypothesis that the effect is at least `bound`; 1 if there is no test."""
        if self.among:  # the smallest is below where any is: Bonferroni
            return min(1.0, len(self.among) * min(one.below(bound) for one in self.among))
        return 1.0 if not self.over else self._tail(bound - self.centre)

    @property
    def p(self) -> float:
        """Two-sided p of a zero effect; 1 if there is no test."""
        return min(1.0, 2 * min(self.above(), self.below()))

    def within(self, margin: float) -> float:
        """p of the two one-sided tests (TOST) that the effect lies within ±margin; 1 without a margin."""
        return 1.0 if np.isnan(margin) else max(self.above(-margin), self.below(margin))

    def _tail(self, distance: float) -> float:
        if self.error == 0:
            return 0.5 if distance == 0 else float(distance < 0)
        return float(special.stdtr(self.df, -distance / self.error))

    def detectable(self, level: float) -> float:
        """The effect that these data would show with 80 % power, one-sided at `level`."""
        if not self.over:
            return np.nan
        return float((special.stdtrit(self.df, 1 - level) + special.stdtrit(self.df, POWER)) * self.error)

    def needed(self, margin: float, level: float) -> tuple[float, float]:
        """(runs, examples) that would show an effect of `margin` with 80 % power, one-sided at `level`, by the variances found.

        Runs at the present number of examples where at most 100 are enough, else with the smallest doubling of the examples
        that makes them so. Over examples: runs is NaN. (NaN, NaN) where the variance between runs is not known.
        """
        if np.isnan(margin) or not self.over or not self.error:
            return np.nan, np.nan
        if self.over == EXAMPLES:
            quantiles = stats.norm.isf(level) + stats.norm.ppf(POWER)
            return np.nan, ceil(self.units * (quantiles * self.error / margin) ** 2)
        for factor in [2**k for k in range(20)] if self.by_examples or self.both else [1]:
            runs = np.arange(2, _MOST_RUNS + 1)
            between = (self.by_runs - self.both + self.both / factor) * self.n / runs
            power = stats.nct.sf(
                stats.t.isf(level, runs - 1), runs - 1, margin / np.sqrt(between + self.by_examples / factor)
            )
            if enough := runs[power >= POWER].tolist():
                return enough[0], self.units * factor
        return inf, inf


def smallest(estimates: Sequence[Estimate]) -> Estimate:
    """The estimate with the smallest value; with several, its tests are about the smallest of the true effects."""
    least = min(estimates, key=lambda one: one.value)
    return replace(least, among=tuple(estimates)) if len(estimates) > 1 else least


def _variance_of_sums(weighted: np.ndarray, strata: np.ndarray, clusters: np.ndarray) -> float:
    """Variance of a sum over units by their clusters, within strata (Cochran's between-cluster estimator).

    weighted: [units], weight times deviation from the stratum's mean. A cluster lies in one stratum.
    """
    sums = np.bincount(clusters, weighted)
    of_cluster = np.zeros(len(sums), int)
    of_cluster[clusters] = strata
    present = np.bincount(clusters) > 0
    squares = np.bincount(of_cluster[present], sums[present] ** 2)
    numbers = np.bincount(of_cluster[present])
    return float((squares * numbers / np.maximum(numbers - 1, 1)).sum())


def _centred(values: np.ndarray, strata: np.ndarray) -> np.ndarray:
    """Values less the mean of their stratum."""
    return values - (np.bincount(strata, values) / np.maximum(np.bincount(strata), 1))[strata]


def over_runs(samples: Sequence[Sample]) -> Estimate:
    """Mean over runs, tested against the variation between runs and between examples.

    samples: one per run, at least two. The t test over runs (df: runs - 1) takes its variance from the runs' numbers. All
    runs answer the same examples, whose draw moves all of them together, which their variation does not show: that part
    (variance of the examples' means over runs, less what single answers contribute) is added where it is positive. Nor can
    the variance be less than what the single answers have (over_examples, which is above zero where no answer differs): few
    runs can agree by chance. For units that are measured whole it is the plain t test over runs. Examples that failed in a
    run are left out of all.
    """
    runs, unit, by_examples, both, least = len(samples), samples[0].unit, 0.0, 0.0, 0.0
    if samples[0].drawn:
        shared = samples[0].index
        for one in samples[1:]:
            shared = shared if shared.equals(one.index) else shared.intersection(one.index)
        samples = [one.of(shared) for one in samples]
        first = samples[0]
        weights, strata, clusters = first.weights, first.strata, first.clusters
        table = np.stack([_centred(one.values, strata) for one in samples])
        of_examples = table.mean(0)
        both = sum(_variance_of_sums(weights * row, strata, clusters) for row in table - of_examples)
        both /= runs * (runs - 1)
        by_examples = max(_variance_of_sums(weights * of_examples, strata, clusters) - both, 0.0)
        least = sum(over_examples(one).by_examples for one in samples) / runs**2
    values = np.array([one.value for one in samples])
    by_runs = max(values.var(ddof=1) / runs, least - by_examples)
    error = sqrt(by_runs + by_examples)
    value, half = float(values.mean()), error * special.stdtrit(runs - 1, 0.975)
    return Estimate(
        value, unit, runs, len(samples[0].index), RUNS, value, error, runs - 1, value - half, value + half,
        by_runs, by_examples, min(max(both, least - by_examples), by_runs), sign_flip(values),
    )  # fmt: skip


def sign_flip(values: np.ndarray) -> float:
    """Two-sided p of the sign-flip test of a zero mean over runs: all 2^(runs - 1) flips up to 14 runs, else 9,999 random ones."""
    runs = len(values)
    if runs <= 14:
        signs = 1 - 2 * (np.arange(2 ** (runs - 1))[:, None] >> np.arange(runs) & 1)
    else:
        signs = np.vstack([np.ones(runs), np.random.default_rng(0).choice([-1, 1], (9999, runs))])
    found = np.abs(signs @ values)
    return float((found >= abs(values.sum()) * (1 - 1e-12)).mean())


def over_examples(one: Sample) -> Estimate:
    """The number of one run, with an interval over its examples; without interval and p where the units are measured whole.

    Values that are all -s, 0 or s (paired answers: s = 1) have Bonett and Price's interval (intervals.paired), which adds one
    pair to each side, here to every stratum, and is normal; with clusters its variance is between them. Other values have
    the t interval of their mean. The tests are the intervals' own, so that they agree.
    """
    values, n = one.values, len(one.values)
    sizes = set(np.abs(values[values != 0]).tolist())
    if not one.drawn or n < 2:
        return Estimate(one.value, one.unit, n, n)
    if len(sizes) > 1:
        spread = _variance_of_sums(one.weights * _centred(values, one.strata), one.strata, one.clusters)
        df = len(np.unique(one.clusters)) - len(np.unique(one.strata))
        return _bounded(one, one.value, sqrt(spread), df)
    size, centre, variance = sizes.pop() if sizes else 1.0, 0.0, 0.0
    strata = np.unique(one.strata)
    for stratum in strata:
        inside = one.strata == stratum
        smoothed = np.append(values[inside] / size, [1, -1])
        mean = smoothed.mean()
        sums = np.bincount(np.append(one.clusters[inside] + 2, [0, 1]), smoothed - mean)
        centre += mean / len(strata)
        variance += sums @ sums / (len(smoothed) * len(strata)) ** 2
    return _bounded(one, size * centre, size * sqrt(variance), inf, size)


def _bounded(one: Sample, centre: float, error: float, df: float, limit: float = inf) -> Estimate:
    """An estimate over examples with the interval centre ± t error, within ±limit."""
    half = error * (special.stdtrit(df, 0.975) if df < inf else special.ndtri(0.975))
    low, high = max(centre - half, -limit), min(centre + half, limit)
    n = len(one.values)
    return Estimate(one.value, one.unit, n, n, EXAMPLES, centre, error, df, low, high, by_examples=error**2)
