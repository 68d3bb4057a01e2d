"""Rule-based grading: extract the final answer, then compare it by one of RULES, named by the benchmark or RL prompt.

No model, never eval. An abstention is an outcome of its own, detected before any rule reads the answer; an answer that
no rule can read is ungraded.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from fractions import Fraction

from rapidfuzz.distance import Levenshtein

from ..core.errors import InputError
from . import abstention, choices, extraction, latex, numbers
from .extraction import PROSE, Answer, same_text
from .latex import TIME_LIMIT
from .numbers import number
from .outcome import ABSTAINED, RIGHT, UNGRADED, WRONG, Grade
from .reading import with_abstention

_LONGEST = 1000  # maximum characters of an answer quoted in a verdict
_LETTERS = "ABCDEFGHI"


def grade(record: dict, use_extraction: bool = False) -> Grade | tuple[str, str]:
    """The verdict on one record, or (gold, answer) if only sympy can decide whether they are equal: see grade_all.

    record: grading (a key of RULES), response, answer, and optionally question_type, answer_type, choices, precision,
    unit, truncated (the response hit the token limit); with use_extraction, the already extracted answer in
    `extraction`. Raises InputError for a record lacking what its rule needs.
    """
    compare = RULES.get(record.get("grading", ""))
    if compare is None:
        raise InputError(f"unknown grading rule {record.get('grading')!r}; known: {', '.join(RULES)}")
    response = record.get("extraction" if use_extraction else "response")
    if use_extraction and response is None and record.get("response") is not None:
        return Grade(WRONG, None, "nothing was extracted")
    if response is None:
        return Grade(UNGRADED, None, str(record.get("error") or "no response"))
    response, gold = str(response), str(record["answer"])
    options = _options(record)
    if use_extraction:
        answer = Answer(extraction.readable(response).strip() or None, extraction.TAG, response, "empty")
    else:
        answer = extraction.final_answer(response, bool(record.get("truncated")))

    def read(answer: Answer) -> Grade | tuple[str, str]:
        return compare(answer, gold, record, use_extraction)

    if answer.text is None:
        read(Answer("", extraction.TAG, ""))  # so that an incomplete record is an error in any case
        return Grade(ABSTAINED if abstention.unable(answer.body) else WRONG, None, answer.reason)
    # External extractions are graded as their authors do: MathVista's own labels map a refusal to the nearest choice.
    return read(answer) if use_extraction else with_abstention(answer, read, [*map(str, options), gold])


def _options(record: dict) -> list:
    options = record.get("choices") or record.get("options") or []
    if not isinstance(options, list):
        raise InputError(f"choices must be a list, not {options!r}")
    return options


Rule = Callable[[Answer, str, dict, bool], "Grade | tuple[str, str]"]
RULES: dict[str, Rule] = {}


def rule(name: str) -> Callable[[Rule], Rule]:
    """Register a rule by name: (final answer, gold, record, whether the answer was extracted externally) -> verdict."""

    def register(function: Rule) -> Rule:
        RULES[name] = function
        return function

    return register


@rule("choice")
def _choice(answer: Answer, gold: str, record: dict, extracted: bool) -> Grade:
    """Multiple choice: compares the choice itself rather than its letter, since a choice may be listed twice."""
    options = [str(option) for option in _options(record)]
    if not options:  # only the letters are known
        if not re.fullmatch(r"\(?[A-Za-z]\)?\.?", gold.strip()):
            raise InputError(f"multiple choice without choices, and the answer {gold!r} is not a letter")
        options = [chr(ord("A") + at) for at in range(max(5, ord(gold.strip("(). ").upper()) - ord("A") + 1))]
    plain = [same_text(option) for option in options]
    lettered = re.fullmatch(r"\W*([A-Za-z])\W*", gold)
    position = ord(lettered[1].upper()) - ord("A") if lettered and same_text(gold) not in plain else None
    expected = plain[position] if position is not None and position < len(plain) else same_text(gold)
    if extracted:
        found, said = _nearest(answer.text or "", options), answer.text
    else:
        found, said = choices.of(answer, options)
    if found is None:
        return Grade(UNGRADED, said and said[:_LONGEST], "names none of the choices")
    if found == choices.OTHER:
        return Grade(WRONG, said and said[:_LONGEST], "names something else than one of the choices")
    return Grade(RIGHT if plain[found] == expected else WRONG, options[found])


def _nearest(text: str, options: list[str]) -> int:
    """MathVista's rule for extractions: a letter by list position, a verbatim choice, or else the nearest choice."""
    text = text.strip()
    letter = (re.findall(r"\(([a-zA-Z])\)", text) or re.findall(r"^([A-Z])\.?$", text) or [""])[0].upper()
    if letter and ord(letter) - ord("A") < len(options):
        return ord(letter) - ord("A")
    if text in options:
        return options.index(text)
    found = choices.of_text(text, options)
    if found is not None and found != choices.OTHER:
        return found
    return min(range(len(options)), key=lambda at: Levenshtein.distance(text, options[at]))


@rule("letters")
def _letters(answer: Answer, gold: str, record: dict, extracted: bool) -> Grade:
    """One or more letters, compared as sets."""
    if gold.strip().isdigit():  # numbered options
        said = numbers.of(answer)
        same = said is not None and number(said) == int(gold)
        return Grade(RIGHT if same else WRONG if said else UNGRADED, said, "" if said else "names no number")
    said = answer.text
    for text in extraction.corrected(said):
        found = choices.letter_set(text)
        parts = extraction.sentences(text) if answer.mark == PROSE or not found else []
        if len(parts) > 1:
            ends = [part for part in reversed(parts) if choices.CONCLUDES.search(part)]
            found = next((found for part in (*ends, parts[-1], *parts) if (found := choices.letter_set(part))), set())
        if found:
            return Grade(RIGHT if found == _gold_letters(gold) else WRONG, ", ".join(sorted(found)))
    return Grade(UNGRADED, said[:_LONGEST], "names no letter")


def _gold_letters(gold: str) -> set[str]:
    return set(re.findall(f"[{_LETTERS}]", gold.upper()))


def _numbers(answer: Answer, gold: str, extracted: bool) -> tuple[str | None, Fraction | None, Fraction]:
    """(answer text, its numeric value, gold number)."""
    expected = number(gold)
    if expected is None:
        raise InputError(f"the answer {gold!r} is not a number")
    said = answer.text if extracted else numbers.of(answer)
    return said, number(said or ""), expected


# Words that may denote numbers but that no rule reads.
_NUMBERLIKE = re.compile(
    r"\b(?:half|halves|thirds?|quarters?|couple|pair|twice|double|triple|several|score|dozens?)\b", re.I
)


def _no_number(said: str | None, answer: Answer) -> Grade:
    """Grade an answer that is not a single number: wrong, unless it may be one in words that no rule reads."""
    if said is None and answer.mark != PROSE and _NUMBERLIKE.search(answer.text or "") and " " in answer.text:
        return Grade(UNGRADED, answer.text[:_LONGEST], "a number in words that no rule reads")
    if said is None:
        return Grade(
            WRONG, (answer.text or "")[:_LONGEST] if answer.mark != PROSE else None, "no number in the response"
        )
    return Grade(WRONG, said[:_LONGEST], "is no one number")


@rule("number")
def _one_number(answer: Answer, gold: str, record: dict, extracted: bool) -> Grade:
    """A single number equal to the gold answer (which follows #### if present)."""
    gold = gold.rpartition("####")[2].strip()
    said, value, expected = _numbers(answer, gold, extracted)
    if value is None:
        return _no_number(said, answer)
    return Grade(RIGHT if value == expected else WRONG, said)


@rule("typed")
def _typed(answer: Answer, gold: str, record: dict, extracted: bool) -> Grade:
    """By answer_type (integer, float, list, text) and precision: integers truncated, floats rounded, as in MathVista."""
    kind = record.get("answer_type")
    if kind == "list":
        return _list(answer, gold)
    if kind == "text":
        said = answer.text if answer.mark != PROSE else _named_text(answer.text)
        return Grade(RIGHT if same_text(said) == same_text(gold) else WRONG, said[:_LONGEST])
    if kind not in ("integer", "float"):
        raise InputError(f"unknown answer_type {kind!r}; known: integer, float, list, text")
    if kind == "float" and record.get("precision") is None:
        raise InputError("answer_type float needs a precision")
    said, value, expected = _numbers(answer, gold, extracted)
    if value is None and kind == "float" and said is not None:
        value = numbers.real(said)
    if value is None:
        return _no_number(said, answer)
    # If the task asks for a percentage, the equivalent fraction of one counts too.
    for found in (value, value * 100) if record.get("unit") == "%" else (value,):
        if kind == "float":
            places = int(float(record["precision"]))
            same = round(float(found), places) == round(float(expected), places)
        else:  # only decimals are truncated: 1/3 is not 0
            same = found == expected or (re.search(r"[/\\^!]", said) is None and int(found) == expected)
        if same:
            return Grade(RIGHT, said)
    return Grade(WRONG, said)


def _named_text(text: str) -> str:
    """The words a sentence names: its bold part, the part after "is", or all of it."""
    *_, last = extraction.sentences(text) if "**" not in text else [text]
    if len(strong := re.findall(r"\*\*(.+?)\*\*", last)) == 1:
        return strong[0]
    named = re.search(r"\b(?:is|are|was|were|says|reads)\s+(?!not\b)(?:the |an? )?[\"“']?([^\"”',.]+)[\"”']?\.?$", last)
    return named[1] if named else text


def _list(answer: Answer, gold: str) -> Grade:
    """A bracketed list, or an unbracketed one if it is the entire answer."""
    said = answer.text
    found = re.findall(r"\[[^\[\]]*\]", said)
    if not found and answer.mark != PROSE and "," in said:
        found = ["[" + re.sub(r"\\?[(){}]", "", said) + "]"]
    if not found and len(named := numbers.numbers(extraction.sentences(said)[-1])) > 1:
        found = ["[" + ", ".join(name.replace(",", "") for name in named) + "]"]
    if not found:
        return Grade(UNGRADED if re.search(r"\d", said) else WRONG, said[:_LONGEST], "no list in the response")
    return Grade(RIGHT if _items(found[-1]) == _items(gold) else WRONG, found[-1])


def _items(text: str) -> list:
    parts = [part.strip(" '\"") for part in text.strip("[] ").split(",")]
    return [number(part) if number(part) is not None else part.casefold() for part in parts]


@rule("latex")
def _latex(answer: Answer, gold: str, record: dict, extracted: bool) -> Grade | tuple[str, str]:
    """Mathematical equality of LaTeX expressions."""
    said = _formula(answer)
    if said is None:
        return Grade(WRONG, None, "no answer in the response")
    if (letter := re.fullmatch(r"\s*\(?([A-I])\)?\s*", extraction.without_text(gold))) is not None:
        named = choices.letters_named(said, 9)
        return Grade(RIGHT if named == [ord(letter[1]) - ord("A")] else WRONG, said[:_LONGEST])
    return latex.compare(said, gold, record.get("unit") == "%")


_FORMULA = re.compile(r"(?<!\\)\$\$?((?:[^$\\]|\\.)+?)(?<!\\)\$\$?|\\\((.+?)\\\)|\\\[(.+?)\\\]", re.S)


def _formula(answer: Answer) -> str | None:
    """The mathematical content of an answer: all of it, its last formula, or the result of its last sentence."""
    text = answer.text
    if answer.mark == PROSE:
        for part in reversed(extraction.sentences(text)):
            part = re.split(r",\s+(?:and|which|where|since|as|because|so that)\b", part, maxsplit=1)[0]
            if formulas := _FORMULA.findall(part):
                return _right_side(next(inner for inner in formulas[-1] if inner))
        return extraction.bare(text) if len(text) < 60 else numbers.of(answer)
    for attempt in extraction.corrected(text):
        if formulas := _FORMULA.findall(attempt):
            last = next(inner for inner in formulas[-1] if inner).strip()
            # A statement may continue after its formula; in a tag, the last formula is the result.
            first = next(inner for inner in formulas[0] if inner).strip()
            return first if answer.mark == extraction.STATED else _right_side(last)
        if re.search(r"[A-Za-z]{2,}\s+[A-Za-z]{2,}\s+", attempt) and (
            found := numbers.of(Answer(attempt, extraction.TAG, ""))
        ):
            return found
    return text


def _right_side(text: str) -> str:
    r"""The text after the last equals sign of a chain, unless the answer is itself an equation in two variables."""
    return re.split(r"(?<![<>\\!])=", text)[-1].strip()


def grade_all(
    records: list[dict],
    use_extraction: bool = False,
    jobs: int | None = None,
    time_limit: float = TIME_LIMIT,
) -> list[Grade]:
    """One Grade per record, in order. Reading and sympy are limited to time_limit seconds of CPU time each; sympy uses `jobs`
    processes (default: all cores)."""
    made: list[Grade | tuple[str, str]] = []
    for record in records:
        try:
            with latex.limited(time_limit):
                made.append(grade(record, use_extraction))
        except latex.TooLong:
            made.append(Grade(UNGRADED, None, f"reading it took more than {time_limit:g} s"))
        except (InputError, KeyError) as error:
            raise InputError(f"id {record.get('id')!r}: {error}") from None
    pending = [at for at, result in enumerate(made) if not isinstance(result, Grade)]
    for at, result in zip(pending, latex.settle([made[at] for at in pending], jobs, time_limit), strict=True):
        made[at] = result
    return made
