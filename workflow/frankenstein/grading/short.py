"""Grading short answers from the text of the final answer: the mini study's tasks and the probes (paper, Appendix D)."""

from __future__ import annotations

import re

from . import numbers
from .boxes import box, iou
from .extraction import PROSE, Answer, final_answer, same_text, sentences
from .numbers import number
from .outcome import RIGHT, UNGRADED, WRONG, Grade
from .reading import with_abstention

_FORMAT = re.compile(
    r"\s*<think>(?:(?!</?think>|</?answer>).)+</think>\s*<answer>(?:(?!</?think>|</?answer>).)+</answer>\s*", re.S
)
_NO = re.compile(
    r"\bthere(?: is|'s|’s| are)(?: no\b|n['’]t| not)|\bthere (?:isn|aren)['’]t\b|\b(?:does|do|did)(?: not|n['’]t) (?:contain|show|have|see|appear|include|depict)\b"
    r"|\bcannot see (?:an?|any)\b|\bcan['’]?t see (?:an?|any)\b|\b(?:is|are)(?: not|n['’]t) (?:\w+ )?(?:present|visible|shown|there|in|any|an?)\b|\babsent\b"
    r"|^no \w+(?: \w+)? (?:is|are|can)\b|没有|不是|不存在",
    re.I,
)
_YES = re.compile(
    r"\bthere(?: is|'s|’s| are)\b|\b(?:i|we) (?:can )?see\b|\b(?:contains?|shows?|has|have|depicts?|includes?)\b|\b(?:is|are) (?:\w+ )?(?:present|visible|shown)\b|有",
    re.I,
)


def well_formed(response: str) -> bool:
    """Whether the response is exactly <think>...</think><answer>...</answer>."""
    return _FORMAT.fullmatch(response) is not None


def yes_or_no(text: str) -> str | None:
    """ "yes" or "no" from a text answering whether something is present: by its first word, or "There is no dog."; else None."""
    words = re.findall(r"\b(?:yes|no|yeah|nope)\b(?! \w+ (?:is|are|can|in)\b)", same_text(text))
    first = re.match(r"(yes|no)\b", same_text(text))
    if first and not _NO.match(text.strip()):
        return first[1]
    if re.match(r"(?:是|有的|存在|对)(?:的)?[，。,. ]|是$|有$", text.strip()):
        return "yes"
    if _NO.search(text):
        return "no"
    if _YES.search(text):
        return "yes"
    return words[-1] if len(set(words)) == 1 and words[-1] in ("yes", "no") else None


def equal(answer: str, gold: str, answer_type: str | None) -> bool:
    """Whether an answer's text equals the gold answer: numbers exactly, boxes at IoU > 0.5, anything else as text."""
    if answer_type == "number":
        value = number(answer)
        return value is not None and value == number(gold)
    if answer_type == "box":
        found = box(answer)
        return found is not None and iou(found, box(gold)) > 0.5
    return same_text(answer) == same_text(gold)


def text_of(answer: Answer, answer_type: str | None, gold: str = "") -> str | None:
    """The value of the given type (number, box, text; yes or no if `gold` is one) named by an answer, as text; None if none."""
    if answer.text is None:
        return None
    if answer_type == "number":
        said = numbers.of(answer)
        return said if said is not None and number(said) is not None else None
    if answer_type == "box":
        found = box(answer.text)
        return None if found is None else ",".join(f"{value:g}" for value in found)
    if same_text(gold) in ("yes", "no"):
        return yes_or_no(answer.text)
    text = answer.text
    if answer.mark == PROSE and len(parts := sentences(text)) == 1:
        # "The word is CAT." names a word, and so does "It says "CAT"."
        named = re.search(
            r"\b(?:word|text|it|answer|image|sign|letters?)\b[^:\"“]*?(?:\b(?:is|says?|reads?|shows?|are|spells?)\b|:)(?: the (?:word|text|letters?))?[ :]*[\"“'*]*([^\"”'*]+?)[\"”'*]*\.?$",
            parts[0],
            re.I,
        )
        text = named[1] if named else text
    return text.strip() or None


def grade(response: str | None, gold: str, answer_type: str | None, truncated: bool = False) -> Grade:
    """The verdict on a response; None is a missing response."""
    if response is None:
        return Grade(UNGRADED, None, "no response")
    answer = final_answer(response, truncated)
    if answer.text is None:
        return Grade(WRONG, None, answer.reason)

    def read(answer: Answer) -> Grade:
        said = text_of(answer, answer_type, gold)
        if said is None:
            return Grade(
                WRONG, answer.text[:200], f"names no {answer_type if answer_type in ('number', 'box') else 'answer'}"
            )
        return Grade(RIGHT if equal(said, gold, answer_type) else WRONG, said)

    return with_abstention(answer, read, [gold])
