"""What the report says of what a study does not have, and of what it can not tell."""

import json

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from test_claims import claim, concentrated, hits, measured, of_weights, planted

from frankenstein.claims import claims, scoring, statements
from frankenstein.claims.measurements import Measurements
from frankenstein.core.regions import Regions
from frankenstein.core.roles import RETRAINED
from frankenstein.data import tasks
from frankenstein.inference import responses
from frankenstein.report import answers, figures, page, run_record

PAPER = statements.read([ROOT / "workflow" / "claims" / "paper.yaml"])
TWO = {
    "recipes": {
        "one": {"base": "b", "frozen": {"mid": "m"}, "retrained": "i"},
        "two": {"base": "b", "frozen": {"mid": "m"}},
    }
}


def said(found: Measurements, config=TWO, stated=PAPER) -> str:
    return "\n".join(answers.limits(found, config, statements.check_all(stated, found)))


@pytest.mark.slow
def test_few_layers_cannot_tell_and_many_can(tiny, tmp_path):
    planted(tiny, tmp_path / "in", concentrated(1e-2, range(3, 6)))
    planted(tmp_path / "in", tmp_path / "rl", concentrated(1e-2, range(3, 6)))
    deep = of_weights(tiny, tmp_path / "in", tmp_path / "rl")
    deep = deep[deep.component == "layer"]
    few = deep[deep.layer % 3 < 2].assign(layer=lambda frame: frame.layer - frame.layer // 3)
    found = Measurements(Regions((2, 4), 6), ("one",), updates=few, seed=1)
    assert (
        "Claim 4 cannot be decided in this study: with 6 layers a permutation of layers has no p below 0.044"
        in said(found)
    )
    # As it says: Mid's is a hundred times the rest's.
    assert set(statements.check_all(claim(4), found).verdict) == {statements.UNDECIDED}
    many = Measurements(Regions((3, 6), 9), ("one",), updates=deep, seed=1)
    assert "cannot be decided" not in said(many)
    assert set(statements.check_all(claim(4), many).verdict) == {statements.SUPPORTED}


def test_a_seed_that_moves_as_much_as_rl_is_said():
    rates = {"IN": {"M_vis": 0.5}, "RL": {"M_vis": 0.6}, RETRAINED: {"M_vis": 0.65}}
    own = [{"claim": 1, "says": "x", "statements": [{"name": "M_vis RL - IN", "statistic": "gain", "of": {"metric": "M_vis", "from": "IN", "to": "RL"}, "expect": "greater"}]}]  # fmt: skip
    text = said(measured(outcomes=hits(rates, recipes=("one",))), stated=own)
    assert "moves by itself (95 % intervals, not corrected): M_vis RL - IN (one) +15.0 [" in text
    assert "points, where RL makes +10.0 [" in text
    assert "beside RL in two: what RL changed is not told" in text
    rates[RETRAINED] = {"M_vis": 0.5}
    assert "moves by itself" not in said(measured(outcomes=hits(rates, recipes=("one",))), stated=own)


def test_few_examples_are_said():
    rates = {"IN": {"M_v2r": 0.4, "M_rea": 0.4}, "IN:RL:RL": {"M_v2r": 0.5, "M_rea": 0.5}}
    assert "Few examples: 4 tests of rates would miss" in said(measured(outcomes=hits(rates, n=20)), stated=claim(6))
    assert "Few examples" not in said(measured(outcomes=hits(rates, n=2000)), stated=claim(6))


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


def test_the_answer_says_how_much_data_would_tell():
    rates = {"IN": {"M_v2r": 0.4, "M_rea": 0.4}, "IN:RL:RL": {"M_v2r": 0.44, "M_rea": 0.4}}
    frame = hits(rates, n=100)
    same = frame[(frame.role == "IN") & (frame.metric == "M_rea")].assign(role="IN:RL:RL")
    frame = pd.concat([frame[~((frame.role == "IN:RL:RL") & (frame.metric == "M_rea"))], same])
    tested = statements.check_all(claim(6), measured(outcomes=frame))
    answer = answers.answer(claims.summarize_claims(claim(6), tested).iloc[0].to_dict(), tested)
    finite = tested.needed[np.isfinite(tested.needed)]
    assert answer["sentence"] == (
        "In these checkpoints, 0 of 4 tests support the claim, 4 are undecided; at the observed effect sizes, "
        f"{finite.min():,.0f} to {finite.max():,.0f} examples would be needed (100 available); 2 estimates are exactly zero."
    )
    assert answer["statements"][2]["needed_shown"] == "no N"
    assert answer["statements"][0]["shown"] == "+4.0 [{:+.1f}, {:+.1f}]".format(*100 * tested.loc[0, ["low", "high"]])
    assert answer["statements"][2]["shown"] == "+0.0 [-2.7, +2.7]"


def test_a_value_and_its_interval_are_one_cell():
    frame = pd.DataFrame(
        {"recipe": ["one", "two"], "IN": [47.0, np.nan], "IN low": [37.5, np.nan], "IN high": [56.7, np.nan]}
    )
    shown = page._page(frame)
    page._with_intervals(shown, list(frame.columns))
    assert [name for name, _ in shown.columns] == ["recipe", "IN"]
    assert shown.rows[0] == [("one", "one"), ("47 [37.5, 56.7]", 47.0)]
    assert shown.rows[1][1][0] == ""


def test_what_one_recipe_alone_has_is_claimed_of_it_alone():
    rates = {"IN": {"M_v2r": 0.4, "M_rea": 0.4}, "IN:RL:RL": {"M_v2r": 0.7, "M_rea": 0.7}}
    tested = statements.check_all(claim(6), measured(outcomes=hits(rates, recipes=("one",))))
    answer = answers.answer(claims.summarize_claims(claim(6), tested).iloc[0].to_dict(), tested)
    assert answer["verdict"] == "supported"
    assert answer["sentence"] == (
        "In these checkpoints, 2 of 2 tests support the claim; 2 further tests could not be run, so no conclusion is drawn for two."
    )
    nothing = statements.check_all(claim(6), measured())
    answer = answers.answer(claims.summarize_claims(claim(6), nothing).iloc[0].to_dict(), nothing)
    assert answer["sentence"] == "This study measured none of the quantities in this claim."


def test_an_effect_no_larger_than_a_seeds_is_said_in_the_answer():
    rates = {"IN": {"M_vis": 0.5}, "RL": {"M_vis": 0.6}, RETRAINED: {"M_vis": 0.65}}
    own = [{"claim": 1, "says": "x", "where": "", "asks": "", "statements": [{"name": "M_vis RL - IN", "statistic": "gain", "of": {"metric": "M_vis", "from": "IN", "to": "RL"}, "expect": "greater"}]}]  # fmt: skip
    for again, said in ((0.65, True), (0.5, False)):
        rates[RETRAINED] = {"M_vis": again}
        tested = statements.check_all(own, measured(outcomes=hits(rates, recipes=("one",))))
        sentence = answers.answer(claims.summarize_claims(own, tested).iloc[0].to_dict(), tested)["sentence"]
        assert ("1 of the decided effects is no larger than IN's seed-to-seed variation" in sentence) == said, sentence


def answered(both, image, black, ungraded=0, n=100):
    """Grades of a checkpoint: so many of n right with both images, with the image alone, with the black one alone, and with the
    image where the response to the black one has no verdict."""
    rest = n - both - image - black - ungraded
    pairs = [("right", "right")] * both + [("right", "wrong")] * image + [("wrong", "right")] * black
    pairs += [("right", "ungraded")] * ungraded + [("wrong", "wrong")] * rest
    rows = [
        {"id": str(i), "task": task, "condition": condition, "verdict": verdict, "extracted": "x", "well_formed": True}
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
    made = scoring.score(grades, roles, abilities, examples)
    (sentence,) = answers.moves(made["vision"], made["paired"])
    assert sentence == said
