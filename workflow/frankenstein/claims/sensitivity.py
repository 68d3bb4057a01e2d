"""Sensitivity of the claims' estimates: other variances, other models, other cuts of the layers. No verdict rests on these."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd
from scipy import stats

from ..core.intervals import student
from ..core.regions import Regions
from . import testing
from .estimates import MATRICES, Sample
from .measurements import Measurements

COLUMNS = ["claim", "statement", "variant", "estimate", "low", "high", "p", "n"]


def sensitivity(claims: list[dict], measured: Measurements, also: Sequence[Sequence[int]] = ()) -> pd.DataFrame:
    """The estimates of statements about RL under other assumptions: claim, statement, variant, estimate, low, high (95 %), p
    (two-sided, uncorrected), n.

    Variants: `as tested`; `runs alone` (t test over runs, questions taken as fixed); `run x example clusters` (ordinary least
    squares with errors clustered by both, statsmodels; t with runs - 1 degrees of freedom); of weight matrices `kind x layer
    clusters` (matrices of one kind, and those of one layer, may share an effect; on the mean over the runs) and `mixed model`
    (random effects of kind, layer and run); `cuts A, B` (the layers cut elsewhere: `also`).
    """
    rows, of_seed = [], testing.seeded(measured)
    for claim in claims:
        for statement in claim["statements"]:
            found = testing.measure(statement, measured, of_seed, partial=True)
            samples = [found.samples[run] for run in found.counted() if run]
            label = {"claim": claim["claim"], "statement": statement["name"]}
            if samples and all(len(parts) == 1 for parts in samples):
                variants = _variants([parts[0] for parts in samples])
                rows += [label | {"variant": variant, **row} for variant, row in variants]
    for cuts in also:
        try:
            other = replace(measured, regions=Regions(tuple(cuts), measured.regions.layers))
        except AttributeError:  # nothing layered was measured
            break
        tested, _ = testing.check_all([_layered(claim) for claim in claims], other, partial=True)
        for row in tested[tested.estimate.notna()].itertuples():
            numbers = {"estimate": row.estimate, "low": row.low, "high": row.high, "n": row.n}
            p = min(1.0, 2 * min(row.p_for, row.p_against)) if row.over != "nothing" else np.nan
            variant = f"cuts {', '.join(map(str, cuts))}"
            rows.append({"claim": row.claim, "statement": row.statement, "variant": variant, **numbers, "p": p})
    return pd.DataFrame(rows, columns=COLUMNS)


def _layered(claim: dict) -> dict:
    """A claim with those of its statements that are about regions of layers, and not about merged or frozen models."""
    regional = [statement for statement in claim["statements"] if {"region", "more"} & set(statement["of"])]
    return {**claim, "statements": regional}


def _variants(samples: list[Sample]) -> Iterator[tuple[str, dict]]:
    """(variant, its estimate) for one statement; samples: one per run."""
    found = testing.estimate([[one] for one in samples])
    p = found.p if found.over else np.nan
    yield "as tested", {"estimate": found.value, "low": found.low, "high": found.high, "p": p, "n": found.n}
    numbers = [one.value for one in samples]
    several = len(samples) > 1
    if several and np.ptp(numbers):
        p = stats.ttest_1samp(numbers, 0).pvalue
        yield "runs alone", {"estimate": np.mean(numbers), **student(numbers), "p": p, "n": len(numbers)}
    if several and samples[0].drawn:
        yield "run x example clusters", _clustered(_long(samples), ["run", "cluster"], len(samples) - 1)
    if samples[0].unit == MATRICES:
        frame = _long(samples)
        frame = frame.assign(layer=[key[0] for key in frame.unit], kind=[key[1] for key in frame.unit])
        mean = frame.groupby(["layer", "kind"], as_index=False).value.mean()
        fewest = min(mean.layer.nunique(), mean.kind.nunique())
        if fewest > 1:
            yield "kind x layer clusters", _clustered(mean, ["kind", "layer"], fewest - 1)
            yield "mixed model", _mixed(frame)


def _long(samples: list[Sample]) -> pd.DataFrame:
    """run, unit, cluster, value: one row per unit of each run; weight: its weight in the run's number."""
    return pd.concat(
        pd.DataFrame(
            {"run": k, "unit": list(one.index), "cluster": one.clusters, "value": one.values, "weight": one.weights}
        )
        for k, one in enumerate(samples)
    ).reset_index(drop=True)


def _clustered(frame: pd.DataFrame, by: list[str], df: int) -> dict:
    """Weighted mean with errors clustered two ways, and the t interval with df degrees of freedom."""
    import statsmodels.api as sm

    weights = frame.weight if "weight" in frame else np.ones(len(frame))
    groups = np.column_stack([pd.factorize(frame[name])[0] for name in by])
    fit = sm.WLS(frame.value, np.ones(len(frame)), weights=weights)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a variance below zero, which a difference of variances can be
        error = fit.fit(cov_type="cluster", cov_kwds={"groups": groups}).bse.iloc[0]
    value = float(np.average(frame.value, weights=weights))
    if not error > 0:
        return {"estimate": value, "low": np.nan, "high": np.nan, "p": np.nan, "n": df + 1}
    half = stats.t.ppf(0.975, df) * error
    p = 2 * stats.t.sf(abs(value) / error, df)
    return {"estimate": value, "low": value - half, "high": value + half, "p": p, "n": df + 1}


def _mixed(frame: pd.DataFrame) -> dict:
    """Mean of a model with crossed random effects of kind, layer and (with several) run; normal interval. NaN if it does not fit."""
    import statsmodels.formula.api as smf

    effects = {name: f"0 + C({name})" for name in ("kind", "layer", "run") if frame[name].nunique() > 1}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # effects on the boundary at zero
        try:
            fit = smf.mixedlm("value ~ 1", frame, groups=np.ones(len(frame)), vc_formula=effects, re_formula="0").fit()
            low, high = fit.conf_int().loc["Intercept"]
            value, p = fit.params["Intercept"], fit.pvalues["Intercept"]
        except (ValueError, np.linalg.LinAlgError):
            value, low, high, p = frame.value.mean(), np.nan, np.nan, np.nan
    return {"estimate": value, "low": low, "high": high, "p": p, "n": len(frame)}
