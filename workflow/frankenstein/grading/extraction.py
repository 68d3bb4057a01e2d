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
_ASIDE = re.compile(r"(?:note|remember|for example|please)\b", re.I)
_NEGATED = re.compile(
    r"\b(?:incorrect|wrong|not (?:the )?(?:correct|right|an? option|true)|cannot be|can't be|isn't|is not)\b", re.I
)

_NUMBER = r"(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|\.\d+"
_SMALL = [
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
]
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_WORDS = {word: value for value, word in enumerate(_SMALL)} | {word: 10 * value for value, word in enumerate(_TENS, 2)}
_WORDS |= {f"{ten}-{_SMALL[unit]}": _WORDS[ten] + unit for ten in _TENS for unit in range(1, 10)}
_TIMES = {"dozen": 12, "hundred": 100, "thousand": 1000, "k": 1000, "million": 10**6, "billion": 10**9}
_SIGN = r"(?:[-−–+]|minus\s+|negative\s+)?"
_TIMES_RE = rf"(?:\s*(?:{'|'.join(_TIMES)})\b)?"
# Not within a word or another number, nor part of an expression: not the 1 of Q1a, the 4 of 3.14, the 5 of 5:3, 5√3 or 10-12.
_ALONE = re.compile(
    rf"(?<![\w.,/^:√])(?<!\w[-–])(?<!\w\(){_SIGN}\$?(?:{_NUMBER})(?:\s*/\s*\d+)?{_TIMES_RE}"
    r"(?![\d]|[A-Za-z]*\d|,\d|\.\d|\s*[√π^×]|\s*\\(?:sqrt|pi|frac|times|cdot)|:\d|\s?[-–]\s?\d|/)",
    re.I,
)
_WORD = re.compile(
    r"\b(?:" + "|".join(sorted(_WORDS, key=len, reverse=True)) + r")\b(?![-\s]*(?:hundred|thousand|million|dozen))",
    re.I,
)
# Units of one letter; any other letter behind a number is a variable.
_UNITS = "mgshlLNJWVACF"
# Where a sentence goes on to say why.
_WHY = re.compile(r"[,;]?\s+(?:since|because|which|as|so|where|with|i\.e\.|given)\b|[;(]|,\s+(?!\d{3}\b)")


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
    return text.strip("$").strip() if text.startswith("$") and text.endswith("$") else text


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
    r"""The text as one number, exactly: 1,234, -3, .5, 50 %, $7, 3/4, 3 1/2, \frac12, 1.2e3, 1.2 x 10^3, seven, 2.5 million.

    A currency before it and, with `units`, words behind it are left out (12 cm). None where the text is anything else,
    such as 3x, 5:3, 72 or 73, or longer than anybody means.
    """
    text = bare(text).strip().rstrip(".").strip()
    text = text.replace("−", "-").replace("–", "-").replace("\\!", "").replace("\\,", "").replace("\\ ", " ")
    text = re.sub(r"\\(?:text|mathrm|textbf|mathbf|rm)\s*\{([^{}]*)\}", r" \1", text)
    text = re.sub(r"\^?\s*\{?\\circ\}?|°|\\%|%|\\degree|degrees?\b", " ", text)
    text = re.sub(r"^(?:minus|negative)\s+", "-", text.strip(), flags=re.I)
    text = re.sub(r"^([-+]?)\s*(?:\\?\$|[€£¥₹]|rs\.?|usd)\s*", r"\1", text, flags=re.I).strip()
    if len(text) > 4 * _LIMIT:
        return None
    if (word := text.lower().replace(" ", "-")) in _WORDS:
        return Fraction(_WORDS[word])
    if match := re.fullmatch(
        r"([-+]?)\s*(\d*)\s*\\[dt]?frac\s*(?:\{\s*(\d+)\s*\}|(\d))\s*(?:\{\s*(\d+)\s*\}|(\d))", text
    ):
        sign, whole, top, top1, bottom, bottom1 = match.groups()
        return _ratio(sign, whole, top or top1, bottom or bottom1)
    if match := re.fullmatch(r"([-+]?)\s*(?:(\d+)\s+)?(\d+)\s*/\s*(\d+)", text):
        return _ratio(*match.groups())
    if re.fullmatch(r"[-+]?\d{1,3}(?: \d{3})+(?:\.\d+)?", text):
        text = text.replace(" ", "")
    power = r"(?:\s*(?:e|(?:\\times|×|x|\*)\s*10\s*\^)\s*\{?\s*([-+]?\d{1,3})\s*\}?)?"
    times = rf"(?:\s*({'|'.join(_TIMES)})\b)?"
    word = rf"(?:[A-Za-zµμΩ²³/.]{{2,20}}|[{_UNITS}])(?:\^?\{{?[23]\}}?)?"
    unit = rf"(?:[\s-]*{word}(?:\s+{word}){{0,4}})?" if units else ""
    match = re.fullmatch(rf"([-+]?)\s*({_NUMBER}){power}{times}({unit})", text, re.I)
    if not match or len(match[2]) > _LIMIT or re.search(r"\b(?:and|or|to|by|per cent of|x)\b", match[5] or ""):
        return None
    if (last := (match[5] or "").strip(" -")) and len(last) == 1 and last not in _UNITS:
        return None  # re.I has let any case in
    try:
        value = Fraction(Decimal(match[2].replace(",", "")))
    except InvalidOperation:
        return None
    value *= Fraction(10) ** int(match[3] or 0) * _TIMES.get((match[4] or "").lower(), 1)
    return -value if match[1] == "-" else value


def _ratio(sign: str, whole: str | None, top: str, bottom: str) -> Fraction | None:
    if max(map(len, (whole or "", top, bottom))) > _LIMIT or not int(bottom):
        return None
    return (int(whole or 0) + Fraction(int(top), int(bottom))) * (-1 if sign == "-" else 1)


def numbers(text: str) -> list[str]:
    """Numbers that stand alone in a text, as they are written, in order."""
    return [found.strip() for found in _ALONE.findall(bare(text))]


def _sole(text: str) -> str | None:
    """The number that an answer consists of, or is the only one it names, or begins with before it says why; else None."""
    for part in (text, re.split(r"(?<![<>≤≥!])=|≈", text)[-1]):
        for clause in (part, _WHY.split(part.strip(), maxsplit=1)[0]):
            if number(clause) is not None:
                return clause.strip()
            found = numbers(clause) or _WORD.findall(clause)
            plain = not re.search(
                r"[√π^<>*+×:]|\\|\bnot?\b|\bor\b|\bbetween\b|\bto\b\s*\d|\d\s*[-–/]\s*\d|\d\s?[a-z]\b(?<![mgshl])",
                clause,
            )
            if plain and len(found) == len(re.findall(r"(?<![\w])\d[\d.,]*", clause) or found) == 1:
                return found[0]
    return None


def _said(sentence: str) -> str | None:
    """The number that a sentence is about: behind its last equals sign or "is", before it says why; else its first."""
    if numbers(start := re.split(r",?\s+(?:since|because|which)\b", sentence, maxsplit=1)[0]):
        sentence = start
    for part in reversed(re.split(r"=|≈|:\s|\b(?:is|are|was|were|equals|be)\b", sentence)):
        for clause in (_WHY.split(part.strip(), maxsplit=1)[0], part):
            if found := numbers(clause) or _WORD.findall(clause):
                return found[0]
    return None


def number_of(response: str) -> str | None:
    """The number that a response answers with, as it is written; None where there is none.

    What is tagged or boxed is final, and is returned whole where it is no one number.
    """
    for inner in (tagged(response), boxed(response)):
        if inner:
            return _sole(inner) or inner
    response = final_part(response)
    for rest in reversed(stated(response)):
        first = sentences(rest)[0] if rest else rest
        if found := _sole(first):
            return found
        if re.search(r"\d", first):
            return first
    if number(response) is not None:
        return response.strip()
    strong = [text for text in re.findall(r"\*\*(.+?)\*\*", response) if number(text) is not None]
    if len({number(text) for text in strong}) == 1:
        return strong[-1]
    for part in reversed([part for part in conclusions(response) if not _ASIDE.match(part)]):
        if found := _said(part):
            return found
    parts = [part for part in sentences(response) if not _ASIDE.match(part)] or sentences(response)
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
        rf".*?(?<![A-Za-z])\(({letter})\).*",
        rf".*\b(?i:so|is|be|choose|select|pick)\s+([A-{last}])\.?",
    ):
        if match := re.fullmatch(pattern, text, re.S):
            return ord(match[1].upper()) - ord("A")
    return None


def same_text(text: str) -> str:
    """Text for comparison: no case, no markup, no punctuation at the ends, single spaces."""
    text = re.sub(r"\\text\s*\{([^{}]*)\}", r"\1", bare(text)).replace("\\", "").replace("$", "")
    return " ".join(text.casefold().split()).strip(" .,:;!?\"'()")


def choice_of(text: str, choices: list[str]) -> int | None:
    """The choice that a short text names: by its own words, its letter, its number or formula, or by naming one within."""
    wanted, plain = same_text(text), [same_text(choice) for choice in choices]
    if wanted and plain.count(wanted) == 1:
        return plain.index(wanted)
    if (letter := letter_of(text, len(choices))) is not None:
        return letter
    formulas = [plain_latex(choice) for choice in choices]
    if formulas.count(plain_latex(text)) == 1:
        return formulas.index(plain_latex(text))
    values = [number(choice) for choice in choices]
    if (value := number(text)) is not None:
        return values.index(value) if value in values else None
    if all(value is not None for value in values):
        # The last number that is a choice: what comes before is how it was found.
        for found in reversed(numbers(text)):
            if number(found) in values:
                return values.index(number(found))
        return None
    within = [
        (match.start(), -len(words), at)
        for at, words in enumerate(plain)
        if words
        for match in re.finditer(rf"(?<![\w.,√]){re.escape(words)}(?!\w|[.,:]\d|\s*[√^])", wanted)
        if not _DENIED.search(wanted[: match.start()]) and (words not in ("yes", "no") or _alone(wanted, match))
    ]
    return min(within)[2] if within else None


_DENIED = re.compile(r"(?:\bnot|\bno|\bneither|\bnor|n't|\bwithout|\brather than|\binstead of)\s+(?:\w+\s+)?$")


def _alone(text: str, match: re.Match) -> bool:
    """Whether a yes or no opens or ends a sentence: "no" is a common word."""
    return bool(re.search(r"(?:^|[.:,;!])\s*\W?$", text[: match.start()]) or re.match(r"\W*$", text[match.end() :]))


def choice_from(response: str, choices: list[str]) -> tuple[int | None, str | None]:
    """(the choice that a response answers with, the text that says so).

    What is tagged or boxed and names none of the choices is overruled only by a letter that the response states.
    """
    inner = tagged(response) or boxed(response)
    if inner and (found := choice_of(inner, choices)) is not None:
        return found, inner
    response = final_part(response)
    if (
        not inner
        and len(sentences(response)) == 1
        and (found := choice_of(response, choices)) is not None
        and not stated(response)
    ):
        return found, response.strip()
    for rest in reversed(stated(response)):
        first = sentences(rest)[0] if rest else rest
        found = letter_of(first, len(choices)) if inner else choice_of(first, choices)
        if not _NEGATED.search(first) and found is not None:
            return found, first
    if inner:
        return None, inner
    last = chr(ord("A") + len(choices) - 1)
    parts = [part for part in sentences(response) if not _NEGATED.search(part)]
    for part in (*reversed([part for part in parts if _CONCLUDES.search(part)]), *parts[:1], *reversed(parts)):
        if letters := re.findall(rf"(?<![A-Za-z])\(([A-{last}])\)", part):
            return ord(letters[-1]) - ord("A"), part
    for part in (*reversed([part for part in parts if _CONCLUDES.search(part)]), *parts[:1], *reversed(parts)):
        if (found := choice_of(part, choices)) is not None:
            return found, part
    return None, None
