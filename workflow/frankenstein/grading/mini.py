"""From a response to a verdict: pure functions, no model, never eval.

Three outcomes: right, wrong, ungraded. An answer that is not there is wrong; only a response
that was never made is ungraded.
"""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation

from .outcome import RIGHT, UNGRADED, WRONG, Grade

_NUMBER = re.compile(r"[+-]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|[+-]?\.\d+")
_FORMAT = re.compile(
    r"\s*<think>(?:(?!</?think>|</?answer>).)+</think>\s*<answer>(?:(?!</?think>|</?answer>).)+</answer>\s*", re.S
)


def well_formed(response: str) -> bool:
    """Whether the response is <think>...</think><answer>...</answer> and nothing else."""
    return _FORMAT.fullmatch(response) is not None


def extract(response: str) -> str | None:
    r"""The answer that a response gives, untouched: the last <answer>, the last \boxed{}, or the whole.

    None where the response thinks but never answers.
    """
    answers = re.findall(r"<answer>(.*?)</answer>", response, re.S)
    if answers:
        return answers[-1].strip()
    start = response.rfind(r"\boxed{")
    if start >= 0:
        depth = 0
        for i in range(start + len(r"\boxed"), len(response)):
            depth += {"{": 1, "}": -1}.get(response[i], 0)
            if depth == 0:
                return response[start + len(r"\boxed{") : i].strip()
        return None
    if "<think>" in response or "<answer>" in response:
        return None
    return response.strip() or None


def number(text: str) -> Decimal | None:
    """The text as one number ("1,234", "-3", "0.50"), None where it is anything else."""
    text = text.strip().rstrip(".")
    if not _NUMBER.fullmatch(text):
        return None
    try:
        return Decimal(text.replace(",", ""))
    except InvalidOperation:
        return None


def box(text: str) -> tuple[float, float, float, float] | None:
    """Four numbers x1,y1,x2,y2 (brackets allowed) with x1 < x2 and y1 < y2, in pixels; None otherwise."""
    parts = text.strip().strip("()[]").split(",")
    values = [number(part) for part in parts]
    if len(values) != 4 or None in values:
        return None
    x1, y1, x2, y2 = map(float, values)
    return (x1, y1, x2, y2) if x1 < x2 and y1 < y2 else None


def iou(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    """Intersection over union of two boxes x1,y1,x2,y2."""
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    shared = width * height
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def plain(text: str) -> str:
    """Text for comparison: lower case, single spaces, no full stop at the end."""
    return " ".join(text.lower().split()).rstrip(".")


def equal(answer: str, gold: str, answer_type: str) -> bool:
    """Whether an extracted answer equals the gold one: numbers exactly, boxes at IoU > 0.5, else as text."""
    if answer_type == "number":
        value = number(answer)
        return value is not None and value == number(gold)
    if answer_type == "box":
        found = box(answer)
        return found is not None and iou(found, box(gold)) > 0.5
    return plain(answer) == plain(gold)


def grade(response: str | None, gold: str, answer_type: str) -> Grade:
    """The verdict on a response; None stands for a response that was never made."""
    if response is None:
        return Grade(UNGRADED, None, "no response")
    answer = extract(response)
    if answer is None:
        return Grade(WRONG, None, "no answer in the response")
    return Grade(RIGHT if equal(answer, gold, answer_type) else WRONG, answer)
