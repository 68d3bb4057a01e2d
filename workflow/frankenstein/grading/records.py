"""Reading response files for grading, summarizing the verdicts, and testing the graders themselves."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

from ..core import jsonl
from ..core.errors import InputError
from ..core.intervals import wilson
from ..core.terminal import columns
from ..data.benchmarks import BENCHMARKS
from . import graders
from .latex import TIME_LIMIT
from .outcome import ABSTAINED, RIGHT, UNGRADED, VERDICTS, WRONG, Grade


def read_golds(path: Path) -> dict[str, dict]:
    """Gold records by id: JSON lines, or one JSON object by id as MathVista publishes it.

    The id is a record's id, pid or unique_id, or else its 0-based position.
    """
    path = Path(path)
    if path.suffix == ".json":
        return {str(key): record for key, record in json.loads(path.read_text()).items()}
    golds: dict[str, dict] = {}
    for number, (line, record) in enumerate(jsonl.read(path, torn=True)):
        key = str(next((record[name] for name in ("id", "pid", "unique_id") if name in record), number))
        if key in golds:
            raise InputError(f"{path}, line {line}: id {key!r} appears twice")
        golds[key] = record
    return golds


def read_responses(path: Path, examples: Path | None) -> list[dict]:
    """Records with id, response and gold fields (inline, or from `examples` by id). InputError names the line and the problem."""
    golds = read_golds(examples) if examples else {}
    seen, records = set(), []
    for line, record in jsonl.read(path, torn=True):
        if line == 1 and "header" in record:
            continue
        if "id" not in record:
            raise InputError(f"{path}, line {line}: no id")
        key = str(record["id"])
        if key in seen:
            raise InputError(f"{path}, line {line}: id {key!r} appears twice")
        seen.add(key)
        if examples and key not in golds:
            raise InputError(f"{path}, line {line}: id {key!r} is not in {examples}")
        record = {**golds.get(key, {}), **record}
        if "response" not in record and "extraction" not in record:
            raise InputError(f"{path}, line {line}: neither response nor extraction")
        if record.get("answer") is None:
            raise InputError(f"{path}, line {line}: no answer to grade {key!r} by; inline, or with --examples FILE")
        records.append(record)
    return records


def summary(grades: list[Grade]) -> list[str]:
    """Counts and shares by verdict, accuracy with its interval, and the ungraded answers by reason: lines to print."""
    if not grades:
        return ["no answers"]
    counts = Counter(grade.verdict for grade in grades)
    rows = [[f"{len(grades)} answers", "", ""]]
    rows += [[verdict, str(counts[verdict]), f"{counts[verdict] / len(grades):.1%}"] for verdict in VERDICTS]
    interval = wilson(counts[RIGHT], len(grades))
    accuracy = f"accuracy: {counts[RIGHT] / len(grades):.1%} [{interval['low']:.1%}, {interval['high']:.1%}]"
    reasons = Counter(grade.reason for grade in grades if grade.verdict == UNGRADED)
    return [
        *columns(rows),
        f"{accuracy} of all answers (95 % Wilson interval)",
        *(f"ungraded, {reason}: {count}" for reason, count in reasons.most_common()),
    ]


def check(path: Path, jobs: int | None = None, time_limit: float = TIME_LIMIT) -> tuple[list[str], bool]:
    """Compare the graders with human verdicts on cases of any task, in JSON lines: (report lines, whether all agree).

    A case has task, response, the task's gold fields, and `expected`: right, wrong (also satisfied by an abstention),
    abstained or ungraded. Raises InputError for a line lacking any of these.
    """
    cases = []
    for line, case in jsonl.read(path):
        if lacking := [key for key in ("task", "response", "answer", "expected") if key not in case]:
            raise InputError(f"{path}, line {line}: no {lacking[0]}; a case has task, response, answer and expected")
        if case["task"] not in BENCHMARKS or case["expected"] not in VERDICTS:
            raise InputError(
                f"{path}, line {line}: task is one of {', '.join(BENCHMARKS)}, expected one of {', '.join(VERDICTS)}"
            )
        cases.append({"id": line, **case})
    if not cases:
        raise InputError(f"{path}: no cases")
    lines, kept = [], 0
    for task in BENCHMARKS:
        part = [case for case in cases if case["task"] == task]
        if not part:
            continue
        grades = graders.grade_all(task, part, jobs=jobs, time_limit=time_limit)
        odd = [
            (case, grade) for case, grade in zip(part, grades, strict=True) if not _as_expected(grade, case["expected"])
        ]
        kept += len(part) - len(odd)
        lines += [
            f"{case['id']}: {case['response'][:80]!r} for {case['answer']!r}: expected {case['expected']}, is {grade.verdict} "
            f"(read: {(grade.extracted or '')[:80]!r}; {grade.reason or 'no reason'})"
            for case, grade in odd
        ]
        lines.append(f"{task}: {len(part) - len(odd)} of {len(part)} as expected")
    return [*lines, f"{kept} of {len(cases)} verdicts as expected ({kept / len(cases):.1%})"], kept == len(cases)


def _as_expected(grade: Grade, expected: str) -> bool:
    return grade.verdict == expected or (expected == WRONG and grade.verdict == ABSTAINED)
