"""MathVerse (Zhang et al. 2024): each problem in five versions, from text-dominant to vision-only."""

from __future__ import annotations

import re

from ..tasks import Example
from .benchmark import Benchmark, has_choices
from .wording import choices_in

# Prompt for questions contained in the image (Vision Only).
_IN_IMAGE = "Answer the question in the image."


def example(row: dict, published: bool) -> Example:
    """Example from a published row."""
    question = (row["question"] or "").strip()
    # For questions contained in the image, the text is published separately for graders.
    stated = row.get("question_for_eval") or question
    choices = choices_in(stated.partition("Choices:")[2], r"([A-H])\s?[:.]")
    kind = row["question_type"].replace("-", "_")
    meta = row["metadata"] or {}
    return Example(
        id=str(row["sample_index"]),
        task="",
        prompt=row["query_cot"] if published else question or _IN_IMAGE,
        answer=str(row["answer"]),
        answer_type=None,
        image=row["image"] or None,
        choices=choices if kind == "multi_choice" else None,
        category=row["problem_version"],
        question_type=kind,
        meta={"problem": str(row["problem_index"])}
        | {key: meta[key] for key in ("subject", "subfield") if key in meta},
    )


def grading(record: dict) -> str:
    """Rule: "choice" or "latex"; without a question_type, a letter is taken to be a choice."""
    letter = not record.get("question_type") and re.fullmatch("[A-G]", str(record["answer"]))
    return "choice" if letter or has_choices(record) else "latex"


BENCHMARK = Benchmark(
    repo="AI4Math/MathVerse",
    revision="268dfc55b62296be3bdf6406d6dea07bd06a7d64",
    files={"testmini": "testmini.parquet"},
    rows={"testmini": 3940},
    example=example,
    grading=grading,
)
