"""Wording of questions and their choices (paper, Appendix C)."""

from __future__ import annotations

import re


def lettered(choices: list[str]) -> str:
    """One line per choice: (A) ..."""
    return "".join(f"\n({chr(ord('A') + at)}) {choice}" for at, choice in enumerate(choices))


def ask(question: str, choices: list[str] | None) -> str:
    """The question followed by its lettered choices (paper, Appendix C)."""
    return question + (f"\nChoices:{lettered(choices)}" if choices else "")


def choices_in(text: str, mark: str) -> list[str] | None:
    """Lettered choices listed in a text; None unless the letters run A, B, C, ... and no choice is empty (a picture)."""
    _, *parts = re.split(rf"(?<![\w]){mark}", text)
    letters, choices = parts[::2], [part.strip(" \n;,.") for part in parts[1::2]]
    whole = letters == [chr(ord("A") + at) for at in range(len(letters))] and len(letters) > 1
    return choices if whole and all(choices) and len(set(choices)) == len(choices) else None


def listed(value) -> list | None:
    """A list-valued cell as a list, whatever type the file reader returns."""
    return None if value is None else list(value)
