"""Grading responses to a public benchmark, each record by the rule its benchmark specifies."""

from __future__ import annotations

from ..core.errors import InputError
from ..data.benchmarks import BENCHMARKS
from . import rules
from .latex import TIME_LIMIT
from .outcome import Grade


def with_rule(task: str, record: dict) -> dict:
    """A benchmark's gold record with its `grading` rule added. Raises InputError for an unknown benchmark."""
    if task not in BENCHMARKS:
        raise InputError(f"no benchmark {task!r}; there are {', '.join(BENCHMARKS)}")
    return {"grading": BENCHMARKS[task].grading(record), **{k: v for k, v in record.items() if k != "grading"}}


def grade(task: str, record: dict, use_extraction: bool = False) -> Grade | tuple[str, str]:
    """rules.grade for one record of a benchmark."""
    return rules.grade(with_rule(task, record), use_extraction)


def grade_all(
    task: str,
    records: list[dict],
    use_extraction: bool = False,
    jobs: int | None = None,
    time_limit: float = TIME_LIMIT,
) -> list[Grade]:
    """rules.grade_all for records of a benchmark. InputErrors name the task and the record's id."""
    try:
        return rules.grade_all([with_rule(task, record) for record in records], use_extraction, jobs, time_limit)
    except InputError as error:
        raise InputError(f"{task}, {error}") from None
