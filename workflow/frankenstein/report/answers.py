"""Generated sentences of the report: the answer to each claim, and the study's limitations."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ..claims.estimates import EXAMPLES, LEVEL, RUNS
from ..claims.measurements import Measurements
from ..claims.verdicts import CONTRADICTED, MISSING, SAME, SUPPORTED, UNDECIDED
from ..core.intervals import over_runs, standard_error
from ..core.intervals import paired as paired_interval


def number(value) -> str:
    """A number to at least three significant digits; empty for a missing value; anything else as text."""
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return ""
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.integer | np.floating):
        return str(value)
    if np.isinf(value):
        return "∞"
    return f"{value:,.0f}" if float(value).is_integer() and abs(value) < 1e12 else f"{value:.3g}"


def _count(number: int, noun: str) -> str:
    return f"{number:,.0f} {noun}{'' if number == 1 else 's'}"


def _listed(phrases: list[str]) -> str:
    return ", ".join(phrases[:-1]) + (" and " if len(phrases) > 1 else "") + phrases[-1] if phrases else ""


def answer(row: dict, tested: pd.DataFrame, in_runs: pd.DataFrame) -> dict:
    """A claim with its statements and a summary of the evidence. tested, in_runs: figures/claims.csv and tables/runs.csv."""
    part = tested[tested.claim.astype(str) == str(row["claim"])]
    made = part[part.verdict != MISSING]
    sentence = _evidence(made)
    if len(made) and row["missing"]:
        verb = "was" if row["missing"] == 1 else "were"
        sentence += f" {_count(row['missing'], 'statement')} {verb} not measured in this study."
    anywhere = made[(made.verdict == SUPPORTED) | (made.in_checkpoint == SUPPORTED)].random_layers.astype(float) > LEVEL
    if anywhere.any():
        sentence += (
            f" {_count(anywhere.sum(), 'effect')} would also be found in more than 5 % of random sets of layers."
        )
    tests = [_shown(test) for test in part.to_dict("records")]
    # Values shared by all tests of a claim are stated once, in the table header.
    shown = [test for test in tests if test["verdict"] != MISSING]
    common = {"unit_shown": only.pop() if len(only := {test["unit_shown"] for test in shown}) == 1 else ""}
    of_claim = in_runs[in_runs.claim.astype(str) == str(row["claim"])]
    for test in tests:
        of_test = of_claim[(of_claim.statement == test["statement"]) & of_claim.estimate.notna()]
        test["runs"] = [_shown(run) for run in of_test.to_dict("records")]
    return row | {"sentence": sentence, "statements": tests, "common": common}


def _evidence(made: pd.DataFrame) -> str:
    """What the tests of a claim come to, in one to three sentences."""
    if made.empty:
        return "This study measured none of the quantities in this claim."
    over_runs = made[made.over == RUNS]
    said = []
    for where, part, verdicts in (
        ("In this Base", made[made.of_base.astype(bool)], "verdict"),
        (f"Over {_span(over_runs.n)} training runs", over_runs, "verdict"),
        (
            "In the one run that has these" if len(over_runs) else "In the checkpoints of the one run",
            made[made.in_checkpoint.fillna("") != ""],
            "in_checkpoint",
        ),
    ):
        if part.empty:
            continue
        counts = part[verdicts].value_counts()
        if len(counts) == 1:
            which = (
                "the statement is"
                if len(part) == 1
                else f"{'both' if len(part) == 2 else f'all {len(part)}'} statements are"
            )
            said.append(f"{where}, {which} {_PHRASES[counts.index[0]]}.")
            continue
        phrases = [
            f"{counts[verdict]} {'is' if counts[verdict] == 1 else 'are'} {phrase}"
            for verdict, phrase in _PHRASES.items()
            if verdict in counts
        ]
        said.append(f"{where}, of {_count(len(part), 'statement')} {_listed(phrases)}.")
    if (made.in_checkpoint.fillna("") != "").any():
        said.append("One run says nothing about RL in general.")
    undecided = made[(made.verdict == UNDECIDED) & made.needed_examples.notna()]
    if len(undecided):
        said.append(_needed(undecided))
    return " ".join(said)


_PHRASES = {
    SUPPORTED: "supported",
    CONTRADICTED: "significantly the other way round",
    SAME: "without a relevant difference",
    UNDECIDED: "undecided",
}


def _span(values: pd.Series) -> str:
    """ "4", or "2 to 4"."""
    low, high = values.min(), values.max()
    return f"{low:,.0f}" if low == high else f"{low:,.0f} to {high:,.0f}"


def _needed(undecided: pd.DataFrame) -> str:
    """What would show the declared margins."""
    finite = undecided[np.isfinite(undecided.needed_examples.astype(float))]
    if finite.empty:
        return "No number of runs up to 100 would show an effect of the declared margin."
    most = finite.loc[(finite.needed_runs.fillna(1) * finite.needed_examples).idxmax()]
    size = _size(most.margin, most.axis)
    have = f"here {most.n:,.0f}" + (f" of {most.units:,.0f}" if most.over == RUNS and most.unit == EXAMPLES else "")
    parts = [_count(most.needed_runs, "run")] if most.over == RUNS else []
    parts += [_count(most.needed_examples, "example")] if most.unit == EXAMPLES else []
    return f"Showing an effect of {size} with 80 % power would take up to {' of '.join(parts)} ({have})."


def _points(axis: str) -> bool:
    return str(axis).endswith(" rate")


def _size(value: float, axis: str) -> str:
    return f"{100 * value:g} points" if _points(axis) else f"{value:g} ({str(axis).removeprefix('difference of ')})"


def _shown(test: dict) -> dict:
    """A test with its numbers formatted for display: rates in percentage points, all else to two digits."""
    points = _points(test["axis"])

    def text(value) -> str:
        # The t interval of a few runs can reach beyond what a difference of two rates can be.
        return "none" if np.isnan(value) else f"{100 * np.clip(value, -1, 1):+.1f}" if points else f"{value:+.2g}"

    def shown_size(effect: float) -> str:
        if np.isnan(effect):
            return ""
        return "none" if points and effect > 1 else text(effect)[1:]

    def with_interval(*names: str) -> str:
        value, low, high = (float(test[name]) for name in names)
        return "" if np.isnan(value) else text(value) if np.isnan(low) else f"{text(value)} [{text(low)}, {text(high)}]"

    shown = test | {
        "shown": with_interval("estimate", "low", "high"),
        "null_shown": with_interval("null", "null_low", "null_high"),
        "unit_shown": "points" if points else str(test["axis"]).removeprefix("difference of "),
    }
    if "level" in test:
        detectable, runs = float(test["detectable"]), float(test["needed_runs"])
        needed = number(float(test["needed_examples"]))
        if np.isfinite(runs):
            needed = f"{runs:,.0f} × {needed}" if test["unit"] == EXAMPLES else f"{runs:,.0f}"
        shown |= {
            "detectable_shown": shown_size(detectable),
            "needed_shown": needed,
            "over_shown": f"{test['n']:,.0f} {test['over']}" if test["over"] in (RUNS, EXAMPLES) else "1 run",
            "along_shown": "" if np.isnan(float(test["along"])) else f"{test['along']:.0f} of {test['n']:.0f}",
        }
    return shown


def moves(vision: pd.DataFrame, paired: pd.DataFrame) -> list[str]:
    """One sentence per recipe and step (Base to IN, IN to RL): did M_vis change through seeing, or through answers to black images?

    vision, paired: the tables of these names. M_vis is accuracy with the image minus the share also right on a black image
    (and minus the share right with the image whose response to the black image is ungraded); its change decomposes in the
    same way. Changes are means over the recipe's runs; the 95 % interval is over runs (t), or over the examples of the only run
    (intervals.paired). A component is said to account "mostly" for the change if it is at least twice the other; no attribution
    is made if the interval includes zero.
    """

    def points(value: float) -> str:
        return f"{round(100 * min(max(value, -1), 1), 1) + 0.0:+.1f}"  # no "-0.0", and nothing beyond a whole rate

    said, roles = [], vision.set_index(["recipe", "run", "role"])
    steps = paired[paired.metric == "M_vis"]
    steps = steps[[pair in _STEPS for pair in zip(steps.a, steps.b, strict=True)]]
    for (recipe, a, b), runs in steps.groupby(["recipe", "a", "b"], sort=False):
        old, new = (roles.loc[[(recipe, run, role) for run in runs.run]].reset_index(drop=True) for role in (a, b))
        changes = ((runs.n01 - runs.n10) / runs.n).reset_index(drop=True)
        of_runs = [paired_interval(one.n01, one.n10, one.n) for one in runs.itertuples()]
        interval = of_runs[0] if len(runs) == 1 else over_runs(changes, [standard_error(one) for one in of_runs])
        sees = new.accuracy - old.accuracy
        blind = new.image_right_black_right / new.n - old.image_right_black_right / old.n
        change, seeing, both, lost = changes.mean(), sees.mean(), blind.mean(), (sees - blind - changes).mean()
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
        mean = f", mean of {len(runs)} runs" if len(runs) > 1 else ""
        said.append(
            f"From {a} to {b} (recipe {recipe}{mean}), M_vis changed by {points(change)} points "
            f"[{points(interval['low'])}, {points(interval['high'])}]: accuracy with the image by {points(seeing)}, answers that "
            f"are also right on a black image by {points(both)}{ungraded}; {mostly}."
        )
    return said


_STEPS = (("Base", "IN"), ("IN", "RL"))


def limits(measured: Measurements, config: dict, tested: pd.DataFrame, in_runs: pd.DataFrame) -> list[str]:
    """Limitations: what the study lacks, and which conclusions it therefore does not draw."""
    found, recipes = [], config["recipes"]
    runs = len(measured.runs)
    over = tested[tested.over == RUNS]
    if runs == 1:
        found.append(
            "One training run: intervals are over its examples, and every statement is about its checkpoints. What RL does in "
            "general takes several runs (`runs` of a recipe)."
        )
    elif len(over):
        least = int(over.n.min())
        found.append(
            f"{_count(runs, 'training run')} of {_count(len(recipes), 'recipe')}: tests pool the runs of all recipes, and are about "
            "runs such as these on questions such as these. Recipes that differ widen the intervals."
        )
        if least < 6:
            found.append(
                f"With {least} runs no sign-flip test reaches 5 %: verdicts rest on the t test, which takes the runs' means as normal."
            )
    if len(recipes) == 1:
        found.append("One recipe: nothing says whether another recipe would do the same.")
    if one_in := [name for name in recipes if _one_in(name, measured)]:
        found.append(f"The runs of {', '.join(one_in)} start from one IN: what they say about RL is said of that IN.")
    without = [name for name, recipe in recipes.items() if not recipe.get("base")]
    if without:
        found.append(f"No Base in {', '.join(without)}: no weight updates, no localization, no step from Base to IN.")
    unfrozen = [
        name for name, recipe in recipes.items()
        if not recipe.get("frozen") and not any(run.get("frozen") for run in _run_list(recipe))
    ]  # fmt: skip
    if unfrozen:
        found.append(
            f"No runs with a region frozen in {', '.join(unfrozen)}: whether a region was necessary is not asked."
        )
    beside = in_runs[in_runs.null.notna()]
    alone = [name for name in recipes if name not in set(beside.recipe)]
    if alone:
        found.append(
            f"No IN of another seed beside RL in {', '.join(alone)}: in these, what RL changed is not told from what a seed changes "
            "other than by the variance between runs."
        )
    moved = beside[(beside.null_low.astype(float) > 0) | (beside.null_high.astype(float) < 0)]
    if runs == 1 and len(moved):
        named = "; ".join(
            f"{row['statement']} {row['null_shown']} {row['unit_shown']}, where RL makes {row['shown']}"
            for row in map(_shown, moved.to_dict("records"))
        )
        found.append(f"Another seed of IN, without RL, moves by itself (95 % intervals, not corrected): {named}.")
    coarse = tested[(tested.detectable.astype(float) > 0.1) & tested.axis.map(_points)]
    if len(coarse):
        worst = coarse.loc[coarse.detectable.astype(float).idxmax()]
        found.append(
            f"Coarse tests: {len(coarse)} statements about rates would miss, more often than one time in five, effects of "
            f"{f'up to {100 * worst.detectable:.0f} points' if worst.detectable < 1 else 'any size'} ({worst.n:.0f} {worst.over}, "
            f"{worst.units:.0f} examples)."
        )
    partly = tested[(tested.verdict != MISSING) & tested.why.fillna("").ne("")]
    for why, part in partly.groupby("why", sort=False):
        found.append(
            f"In some runs not tested, {why}: {'; '.join(f'{row.claim} ({row.statement})' for row in part.itertuples())}."
        )
    for why, part in tested[tested.verdict == MISSING].groupby("why", sort=False):
        found.append(f"Not tested, {why}: {'; '.join(f'{row.claim} ({row.statement})' for row in part.itertuples())}.")
    return found


def _run_list(recipe: dict) -> list[dict]:
    """The runs of a recipe in the configuration; those of a number of runs have no keys of their own."""
    runs = recipe.get("runs", 1)
    return runs if isinstance(runs, list) else [{}] * runs


def _one_in(recipe: str, measured: Measurements) -> bool:
    """Whether a recipe has several runs and one IN, as far as its answers show."""
    if measured.outcomes is None:
        return False
    of_in = measured.outcomes[(measured.outcomes.recipe == recipe) & (measured.outcomes.role == "IN")]
    table = of_in.pivot(index=["metric", "id"], columns="run", values="correct")
    return table.shape[1] > 1 and bool(table.eq(table.iloc[:, 0], axis=0).all(axis=None))
