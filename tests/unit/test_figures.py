import numpy as np
import pandas as pd
import pytest

from frankenstein.claims.measurements import Measurements
from frankenstein.core.intervals import wilson
from frankenstein.core.regions import Regions
from frankenstein.data.tasks import Example, Pair
from frankenstein.grading import probes
from frankenstein.report import drawing, tables
from frankenstein.report.figures import figure3, figure4, figure6, heatmap
from frankenstein.updates import matrices

REGIONS = Regions((3, 6), 9)


def swap_records(responses):
    """responses: layer -> list of responses, one a pair."""
    return pd.DataFrame(
        [
            {
                "id": f"p{i}",
                "function": "ocr",
                "mode": "none" if layer < 0 else "hidden_state_at_layer",
                "layer": layer,
                "response": text,
                "truncated": False,
                "to_canvas": [1.0, 1.0],
                "error": None if text else "out of memory",
            }
            for layer, column in responses.items()
            for i, text in enumerate(column)
        ]
    )


def test_failed_samples_stay_in_n_and_a_layer_that_failed_is_not_zero():
    pairs = [Pair(f"p{i}", "ocr", "t", "s", "?", {"target_text": "CAT", "source_text": "DOG"}) for i in range(4)]
    records = swap_records({-1: ["CAT"] * 4, 0: ["DOG", "DOG", "CAT", None], 1: [None] * 4})
    table = probes.swap_table(records, pairs)
    assert list(table.failed) == [False] * 7 + [True] * 5
    assert not table[table.failed].changed.any()
    rates = figure4.change_rates(table).set_index("layer")
    assert set(rates["mode"]) == {"hidden_state_at_layer"}
    assert list(rates.n) == [4, 4, 4]
    assert list(rates.failed) == [0, 1, 4]
    assert rates.loc[0, "rate"] == 0.5
    assert np.isnan(rates.loc[1, "rate"])
    assert list(rates.right_rate) == [1, 0.25, 0]
    assert (rates.loc[0, "low"], rates.loc[0, "high"]) == (wilson(2, 4)["low"], wilson(3, 4)["high"])


def test_pairs_that_no_swap_can_change_leave_the_denominator_and_are_counted():
    golds = [("CAT", "DOG"), ("CAT", "cat"), ("CAT", "COW"), ("CAT", "PIG")]
    pairs = [
        Pair(f"p{i}", "ocr", "t", "s", "?", {"target_text": t, "source_text": s}) for i, (t, s) in enumerate(golds)
    ]
    table = probes.swap_table(swap_records({-1: ["CAT"] * 4, 0: ["DOG", "CAT", "COW", "CAT"]}), pairs)
    assert list(table.unchangeable) == [False, True, False, False] * 2
    rates = figure4.change_rates(table).set_index("layer")
    assert (rates.n[0], rates.unchangeable[0]) == (3, 1)
    assert rates.rate[0] == pytest.approx(2 / 3)


def test_a_function_that_the_base_can_not_do_is_marked(tmp_path):
    pairs = [Pair(f"p{i}", "ocr", "t", "s", "?", {"target_text": "CAT", "source_text": "DOG"}) for i in range(4)]
    half = probes.swap_table(swap_records({-1: ["CAT", "CAT", "4", "5"], 0: ["CAT"] * 4}), pairs)
    assert figure4.change_rates(half).able.all()
    unable = probes.swap_table(swap_records({-1: ["CAT", "3", "4", "5"], 0: ["CAT"] * 4}), pairs)
    rates = figure4.change_rates(unable)
    assert not rates.able.any()
    assert list(rates.base_right) == [0.25, 0.25]
    skips = rates.rename(columns={"function": "task"})[["task", "layer", "n", "failed", "rate", "low", "high"]]
    figure = figure4.draw(figure4.together(rates, skips.assign(truncated=[0, 2])), Measurements(REGIONS, ()))
    assert figure.axes[0].get_legend().get_texts()[0].get_text() == "ocr: not mastered, 25% right"
    assert "2 of 8 answers cut off" in figure.axes[1].get_title()
    assert "ocr, cut off" in [text.get_text() for text in figure.axes[1].get_legend().get_texts()]
    named = heatmap.by_function(rates.rename(columns={"mode": "probe"}))
    assert set(named.of) == {"ocr (not mastered)"}


def test_answers_that_are_numbers_are_read_as_text(tmp_path):
    (tmp_path / "r.jsonl").write_text(
        '{"checkpoint": "base", "id": "p0", "function": "counting", "mode": "none", "layer": -1, "response": "3", "truncated": false, "to_canvas": [1, 1], "error": null}\n'
        '{"checkpoint": "base", "id": "p0", "function": "counting", "mode": "kv_from_layer", "layer": 0, "response": "4", "truncated": false, "to_canvas": [1, 1], "error": null}\n'
        '{"checkpoint": "base", "id": "p0", "function": "counting", "mode": "kv_from_layer", "layer": 1, "response": null, "truncated": false, "to_canvas": [1, 1], "error": null}\n'
    )
    pairs = [Pair("p0", "counting", "t", "s", "?", {"target_answer": "3", "source_answer": "4"})]
    table = probes.swap_table(probes.read_records([tmp_path / "r.jsonl"]), pairs)
    rates = figure4.change_rates(table).set_index("layer")
    assert rates.loc[0, "rate"] == 1
    assert list(rates.failed) == [0, 0, 1]


def test_error_rates():
    examples = [Example(f"e{i}", "text_math", "?", "5", "number") for i in range(4)]
    records = pd.DataFrame(
        [
            {
                "checkpoint": "base",
                "id": f"e{i}",
                "task": "text_math",
                "layer": layer,
                "response": text,
                "truncated": text == "",
                "error": None,
            }
            for layer, column in {-1: ["5"] * 4, 0: ["5", "6", "", None]}.items()
            for i, text in enumerate(column)
        ]
    )
    table = probes.skip_table(records, examples)
    rates = figure4.error_rates(table).set_index("layer")
    assert list(rates.rate) == [0, 0.75]
    assert list(rates.failed) == [0, 1]
    assert list(rates.truncated) == [0, 1]
    # The one that was never made may have been right or wrong.
    assert rates.low[0] == pytest.approx(wilson(2, 4)["low"])
    assert rates.high[0] == pytest.approx(wilson(3, 4)["high"])


def test_attention_profile_has_an_interval_and_counts_failures():
    rng = np.random.default_rng(0)
    rows = [
        {"recipe": "one", "run": 1, "stage": "IN", "layer": 0, "attention_mass": mass, "attention_mean": mass / 4}
        for mass in [*rng.normal(0.3, 0.01, 50), np.nan]
    ]
    profile = figure3.data(Measurements(REGIONS, (), attention=pd.DataFrame(rows))).iloc[0]
    assert (profile.n, profile.failed) == (51, 1)
    assert profile.low < 0.3 < profile.high
    assert profile.attention_mean == pytest.approx(profile.attention_mass / 4)


def test_attention_difference_is_paired_by_example():
    rows = [
        {"recipe": "one", "run": 1, "stage": stage, "text": text, "own": text == stage, "layer": layer, "id": f"e{i}"}
        | {"attention_mass": i / 10 + (gain - length / 1000) * (layer >= 6), "tokens": length}
        for stage, gain in (("IN", 0.0), ("RL", 0.08))
        for text, length in (("IN", 10), ("RL", 40))
        for layer in range(9)
        for i in range(8)
    ]
    rows[0]["attention_mass"] = np.nan  # e0 failed in IN
    whole = tables.attention(Measurements(REGIONS, (), attention=pd.DataFrame(rows)))
    table = whole[whole.part == "total"].set_index("region")
    assert list(table.index) == ["early", "mid", "late"]
    assert list(table.n) == [7, 8, 8]
    assert table.loc["early", "difference"] == pytest.approx(0)
    assert table.loc["late", "difference"] == pytest.approx(0.05)
    assert table.loc["late", "low"] == pytest.approx(0.05)  # every example gains alike: no spread
    assert (whole.tokens_in == 10).all()
    assert (whole.tokens_rl == 40).all()
    # The weights raise it by 0.08, and 30 more tokens lower it by 0.03.
    parts = whole[whole.region == "late"].set_index("part")
    assert parts.difference["weights"] == pytest.approx(0.08)
    assert parts.difference["text"] == pytest.approx(-0.03)
    alone = tables.attention(Measurements(REGIONS, (), attention=pd.DataFrame(rows).query("own")))
    assert list(alone[alone.region == "late"].n) == [8, 0, 0]  # neither model read the other's text


def test_spectra_leave_out_what_has_no_ratio():
    sigma = {"q_proj": [2.0, 1.0, 0.5], "zero": [0.0, 0.0, 0.0], "low": [1.0, 0.0, 0.0]}
    label = {"recipe": "one", "run": 1, "stage": "RL", "component": "layer", "layer": 0}
    rows = [
        {**label, "matrix": matrix, "rank": rank, "log_ratio": value}
        for matrix, values in sigma.items()
        for rank, value in enumerate(matrices.log_spectrum(np.array(values)), 1)
    ]
    rows.append({**rows[0], "component": "vision_tower", "log_ratio": -9.0})
    table = figure6.data(Measurements(REGIONS, (), spectra=pd.DataFrame(rows))).set_index("rank")
    assert list(table.matrices) == [2, 1, 1]
    assert table.loc[3, "log_ratio"] == pytest.approx(np.log(0.25))


def test_a_figure_says_what_failed(tmp_path):
    layers = range(-1, 9)
    changes = pd.DataFrame(
        [
            {
                "function": "ocr",
                "mode": "hidden_state_at_layer",
                "layer": layer,
                "n": 4,
                "failed": int(layer == 2),
                "rate": 0.5,
                "low": 0.2,
                "high": 0.8,
                "truncated": 0,
                "able": True,
                "base_right": 1.0,
            }
            for layer in layers
        ]
    )
    errors = changes.drop(columns="mode").rename(columns={"function": "task"}).assign(failed=0)
    figure = figure4.draw(figure4.together(changes, errors), Measurements(REGIONS, ()))
    assert "1 of 40 samples failed" in figure.axes[0].get_title()
    assert "failed" not in figure.axes[1].get_title()
    drawing.save(figure, tmp_path / "a.png", tmp_path / "a.pdf")
    first = (tmp_path / "a.pdf").read_bytes()
    drawing.save(
        figure4.draw(figure4.together(changes, errors), Measurements(REGIONS, ())),
        tmp_path / "a.png",
        tmp_path / "a.pdf",
    )
    assert (tmp_path / "a.pdf").read_bytes() == first


def test_the_interval_of_a_mean_over_runs_is_of_rates_that_there_are():
    """Two runs far apart: t with one degree of freedom alone would give -4.6 to 5.6."""
    runs = pd.DataFrame({"checkpoint": ["a", "b"], "value": [0.1, 0.9], "low": [0.05, 0.85], "high": [0.15, 0.95]})
    assert tables._bounds(runs) == {"low": 0.0, "high": 1.0}
    runs.value = [0.5, 0.5]
    bounds = tables._bounds(runs)
    assert 0 < bounds["low"] < 0.5 < bounds["high"] < 1
    assert tables._bounds(runs.assign(checkpoint="base")) == {"low": 0.05, "high": 0.15}
