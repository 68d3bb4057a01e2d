"""95 % intervals of rates and of means."""

from __future__ import annotations

import numpy as np
from scipy import stats
from scipy.stats import binomtest


def wilson(k: int, n: int) -> dict[str, float]:
    """low and high of the 95 % Wilson interval of k successes in n."""
    interval = binomtest(k, n).proportion_ci(0.95, method="wilson")
    return {"low": interval.low, "high": interval.high}


def student(values) -> dict[str, float]:
    """low and high of the 95 % t interval of a mean; NaN for fewer than two values."""
    if len(values) < 2:
        return {"low": np.nan, "high": np.nan}
    mean, half = np.mean(values), stats.sem(values) * stats.t.ppf(0.975, len(values) - 1)
    return {"low": mean - half, "high": mean + half}
