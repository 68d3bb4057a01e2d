import json
import subprocess
import sys
import time

import pytest
from conftest import SHARED

from frankenstein import cli
from frankenstein.core.errors import InputError
from frankenstein.grading import latex, records, rules
from frankenstein.grading.graders import grade, grade_all
from frankenstein.grading.outcome import RIGHT, UNGRADED, WRONG, Grade

DATA = SHARED
needs_data = pytest.mark.skipif(not DATA.exists(), reason="the real data of ../shared is not there")


def verdict(task, response, answer, **fields):
    return grade_all(task, [{"id": "x", "response": response, "answer": answer, **fields}], jobs=1)[0].verdict


INTEGER = {"question_type": "free_form", "answer_type": "integer"}
FLOAT = {"question_type": "free_form", "answer_type": "float", "precision": 2}
CHOICE = {"question_type": "multi_choice", "answer_type": "text", "choices": ["Yes", "No"]}


@pytest.mark.parametrize(
    ("task", "response", "answer", "fields", "expected"),
    [
        ("mathvista", "<answer>3.14</answer>", "3.14", FLOAT, RIGHT),
        ("mathvista", "<answer>14</answer>", "3.14", FLOAT, WRONG),
        ("mathvista", "<answer>0.5</answer>", "0.5", FLOAT, RIGHT),
        ("mathvista", "<answer>5</answer>", "0.5", FLOAT, WRONG),
        ("mathvista", "The answer is 3.141", "3.14", FLOAT, RIGHT),
        ("mathvista", "<answer>201</answer>", "200", INTEGER, WRONG),
        ("mathvista", "<answer>1,234</answer>", "1234", INTEGER, RIGHT),
        ("mathvista", "It is 50 %", "50", INTEGER, RIGHT),
        ("mathvista", "It is 50 %", "0.5", FLOAT, WRONG),
        ("mathvista", "<answer>0.5</answer>", "50", INTEGER | {"unit": "%"}, RIGHT),
        ("mathvista", "<answer>0.5</answer>", "50", INTEGER, WRONG),
        ("mathvista", "", "5", INTEGER, WRONG),
        ("mathvista", "<think>5", "5", INTEGER, WRONG),
        ("mathvista", "(B)", "No", CHOICE, RIGHT),
        ("mathvista", "B.", "No", CHOICE, RIGHT),
        ("mathvista", "Option B because A is wrong", "No", CHOICE, RIGHT),
        ("mathvista", "Option B because A is wrong", "Yes", CHOICE, WRONG),
        ("mathvista", "It is [1, 2, 3]", "[1, 2, 3]", {"question_type": "free_form", "answer_type": "list"}, RIGHT),
        ("mathvista", "It is [1, 3]", "[1, 2, 3]", {"question_type": "free_form", "answer_type": "list"}, WRONG),
        ("gsm8k", "So she makes $18.\nA: 18", "9 * 2 = 18\n#### 18", {}, RIGHT),
        ("gsm8k", "#### 1,234", "1234", {}, RIGHT),
        ("gsm8k", "The answer is 18.00", "18", {}, RIGHT),
        ("gsm8k", "The answer is 17", "18", {}, WRONG),
        ("math500", "\\boxed{\\frac12}", "\\frac{1}{2}", {}, RIGHT),
        ("math500", "\\boxed{0.5}", "\\frac{1}{2}", {}, RIGHT),
        ("math500", "\\boxed{(3, \\pi/2)}", "\\left( 3, \\frac{\\pi}{2} \\right)", {}, RIGHT),
        ("math500", "\\boxed{p-q}", "p - q", {}, RIGHT),
        ("math500", "\\boxed{q-p}", "p - q", {}, WRONG),
        ("math500", "\\boxed{b}", "a-b", {}, WRONG),
        ("math500", "\\boxed{3}", "5:3", {}, WRONG),
        ("math500", "\\boxed{2\\sqrt{3}}", "\\sqrt{12}", {}, RIGHT),
        ("math500", "\\boxed{x^2+2x+1}", "(x+1)^2", {}, RIGHT),
        ("math500", "\\boxed{(-\\infty, 2)}", "(-\\infty,2]", {}, WRONG),
        ("math500", "\\boxed{(-\\infty, 2]}", "(-\\infty,2]", {}, RIGHT),
        ("math500", "\\boxed{\\text{Evelyn}}", "\\text{Evelyn}", {}, RIGHT),
        ("math500", "\\boxed{Carla}", "\\text{Evelyn}", {}, WRONG),
        ("mathvision", "<answer>C</answer>", "C", {"choices": ["1", "2", "3"]}, RIGHT),
        ("mathvision", "\\boxed{3}", "C", {"choices": ["1", "2", "3"]}, RIGHT),
        ("mathvision", "\\boxed{3}", "3", {}, RIGHT),
        ("mathverse", "The answer is B", "B", {"question_type": "multi-choice"}, RIGHT),
        ("mathverse", "so x = 4", "4", {"question_type": "free-form"}, RIGHT),
        ("logicvista", "A, C", "A, C", {}, RIGHT),
        ("logicvista", "The answer is C and A.", "A, C", {}, RIGHT),
        ("logicvista", "<answer>AC</answer>", "A, C", {}, RIGHT),
        ("logicvista", "(A)", "A, C", {}, WRONG),
        ("logicvista", None, "A", {}, UNGRADED),
    ],
)  # fmt: skip
def test_verdicts(task, response, answer, fields, expected):
    assert verdict(task, response, answer, **fields) == expected


@pytest.mark.parametrize(
    ("response", "gold"),
    [
        (r"\boxed{2\sqrt{3}}", 2), (r"\boxed{2\pi}", 2), ("Answer: 2√3", 2), (r"\boxed{3a+2}", 3), (r"\boxed{\frac{3}{x}}", 3),
        (r"\boxed{(3, 4)}", 3), ("The answer is minus 3", 3), ("The answer is negative 3.", 3), (r"\boxed{5:3}", 5),
        (r"\boxed{x > 5}", 5), (r"\boxed{5 \text{ and } 7}", 5), ("The answer is between 5 and 10", 5), (r"\boxed{10^{-3}}", 10),
        (r"\boxed{12x}", 12), ("<answer>5:30</answer>", 5), ("<answer>10-12</answer>", 10),
        ("<answer>10^3</answer>", 10), ("<answer>12 000</answer>", 12), ("<answer>12k</answer>", 12), ("The answer is 3 dozen", 3),
        ("The answer is 2 million", 2), ("<answer>3 hours 20 minutes</answer>", 3), ("<answer>5 × 10</answer>", 5), ("<answer>12 or 13</answer>", 12),
        ("<answer>>5</answer>", 5), ("The answer is one hundred", 1), ("The answer is twenty-five", 20),
    ],
)  # fmt: skip
def test_a_number_within_an_expression_is_not_the_answer(response, gold):
    assert verdict("mathvista", response, str(gold), **INTEGER) == WRONG
    assert verdict("gsm8k", response, f"#### {gold}") == WRONG


@pytest.mark.parametrize(
    ("response", "gold"),
    [
        ("The answer is twenty-five", 25), ("The answer is 3 dozen", 36), ("<answer>12k</answer>", 12000), ("<answer>12 000</answer>", 12000),
        ("The answer is 2.5 million", 2_500_000), (r"\boxed{12\text{ cm}}", 12), (r"\boxed{x = 5}", 5), ("The answer is 53 - 46 = 7 percent.", 7),
        ("Hence the answer is 7, since the person on the left was born in 1933.", 7), ("The answer is (12).", 12),
        ("Therefore the number of eggs is 7, which is 2 more than yesterday.", 7), ("The answer is **negative 4**.", -4),
        ("The difference is 9 - 4 = 5. Note that the first reading is 4.", 5), ("So 48/2 = 24, 48+24 = 72.\nA: 72", 72),
    ],
)  # fmt: skip
def test_numbers_as_people_write_them(response, gold):
    assert verdict("mathvista", response, str(gold), **INTEGER) == RIGHT
    assert verdict("gsm8k", response, f"#### {gold}") == RIGHT


@pytest.mark.parametrize(
    ("response", "gold", "choices"),
    [
        ("Therefore P(A) = 0.4.", "0.3", ["0.3", "0.4", "0.5", "0.6"]),
        ("Therefore, BC = 5√3.", "5", ["5", "10", "5√2", "6"]),
        ("The total is 1,250.", "1", ["1", "2", "3", "1250"]),
        ("x = -3", "3", ["3", "2", "4", "5"]),
        ("AB = 6 and BC = 8, so AC = 10, half of it is 5.", "6", ["6", "8", "10", "5"]),
        (
            "The blue one is not larger than the red; it is smaller than it.",
            "larger than",
            ["larger than", "smaller than"],
        ),
        ("The answer is not yes but no", "yes", ["yes", "no"]),
        ("There is no doubt: yes.", "no", ["yes", "no"]),
        (r"We add 65 and 65: \boxed{77}", "130", ["65", "120", "130", "155"]),
    ],
)
def test_a_choice_that_is_not_made(response, gold, choices):
    fields = {"question_type": "multi_choice", "answer_type": "text", "choices": choices}
    assert verdict("mathvista", response, gold, **fields) == WRONG


@pytest.mark.parametrize(
    ("task", "response", "gold", "fields", "expected"),
    [
        ("math500", r"\boxed{2516_9}", "2516_8", {}, WRONG),
        ("math500", r"\boxed{4210_{5}}", "4210_{7}", {}, WRONG),
        ("math500", r"\boxed{2516}", "2516_8", {}, RIGHT),
        ("math500", r"\boxed{(2,3)}", r"\{2,3\}", {}, WRONG),
        ("math500", r"The answer is $\$36$.", r"\$36", {}, RIGHT),
        ("mathvision", "Therefore option B is correct.", "B", {"options": ["1", "2", "3"]}, RIGHT),
        ("mathvision", "The answer is B: 2", "B", {"options": ["1", "2", "3"]}, RIGHT),
        ("logicvista", "The answer is option B because it is rotated.", "B", {}, RIGHT),
        ("logicvista", "The answer is face", "A", {}, UNGRADED),
        ("mathvista", "The final answer is: 3", "3", INTEGER, RIGHT),
    ],
)  # fmt: skip
def test_rules_of_the_benchmarks(task, response, gold, fields, expected):
    assert verdict(task, response, gold, **fields) == expected


@pytest.mark.parametrize(("fields", "says"), [
    ({"question_type": "free_form", "answer_type": "float"}, "answer_type float needs a precision"),
    ({"question_type": "free_form"}, "unknown answer_type None"),
    ({"choices": "[]"}, r"choices must be a list, not '\[\]'"),
])  # fmt: skip
def test_gold_fields_that_are_missing_are_named(fields, says):
    with pytest.raises(InputError, match=f"mathvista, id 'x': {says}"):
        verdict("mathvista", "1.4", "1.2", **fields)


@pytest.mark.slow
@pytest.mark.parametrize(
    "filler",
    [" ", "\n", "answer ", "a", "(", "9", "9,", "9.", "9 ", "1,000,", "3, 4, ", "=", "A, ", "no ", "is 9 ", "**", "$"],
)
@pytest.mark.parametrize("task", ["mathvista", "math500", "gsm8k"])
def test_a_response_that_never_ends_is_read_in_time(task, filler):
    """A loop of 8,192 tokens, as models fall into, is a wrong answer on any machine and not one that took too long."""
    fields = INTEGER if task == "mathvista" else {}
    for response in ("the answer{}x", "So it is {}", "<think>{}"):
        assert verdict(task, response.format(filler * 8192), "5", **fields) == WRONG


@pytest.mark.slow
@pytest.mark.parametrize(
    "answer",
    ["9**9**9**9", "9^{9^{9^{9}}}", "10000000!", "((9!)!)!", "9" * 10_000, "\\sum_{n=1}^{10^{9}} n!", "2^{99999999}",
     "\\int_0^1 \\int_0^1 \\sin(\\cos(\\tan(xyz)))^{99} dx dy", "(x+y+z+w)^{900}", "__import__('os').system('true')"],
)  # fmt: skip
def test_hostile_answers_end_in_time(answer):
    started = time.monotonic()
    made = grade_all(
        "math500", [{"id": 1, "response": f"\\boxed{{{answer}}}", "answer": "\\sqrt{2}"}], jobs=1, time_limit=2
    )
    assert made[0].verdict in (WRONG, UNGRADED)
    assert made[0].verdict == WRONG or made[0].reason
    assert time.monotonic() - started < 25


@pytest.mark.slow
def test_what_takes_too_long_costs_itself_alone(monkeypatch):
    monkeypatch.setattr(latex, "bomb", lambda text: False)
    records = [
        {"id": n, "response": f"\\boxed{{{answer}}}", "answer": "(x+1)^2"}
        for n, answer in enumerate(("x^2+2x+1", "9^{9^{9^{9}}}+x", "1+x^2+2x"))
    ]
    made = grade_all("math500", records, jobs=1, time_limit=2)
    assert [result.verdict for result in made] == [RIGHT, UNGRADED, RIGHT]
    assert "sympy" in made[1].reason


@needs_data
@pytest.mark.parametrize(("extracted", "aim"), [(True, 0.97), (False, 0.92)])
def test_agreement_with_mathvistas_own_verdicts(extracted, aim):
    rows = json.loads((DATA / "mathvista" / "graded_responses_bard.json").read_text())
    records = [{"id": key, **row} for key, row in rows.items()]
    made = grade_all("mathvista", records, extracted)
    same = sum((result.verdict == RIGHT) == row["true_false"] for result, row in zip(made, records, strict=True))
    assert same / len(records) >= aim


@pytest.mark.slow
@needs_data
def test_gsm8ks_own_solutions_are_right_and_no_others():
    rows = [json.loads(line) for line in (DATA / "gsm8k" / "test.jsonl").read_text().splitlines()]
    for ending in ("\nA: {}", "\n#### {}", " The answer is {}."):
        records = []
        for number, row in enumerate(rows):
            steps, _, answer = row["answer"].partition("\n#### ")
            records.append({"id": number, "response": steps + ending.format(answer), "answer": row["answer"]})
        assert sum(result.verdict == RIGHT for result in grade_all("gsm8k", records)) / len(records) >= 0.995
        wrong = [{**record, "answer": f"#### {10**9 + 1}"} for record in records]
        assert not any(result.verdict == RIGHT for result in grade_all("gsm8k", wrong))


@pytest.mark.slow
@needs_data
def test_math500s_own_solutions_are_right_and_its_neighbours_wrong():
    rows = [json.loads(line) for line in (DATA / "math500" / "test.jsonl").read_text().splitlines()]
    records = [{"id": row["unique_id"], "response": row["solution"], "answer": row["answer"]} for row in rows]
    made = grade_all("math500", records)
    assert sum(result.verdict == RIGHT for result in made) >= 0.995 * len(rows)
    others = [
        {**record, "response": other["response"]}
        for record, other in zip(records, records[1:] + records[:1], strict=True)
    ]
    made = grade_all("math500", others)
    # By chance two neighbours have one answer, or x=5 and 5.
    assert sum(result.verdict == RIGHT for result in made) <= 0.01 * len(rows)


def write(path, *lines):
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines) + "\n")
    return path


def test_the_command(tmp_path, capsys):
    responses = write(
        tmp_path / "r.jsonl",
        {"id": "1", "response": "(B)", "answer": "No", **CHOICE},
        {"id": "2", "response": "The answer is 201.", "answer": "200", **INTEGER},
        {"id": "3", "response": None, "error": "out of memory", "answer": "200", **INTEGER},
    )
    out = tmp_path / "v.jsonl"
    cli.main(["grade", "--task", "mathvista", str(responses), "-o", str(out)])
    made = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["verdict"] for row in made] == [RIGHT, WRONG, UNGRADED]
    assert made[0] == {"id": "1", "extracted": "No", "verdict": RIGHT, "reason": ""}
    assert made[2]["reason"] == "out of memory"
    said = capsys.readouterr().out
    assert [line.split() for line in said.splitlines()[:5]] == [
        ["3", "answers"],
        ["right", "1", "33.3%"],
        ["wrong", "1", "33.3%"],
        ["abstained", "0", "0.0%"],
        ["ungraded", "1", "33.3%"],
    ]
    assert "accuracy: 33.3% [" in said
    assert "ungraded, out of memory: 1" in said


def test_golds_by_id(tmp_path):
    golds = tmp_path / "testmini.json"
    golds.write_text(json.dumps({"7": {"answer": "No", **CHOICE}}))
    responses = write(tmp_path / "r.jsonl", {"id": "7", "response": "B", "extraction": "A"})
    out = tmp_path / "v.jsonl"
    for options, expected in (([], RIGHT), (["--use-extraction"], WRONG)):
        cli.main(["grade", "--task", "mathvista", str(responses), "--examples", str(golds), "-o", str(out), *options])
        assert json.loads(out.read_text())["verdict"] == expected
    lines = write(
        tmp_path / "golds.jsonl", {"question": "?", "answer": "#### 4"}, {"question": "?", "answer": "#### 5"}
    )
    write(responses, {"id": 1, "response": "#### 5"})
    cli.main(["grade", "--task", "gsm8k", str(responses), "--examples", str(lines), "-o", str(out)])
    assert json.loads(out.read_text())["verdict"] == RIGHT


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        (
            ['{"id": 1, "response": "1", "answer": "1"}', "{torn", '{"id": 2, "response": "1", "answer": "1"}'],
            "line 2: not a JSON object",
        ),
        (
            ['{"id": 1, "response": "1", "answer": "1"}', '{"id": "1", "response": "1", "answer": "1"}'],
            "line 2: id '1' appears twice",
        ),
        (['{"response": "1", "answer": "1"}'], "line 1: no id"),
        (['{"id": 1, "answer": "1"}'], "line 1: neither response nor extraction"),
        (['{"id": 1, "response": "1"}'], "line 1: no answer to grade '1' by"),
        (
            ['{"id": 1, "response": "1", "answer": "one or two"}'],
            "gsm8k, id 1: the answer 'one or two' is not a number",
        ),
    ],
)
def test_bad_input_is_one_error(tmp_path, lines, says):
    with pytest.raises(SystemExit, match=says):
        cli.main(["grade", "--task", "gsm8k", str(write(tmp_path / "r.jsonl", *lines)), "-o", str(tmp_path / "v")])
    assert not (tmp_path / "v").exists()


def test_a_torn_last_line_is_left_out(tmp_path):
    path = tmp_path / "r.jsonl"
    path.write_text('{"id": 1, "response": "1", "answer": "1"}\n{"id": 2, "respo')
    assert [record["id"] for record in records.read_responses(path, None)] == [1]
    path.write_text('{"id": 1, "response": "1", "answer": "1"}\n{"id": 2, "respo\n')
    with pytest.raises(InputError, match="line 2"):
        records.read_responses(path, None)


def test_a_grade_needs_no_sympy_for_plain_answers():
    assert isinstance(grade("math500", {"response": "\\boxed{12}", "answer": "12"}), Grade)
    assert grade("math500", {"response": "\\boxed{x+1}", "answer": "1+x"}) == ("1+x", "x+1")


HOSTILE = {
    "a megabyte": "a" * 10**6,
    "a megabyte of answers": "the answer is maybe " * 50_000,
    "a megabyte of numbers": "1 2 3, " * 150_000,
    "a megabyte of blanks": " " * 10**6,
    "opening braces": "{" * 30_000,
    "braces in a box": r"\boxed{" + "{" * 30_000,
    "boxes in boxes": r"\boxed{" * 5_000 + "5" + "}" * 5_000,
    "thinking in thinking": "<think>" * 1_000 + "x" + "</think>" * 1_000 + "5",
    "answers in answers": "<answer>" * 1_000 + "5" + "</answer>" * 1_000,
    "text in text": r"\text{" * 1_000 + "5" + "}" * 1_000,
    "fractions": r"\frac{" * 5_000,
    "NUL": "The answer is \0 5" + "\0" * 1_000,
    "lone surrogates": "The answer is \ud800 5" + "\udfff" * 1_000,
    "a list": "- 5\n" * 10_000,
    "letters": "A and " * 8_000,
    "powers": r"\boxed{" + "9^{" * 50 + "9" + "}" * 50 + "}",
}
KINDS = {
    "integer": ("mathvista", INTEGER | {"answer": "5"}),
    "choice": ("mathvista", {**CHOICE, "answer": "No"}),
    "letters": ("logicvista", {"answer": "A"}),
    "latex": ("math500", {"answer": "\\frac{1}{2}"}),
    "number": ("gsm8k", {"answer": "#### 5"}),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("response", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_response_is_read_within_a_second(kind, response):
    task, gold = KINDS[kind]
    before = time.process_time()  # of this process alone: other work on the machine is not ours
    grade(task, {"response": response, **gold})
    assert time.process_time() - before < 1


def test_reading_has_a_time_limit(monkeypatch):
    def forever(*_):
        while True:
            pass

    monkeypatch.setattr(rules.extraction, "final_answer", forever)
    made = grade_all("gsm8k", [{"id": 1, "response": "5", "answer": "5"}], time_limit=0.2)
    assert made == [Grade(UNGRADED, None, "reading it took more than 0.2 s")]


@pytest.mark.parametrize("way", ["standard input", "a file without a guard"])
def test_a_program_of_any_kind_gets_its_verdicts(tmp_path, way):
    """A fresh process imports the caller's program: from standard input there is none, and without a guard it would run again."""
    program = (
        "from frankenstein.grading import graders\n"
        "records = [{'id': n, 'response': '\\\\boxed{x+%d}' % n, 'answer': '1+x'} for n in (1, 2)]\n"
        "print([grade.verdict for grade in graders.grade_all('math500', records)])\n"
    )
    (tmp_path / "program.py").write_text(program)
    command = [sys.executable, "-" if way == "standard input" else str(tmp_path / "program.py")]
    told = subprocess.run(command, input=program, capture_output=True, text=True, timeout=120, check=True)
    assert told.stdout.splitlines() == ["['right', 'wrong']"]


@pytest.mark.slow
def test_a_loaded_machine_changes_no_verdict(monkeypatch):
    """Limits are of CPU time: waiting, as for other programs, is no part of it."""

    def waits(record, use_extraction):
        time.sleep(1.5)
        return Grade(RIGHT, "5")

    def works(record, use_extraction):
        while True:
            pass

    monkeypatch.setattr(rules, "grade", waits)
    assert grade_all("gsm8k", [{"response": "5", "answer": "5"}], time_limit=1)[0].verdict == RIGHT
    monkeypatch.setattr(rules, "grade", works)
    made = grade_all("gsm8k", [{"response": "5", "answer": "5"}], time_limit=1)[0]
    assert (made.verdict, made.reason) == (UNGRADED, "reading it took more than 1 s")
