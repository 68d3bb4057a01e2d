"""From verdicts to binary outcomes: whether an example counts as a hit under a metric (paper, Table 1)."""

from __future__ import annotations

import pandas as pd

from ..core.errors import InputError
from ..data.metrics import METRICS, as_published
from ..grading.outcome import RIGHT, UNGRADED


def holds(graded: pd.DataFrame, rule: dict[str, bool]) -> pd.Series:
    """Boolean series by example id: whether every condition has the outcome that the rule requires.

    graded: columns id, condition, verdict. Abstention is not right. An ungraded response is a hit under neither requirement: it is not
    right, and it does not satisfy "not right" either, as a missing response is no evidence.
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


def of_grades(graded: pd.DataFrame, abilities: dict[str, str]) -> pd.DataFrame:
    """Outcomes of one checkpoint, one row per (metric, example): metric, id, correct, cluster (of examples about one problem).

    Metrics are M_vis, M_v2r and M_rea; each task by name, in its first condition (as published); and
    "format, CONDITION": whether the response had the form <think>...</think><answer>...</answer>, one row per response.
    """
    parts = [
        (metric, holds(graded[graded.task == abilities[ability]], rule)) for metric, (ability, rule) in METRICS.items()
    ]
    for task, part in graded.groupby("task", sort=False):
        parts.append((task, holds(part, {as_published(part.condition): True})))
    for condition, part in graded.groupby("condition", sort=False):
        # Ids are unique only within a task.
        parts.append((f"format, {condition}", part.set_index(part.task + " " + part.id.astype(str)).well_formed))
    problems = dict(zip(graded.task + " " + graded.id.astype(str), graded.problem.astype(str), strict=True))
    frames = []
    for metric, hit in parts:
        task = abilities[METRICS[metric][0]] if metric in METRICS else metric
        keys = hit.index if metric.startswith("format, ") else f"{task} " + hit.index.astype(str)
        cluster = [problems[key] for key in keys]
        frames.append(
            pd.DataFrame({"metric": metric, "id": hit.index, "correct": hit.to_numpy(bool), "cluster": cluster})
        )
    return pd.concat(frames, ignore_index=True)
