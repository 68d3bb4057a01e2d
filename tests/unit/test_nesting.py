"""Every task reads its answer out of every nesting of the marks and markup that models write."""

import itertools
import json
from dataclasses import asdict

import pytest

from frankenstein.data.tasks import Example, Pair
from frankenstein.grading import graders, judge, probes, short
from frankenstein.grading.outcome import RIGHT
from frankenstein.training import grpo, prompt_files

LAYERS = {
    "tag": "<answer>{}</answer>",
    "box": r"\boxed{{{}}}",
    "text": r"\text{{{}}}",
    "dollars": "${}$",
    "parentheses": r"\({}\)",
    "brackets": "\\[\n{}\n\\]",
    "bold": "**{}**",
    "statement": "The answer is {}.",
    "final": "Final answer: {}",
    "lines": "\n{}\n",
}
FREE = {"question_type": "free_form"}
CHOICE = {"question_type": "multi_choice", "answer_type": "text", "choices": ["5 cm", "6 cm", "7 cm"]}
TASKS = {
    "mathvista integer": ("mathvista", "5", {**FREE, "answer_type": "integer", "answer": "5"}),
    "mathvista float": ("mathvista", "2.5", {**FREE, "answer_type": "float", "precision": 1, "answer": "2.5"}),
    "mathvista list": ("mathvista", "[1, 2, 3]", {**FREE, "answer_type": "list", "answer": "[1, 2, 3]"}),
    "mathvista text": ("mathvista", "apple", {**FREE, "answer_type": "text", "answer": "apple"}),
    "mathvista choice": ("mathvista", "B", {**CHOICE, "answer": "6 cm"}),
    "mathvista choice in words": ("mathvista", "6 cm", {**CHOICE, "answer": "6 cm"}),
    "mathverse choice": ("mathverse", "B", {"question_type": "multi-choice", "answer": "B"}),
    "mathverse free": ("mathverse", "36", {"question_type": "free-form", "answer": "36"}),
    "mathvision choice": ("mathvision", "B", {"options": ["1", "2", "3"], "answer": "B"}),
    "mathvision free": ("mathvision", "12", {"answer": "12"}),
    "logicvista": ("logicvista", "B", {"answer": "B"}),
    "logicvista several": ("logicvista", "A, C", {"answer": "A, C"}),
    "logicvista numbered": ("logicvista", "2", {"answer": "2"}),
    "math500": ("math500", r"\frac{14}{3}", {"answer": r"\frac{14}{3}"}),
    "math500 number": ("math500", "42", {"answer": "42"}),
    "gsm8k": ("gsm8k", "18", {"answer": "#### 18"}),
}
# Up to three layers, each once. Nobody breaks the line within dollars or asterisks, or between two statements.
NESTINGS = [
    names
    for count in range(4)
    for names in itertools.permutations(LAYERS, count)
    if not any(pair in (("lines", "dollars"), ("lines", "bold")) for pair in itertools.pairwise(names))
    and set(names) != {"lines", "statement", "final"}
]


def nested(answer: str, names: tuple[str, ...]) -> str:
    for name in names:
        answer = LAYERS[name].format(answer)
    return answer


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("thinking", ["", "<think>Maybe it is \\boxed{99}, or (C).</think>\n"])
def test_every_nesting_is_read(task, thinking):
    benchmark, answer, gold = TASKS[task]
    records = [
        {"id": "+".join(names), "response": thinking + nested(answer, names), **gold}
        for names in NESTINGS
        if not (answer.startswith("\\frac") and "text" in names)  # no formula stands in \\text{}
    ]
    made = graders.grade_all(benchmark, records, jobs=2)
    wrong = [
        (record["id"], record["response"], grade)
        for record, grade in zip(records, made, strict=True)
        if grade.verdict != RIGHT
    ]
    assert not wrong, f"{len(wrong)} of {len(records)}, first {wrong[:3]}"


@pytest.mark.parametrize(
    ("answer", "gold", "kind"), [("5", "5", "number"), ("no", "no", "text"), ("red circle", "red circle", "text"), ("2,4,20,30", "2,4,20,30", "box")]
)  # fmt: skip
def test_every_nesting_is_read_in_short_answers(answer, gold, kind):
    wrong = [names for names in NESTINGS if short.grade(nested(answer, names), gold, kind).verdict != RIGHT]
    assert not wrong, f"{len(wrong)}, first {wrong[:3]}"


@pytest.mark.parametrize(
    ("function", "answer", "said"),
    [
        ("recognition", "No", "no"),
        ("counting", "5", 5),
        ("ocr", "CAT", "cat"),
        ("grounding", "20,20,40,40", (20, 20, 40, 40)),
    ],
)
def test_every_nesting_is_read_by_the_probes(function, answer, said):
    asked = Pair("p", function, "t", "s", "?", {})
    wrong = [names for names in NESTINGS if probes.read(nested(answer, names), asked)[0] != said]
    assert not wrong, f"{len(wrong)}, first {wrong[:3]}"


@pytest.mark.parametrize(
    "format",
    [
        "<think>2+3</think><answer>{}</answer>",
        r"<think>2+3</think> \boxed{{{}}}",
        r"<think>2+3</think><answer>\boxed{{{}}}</answer>",
    ],
)
def test_rl_rewards_an_answer_in_the_format_that_the_recipe_prescribes(format):
    """The paper study asks for <answer></answer> and for one box: both, either, by the rewards of both kinds of RL."""
    example = Example("e", "t", "?", "5", "integer", benchmark="mathvista", question_type="free_form", grading="typed")
    said = [[{"content": format.format(number)}] for number in (5, 6)]
    assert prompt_files.reward(said, [json.dumps(asdict(example))] * 2) == [1.0, 0.0]
    assert grpo.answer_reward(said, ["5", "5"], ["number", "number"]) == [1.0, 0.0]


@pytest.mark.parametrize(
    "wrapped",
    [
        "right",
        "**Right.**",
        "The answer is right.",
        "<think>or wrong?</think><answer>right</answer>",
        r"\boxed{\text{right}}",
    ],
)
def test_the_judges_word_is_read_the_same_way(wrapped):
    assert judge.word(wrapped) == RIGHT
