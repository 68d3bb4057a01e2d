"""Possible outcomes of grading a response."""

from __future__ import annotations

from dataclasses import dataclass

# Correct; read but not equal to the gold answer; the model says it cannot answer; no response, or no rule can read it.
RIGHT, WRONG, ABSTAINED, UNGRADED = VERDICTS = ("right", "wrong", "abstained", "ungraded")


@dataclass(frozen=True)
class Grade:
    """The verdict on a response, the extracted answer (None if none was found), and a reason unless simply right or wrong."""

    verdict: str
    extracted: str | None
    reason: str = ""
