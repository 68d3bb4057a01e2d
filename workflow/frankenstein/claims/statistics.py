"""The statistics that claims are made of: functions of a study's measurements and a run, to what was measured in that run."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from ..core.errors import InputError
from ..core.regions import NAMES
from ..core.roles import Run
from . import controls, layer_samples
from .estimates import EXAMPLES, LAYERS, MATRICES, Sample, sample
from .layer_samples import wanted
from .measurements import Measurements


@dataclass(frozen=True)
class Statistic:
    """A registered statistic: the quantity its estimate is a difference of (axis), and whether it is measured on the one Base.

    compute: (measured, run, its arguments) -> the Samples of that run; of several, the one that is smallest over all runs
    counts. profile: (measured, run, its arguments) -> (underlying layer profile, the region compared, the other region or None).
    """

    compute: Callable[..., list[Sample]]
    axis: str
    of_base: bool = False
    profile: Callable | None = None

    @property
    def says(self) -> str:
        """Description for the documentation: the first sentence of the docstring."""
        return inspect.getdoc(self.compute).replace("\n", " ").split(". ")[0].rstrip(".")


STATISTICS: dict[str, Statistic] = {}


def statistic(axis: str, of_base: bool = False, profile: Callable | None = None):
    """Register a function as a statistic under its own name; its row in config/README.md is generated from it."""

    def register(compute: Callable[..., list[Sample]]) -> Callable[..., list[Sample]]:
        STATISTICS[compute.__name__] = Statistic(compute, axis, of_base, profile)
        return compute

    return register


def _side(measured: Measurements, run: Run, role: str, metric: str) -> pd.DataFrame:
    """A role's rows of outcomes, indexed by "METRIC ID"; `benchmarks` are all benchmark tasks."""
    wanted(measured.outcomes, "no evaluation")
    tasks = measured.benchmarks if metric == "benchmarks" else (metric,)
    parts = [measured.answers[key] for task in tasks if (key := (*run, role, task)) in measured.answers]
    if not parts:
        raise LookupError(f"no {metric} of {role}")
    return pd.concat(parts) if len(parts) > 1 else parts[0]


def _by_task(values: pd.Series, side: pd.DataFrame) -> Sample:
    """Sample of values by "METRIC ID": tasks weigh alike, and examples of one problem are one cluster."""
    tasks = side.metric.to_numpy()
    return sample(
        values, EXAMPLES, strata=tasks, clusters=tasks.astype(str) + " " + side.cluster.astype(str).to_numpy()
    )


@statistic(axis="rate")
def gain(measured: Measurements, run: Run, metric: str, old: str, new: str) -> list[Sample]:
    """Rate of correct answers of the role `to` minus that of `from`, paired by example; `metric` is M_vis, M_v2r, M_rea, a task, or
    `benchmarks` (the mean over the tasks, as in Figure 2).
    """
    before, after = (_side(measured, run, role, metric) for role in (old, new))
    if not before.index.equals(after.index) and not before.index.sort_values().equals(after.index.sort_values()):
        raise InputError(f"{run.recipe}: {old} and {new} were not asked the same examples of {metric}")
    change = after.correct.astype(float) - before.correct.reindex(after.index).astype(float)
    return [_by_task(change, after)]


@statistic(axis="rate")
def smaller_gain(measured: Measurements, run: Run, metric: str) -> list[Sample]:
    """The smaller of the gains Base -> IN and IN -> RL: positive only if both are (intersection-union test)."""
    return [step for old, new in (("Base", "IN"), ("IN", "RL")) for step in gain(measured, run, metric, old, new)]


@statistic(axis="rate")
def trend(measured: Measurements, run: Run, metric: str, doses: dict[str, float]) -> list[Sample]:
    """Change in the rate of correct answers from dose 0 to dose 1, fitted by least squares over the roles in `doses: {role: share}`."""
    x = pd.Series(doses, dtype=float)
    sides = {role: _side(measured, run, role, metric) for role in doses}
    table = pd.DataFrame({role: side.correct.astype(float) for role, side in sides.items()})
    if table.isna().any(axis=None):
        raise InputError(f"{run.recipe}: {', '.join(doses)} were not asked the same examples of {metric}")
    centred = x - x.mean()
    return [_by_task(table @ centred / (centred @ centred), next(iter(sides.values())))]


def _contrast(more: str, less: str | None, measured: Measurements, profile: Callable, *of) -> list[Sample]:
    """Per example, the mean of a layer profile over a region's layers, minus that over another's if given."""
    means = layer_samples.by_region(measured, profile, *of)
    for region in filter(None, (more, less)):
        if region not in means:
            raise LookupError(f"every sample failed in {region}")
    return [sample((means[more] - (means[less] if less else 0)).dropna(), EXAMPLES)]


@statistic(
    axis="attention mass",
    profile=lambda m, run, of: (
        layer_samples.attention_change(m, run, of.get("part", layer_samples.TOTAL)),
        of["region"],
        of.get("less"),
    ),
)
def attention_gain(
    measured: Measurements, run: Run, region: str, less: str | None = None, part: str = layer_samples.TOTAL
) -> list[Sample]:
    """Attention mass on vision tokens, RL minus IN, averaged over a region's layers (minus another region's), paired by example;
    `part` is `total` (each over its own response), `weights` (both over the same responses) or `text` (what the responses change).
    """
    return _contrast(region, less, measured, layer_samples.attention_change, run, part)


@statistic(
    axis="rate",
    of_base=True,
    profile=lambda m, run, of: (layer_samples.image_reads(m, of["function"]), of["more"], of["less"]),
)
def swap_contrast(measured: Measurements, run: None, function: str, more: str, less: str) -> list[Sample]:
    """Image reading by the Base in one region's layers minus another's, measured as the drop per layer in the change rate under
    vision-token swapping.

    The change rate itself would not do: hidden states swapped at a layer stay swapped in all later layers, so the rate falls
    with depth even if only late layers read.
    """
    return _contrast(more, less, measured, layer_samples.image_reads, function)


@statistic(axis="rate", of_base=True, profile=lambda m, run, of: (layer_samples.skip_errors(m), of["more"], of["less"]))
def skip_contrast(measured: Measurements, run: None, more: str, less: str) -> list[Sample]:
    """Error rate with a layer of one region skipped minus that of another, on the Base."""
    return _contrast(more, less, measured, layer_samples.skip_errors)


@statistic(
    axis="update energy relative to the mean layer",
    profile=lambda m, run, of: (layer_samples.energy(m, run, of["stage"]), of["more"], of.get("less", controls.REST)),
)
def energy_contrast(measured: Measurements, run: Run, stage: str, more: str, less: str | None = None) -> list[Sample]:
    """Update energy per layer (squared Frobenius norm over its mean) in one region minus another's (minus all other layers')."""
    frame = layer_samples.energy(measured, run, stage)
    region = frame.layer.map(measured.regions.of)
    inside, outside = region == more, region == less if less else region != more
    number = frame.value[inside].mean() - frame.value[outside].mean()
    return [sample(pd.Series({more: number}), LAYERS)]


@statistic(axis="update energy relative to the mean layer")
def energy_peak(measured: Measurements, run: Run, stage: str, region: str) -> list[Sample]:
    """Update energy per layer (squared Frobenius norm over its mean) in a region minus that of the higher of the other two: positive
    only if energy peaks there.
    """
    others = [name for name in NAMES if name != region]
    return [one for other in others for one in energy_contrast(measured, run, stage, region, other)]


def _over_matrices(measured: Measurements, frame: pd.DataFrame, region: str) -> list[Sample]:
    part = frame[frame.layer.map(measured.regions.of) == region]
    if part.empty:
        raise LookupError(f"no two spectra to compare in {region}")
    return [sample(part.set_index(["layer", "unit"]).value, MATRICES)]


@statistic(
    axis="slope of log(σᵢ/σ₁) per rank",
    profile=lambda m, run, of: (layer_samples.slope_change(m, run), of["region"], None),
)
def slope_difference(measured: Measurements, run: Run, region: str) -> list[Sample]:
    """Slope of the log singular value spectrum, RL's minus IN's, averaged over a region's weight matrices; lower is steeper."""
    return _over_matrices(measured, layer_samples.slope_change(measured, run), region)


@statistic(
    axis="log stable rank",
    profile=lambda m, run, of: (layer_samples.concentration_change(m, run), of["region"], None),
)
def concentration_difference(measured: Measurements, run: Run, region: str) -> list[Sample]:
    """Log stable rank of the update, RL's minus IN's, averaged over a region's weight matrices; lower is more concentrated.

    Unlike the slope, it is not misled by low-rank updates.
    """
    return _over_matrices(measured, layer_samples.concentration_change(measured, run), region)
