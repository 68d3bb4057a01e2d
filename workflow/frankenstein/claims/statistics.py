"""The statistics that statements test: one function each, of a study's measurements and a recipe."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from ..core.errors import InputError
from ..core.regions import NAMES
from . import controls, layer_samples
from .estimates import Estimate, of_difference, of_mean
from .layer_samples import EXAMPLES, LAYERS, MATRICES, wanted
from .measurements import Measurements


@dataclass(frozen=True)
class Statistic:
    """A registered statistic: the quantity its estimate is a difference of (axis), and whether it is measured on the one Base.

    profile: (measured, recipe, its arguments) -> (underlying layer profile, the region compared, the other region or None).
    """

    compute: Callable[..., Estimate]
    axis: str
    of_base: bool = False
    profile: Callable | None = None

    @property
    def says(self) -> str:
        """Description for the documentation: the first sentence of the docstring."""
        return inspect.getdoc(self.compute).replace("\n", " ").split(". ")[0].rstrip(".")


PERMUTATIONS = 9999  # of layers
STATISTICS: dict[str, Statistic] = {}


def statistic(axis: str, of_base: bool = False, profile: Callable | None = None):
    """Register a function as a statistic under its own name; its row in config/README.md is generated from it."""

    def register(compute: Callable[..., Estimate]) -> Callable[..., Estimate]:
        STATISTICS[compute.__name__] = Statistic(compute, axis, of_base, profile)
        return compute

    return register


def _side(measured: Measurements, recipe: str, role: str, metric: str) -> pd.Series:
    """Hits of a role by (metric, id); benchmarks are pooled, with equal weight per example."""
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
    """The smaller of the gains Base -> IN and IN -> RL: positive only if both are (intersection-union test)."""
    steps = [gain(measured, recipe, metric, old, new) for old, new in (("Base", "IN"), ("IN", "RL"))]
    # "Less" holds if either gain is negative: the smaller p is doubled (Bonferroni).
    falls = min(1.0, 2 * min(step.p_less for step in steps))
    return replace(
        min(steps, key=lambda step: step.value), p_greater=max(step.p_greater for step in steps), p_less=falls
    )


@statistic(axis="rate")
def trend(measured: Measurements, recipe: str, metric: str, doses: dict[str, float]) -> Estimate:
    """Change in the rate of correct answers from dose 0 to dose 1, fitted by least squares over the roles in `doses: {role: share}`."""
    x = np.array(list(doses.values()), float)
    sides = pd.DataFrame({role: _side(measured, recipe, role, metric) for role in doses})
    if sides.isna().any(axis=None):
        raise InputError(f"{recipe}: {', '.join(doses)} were not asked the same examples of {metric}")
    centred = x - x.mean()
    return of_mean(sides.to_numpy() @ centred / (centred @ centred), EXAMPLES, measured.seed)


def _contrast(measured: Measurements, frame: pd.DataFrame, more: str, less: str | None) -> Estimate:
    """Per example, the mean over a region's layers, minus that over another's if given."""
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
    """Attention mass on vision tokens, RL minus IN, averaged over a region's layers (minus another region's), paired by example."""
    return _contrast(measured, layer_samples.attention_change(measured, recipe), region, less)


@statistic(
    axis="rate",
    of_base=True,
    profile=lambda m, recipe, of: (layer_samples.image_reads(m, of["function"]), of["more"], of["less"]),
)
def swap_contrast(measured: Measurements, recipe: str, function: str, more: str, less: str) -> Estimate:
    """Image reading by the Base in one region's layers minus another's, measured as the drop per layer in the change rate under
    vision-token swapping.

    The change rate itself would not do: hidden states swapped at a layer stay swapped in all later layers, so the rate falls
    with depth even if only late layers read.
    """
    return _contrast(measured, layer_samples.image_reads(measured, function), more, less)


@statistic(
    axis="rate", of_base=True, profile=lambda m, recipe, of: (layer_samples.skip_errors(m), of["more"], of["less"])
)
def skip_contrast(measured: Measurements, recipe: str, more: str, less: str) -> Estimate:
    """Error rate with a layer of one region skipped minus that of another, on the Base."""
    return _contrast(measured, layer_samples.skip_errors(measured), more, less)


@statistic(
    axis="update energy relative to the mean layer",
    profile=lambda m, recipe, of: (
        layer_samples.energy(m, recipe, of["stage"]),
        of["more"],
        of.get("less", controls.REST),
    ),
)
def energy_contrast(measured: Measurements, recipe: str, stage: str, more: str, less: str | None = None) -> Estimate:
    """Update energy per layer (squared Frobenius norm over its mean) in one region minus another's (minus all other layers');
    permutation of layers.

    Layers are assumed exchangeable. Adjacent layers are correlated, so p is too small for smooth profiles.
    """
    frame = layer_samples.energy(measured, recipe, stage)
    region = frame.layer.map(measured.regions.of)
    inside, outside = region == more, region == less if less else region != more
    return of_difference(frame.value[inside].to_numpy(), frame.value[outside].to_numpy(), LAYERS, measured.seed)


@statistic(axis="update energy relative to the mean layer")
def energy_peak(measured: Measurements, recipe: str, stage: str, region: str) -> Estimate:
    """Update energy per layer (squared Frobenius norm over its mean) in a region minus that of the higher of the other two: positive
    only if energy peaks there; permutation of layers.

    Layers are assumed exchangeable, as in energy_contrast.
    """
    frame = layer_samples.energy(measured, recipe, stage).set_index("layer").value
    labels = np.array([NAMES.index(measured.regions.of(layer)) for layer in frame.index])
    rng = np.random.default_rng(measured.seed)
    drawn = np.vstack([labels, rng.permuted(np.tile(labels, (PERMUTATIONS, 1)), axis=1)])
    means = np.stack([(drawn == at) @ frame.to_numpy() / (labels == at).sum() for at in range(len(NAMES))])
    mine = NAMES.index(region)
    peaks = means[mine] - np.delete(means, mine, axis=0).max(axis=0)
    rounding = 1e-12 * np.ptp(frame)
    greater, less = ((peaks >= peaks[0] - rounding).mean(), (peaks <= peaks[0] + rounding).mean())
    if np.ptp(frame) == 0:
        greater = less = 1.0
    return Estimate(float(peaks[0]), np.nan, np.nan, float(greater), float(less), len(frame), LAYERS)


def _over_matrices(measured: Measurements, frame: pd.DataFrame, region: str) -> Estimate:
    part = frame[frame.layer.map(measured.regions.of) == region]
    if part.empty:
        raise LookupError(f"no two spectra to compare in {region}")
    found = of_mean(part.value, MATRICES, measured.seed)
    return replace(found, deviation=np.nan)  # no more matrices exist to be sampled


@statistic(
    axis="slope of log(σᵢ/σ₁) per rank",
    profile=lambda m, recipe, of: (layer_samples.slope_change(m, recipe), of["region"], None),
)
def slope_difference(measured: Measurements, recipe: str, region: str) -> Estimate:
    """Slope of the log singular value spectrum, RL's minus IN's, paired by weight matrix over a region's layers; lower is steeper.

    Matrices are assumed independent: p is too small if all matrices of one kind (e.g. q_proj) share an effect.
    """
    return _over_matrices(measured, layer_samples.slope_change(measured, recipe), region)


@statistic(
    axis="log stable rank",
    profile=lambda m, recipe, of: (layer_samples.concentration_change(m, recipe), of["region"], None),
)
def concentration_difference(measured: Measurements, recipe: str, region: str) -> Estimate:
    """Log stable rank of the update, RL's minus IN's, paired by weight matrix over a region's layers; lower is more concentrated.

    Unlike the slope, it is not misled by low-rank updates. Matrices are assumed independent, as in slope_difference.
    """
    return _over_matrices(measured, layer_samples.concentration_change(measured, recipe), region)
