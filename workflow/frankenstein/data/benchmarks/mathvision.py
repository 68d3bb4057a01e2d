"""MathVision (Wang et al. 2024): competition problems with a figure."""

from __future__ import annotations

import re

from ..tasks import Example
from .benchmark import Benchmark, choice_or
from .wording import ask, listed


def example(row: dict, published: bool) -> Example:
    """Example from a published row."""
    # A single picture contains everything the text calls <image1>, <image2>, ...; a lone marker carries no information.
    texts = [row["question"], *map(str, listed(row["options"]) or [])]
    several = len(set(re.findall(r"<image\d+>", " ".join(texts)))) > 1
    question, *choices = (re.sub(r"<image(\d+)>", r"image \1" if several else "", text).strip() for text in texts)
    return Example(
        id=str(row["id"]),
        task="",
        prompt=ask(question, choices),
        answer=str(row["answer"]),
        answer_type=None,
        image=row.get("decoded_image") or row["image"],
        choices=choices or None,
        category=row["subject"],
        question_type="multi_choice" if choices else "free_form",
        meta={"level": str(row["level"])},
    )


BENCHMARK = Benchmark(
    repo="MathLLMs/MathVision",
    revision="0c681f39d3dacd336abf62ceb833e40320c8599f",
    files={"test": "data/test-*.parquet", "testmini": "data/testmini-*.parquet"},
    rows={"test": 3040, "testmini": 304},
    example=example,
    grading=choice_or("latex"),
)
