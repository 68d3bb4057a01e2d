"""docs/extending.md is followed to the letter, in a copy of a repository whose micro study has run."""

import json
import os
import re
import shutil
import subprocess
import sys

import pandas as pd
import pytest
import yaml
from conftest import ROOT
from study import planned, snakemake


@pytest.fixture(scope="module")
def extended(micro, tmp_path_factory):
    """The repository with every snippet in its place."""
    copy = shutil.copytree(micro, tmp_path_factory.mktemp("extended") / "repository", symlinks=True)
    text = (ROOT / "docs" / "extending.md").read_text()
    snippets = re.findall(r"<!-- (file|append|before): (\S+?)(?:, \"(.*?)\")? -->\n```\w+\n(.*?)```", text, re.S)
    assert len(snippets) == text.count("<!-- ") == 7
    for how, path, mark, code in snippets:
        target = copy / path
        if how == "file":
            assert not target.exists()
            target.write_text(code)
        elif how == "append":
            target.write_text(target.read_text() + "\n\n" + code)
        else:
            assert target.read_text().count(mark) == 1
            target.write_text(target.read_text().replace(mark, code + mark))
    return copy


@pytest.fixture(scope="module")
def rerun(extended):
    """Rules that the snippets would run."""
    return planned(extended)


def run(repository, *command: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(repository / "workflow")}
    return subprocess.run(
        [sys.executable, *command], cwd=repository, env=environment, capture_output=True, text=True, check=True
    ).stdout


def test_a_benchmark_is_one_file(extended):
    row = {
        "ID": "chal-1",
        "Body": "There are 5 pens.",
        "Question": "How many pens?",
        "Answer": "5.0",
        "Type": "Addition",
    }
    (extended / "svamp.jsonl").write_text(json.dumps(row) + "\n")
    made = "from frankenstein.data import published; print(published.read('svamp', ['svamp.jsonl'], False)[0].prompt)"
    assert run(extended, "-c", made).strip() == "There are 5 pens. How many pens?"
    answer = {"id": 1, "response": "The answer is 5.", "answer": "5.0"}
    (extended / "answers.jsonl").write_text(json.dumps(answer) + "\n")
    said = run(extended, "-m", "frankenstein", "grade", "--task", "svamp", "answers.jsonl", "-o", "verdicts.jsonl")
    assert re.search(r"^right +1 ", said, re.MULTILINE)
    run(extended, "-m", "frankenstein.study.reference_docs")
    assert "`svamp`" in (extended / "config" / "README.md").read_text()


def test_a_figure_is_a_module_a_rule_and_a_caption(extended, rerun):
    assert rerun >= {"lengths", "write_report"}
    snakemake(extended, "--", "lengths")
    table = pd.read_csv(extended / "results/micro/figures/lengths.csv")
    assert set(table.stage) == {"IN", "RL", "IN, retrained"}
    assert (extended / "results/micro/figures/lengths.pdf").stat().st_size > 1000


def test_a_claim_and_a_statistic_are_read_and_documented(extended):
    claims = yaml.safe_load((extended / "config" / "mine-claims.yaml").read_text())
    of = {"name": "worst", "statistic": "worst_gain", "of": {"from": "IN", "to": "RL"}, "expect": "greater"}
    (extended / "own.yaml").write_text(yaml.safe_dump([*claims, {"claim": "own", "says": "x", "statements": [of]}]))
    read = (
        "from frankenstein.claims import statements, testing; import frankenstein as fk\n"
        "stated = statements.read(['own.yaml'])\n"
        "print(testing.check_all(stated, fk.read_study('results/micro'))[0][['statement', 'n']].to_string())"
    )
    assert re.search(r"worst +\d+", run(extended, "-c", read))
    run(extended, "-m", "frankenstein.study.reference_docs")
    assert "| `worst_gain` | `from`, `to` | The smallest gain" in (extended / "config" / "README.md").read_text()


def test_a_family_is_one_file_and_reruns_nothing_of_another(extended, rerun):
    assert re.search(r"cohere2_vision +generation yes", run(extended, "-m", "frankenstein", "families"))
    assert not {"attention", "weight_updates", "merge", "reinforce", "skip_layers"} & rerun


def test_a_study_is_read_into_a_notebook(micro, monkeypatch):
    """The example of fk.read_study."""
    sys.path.insert(0, str(ROOT / "tests" / "unit"))
    from test_api import run_examples

    run_examples("read_study", {"study": "results/micro", "root": micro})
