"""Grading a checkpoint's responses, each task by the rules of its benchmark."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pandas as pd

from ..data.tasks import Example
from ..inference import responses
from . import graders, rules, short
from .outcome import Grade


def grades(
    answered: list[tuple[Example, str | None]], jobs: int | None = None, truncated: list[bool] | None = None
) -> list[Grade]:
    """One Grade per (example, response), in order; a response of None is missing.

    jobs: number of sympy processes (default: all cores); truncated: whether each response hit the token limit
    (default: none did).
    """
    cut = truncated or [False] * len(answered)
    made: list[Grade | None] = [None] * len(answered)
    by_rule: list[int] = []
    for at, (example, response) in enumerate(answered):
        if example.grading is None and example.benchmark is None:
            made[at] = short.grade(response, example.answer, example.answer_type, cut[at])
        else:
            by_rule.append(at)
    records = [_record(*answered[at]) | {"truncated": cut[at]} for at in by_rule]
    for at, grade in zip(by_rule, rules.grade_all(records, jobs=jobs), strict=True):
        made[at] = grade
    return made


def _record(example: Example, response: str | None) -> dict:
    """The record for the grading rules; if the example names no rule, its benchmark's rule is used."""
    record = asdict(example) | {"response": response}
    return record if example.grading else graders.with_rule(example.benchmark, record)


def grade_all(paths: list[Path], checkpoint: str, examples: list[Example], jobs: int | None = None) -> pd.DataFrame:
    """Grades of a checkpoint's responses: id, task, problem, condition, verdict, extracted, reason, well_formed, truncated, tokens.

    problem: examples with the same one are versions of one question (MathVerse); else the example's id.

    Raises InputError if the responses are not this checkpoint's responses to these examples (responses.read_all).
    """
    records = responses.read_all(paths, checkpoint, examples)
    golds = {(example.task, example.id): example for example in examples}
    made = grades(
        [(golds[record["task"], record["id"]], record["response"]) for record in records],
        jobs,
        [record["truncated"] for record in records],
    )
    rows = [
        {
            **{key: record[key] for key in ("id", "task")},
            "problem": golds[record["task"], record["id"]].meta.get("problem", record["id"]),
            "condition": record["condition"],
            **asdict(grade),
            "reason": record["error"] or grade.reason,
            "well_formed": short.well_formed(record["response"] or ""),
            **{key: record[key] for key in ("truncated", "tokens")},
        }
        for record, grade in zip(records, made, strict=True)
    ]
    return pd.DataFrame(rows)
