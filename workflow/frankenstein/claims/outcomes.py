"""From verdicts to what tables and claims count: whether an example is a hit of a metric (paper, Table 1)."""

from __future__ import annotations

import pandas as pd

from ..core.errors import InputError
from ..data.metrics import METRICS, as_published
from ..grading.outcome import RIGHT, UNGRADED


def holds(graded: pd.DataFrame, rule: dict[str, bool]) -> pd.Series:
    """bool by example id: whether every condition of the rule came out as the rule wants it.

    graded: columns id, condition, verdict. An abstained condition is not right. An ungraded one counts as not right, and where
    the rule wants "not right" it still does not count: a missing response proves nothing.
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
    """One row a (metric, example) of one checkpoint: metric, id, correct.

    Metrics are M_vis, M_v2r and M_rea; each task by its name, in its first condition (as published);
    and "format, CONDITION", whether a response was <think>...</think><answer>...</answer>, one row a response.
    """
    parts = [
        (metric, holds(graded[graded.task == abilities[ability]], rule)) for metric, (ability, rule) in METRICS.items()
    ]
    for task, part in graded.groupby("task", sort=False):
        parts.append((task, holds(part, {as_published(part.condition): True})))
    for condition, part in graded.groupby("condition", sort=False):
        # Two tasks may have the same ids.
        parts.append((f"format, {condition}", part.set_index(part.task + " " + part.id.astype(str)).well_formed))
    return pd.concat(
        [pd.DataFrame({"metric": metric, "id": hit.index, "correct": hit.to_numpy(bool)}) for metric, hit in parts],
        ignore_index=True,
    )
