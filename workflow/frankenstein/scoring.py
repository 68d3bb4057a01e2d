"""M_vis, M_v2r, M_rea, accuracies and their differences, with intervals. N is always the full set."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import binomtest, bootstrap

from .errors import InputError
from .grading import RIGHT, UNGRADED, equal
from .intervals import wilson
from .metrics import METRICS, conditions
from .tasks import Example


def hits(graded: pd.DataFrame, rule: dict[str, bool]) -> pd.Series:
    """bool by example id: whether every condition of the rule came out as the rule wants it.

    graded: columns id, condition, verdict. An ungraded condition counts as not right, and where the
    rule wants "not right" it still does not count: a missing response proves nothing.
    """
    table = graded.pivot(index="id", columns="condition", values="verdict")
    result = pd.Series(True, index=table.index)
    for condition, right in rule.items():
        if condition not in table or table[condition].isna().any():
            raise InputError(
                f"condition {condition!r} is missing for some examples; delete the responses and run again"
            )
        is_right = table[condition] == RIGHT
        result &= is_right if right else ~is_right & (table[condition] != UNGRADED)
    return result


def outcomes(graded: pd.DataFrame, abilities: dict[str, str]) -> pd.DataFrame:
    """One row a (metric, example) of one checkpoint: metric, id, hit.

    Metrics are M_vis, M_v2r and M_rea; each task by its name, in its first condition (as published);
    and "format, CONDITION", whether a response was <think>...</think><answer>...</answer>, one row a response.
    """
    parts = [
        (metric, hits(graded[graded.task == abilities[ability]], rule)) for metric, (ability, rule) in METRICS.items()
    ]
    for task, part in graded.groupby("task", sort=False):
        parts.append((task, hits(part, {conditions(task, abilities)[0]: True})))
    for condition, part in graded.groupby("condition", sort=False):
        parts.append((f"format, {condition}", part.set_index("id").well_formed))
    return pd.concat(
        [pd.DataFrame({"metric": metric, "id": hit.index, "hit": hit.to_numpy(bool)}) for metric, hit in parts],
        ignore_index=True,
    )


def rates(outcome: pd.DataFrame) -> pd.DataFrame:
    """metric, n, value, low, high: the rate of hits with its 95 % Wilson interval."""
    rows = []
    for metric, part in outcome.groupby("metric", sort=False):
        k, n = int(part.hit.sum()), len(part)
        rows.append({"metric": metric, "n": n, "value": k / n, **wilson(k, n)})
    return pd.DataFrame(rows)


def ungraded(graded: pd.DataFrame, metric: str, abilities: dict[str, str]) -> int:
    """How many of the responses that a metric looks at were never made."""
    missing = graded[graded.verdict == UNGRADED]
    if metric.startswith("format, "):
        return int((missing.condition == metric.removeprefix("format, ")).sum())
    if metric in METRICS:
        ability, rule = METRICS[metric]
        task, needed = abilities[ability], list(rule)
    else:
        task, needed = metric, conditions(metric, abilities)[:1]
    return int(((missing.task == task) & missing.condition.isin(needed)).sum())


def blind_rate(examples: list[Example]) -> float:
    """What the best guesses from the prompts alone (meta["blind"]) score: the chance level of a task."""
    return sum(equal(example.meta["blind"], example.answer, example.answer_type) for example in examples) / len(
        examples
    )


def difference(a: pd.DataFrame, b: pd.DataFrame, seed: int) -> pd.DataFrame:
    """b - a on the same examples: metric, n, difference, low, high (95 % paired bootstrap), p (exact McNemar)."""
    rows = []
    for metric, part in a.groupby("metric", sort=False):
        both = part.merge(b[b.metric == metric], on="id", suffixes=("_a", "_b"), validate="one_to_one")
        if len(both) != len(part):
            raise InputError(f"{metric}: the two checkpoints were not asked the same examples")
        gain = both.hit_b.astype(int).to_numpy() - both.hit_a.astype(int).to_numpy()
        won, lost = int((gain > 0).sum()), int((gain < 0).sum())
        low = high = float(gain.mean())
        if won + lost:
            interval = bootstrap(
                (gain,), np.mean, n_resamples=2000, method="percentile", rng=np.random.default_rng(seed)
            ).confidence_interval
            low, high = interval.low, interval.high
        p = binomtest(won, won + lost).pvalue if won + lost else 1.0
        rows.append(
            {"metric": metric, "n": len(both), "difference": gain.mean(), "low": low, "high": high, "p_mcnemar": p}
        )
    return pd.DataFrame(rows)


def score(
    grades: dict[str, pd.DataFrame],
    roles: dict[str, list[tuple[str, str]]],
    abilities: dict[str, str],
    examples: list[Example],
    seed: int,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Scores and differences of every checkpoint in every role that it plays.

    grades: checkpoint -> grading.grade_all; roles: checkpoint -> [(recipe, role)], role one of Base, IN,
    RL, a hybrid such as IN:RL:RL, or "RL, Early frozen". Returns
    scores: recipe, role, checkpoint, metric, n, value, low, high, ungraded (responses that the metric
    needed and that were never made), blind (what guessing from the prompt alone scores on a task); and
    differences: recipe, from, to, metric, n, difference, low, high, p_mcnemar, for Base -> IN, and
    from IN and from RL to every later role of the recipe.
    """
    chance = {}
    for task in dict.fromkeys(example.task for example in examples):
        chance[task] = blind_rate([example for example in examples if example.task == task])
    results = {checkpoint: outcomes(graded, abilities) for checkpoint, graded in grades.items()}
    scores, members = [], {}
    for checkpoint, played in roles.items():
        graded = grades[checkpoint]
        rate = rates(results[checkpoint])
        rate["ungraded"] = [ungraded(graded, metric, abilities) for metric in rate.metric]
        rate["blind"] = rate.metric.map(chance)
        for recipe, role in played:
            members.setdefault(recipe, {})[role] = checkpoint
            label = {"recipe": recipe, "role": role, "checkpoint": checkpoint}
            scores.append(pd.DataFrame([label] * len(rate)).join(rate))
    differences = []
    for recipe, member in members.items():
        steps = [("Base", "IN"), *(("IN", role) for role in member if role not in ("Base", "IN"))]
        steps += [("RL", role) for role in member if role not in ("Base", "IN", "RL")]
        for old, new in steps:
            table = difference(results[member[old]], results[member[new]], seed)
            label = {"recipe": recipe, "from": old, "to": new}
            differences.append(pd.DataFrame([label] * len(table)).join(table))
    return pd.concat(scores, ignore_index=True), pd.concat(differences, ignore_index=True)
