"""95 % intervals of rates and of means."""

from __future__ import annotations

import numpy as np
from scipy import stats
from scipy.stats import binomtest


def wilson(k: int, n: int) -> dict[str, float]:
    """low and high of the 95 % Wilson interval of k successes in n."""
    interval = binomtest(k, n).proportion_ci(0.95, method="wilson")
    return {"low": interval.low, "high": interval.high}


def paired(n10: int, n01: int, n: int) -> dict[str, float]:
    """low and high of the 95 % interval of (n10 - n01) / n, the difference of two rates on the same n units.

    n10, n01: units that only the first, or only the second, has. The adjusted Wald interval of Bonett and Price (2012): with
    p = (n10 + 1) / (n + 2) and q = (n01 + 1) / (n + 2) it is p - q ± z sqrt((p + q - (p - q)^2) / (n + 2)), cut at -1 and 1.
    Not a point where no unit is discordant, as the bootstrap's is.
    """
    p, q = (n10 + 1) / (n + 2), (n01 + 1) / (n + 2)
    half = stats.norm.ppf(0.975) * np.sqrt((p + q - (p - q) ** 2) / (n + 2))
    return {"low": max(-1.0, p - q - half), "high": min(1.0, p - q + half)}


def student(values) -> dict[str, float]:
    """low and high of the 95 % t interval of a mean; NaN for fewer than two values."""
    if len(values) < 2:
        return {"low": np.nan, "high": np.nan}
    mean, half = np.mean(values), stats.sem(values) * stats.t.ppf(0.975, len(values) - 1)
    return {"low": mean - half, "high": mean + half}
