import json

import pandas as pd
import pytest
from conftest import SHARED

from frankenstein.data import tasks
from frankenstein.data.tasks import Pair
from frankenstein.grading import probes

SOURCE = {"target_bbox_xyxy": [30, 30, 40, 40], "source_bbox_xyxy": [20, 20, 40, 40]}


def pair(task, **meta):
    return Pair("p", task, "t.png", "s.png", "?", meta)


def verdict(before, after, asked, to_canvas=(1.0, 1.0)):
    return probes.changed(*(probes.read(text, asked, to_canvas)[0] for text in (before, after)), asked)


@pytest.mark.parametrize(
    ("task", "before", "after", "expected"),
    [
        ("recognition", "yes", "no", True),
        ("recognition", "yes", "No.", True),
        ("recognition", "Yes", "**No**", True),
        ("recognition", "Yes", "Answer: No", True),
        ("recognition", "Yes", "There is no dog.", True),
        ("recognition", "Yes", "No, there isn't a dog in the image.", True),
        ("recognition", "Yes", "<think>Yes? It is blank.</think><answer>\\boxed{\\text{No}}</answer>", True),
        ("recognition", "Yes", "There is a dog in the picture.", False),
        ("recognition", "Yes", "Yes, there is a dog, with no collar.", False),
        ("recognition", "no", "yes", False),
        ("recognition", "yes", "4", None),  # read by no rule: failed, not unchanged
        ("recognition", "yes", "I cannot see the image.", None),
        ("recognition", "yes", "", None),
        ("ocr", "CAT", "DOG", True),
        ("ocr", "CAT", "cat", False),
        ("ocr", "CAT", "The word is CAT.", False),
        ("ocr", "CAT", 'The text in the image says "CAT".', False),
        ("ocr", "CAT", "\\boxed{\\text{CAT}}", False),
        ("ocr", "CAT", "", None),
        ("counting", "1", "10", True),
        ("counting", "1", "1.0", False),  # defect 5 of the public scripts: a string heuristic
        ("counting", "3", "There are 5 objects.", True),
        ("counting", "There are 5 items in the image.", "five", False),
        ("counting", "1", "shows 10 items", True),
        ("counting", "1", "many", None),
        ("counting", "many", "1", None),
        ("counting", "3", "3 or 4", None),
        ("grounding", "30,30,40,40", "21,21,40,40", True),
        ("grounding", "30,30,40,40", "(20,20),(40,40)", True),
        ("grounding", "30,30,40,40", "The box is 20,20,40,40.", True),
        ("grounding", "30,30,40,40", '[{"bbox_2d": [20, 20, 40, 40], "label": "red circle"}]', True),
        ("grounding", "30,30,40,40", '```json\n[\n\t{"bbox_2d": [20, 20, 40, 40], "label": "circle 1"}\n]\n```', True),
        ("grounding", "30,30,40,40", "<|box_start|>(20,20),(40,40)<|box_end|>", True),
        ("grounding", "30,30,40,40", "<|begin_of_box|>[[20,20,40,40]]<|end_of_box|>", True),
        ("grounding", "30,30,40,40", "<ref>red circle</ref><box>[[20, 20, 40, 40]]</box>", True),
        ("grounding", "30,30,40,40", "x1=20, y1=20, x2=40, y2=40", True),
        ("grounding", "30,30,40,40", "30,30,40,41", False),
        ("grounding", "30,30,40,40", "nowhere", None),
        ("grounding", "30,30,40,40", "20,20,40", None),
        ("grounding", "30,30,40,40", "40,40,20,20", None),
        ("grounding", "30,30,40,40", '[{"bbox_2d": [20,20,40,40]}, {"bbox_2d": [1,1,5,5]}]', None),
    ],
)  # fmt: skip
def test_the_papers_change_rules(task, before, after, expected):
    assert verdict(before, after, pair(task, **(SOURCE if task == "grounding" else {}))) is expected


def test_an_answer_that_was_cut_off_is_told_from_one_that_says_nothing():
    asked = pair("counting")
    assert probes.read("There are several rows. In the first", asked, truncated=True) == (
        None,
        "cut off before an answer",
    )
    assert probes.read("<think>1, 2, 3", asked) == (None, "the response ends within <think>")
    assert probes.read("rows", asked) == (None, "names no number")
    assert probes.read("I can't tell from a black image.", asked) == (None, "abstained")


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
    assert probes.changed_as_published(before, after) is differ


def test_boxes_are_judged_on_the_original_canvas():
    """Qwen2.5-VL answers in pixels of the image as its processor resized it: here twice as wide, half as high."""
    asked = pair(
        "grounding", target_bbox_xyxy=[100, 100, 120, 140], source_bbox_xyxy=[10, 20, 30, 60], iou_threshold=0.5
    )
    columns = {"id": "p", "function": "grounding", "to_canvas": [0.5, 2.0], "truncated": False, "error": None}
    records = pd.DataFrame(
        [
            {**columns, "mode": "none", "layer": -1, "response": "200,50,240,70"},
            {**columns, "mode": "kv_from_layer", "layer": 0, "response": "<answer>[20, 10, 60, 30]</answer>"},
            {**columns, "mode": "kv_from_layer", "layer": 1, "response": "10,20,30,60"},  # right only if not converted
        ]
    )
    table = probes.swap_table(records, [asked])
    assert list(table.changed) == [False, True, False]
    assert list(table.right) == [True, False, False]
    assert list(table.text_changed) == [False, True, True]
    strict = Pair(**{**vars(asked), "meta": {**asked.meta, "iou_threshold": 1.0}})
    assert list(probes.swap_table(records, [strict]).changed) == [False, False, False]


@pytest.mark.skipif(not SHARED.exists(), reason="the real data of ../shared is not there")
def test_published_pairs_that_no_swap_can_change():
    folder = SHARED / "probe_pairs"
    same = {
        function: [
            asked.id for asked in tasks.read_pairs(folder / function / "data.jsonl") if probes.unchangeable(asked)
        ]
        for function in tasks.FUNCTIONS
    }
    printed = [json.loads(line)["meta"] for line in (folder / "ocr" / "data.jsonl").read_text().splitlines()]
    assert len(same["ocr"]) == sum(row["target_text"] == row["source_text"] for row in printed) == 3
    assert not same["recognition"]
    assert not same["counting"]
