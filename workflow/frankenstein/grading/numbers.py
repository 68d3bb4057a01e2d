r"""Exact parsing of numbers as people and models write them: 1,234, -3, 50 %, 3/4, \frac12, 2^{10}, 1.2 x 10^3, twenty-five, 12 cm."""

from __future__ import annotations

import re
from fractions import Fraction
from math import factorial, isqrt, pi

from . import abstention
from .extraction import PROSE, Answer, bare, corrected, sentences, unwrap, without_text

_SHORT = 200  # maximum characters of a correction taken as an answer
_LIMIT = 50  # maximum plausible number of digits
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
_TIMES = {"dozen": 12, "hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_SIGN = r"(?:[-−–+]|minus\s+|negative\s+)?"
_TIMES_RE = rf"(?:\s*(?:{'|'.join(_TIMES)})\b|k\b)?"
# Not inside a word or another number, nor part of an expression: not the 1 of Q1a, the 4 of 3.14, the 5 of 5:3, 5√3 or 10-12.
_ALONE = re.compile(
    rf"(?<![A-Za-z_\d.,/^:√])(?<![A-Za-z\d][-–])(?<![A-Za-z\d]\(){_SIGN}(?:\\?\$|[€£¥])?(?:{_NUMBER})(?:\s*/\s*\d+)?{_TIMES_RE}"
    r"(?![\d]|[A-Za-z]*\d|,\d|\.\d|\s*[√π^×]|\s*\\(?:sqrt|pi|frac|times|cdot)|:\d|\s?[-–]\s?\d|/\d|(?:st|nd|rd|th)\b)",
    re.I,
)
_WORD = re.compile(
    r"\b(?:"
    + "|".join(
        sorted([*_WORDS, *(f"{ten}[- ]{unit}" for ten in _TENS for unit in _SMALL[1:10])], key=len, reverse=True)
    )
    + r")\b(?![-\s]*(?:hundred|thousand|million|dozen|of\b|thirds?|quarters?|fifths?|halves|half|and a (?:half|quarter|third)))",
    re.I,
)
# "one" is a number if it counts something, but not in "the third one".
_ONE = re.compile(r"(?:^|(?<=is )|(?<=only )|(?<=just )|(?<=exactly ))one\b(?! of\b)", re.I)
# One-letter units; any other letter after a number is a variable.
_UNITS = "mgshlLNJWVACFΩµ"
_GREEK = {r"\Omega": "Ω", r"\omega": "ω", r"\mu": "µ", r"\ohm": "Ω"}
_ORDINALS = ("st", "nd", "rd", "th")
# Introduces a reason or additional information.
_WHY = re.compile(
    r"[,;]?\s+(?:since|because|which|as|where|with|i\.e\.|given|if|whereas|while|but|compared)\b|[;(]|,\s+(?!\d{3}\b)"
)
_REASON = re.compile(
    r",?\s+(?:since|because|whereas|which (?:is|are|was|were) \S+ (?:more|less|fewer|times|of|\w+er))\b"
)
# Introduces a conclusion.
_SO = re.compile(
    r"[,;.]?\s*\b(?:so|therefore|thus|hence|giving|for a total of|(?:which|this|that) (?:means(?: that)?|comes to|makes?|gives|leaves)|,\s*or)\b,?\s+",
    re.I,
)
_VERB = r"=|≈|:\s|\b(?:is|are|was|were|equals?|be|makes?|leaves?|gives?|gets?|totals?|yields?|comes? to|amounts? to|reads?)\b"
_CONCLUDES = re.compile(
    r"\b(?:therefore|thus|hence|in conclusion|in total|in all(?=[,.]|$)|altogether|finally|the result|more closely|on closer)\b|^\W*overall\b|因此|所以|故|综上",
    re.I,
)
_COUNTS = re.compile(
    r"\d\s*(?:=|\\times|[+*×÷])|=\s*[-$\\(]*\d|\bso\b|\bstep\b|\b(?:comes?|amounts?) to\b|\bleaves?\b", re.I
)
_THEN = re.compile(r"\b(?:so|therefore|thus|hence)\b", re.I)
# "The value of f(4) is 16.", followed by reasons.
_DIRECT = re.compile(r"(?:the|there|it)\b.*?\b(?:is|are|was|were)\b[^.=]*?[\d][^.=]*\.?", re.I)
_CHECK = re.compile(r"\W*(?:we can )?(?:check|verify|to (?:check|verify)|let's (?:check|verify))\b", re.I)
_ASIDE = re.compile(r"(?:note|remember|for example|please)\b", re.I)
_STEP = re.compile(r"(?:step\s*)?\d+\s*[.:)]|let|first|we\b|to find", re.I)
_LISTED = re.compile(r"^\s*(?:\d+[.)]|[-*•])\s+", re.M)
# A number in a comparison or range is not the answer itself.
_BOUND = re.compile(
    r"\b(?:at (?:least|most)|(?:more|less|\w+er) than|over|under|above|below|up to|"
    r"between|within|exceed(?:s|ing)?|a (?:minimum|maximum) of|no (?:more|less|fewer) than)\s+(?:or equal to\s+)?\W{0,2}"
    rf"(?:\d|{'|'.join(_WORDS)})|\b(?:or|and) (?:more|less|fewer|above|below|over|under)\b"
    r"|[<>≤≥≠]|\\(?:leq?|geq?|lt|gt|neq?|pm)(?![A-Za-z])|±|至少|至多|超过|不到|大于|小于",
    re.I,
)
# Digits are read from the first one on and not again: a response may end in thousands.
_BOUNDED = re.compile(
    rf"(?:{_BOUND.pattern})[\d.,]*|(?<!\d)(?<!\d[.,])\d[\d.,]*+\s+(?:or|and) (?:more|less|fewer|above|below|over|under)\b",
    re.I,
)
# One of two, or a range: "3 or 4", "10 to 12", "10-12".
_EITHER = re.compile(r"\d\s*(?:\bor\b|\bto\b|[-–])\s*\d", re.I)
# "3, 4", "3 and 4", "3 red; 4 blue" do not name a single number.
_SEVERAL = re.compile(r"\d\s*(?:[^\W\d]+\s*)?(?:[,;、]\s+|[;、]|&|\band\b|和)\s*[-−]?\d")
_ABOUT = re.compile(
    r"^(?:approximately|approx\.?|about|around|roughly|nearly|almost|circa|ca\.|exactly|only|just|a total of|大约|约|共|\\approx|\\simeq|\\sim|≈|~)\s*|"
    r"\s+(?:or so|in total|total|altogether|approximately|exactly|overall)$",
    re.I,
)


def _plain(text: str) -> str:
    r"""A number's text without parts that do not affect its value: \text{}, spacing, degrees, percent, currency, "about"."""
    text = without_text(bare(text))
    text = text.replace("−", "-").replace("–", "-").replace("{,}", ",").replace("，", ",")
    text = re.sub(
        r"\\(?:left|right|displaystyle|limits|bigl?|bigr?|Bigl?|Bigr?)(?![A-Za-z])|\\begin\{[a-z*]+\}|\\end\{[a-z*]+\}|&",
        "",
        text,
    )
    text = re.sub(r"(?<=[A-Za-z])\s*\\(?:cdot|times)\s*(?=[A-Za-z])", "·", text)
    text = re.sub(r"\\[!,]", "", text)
    text = re.sub(r"\\[;: ]|~|\\q?quad|\\thinspace|\\hspace\{[^}]*\}", " ", text)
    for command, letter in _GREEK.items():
        text = re.sub(re.escape(command) + r"(?![A-Za-z])", letter, text)
    text = re.sub(r"\^?\s*\{?\\circ\}?|°|\\%|%|\\degree|degrees?\b|per ?cent\b|度", " ", text)
    text = text.strip().rstrip(".。").strip()
    for _ in range(3):
        text = _ABOUT.sub("", text).strip()
    text = re.sub(r"^(?:minus|negative)\s+", "-", text, flags=re.I)
    text = re.sub(r"^([-+]?)\s*(?:\\?\$|[€£¥₹]|rs\.?|usd|eur|us\$)\s*", r"\1", text, flags=re.I).strip()
    return unwrap(text)


def number(text: str, units: bool = True) -> Fraction | None:
    r"""The exact value of a text that is a single number. None for anything else, such as 3x, 5:3, 72 or 73, at least 3, 3rd, 3 + 4.

    Ignores a leading currency and, with `units`, trailing words (12 cm); evaluates products, quotients, powers,
    factorials and square roots with exact results; implausibly long digit strings are not numbers.
    """
    if len(text) > 8 * _LIMIT:
        return None
    text = _plain(text)
    if not text or _BOUND.search(text):
        return None
    if (value := _words(text, units)) is not None:
        return value
    if match := re.fullmatch(
        r"([-+]?)\s*(\d*)\s*\\[dtc]?frac\s*(?:\{\s*(\d+)\s*\}|(\d))\s*(?:\{\s*(\d+)\s*\}|(\d))\s*(.*)", text
    ):
        sign, whole, top, top1, bottom, bottom1, unit = match.groups()
        return _ratio(sign, whole, top or top1, bottom or bottom1) if _is_unit(unit, units) else None
    if match := re.fullmatch(r"([-+]?)\s*(?:(\d+)\s+)?(\d+)\s*/\s*(\d+)(?!\d*[/:])\s*(.*)", text):
        *ratio, unit = match.groups()
        return _ratio(*ratio) if _is_unit(unit, units) else None
    if re.match(r"[-+]?\d{1,3}(?: \d{3})+(?![\d])", text):
        text = re.sub(r"(?<=\d) (?=\d{3}(?!\d))", "", text)
    power = r"(?:\s*(?:e|(?:\\times|\\cdot|×|x|\*|·)\s*10\s*\^)\s*\{?\s*([-+]?\d{1,3})\s*\}?)?"
    times = rf"(?:\s*({'|'.join(_TIMES)})\b)?"
    match = re.fullmatch(
        rf"([-+]?)\s*({_NUMBER}){power}{times}(k|K|万|亿)?(?!\w)\s*(.*)|([-+]?)\s*({_NUMBER})\s*(.*)", text, re.I | re.S
    )
    if not match:
        return _worked_out(text)
    sign, digits = match[1] or match[7], match[2] or match[8]
    unit = match[6] if match[2] else match[9]
    if len(digits) > _LIMIT or not _is_unit(unit, units):
        return _worked_out(text)
    value = Fraction(digits.replace(",", ""))
    if match[2]:
        value *= Fraction(10) ** int(match[3] or 0) * _TIMES.get((match[4] or "").lower(), 1)
        value *= {"": 1, "k": 1000, "万": 10**4, "亿": 10**8}[(match[5] or "").lower()]
    return -value if sign == "-" else value


def _is_unit(text: str | None, allowed: bool) -> bool:
    """Whether the text after a number is its unit: words, but no variable, other number or ordinal suffix."""
    text = (text or "").strip(" -")
    if not text:
        return True
    if not allowed or re.search(r"\b(?:and|or|to|by|per cent of|x|of)\b", text) or text.lower() in _ORDINALS:
        return False
    word = rf"(?:[A-Za-zµμΩ²³/.·$]{{2,20}}|[{_UNITS}]|[一-鿿]{{1,6}})(?:\s*\^?\s*\{{?-?[23]\}}?)?"
    if re.fullmatch("[A-Z]", text):
        return text in _UNITS + "K"
    return re.fullmatch(rf"{word}(?:[\s·/]+{word}){{0,4}}\.?", text) is not None


def _ratio(sign: str, whole: str | None, top: str, bottom: str) -> Fraction | None:
    if max(map(len, (whole or "", top, bottom))) > _LIMIT or not int(bottom):
        return None
    return (int(whole or 0) + Fraction(int(top), int(bottom))) * (-1 if sign == "-" else 1)


def _words(text: str, units: bool = True) -> Fraction | None:
    """A number in English words: seven, twenty-five, three hundred and five, two dozen, half."""
    words = re.split(r"[\s-]+", text.lower())
    sign = -1 if words[:1] in (["minus"], ["negative"]) else 1
    words = words[1:] if sign < 0 else words
    if words in (["half"], ["a", "half"], ["one", "half"]):
        return Fraction(sign, 2)
    if words[-3:] == ["and", "a", "half"] and (whole := _words(" ".join(words[:-3]), units=False)) is not None:
        return sign * (whole + Fraction(1, 2))
    total, part, seen, used = 0, 0, False, 0
    for word in words:
        if word in _WORDS:
            if seen and _WORDS[word] >= 10 and part % 100:
                return None
            part, seen = part + _WORDS[word], True
        elif word in _TIMES and (seen or words[used - 1 : used] == ["a"]):
            part = max(part, 1) * _TIMES[word]
            if _TIMES[word] > 100:
                total, part = total + part, 0
            seen = True
        elif (word == "a" and used == 0) or (
            word == "and" and seen and used + 1 < len(words) and words[used + 1] in _WORDS
        ):
            pass
        else:
            break
        used += 1
    if not seen or not _is_unit(" ".join(words[used:]), units):
        return None
    return Fraction(sign * (total + part))


# --- what can be worked out -------------------------------------------------------------------------

_TOKEN = re.compile(
    r"\s*(?:(\d[\d,]*(?:\.\d+)?|\.\d+)|(\\times|\\cdot|\\div|\*|×|·|÷|/)|(\^)|(!)|(\\[dtc]?frac|\\sqrt|√)|(\\pi|π)|([{(\[|])|([})\]|])|([-+]))"
)


def _worked_out(text: str, real: bool = False) -> Fraction | float | None:
    r"""Value of a product, quotient, power, factorial or root of numbers; with `real`, also square roots and \pi as floats.

    Sums are excluded, because 5-3 may be a range. None for any other expression, or an implausible number of digits.
    """
    if len(text) > 2 * _LIMIT:
        return None
    if (found := re.fullmatch(r"\|([^|]+)\|", text)) is not None:
        inner = _worked_out(found[1], real)
        return None if inner is None else abs(inner)
    tokens, at = [], 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if not match:
            return None
        tokens.append((match.lastindex, match[0].strip()))
        at = match.end()
    try:
        value, rest = _product(tokens, real)
    except (ValueError, IndexError, ZeroDivisionError, OverflowError):
        return None
    return None if rest else value


def _product(tokens: list, real: bool):
    value, tokens = _power(tokens, real)
    while tokens and tokens[0][0] not in (8, 9):
        divides = tokens[0][1] in (r"\div", "÷", "/")
        explicit = tokens[0][0] == 2
        if not explicit and tokens[0][0] not in (5, 6, 7):
            raise ValueError("two numbers side by side")
        factor, tokens = _power(tokens[1:] if explicit else tokens, real)
        value = value / factor if divides else value * factor
    return value, tokens


def _power(tokens: list, real: bool):
    if tokens[0][0] == 9:
        if tokens[1][0] == 9:
            raise ValueError("two signs")
        value, rest = _power(tokens[1:], real)
        return (-value if tokens[0][1] == "-" else value), rest
    base, tokens = _factor(tokens, real)
    if tokens and tokens[0][0] == 4:
        if base != int(base) or not 0 <= base <= 25 or (len(tokens) > 1 and tokens[1][0] == 4):
            raise ValueError("the factorial is too large to evaluate")
        base, tokens = Fraction(factorial(int(base))), tokens[1:]
    if tokens and tokens[0][0] == 3:
        exponent, tokens = _power(tokens[1:], real) if tokens[1][0] == 9 else _factor(tokens[1:], real)
        if exponent != int(exponent) or abs(exponent) * len(str(base)) > _LIMIT or (tokens and tokens[0][0] == 3):
            raise ValueError("the power is too large to evaluate")
        base = base ** int(exponent)
    return base, tokens


def _factor(tokens: list, real: bool):
    kind, text = tokens[0]
    if kind == 1:
        if len(text) > _LIMIT or re.search(r",(?!\d{3}(?!\d))", text):
            raise ValueError("no number")
        return Fraction(text.replace(",", "")), tokens[1:]
    if kind == 5 and "frac" in text:
        top, tokens = _argument(tokens[1:], real)
        bottom, tokens = _argument(tokens, real)
        return top / bottom, tokens
    if kind == 5:
        inner, tokens = _argument(tokens[1:], real)
        if inner >= 0 and isinstance(inner, Fraction):
            top, bottom = isqrt(inner.numerator), isqrt(inner.denominator)
            if Fraction(top * top, bottom * bottom) == inner:
                return Fraction(top, bottom), tokens
        if not real:
            raise ValueError("irrational")
        return float(inner) ** 0.5, tokens
    if kind == 6 and real:
        return pi, tokens[1:]
    if kind == 7:
        value, tokens = _product(tokens[1:], real)
        if not tokens or tokens[0][0] != 8:
            raise ValueError("not closed")
        return value, tokens[1:]
    raise ValueError(f"no factor {text!r}")


def _argument(tokens: list, real: bool):
    r"""The argument of \frac or \sqrt: in braces, or a single digit (\frac12)."""
    kind, text = tokens[0]
    if kind == 1 and len(text) > 1 and text.isdigit():
        return Fraction(text[0]), [(1, text[1:]), *tokens[1:]]
    if kind == 7 and tokens[1][0] == 9:
        sign = tokens[1][1]
        value, tokens = _product(tokens[2:], real)
        return (-value if sign == "-" else value), tokens[1:]
    return _factor(tokens, real)


def real(text: str) -> float | None:
    r"""The value of a text that is a number or a product of numbers, roots and \pi: 2\sqrt{3}, \frac{\pi}{2}; None for others."""
    value = number(text)
    if value is None:
        value = _worked_out(re.sub(r"\s*(?<![\\A-Za-z])[A-Za-z]{2,}\s*(?:\^\{?[23]\}?)?$", "", _plain(text)), real=True)
    return None if value is None else float(value)


# --- the number that a text names -------------------------------------------------------------------


def numbers(text: str) -> list[str]:
    """Standalone numbers in a text, as written, in order."""
    return [found.strip() for found in _ALONE.findall(bare(text))]


def _named(clause: str) -> list[str]:
    return numbers(clause) or [word for word in _WORD.findall(clause) if word.lower() != "one"] or _ONE.findall(clause)


def sole(text: str) -> str | None:
    """The number an answer consists of, names as its only number, or begins with before giving a reason; else None.

    For an equation, the part after the last equals sign; for "3.14 ≈ π", the numeric side.
    """
    for attempt in corrected(text):
        if (found := _sole(attempt)) is not None:
            return found
    return None


def _sole(text: str) -> str | None:
    parts = [text]
    if len(sides := re.split(r"(?<![<>≤≥!\\])=|≈|\\approx(?![a-z])|\\simeq", text)) > 1:
        parts += [side for side in reversed(sides) if side.strip()]
    for part in parts:
        if number(part) is not None:
            return part.strip()
    for part in parts[:2]:
        if _SEVERAL.search(without_text(part)):
            continue
        for clause in (part, _WHY.split(part.strip(), maxsplit=1)[0]):
            if number(clause) is not None:
                return clause.strip()
            plain = without_text(clause)
            if _BOUND.search(plain) or re.search(
                r"[√π^*+×:?!|]|\\[a-zA-Z]|\bnot?\b|\bor\b(?! so\b)|\bto\b\s*\d|\d\s*[-–/]\s*\d|\d\s?[a-z]\b(?<![mgshl])|\d(?:st|nd|rd|th)\b",
                plain,
            ):
                continue
            found = _named(plain)
            if len(found) == len(re.findall(r"(?<![A-Za-z\d])\d[\d.,]*", plain) or found) == 1:
                return found[0]
    return None


def _said(sentence: str) -> str | None:
    """The number a sentence concludes with: after its last "so", equals sign or "is", before any reason; else its first."""
    sentence = re.sub(
        r"^\W*(?:step\s*)?\d+\s*[.:)]\s+|,\s+\S+ of (?:which|whom|these|them)\b.*", "", sentence, flags=re.I
    )
    counted = re.search(
        r"(?<![\w.,$-])([\w.,$-]{1,30})(?:\s\w{1,30})?\s(?:in all(?=[,.]|$)|in total|altogether)\b", sentence
    )
    if counted and number(counted[1]) is not None:
        return counted[1]
    *_, last = _SO.split(sentence)
    if last.strip() and last != sentence and (found := _said(last)):
        return found
    if numbers(start := _REASON.split(sentence, maxsplit=1)[0]):
        sentence = start
    # "7 in total: 3 red and 4 blue" states 7 and its breakdown.
    head, colon, parts = sentence.partition(":")
    if colon and len(_named(parts)) > 1 and "=" not in parts and len(_named(head)) == 1:
        sentence = head
    *before, last = re.split(_VERB, sentence)
    for part, behind in ((last, bool(before)), *((part, False) for part in reversed(before))):
        # After the last verb first, then in the clause just before a verb: "Of the 300 pounds, 20 are left."
        clauses = (_WHY.split(part.strip(), maxsplit=1)[0], part) if behind else (part.rpartition(", ")[2], part)
        for clause in clauses:
            if _EITHER.search(clause):
                continue
            if found := _named(_BOUNDED.sub(" ", clause)):
                return found[0]
    return None


def of(answer: Answer) -> str | None:
    """The number named by a final answer, as written; a marked answer that is not a single number is returned whole.

    None if there is no number at all.
    """
    text = answer.text.replace("{,}", ",")
    if answer.mark != PROSE:
        if (found := sole(text)) is not None:
            return found
        if (bold := _bold(text)) is not None:
            return bold
        parts = sentences(text)
        if len(parts) > 1:
            for part in (*reversed([part for part in parts if _CONCLUDES.search(part)]), parts[-1], parts[0]):
                if not _BOUND.search(part) and (found := sole(part) or _said_alone(part)):
                    return found
        elif found := _said_alone(text):
            return found
        return text if re.search(r"\d", text) or _WORD.search(text) else None
    return _in_prose(text)


def _said_alone(text: str) -> str | None:
    """The result of a verbal sentence that concludes or equates."""
    if (
        _BOUND.search(text)
        or not re.search(r"=|\b(?:is|are|so|therefore|thus|has|have|makes?|equals)\b", text)
        or re.search(r"\\[a-z]+", text)
    ):
        return None
    return _said(text) if len(text) > 12 else None


def _bold(text: str) -> str | None:
    """The single bold number in a text."""
    strong = [found for found in re.findall(r"\*\*(.+?)\*\*", text) if number(found) is not None]
    return strong[-1] if len({number(found) for found in strong}) == 1 else None


def _in_prose(text: str) -> str | None:
    for attempt in corrected(text)[:-1]:
        if len(attempt) < _SHORT and (found := sole(attempt) or _said(attempt)) is not None:
            return found
    if number(text) is not None:
        return text
    if not re.search(r"[A-Za-z一-鿿=]", text):
        return None  # digits without words are not an answer
    lines = [part for part in sentences(text) if not _ASIDE.match(part) and not abstention.unable(part)]
    parts = [part for part in lines if not _LISTED.match(part)] or lines
    if not parts:
        return None
    if number(parts[-1]) is not None:
        return parts[-1]
    told = [part for part in parts if _named(part) and not _CHECK.match(part)]
    for part in reversed([part for part in parts if _CONCLUDES.search(part)]):
        if found := _said(part):
            return found
        if _BOUNDED.search(part):
            return part  # it concludes with an inequality
    if (bold := _bold(text)) is not None and not _THEN.search(text.rpartition("**")[2]):
        return bold
    if (
        _DIRECT.fullmatch(parts[0])
        and not _THEN.search(text)
        and not _BOUND.search(parts[0])
        and len(_named(parts[0])) == 1
    ):
        return _named(parts[0])[0]
    # A calculation ends with its result; other answers state it first and then explain.
    if told and _COUNTS.search(text) and (found := _said(told[-1])):
        return found
    first = [] if _STEP.match(parts[0]) else parts[:1]
    for part in (*first, *reversed(parts)):
        if found := _said(part):
            return found
    return None
