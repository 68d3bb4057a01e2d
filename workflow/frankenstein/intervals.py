"""Intervals of rates."""

from __future__ import annotations

from scipy.stats import binomtest


def wilson(k: int, n: int) -> dict[str, float]:
    """low and high of the 95 % Wilson interval of k successes in n."""
    interval = binomtest(k, n).proportion_ci(0.95, method="wilson")
    return {"low": interval.low, "high": interval.high}
