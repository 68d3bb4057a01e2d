"""MathVista (Lu et al. 2024): choices, integers, floats and lists about images."""

from __future__ import annotations

from ..tasks import Example
from .benchmark import Benchmark, choice_or
from .wording import ask, lettered, listed


def _hint(row: dict) -> str:
    """MathVista's hint on the expected answer format."""
    kind, places = row["answer_type"], row.get("precision")
    if row["question_type"] == "multi_choice":
        return "answer the question and provide the correct option letter, e.g., A, B, C, D, at the end."
    if kind == "integer":
        return "answer the question requiring an integer answer and provide the final value, e.g., 1, 2, 3, at the end."
    if kind == "float":
        many, examples = (
            ("one decimal place", "1.2, 1.3, 1.4") if places == 1 else ("two decimal places", "1.23, 1.34, 1.45")
        )
        return (
            f"answer the question requiring a floating-point number with {many} and provide the final value, "
            f"e.g., {examples}, at the end."
        )
    return (
        "answer the question requiring a Python list as an answer and provide the final list, "
        "e.g., [1, 2, 3], [1.2, 1.3, 1.4], at the end."
    )


def example(row: dict, published: bool) -> Example:
    """Example from a published row."""
    choices = listed(row["choices"])
    question = row["question"].strip()
    if published:
        unit = f" (Unit: {row['unit']})" if row.get("unit") else ""
        query = f"Hint: Please {_hint(row)}\nQuestion: {question}{unit}" + (
            f"\nChoices:{lettered(choices)}" if choices else ""
        )
        prompt = row.get("query") or query
    else:
        prompt = ask(question, choices)
    meta = row["metadata"]
    return Example(
        id=str(row["pid"]),
        task="",
        prompt=prompt,
        answer=str(row["answer"]),
        answer_type=row["answer_type"],
        image=row.get("decoded_image") or row["image"],
        choices=choices,
        category=meta["category"],
        question_type=row["question_type"],
        precision=None if row["precision"] is None else int(row["precision"]),
        unit=row["unit"],
        meta={key: meta[key] for key in ("task", "context", "source", "language", "grade") if key in meta},
    )


BENCHMARK = Benchmark(
    repo="AI4Math/MathVista",
    revision="2b6ad69445fbb5695c9b165475e8decdbeb97747",
    files={"testmini": "data/testmini-*.parquet"},
    rows={"testmini": 1000, "general-vqa": 460, "math-targeted-vqa": 540},
    example=example,
    grading=choice_or("typed"),
)
