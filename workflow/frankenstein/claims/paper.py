"""The claims' statements tested on the paper's own table cells."""

from __future__ import annotations

from math import ceil

import numpy as np
import pandas as pd
from scipy import stats

from ..core.intervals import student
from .estimates import LEVEL, POWER
from .reference import paper_cells
from .statements import margin_of
from .verdicts import CONTRADICTED, SUPPORTED, UNDECIDED

_COLUMNS = ["claim", "statement", "recipe", "table", "expect", "estimate", "low", "high", "p", "n", "needed"]


def of_paper(claims: list[dict], reference: dict) -> pd.DataFrame:
    """Test the statements about gains on the paper's table cells.

    claim, statement, recipe, table, expect, estimate, low, high, p (two-sided), n, needed, p_holm (over the whole table of the
    paper), verdict. One row per recipe: unpaired, N = 100 in each cell, Boschloo's exact test and Newcombe's interval; needed:
    N per cell that would show the statement's margin with 80 % power. And, where a table has several recipes, one row over
    them (recipe: "all"), each being one training run: t test and t interval, n recipes.
    """
    cells, rows = paper_cells(reference), []
    for claim in claims:
        for statement in claim["statements"]:
            of = statement["of"]
            if statement["statistic"] != "gain" or statement["expect"] == "equal":
                continue
            for table, part in cells[cells.metric == of["metric"]].groupby("table", sort=False):
                label = {"claim": claim["claim"], "statement": statement["name"], "table": table}
                label["expect"] = statement["expect"]
                changes = []
                for recipe, group in part.groupby("recipe", sort=False):
                    by_role = group.set_index("role")
                    if not {of["from"], of["to"]} <= set(by_role.index):
                        continue
                    n = int(group.n.iloc[0])
                    before, after = (round(by_role.value[of[step]] * n) for step in ("from", "to"))
                    changes.append((after - before) / n)
                    rows.append(label | {"recipe": recipe} | _two_rates(before, after, n, margin_of(statement)))
                if len(changes) > 1:
                    p = stats.ttest_1samp(changes, 0).pvalue if np.ptp(changes) else np.nan
                    over = {
                        "recipe": "all",
                        "estimate": np.mean(changes),
                        **student(changes),
                        "p": p,
                        "n": len(changes),
                    }
                    rows.append(label | over)
    frame = pd.DataFrame(rows, columns=_COLUMNS)
    frame["p_holm"] = frame.groupby("table", group_keys=False).p.apply(_holm)
    along = np.where(frame.expect == "greater", frame.estimate > 0, frame.estimate < 0)
    decided = np.where(along, SUPPORTED, CONTRADICTED)
    return frame.assign(verdict=np.where(frame.p_holm < LEVEL, decided, UNDECIDED))


def _two_rates(before: int, after: int, n: int, margin: float) -> dict:
    """The difference of two independent rates of n each, with its interval, p, and the N that would show a margin."""
    from statsmodels.stats.proportion import confint_proportions_2indep, samplesize_proportions_2indep_onetail

    counts = [[after, before], [n - after, n - before]]
    p = min(1.0, 2 * min(stats.boschloo_exact(counts, alternative=side).pvalue for side in ("greater", "less")))
    low, high = confint_proportions_2indep(after, n, before, n, method="newcomb")
    rate = min(before / n, 1 - margin)
    needed = samplesize_proportions_2indep_onetail(margin, rate, POWER, alpha=LEVEL / 2, alternative="larger")
    return {"estimate": (after - before) / n, "low": low, "high": high, "p": p, "n": n, "needed": ceil(needed)}


def _holm(p: pd.Series) -> pd.Series:
    from statsmodels.stats.multitest import multipletests

    known = p.dropna()
    return pd.Series(multipletests(known, LEVEL, method="holm")[1], index=known.index).reindex(p.index)
