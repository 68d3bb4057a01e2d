"""MATH-500 (Lightman et al. 2023): competition mathematics as text."""

from __future__ import annotations

from ..tasks import Example
from .benchmark import Benchmark, choice_or


def example(row: dict, published: bool) -> Example:
    """Example from a published row."""
    return Example(
        id=row["unique_id"],
        task="",
        prompt=row["problem"].strip(),
        answer=row["answer"],
        answer_type=None,
        category=row["subject"],
        meta={"level": str(row["level"])},
    )


BENCHMARK = Benchmark(
    repo="HuggingFaceH4/MATH-500",
    revision="ff5b20257d8185524591543f8ff5993951537bb8",
    files={"test": "test.jsonl"},
    rows={"test": 500},
    example=example,
    grading=choice_or("latex"),
    has_image=False,
)
