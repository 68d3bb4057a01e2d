"""A response that says it can't tell is never right: every refusal against every gold answer of every kind of task."""

import itertools
import json
from pathlib import Path

import pytest
from conftest import SHARED

from frankenstein.grading import graders, records, short
from frankenstein.grading.outcome import ABSTAINED, RIGHT, Grade

DATA = Path(__file__).parent.parent / "data"
CHOICES = (
    ["5 cm", "6 cm", "7 cm", "8 cm"], ["Yes", "No"], ["A", "B", "C", "D"], ["red", "green", "blue", "yellow"], ["1", "2", "3", "4"],
    ["black", "white"], ["no objects", "an object"], ["0", "1"], ["5°", "10°"],
)  # fmt: skip
FREE = {"question_type": "free_form"}
GOLDS = [
    *(("mathvista", {"question_type": "multi_choice", "answer_type": "text", "choices": choices, "answer": choice}) for choices in CHOICES for choice in choices),
    *(("mathvista", {**FREE, "answer_type": "integer", "answer": str(answer)}) for answer in (0, 1, 2, 3, 4, 5, 2010)),
    *(("mathvista", {**FREE, "answer_type": "float", "precision": 1, "answer": str(answer)}) for answer in (0.0, 1.0, 3.0)),
    *(("mathvista", {**FREE, "answer_type": "text", "answer": answer}) for answer in ("black", "no", "apple")),
    ("mathvista", {**FREE, "answer_type": "list", "answer": "[1, 2]"}),
    *(("logicvista", {"answer": answer}) for answer in ("A", "B", "C", "D", "E", "A, B", "2")),
    *(("mathverse", {"question_type": "multi-choice", "answer": answer}) for answer in "ABCD"),
    *(("mathverse", {"question_type": "free-form", "answer": answer}) for answer in ("3", "x=2")),
    *(("mathvision", {"options": ["1", "2", "3", "4", "5"], "answer": answer}) for answer in "ABCDE"),
    *(("mathvision", {"answer": answer}) for answer in ("0", "3")),
    *(("gsm8k", {"answer": f"#### {answer}"}) for answer in (0, 1, 2, 3, 4, 5)),
    *(("math500", {"answer": answer}) for answer in ("0", "1", "3", "4", r"\text{No}", "A", r"\text{(D)}", r"\emptyset", r"\frac{1}{2}")),
]  # fmt: skip
SHORT = [("no", "text"), ("yes", "text"), ("black", "text"), ("0", "number"), ("3", "number"), ("0,0,10,10", "box")]


def refusals(path):
    return [json.loads(line)["response"] for line in path.read_text().splitlines()]


@pytest.mark.parametrize(
    "where", [DATA / "refusals.jsonl", SHARED / "grading" / "refusals.jsonl"], ids=["ours", "shared"]
)
def test_no_refusal_is_right_for_any_gold(where):
    if not where.exists():
        pytest.skip("the real data of ../shared is not there")
    right, verdicts = [], []
    for response, (task, gold) in itertools.product(refusals(where), GOLDS):
        made = graders.grade(task, {"id": 1, "response": response, **gold})
        verdicts.append(isinstance(made, Grade) and made.verdict)
        if verdicts[-1] in (RIGHT, False):  # False: sympy would be asked
            right.append((response, task, gold["answer"]))
    for response, (gold, kind) in itertools.product(refusals(where), SHORT):
        verdicts.append(short.grade(response, gold, kind).verdict)
        if verdicts[-1] == RIGHT:
            right.append((response, gold))
    assert not right
    assert verdicts.count(ABSTAINED) >= 0.98 * len(verdicts)


def test_who_answers_all_the_same_has_answered():
    asked = {"question_type": "multi_choice", "answer_type": "text", "choices": ["5 cm", "6 cm"], "answer": "6 cm"}
    for response in (
        "I can't see the image clearly, but the answer is B.",
        "The image is black. My best guess is (B).",
        "<think>The image is black, I cannot tell.</think><answer>B</answer>",
        "Without the figure I cannot be sure. Therefore I assume 6 cm.",
    ):
        assert graders.grade("mathvista", {"response": response, **asked}).verdict == RIGHT, response


def test_a_choice_in_the_words_of_a_refusal_is_that_choice():
    asked = {"question_type": "multi_choice", "answer_type": "text", "choices": ["8", "12", "cannot be determined"]}
    for response in (
        "\\boxed{\\text{Cannot be determined}}",
        "Cannot be determined.",
        "<answer>cannot be determined</answer>",
    ):
        assert (
            graders.grade("mathvista", {"response": response, "answer": "cannot be determined", **asked}).verdict
            == RIGHT
        )
        assert graders.grade("mathvista", {"response": response, "answer": "8", **asked}).verdict != RIGHT


@pytest.mark.parametrize(
    "where", [DATA / "grading_cases.jsonl", SHARED / "grading" / "cases.jsonl"], ids=["ours", "shared"]
)
def test_verdicts_of_a_careful_person(where):
    if not where.exists():
        pytest.skip("the real data of ../shared is not there")
    lines, kept = records.check(where)
    assert kept, "\n".join(lines)


def test_the_check_can_fail(tmp_path):
    cases = tmp_path / "cases.jsonl"
    case = {"task": "gsm8k", "response": "#### 5", "answer": "#### 6", "expected": "right"}
    cases.write_text(json.dumps(case) + "\n" + json.dumps(case | {"answer": "#### 5"}) + "\n")
    lines, kept = records.check(cases)
    assert not kept
    assert lines[0].startswith("1: '#### 5' for '#### 6': expected right, is wrong")
    assert lines[-1] == "1 of 2 verdicts as expected (50.0%)"
