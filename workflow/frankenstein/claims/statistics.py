"""The statistics that statements are made of: a function each, of a study's measurements and a recipe."""

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


PERMUTATIONS = 9999  # of layers
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
    profile=lambda m, recipe, of: (layer_samples.image_reads(m, of["function"]), of["more"], of["less"]),
)
def swap_contrast(measured: Measurements, recipe: str, function: str, more: str, less: str) -> Estimate:
    """How much of the image the Base reads in one region's layers minus another's: by how much the change rate under swapping
    falls per layer.

    Not the change rate itself: hidden states that are swapped at a layer stay swapped in all later ones, so that it falls
    with depth also where only late layers read.
    """
    return _contrast(measured, layer_samples.image_reads(measured, function), more, less)


@statistic(
    axis="rate", of_base=True, profile=lambda m, recipe, of: (layer_samples.skip_errors(m), of["more"], of["less"])
)
def skip_contrast(measured: Measurements, recipe: str, more: str, less: str) -> Estimate:
    """Error rate with a layer of one region skipped minus that of another, on the Base."""
    return _contrast(measured, layer_samples.skip_errors(measured), more, less)


@statistic(
    axis="update energy of the mean layer",
    profile=lambda m, recipe, of: (
        layer_samples.energy(m, recipe, of["stage"]),
        of["more"],
        of.get("less", controls.REST),
    ),
)
def energy_contrast(measured: Measurements, recipe: str, stage: str, more: str, less: str | None = None) -> Estimate:
    """Update energy per layer (squared Frobenius norm over its mean) in one region minus another's (minus all other layers');
    permutation of layers.

    Layers are taken to be exchangeable. Neighbours are alike, so that p is too small where the profile is smooth.
    """
    frame = layer_samples.energy(measured, recipe, stage)
    region = frame.layer.map(measured.regions.of)
    inside, outside = region == more, region == less if less else region != more
    return of_difference(frame.value[inside].to_numpy(), frame.value[outside].to_numpy(), LAYERS, measured.seed)


@statistic(axis="update energy of the mean layer")
def energy_peak(measured: Measurements, recipe: str, stage: str, region: str) -> Estimate:
    """Update energy per layer (squared Frobenius norm over its mean) in a region minus that of the higher of the other two: above
    zero only where it peaks there; permutation of layers.

    Layers are taken to be exchangeable, as in energy_contrast.
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
    return replace(found, deviation=np.nan)  # there are no more matrices to be had


@statistic(
    axis="slope of log(σᵢ/σ₁) per rank",
    profile=lambda m, recipe, of: (layer_samples.slope_change(m, recipe), of["region"], None),
)
def slope_difference(measured: Measurements, recipe: str, region: str) -> Estimate:
    """Slope of the log spectrum, RL's minus IN's, paired by weight matrix over a region's layers; lower is steeper.

    Matrices are taken to be independent: p is too small where all of one kind (all q_proj, say) have an effect in common.
    """
    return _over_matrices(measured, layer_samples.slope_change(measured, recipe), region)


@statistic(
    axis="log stable rank",
    profile=lambda m, recipe, of: (layer_samples.concentration_change(m, recipe), of["region"], None),
)
def concentration_difference(measured: Measurements, recipe: str, region: str) -> Estimate:
    """Log stable rank of the update, RL's minus IN's, paired by weight matrix over a region's layers; lower is more concentrated.

    Unlike a slope it cannot be fooled by an update of low rank. Matrices are taken to be independent, as in slope_difference.
    """
    return _over_matrices(measured, layer_samples.concentration_change(measured, recipe), region)
