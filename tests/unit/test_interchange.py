import json

import pandas as pd
import pytest

from frankenstein import cli
from frankenstein.core.errors import InputError
from frankenstein.data import tasks
from frankenstein.data.tasks import Example, fingerprint, write
from frankenstein.grading import interchange
from frankenstein.inference import cache, respond, responses
from frankenstein.inference.generation import Response


@pytest.fixture
def study(tmp_path):
    """Files of a study: four questions of MathVista, answered with their number."""
    examples = [
        Example(
            str(i),
            "vista",
            f"how many? {i}",
            str(i),
            "integer",
            benchmark="mathvista",
            question_type="free_form",
            image="a.png",
        )
        for i in range(3)
    ] + [
        Example(
            "9",
            "vista",
            "which?",
            "blue",
            "text",
            benchmark="mathvista",
            question_type="multi_choice",
            choices=["red", "blue"],
        )
    ]
    write(tmp_path / "vista.jsonl", examples)
    said = {"how many? 0": "The answer is 0.", "how many? 1": "5", "how many? 2": "\\boxed{2}", "which?": "(B)"}
    asked = [(Example(**{**e.__dict__, "image": None}), "text") for e in examples]
    store = cache.ResponseCache(tmp_path / "s" / "0.jsonl", {})

    class Engine:
        def prepare(self):
            pass

        def __call__(self, prompts):
            return [Response(said[prompt.text], [1], False) for prompt in prompts]

    made = respond.respond(Engine(), asked, tmp_path, "", 2, store)
    header = {"checkpoint": "base", "examples": {"vista": fingerprint(examples)}}
    responses.write(tmp_path / "base.0.jsonl", header, made)
    return tmp_path


def grade(study, responses_file, capsys):
    out = study / "verdicts.jsonl"
    cli.main(["grade", "--task", "mathvista", str(responses_file), "-o", str(out)])
    capsys.readouterr()
    return {r["id"]: r["verdict"] for r in map(json.loads, out.read_text().splitlines())}


def test_a_study_goes_out_as_logged_samples_and_comes_back(study, capsys):
    samples, back = study / "samples.jsonl", study / "back.jsonl"
    cli.main(
        [
            "export",
            "--examples",
            str(study / "vista.jsonl"),
            "--condition",
            "text",
            str(study / "base.0.jsonl"),
            "-o",
            str(samples),
        ]
    )
    first, second, *_ = map(json.loads, samples.read_text().splitlines())
    assert {
        "doc_id",
        "doc",
        "target",
        "arguments",
        "resps",
        "filtered_resps",
        "doc_hash",
        "prompt_hash",
        "target_hash",
    } <= set(first)
    assert (first["resps"], first["target"], first["acc"], second["acc"]) == ([["The answer is 0."]], "0", 1.0, 0.0)
    assert "image" not in first["doc"]
    cli.main(["import", "--from", "lmms-eval", str(samples), "-o", str(back)])
    assert grade(study, back, capsys) == {"0": "right", "1": "wrong", "2": "right", "9": "right"}


def test_an_export_wants_every_example(study):
    with pytest.raises(SystemExit, match="not every example was asked in the condition 'image'"):
        cli.main(
            ["export", "--examples", str(study / "vista.jsonl"), str(study / "base.0.jsonl"), "-o", str(study / "x")]
        )
    assert not (study / "x").exists()


def test_lmms_evals_own_samples(tmp_path, capsys):
    """Rows as its evaluator logs them: documents without images, nested responses, metrics beside."""
    doc = {
        "pid": "7",
        "question": "?",
        "choices": ["3", "4"],
        "answer": "4",
        "question_type": "multi_choice",
        "answer_type": "text",
    }
    rows = [
        {
            "doc_id": 0,
            "doc": doc,
            "target": "4",
            "resps": [["So B."]],
            "filtered_resps": ["B"],
            "doc_hash": "x",
            "gpt_eval_score": 1,
        },
        {
            "doc_id": 1,
            "target": "12",
            "resps": [["12"]],
            "filtered_resps": ["12"],
            "doc": {"question_type": "free_form", "answer_type": "integer"},
        },
    ]
    (tmp_path / "s.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = list(interchange.from_lmms_eval(tmp_path / "s.jsonl"))
    assert [(r["id"], r["response"], r["answer"]) for r in found] == [("7", "So B.", "4"), ("1", "12", "12")]
    cli.main(["import", "--from", "lmms-eval", str(tmp_path / "s.jsonl"), "-o", str(tmp_path / "r.jsonl")])
    assert grade(tmp_path, tmp_path / "r.jsonl", capsys) == {"7": "right", "1": "right"}
    (tmp_path / "s.jsonl").write_text('{"doc_id": 0}\n')
    with pytest.raises(InputError, match="line 1: not a logged sample"):
        list(interchange.from_lmms_eval(tmp_path / "s.jsonl"))


def logged(doc_id, question, target, said, **more):
    """A sample as lmms-eval 0.7.3 writes it (test_lmms_eval.py has it write some): no doc, and resps where filters changed them."""
    null = "74234e98afe7498fb5daf1f36ac2d78acc339464f950703b8c019892f982b90b"
    head = {"doc_id": doc_id, "target": target, "filtered_resps": said, "token_counts": [None], "doc_hash": null}
    return {**head, "acc": 0.0, "input": f"Look at the image.\n{question}\nAnswer briefly.", **more}


ROWS = [  # the same question about several images, one question within another, choices, a sum within a sum
    ("what  is shown?", "circle", None), ("is it red?", "yes", None), ("is it red?", "no", None),
    ("is it red?", "no", None), ("1+1=", "2", None), ("11+1=", "12", None), ("what is it?", "blue", ["red", "blue"]),
    ("so: what is it?", "red", ["red", "blue"]), ("how long?", "1.25", None),
]  # fmt: skip


@pytest.fixture
def join(tmp_path):
    """Import of samples by ROWS, or by others: the records, by the command. `split`: documents that the results file tells of."""

    def run(samples, rows=ROWS, split=None):
        examples = [
            Example(
                f"r{at}", "vista", question + (f"\nChoices:\n(A) {choices[0]}\n(B) {choices[1]}" if choices else ""), answer,
                "float" if answer == "1.25" else "integer" if answer.isdigit() else "text", choices=choices, benchmark="mathvista",
                question_type="multi_choice" if choices else "free_form", precision=2 if answer == "1.25" else None,
            )
            for at, (question, answer, choices) in enumerate(rows)
        ]  # fmt: skip
        write(tmp_path / "rows.jsonl", examples)
        (tmp_path / "1_samples_t.jsonl").write_text("".join(json.dumps(sample) + "\n" for sample in samples))
        (tmp_path / "1_results.json").unlink(missing_ok=True)
        if split is not None:
            (tmp_path / "1_results.json").write_text(json.dumps({"n-samples": {"t": {"original": split}}}))
        out = tmp_path / "joined.jsonl"
        command = ["import", "--from", "lmms-eval", str(tmp_path / "1_samples_t.jsonl"), "-o", str(out)]
        cli.main([*command, "--examples", str(tmp_path / "rows.jsonl")])
        return [json.loads(line) for line in out.read_text().splitlines()]

    return run


def sample_of(row, doc_id=None, **more):
    question, answer, _ = ROWS[row]
    return logged(row if doc_id is None else doc_id, question, answer, f"said {row}", **more)


def pairs(records):
    return [(record["id"], record["response"]) for record in records]


def test_samples_without_documents_get_their_rows_gold(join, tmp_path, capsys):
    said = ["It is a circle.", "yes", "no", "yes", "2", "12", "(B)", "B", "1.25"]
    samples = [logged(at, row[0], row[1], text) for at, (row, text) in enumerate(zip(ROWS, said, strict=True))]
    samples[4] |= {"resps": "<think>one and one</think>2"}
    records = join(samples, split=9)
    assert [record["id"] for record in records] == [f"r{at}" for at in range(9)]
    assert records[4]["response"] == "<think>one and one</think>2"
    assert records[6] | {"choices": ["red", "blue"], "answer": "blue", "question_type": "multi_choice"} == records[6]
    assert (records[8]["precision"], records[8]["answer_type"]) == (2, "float")
    right = {key for key, verdict in grade(tmp_path, tmp_path / "joined.jsonl", capsys).items() if verdict == "right"}
    assert right >= {"r1", "r2", "r4", "r5", "r6", "r8"}
    assert not right & {"r3", "r7"}


def test_a_log_may_begin_anywhere_and_be_in_any_order(join):
    order = [8, 3, 5, 2, 4]  # of several processes, from row 2 on: doc_id is counted in the split
    assert pairs(join([sample_of(row) for row in order], split=9)) == [(f"r{row}", f"said {row}") for row in order]
    # Counted from the log's beginning, or in other rows: the text tells, where it can.
    unique = [4, 5, 6, 7, 8]
    moved = [sample_of(row, doc_id=at) for at, row in enumerate(unique)]
    for split in (None, 5, 9):
        assert pairs(join(moved, split=split)) == [(f"r{row}", f"said {row}") for row in unique]


def test_a_question_about_two_images_is_no_row_by_its_text(join):
    """Two rows ask the same and have the same answer: the place tells, if the rows are known to be the split's, or the id."""
    both = [sample_of(2), sample_of(3)]
    with pytest.raises(
        SystemExit, match=r"line 1: doc_id 2, .*is it red.*may be of row 2 or row 3: both ask 'is it red\?'"
    ):
        join(both)  # nothing says that these are all the rows
    with pytest.raises(SystemExit, match="may be of row 2 or row 3"):
        join(both, split=8)
    with pytest.raises(SystemExit, match="may be of row 2 or row 3"):
        join([sample_of(3, doc_id=2), sample_of(4, doc_id=3)], split=9)  # one is not in its place: none is believed
    assert pairs(join(both, split=9)) == [("r2", "said 2"), ("r3", "said 3")]
    assert pairs(join([sample_of(1)], split=8)) == [("r1", "said 1")]  # no other row has this answer
    ids = [sample_of(3, doc_id=0, submission={"question_id": "r3"}), sample_of(2, doc_id=1, id="r2")]
    assert pairs(join(ids, split=8)) == [("r3", "said 3"), ("r2", "said 2")]
    with pytest.raises(SystemExit, match="may be of row 2 or row 3"):
        join([sample_of(3, id="r1")], split=8)  # an id of something else


def test_what_is_in_no_row_is_refused(join):
    with pytest.raises(
        SystemExit,
        match=r"1_samples_t\.jsonl, line 2: doc_id 5, 'Look.*where.*', asks the question of no row; row 5 asks '11\+1='",
    ):
        join([sample_of(4), logged(5, "where is it?", "left", "left")], split=9)
    with pytest.raises(SystemExit, match=r"doc_id 4, .*1\+1=.*, has the target '3', and row 4 the answer '2'"):
        join([logged(4, "1+1=", "3", "3")], split=9)
    with pytest.raises(SystemExit, match="asks the question of no row; row 4 asks '1"):
        join([logged(4, "21+1=", "2", "2")], split=9)  # another sum that ends like it
    with pytest.raises(SystemExit, match="its task has 12 documents or more, and there are 9 rows; give all of them"):
        join([sample_of(4)], split=12)
    with pytest.raises(SystemExit, match="its task has 31 documents or more"):
        join([sample_of(4, doc_id=30)])
    with pytest.raises(SystemExit, match="line 2: doc_id 1 and on line 1 doc_id 0 are both of row 4"):
        join([sample_of(4, doc_id=0), sample_of(4, doc_id=1)])


def test_a_target_may_be_a_letter_and_a_document_be_logged_by_two_filters(join):
    letters = [
        logged(6, "what is it?", "B", "x"),
        logged(7, "so: what is it?", "(A)", "x"),
        logged(8, "how long?", "", "x"),
    ]
    assert [record["id"] for record in join(letters)] == ["r6", "r7", "r8"]
    with pytest.raises(SystemExit, match="has the target 'A'"):
        join([logged(6, "what is it?", "A", "x")])
    assert pairs(join([sample_of(4), sample_of(5), sample_of(4)])) == [("r4", "said 4"), ("r5", "said 5")]
    with pytest.raises(SystemExit, match="line 2: doc_id 4 stands on line 1 already, with 'said 4' and not '2'"):
        join([sample_of(4), logged(4, "1+1=", "2", "2")])


def test_without_rows_or_with_other_rows_one_line_says_what_to_give(join, tmp_path):
    join([sample_of(4)])
    command = ["import", "--from", "lmms-eval", str(tmp_path / "1_samples_t.jsonl"), "-o", str(tmp_path / "x")]
    for options, said in (
        ([], r"line 1: no document \(doc\) is logged, as by lmms-eval 0.7; give all rows .*--examples FILE"),
        (["--benchmark", "mathvista"], r"data/testmini-\*.parquet of AI4Math/MathVista at 2b6ad69"),
        (["--benchmark", "vista"], "--benchmark vista: unknown; known: gsm8k, "),
        (["--benchmark", "mathvista", "--examples", str(tmp_path / "rows.jsonl")], "no row of mathvista"),
    ):
        with pytest.raises(SystemExit, match=said):
            cli.main([*command, *options])
    with pytest.raises(SystemExit, match="--examples goes with --from lmms-eval"):
        cli.main(["import", "--from", "vlmevalkit", "p.tsv", "-o", "x", "--examples", str(tmp_path / "rows.jsonl")])
    (tmp_path / "1_results.json").write_text("{}")
    with pytest.raises(SystemExit, match=r"1_results\.json: no results of lmms-eval's task t"):
        cli.main([*command, "--examples", str(tmp_path / "rows.jsonl")])


def test_an_export_has_points_for_every_verdict(study):
    examples = tasks.read_examples(study / "vista.jsonl")
    records = [{"id": example.id, "condition": "image", "response": "x"} for example in examples[:3]]
    verdicts = dict(zip([example.id for example in examples], ("right", "abstained", "ungraded"), strict=False))
    made = list(interchange.to_lmms_eval(examples[:3], records, verdicts))
    assert [sample["acc"] for sample in made] == [1.0, 0.0, None]
    assert made[0]["input"] == examples[0].prompt


@pytest.mark.parametrize("suffix", ["xlsx", "tsv"])
def test_vlmevalkits_predictions(tmp_path, capsys, suffix):
    table = pd.DataFrame(
        {
            "index": [0, 1, 2],
            "question": ["?", "?", "?"],
            "answer": ["3", "B", "1.2"],
            "question_type": ["free_form", "multi_choice", "free_form"],
            "answer_type": ["integer", "text", "float"],
            "choices": [None, "['red', 'blue']", None],
            "precision": [None, None, 1.0],
            "prediction": ["It is 3.", "blue", None],
        }
    )
    path = tmp_path / f"m_MathVista_MINI.{suffix}"
    table.to_excel(path, index=False) if suffix == "xlsx" else table.to_csv(path, sep="\t", index=False)
    cli.main(["import", "--from", "vlmevalkit", str(path), "-o", str(tmp_path / "r.jsonl")])
    assert grade(tmp_path, tmp_path / "r.jsonl", capsys) == {"0": "right", "1": "right", "2": "ungraded"}
    lettered = table.drop(columns="choices").assign(A="red", B="blue")
    lettered[lettered["index"] == 1].to_csv(tmp_path / "l.tsv", sep="\t", index=False)
    (record,) = interchange.from_vlmevalkit(tmp_path / "l.tsv")
    assert record["choices"] == ["red", "blue"]


def test_tables_that_are_no_predictions_are_named(tmp_path):
    pd.DataFrame({"index": [1], "answer": ["3"]}).to_csv(tmp_path / "a.tsv", sep="\t")
    with pytest.raises(InputError, match="not a table of VLMEvalKit's predictions"):
        list(interchange.from_vlmevalkit(tmp_path / "a.tsv"))
    with pytest.raises(InputError, match=r"must be an \.xlsx"):
        list(interchange.from_vlmevalkit(tmp_path / "a.parquet"))
    pd.DataFrame({"index": [1], "prediction": ["x"], "choices": ["__import__('os').getcwd()"]}).to_csv(
        tmp_path / "e.csv", index=False
    )
    (record,) = interchange.from_vlmevalkit(tmp_path / "e.csv")
    assert "choices" not in record


def test_two_systems_are_compared_in_pairs(tmp_path, capsys):
    for name, verdicts in (("a", "rrww"), ("b", "rwrr")):
        rows = [{"id": i, "verdict": {"r": "right", "w": "wrong"}[v]} for i, v in enumerate(verdicts)]
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    cli.main(["compare", str(tmp_path / "a"), str(tmp_path / "b")])
    said = capsys.readouterr().out
    head, *rows, both, difference = said.splitlines()
    assert [row.split() for row in (head, *rows)] == [
        ["4", "examples", "right", "alone", "accuracy"],
        [str(tmp_path / "a"), "2", "1", "50.0%"],
        [str(tmp_path / "b"), "3", "2", "75.0%"],
    ]
    assert len({len(line) for line in (head, *rows)}) == 1
    assert both == "both right: 1, neither: 0"
    assert difference.startswith("second minus first: +25.0 points [")
    (tmp_path / "c").write_text('{"id": 0, "verdict": "right"}\n')
    with pytest.raises(SystemExit, match="not asked the same examples"):
        cli.main(["compare", str(tmp_path / "a"), str(tmp_path / "c")])


def test_an_answer_of_none_is_an_answer_and_a_failed_call_is_none(tmp_path, capsys):
    rows = {
        "index": [0.0, 1.0, 2.0, 3.0],
        "A": ["Left"] * 4, "B": ["None"] * 4, "C": ["Both"] * 4, "D": ["Right"] * 4,
        "answer": ["D", "C", "B", "A"],
        "prediction": ["D", "Both", "None", "Failed to obtain answer via API."],
    }  # fmt: skip
    for suffix in ("tsv", "xlsx"):
        path = tmp_path / f"p.{suffix}"
        frame = pd.DataFrame(rows)
        frame.to_excel(path, index=False) if suffix == "xlsx" else frame.to_csv(path, sep="\t", index=False)
        cli.main(["import", "--from", "vlmevalkit", str(path), "-o", str(tmp_path / "r.jsonl")])
        verdicts = grade(tmp_path, tmp_path / "r.jsonl", capsys)
        assert verdicts == {"0": "right", "1": "right", "2": "right", "3": "ungraded"}


def test_a_precision_of_a_table_is_a_number(tmp_path, capsys):
    text = "index\tanswer\tquestion_type\tanswer_type\tprecision\tprediction\n0\t1.2\tfree_form\tfloat\t1.0\t1.23\n"
    (tmp_path / "p.tsv").write_text(text)
    cli.main(["import", "--from", "vlmevalkit", str(tmp_path / "p.tsv"), "-o", str(tmp_path / "r.jsonl")])
    assert grade(tmp_path, tmp_path / "r.jsonl", capsys) == {"0": "right"}


def test_files_that_are_not_what_they_are_called_are_one_line(tmp_path):
    (tmp_path / "a.xlsx").write_text("hello")
    with pytest.raises(SystemExit, match=r"a\.xlsx: not a table"):
        cli.main(["import", "--from", "vlmevalkit", str(tmp_path / "a.xlsx"), "-o", str(tmp_path / "r")])
    (tmp_path / "v").write_text('{"id": 1}\n')
    with pytest.raises(SystemExit, match="not verdicts of `frankenstein grade`"):
        cli.main(["compare", str(tmp_path / "v"), str(tmp_path / "v")])
    (tmp_path / "s.jsonl").write_text('{"doc_id": 0, "doc": {}, "target": "", "resps": [["\\ud800"]]}\n')
    cli.main(["import", "--from", "lmms-eval", str(tmp_path / "s.jsonl"), "-o", str(tmp_path / "r")])
    assert "answer" not in json.loads((tmp_path / "r").read_text())
