import numpy as np
import pandas as pd
import pytest

from frankenstein import plots, profiles, updates
from frankenstein.regions import Regions
from frankenstein.tasks import Example, Pair

REGIONS = Regions((3, 6), 9)


def pair(task, **meta):
    return Pair("p", task, "t.png", "s.png", "?", meta)


@pytest.mark.parametrize(
    ("task", "meta", "before", "after", "verdict"),
    [
        ("recognition", {}, "yes", "no", True),
        ("recognition", {}, "yes", "No.", True),
        ("recognition", {}, "yes", "nothing", False),
        ("recognition", {}, "no", "yes", False),
        ("ocr", {}, "CAT", "DOG", True),
        ("ocr", {}, "CAT", "cat", False),
        ("counting", {}, "1", "10", True),
        ("counting", {}, "1", "1.0", False),  # defect 5 of the public scripts: a string heuristic
        ("counting", {}, "1", "shows 10 items", None),
        ("grounding", {"source_bbox_xyxy": [0, 0, 10, 10]}, "30,30,40,40", "1,1,11,11", True),
        ("grounding", {"source_bbox_xyxy": [0, 0, 10, 10]}, "30,30,40,40", "30,30,40,41", False),
        ("grounding", {"source_bbox_xyxy": [0, 0, 10, 10]}, "30,30,40,40", "nowhere", False),
    ],
)
def test_the_papers_change_rules(task, meta, before, after, verdict):
    assert profiles.changed(before, after, pair(task, **meta)) is verdict


@pytest.mark.parametrize(
    ("before", "after", "differ"),
    [
        ("3", "4", True),
        ("Three.", "three", False),
        ("1", "shows 10 items", True),
        ("1", "the picture shows 10 items", False),
        ("10,10,20,20", "10,10,20,21", True),
        ("there is a red circle in it", "There is a red circle in it!", False),
        ("there is a red circle in it", "there is no red circle in it", True),
    ],
)
def test_the_published_change_rule(before, after, differ):
    assert profiles.changed_as_published(before, after) is differ


def test_boxes_are_judged_on_the_original_canvas():
    """Qwen2.5-VL answers in pixels of the image as its processor resized it: here twice as wide, half as high."""
    asked = pair(
        "grounding", target_bbox_xyxy=[100, 100, 120, 140], source_bbox_xyxy=[10, 20, 30, 60], iou_threshold=0.5
    )
    columns = {"id": "p", "function": "grounding", "to_canvas": [0.5, 2.0]}
    records = pd.DataFrame(
        [
            {**columns, "mode": "none", "layer": -1, "response": "200,50,240,70"},
            {**columns, "mode": "kv_from_layer", "layer": 0, "response": "<answer>[20, 10, 60, 30]</answer>"},
            {**columns, "mode": "kv_from_layer", "layer": 1, "response": "10,20,30,60"},  # right only if not converted
        ]
    )
    table = profiles.swap_table(records, [asked])
    assert list(table.changed) == [False, True, False]
    assert list(table.right) == [True, False, False]
    assert list(table.text_changed) == [False, True, True]
    strict = Pair(**{**vars(asked), "meta": {**asked.meta, "iou_threshold": 1.0}})
    assert list(profiles.swap_table(records, [strict]).changed) == [False, False, False]


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
                "to_canvas": [1.0, 1.0],
            }
            for layer, column in responses.items()
            for i, text in enumerate(column)
        ]
    )


def test_failed_samples_stay_in_n_and_a_layer_that_failed_is_not_zero():
    pairs = [Pair(f"p{i}", "ocr", "t", "s", "?", {"target_text": "CAT", "source_text": "DOG"}) for i in range(4)]
    records = swap_records({-1: ["CAT"] * 4, 0: ["DOG", "DOG", "CAT", None], 1: [None] * 4})
    table = profiles.swap_table(records, pairs)
    assert list(table.failed) == [False] * 7 + [True] * 5
    assert not table[table.failed].changed.any()
    rates = profiles.change_rates(table).set_index("layer")
    assert set(rates["mode"]) == {"hidden_state_at_layer"}
    assert list(rates.n) == [4, 4, 4]
    assert list(rates.failed) == [0, 1, 4]
    assert rates.loc[0, "rate"] == 0.5
    assert np.isnan(rates.loc[1, "rate"])
    assert list(rates.right_rate) == [1, 0.25, 0]


def test_answers_that_are_numbers_are_read_as_text(tmp_path):
    (tmp_path / "r.jsonl").write_text(
        '{"checkpoint": "base", "id": "p0", "function": "counting", "mode": "none", "layer": -1, "response": "3", "to_canvas": [1, 1]}\n'
        '{"checkpoint": "base", "id": "p0", "function": "counting", "mode": "kv_from_layer", "layer": 0, "response": "4", "to_canvas": [1, 1]}\n'
        '{"checkpoint": "base", "id": "p0", "function": "counting", "mode": "kv_from_layer", "layer": 1, "response": null, "to_canvas": [1, 1]}\n'
    )
    pairs = [Pair("p0", "counting", "t", "s", "?", {"target_answer": "3", "source_answer": "4"})]
    table = profiles.swap_table(profiles.read_records([tmp_path / "r.jsonl"]), pairs)
    rates = profiles.change_rates(table).set_index("layer")
    assert rates.loc[0, "rate"] == 1
    assert list(rates.failed) == [0, 0, 1]


def test_error_rates():
    examples = [Example(f"e{i}", "text_math", "?", "5", "number") for i in range(4)]
    records = pd.DataFrame(
        [
            {"checkpoint": "base", "id": f"e{i}", "task": "text_math", "layer": layer, "response": text, "error": None}
            for layer, column in {-1: ["5"] * 4, 0: ["5", "6", "", None]}.items()
            for i, text in enumerate(column)
        ]
    )
    table = profiles.skip_table(records, examples)
    rates = profiles.error_rates(table).set_index("layer")
    assert list(rates.rate) == [0, 0.75]
    assert list(rates.failed) == [0, 1]


def test_attention_profile_has_an_interval_and_counts_failures():
    rng = np.random.default_rng(0)
    rows = [
        {"recipe": "one", "stage": "IN", "layer": 0, "attention_mass": mass, "attention_mean": mass / 4}
        for mass in [*rng.normal(0.3, 0.01, 50), np.nan]
    ]
    profile = profiles.attention(pd.DataFrame(rows)).iloc[0]
    assert (profile.n, profile.failed) == (51, 1)
    assert profile.low < 0.3 < profile.high
    assert profile.attention_mean == pytest.approx(profile.attention_mass / 4)


def test_attention_difference_is_paired_by_example():
    rows = [
        {"recipe": "one", "stage": stage, "layer": layer, "id": f"e{i}", "attention_mass": i / 10 + gain * (layer >= 6)}
        for stage, gain in (("IN", 0.0), ("RL", 0.05))
        for layer in range(9)
        for i in range(8)
    ]
    rows[0]["attention_mass"] = np.nan  # e0 failed in IN
    table = profiles.attention_differences(pd.DataFrame(rows), REGIONS).set_index("region")
    assert list(table.index) == ["early", "mid", "late"]
    assert list(table.n) == [7, 8, 8]
    assert table.loc["early", "difference"] == pytest.approx(0)
    assert table.loc["late", "difference"] == pytest.approx(0.05)
    assert table.loc["late", "low"] == pytest.approx(0.05)  # every example gains alike: no spread


def test_spectra_leave_out_what_has_no_ratio():
    sigma = {"q_proj": [2.0, 1.0, 0.5], "zero": [0.0, 0.0, 0.0], "low": [1.0, 0.0, 0.0]}
    label = {"recipe": "one", "stage": "RL", "component": "layer", "layer": 0}
    rows = [
        {**label, "matrix": matrix, "rank": rank, "log_ratio": value}
        for matrix, values in sigma.items()
        for rank, value in enumerate(updates.log_spectrum(np.array(values)), 1)
    ]
    rows.append({**rows[0], "component": "vision_tower", "log_ratio": -9.0})
    table = profiles.spectra(pd.DataFrame(rows)).set_index("rank")
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
            }
            for layer in layers
        ]
    )
    errors = changes.rename(columns={"function": "task"}).assign(failed=0)
    figure = plots.figure4(changes, errors, REGIONS)
    assert "1 of 40 samples failed" in figure.axes[0].get_title()
    assert "failed" not in figure.axes[1].get_title()
    plots.save(figure, tmp_path / "a.png", tmp_path / "a.pdf")
    first = (tmp_path / "a.pdf").read_bytes()
    plots.save(plots.figure4(changes, errors, REGIONS), tmp_path / "a.png", tmp_path / "a.pdf")
    assert (tmp_path / "a.pdf").read_bytes() == first
