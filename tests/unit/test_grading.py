import json

import pytest

from frankenstein.grading import boxes, short
from frankenstein.grading.extraction import final_answer
from frankenstein.grading.outcome import Grade

THINK = "<think>2+3=5</think>"


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        ("<think>so</think><answer>3.14</answer>", "3.14"),  # defect 2 of the public scripts: became 14
        ("<answer>0.5</answer>", "0.5"),
        ("<answer>a-b</answer>", "a-b"),
        ("<answer>5:3</answer>", "5:3"),
        ("<answer>1</answer> no, <answer>2</answer>", "2"),
        (r"so \boxed{\frac{1}{2}} it is", r"\frac{1}{2}"),
        (r"\boxed{1} or rather \boxed{2}", "2"),
        (r"\boxed{1", None),
        ("  yes ", "yes"),
        ("", None),
        ("<think>2+3=5", None),
        (THINK, None),
    ],
)
def test_the_final_answer(response, answer):
    assert final_answer(response).text == answer


@pytest.mark.parametrize(
    ("answer", "gold", "kind", "right"),
    [
        ("201", "200", "number", False),  # a tolerance of 1 % passed it
        ("200.0", "200", "number", True),
        ("1,234", "1234", "number", True),
        ("5.", "5", "number", True),
        ("5 apples", "5", "number", True),
        ("--5", "5", "number", False),
        ("9**9**9", "9", "number", False),
        ("9" * 10_000, "9", "number", False),
        ("", "5", "number", False),
        ("Yes.", "yes", "text", True),
        ("yes", "no", "text", False),
        ("red  circle", "red circle", "text", True),
        ("0,0,10,10", "0,0,10,10", "box", True),
        ("[0, 0, 10, 10]", "0,0,10,10", "box", True),
        ("1,1,11,11", "0,0,10,10", "box", True),
        ("5,5,15,15", "0,0,10,10", "box", False),
        ("10,10,0,0", "0,0,10,10", "box", False),
        ("0,0,10", "0,0,10,10", "box", False),
    ],
)
def test_equal(answer, gold, kind, right):
    assert short.equal(answer, gold, kind) is right


def test_three_outcomes():
    assert short.grade("<answer>5</answer>", "5", "number").verdict == "right"
    assert short.grade("<answer>6</answer>", "5", "number").verdict == "wrong"
    assert short.grade(THINK, "5", "number") == Grade("wrong", None, "no answer after the thinking")
    assert short.grade(None, "5", "number").verdict == "ungraded"


@pytest.mark.parametrize(
    ("response", "good"),
    [
        ("<think>a</think><answer>b</answer>", True),
        (" <think>a\nb</think>\n<answer>b</answer> ", True),
        ("<answer>b</answer>", False),
        ("<think></think><answer>b</answer>", False),
        ("<think>a</think><answer>b</answer><answer>c</answer>", False),
        ("<think>a<think>b</think><answer>b</answer>", False),
        ("x<think>a</think><answer>b</answer>", False),
    ],
)
def test_well_formed(response, good):
    assert short.well_formed(response) is good


def test_iou():
    assert boxes.iou((0, 0, 10, 10), (0, 0, 10, 10)) == 1
    assert boxes.iou((0, 0, 10, 10), (10, 10, 20, 20)) == 0
    assert boxes.iou((0, 0, 10, 10), (0, 5, 10, 15)) == pytest.approx(1 / 3)


def test_grading_agrees_with_the_gold_of_gsm8k(shared):
    """Every published answer graded against itself is right, and against its successor wrong."""
    rows = [json.loads(line) for line in (shared / "gsm8k" / "test.jsonl").read_text().splitlines()]
    golds = [row["answer"].split("####")[1].strip() for row in rows]
    assert len(golds) == 1319
    for gold in golds:
        assert short.grade(rf"so \boxed{{{gold}}}", gold, "number").verdict == "right"
        assert short.grade(rf"so \boxed{{{gold}1}}", gold, "number").verdict == "wrong"


@pytest.mark.parametrize(
    ("response", "gold", "kind", "verdict"),
    [
        ("There are 5 objects.", "5", "number", "right"),
        ("<think>2</think><answer>\\boxed{5}</answer>", "5", "number", "right"),
        ("**No**", "no", "text", "right"),
        ("There is no dog.", "no", "text", "right"),
        ("Yes, there is.", "no", "text", "wrong"),
        ("<answer>Red Circle.</answer>", "red circle", "text", "right"),
        ("<answer>(0,0),(10,10)</answer>", "0,0,10,10", "box", "right"),
        ("I can't see anything in the image.", "no", "text", "abstained"),
        ("<answer>unknown</answer>", "5", "number", "abstained"),
        ("unknown", "unknown", "text", "right"),
        ("The image is black.", "black", "text", "abstained"),
        ("red", "no", "text", "wrong"),
        (None, "no", "text", "ungraded"),
    ],
)
def test_short_answers(response, gold, kind, verdict):
    assert short.grade(response, gold, kind).verdict == verdict
