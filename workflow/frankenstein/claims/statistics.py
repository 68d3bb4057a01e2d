"""The statistics that statements are made of: a function each, of a study's measurements and a recipe."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from ..core.errors import InputError
from . import controls, layer_samples
from .estimates import Estimate, of_difference, of_mean
from .layer_samples import EXAMPLES, LAYERS, MATRICES, wanted
from .measurements import Measurements


@dataclass(frozen=True)
class Statistic:
    """A statistic by its name in claims: what its estimate is a difference of, and whether it is of the one Base.

    profile: (measured, recipe, its arguments) -> (layer profile under it, the region that is compared, the other or None).
    """

    compute: Callable[..., Estimate]
    axis: str
    of_base: bool = False
    profile: Callable | None = None

    @property
    def says(self) -> str:
        """What it is, for the documentation: the first sentence of its docstring."""
        return inspect.getdoc(self.compute).replace("\n", " ").split(". ")[0].rstrip(".")


STATISTICS: dict[str, Statistic] = {}


def statistic(axis: str, of_base: bool = False, profile: Callable | None = None):
    """Make a function a statistic of claims, under its own name; its line in config/README.md is made from it."""

    def register(compute: Callable[..., Estimate]) -> Callable[..., Estimate]:
        STATISTICS[compute.__name__] = Statistic(compute, axis, of_base, profile)
        return compute

    return register


def _side(measured: Measurements, recipe: str, role: str, metric: str) -> pd.Series:
    """Hits by (metric, id) of a role; the benchmarks are pooled: every example weighs alike."""
    hits = wanted(measured.outcomes, "no evaluation")
    part = hits[(hits.recipe == recipe) & (hits.role == role)]
    part = part[part.metric.isin(measured.benchmarks) if metric == "benchmarks" else part.metric == metric]
    return wanted(part, f"no {metric} of {role}").set_index(["metric", "id"]).correct.astype(float)


def _difference(measured: Measurements, recipe: str, metric: str, old: str, new: str) -> np.ndarray:
    before, after = (_side(measured, recipe, role, metric) for role in (old, new))
    if not before.index.sort_values().equals(after.index.sort_values()):
        raise InputError(f"{recipe}: {old} and {new} were not asked the same examples of {metric}")
    return (after - before[after.index]).to_numpy()


@statistic(axis="rate")
def gain(measured: Measurements, recipe: str, metric: str, old: str, new: str) -> Estimate:
    """Rate of correct answers of the role `to` minus that of `from`, paired by example; `metric` is M_vis, M_v2r, M_rea, a task, or
    `benchmarks` (pooled over examples).
    """
    return of_mean(_difference(measured, recipe, metric, old, new), EXAMPLES, measured.seed)


@statistic(axis="rate")
def smaller_gain(measured: Measurements, recipe: str, metric: str) -> Estimate:
    """The smaller of the gains Base -> IN and IN -> RL: above zero only where both are (an intersection of one-sided tests)."""
    steps = [gain(measured, recipe, metric, old, new) for old, new in (("Base", "IN"), ("IN", "RL"))]
    # It falls if either does: the smaller p counts twice (Bonferroni).
    falls = min(1.0, 2 * min(step.p_less for step in steps))
    return replace(
        min(steps, key=lambda step: step.value), p_greater=max(step.p_greater for step in steps), p_less=falls
    )


@statistic(axis="rate")
def trend(measured: Measurements, recipe: str, metric: str, doses: dict[str, float]) -> Estimate:
    """Change of the rate of correct answers from dose 0 to dose 1, by least squares over the roles in `doses: {role: share}`."""
    x = np.array(list(doses.values()), float)
    sides = pd.DataFrame({role: _side(measured, recipe, role, metric) for role in doses})
    if sides.isna().any(axis=None):
        raise InputError(f"{recipe}: {', '.join(doses)} were not asked the same examples of {metric}")
    centred = x - x.mean()
    return of_mean(sides.to_numpy() @ centred / (centred @ centred), EXAMPLES, measured.seed)


def _contrast(measured: Measurements, frame: pd.DataFrame, more: str, less: str | None) -> Estimate:
    """By example, the mean over a region's layers, less that over another's."""
    means = frame.assign(region=frame.layer.map(measured.regions.of)).groupby(["unit", "region"]).value.mean().unstack()
    for region in filter(None, (more, less)):
        if region not in means:
            raise LookupError(f"every sample failed in {region}")
    return of_mean((means[more] - (means[less] if less else 0)).dropna(), EXAMPLES, measured.seed)


@statistic(
    axis="attention mass",
    profile=lambda m, recipe, of: (layer_samples.attention_change(m, recipe), of["region"], of.get("less")),
)
def attention_gain(measured: Measurements, recipe: str, region: str, less: str | None = None) -> Estimate:
    """Attention mass on vision tokens, RL less IN, averaged over a region's layers (minus another region's), paired by example."""
    return _contrast(measured, layer_samples.attention_change(measured, recipe), region, less)


@statistic(
    axis="rate",
    of_base=True,
    profile=lambda m, recipe, of: (layer_samples.swap_changes(m, of["function"]), of["more"], of["less"]),
)
def swap_contrast(measured: Measurements, recipe: str, function: str, more: str, less: str) -> Estimate:
    """Change rate under vision-token swapping in one region's layers minus another's, on the Base, in the paper's mode."""
    return _contrast(measured, layer_samples.swap_changes(measured, function), more, less)


@statistic(
    axis="rate", of_base=True, profile=lambda m, recipe, of: (layer_samples.skip_errors(m), of["more"], of["less"])
)
def skip_contrast(measured: Measurements, recipe: str, more: str, less: str) -> Estimate:
    """Error rate with a layer of one region skipped minus that of another, on the Base."""
    return _contrast(measured, layer_samples.skip_errors(measured), more, less)


@statistic(
    axis="log squared Frobenius norm",
    profile=lambda m, recipe, of: (layer_samples.log_energy(m, recipe, of["stage"]), of["more"], controls.REST),
)
def energy_contrast(measured: Measurements, recipe: str, stage: str, more: str) -> Estimate:
    """Mean log energy (squared Frobenius norm) of a region's layers minus that of all others; permutation of layers.

    Layers are taken to be exchangeable. Neighbours are alike, so that p is too small where the profile is smooth.
    """
    frame = layer_samples.log_energy(measured, recipe, stage)
    if np.isinf(frame.value).all():
        return Estimate(0.0, np.nan, np.nan, 1.0, 1.0, len(frame), LAYERS)
    inside = frame.layer.map(measured.regions.of) == more
    return of_difference(frame.value[inside].to_numpy(), frame.value[~inside].to_numpy(), LAYERS, measured.seed)


@statistic(
    axis="slope of log(σᵢ/σ₁) per rank",
    profile=lambda m, recipe, of: (layer_samples.slope_change(m, recipe), of["region"], None),
)
def slope_difference(measured: Measurements, recipe: str, region: str) -> Estimate:
    """Slope of the log spectrum, RL's minus IN's, paired by weight matrix over a region's layers; lower is steeper.

    Matrices are taken to be independent: p is too small where all of one kind (all q_proj, say) have an effect in common.
    """
    frame = layer_samples.slope_change(measured, recipe)
    found = of_mean(frame.value[frame.layer.map(measured.regions.of) == region], MATRICES, measured.seed)
    return replace(found, deviation=np.nan)  # there are no more matrices to be had
