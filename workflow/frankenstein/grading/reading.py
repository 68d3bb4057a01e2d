"""Grading a final answer, or recognizing it as an abstention."""

from __future__ import annotations

import re

from . import abstention, extraction
from .extraction import PROSE, Answer, same_text
from .numbers import number
from .outcome import ABSTAINED, UNGRADED, Grade

_LONGEST = 1000  # maximum characters of an answer quoted in a verdict
# Words after which an answer may follow even though the text said it cannot tell.
_GUESS = re.compile(
    r"\b(?:guess|assum\w+|however|but|still|nonetheless|nevertheless|based on|likely|probably|typically|(?:answer|it|value) (?:would|must) be|judging by|going by|according to|i(?:'d| would))\b|=|"
    r"\b(?:therefore|thus|hence|in conclusion)\b",
    re.I,
)


def with_abstention(answer: Answer, read, known: list[str]):
    """Apply `read` to an answer unless it is an abstention; an answer in the words of a choice always counts as that choice.

    If a response marks no answer and says somewhere that it cannot tell, only a guess that follows is read; without
    one, it is an abstention.
    """
    said = answer.text
    if same_text(said) in {same_text(text) for text in known if text}:
        return read(answer)
    if answer.mark != PROSE:
        return Grade(ABSTAINED, said[:_LONGEST]) if abstention.abstains(said) else read(answer)
    if abstention.abstains(said) or abstention.unable(said):
        rest = _after(said)
        if rest is None:
            return Grade(ABSTAINED, said[:_LONGEST])
        made = read(Answer(rest, PROSE, answer.body))
        if not isinstance(made, Grade) or (made.verdict != UNGRADED and made.extracted is not None):
            return made
        return Grade(ABSTAINED, said[:_LONGEST])
    return read(answer)


def _after(text: str) -> str | None:
    """The text after its last statement that it cannot tell, if that is an answer or phrased as a guess."""
    parts = [
        part for sentence in extraction.sentences(text) for part in re.split(r"[,;]\s+(?=but\b|however\b)", sentence)
    ]
    at = max((at for at, part in enumerate(parts) if abstention.abstains(part)), default=len(parts) - 1)
    rest = parts[at + 1 :]
    if not rest:
        return None
    alone = number(rest[-1]) is not None or re.fullmatch(r"\W*(?:[A-I]|yes|no)\W*(?:\w+\W*)?", rest[-1], re.I)
    if alone:
        return rest[-1]
    return "\n".join(rest) if _GUESS.search(" ".join(rest)) else None
