"""What the report says of what a study does not have, and of what it can not tell."""

import json

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from test_claims import claim, decided, gain, hits, measured, one_run, runs_of

from frankenstein.claims import scoring, statements, verdicts
from frankenstein.claims.measurements import Measurements
from frankenstein.core.roles import RETRAINED
from frankenstein.data import tasks
from frankenstein.inference import responses
from frankenstein.report import answers, figures, layer_series, page, run_record
from frankenstein.report.figures import claims as chart

PAPER = statements.read([ROOT / "workflow" / "claims" / "paper.yaml"])
TWO = {
    "recipes": {
        "one": {"base": "b", "frozen": {"mid": "m"}, "runs": 4},
        "two": {"base": "b", "frozen": {"mid": "m"}, "runs": 4},
    }
}


def said(found: Measurements, config=TWO, stated=PAPER) -> str:
    return "\n".join(answers.limits(found, config, *chart.tables(found, stated)))


def answered_claim(number: int, found: Measurements) -> dict:
    tested, in_runs = chart.tables(found, claim(number))
    return answers.answer(verdicts.summarize_claims(claim(number), tested).iloc[0].to_dict(), tested, in_runs)


def test_a_seed_that_moves_as_much_as_rl_is_said():
    rates = {"IN": {"M_vis": 0.5}, "RL": {"M_vis": 0.6}, RETRAINED: {"M_vis": 0.65}}
    own = [{"claim": 1, "says": "x", "statements": [gain("IN", "RL", "M_vis")]}]
    one = {"recipes": {"one": {"base": "b", "frozen": {"mid": "m"}}}}
    text = said(one_run(outcomes=hits(rates, recipes=("one",), runs=1)), one, own)
    assert "moves by itself (95 % intervals, not corrected): M_vis RL - IN +15.0 [" in text
    assert "points, where RL makes +10.0 [" in text
    assert "One training run: intervals are over its examples" in text
    rates[RETRAINED] = {"M_vis": 0.5}
    text = said(one_run(outcomes=hits(rates, recipes=("one",), runs=1)), one, own)
    assert "moves by itself" not in text
    assert "No IN of another seed" not in text
    assert "No IN of another seed beside RL in one" in said(
        one_run(outcomes=hits({role: rates[role] for role in ("IN", "RL")}, recipes=("one",), runs=1)), one, own
    )


def test_few_runs_and_coarse_tests_are_said():
    rates = {"IN": {"M_v2r": 0.4, "M_rea": 0.4}, "IN:RL:RL": {"M_v2r": 0.5, "M_rea": 0.5}}
    few = said(measured(runs_of(runs=2), outcomes=hits(rates, n=20, runs=2, sd=0.05)), stated=claim(6))
    assert "4 training runs of 2 recipes: tests pool the runs" in few
    assert "With 4 runs no sign-flip test reaches 5 %" in few
    assert "Coarse tests: 2 statements about rates would miss" in few
    many = said(measured(outcomes=hits(rates, n=2000, sd=0.01)), stated=claim(6))
    assert "sign-flip" not in many
    assert "Coarse tests" not in many


def test_runs_from_one_in_are_said():
    rates = {"IN": {"M_v2r": 0.4}, "RL": {"M_v2r": 0.6}}
    frame = hits(rates, sd=0.02)
    assert "start from one IN" not in said(measured(outcomes=frame), stated=claim(6))
    first = frame[(frame.role == "IN") & (frame.run == 1)]
    shared = pd.concat([frame[frame.role == "RL"], *(first.assign(run=run) for run in (1, 2, 3, 4))])
    assert "The runs of one, two start from one IN" in said(measured(outcomes=shared), stated=claim(6))


@pytest.mark.parametrize(
    ("value", "text"),
    [(np.nan, ""), (None, ""), (0.0, "0"), (320, "320"), (1234567, "1,234,567"), (0.012345, "0.0123"), (np.inf, "∞"), ("x", "x"), (True, "True"), (np.int64(5), "5")],
)  # fmt: skip
def test_numbers_as_they_are_printed(value, text):
    assert answers.number(value) == text


def test_alt_text_says_what_is_seen():
    table = pd.DataFrame({"of": "ocr", "layer": range(-1, 4), "n": 4, "rate": [0, 0.2, 1, 0.5, 0], "low": 0, "high": 1})
    assert figures.alt_text("heatmap", table).endswith("ocr: highest at layer 1 (1), 0 at layer 3.")
    assert figures.alt_text("heatmap", table.assign(rate=np.nan)).endswith("ocr: no value.")
    assert "nothing was measured" in figures.alt_text("controls", pd.DataFrame())


def test_where_checkpoints_and_data_come_from(tmp_path):
    sources = {
        "base": {"hub": "Qwen/Qwen2.5-VL-7B-Instruct", "revision": "cc" * 20},
        "in": {"path": "/models/in"},
        "rl": {"train": "grpo", "start": "in", "seed": 12, "frozen": "late"},
        "mine.IN-RL-RL": None,
        "old": {"path": "/models/of another study"},
    }
    for name, source in sources.items():
        (tmp_path / "checkpoints" / name).mkdir(parents=True)
        manifest = {"source": source, "layers": 28, "parameters": 8_000_000_000, "files": {"a": {"sha256": name}}}
        (tmp_path / "checkpoints" / name / "manifest.json").write_text(json.dumps(manifest))
    table = run_record.checkpoints(tmp_path, ["not made yet", *sources][:-1]).set_index("checkpoint")["from"]
    assert table.to_dict() == {
        "base": f"Hub: Qwen/Qwen2.5-VL-7B-Instruct @ {'cc' * 20}",
        "in": "directory /models/in",
        "rl": "trained here: grpo, from in, seed 12, late frozen",
        "mine.IN-RL-RL": "hybrid",
    }
    (tmp_path / "responses").mkdir()
    responses.write(tmp_path / "responses" / "in.0.jsonl", {"checkpoint": "in", "prompt": "ab12"}, [])
    prompts = run_record.checkpoints(tmp_path, list(sources)).set_index("checkpoint").prompt.dropna()
    assert prompts.to_dict() == {"in": "ab12"}
    (tmp_path / "data").mkdir()
    for task in ("math", "gsm", "text_math"):
        tasks.write(tmp_path / "data" / f"{task}.jsonl", [tasks.Example(i, task, "1+1?", "2") for i in "123"])
    (tmp_path / "downloads").mkdir()
    (tmp_path / "downloads" / "math.json").write_text(json.dumps({"repo": "o/math", "revision": "dd" * 20}))
    config = {"datasets": {"math": {"benchmark": "math500"}, "gsm": {"benchmark": "gsm8k", "path": "gsm.jsonl"}}}
    table = run_record.datasets(tmp_path, config).set_index("task")
    assert table["from"].to_dict() == {
        "math": f"math500: Hub, o/math @ {'dd' * 20}", "gsm": "gsm8k: gsm.jsonl", "text_math": "the mini study",
    }  # fmt: skip
    assert set(table.examples) == {3}


def test_failures_are_counted_with_their_reasons(tmp_path):
    rows = [("1", "right", "", "False"), ("2", "wrong", "", "True"), ("3", "ungraded", "no description", ""), ("4", "ungraded", "no description", ""), ("5", "abstained", "says so", "")]  # fmt: skip
    frame = pd.DataFrame(rows, columns=["id", "verdict", "reason", "truncated"]).assign(task="t", condition="image")
    made = run_record.responses(frame.assign(checkpoint="rl")).iloc[0]
    assert made[["n", "right", "wrong", "abstained", "ungraded", "truncated"]].tolist() == [5, 1, 1, 1, 2, 1]
    assert run_record.ungraded(frame).to_dict("records") == [{"reason": "no description", "responses": 2}]


def test_the_answer_says_what_would_decide():
    rates = {"IN": {"M_v2r": 0.4, "M_rea": 0.4}, "IN:RL:RL": {"M_v2r": 0.44, "M_rea": 0.42}}
    found = measured(runs_of(runs=2), outcomes=hits(rates, n=100, runs=2, sd=0.02))
    tested = decided(claim(6), found)
    answer = answered_claim(6, found)
    most = tested.loc[(tested.needed_runs * tested.needed_examples).idxmax()]
    assert answer["sentence"] == (
        "Over 4 training runs, both statements are undecided. Showing an effect of 3 points with 80 % power would take up to "
        f"{most.needed_runs:.0f} runs of {most.needed_examples:,.0f} examples (here 4 of 100)."
    )
    first = answer["statements"][0]
    assert first["shown"] == "{:+.1f} [{:+.1f}, {:+.1f}]".format(*100 * tested.loc[0, ["estimate", "low", "high"]])
    assert first["over_shown"] == "4 runs"
    assert len(first["runs"]) == 4
    assert first["runs"][0]["shown"].startswith("+")


def test_the_answer_of_one_run_is_of_its_checkpoints():
    rates = {"IN": {"M_v2r": 0.4, "M_rea": 0.4}, "IN:RL:RL": {"M_v2r": 0.7, "M_rea": 0.4}}
    answer = answered_claim(6, one_run(outcomes=hits(rates, recipes=("one",), runs=1)))
    assert (answer["verdict"], answer["in_checkpoint"]) == ("undecided", "undecided")
    assert answer["sentence"] == (
        "In the checkpoints of the one run, of 2 statements 1 is supported and 1 is undecided. "
        "One run says nothing about RL in general."
    )


def test_a_claim_with_parts_or_nothing_measured_says_so():
    rates = {"IN": {"M_v2r": 0.4}, "IN:RL:RL": {"M_v2r": 0.7}}
    answer = answered_claim(6, measured(outcomes=hits(rates, sd=0.02)))
    assert answer["sentence"] == (
        "Over 8 training runs, the statement is supported. 1 statement was not measured in this study."
    )
    assert answered_claim(6, measured())["sentence"] == "This study measured none of the quantities in this claim."


def test_a_value_and_its_interval_are_one_cell():
    frame = pd.DataFrame(
        {"recipe": ["one", "two"], "IN": [47.0, np.nan], "IN low": [37.5, np.nan], "IN high": [56.7, np.nan]}
    )
    shown = page._page(frame)
    page._with_intervals(shown, list(frame.columns))
    assert [name for name, _ in shown.columns] == ["recipe", "IN"]
    assert shown.rows[0] == [("one", "one", ""), ("47 [37.5, 56.7]", 47.0, "")]
    assert shown.rows[1][1][0] == ""


def answered(both, image, black, ungraded=0, n=100):
    """Grades of a checkpoint: so many of n right with both images, with the image alone, with the black one alone, and with the
    image where the response to the black one has no verdict."""
    rest = n - both - image - black - ungraded
    pairs = [("right", "right")] * both + [("right", "wrong")] * image + [("wrong", "right")] * black
    pairs += [("right", "ungraded")] * ungraded + [("wrong", "wrong")] * rest
    rows = [
        {
            "id": str(i),
            "task": task,
            "problem": str(i),
            "condition": condition,
            "verdict": verdict,
            "extracted": "x",
            "well_formed": True,
        }
        for i, pair in enumerate(pairs)
        for task, conditions in (("v", ("image", "black")), ("m", ("image", "described")), ("t", ("text", "text")))
        for condition, verdict in zip(conditions[: 1 + (task != "t")], pair, strict=False)
    ]
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("instruct", "rl", "said"),
    [
        # As much is seen, but black images are answered by other defaults.
        (dict(both=30, image=42, black=4), dict(both=47, image=25, black=4), "From IN to RL (recipe one), M_vis changed by -17.0 points [-24.4, -8.9]: accuracy with the image by +0.0, answers that are also right on a black image by +17.0; the change is mostly in what the model answers without seeing."),
        # More is seen, and nothing else.
        (dict(both=30, image=20, black=4), dict(both=30, image=40, black=4), "From IN to RL (recipe one), M_vis changed by +20.0 points [+11.4, +27.8]: accuracy with the image by +20.0, answers that are also right on a black image by +0.0; the change is mostly in what the model sees."),
        (dict(both=30, image=20, black=4), dict(both=20, image=45, black=4), "From IN to RL (recipe one), M_vis changed by +25.0 points [+15.7, +33.3]: accuracy with the image by +15.0, answers that are also right on a black image by -10.0; both move it."),
        (dict(both=30, image=20, black=4), dict(both=40, image=20, black=4), "From IN to RL (recipe one), M_vis changed by +0.0 points [-9.0, +9.0]: accuracy with the image by +10.0, answers that are also right on a black image by +10.0; the interval includes zero."),
        (dict(both=30, image=40, black=4), dict(both=30, image=20, black=4, ungraded=20), "From IN to RL (recipe one), M_vis changed by -20.0 points [-27.8, -11.4]: accuracy with the image by +0.0, answers that are also right on a black image by +0.0, ungraded answers to a black image by +20.0; the change is mostly in responses that were not graded."),
    ],
)  # fmt: skip
def test_what_moves_m_vis_is_said(instruct, rl, said):
    examples = [tasks.Example(str(i), task, "?", "1") for task in "vmt" for i in range(100)]
    abilities = {"vision": "v", "vision_to_reasoning": "m", "reasoning": "t"}
    grades, roles = {"in": answered(**instruct), "rl": answered(**rl)}, {"in": [("one", "IN")], "rl": [("one", "RL")]}
    made = scoring.score(grades, roles, {"one": ("one", 1)}, abilities, examples)
    (sentence,) = answers.moves(made["vision"], made["paired"])
    assert sentence == said


def test_what_moves_m_vis_over_runs():
    examples = [tasks.Example(str(i), task, "?", "1") for task in "vmt" for i in range(100)]
    abilities = {"vision": "v", "vision_to_reasoning": "m", "reasoning": "t"}
    grades, roles, runs = {}, {}, {}
    for run, more in enumerate((36, 40, 44), 1):
        grades[f"in{run}"] = answered(both=30, image=20, black=4)
        grades[f"rl{run}"] = answered(both=30, image=more, black=4)
        roles |= {f"in{run}": [(f"r{run}", "IN")], f"rl{run}": [(f"r{run}", "RL")]}
        runs[f"r{run}"] = ("one", run)
    made = scoring.score(grades, roles, runs, abilities, examples)
    (sentence,) = answers.moves(made["vision"], made["paired"])
    assert sentence == (
        "From IN to RL (recipe one, mean of 3 runs), M_vis changed by +20.0 points [+9.7, +30.3]: accuracy with the image by "
        "+20.0, answers that are also right on a black image by +0.0; the change is mostly in what the model sees."
    )


def test_the_lines_of_a_layerwise_figure_are_its_table():
    rows = [{"recipe": "one", "run": run, "stage": stage, "layer": layer, "rank": rank, "log_ratio": -layer - rank / 10, "low": -9, "high": np.nan} for run in (1, 2) for stage in ("IN", "RL") for layer in (1, 0) for rank in (1, 2, 10)]  # fmt: skip
    found = layer_series.of("figure6", pd.DataFrame(rows))
    assert list(found["charts"]) == ["recipe one, rank 2", "recipe one, rank 10"]
    lines = found["charts"]["recipe one, rank 10"]
    assert [line["name"] for line in lines] == ["IN, run 1", "RL, run 1", "IN, run 2", "RL, run 2"]
    assert lines[0]["points"] == [[0, -1.0, -9.0, None], [1, -2.0, -9.0, None]]
    assert layer_series.of("figure2", pd.DataFrame(rows)) is None
    assert layer_series.of("figure3", pd.DataFrame()) is None
