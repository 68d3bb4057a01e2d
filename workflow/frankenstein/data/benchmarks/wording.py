"""How questions and their choices are worded (paper, Appendix C)."""

from __future__ import annotations

import re


def lettered(choices: list[str]) -> str:
    """A line per choice: (A) ..."""
    return "".join(f"\n({chr(ord('A') + at)}) {choice}" for at, choice in enumerate(choices))


def ask(question: str, choices: list[str] | None) -> str:
    """The question with its choices lettered (paper, Appendix C)."""
    return question + (f"\nChoices:{lettered(choices)}" if choices else "")


def choices_in(text: str, mark: str) -> list[str] | None:
    """The choices that a text lists behind its letters; None unless these are A, B, C ... and none is empty (a picture)."""
    _, *parts = re.split(rf"(?<![\w]){mark}", text)
    letters, choices = parts[::2], [part.strip(" \n;,.") for part in parts[1::2]]
    whole = letters == [chr(ord("A") + at) for at in range(len(letters))] and len(letters) > 1
    return choices if whole and all(choices) and len(set(choices)) == len(choices) else None


def listed(value) -> list | None:
    """A column of lists as a list, whatever the file's reader makes of it."""
    return None if value is None else list(value)
