r"""Mathematical equality: as text, as numbers, as intervals, and through sympy (math-verify) if these are inconclusive.

sympy runs in separate processes that are killed on timeout.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import sys
import threading
import types
from collections.abc import Iterator
from concurrent.futures import TimeoutError
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

from .extraction import bare, unwrap
from .numbers import number
from .outcome import RIGHT, UNGRADED, WRONG, Grade

TIME_LIMIT = 5.0  # seconds of CPU time per answer: a verdict must not depend on what else the machine does
_MEMORY = 4 << 30  # memory limit of a sympy process in bytes
_LONGEST = 1000  # maximum characters of an answer passed to sympy

_RELATION = r"(?:\\leq?(?:slant)?(?![A-Za-z])|\\geq?(?:slant)?(?![A-Za-z])|\\lt(?![A-Za-z])|\\gt(?![A-Za-z])|\\neq?(?![A-Za-z])|<=|>=|[<>≤≥≠])"
_SAME_RELATION = {r"\leq": "<=", r"\le": "<=", "≤": "<=", r"\geq": ">=", r"\ge": ">=", "≥": ">=", r"\lt": "<", r"\gt": ">", r"\leqslant": "<=", r"\geqslant": ">="}  # fmt: skip
# (dimension, factor to its first unit): answers in other units of the same dimension are converted before comparison.
_UNITS = {
    unit: (dimension, Fraction(factor))
    for dimension, units in {
        "length": {"mm": "0.001", "millimeter": "0.001", "cm": "0.01", "centimeter": "0.01", "m": 1, "meter": 1, "km": 1000, "kilometer": 1000,
                   "inch": "0.0254", "inche": "0.0254", "in": "0.0254", "foot": "0.3048", "feet": "0.3048", "ft": "0.3048", "yard": "0.9144", "mile": "1609.344"},
        "money": {"cent": "0.01", "dollar": 1, "$": 1},
        "time": {"second": 1, "sec": 1, "minute": 60, "min": 60, "hour": 3600, "day": 86400, "week": 604800},
        "mass": {"mg": "0.000001", "g": "0.001", "gram": "0.001", "kg": 1, "kilogram": 1, "pound": "0.45359237", "lb": "0.45359237", "ounce": "0.028349523125"},
    }.items()
    for unit, factor in units.items()
}  # fmt: skip


def plain_latex(text: str) -> str:
    """LaTeX without parts that do not affect its meaning: spaces, sizes, dollars, \\text, degree signs, a full stop."""
    text = bare(text).strip(".")
    text = re.sub(r"\\(?:left|right|big|Big|bigg|Bigg|displaystyle|limits)(?![A-Za-z])|\\[!,;: ]|~|\\q?quad", "", text)
    text = re.sub(r"\\[dtc]frac", r"\\frac", text).replace("√", r"\sqrt").replace("π", r"\pi").replace("{,}", ",")
    text = re.sub(r"\\(?:text|mathrm|textbf|mathbf|mbox|operatorname|textit|mathit)\s*\{([^{}]*)\}", r"\1", text)
    text = re.sub(r"\^\s*\{?\s*\\circ\s*\}?|\\degree|°|\\\$|\\%|%|\$", "", text)
    text = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", text)
    text = re.sub(r"\\frac\s*(\d)\s*(\d)", r"\\frac{\1}{\2}", text)
    text = re.sub(r"\\sqrt\s*(\d)", r"\\sqrt{\1}", text)
    return re.sub(r"\s+", "", text)


def compare(said: str, gold: str, percent: bool = False) -> Grade | tuple[str, str]:
    """The verdict on an answer, or (gold, answer) if only sympy can decide: see `settle`.

    percent: the task asks for a percentage, so the equivalent fraction of one counts too. Never raises: unreadable
    answers are left to sympy, or stay ungraded.
    """
    ours, theirs = plain_latex(said), plain_latex(gold)
    if (units := _in_units(said, gold)) is not None:
        return Grade(RIGHT if units else WRONG, said)
    if ours == theirs:
        return Grade(RIGHT, said)
    if not _alike(ours, theirs):
        return Grade(WRONG, said)
    value, expected = (number(text, units=False) for text in (said, gold))
    if value is not None and expected is not None:
        shares = [value * 100] if percent else []
        if "%" in said + gold and not ("%" in said and "%" in gold):
            shares += [value * 100] if "%" in gold else [value / 100]
        return Grade(RIGHT if expected in (value, *shares) else WRONG, said)
    if len(said) > _LONGEST:
        return Grade(WRONG, said[:_LONGEST], "too long to be an answer")
    if not re.search(r"[\d\\^_=+*/<>≤≥]|^\W*\w\W*$", said):
        return Grade(WRONG, said)  # words that differ from the gold answer
    ours, theirs = (_as_interval(text) for text in (said, gold))
    if ours and theirs:
        if plain_latex(ours) == plain_latex(theirs):
            return Grade(RIGHT, said)
        said, gold = (ours, theirs) if ours != said or theirs != gold else (said, gold)
    if bomb(said):
        return Grade(UNGRADED, said, "a tower of powers or a factorial that nobody can write out")
    return gold, said


def _in_units(said: str, gold: str) -> bool | None:
    """Whether both are the same quantity; None unless they have different units of the same dimension."""
    sides = []
    for text in (said, gold):
        plain = (
            re.sub(r"\\text\s*\{([^{}]*)\}|\\mathrm\s*\{([^{}]*)\}", r" \1\2 ", bare(text))
            .replace("\\$", "$")
            .replace("\\ ", " ")
            .strip()
        )
        found = re.fullmatch(r"(\$?)\s*([-+]?[\d.,/]+)\s*([A-Za-z]*)\.?", plain)
        unit = found and (
            "$" if found[1] else found[3].lower() if found[3].lower() in _UNITS else found[3].lower().removesuffix("s")
        )
        value = number(found[2]) if found else None
        if not unit or unit not in _UNITS or value is None:
            return None
        sides.append((unit, value))
    (one, ours), (other, theirs) = sides
    if one == other or _UNITS[one][0] != _UNITS[other][0]:
        return None
    return ours * _UNITS[one][1] == theirs * _UNITS[other][1]


def _alike(ours: str, theirs: str) -> bool:
    """Whether both agree in what sympy ignores: number base, set or tuple, bound or value."""
    bases = [re.findall(r"\d_\{?(\d+)\}?", text) for text in (ours, theirs)]
    if bases[0] and bases[0] != bases[1]:
        return False
    braced = [text.startswith(r"\{") for text in (ours, theirs)]
    if any(braced) and not all(braced) and any(text.startswith(("(", "[")) for text in (ours, theirs)):
        return False
    bounds = [re.search(_RELATION, text) is not None for text in (ours, theirs)]
    spans = [re.match(r"(?:[a-z]\\in)?(?:\(|\[).*,.*(?:\)|\])$|.*\\infty", text) is not None for text in (ours, theirs)]
    return bounds[0] == bounds[1] or spans[bounds.index(False)]


def _as_interval(text: str) -> str | None:
    r"""Inequalities, or unions of them, as intervals: -2 \le x < 7 -> [-2,7), x > 3 -> (3,\infty); intervals unchanged; otherwise None."""
    text = unwrap(re.sub(r"\\(?:left|right)(?![A-Za-z])|\\[!,;: ]", "", text))
    text = re.sub(r"^[a-z]\s*\\in(?![a-z])\s*", "", text)
    if re.fullmatch(r"\s*[(\[].*,.*[)\]]\s*", text, re.S):
        return text
    parts = re.split(r"\\text\s*\{\s*(?:or)\s*\}|\bor\b|\\cup|\\lor|\\vee", text)
    found = [_one_interval(part.strip(" ,$")) for part in parts]
    return r"\cup".join(sorted(found, key=_begins)) if all(found) else None


def _begins(interval: str) -> tuple[bool, float]:
    low = interval[1:].split(",")[0]
    value = number(low)
    return (r"-\infty" not in low, float(value) if value is not None else 0.0)


def _one_interval(text: str) -> str | None:
    sides = re.split(rf"({_RELATION})", text)
    signs = [_SAME_RELATION.get(sign, sign) for sign in sides[1::2]]
    terms = [term.strip() for term in sides[::2]]
    if (
        any(not term for term in terms)
        or not signs
        or len(signs) > 2
        or "≠" in signs
        or any(sign.startswith("\\ne") for sign in signs)
    ):
        return text if re.fullmatch(r"[(\[].*,.*[)\]]", text) else None
    variable = [re.fullmatch("[a-z]", term) is not None for term in terms]
    if len(signs) == 1 and sum(variable) == 1:
        sign = signs[0] if variable[0] else {"<": ">", ">": "<", "<=": ">=", ">=": "<="}[signs[0]]
        bound = terms[1] if variable[0] else terms[0]
        closes = "=" in sign
        if sign.startswith("<"):
            return rf"(-\infty,{bound}{']' if closes else ')'}"
        return rf"{'[' if closes else '('}{bound},\infty)"
    if len(signs) == 2 and variable == [False, True, False] and len({sign[0] for sign in signs}) == 1:
        if signs[0][0] == ">":
            terms, signs = terms[::-1], signs[::-1]
        return f"{'[' if '=' in signs[0] else '('}{terms[0]},{terms[2]}{']' if '=' in signs[1] else ')'}"
    return None


def bomb(text: str) -> bool:
    """Whether exact evaluation could take unbounded time: nested powers, large exponents, factorials."""
    plain = text.replace("**", "^").replace("{", "").replace("}", "")
    towers = re.search(r"\^[^+\-=,;]*\^", plain)
    large = any(len(digits) > 3 for digits in re.findall(r"\^\(?-?(\d+)", plain))
    return bool(towers or large or re.search(r"\d{3,}\s*!|!\s*!|\)\s*!", plain) or re.search(r"\d{100}", plain))


def equal_latex(gold: str, answer: str) -> bool:
    r"""Whether two LaTeX expressions are mathematically equal (math-verify). Slow; run in a separate process.

    Degree signs inside \sin etc. are honoured; i is the imaginary unit if there is no other variable.
    """
    from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse, verify

    kinds = [LatexExtractionConfig(), ExprExtractionConfig()]
    sides = []
    for text in (gold, answer):
        text = re.sub(
            r"(\\(?:sin|cos|tan|cot|sec|csc))\s*[({]?\s*(\d+(?:\.\d+)?)\s*(?:\^\s*\{?\s*\\circ\s*\}?|\\degree|°)\s*[)}]?",
            r"\1(\2 \\cdot \\frac{\\pi}{180})",
            bare(text),
        )
        # math-verify's own time limit needs signals; ours is enforced from outside.
        sides.append(parse(f"${text}$", extraction_config=kinds, parsing_timeout=None))
    if not (sides[0] and sides[1]):
        return False
    return bool(verify(*sides, timeout_seconds=None)) or _equal_complex(sides[0][0], sides[1][0])


def _equal_complex(one, other) -> bool:
    import sympy

    if not all(isinstance(side, sympy.Expr) for side in (one, other)):
        return False
    symbols = {symbol for side in (one, other) for symbol in side.free_symbols}
    if {str(symbol) for symbol in symbols} != {"i"}:
        return False
    one, other = (side.subs(dict.fromkeys(symbols, sympy.I)) for side in (one, other))
    return sympy.simplify(one - other) == 0


def _prepare() -> None:
    """Initialize a sympy process: limit its memory, and import everything before any answer is timed."""
    import logging
    import resource

    logging.getLogger("math_verify").setLevel(logging.ERROR)  # it warns about its disabled time limit
    pages = Path("/proc/self/statm")  # excluding what is already mapped
    mapped = int(pages.read_text().split()[0]) * resource.getpagesize() if pages.exists() else 0
    resource.setrlimit(resource.RLIMIT_AS, (mapped + _MEMORY, mapped + _MEMORY))
    equal_latex("1", "2")


class TooLong(BaseException):
    """A time limit was reached. Not an Exception: math-verify takes those for "not equal"."""


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Context: raise TooLong after so many seconds of this process's CPU time, where a timer can be set (only in the main thread)."""
    if threading.current_thread() is not threading.main_thread() or not hasattr(signal, "setitimer"):
        yield
        return

    def stop(*_):
        raise TooLong

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def _equal_in_time(gold: str, answer: str, seconds: float) -> bool | None:
    """equal_latex; None if it took too long."""
    try:
        with limited(seconds):
            return equal_latex(gold, answer)
    except TooLong:
        return None


_MAIN = threading.Lock()


@contextmanager
def _without_main() -> Iterator[None]:
    """Context: keep fresh processes from re-running the caller's main program, whose functions they do not need.

    Otherwise a program read from standard input could not start processes, and one without
    `if __name__ == "__main__"` would start itself again.
    """
    with _MAIN:
        main = sys.modules["__main__"]
        sys.modules["__main__"] = types.ModuleType("__main__")
        try:
            yield
        finally:
            sys.modules["__main__"] = main


def settle(pairs: list[tuple[str, str]], jobs: int | None = None, time_limit: float = TIME_LIMIT) -> list[Grade]:
    """Verdicts on (gold, answer) pairs that need sympy, in `jobs` processes (default: all cores), time_limit seconds of CPU time each."""
    if not pairs:
        return []
    from pebble import ProcessPool

    # Spawned, because a fork would inherit all of this process's mapped memory.
    fresh = multiprocessing.get_context("spawn")
    with (
        _without_main(),
        ProcessPool(min(jobs or os.cpu_count() or 1, len(pairs)), initializer=_prepare, context=fresh) as pool,
    ):
        # Python's signals do not interrupt a single long operation: then the process is killed.
        futures = [pool.schedule(_equal_in_time, args=(*pair, time_limit), timeout=4 * time_limit) for pair in pairs]
        return [_result(future, said, time_limit) for future, (_, said) in zip(futures, pairs, strict=True)]


def _result(future, said: str, limit: float) -> Grade:
    try:
        equal = future.result()
    except TimeoutError:
        equal = None
    except Exception as error:  # parser failure or out of memory: ungraded, but counted
        return Grade(UNGRADED, said, f"sympy: {type(error).__name__}: {error}"[:200])
    if equal is None:
        return Grade(UNGRADED, said, f"sympy took more than {limit:g} s")
    return Grade(RIGHT if equal else WRONG, said)
