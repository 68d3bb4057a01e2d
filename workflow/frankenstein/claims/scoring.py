"""M_vis, M_v2r, M_rea and accuracies, and their differences, with intervals. N is always the full set of examples."""

from __future__ import annotations

import itertools
from functools import cache

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from ..core.errors import InputError
from ..core.intervals import paired as paired_interval
from ..core.intervals import wilson
from ..data.metrics import METRICS, SHUFFLED, as_published
from ..data.tasks import Example
from ..grading.outcome import ABSTAINED, RIGHT, UNGRADED, VERDICTS, WRONG
from ..grading.short import equal
from .estimates import EXAMPLES, over_examples, sample
from .outcomes import of_grades


def rates(outcome: pd.DataFrame) -> pd.DataFrame:
    """Hit rates with 95 % Wilson intervals: metric, n, value, low, high."""
    rows = []
    for metric, part in outcome.groupby("metric", sort=False):
        k, n = int(part.correct.sum()), len(part)
        rows.append({"metric": metric, "n": n, "value": k / n, **wilson(k, n)})
    return pd.DataFrame(rows)


def counted(graded: pd.DataFrame, verdict: str, metric: str, abilities: dict[str, str]) -> int:
    """Number of the responses used by a metric that have the given verdict."""
    if metric.startswith("format, "):
        looked_at = graded[graded.condition == metric.removeprefix("format, ")]
    elif metric in METRICS:
        ability, rule = METRICS[metric]
        looked_at = graded[(graded.task == abilities[ability]) & graded.condition.isin(list(rule))]
    else:
        looked_at = graded[graded.task == metric]
        looked_at = looked_at[looked_at.condition == as_published(looked_at.condition)]
    return int((looked_at.verdict == verdict).sum())


def blind_rate(examples: list[Example]) -> float:
    """Accuracy of the best guesses from the prompts alone (meta["blind"]), i.e. a task's chance level; NaN if unknown."""
    if not all("blind" in example.meta for example in examples):
        return np.nan
    right = sum(equal(example.meta["blind"], example.answer, example.answer_type) for example in examples)
    return right / len(examples)


def chance_rate(examples: list[Example]) -> float:
    """Known chance level of a task without its image: blind_rate if available, else 1 / number of choices, 0 for free-form answers."""
    known = blind_rate(examples)
    if not np.isnan(known):
        return known
    return float(np.mean([1 / len(example.choices) if example.choices else 0.0 for example in examples]))


def vision(graded: pd.DataFrame, examples: list[Example], task: str) -> dict[str, object]:
    """Decomposition of M_vis: one row of statistics of a checkpoint's answers to a task with the true image and with a black image.

    task, n; image_X_black_Y: counts of examples by correctness of the two answers (abstention counts as wrong here); ungraded:
    examples with an ungraded response. The five counts add up to n, and image_right_black_wrong / n is M_vis. accuracy,
    accuracy_black: right answers / n (ungraded is not right). abstained, abstained_black: numbers of responses. reliance:
    accuracy minus accuracy_black, with its paired interval (intervals.paired). flip_rate: share of n whose extracted answers
    differ between the two images, right or not; ungraded responses never count as flips. chance (chance_rate); above_chance:
    (accuracy - chance) / (1 - chance). accuracy_shuffled, reliance_shuffled: the same with another example's image; NaN if
    that condition was not run.
    """
    part = graded[graded.task == task]
    verdicts = part.pivot(index="id", columns="condition", values="verdict")
    said = part.assign(said=[" ".join(str(text).lower().split()).rstrip(".") for text in part.extracted.fillna("")])
    said = said.pivot(index="id", columns="condition", values="said")
    right, n = verdicts == RIGHT, len(verdicts)
    known = (verdicts[["image", "black"]] != UNGRADED).all(axis=1)
    row: dict[str, object] = {"task": task, "n": n}
    for image, black in itertools.product((RIGHT, WRONG), repeat=2):
        cell = known & (right.image == (image == RIGHT)) & (right.black == (black == RIGHT))
        row[f"image_{image}_black_{black}"] = int(cell.sum())
    row["ungraded"] = int((~known).sum())

    def reliance(other: str) -> dict[str, float]:
        """Accuracy in another condition, and accuracy with the image minus it."""
        if other not in right:
            return dict.fromkeys(("accuracy", "difference", "low", "high"), np.nan)
        n10, n01 = int((right.image & ~right[other]).sum()), int((~right.image & right[other]).sum())
        return {"accuracy": right[other].mean(), "difference": (n10 - n01) / n, **paired_interval(n10, n01, n)}

    black, shuffled, chance = reliance("black"), reliance(SHUFFLED), chance_rate(examples)
    row |= {"accuracy": right.image.mean(), "accuracy_black": black["accuracy"]}
    row |= {"abstained": int((verdicts.image == ABSTAINED).sum())}
    row |= {"abstained_black": int((verdicts.black == ABSTAINED).sum())}
    row |= {"reliance": black["difference"], "reliance_low": black["low"], "reliance_high": black["high"]}
    row |= {"flip_rate": (known & (said.image != said.black)).mean(), "chance": chance}
    row |= {"above_chance": (right.image.mean() - chance) / (1 - chance) if chance < 1 else np.nan}
    row |= {"accuracy_shuffled": shuffled["accuracy"], "reliance_shuffled": shuffled["difference"]}
    return row | {"reliance_shuffled_low": shuffled["low"], "reliance_shuffled_high": shuffled["high"]}


def with_judge(graded: pd.DataFrame, judged: pd.DataFrame) -> pd.DataFrame:
    """Grades with the judge's verdicts filled in for responses that the rules left ungraded."""
    key = ["id", "task", "condition"]
    found = graded[key].merge(judged[[*key, "verdict"]], on=key, how="left", validate="one_to_one").verdict
    return graded.assign(verdict=np.where(found.notna() & (graded.verdict == UNGRADED), found, graded.verdict))


def categories(graded: pd.DataFrame, examples: list[Example]) -> pd.DataFrame:
    """task, category, n, right, wrong, abstained, ungraded, value, low, high (95 % Wilson) for one checkpoint, in the published condition."""
    of = {(example.task, example.id): example.category for example in examples if example.category}
    rows = []
    for task, part in graded.groupby("task", sort=False):
        part = part[part.condition == as_published(part.condition)]
        part = part.assign(category=[of.get(key) for key in zip(part.task, part.id, strict=True)])
        for category, group in part.groupby("category"):
            counts = {verdict: int((group.verdict == verdict).sum()) for verdict in VERDICTS}
            rate = {"value": counts[RIGHT] / len(group), **wilson(counts[RIGHT], len(group))}
            rows.append({"task": task, "category": category, "n": len(group), **counts, **rate})
    columns = ["task", "category", "n", *VERDICTS, "value", "low", "high"]
    return pd.DataFrame(rows, columns=columns)


def paired(a: pd.DataFrame, b: pd.DataFrame) -> pd.DataFrame:
    """Paired outcomes of two checkpoints on the same examples: metric, n, n11 (both hit), n10 (only a), n01 (only b), n00, p_mcnemar (exact)."""
    rows = []
    for metric, part in a.groupby("metric", sort=False):
        both = part.merge(b[b.metric == metric], on="id", suffixes=("_a", "_b"), validate="one_to_one")
        if not len(both) == len(part) == (b.metric == metric).sum():
            raise InputError(f"{metric}: the two checkpoints were not asked the same examples")
        counts = {
            f"n{int(x)}{int(y)}": int(((both.correct_a == x) & (both.correct_b == y)).sum())
            for x in (1, 0)
            for y in (1, 0)
        }
        n = counts["n10"] + counts["n01"]
        p = binomtest(counts["n01"], n).pvalue if n else 1.0
        rows.append({"metric": metric, "n": len(both), **counts, "p_mcnemar": p})
    return pd.DataFrame(rows)


def difference(a: pd.DataFrame, b: pd.DataFrame) -> pd.DataFrame:
    """b - a on the same examples: metric, n, difference, low, high (95 %, paired, by problem), p (two-sided, the interval's own
    test). The interval and test of estimates.over_examples: without versions of one problem, Bonett and Price's."""
    rows = []
    for metric, part in a.groupby("metric", sort=False):
        both = part.merge(b[b.metric == metric], on="id", suffixes=("_a", "_b"), validate="one_to_one").set_index("id")
        if not len(both) == len(part) == (b.metric == metric).sum():
            raise InputError(f"{metric}: the two checkpoints were not asked the same examples")
        change = both.correct_b.astype(float) - both.correct_a.astype(float)
        found = over_examples(sample(change, EXAMPLES, clusters=pd.factorize(both.cluster_a)[0]))
        row = {"metric": metric, "n": len(both), "difference": found.value, "low": found.low, "high": found.high}
        rows.append({**row, "p": found.p})
    return pd.DataFrame(rows)


def _labelled(frame: pd.DataFrame, **label) -> pd.DataFrame:
    return pd.DataFrame([label] * len(frame)).join(frame)


def _label(run: tuple[str, int]) -> dict:
    recipe, number, *_ = run
    return {"recipe": recipe, "run": number}


def score(
    grades: dict[str, pd.DataFrame],
    roles: dict[str, list[tuple[str, str]]],
    runs: dict[str, tuple[str, int]],
    abilities: dict[str, str],
    examples: list[Example],
    judged: dict[str, pd.DataFrame] | None = None,
) -> dict[str, pd.DataFrame]:
    """Score tables for every checkpoint in each of its roles.

    grades: checkpoint -> verdicts.grade_all; roles: checkpoint -> [(name of a run, role)], role being Base, IN,
    RL, a hybrid such as IN:RL:RL, or "RL, Early frozen"; runs: name of a run -> (recipe, number); judged: checkpoint ->
    judge.judge. Returns, each with the columns recipe and run (its number) in front:
    scores: role, checkpoint, metric, n, value, low, high, abstained and ungraded (number of
    the metric's responses in which the model declines to answer, or without a verdict), blind (accuracy of guessing from the
    prompt alone on a task), and with a judge value_judged (using the judge's verdicts where the rules give none);
    vision: role, checkpoint, and the row of `vision` for the vision task;
    differences: from, to, metric, n, difference, low, high, p, for Base -> IN (if there is a Base), and
    from IN and from RL to every later role of the run;
    paired: a, b, metric, n, n11, n10, n01, n00, p_mcnemar for every pair of roles of a run;
    categories: role, checkpoint, task, category, n, right, wrong, abstained, ungraded, value, low, high.
    """
    chance = {}
    for task in dict.fromkeys(example.task for example in examples):
        chance[task] = blind_rate([example for example in examples if example.task == task])

    @cache
    def outcome(checkpoint: str, tasks: frozenset[str]) -> pd.DataFrame:
        graded = grades[checkpoint]
        return of_grades(graded[graded.task.isin(tasks)], abilities)

    asked = {checkpoint: frozenset(graded.task) for checkpoint, graded in grades.items()}

    def on_shared_tasks(a: str, b: str) -> tuple[pd.DataFrame, pd.DataFrame]:
        """Outcomes of two checkpoints on the tasks that both were asked: a hybrid may be asked the abilities' alone."""
        return outcome(a, asked[a] & asked[b]), outcome(b, asked[a] & asked[b])

    names = ("scores", "vision", "differences", "paired", "categories")
    tables: dict[str, list[pd.DataFrame]] = {name: [] for name in names}
    of_vision = [example for example in examples if example.task == abilities["vision"]]
    members: dict[str, dict[str, str]] = {}
    for checkpoint, played in roles.items():
        graded = grades[checkpoint]
        rate = rates(outcome(checkpoint, asked[checkpoint]))
        for verdict in (ABSTAINED, UNGRADED):
            rate[verdict] = [counted(graded, verdict, metric, abilities) for metric in rate.metric]
        rate["blind"] = rate.metric.map(chance)
        if judged is not None:
            rate["value_judged"] = rates(of_grades(with_judge(graded, judged[checkpoint]), abilities)).value
        by_category = categories(graded, examples)
        seen = pd.DataFrame([vision(graded, of_vision, abilities["vision"])])
        for run, role in played:
            members.setdefault(run, {})[role] = checkpoint
            label = _label(runs[run]) | {"role": role, "checkpoint": checkpoint}
            tables["scores"].append(_labelled(rate, **label))
            tables["vision"].append(_labelled(seen, **label))
            tables["categories"].append(_labelled(by_category, **label))
    for run, member in members.items():
        steps = [("Base", "IN")] if "Base" in member else []
        steps += [("IN", role) for role in member if role not in ("Base", "IN")]
        steps += [("RL", role) for role in member if role not in ("Base", "IN", "RL")]
        for old, new in steps:
            table = difference(*on_shared_tasks(member[old], member[new]))
            tables["differences"].append(_labelled(table, **_label(runs[run]), **{"from": old, "to": new}))
        for a, b in itertools.combinations(member, 2):
            table = paired(*on_shared_tasks(member[a], member[b]))
            tables["paired"].append(_labelled(table, **_label(runs[run]), a=a, b=b))
    return {name: pd.concat(parts, ignore_index=True) for name, parts in tables.items()}
