"""What can become of a response."""

from __future__ import annotations

from dataclasses import dataclass

# Right; read, and not the gold answer; the model says that it cannot answer; never made, or no rule can read it.
RIGHT, WRONG, ABSTAINED, UNGRADED = VERDICTS = ("right", "wrong", "abstained", "ungraded")


@dataclass(frozen=True)
class Grade:
    """The verdict on a response, the answer it was read from (None: none was found), and why it is no plain right or wrong."""

    verdict: str
    extracted: str | None
    reason: str = ""
