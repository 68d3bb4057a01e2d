"""LogicVista (Xiao et al. 2024): reasoning about images, one or several letters."""

from __future__ import annotations

import re

from ..tasks import Example
from .benchmark import Benchmark
from .wording import choices_in, listed


def example(row: dict, published: bool) -> Example:
    """A published row."""
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
        choices=choices if one else None,  # they stand in the question, and are for the grader
        category=", ".join(skills or []),
        question_type="multi_choice" if one else "letters",
    )


def grading(record: dict) -> str:
    """The one choice where these are known, else the set of letters."""
    return "choice" if record.get("choices") or record.get("options") else "letters"


BENCHMARK = Benchmark(
    # Its own place is github.com/Yijia-Xiao/LogicVista (data/); of the mirror on the Hub no revision is known to us.
    repo="lscpku/LogicVista",
    revision=None,
    files={"test": "data/test-*.parquet"},
    rows={"test": 448},
    example=example,
    grading=grading,
)
