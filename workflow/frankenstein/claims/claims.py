"""Aggregation of statements: one verdict per claim, and recipes as replicates (the paper's seven findings)."""

from __future__ import annotations

import pandas as pd

from ..core.intervals import student
from .statements import CONTRADICTED, MISSING, SUPPORTED, UNDECIDED


def replicates(tested: pd.DataFrame) -> pd.DataFrame:
    """Statements tested in several recipes, with recipes as replicates: claim, statement, expect, recipes, along (number of
    recipes with the expected sign), mean, low, high (t interval over recipes, i.e. generalization to a new recipe), axis."""
    rows = []
    for (claim, statement), part in tested[tested.estimate.notna()].groupby(["claim", "statement"], sort=False):
        # Recipes that test a statement on the same checkpoints count as one replicate.
        part = part[part["sample"].eq("") | ~part["sample"].duplicated()]
        if len(part) < 2:
            continue
        first = part.iloc[0]
        along = int((part.estimate > 0).sum() if first.expect == "greater" else (part.estimate < 0).sum())
        row = {"claim": claim, "statement": statement, "expect": first.expect, "recipes": len(part), "along": along}
        rows.append({**row, "mean": part.estimate.mean(), **student(part.estimate), "axis": first.axis})
    columns = ["claim", "statement", "expect", "recipes", "along", "mean", "low", "high", "axis"]
    return pd.DataFrame(rows, columns=columns)


def summarize_claims(claims: list[dict], tested: pd.DataFrame, partial: bool = False) -> pd.DataFrame:
    """claim, asks, says, where, verdict, supported, contradicted, undecided, missing (statements x recipes).

    A recipe that lacks a chapter (e.g. only one recipe has frozen runs) is ignored for claims about that chapter. The claim
    is undecided at best if a statement could not be tested in any recipe, could not be tested in a recipe that tested
    others of the claim, or had failed samples; for a failed run (partial), any missing statement has this effect.
    """
    rows = []
    for claim in claims:
        part = tested[tested.claim == claim["claim"]]
        made = part[part.verdict != MISSING]
        counts = {name: int((part.verdict == name).sum()) for name in (SUPPORTED, CONTRADICTED, UNDECIDED, MISSING)}
        lost = part[part.verdict == MISSING]
        lacking = (
            set(part.statement) - set(made.statement)
            or set(lost.recipe) & set(made.recipe)
            or lost.why.str.contains("failed").any()
            or (partial and len(lost))
        )
        if made.empty:
            whole = MISSING
        elif counts[CONTRADICTED]:
            whole = CONTRADICTED
        else:
            whole = UNDECIDED if counts[UNDECIDED] or lacking else SUPPORTED
        counts["missing"] = counts.pop(MISSING)
        rows.append({**{key: claim[key] for key in ("claim", "asks", "says", "where")}, "verdict": whole, **counts})
    columns = ["claim", "asks", "says", "where", "verdict", SUPPORTED, CONTRADICTED, UNDECIDED, "missing"]
    return pd.DataFrame(rows, columns=columns)
