"""GSM8K (Cobbe et al. 2021): word problems as text."""

from __future__ import annotations

from ...core.errors import InputError
from ..tasks import Example
from .benchmark import Benchmark, choice_or


def example(row: dict, published: bool) -> Example:
    """Example from a published row."""
    _, mark, answer = row["answer"].rpartition("####")
    if not mark:
        raise InputError("the answer has no ####")
    return Example(
        id=str(row["id"]), task="", prompt=row["question"].strip(), answer=answer.strip(), answer_type="number"
    )


BENCHMARK = Benchmark(
    repo="openai/gsm8k",
    revision="e53f048856ff4f594e959d75785d2c2d37b678ee",
    files={"test": "main/test-*.parquet"},
    rows={"test": 1319},
    example=example,
    grading=choice_or("number"),
    has_image=False,
)
