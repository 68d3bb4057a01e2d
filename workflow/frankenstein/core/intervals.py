"""95 % confidence intervals for rates and means."""

from __future__ import annotations

import numpy as np
from scipy import stats
from scipy.stats import binomtest


def wilson(k: int, n: int) -> dict[str, float]:
    """Bounds (low, high) of the 95 % Wilson interval for k successes in n trials."""
    interval = binomtest(k, n).proportion_ci(0.95, method="wilson")
    return {"low": interval.low, "high": interval.high}


def paired(n10: int, n01: int, n: int) -> dict[str, float]:
    """Bounds (low, high) of the 95 % interval for (n10 - n01) / n, the difference between two rates on the same n units.

    n10, n01: units that succeed only in the first, or only in the second. The adjusted Wald interval of Bonett and Price
    (2012): with p = (n10 + 1) / (n + 2) and q = (n01 + 1) / (n + 2) it is p - q ± z sqrt((p + q - (p - q)^2) / (n + 2)),
    clipped to [-1, 1]. It does not collapse to a point when no unit is discordant.
    """
    p, q = (n10 + 1) / (n + 2), (n01 + 1) / (n + 2)
    half = stats.norm.ppf(0.975) * np.sqrt((p + q - (p - q) ** 2) / (n + 2))
    return {"low": max(-1.0, p - q - half), "high": min(1.0, p - q + half)}


def over_runs(values, errors) -> dict[str, float]:
    """Bounds (low, high) of the 95 % t interval for the mean of runs' numbers; NaN for fewer than two.

    errors: each number's own standard error, from its examples. The variance is at least what these give the mean: few runs
    can agree by chance, which must not make an interval without width (claims.estimates.over_runs has the draw of the examples
    as well, which the runs share).
    """
    values, errors = np.asarray(values, float), np.asarray(errors, float)
    runs = len(values)
    if runs < 2:
        return {"low": np.nan, "high": np.nan}
    error = np.sqrt(max(values.var(ddof=1) / runs, (errors**2).sum() / runs**2))
    half = error * stats.t.ppf(0.975, runs - 1)
    return {"low": values.mean() - half, "high": values.mean() + half}


def standard_error(bounds: dict[str, float]) -> float:
    """The standard error that an interval of normal width, such as Wilson's or Bonett and Price's, stands for."""
    return (bounds["high"] - bounds["low"]) / (2 * stats.norm.ppf(0.975))


def student(values) -> dict[str, float]:
    """Bounds (low, high) of the 95 % t interval for a mean; NaN for fewer than two values."""
    if len(values) < 2:
        return {"low": np.nan, "high": np.nan}
    mean, half = np.mean(values), stats.sem(values) * stats.t.ppf(0.975, len(values) - 1)
    return {"low": mean - half, "high": mean + half}
