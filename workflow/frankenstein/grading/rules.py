"""Verdicts on responses to the public benchmarks: extraction, then equality by each benchmark's own rules.

Three outcomes: right, wrong, ungraded (with the reason). No model, never eval; what needs sympy runs in processes that are
killed when they take too long.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import re
from collections import Counter
from concurrent.futures import TimeoutError
from fractions import Fraction
from pathlib import Path

from rapidfuzz.distance import Levenshtein

from .. import jsonl
from ..errors import InputError
from ..intervals import wilson
from . import extraction
from .outcome import RIGHT, UNGRADED, WRONG, Grade

TASKS = ("mathvista", "mathverse", "mathvision", "logicvista", "math500", "gsm8k")
TIME_LIMIT = 5.0  # seconds an answer, in sympy
_MEMORY = 4 << 30  # bytes a process of sympy may take
_READ = 20_000  # characters of a response that are read, its last
_LONGEST = 1000  # characters of an answer that sympy is asked about


def grade(task: str, record: dict, use_extraction: bool = False) -> Grade | tuple[str, str]:
    """The verdict on one record; or (gold, answer) where only sympy can tell whether these are equal: see grade_all.

    record: response, answer, and where the benchmark has them question_type, answer_type, choices, precision, unit;
    extraction, where use_extraction says that the answer has been extracted already. Raises InputError for a record
    without what its task needs.
    """
    response = record.get("extraction" if use_extraction else "response")
    if use_extraction and response is None and record.get("response") is not None:
        return Grade(WRONG, None, "nothing was extracted")
    if response is None:
        return Grade(UNGRADED, None, str(record.get("error") or "no response"))
    response, gold = _readable(str(response)), str(record["answer"])
    if not response.strip():
        return Grade(WRONG, None, "empty")
    if not use_extraction and extraction.thinks_without_answer(response):
        return Grade(WRONG, None, "no answer in the response")
    choices = record.get("choices") or record.get("options") or []
    if task == "logicvista" and not choices:
        return _letters(response, gold)
    if not isinstance(choices, list):
        raise InputError(f"choices {choices!r} are no list")
    if choices or _is_choice(task, record):
        return _choice(response, gold, choices, use_extraction)
    if task == "gsm8k":
        return _number(response, gold.rpartition("####")[2].strip(), use_extraction)
    if task == "mathvista":
        return _mathvista(response, gold, record, use_extraction)
    return _latex(response, gold, record, use_extraction)


def _readable(response: str) -> str:
    """A response without runs of blanks, and of one that never ends its end: rules take time with the length."""
    return re.sub(r"[^\S\n]{3,}", "  ", re.sub(r"\s*\n\s*\n\s*", "\n\n", response[-_READ:]))


def _is_choice(task: str, record: dict) -> bool:
    kind = str(record.get("question_type", "")).replace("-", "_")
    return kind in ("multi_choice", "multiple_choice") or (
        task == "mathverse" and not kind and re.fullmatch("[A-G]", str(record["answer"])) is not None
    )


def _choice(response: str, gold: str, choices: list, extracted: bool) -> Grade:
    """One of several: the choice itself, not its letter, is compared, for the same may stand there twice."""
    choices = [str(choice) for choice in choices]
    if not choices:  # letters alone are known
        if not re.fullmatch(r"\(?[A-Za-z]\)?\.?", gold.strip()):
            raise InputError(f"multiple choice without choices, and the answer {gold!r} is no letter")
        choices = [chr(ord("A") + at) for at in range(max(5, ord(gold.strip("(). ").upper()) - ord("A") + 1))]
    plain = [extraction.same_text(choice) for choice in choices]
    letter = extraction.letter_of(gold, len(choices)) if extraction.same_text(gold) not in plain else None
    expected = plain[letter] if letter is not None else extraction.same_text(gold)
    if extracted:
        # MathVista's own rule: a letter, or else the nearest choice.
        found = extraction.choice_of(response, choices)
        if found is None:
            found = min(range(len(choices)), key=lambda at: Levenshtein.distance(response, choices[at]))
        said: str | None = response
    else:
        found, said = extraction.choice_from(response, choices)
    if found is None:
        return Grade(WRONG, said and said[:_LONGEST], "names none of the choices")
    return Grade(RIGHT if plain[found] == expected else WRONG, choices[found])


def _letters(response: str, gold: str) -> Grade:
    """One or more letters: the sets are compared."""
    said = extraction.tagged(response) or extraction.boxed(response)
    said = said or next(reversed(extraction.stated(extraction.final_part(response))), None)
    said = said or next(reversed(extraction.sentences(extraction.final_part(response))))
    if gold.strip().isdigit():  # the options are numbered
        number = extraction.number_of(response)
        return Grade(RIGHT if number is not None and number.strip() == gold.strip() else WRONG, number)
    one = extraction.letter_of(said, 9) if len(_set_of_letters(gold)) == 1 else None
    found = {chr(ord("A") + one)} if one is not None else _set_of_letters(said)
    if not found:
        return Grade(WRONG, said[:_LONGEST], "names no letter")
    return Grade(RIGHT if found == _set_of_letters(gold) else WRONG, ", ".join(sorted(found)))


def _set_of_letters(text: str) -> set[str]:
    text = extraction.bare(text)
    if re.fullmatch(r"[A-I]{1,9}|[a-i]", text) and len(set(text)) == len(text):
        return set(text.upper())
    if found := re.findall(r"\(([A-I])\)", text):
        return set(found)
    # The article "A" begins a sentence; a letter is followed by a mark, a conjunction or nothing.
    # So does the pronoun "I", and it may stand before a conjunction.
    return set(re.findall(r"(?<![\w'])([A-H](?=\s*(?:and|or)\b)|[A-I](?=\s*(?:[.,:;)&/]|$)))", text))


def _numbers(response: str, gold: str, extracted: bool) -> tuple[str | None, Fraction | None, Fraction]:
    """(what is said, it as a number, the gold number)."""
    expected = extraction.number(gold)
    if expected is None:
        raise InputError(f"the answer {gold!r} is no number")
    said = response if extracted else extraction.number_of(response)
    return said, extraction.number(said or ""), expected


def _number(response: str, gold: str, extracted: bool) -> Grade:
    said, value, expected = _numbers(response, gold, extracted)
    if value is None:
        return Grade(WRONG, said and said[:_LONGEST], "no number in the response" if said is None else "is no number")
    return Grade(RIGHT if value == expected else WRONG, said)


def _mathvista(response: str, gold: str, record: dict, extracted: bool) -> Grade:
    """Free-form answers by answer_type and precision: integers cut off, floats rounded, as the benchmark does it."""
    kind = record.get("answer_type")
    if kind == "list":
        said = response if extracted else extraction.tagged(response) or extraction.boxed(response) or response
        said = said if extracted else next(reversed(extraction.stated(said)), said)
        found = re.findall(r"\[[^\[\]]*\]", said)
        return Grade(
            RIGHT if found and _list(found[-1]) == _list(gold) else WRONG, found[-1] if found else said[:_LONGEST]
        )
    if kind == "text":
        said = response if extracted else extraction.tagged(response) or extraction.boxed(response)
        said = said or next(reversed(extraction.stated(extraction.final_part(response))), response)
        return Grade(RIGHT if extraction.same_text(said) == extraction.same_text(gold) else WRONG, said[:_LONGEST])
    if kind not in ("integer", "float"):
        raise InputError(f"answer_type {kind!r} is none of integer, float, list, text")
    if kind == "float" and record.get("precision") is None:
        raise InputError("answer_type float without precision")
    said, value, expected = _numbers(response, gold, extracted)
    if value is None:
        return Grade(WRONG, said and said[:_LONGEST], "no number in the response" if said is None else "is no number")
    for found in (value, *_of_unit(value, record.get("unit"))):
        if kind == "integer":
            same = int(found) == expected
        else:
            places = int(float(record["precision"]))
            same = round(float(found), places) == round(float(expected), places)
        if same:
            return Grade(RIGHT, said)
    return Grade(WRONG, said)


def _of_unit(value: Fraction, unit: str | None) -> list[Fraction]:
    """Where the task asks for percent, a share of one is the same."""
    return [value * 100] if unit == "%" else []


def _list(text: str) -> list:
    parts = [part.strip(" '\"") for part in text.strip("[] ").split(",")]
    return [extraction.number(part) if extraction.number(part) is not None else part.casefold() for part in parts]


# --- LaTeX ----------------------------------------------------------------------------------------


def _latex(response: str, gold: str, record: dict, extracted: bool) -> Grade | tuple[str, str]:
    said = response if extracted else answer_of(response)
    if said is None:
        return Grade(WRONG, None, "no answer in the response")
    ours, theirs = extraction.plain_latex(said), extraction.plain_latex(gold)
    if ours == theirs:
        return Grade(RIGHT, said)
    if not _alike(ours, theirs):
        return Grade(WRONG, said)
    value, expected = (extraction.number(text, units=False) for text in (said, gold))
    if value is not None and expected is not None:
        same = expected in (value, *_of_unit(value, record.get("unit")))
        return Grade(RIGHT if same else WRONG, said)
    if len(said) > _LONGEST:
        return Grade(WRONG, said[:_LONGEST], "too long to be an answer")
    if not re.search(r"[\d\\^_=+*/]|^\W*\w\W*$", said):
        return Grade(WRONG, said)  # words that are not the answer's
    if bomb(said):
        return Grade(UNGRADED, said, "a tower of powers or a factorial that nobody can write out")
    return gold, said


def _alike(ours: str, theirs: str) -> bool:
    """What sympy does not see: the base of a number, and whether it is a set or a tuple."""
    bases = [re.findall(r"\d_\{?(\d+)\}?", text) for text in (ours, theirs)]
    if bases[0] and bases[0] != bases[1]:
        return False
    braced = [text.startswith(r"\{") for text in (ours, theirs)]
    return not (any(braced) and not all(braced) and any(text.startswith(("(", "[")) for text in (ours, theirs)))


def answer_of(response: str) -> str | None:
    """The final answer of a response: tagged, boxed, stated, or the mathematics at the end."""
    for inner in (extraction.tagged(response), extraction.boxed(response)):
        if inner:
            return extraction.boxed(inner) or extraction.bare(inner)
    response = extraction.final_part(response)
    if stated := extraction.stated(response):
        formulas = re.findall(r"(?<!\\)\$((?:[^$\\]|\\.)+)(?<!\\)\$", stated[-1])
        return formulas[0].strip() if formulas else re.sub(r"\.$", "", stated[-1]).strip()
    for part in reversed(extraction.sentences(response)):
        if formulas := re.findall(r"(?<!\\)\$((?:[^$\\]|\\.)+)(?<!\\)\$|\\\((.+?)\\\)|\\\[(.+?)\\\]", part):
            last = next(text for text in formulas[-1] if text)
            return re.split(r"(?<![<>\\!])=", last)[-1].strip()
    if len(response) < 60:
        return extraction.bare(response)
    return extraction.number_of(response)


def bomb(text: str) -> bool:
    """Whether evaluating this exactly could take forever: powers of powers, large exponents, factorials."""
    plain = text.replace("**", "^").replace("{", "").replace("}", "")
    towers = re.search(r"\^[^+\-=,;]*\^", plain)
    large = any(len(digits) > 3 for digits in re.findall(r"\^\(?-?(\d+)", plain))
    return bool(towers or large or re.search(r"\d{3,}\s*!|!\s*!|\)\s*!", plain) or re.search(r"\d{100}", plain))


def equal_latex(gold: str, answer: str) -> bool:
    """Whether two LaTeX expressions are the same mathematics (math-verify). Slow, and for a process of its own."""
    from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse, verify

    kinds = [LatexExtractionConfig(), ExprExtractionConfig()]
    sides = []
    for text in (gold, answer):
        text = extraction.bare(text)
        # Its own time limit needs signals; ours is from outside.
        sides.append(parse(f"${text}$", extraction_config=kinds, parsing_timeout=None))
    return bool(sides[0] and sides[1] and verify(*sides, timeout_seconds=None))


def _prepare() -> None:
    """A process for sympy: little memory, everything imported before an answer's time begins."""
    import logging
    import resource

    logging.getLogger("math_verify").setLevel(logging.ERROR)  # it warns that the time limit is not its own
    pages = Path("/proc/self/statm")  # what is mapped already does not count
    mapped = int(pages.read_text().split()[0]) * resource.getpagesize() if pages.exists() else 0
    resource.setrlimit(resource.RLIMIT_AS, (mapped + _MEMORY, mapped + _MEMORY))
    equal_latex("1", "2")


def grade_all(
    task: str,
    records: list[dict],
    use_extraction: bool = False,
    jobs: int | None = None,
    time_limit: float = TIME_LIMIT,
) -> list[Grade]:
    """A Grade a record, in order; what needs sympy in `jobs` processes (all cores), at most time_limit seconds each."""
    made = []
    for record in records:
        try:
            made.append(grade(task, record, use_extraction))
        except (InputError, KeyError) as error:
            raise InputError(f"{task}, id {record.get('id')!r}: {error}") from None
    pending = [number for number, result in enumerate(made) if not isinstance(result, Grade)]
    if pending:
        from pebble import ProcessPool

        # Fresh processes: a fork would begin with all that this one has mapped.
        fresh = multiprocessing.get_context("spawn")
        with ProcessPool(min(jobs or os.cpu_count() or 1, len(pending)), initializer=_prepare, context=fresh) as pool:
            futures = [pool.schedule(equal_latex, args=made[number], timeout=time_limit) for number in pending]
            for number, future in zip(pending, futures, strict=True):
                made[number] = _result(future, made[number][1], time_limit)
    return made


def _result(future, said: str, limit: float) -> Grade:
    try:
        return Grade(RIGHT if future.result() else WRONG, said)
    except TimeoutError:
        return Grade(UNGRADED, said, f"sympy took more than {limit:g} s")
    except Exception as error:  # a parser that fails, a process out of memory: ungraded, and counted
        return Grade(UNGRADED, said, f"sympy: {type(error).__name__}: {error}"[:200])


# --- files ----------------------------------------------------------------------------------------


def read_golds(path: Path) -> dict[str, dict]:
    """Gold records by id: JSON lines, or one JSON object by id as MathVista publishes it.

    The id is a record's id, pid or unique_id, or else its place, counted from 0.
    """
    path = Path(path)
    if path.suffix == ".json":
        return {str(key): record for key, record in json.loads(path.read_text()).items()}
    golds: dict[str, dict] = {}
    for number, (line, record) in enumerate(jsonl.read(path, torn=True)):
        key = str(next((record[name] for name in ("id", "pid", "unique_id") if name in record), number))
        if key in golds:
            raise InputError(f"{path}, line {line}: id {key!r} stands twice")
        golds[key] = record
    return golds


def read_responses(path: Path, examples: Path | None) -> list[dict]:
    """Records with id, response and gold fields, these inline or from `examples` by id. InputError: the line and what is wrong."""
    golds = read_golds(examples) if examples else {}
    seen, records = set(), []
    for line, record in jsonl.read(path, torn=True):
        if line == 1 and "header" in record:
            continue
        if "id" not in record:
            raise InputError(f"{path}, line {line}: no id")
        key = str(record["id"])
        if key in seen:
            raise InputError(f"{path}, line {line}: id {key!r} stands twice")
        seen.add(key)
        if examples and key not in golds:
            raise InputError(f"{path}, line {line}: id {key!r} is not in {examples}")
        record = {**golds.get(key, {}), **record}
        if "response" not in record and "extraction" not in record:
            raise InputError(f"{path}, line {line}: neither response nor extraction")
        if record.get("answer") is None:
            raise InputError(f"{path}, line {line}: no answer to grade {key!r} by; inline, or with --examples FILE")
        records.append(record)
    return records


def summary(grades: list[Grade]) -> str:
    """Counts and accuracy over all, and what was left ungraded, by reason."""
    counts = Counter(grade.verdict for grade in grades)
    lines = [
        f"{len(grades)} answers: " + ", ".join(f"{counts[verdict]} {verdict}" for verdict in (RIGHT, WRONG, UNGRADED))
    ]
    if grades:
        rate, interval = counts[RIGHT] / len(grades), wilson(counts[RIGHT], len(grades))
        lines.append(
            f"accuracy over all: {rate:.1%} [{interval['low']:.1%}, {interval['high']:.1%}] (95 % Wilson interval)"
        )
    reasons = Counter(grade.reason for grade in grades if grade.verdict == UNGRADED)
    return "\n".join([*lines, *(f"ungraded, {reason}: {count}" for reason, count in reasons.most_common())])
