"""Dose-response of hybrids: the effect of an increasing share of RL (extends the paper's Table 2, whose doses are 0 and 1)."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from ..core.intervals import wilson
from ..core.roles import Run
from ..data.metrics import METRICS
from . import statistics
from .estimates import over_examples
from .layer_samples import of_run
from .measurements import Measurements


def response(measured: Measurements, runs: Sequence[Run], families: dict[str, dict[str, float]]) -> pd.DataFrame:
    """Dose-response of hybrids: recipe, run, family, metric, role, dose, n, value, low, high (rate in percent, 95 % Wilson
    interval), slope, slope_low, slope_high, p (statistics.trend over all doses in this run, two-sided, uncorrected).

    families: hybrid at dose 1 -> {role: share of RL in the interpolated layers}.
    """
    rows = []
    for run in runs:
        part = of_run(measured.outcomes, run)
        for family, roles in families.items():
            for metric in METRICS:
                found = over_examples(*statistics.trend(measured, run, metric, roles))
                slope = {"slope": found.value, "slope_low": found.low, "slope_high": found.high}
                for role, dose in roles.items():
                    hit = part[(part.role == role) & (part.metric == metric)].correct
                    row = {
                        "recipe": run.recipe,
                        "run": run.number,
                        "family": family,
                        "metric": metric,
                        "role": role,
                        "dose": dose,
                    }
                    row |= {
                        "n": len(hit),
                        "value": hit.mean(),
                        **wilson(int(hit.sum()), len(hit)),
                        **slope,
                        "p": found.p,
                    }
                    rows.append(row)
    frame = pd.DataFrame(rows)
    percents = ["value", "low", "high", "slope", "slope_low", "slope_high"]
    return frame.assign(**{column: (100 * frame[column]).round(1) for column in percents})
