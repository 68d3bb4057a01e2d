"""What the released lmms-eval logs, read back: it runs in an environment of its own, on files that we did not write.

python3 -m venv lmms-eval && lmms-eval/bin/pip install --no-deps -r envs/lmms-eval.txt
FRANKENSTEIN_LMMS_EVAL=lmms-eval/bin/python pytest tests/unit/test_lmms_eval.py
"""

import importlib.util
import itertools
import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest

from frankenstein import cli
from frankenstein.data import tasks
from frankenstein.mini import benchmarks, questions
from frankenstein.training import sft

PYTHON = os.environ.get("FRANKENSTEIN_LMMS_EVAL") or (sys.executable if importlib.util.find_spec("lmms_eval") else None)
pytestmark = pytest.mark.skipif(
    PYTHON is None,
    reason="no lmms-eval: install envs/lmms-eval.txt in a venv and set FRANKENSTEIN_LMMS_EVAL=its python",
)

ROWS, OFFSET = 60, 12
# easy-VQA's questions; the accuracy is lmms-eval's mean over what `results` returns.
TASK = """\
dataset_path: json
dataset_kwargs:
  data_files:
    test: {data}
task: {name}
test_split: test
output_type: generate_until
doc_to_visual: !function utils.visual
doc_to_text: !function utils.{text}
doc_to_target: answer
generation_kwargs:
  max_new_tokens: 6
process_results: !function utils.{results}
metric_list:
  - metric: acc
    aggregation: mean
    higher_is_better: true
"""
UTILS = """\
from pathlib import Path

from PIL import Image


def visual(doc):
    return [Image.open(Path(__file__).parent / doc["image"]).convert("RGB")]


def text(doc, lmms_eval_specific_kwargs=None):
    return "Question: " + doc["prompt"] + "\\nAnswer:"


def vista(doc, lmms_eval_specific_kwargs=None):
    from lmms_eval.tasks.mathvista.utils import mathvista_doc_to_text

    how = {"shot": 0, "shot_type": "format-prompt", "use_caption": False, "use_ocr": False}
    return mathvista_doc_to_text(doc, how)


def results(doc, said):
    return {"acc": float(said[0].strip() == doc["answer"])}


def named(doc, said):
    return {**results(doc, said), "id": doc["id"]}
"""


def as_published(row) -> dict:
    """A row with MathVista's own fields: multiple choice, some of it with a unit."""
    kinds = (["yes", "no"], ["circle", "rectangle", "triangle"], sorted({row.answer, "red", "blue", "teal"}))
    return {
        "pid": f"v{row.id}", "question": row.prompt, "image": row.image, "answer": row.answer, "answer_type": "text",
        "choices": next(choices for choices in kinds if row.answer in choices), "question_type": "multi_choice",
        "precision": None, "unit": "pixels" if row.id.endswith("3") else None, "metadata": {"category": "general-vqa"},
    }  # fmt: skip


@pytest.fixture(scope="module")
def log(tiny, tmp_path_factory):
    """A folder with rows, a checkpoint that has learned a little, and lmms-eval's logs of it from row 12 on in out/.

    Tasks: easy, as most are; easy_named, which logs ids; vista, in MathVista's published fields and lmms-eval's wording.
    Rows: vista.jsonl; some.jsonl, without the last; turned.jsonl, from behind; published.jsonl, as MathVista's are.
    """
    folder = tmp_path_factory.mktemp("lmms-eval")
    benchmarks.write_examples("easy_vqa", folder / "easy.jsonl", folder / "images", ROWS, seed=3)
    rows = [
        replace(
            example, benchmark="mathvista", question_type="free_form", answer_type="text", description=None, meta={}
        )
        for example in tasks.read_examples(folder / "easy.jsonl")
    ]
    tasks.write(folder / "vista.jsonl", rows)
    tasks.write(folder / "some.jsonl", rows[:-1])
    tasks.write(folder / "turned.jsonl", rows[::-1])
    with open(folder / "published.jsonl", "w") as file:
        file.writelines(json.dumps(as_published(row)) + "\n" for row in rows)
    asked = itertools.islice(questions.stream(1, "train", {"easy_vqa": 1}), 16 * 150)
    learned = [
        sft.Sample(sft.Prompt(f"Question: {q.prompt}\nAnswer:", q.image, "You are a helpful assistant."), q.answer)
        for q in asked
    ]
    sft.supervised(tiny, folder / "model", learned, steps=150, batch=16, learning_rate=3e-3, seed=1)
    for name, data, text, results in (
        ("easy", "vista", "text", "results"),
        ("easy_named", "vista", "text", "named"),
        ("vista", "published", "vista", "results"),
    ):
        task = TASK.format(data=folder / f"{data}.jsonl", name=name, text=text, results=results)
        (folder / f"{name}.yaml").write_text(task)
    (folder / "utils.py").write_text(UTILS)
    pixels = "min_pixels=784,max_pixels=12544"
    subprocess.run(
        [
            PYTHON, "-m", "lmms_eval", "--model", "qwen2_5_vl", "--batch_size", "8", "--offset", str(OFFSET),
            "--model_args", f"pretrained={folder / 'model'},device=cpu,device_map=cpu,{pixels}",
            "--include_path", folder, "--tasks", "easy,easy_named,vista", "--log_samples", "--output_path", folder / "out",
        ],
        # Its MathVista will not be imported without a key; nothing here asks a judge.
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "hf"), "OPENAI_API_KEY": "unused"},
        check=True, timeout=300,
    )  # fmt: skip
    assert list(folder.glob("out/**/*_samples_vista.jsonl")), "lmms-eval failed"  # and exits with 0
    return folder


def theirs(log, task) -> float:
    """lmms-eval's accuracy of a task."""
    (results,) = log.glob("out/**/*_results.json")
    return json.loads(results.read_text())["results"][task]["acc,none"]


def samples(log, task):
    (found,) = log.glob(f"out/**/*_samples_{task}.jsonl")
    return found


def graded(log, task, examples, out, *options) -> dict[str, bool]:
    """id -> whether our rules find an imported response right."""
    rows = ["--examples", str(log / examples), *options]
    cli.main(["import", "--from", "lmms-eval", str(samples(log, task)), *rows, "-o", str(out)])
    verdicts = out.with_suffix(".verdicts")
    cli.main(["grade", "--task", "mathvista", str(out), "-o", str(verdicts)])
    return {row["id"]: row["verdict"] == "right" for row in map(json.loads, verdicts.read_text().splitlines())}


def test_the_log_is_what_we_take_it_for(log):
    rows = [json.loads(line) for line in samples(log, "easy").read_text().splitlines()]
    assert [row["doc_id"] for row in rows] == list(range(OFFSET, ROWS))  # counted in the split, not in the log
    assert all("doc" not in row and "filtered_resps" in row for row in rows)
    assert len({row["doc_hash"] for row in rows}) == 1  # of null: it tells nothing
    questions_asked = [row["input"] for row in rows]
    assert len(set(questions_asked)) < len(rows)  # the text alone would not do


@pytest.mark.parametrize("task", ["easy", "easy_named"])
def test_a_log_is_graded_here_as_there(log, tmp_path, task):
    found = graded(log, task, "vista.jsonl", tmp_path / "r.jsonl")
    assert list(found) == [row.id for row in tasks.read_examples(log / "vista.jsonl")[OFFSET:]]
    logged = [json.loads(line) for line in samples(log, task).read_text().splitlines()]
    assert list(found.values()) == [row["acc"] == 1 for row in logged]
    assert 0 < theirs(log, task) < 1
    assert len({row["filtered_resps"] for row in logged}) > 1
    assert sum(found.values()) / len(found) == pytest.approx(theirs(log, task), abs=1e-9)


def test_mathvistas_published_rows_are_found_in_lmms_evals_wording(log, tmp_path):
    found = graded(log, "vista", "published.jsonl", tmp_path / "r.jsonl", "--benchmark", "mathvista")
    published = [json.loads(line) for line in (log / "published.jsonl").read_text().splitlines()][OFFSET:]
    imported = [json.loads(line) for line in (tmp_path / "r.jsonl").read_text().splitlines()]
    for name in ("answer", "choices", "question_type", "answer_type"):
        assert [row[name] for row in imported] == [row[name] for row in published]
    assert list(found) == [row["pid"] for row in published]
    assert sum(found.values()) / len(found) == pytest.approx(theirs(log, "vista"), abs=1e-9)


def test_rows_in_another_order_are_found_by_their_ids_or_not_at_all(log, tmp_path):
    out = tmp_path / "r.jsonl"
    straight, turned = (graded(log, "easy_named", rows, out) for rows in ("vista.jsonl", "turned.jsonl"))
    assert straight == turned
    with pytest.raises(SystemExit, match=r"samples_easy\.jsonl, line \d+: doc_id \d+, .* may be of row"):
        graded(log, "easy", "turned.jsonl", out)


def test_what_cannot_be_joined_is_refused(log, tmp_path):
    out = tmp_path / "r.jsonl"
    with pytest.raises(SystemExit, match="its task has 60 documents or more, and there are 59 rows"):
        graded(log, "easy", "some.jsonl", out)
    with pytest.raises(SystemExit, match=r"line 1: no document \(doc\) is logged.*--examples FILE"):
        cli.main(["import", "--from", "lmms-eval", str(samples(log, "easy")), "-o", str(out)])
    assert not out.exists()
