"""What `import frankenstein as fk` gives: every example in its docstrings runs, and nothing that is not needed is imported."""

import doctest
import subprocess
import sys

import pytest
from PIL import Image

import frankenstein as fk
from frankenstein import api

OF_A_STUDY = ("read_study",)  # tests/workflow runs a study


def run_examples(name: str, globs: dict) -> None:
    test = doctest.DocTestFinder().find(getattr(api, name), name, globs={"fk": fk, **globs})[0]
    assert test.examples, f"{name} has no example"
    report: list[str] = []
    failed, _ = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(test, out=report.append)
    assert not failed, "".join(report)


@pytest.fixture
def notebook(tiny, moved, loaded, tmp_path, monkeypatch):
    """The names that the examples use, in a folder of one's own."""
    monkeypatch.chdir(tmp_path)
    pictures = {
        name: Image.new("RGB", size, colour)
        for name, size, colour in (("picture", (64, 64), "red"), ("other", (56, 84), "blue"))
    }
    model, processor = loaded
    return {
        "checkpoint": tiny,
        "IN": tiny,
        "RL": moved,
        "base": tiny,
        "model": model,
        "processor": processor,
        **pictures,
    }


@pytest.mark.parametrize("name", [n for n in fk.__all__ if n[0].islower() and n not in (*OF_A_STUDY, "verify")])
def test_the_example_of_a_function_runs(notebook, name):
    run_examples(name, notebook)
    if name == "merge":
        run_examples("verify", notebook)


def test_nothing_else_is_public_and_everything_that_is_has_a_docstring():
    assert set(fk.__all__) == {name for name in dir(fk) if not name.startswith("_")}
    for name in fk.__all__:
        assert getattr(fk, name).__doc__, name
    with pytest.raises(AttributeError, match="it has Measurements"):
        _ = fk.sweeps


def test_the_import_alone_costs_nothing():
    said = subprocess.run(
        [sys.executable, "-c", "import sys, frankenstein; print([m for m in ('torch', 'pandas', 'snakemake') if m in sys.modules])"],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    assert said.strip() == "[]"


def test_attention_over_a_text_is_the_models_own_where_it_wrote_it(notebook):
    """What a model would say by itself, given to it as text, has the same attention."""
    model, processor, picture = (notebook[name] for name in ("model", "processor", "picture"))
    own = fk.attention(model, processor, "what is this?", picture, max_new_tokens=6)
    text = fk.generate(model, processor, ["what is this?"], [picture], max_new_tokens=6)[0]
    assert own.reasoning_tokens.iloc[0] == len(text.tokens)
    other = fk.attention(model, processor, "what is this?", picture, "<think>a b c d e f</think>")
    assert list(other.attention_mass) != list(own.attention_mass)
