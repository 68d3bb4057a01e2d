"""Tests of statements: what each statistic measured in each training run, and one test of each statement over the runs."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from ..core.errors import InputError
from ..core.roles import RETRAINED, SEED, Run
from . import controls
from .estimates import MATRICES, RUNS, Estimate, Sample, over_examples, over_runs, smallest
from .measurements import Measurements
from .statements import arguments, margin_of
from .statistics import STATISTICS

_LABEL = ["claim", "statement", "expect", "margin"]
_NULL = ["null", "null_low", "null_high"]
COLUMNS = [
    *_LABEL, "over", "n", "units", "unit", "estimate", "low", "high", "along", "p_for", "p_against", "p_within", "p_sign_flip",
    "share", "effect_size", *_NULL, "axis", "of_base", "why",
]  # fmt: skip
RUN_COLUMNS = [
    "claim", "statement", "recipe", "run", "estimate", "low", "high", "n", "unit", "share", *_NULL, "counted", "axis", "why",
]  # fmt: skip


@dataclass(frozen=True)
class Measured:
    """What a statement's statistic measured in each run (None: the one Base), in its null, and why it could not be."""

    samples: dict[Run | None, list[Sample]]
    nulls: dict[Run | None, list[Sample]]
    why: dict[Run | None, str]
    checkpoints: Mapping[Run, frozenset[str]]

    def counted(self) -> list[Run | None]:
        """Runs that count: one with the very values of an earlier one with which it shares IN or RL is the same run."""
        kept: list[Run | None] = []
        for run, parts in self.samples.items():
            mine = self.checkpoints.get(run, frozenset())
            same = [
                other for other in kept
                if mine & self.checkpoints.get(other, frozenset())
                and [part.digest for part in parts] == [part.digest for part in self.samples[other]]
            ]  # fmt: skip
            if not same:
                kept.append(run)
        return kept


def _null_of(statement: dict) -> dict | None:
    """A gain's arguments with another seed in RL's place: the retrained IN for RL, a merge with it for a merge with RL. None if
    RL has no part in it, or it is about region-frozen RL, which has no such counterpart."""
    of = arguments(statement)
    if statement["statistic"] != "gain" or any("frozen" in of[role] for role in ("old", "new")):
        return None
    seeded = {role: RETRAINED if of[role] == "RL" else of[role].replace("RL", SEED) for role in ("old", "new")}
    return None if seeded == {role: of[role] for role in seeded} else of | seeded


def seeded(measured: Measurements) -> Measurements:
    """The study with the attention of the retrained IN in RL's place."""
    mass = measured.attention
    if mass is not None:
        mass = mass[mass.stage.isin(["IN", RETRAINED])].replace({"stage": {RETRAINED: "RL"}})
    return replace(measured, attention=mass)


def measure(statement: dict, measured: Measurements, of_seed: Measurements, partial: bool = False) -> Measured:
    """Apply a statement's statistic to every run. of_seed: `seeded` of the study."""
    statistic, of = STATISTICS[statement["statistic"]], arguments(statement)
    found = Measured({}, {}, {}, measured.checkpoints)
    for run in (None,) if statistic.of_base else measured.runs:
        try:
            found.samples[run] = statistic.compute(measured, run, **of)
        except (LookupError, InputError) as error:
            if isinstance(error, InputError) and not partial:
                raise
            found.why[run] = str(error.args[0])
            continue
        with contextlib.suppress(LookupError):
            if statement["statistic"] == "attention_gain":
                found.nulls[run] = statistic.compute(of_seed, run, **of)
            elif null_of := _null_of(statement):
                found.nulls[run] = statistic.compute(measured, run, **null_of)
    return found


def estimate(samples: list[list[Sample]]) -> Estimate:
    """The estimate over runs if there are several, else over examples; of several Samples in each run, the smallest."""
    several = len(samples) > 1
    return smallest([over_runs(part) if several else over_examples(part[0]) for part in zip(*samples, strict=True)])


def directed(found: Estimate, expect: str, margin: float) -> tuple[float, float]:
    """One-sided p (for, against) a statement. expect: greater or less than zero, or equal (within ±margin)."""
    if expect == "equal":
        return found.within(margin), min(1.0, 2 * min(found.above(margin), found.below(-margin)))
    sides = found.above(), found.below()
    return sides if expect == "greater" else sides[::-1]


def _along(value: float, expect: str, margin: float) -> bool:
    """Whether a number is as expected."""
    return bool(abs(value) <= margin if expect == "equal" else value > 0 if expect == "greater" else value < 0)


def _units(samples: list[list[Sample]], expect: str) -> dict[str, float]:
    """Of statements about weight matrices, mean over the runs: share of matrices with the expected sign, and effect size (the
    mean over the matrices divided by their standard deviation)."""
    parts = [parts[0].values for parts in samples if len(parts) == 1 and parts[0].unit == MATRICES]
    if not parts or expect == "equal":
        return {"share": np.nan, "effect_size": np.nan}
    sign = 1 if expect == "greater" else -1
    return {
        "share": float(np.mean([(sign * values > 0).mean() for values in parts])),
        "effect_size": float(
            np.mean([values.mean() / np.std(values, ddof=1) if np.ptp(values) else np.nan for values in parts])
        ),
    }


def _null(samples: list[list[Sample]]) -> dict[str, float]:
    if not samples:
        return dict.fromkeys(_NULL, np.nan)
    found = estimate(samples)
    return {"null": found.value, "null_low": found.low, "null_high": found.high}


def _tested(statement: dict, found: Measured) -> dict:
    """A statement's row: its test over the runs that count."""
    expect, margin = statement["expect"], margin_of(statement)
    runs = found.counted()
    samples, nulls = [found.samples[run] for run in runs], [found.nulls[run] for run in runs if run in found.nulls]
    of_all = estimate(samples)
    p_for, p_against = directed(of_all, expect, margin)
    # RL must do more than another seed. The retrained INs of several runs are each other's: over the runs their differences
    # cancel, and the test has their variance already. Merges with them need not cancel.
    merged = statement["statistic"] == "gain" and any(":" in str(statement["of"][role]) for role in ("from", "to"))
    if len(nulls) == len(runs) and expect != "equal" and (merged or len(runs) == 1):
        net = estimate(
            [[one.minus(null) for one, null in zip(*pair, strict=True)] for pair in zip(samples, nulls, strict=True)]
        )
        p_for, p_against = map(max, (p_for, p_against), directed(net, expect, margin))
    numbers = [min(part.value for part in parts) for parts in samples]
    return {
        "over": of_all.over or "nothing", "n": of_all.n, "units": of_all.units, "unit": of_all.unit,
        "estimate": of_all.value, "low": of_all.low, "high": of_all.high,
        "along": sum(_along(number, expect, margin) for number in numbers) if of_all.over == RUNS else np.nan,
        "p_for": p_for, "p_against": p_against, "p_within": of_all.within(margin), "p_sign_flip": of_all.sign_flip,
        **_units(samples, expect), **_null(nulls), "_estimate": of_all,
    }  # fmt: skip


def _clipped(frame: pd.DataFrame) -> pd.DataFrame:
    """Intervals of rates within ±1, which is as far as they can differ; the t interval of a few runs can reach further."""
    bounds = ["low", "high", "null_low", "null_high"]
    rates = frame.axis == "difference of rate"
    frame.loc[rates, bounds] = frame.loc[rates, bounds].astype(float).clip(-1, 1)
    return frame


def _in_run(found: Measured, run: Run, expect: str, counted: bool) -> dict:
    """A run's row: its number (of several Samples that of the one that is smallest over the runs), with an interval over its
    examples."""
    label = {"recipe": run.recipe, "run": run.number, "counted": counted, "why": found.why.get(run, "")}
    if run not in found.samples:
        return label
    over_all = [sum(part.value for part in parts) for parts in zip(*found.samples.values(), strict=True)]
    one = over_examples(found.samples[run][int(np.argmin(over_all))])
    numbers = {"estimate": one.value, "low": one.low, "high": one.high, "n": one.units, "unit": one.unit}
    share = _units([found.samples[run]], expect)["share"]
    return label | numbers | {"share": share} | _null([found.nulls[run]] if run in found.nulls else [])


def random_layers(claims: list[dict], measured: Measurements) -> list[float]:
    """controls.random_layers of every statement, in the order of check_all, with the profile averaged over the runs; NaN for
    statements that are not about layers or could not be tested."""
    found = []
    for statement in (statement for claim in claims for statement in claim["statements"]):
        statistic, profiles = STATISTICS[statement["statistic"]], []
        for run in (None,) if statistic.of_base else measured.runs:
            with contextlib.suppress(LookupError):
                profiles += [statistic.profile(measured, run, statement["of"])] if statistic.profile else []
        if not profiles or statement["expect"] == "equal":
            found.append(np.nan)
            continue
        frames, (_, more, less) = [frame for frame, *_ in profiles], profiles[0]
        frame = pd.concat(frames, ignore_index=True)
        found.append(controls.random_layers(frame, measured.regions, more, less, statement["expect"], measured.seed))
    return found


def check_all(claims: list[dict], measured: Measurements, partial: bool = False) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Test every statement: (statements, runs), before any verdict (verdicts.decide).

    statements: claim, statement, expect, margin; over (runs; examples, with one run or on the one Base; nothing, for the
    weights of one run), n (number of those), units and unit (measured in each run: examples, layers, matrices); estimate, low,
    high (95 %); along (runs with the expected sign); p_for, p_against (one-sided, uncorrected), p_within (TOST within the
    margin), p_sign_flip (two-sided, over runs); share, effect_size (of weight matrices: share with the expected sign, mean over
    standard deviation); null, null_low, null_high (the same with another seed in RL's place); axis (quantity), of_base, why
    (what could not be tested), and the Estimate itself as _estimate.
    runs: claim, statement, recipe, run, estimate, low, high (95 %, over the run's examples), n, unit, share, null, null_low,
    null_high, counted (False where it is another recipe's run too), axis, why.

    partial: the results are those of a failed run; roles that were not evaluated on the same examples then only lose their
    statements. Otherwise they raise InputError.
    """
    rows, in_runs, of_seed = [], [], seeded(measured)
    for claim in claims:
        for statement in claim["statements"]:
            found = measure(statement, measured, of_seed, partial)
            label = {"claim": claim["claim"], "statement": statement["name"], "expect": statement["expect"]}
            label |= {"axis": f"difference of {STATISTICS[statement['statistic']].axis}"}
            row = label | {"margin": margin_of(statement), "why": "; ".join(dict.fromkeys(found.why.values()))}
            row["of_base"] = STATISTICS[statement["statistic"]].of_base
            rows.append(row | (_tested(statement, found) if found.samples else {"over": ""}))
            counted = found.counted()
            in_runs += [
                label | _in_run(found, run, statement["expect"], run in counted)
                for run in measured.runs if run in found.samples or run in found.why
            ]  # fmt: skip
    tested = pd.DataFrame(rows, columns=[*COLUMNS, "_estimate"])
    return _clipped(tested), _clipped(pd.DataFrame(in_runs, columns=RUN_COLUMNS))
