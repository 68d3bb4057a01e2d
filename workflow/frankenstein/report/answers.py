"""Generated sentences of the report: the answer to each claim, and the study's limitations."""

from __future__ import annotations

from math import comb

import numpy as np
import pandas as pd

from ..claims import statements
from ..claims.estimates import LEVEL
from ..claims.layer_samples import EXAMPLES, LAYERS, MATRICES
from ..claims.measurements import Measurements
from ..core.intervals import paired as paired_interval
from ..core.regions import NAMES, Regions


def number(value) -> str:
    """A number to at least three significant digits; empty for a missing value; anything else as text."""
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return ""
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.integer | np.floating):
        return str(value)
    if np.isinf(value):
        return "∞"
    return f"{value:,.0f}" if float(value).is_integer() and abs(value) < 1e12 else f"{value:.3g}"


def answer(row: dict, tested: pd.DataFrame) -> dict:
    """A claim with its statements and a summary of the evidence."""
    part = tested[tested.claim.astype(str) == str(row["claim"])]
    undecided = part[part.verdict == statements.UNDECIDED]
    # Tests over examples are inference about these checkpoints; they do not cover variation between training runs.
    sentence = f"In these checkpoints, {row['supported']} of {len(part) - row['missing']} tests support the claim"
    if row["contradicted"]:
        sentence += f", {row['contradicted']} find the opposite effect"
    if row["undecided"]:
        sentence += f", {row['undecided']} are undecided"
        finite = undecided[(undecided.unit == EXAMPLES) & np.isfinite(undecided.needed.astype(float))]
        finite = finite.sort_values("needed").iloc[sorted({0, len(finite) - 1})] if len(finite) else finite
        needed = " to ".join(f"{test.needed:,.0f}" for test in finite.itertuples())
        available = " to ".join(dict.fromkeys(f"{test.n:,.0f}" for test in finite.itertuples()))
        zero = int((undecided.estimate == 0).sum())
        if needed:
            sentence += f"; at the observed effect sizes, {needed} examples would be needed ({available} available)"
        sentence += f"; {zero} estimate{' is' if zero == 1 else 's are'} exactly zero" if zero else ""
    if row["verdict"] == statements.MISSING:
        sentence = "This study measured none of the quantities in this claim"
    elif row["missing"]:
        without = [
            recipe for recipe, tests in part.groupby("recipe") if (tests.verdict == statements.MISSING).all() and recipe
        ]
        where = f"for {', '.join(without)}" if without else "there"
        further = "further test" if row["missing"] == 1 else "further tests"
        sentence += f"; {row['missing']} {further} could not be run, so no conclusion is drawn {where}"
    decided = part[part.verdict.isin([statements.SUPPORTED, statements.CONTRADICTED])]
    moved = decided[["null_low", "null_high"]].astype(float).abs().max(axis=1) >= decided.estimate.abs()
    if moved.any():
        verb = "effects is" if moved.sum() == 1 else "effects are"
        sentence += f". {moved.sum()} of the decided {verb} no larger than IN's seed-to-seed variation"
    anywhere = decided[decided.verdict == statements.SUPPORTED].p_layers.astype(float) > LEVEL
    if anywhere.any():
        verb = "effects is" if anywhere.sum() == 1 else "effects are"
        sentence += f". {anywhere.sum()} of the supported {verb} matched by more than 5 % of random sets of layers"
    tests = [_shown(test) for test in part.to_dict("records")]
    made = [test for test in tests if test["verdict"] != statements.MISSING]
    # Values shared by all tests of a claim are stated once, in the table header.
    common = {
        key: only.pop() if len(only := {test[key] for test in made}) == 1 else "" for key in ("unit_shown", "unit")
    }
    return row | {"sentence": sentence + ".", "statements": tests, "common": common}


def _shown(test: dict) -> dict:
    """A test with its numbers formatted for display: rates in percentage points, all else to two digits."""
    points = str(test["axis"]).endswith(" rate")

    def text(value) -> str:
        return "none" if np.isnan(value) else f"{100 * value:+.1f}" if points else f"{value:+.2g}"

    def with_interval(*names: str) -> str:
        value, low, high = (float(test[name]) for name in names)
        return "" if np.isnan(value) else f"{text(value)} [{text(low)}, {text(high)}]"

    detectable = float(test["detectable"])
    return test | {
        "shown": with_interval("estimate", "low", "high"),
        "null_shown": with_interval("null", "null_low", "null_high"),
        "needed_shown": "no N" if float(test["needed"]) == np.inf else number(test["needed"]),
        "detectable_shown": "" if np.isnan(detectable) else text(detectable).lstrip("+"),
        "unit_shown": "points" if points else str(test["axis"]).removeprefix("difference of "),
    }


def moves(vision: pd.DataFrame, paired: pd.DataFrame) -> list[str]:
    """One sentence per recipe and step (Base to IN, IN to RL): did M_vis change through seeing, or through answers to black images?

    vision, paired: the tables of these names. M_vis is accuracy with the image minus the share also right on a black image
    (and minus the share right with the image whose response to the black image is ungraded); its change decomposes in the
    same way. A component is said to account "mostly" for the change if it is at least twice the other; no attribution is
    made if the 95 % interval of the change (intervals.paired) includes zero.
    """

    def points(value: float) -> str:
        return f"{round(100 * value, 1) + 0.0:+.1f}"  # no "-0.0"

    said, roles = [], vision.set_index(["recipe", "role"])
    for step in paired[paired.metric == "M_vis"].to_dict("records"):
        if (step["a"], step["b"]) not in (("Base", "IN"), ("IN", "RL")):
            continue
        old, new = (roles.loc[(step["recipe"], step[role])] for role in ("a", "b"))
        change = (step["n01"] - step["n10"]) / step["n"]
        interval = paired_interval(step["n01"], step["n10"], step["n"])
        seeing = new.accuracy - old.accuracy
        both = new.image_right_black_right / new.n - old.image_right_black_right / old.n
        lost = seeing - both - change
        if interval["low"] <= 0 <= interval["high"]:
            mostly = "the interval includes zero"
        elif abs(lost) >= 2 * max(abs(both), abs(seeing)):
            mostly = "the change is mostly in responses that were not graded"
        elif abs(both) >= 2 * abs(seeing):
            mostly = "the change is mostly in what the model answers without seeing"
        elif abs(seeing) >= 2 * abs(both):
            mostly = "the change is mostly in what the model sees"
        else:
            mostly = "both move it"
        ungraded = f", ungraded answers to a black image by {points(lost)}" if abs(lost) >= 5e-4 else ""
        said.append(
            f"From {step['a']} to {step['b']} (recipe {step['recipe']}), M_vis changed by {points(change)} points "
            f"[{points(interval['low'])}, {points(interval['high'])}]: accuracy with the image by {points(seeing)}, answers that "
            f"are also right on a black image by {points(both)}{ungraded}; {mostly}."
        )
    return said


def _least_p(regions: Regions) -> float:
    """Smallest attainable two-sided p when permuting layers into regions of these sizes: only the observed partition and, if the
    other two regions have equal size, the one with those two exchanged are as extreme."""
    first, second, third = (len(regions.range(name)) for name in NAMES)
    partitions = comb(regions.layers, first) * comb(regions.layers - first, second)
    return 2 * (1 + (first == third)) / partitions


def limits(measured: Measurements, config: dict, tested: pd.DataFrame) -> list[str]:
    """Limitations: what the study lacks, and which conclusions it therefore does not draw."""
    found, recipes = [], config["recipes"]
    if len(recipes) == 1:
        found.append("One recipe: nothing says whether another recipe would do the same.")
    without = [name for name, recipe in recipes.items() if not recipe.get("base")]
    if without:
        found.append(f"No Base in {', '.join(without)}: no weight updates, no localization, no step from Base to IN.")
    unfrozen = [name for name, recipe in recipes.items() if not recipe.get("frozen")]
    if unfrozen:
        found.append(
            f"No runs with a region frozen in {', '.join(unfrozen)}: whether a region was necessary is not asked."
        )
    beside = tested[tested.null.notna()]
    alone = [name for name in recipes if name not in set(beside.recipe)]
    if alone:
        found.append(
            f"No IN of another seed (`retrained`) beside RL in {', '.join(alone)}: what RL changed is not told from what a "
            "seed changes."
        )
    found.append(
        "Each checkpoint is one training run: intervals and tests are over examples, layers or matrices, not over runs. Verdicts are "
        "about these checkpoints; what RL does in general takes several runs."
    )
    moved = beside[(beside.null_low.astype(float) > 0) | (beside.null_high.astype(float) < 0)]
    if len(moved):
        named = "; ".join(
            f"{row['statement']} ({row['recipe']}) {row['null_shown']} {row['unit_shown']}, where RL makes {row['shown']}"
            for row in map(_shown, moved.to_dict("records"))
        )
        found.append(f"Another seed of IN, without RL, moves by itself (95 % intervals, not corrected): {named}.")
    units = [unit for unit in (LAYERS, MATRICES) if (tested.unit == unit).any()]
    if units:
        found.append(
            f"Tests over {' and '.join(units)} take these as independent. Neighbouring layers are alike, and matrices of one "
            "kind may be: their p is then too small."
        )
    coarse = tested[
        (tested.unit == EXAMPLES) & (tested.detectable.astype(float) > 0.1) & tested.axis.str.contains("rate")
    ]
    if len(coarse):
        worst = coarse.loc[coarse.detectable.astype(float).idxmax()]
        found.append(
            f"Few examples: {len(coarse)} tests of rates would miss, more often than one time in five, differences of up to "
            f"{100 * worst.detectable:.0f} points (N = {worst.n:.0f})."
        )
    for name, part in tested[tested.verdict != statements.MISSING].groupby("claim", sort=False):
        layers = measured.regions.layers if (part.unit == LAYERS).all() else 0
        least = _least_p(measured.regions) if layers else 0
        if least * len(part) >= LEVEL:
            found.append(
                f"Claim {name} cannot be decided in this study: with {layers} layers a permutation of layers has no p below "
                f"{least:.2g}, and Holm's correction for {len(part)} tests wants {LEVEL / len(part):.2g}."
            )
    for why, part in tested[tested.verdict == statements.MISSING].groupby("why", sort=False):
        names = [
            f"{row.claim} ({row.statement}{'; ' + row.recipe if row.recipe else ''})"
            for row in part.assign(recipe=part.recipe.fillna("")).itertuples()
        ]
        found.append(f"Not tested, {why}: {'; '.join(names)}.")
    return found
