"""LogicVista (Xiao et al. 2024): reasoning about images, answered by one or more letters."""

from __future__ import annotations

import re

from ..tasks import Example
from .benchmark import Benchmark
from .wording import choices_in, listed


def example(row: dict, published: bool) -> Example:
    """Example from a published row."""
    question, answer = row["question"].strip(), str(row["answer"]).strip()
    skills = [row["skill"]] if isinstance(row["skill"], str) else listed(row["skill"])
    choices = choices_in(question, r"\(([A-I])\)") or []
    one = re.fullmatch("[A-I]", answer) is not None and ord(answer) - ord("A") < len(choices)
    return Example(
        id=str(row["id"]),
        task="",
        prompt=question,
        answer=answer,
        answer_type=None,
        image=row["image"] if "image" in row else f"images/{row['imagename']}",
        choices=choices if one else None,  # already part of the question; for the grader only
        category=", ".join(skills or []),
        question_type="multi_choice" if one else "letters",
    )


def grading(record: dict) -> str:
    """Rule: "choice" if the choices are known, otherwise "letters" (a set of letters)."""
    return "choice" if record.get("choices") or record.get("options") else "letters"


BENCHMARK = Benchmark(
    # Originally published at github.com/Yijia-Xiao/LogicVista (data/); we know no revision of this Hub mirror.
    repo="lscpku/LogicVista",
    revision=None,
    files={"test": "data/test-*.parquet"},
    rows={"test": 448},
    example=example,
    grading=grading,
)
