"""Verdicts of statements and claims, with one error rate for the whole report."""

from __future__ import annotations

import numpy as np
import pandas as pd

from .estimates import EXAMPLES, LEVEL, RUNS

SUPPORTED, CONTRADICTED, SAME, UNDECIDED = "supported", "contradicted", "no relevant difference", "undecided"
MISSING = "not in this study"


def report_level(tested: pd.DataFrame) -> float:
    """The level of every one-sided test of a report, by Holm's step-down procedure at 5 % over all decisions that it can make.

    A claim can be decided in three ways, each with one p: supported if all statements are (the largest p_for; an
    intersection-union test needs no correction within the claim), contradicted if any statement is (the smallest p_against
    times their number), no relevant difference if all are within their margins (the largest p_within). A decision is taken
    where its p is at most the level at which Holm's procedure stops.
    """
    ps = []
    for _, part in tested[tested.over.isin([RUNS, EXAMPLES])].groupby("claim", sort=False):
        ps += [part.p_for.max(), min(1.0, len(part) * part.p_against.min()), part.p_within.max()]
    rejected = 0
    for p in sorted(ps):
        if p > LEVEL / (len(ps) - rejected):
            break
        rejected += 1
    return LEVEL / max(len(ps) - rejected, 1)


def _verdict(row, level: float, statements: int) -> str:
    """A statement's verdict by its p values."""
    if row.p_for <= level:
        return SUPPORTED
    if row.p_against * statements <= level:
        return CONTRADICTED
    return SAME if row.p_within <= level else UNDECIDED


def _of_weights(row) -> str:
    """What holds in weights that are measured whole: on which side of the margin their number lies."""
    if abs(row.estimate) <= (0 if np.isnan(row.margin) else row.margin):
        return SUPPORTED if row.expect == "equal" else SAME
    return SUPPORTED if (row.estimate > 0) == (row.expect == "greater") and row.expect != "equal" else CONTRADICTED


def decide(tested: pd.DataFrame) -> pd.DataFrame:
    """testing.check_all's statements with level, verdict, in_checkpoint, needed_runs, needed_examples and detectable.

    A statement about RL has a verdict where it is tested over runs. With one run it is undecided, and in_checkpoint says what
    holds in that run's checkpoints. A statement about the one Base is tested over examples and has a verdict.
    needed_runs, needed_examples: for undecided statements, what would show an effect of the margin with 80 % power at this
    level; detectable: the effect that these data would show.
    """
    level, rows = report_level(tested), []
    sizes = tested[tested.over.isin([RUNS, EXAMPLES])].groupby("claim", sort=False).size()
    for row in tested.itertuples():
        found = {"level": level, "verdict": MISSING, "in_checkpoint": "", "detectable": np.nan}
        found |= {"needed_runs": np.nan, "needed_examples": np.nan}
        if row.over:
            estimate = tested["_estimate"][row.Index]
            verdict = _of_weights(row) if row.over == "nothing" else _verdict(row, level, sizes[row.claim])
            one_run = row.over != RUNS and not row.of_base
            found |= {"verdict": UNDECIDED, "in_checkpoint": verdict} if one_run else {"verdict": verdict}
            found["detectable"] = estimate.detectable(level)
            if found["verdict"] == UNDECIDED and not one_run:
                found["needed_runs"], found["needed_examples"] = estimate.needed(row.margin, level)
        rows.append(found)
    return tested.drop(columns="_estimate").join(pd.DataFrame(rows, index=tested.index))


def _of_all(verdicts: pd.Series, complete: bool) -> str:
    """A claim's verdict from its statements'. complete: all statements could be tested."""
    if (verdicts == CONTRADICTED).any():
        return CONTRADICTED
    for verdict in (SUPPORTED, SAME):
        if complete and (verdicts == verdict).all():
            return verdict
    return UNDECIDED


def summarize_claims(claims: list[dict], decided: pd.DataFrame, partial: bool = False) -> pd.DataFrame:
    """claim, asks, says, where, verdict, in_checkpoint, and the number of statements that are supported, contradicted, same (no
    relevant difference), undecided, missing.

    A claim is undecided at best if a statement could not be tested in any run or had failed samples in one; for a failed run
    (partial), if anything is missing in any training run.
    """
    rows = []
    for claim in claims:
        part = decided[decided.claim == claim["claim"]]
        made = part[part.verdict != MISSING]
        counts = {name: int((part.verdict == verdict).sum()) for name, verdict in _COUNTED.items()}
        lacking = (part.why != "").any() if partial else part.why.str.contains("failed").any()
        complete = len(made) == len(part) and not lacking
        verdict = _of_all(made.verdict, complete) if len(made) else MISSING
        alone = made.in_checkpoint.where(made.in_checkpoint != "", made.verdict)
        in_checkpoint = _of_all(alone, complete) if (made.in_checkpoint != "").any() else ""
        kept = {key: claim[key] for key in ("claim", "asks", "says", "where")}
        rows.append({**kept, "verdict": verdict, "in_checkpoint": in_checkpoint, **counts})
    return pd.DataFrame(rows, columns=["claim", "asks", "says", "where", "verdict", "in_checkpoint", *_COUNTED])


_COUNTED = {
    "supported": SUPPORTED,
    "contradicted": CONTRADICTED,
    "same": SAME,
    "undecided": UNDECIDED,
    "missing": MISSING,
}
