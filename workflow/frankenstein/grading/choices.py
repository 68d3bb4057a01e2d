"""Multiple choice: which choice an answer names, by letter, words, number or formula."""

from __future__ import annotations

import re

from . import abstention, extraction
from .extraction import PROSE, Answer, bare, corrected, same_text, sentences, without_text
from .latex import plain_latex
from .numbers import number, numbers

_LONG = 1000  # trailing characters of a sentence, and trailing sentences of a response, that are examined
_PARTS = 50
# Readable but not one of the choices: a number when all choices are numbers, a letter beyond them, several at once.
OTHER = -1

_NEGATED = re.compile(
    r"\b(?:incorrect|wrong|not (?:the )?(?:correct|right|an? option|true|possible)|eliminated?|ruled out|rules? out)\b"
    r"|\b(?:[A-I]\)?|it|this|option|choice)\s+(?:is false|is not|isn['’]t|cannot be|can['’]t be)\b"
)
# "B is wrong", "it isn't A", "not option C".
_RULED_OUT = re.compile(
    r"(?:\b(?:option|choice|figure|answer)\s+)?[(（]?\b[A-I]\b[)）]?\s+(?:(?:is|are|was|were|does|do|did|can|could|would|has|have)\s*)?"
    r"(?:n['’]t|not|incorrect|wrong|false|invalid|impossible|eliminated|ruled out|doesn['’]t|isn['’]t|can['’]t|cannot)\b"
    r"|\b(?:isn['’]t|is not|not|neither|nor|eliminates?|rules? out|ruling out|excludes?|than)\s+(?:the )?(?:option|choice|figure)?\s*[(（]?\b[A-I]\b[)）]?"
    r"|\b[Ii]f\s+(?:option |choice )?[A-I]\b",
)
_SO = re.compile(r"[,;.]\s+(?:so|therefore|thus|hence|which (?:leaves|makes))\b,?\s*|[，。](?:因此|所以|故)", re.I)
_DENIED = re.compile(r"(?:\bnot|\bno|\bneither|\bnor|n't|\bwithout|\brather than|\binstead of)\s+(?:\w+\s+)?$")
CONCLUDES = re.compile(
    r"\b(?:therefore|thus|hence|so|in conclusion|overall|this means|finally|consequently)\b|因此|所以|故|综上", re.I
)
_WHY = re.compile(
    r"[,;.]?\s+(?:since|because|as|where|given that|while|whereas|rather than|instead of|not)\b|因为", re.I
)


def _letter(text: str, last: str) -> int | None:
    r"""The option a text names if it is a bare letter: B, (B), b., \text{(B)}, [B], option B."""
    found = re.fullmatch(
        rf"(?:(?:option|choice|answer|figure|选项?|answer choice)\s*)?[(（\[]?\s*([A-{last}a-{last.lower()}])\s*[)）\]]?[.:,)。]*",
        text,
        re.I,
    )
    return ord(found[1].upper()) - ord("A") if found else None


def letters_named(text: str, options: int) -> list[int]:
    """0-based options that a text names by letter, distinct and in order: (B), B., B) 40, option B, A and B.

    Excludes options the text rules out, the article "A" and the pronoun "I".
    """
    last = chr(ord("A") + options - 1)
    text = without_text(bare(text)).strip()
    text = re.sub(r"\$|\\[()\[\]]", "", text).strip()
    if (alone := _letter(text, last)) is not None:
        return [alone]
    upper = rf"[A-{last}]"
    joined = rf"[(（]?({upper})[)）]?"
    several = rf"{joined}(?:(?:\s*(?:,|;|/|&|\+|、|和|与|\band\b|\bor\b))+\s*{joined})+"
    if re.fullmatch(rf"{several}[.。]?", text):
        return _distinct(re.findall(upper, text))
    head = re.match(
        rf"[(（]?({upper})(?:[)）]|[.:：](?!\w)|[,，](?!\s*[(（]?{upper}\b)|\s+[-–—=]|\s*[(（])", text
    ) or re.match(rf"[(（]?({upper})[)）]?\s*(?:[.:：]|$|\n|[,.;]?\s+(?:because|since|as|is|for)\b)", text)
    if head and not _NEGATED.match(text[head.end() :].strip()[:12]):
        return _distinct([head[1]])
    text = _RULED_OUT.sub(" ", text)
    text = _WHY.split(text, maxsplit=1)[0] or text
    if listed := re.search(rf"(?<![\w']){several}(?![\w'])", text):
        return _distinct(re.findall(upper, listed[0]))
    found = re.findall(
        rf"(?:\b(?i:option|choice|answer|alternative|figure|shape|candidate|image|picture|piece|diagram|panel|pattern)|选项?|答案|图形?|填入?)s?\s*(?:is|are|:|：|是|为)?\s*[(（]?({upper}|(?<=(?i:option) )[a-{last.lower()}]|(?<=(?i:choice) )[a-{last.lower()}])(?![A-Za-z'’])"
        rf"|^\W*(?i:so|therefore|thus|hence|only),?\s+({upper})\s+(?=\w)|\bmakes ({upper}) "
        rf"|(?<![A-Za-z])[(（](?:({upper})|({upper.lower()}))[)）]"
        rf"|\b(?i:so|is|be|choose|select|pick|think|guess|say|with|to|it's|therefore|thus|hence|clearly|likely|actually|leaves?|makes?|选|是)\s*[(（]?({upper})[)）]?(?=\s*(?:[.,;:)。，]|$|\n))",
        text,
    )
    return _distinct([next(filter(None, groups)) for groups in found])


def _distinct(letters: list[str]) -> list[int]:
    return list(dict.fromkeys(ord(letter.upper()) - ord("A") for letter in letters))


def of_text(text: str, choices: list[str]) -> int | None:
    """0-based choice named by a short text; OTHER if it names something else or several; None if no rule can read it."""
    *_, concluded = _SO.split(text)
    attempts = corrected(text)
    if concluded.strip() and concluded != text:
        attempts.insert(len(attempts) - 1, concluded)
    for attempt in attempts[:-1]:
        if (found := _of_text(attempt, choices)) not in (None, OTHER):
            return found
    return _of_text(text, choices)


def _of_text(text: str, choices: list[str]) -> int | None:
    text = text[-_LONG:]
    plain = [same_text(choice) for choice in choices]
    wanted = same_text(text)
    letter = re.fullmatch(r"\W*([A-I])\W*", without_text(text)) if len(text) < 40 else None
    position = ord(letter[1]) - ord("A") if letter else len(choices)
    # A capital letter refers to the list position, unless the choices themselves are letters of this case.
    if position < len(choices) and letter[1] not in [choice.strip(" ().") for choice in choices]:
        return position
    if wanted and plain.count(wanted) == 1:
        return plain.index(wanted)
    letters = letters_named(text, len(choices))
    if len(letters) == 1:
        return letters[0]
    if len(letters) > 1 or letters_named(text, 8):
        return OTHER
    formulas = [plain_latex(choice) for choice in choices]
    if formulas.count(plain_latex(text)) == 1:
        return formulas.index(plain_latex(text))
    values = [number(choice) for choice in choices]
    if (value := number(text)) is not None:
        if value in values:
            return values.index(value)
        return OTHER if any(found is not None for found in values) else None
    if all(value is not None for value in values):
        return _numeric(text, values)
    if (
        "=" in text
        and (right := re.split(r"=|≈", text)[-1].strip())
        and (found := _of_text(right, choices)) is not None
    ):
        return found
    if (
        any(value is not None for value in values)
        and not re.search(r"[A-Za-z]{3,}", re.sub(r"\\[A-Za-z]+", "", text))
        and re.search(r"\d", text)
    ):
        return OTHER  # a formula among formulas
    return None if all(len(words) == 1 for words in plain) else _within(wanted, plain)


def _numeric(text: str, values: list) -> int | None:
    """Among numeric choices, the last one that the text names."""
    named = [number(found) for found in numbers(text)]
    if len(set(named)) > 1 and re.search(r"\b(?:and|or)\b|,", text) and not re.search(r"=|\b(?:is|so|are)\b", text):
        return OTHER
    for value in reversed(named):
        if value in values:
            return values.index(value)
    return OTHER if re.search(r"\d", text) else None


def _within(wanted: str, plain: list[str]) -> int | None:
    """The single choice whose words occur in a text, searching the clause before any stated reason first."""
    head = _WHY.split(wanted, maxsplit=1)[0]
    for part in (head, wanted):
        found: dict[int, tuple[int, int]] = {}
        for at, words in enumerate(plain):
            for match in re.finditer(rf"(?<![\w.,√]){re.escape(words)}(?!\w|[.,:]\d|\s*[√^])", part) if words else ():
                if not _DENIED.search(part[: match.start()]) and (words not in ("yes", "no") or _alone(part, match)):
                    found[at] = match.span()
                    break
        # A choice contained in a longer matching choice does not count: "less" in "less than".
        whole = [
            at
            for at, (start, end) in found.items()
            if not any(o != at and s <= start and end <= e and e - s > end - start for o, (s, e) in found.items())
        ]
        if len(whole) == 1:
            return whole[0]
        if len(whole) > 1:
            return OTHER
    return None


def _alone(text: str, match: re.Match) -> bool:
    """Whether a yes or no begins or ends a clause, since "no" is a common word."""
    begins = re.search(r"(?:^|[.:,;!])\s*\W?$", text[: match.start()])
    return bool(begins or re.match(r"\W*$|\s*[,;:]", text[match.end() :]))


def of(answer: Answer, choices: list[str]) -> tuple[int | None, str | None]:
    """(choice named by a final answer, the text naming it); OTHER and None as in of_text."""
    text = answer.text
    if answer.mark != PROSE:
        if (found := of_text(text, choices)) not in (None, OTHER):
            return found, text
        parts = [part for part in sentences(text)[-_PARTS:] if not _NEGATED.search(part)]
        if len(parts) > 1:
            for part in (*reversed([part for part in parts if CONCLUDES.search(part)]), parts[-1], parts[0]):
                if (inner := of_text(part, choices)) not in (None, OTHER):
                    return inner, part
        # A boxed expression may be an intermediate step: an explicitly stated letter takes precedence.
        for stated in extraction.statements(answer.body):
            if not _NEGATED.search(stated) and len(letters := letters_named(stated, len(choices))) == 1:
                return letters[0], stated
        return found, text
    for attempt in corrected(text)[:-1]:
        if len(attempt) < 200 and (found := of_text(attempt, choices)) not in (None, OTHER):
            return found, attempt
    found = of_text(text, choices) if len(sentences(text)) == 1 else None
    if found is not None:
        return found, text
    parts = [part for part in sentences(text) if not _NEGATED.search(part) and not abstention.unable(part)]
    parts = [part[-_LONG:] for part in [*parts[:1], *parts[1:][-_PARTS:]]]
    parts = [part for part in parts if not _lists(part, len(choices))]
    order = [*reversed([part for part in parts if CONCLUDES.search(part)]), *parts[:1], *reversed(parts)]
    other: tuple[int | None, str | None] = (None, None)
    for part in order:
        if len(letters := letters_named(part, len(choices))) == 1:
            return letters[0], part
    for part in order:
        found = of_text(part, choices)
        if found is not None and found != OTHER:
            return found, part
        if found == OTHER and other[0] is None:
            other = (OTHER, part)
    return other


def _lists(part: str, options: int) -> bool:
    """Whether a line merely lists choices: "Choices:", or several letters at once."""
    return re.match(r"\W*(?:choices|options)\b", part, re.I) is not None or len(letters_named(part, options)) > 1


def letter_set(text: str, options: int = 9) -> set[str]:
    """All letters that a text names as its answer: "A and B", "AC", "(A), (C)"."""
    text = without_text(bare(text))
    last = chr(ord("A") + options - 1)
    *_, concluded = _SO.split(text)
    if concluded != text and (found := letter_set(concluded, options)):
        return found
    if re.fullmatch(rf"[A-{last}]{{1,9}}|[a-{last.lower()}]", text.strip()) and len(set(text.strip())) == len(
        text.strip()
    ):
        return set(text.strip().upper())
    if found := letters_named(text, options):
        return {chr(ord("A") + at) for at in found}
    # An answer letter, unlike the article "A", is followed by punctuation, "&" or nothing.
    return set(re.findall(rf"(?<![\w'])([A-{last}])(?=\s*(?:[.,:;)&/]|$))", text))
