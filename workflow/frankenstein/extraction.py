"""The answer that a response gives, as text: rules in order, no model, never eval."""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from fractions import Fraction

_LIMIT = 50  # digits of a number that anybody means
_FENCE = re.compile(r"```.*?```", re.S)
_TAG = re.compile(r"<answer>(.*?)(?:</answer>|\Z)", re.S | re.I)
# What an assistant says beside the answer.
_POLITE = re.compile(
    r"(?:sure[,.! ]|i hope|hope this|let me know|do you have|is there anything|feel free|i can help|please note)", re.I
)
# "the answer is", "final answer:", "A: 18", "#### 18"; what follows on that line is the answer.
_STATED = re.compile(
    r"(?:\b(?:final|correct|right|best|closest|possible)?\s*(?:answer|option|choice)\s*"
    r"(?:to [^.:\n]{0,80}?|for [^.:\n]{0,80}?|here|would|should|must|will)?\s*(?:is|=|be|:)+(?!\s*(?:in)?correct\b)"
    r"|^\s*(?:\*\*)?(?:final\s+)?(?:answer|ans|a)\s*:|####)[ \t]*:?[ \t]*(?P<rest>[^\n]*(?:\n+[ \t]*(?=\$|\\|\*\*|\()[^\n]*)?)",
    re.I | re.M,
)
_CONCLUDES = re.compile(r"\b(?:therefore|thus|hence|so|in conclusion|in total|altogether|this means|finally)\b", re.I)
_SENTENCE = re.compile(r"(?<=[.!?])(?:\*\*)?\s+(?=[A-Z(*\\$\"'“])|\n+")
_STEP = re.compile(r"(?:step\s*)?\d+\s*[.:)]|let|first|we\b|to find", re.I)
_NEGATED = re.compile(
    r"\b(?:incorrect|wrong|not (?:the )?(?:correct|right|an? option|true)|cannot be|can't be|isn't|is not)\b", re.I
)

_NUMBER = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+"
# Not within a word or another number: not the 1 of Q1a, nor the 4 of 3.14.
_ALONE = re.compile(
    rf"(?<![\w.,/^])(?<!\w-)[-−–]?\$?(?:{_NUMBER})(?:\s*/\s*\d+(?![\w.]))?(?![\d]|[A-Za-z]*\d|,\d|\.\d)"
)
_WORDS = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
    "twenty",
]
_WORD = re.compile(r"\b(?:" + "|".join(_WORDS) + r")\b", re.I)


def tagged(response: str) -> str | None:
    """Inside the last <answer>."""
    found = _TAG.findall(response)
    return found[-1].strip() if found else None


def boxed(response: str) -> str | None:
    r"""Inside the last \boxed{} or \fbox{}, braces nested; \boxed 5 too. None where there is none, or it is not closed."""
    start = max(response.rfind(r"\boxed"), response.rfind(r"\fbox"))
    if start < 0:
        return None
    rest = response[start:].split("boxed" if response.startswith(r"\boxed", start) else "fbox", 1)[1].lstrip()
    if not rest.startswith("{"):
        return rest.split()[0].strip("$.") if rest.split() else None
    depth = 0
    for at, letter in enumerate(rest):
        depth += {"{": 1, "}": -1}.get(letter, 0)
        if depth == 0:
            return rest[1:at].strip()
    return None


def thinks_without_answer(response: str) -> bool:
    """Whether a response thinks in tags and ends before it answers."""
    _, closed, tail = response.rpartition("</think>")
    return ("<think>" in response and not closed) or (bool(closed) and not tail.strip() and tagged(response) is None)


def final_part(response: str) -> str:
    """A response without its <think>...</think>."""
    return response.rpartition("</think>")[2]


def bare(text: str) -> str:
    """Text without markdown and without the dollars around LaTeX."""
    text = re.sub(r"(?<![\w)])\*\*|\*\*(?![\w(])|__|`", "", text).strip()  # but 9**9
    return re.sub(r"^\$+(.*?)\$+$", r"\1", text, flags=re.S).strip()


def stated(response: str) -> list[str]:
    """What follows "the answer is" and the like, in order, each to the end of its line."""
    return [bare(match["rest"]) for match in _STATED.finditer(response) if match["rest"].strip(" *")]


def sentences(response: str) -> list[str]:
    """Sentences and lines, without code blocks and without politeness."""
    text = _FENCE.sub(" ", response)
    found = [bare(part) for part in _SENTENCE.split(text)]
    kept = [part for part in found if part and not _POLITE.match(part)]
    return kept or [part for part in found if part] or [bare(response)]


def conclusions(response: str) -> list[str]:
    """Sentences that conclude, in order."""
    return [part for part in sentences(response) if _CONCLUDES.search(part)]


def plain_latex(text: str) -> str:
    """LaTeX without what does not change its meaning: spaces, sizes, dollars, \\text, units of degree, a full stop."""
    text = bare(text).strip(".")
    text = re.sub(r"\\(?:left|right|big|Big|bigg|Bigg|displaystyle|limits)(?![A-Za-z])|\\[!,;: ]|~", "", text)
    text = re.sub(r"\\[dt]frac", r"\\frac", text).replace("√", r"\sqrt").replace("π", r"\pi")
    text = re.sub(r"\\(?:text|mathrm|textbf|mathbf|mbox|operatorname)\s*\{([^{}]*)\}", r"\1", text)
    text = re.sub(r"\^\s*\{?\s*\\circ\s*\}?|\\degree|°|\\\$|\\%|%|\$", "", text)
    text = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", text)
    text = re.sub(r"\\frac\s*(\d)\s*(\d)", r"\\frac{\1}{\2}", text)
    text = re.sub(r"\\sqrt\s*(\d)", r"\\sqrt{\1}", text)
    return re.sub(r"\s+", "", text)


def number(text: str, units: bool = True) -> Fraction | None:
    r"""The text as one number, exactly: 1,234, -3, .5, 50 %, $7, 3/4, \frac12, 1.2e3, 1.2 x 10^3, seven, 12 cm, 30 degrees.

    A currency before it and, with `units`, a word behind it are left out. None where the text is anything else, or longer than anybody
    means.
    """
    text = bare(text).strip().rstrip(".").strip()
    text = text.replace("−", "-").replace("–", "-").replace("\\!", "").replace("\\,", "").replace("\\ ", " ")
    text = re.sub(r"\\(?:text|mathrm|textbf|mathbf|rm)\s*\{([^{}]*)\}", r" \1", text)
    text = re.sub(r"\^?\s*\{?\\circ\}?|°|\\%|%|\\degree|degrees?\b", " ", text)
    text = re.sub(r"^([-+]?)\s*(?:\\?\$|[€£¥₹]|rs\.?|usd)\s*", r"\1", text, flags=re.I).strip()
    if len(text) > 4 * _LIMIT:
        return None
    if text.lower() in _WORDS:
        return Fraction(_WORDS.index(text.lower()))
    if match := re.fullmatch(r"([-+]?)\s*\\[dt]?frac\s*(?:\{\s*(\d+)\s*\}|(\d))\s*(?:\{\s*(\d+)\s*\}|(\d))", text):
        sign, top, top1, bottom, bottom1 = match.groups()
        return _ratio(sign, top or top1, bottom or bottom1)
    if match := re.fullmatch(r"([-+]?)\s*(\d+)\s*/\s*(\d+)", text):
        return _ratio(*match.groups())
    power = r"(?:\s*(?:e|(?:\\times|×|x|\*)\s*10\s*\^)\s*\{?\s*([-+]?\d{1,3})\s*\}?)?"
    unit = r"(?:[\s-]*[A-Za-zµμΩ²³][A-Za-z²³/.]{0,20}(?:\s+[A-Za-z²³/]{1,20}){0,3}(?:\^?\{?[23]\}?)?)?" if units else ""
    match = re.fullmatch(rf"([-+]?)\s*({_NUMBER}){power}{unit}", text, re.I)
    if not match or len(match[2]) > _LIMIT:
        return None
    try:
        value = Fraction(Decimal(match[2].replace(",", "")))
    except InvalidOperation:
        return None
    value *= Fraction(10) ** int(match[3] or 0)
    return -value if match[1] == "-" else value


def _ratio(sign: str, top: str, bottom: str) -> Fraction | None:
    if len(top) > _LIMIT or len(bottom) > _LIMIT or not int(bottom):
        return None
    return Fraction(int(top), int(bottom)) * (-1 if sign == "-" else 1)


def numbers(text: str) -> list[str]:
    """Numbers that stand alone in a text, as they are written, in order."""
    return _ALONE.findall(bare(text))


def _said(sentence: str) -> str | None:
    """The number that a concluding sentence is about: behind its last equals sign or "is", else its first."""
    for part in reversed(re.split(r"=|≈|:\s|\b(?:is|are|was|were|equals|be)\b", sentence)):
        if found := numbers(part) or _WORD.findall(part):
            return found[0]
    return None


def number_of(response: str) -> str | None:
    """The number that a response answers with, as it is written; None where there is none."""
    for inner in (tagged(response), boxed(response)):
        if inner:
            return inner if number(inner) is not None else _said(inner) or inner
    response = final_part(response)
    for rest in reversed(stated(response)):
        first = sentences(rest)[0] if rest else rest
        if number(first) is not None:
            return first
        if found := _said(first):
            return found
    if number(response) is not None:
        return response.strip()
    strong = [text for text in re.findall(r"\*\*(.+?)\*\*", response) if number(text) is not None]
    if len({number(text) for text in strong}) == 1:
        return strong[-1]
    for part in reversed(conclusions(response)):
        if found := _said(part):
            return found
    parts = sentences(response)
    if number(parts[-1]) is not None:
        return parts[-1]
    first = [] if _STEP.match(parts[0]) else parts[:1]
    for part in (*first, *reversed(parts)):
        if found := _said(part):
            return found
    return None


def letter_of(text: str, options: int) -> int | None:
    """The option that a text names by its letter: (B), B., B) 40, option B, or B alone; counted from 0."""
    last = chr(ord("A") + options - 1)
    text = bare(re.sub(r"\\(?:text|mathrm|textbf|mathbf)\s*\{([^{}]*)\}", r"\1", text))
    letter = f"[A-{last}a-{last.lower()}]"
    for pattern in (
        rf"\(?({letter})\)?[.:,)]*",  # B, (B), b.
        rf"\(?([A-{last}])\s*[).:]\s.*",  # B. 40, (B) 40
        rf".*?\b(?i:option|choice|answer|alternative)\s*(?:is|:)?\s*\(?([A-{last}])\)?(?![\w']).*",
        rf".*?\(({letter})\).*",
        rf".*\b(?:so|is|be|choose|select|pick)\s+([A-{last}])\.?",
    ):
        if match := re.fullmatch(pattern, text, re.S):
            return ord(match[1].upper()) - ord("A")
    return None


def same_text(text: str) -> str:
    """Text for comparison: no case, no markup, no punctuation at the ends, single spaces."""
    text = re.sub(r"\\text\s*\{([^{}]*)\}", r"\1", bare(text)).replace("\\", "").replace("$", "")
    return " ".join(text.casefold().split()).strip(" .,:;!?\"'()")


def choice_of(text: str, choices: list[str]) -> int | None:
    """The choice that a short text names, by its own words, by its letter, by its number, or by being within it."""
    wanted, plain = same_text(text), [same_text(choice) for choice in choices]
    if plain.count(wanted) == 1:
        return plain.index(wanted)
    if (letter := letter_of(text, len(choices))) is not None:
        return letter
    formulas = [plain_latex(choice) for choice in choices]
    if formulas.count(plain_latex(text)) == 1:
        return formulas.index(plain_latex(text))
    if (value := number(text)) is not None:
        equal = [at for at, choice in enumerate(choices) if number(choice) == value]
        if equal:
            return equal[0]
    within = [
        (match.start(), len(words), at)
        for at, words in enumerate(plain)
        if words
        for match in re.finditer(rf"(?<![\w.]){re.escape(words)}(?!\w|\.\d)", wanted)
    ]
    # "larger than" within "is not larger than"... the longest of those that begin first.
    return min(within, key=lambda found: (found[0], -found[1]))[2] if within else None


def choice_from(response: str, choices: list[str]) -> tuple[int | None, str | None]:
    """(the choice that a response answers with, the text that says so)."""
    for inner in (tagged(response), boxed(response)):
        if inner and (found := choice_of(inner, choices)) is not None:
            return found, inner
    response = final_part(response)
    if len(sentences(response)) == 1 and (found := choice_of(response, choices)) is not None and not stated(response):
        return found, response.strip()
    for rest in reversed(stated(response)):
        first = sentences(rest)[0] if rest else rest
        if not _NEGATED.search(first) and (found := choice_of(first, choices)) is not None:
            return found, first
    last = chr(ord("A") + len(choices) - 1)
    parts = [part for part in sentences(response) if not _NEGATED.search(part)]
    for part in (*reversed([part for part in parts if _CONCLUDES.search(part)]), *parts[:1], *reversed(parts)):
        if letters := re.findall(rf"\(([A-{last}])\)", part):
            return ord(letters[-1]) - ord("A"), part
    for part in (*reversed([part for part in parts if _CONCLUDES.search(part)]), *parts[:1], *reversed(parts)):
        if (found := choice_of(part, choices)) is not None:
            return found, part
    return None, None
