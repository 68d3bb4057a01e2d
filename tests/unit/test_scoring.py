import itertools

import numpy as np
import pandas as pd
import pytest
from scipy.stats import multinomial

from frankenstein.claims import outcomes, scoring
from frankenstein.core.errors import InputError
from frankenstein.core.intervals import paired, wilson
from frankenstein.data.metrics import as_published, conditions
from frankenstein.data.tasks import Example

ABILITIES = {"vision": "v", "vision_to_reasoning": "m", "reasoning": "t"}


def graded(task, verdicts, said=None):
    """verdicts: condition -> list of verdicts, one an example; said: the same of extracted answers (none)."""
    return pd.DataFrame(
        [
            {
                "id": f"{task}{i}",
                "task": task,
                "problem": f"{task}{i}",
                "condition": condition,
                "verdict": verdict,
                "extracted": said[condition][i] if said else None,
                "well_formed": False,
            }
            for condition, column in verdicts.items()
            for i, verdict in enumerate(column)
        ]
    )


def test_the_papers_metrics_on_every_combination():
    verdicts = ["right", "wrong", "abstained", "ungraded"]
    pairs = list(itertools.product(verdicts, repeat=2))
    first, second = ([pair[i] for pair in pairs] for i in (0, 1))
    frame = pd.concat(
        [
            graded("v", {"image": first, "black": second}),
            graded("m", {"image": first, "described": second}),
            graded("t", {"text": verdicts}),
        ]
    )
    rates = scoring.rates(outcomes.of_grades(frame, ABILITIES)).set_index("metric")
    # Of sixteen combinations: right with the image, and wrong or abstained without it; right with both.
    assert rates.loc["M_vis", "value"] == pytest.approx(2 / 16)
    assert rates.loc["M_v2r", "value"] == pytest.approx(1 / 16)
    assert rates.loc["M_rea", "value"] == pytest.approx(1 / 4)
    assert list(rates.loc[["M_vis", "M_v2r", "M_rea", "v"], "n"]) == [16, 16, 4, 16]
    assert rates.loc["v", "value"] == pytest.approx(1 / 4)


def test_a_missing_condition_is_an_error():
    frame = graded("v", {"image": ["right", "wrong"]})
    with pytest.raises(InputError, match="'black' is missing"):
        outcomes.holds(frame, {"image": True, "black": False})


def test_conditions_of_a_task():
    assert conditions("v", ABILITIES) == ["image", "black"]
    assert conditions("m", ABILITIES) == ["image", "described"]
    assert conditions("t", ABILITIES) == ["text"]
    assert conditions("other", ABILITIES) == ["image"]
    assert conditions("other", ABILITIES, has_image=False) == ["text"]
    assert as_published(["black", "image"]) == "image"
    assert as_published(["text"]) == "text"


def outcome(hits):
    return pd.DataFrame({"metric": "M_rea", "id": range(len(hits)), "correct": hits, "cluster": range(len(hits))})


def test_paired_difference():
    better = scoring.difference(outcome([False] * 30 + [True] * 20), outcome([True] * 45 + [False] * 5)).iloc[0]
    assert better.difference == pytest.approx(0.5)
    assert better.low < 0.5 < better.high
    assert better.p < 0.001
    same = scoring.difference(outcome([True, False]), outcome([True, False])).iloc[0]
    assert (same.difference, same.p) == (0, 1)
    assert same.low == -same.high < 0  # two examples that agree do not prove that all would
    with pytest.raises(InputError, match="not asked the same"):
        scoring.difference(outcome([True, False]), outcome([True]))


def test_versions_of_one_problem_are_one_cluster():
    """MathVerse: five versions of a problem, answered alike, are not five answers."""
    frame = graded("v", {"image": ["right"] * 50, "black": ["wrong"] * 50}).assign(
        problem=lambda frame: frame.id.str[1:].astype(int) // 5
    )
    rest = [graded("m", {"image": ["right"], "described": ["right"]}), graded("t", {"text": ["right"]})]
    found = outcomes.of_grades(pd.concat([frame, *rest]), ABILITIES)
    assert found[found.metric == "M_vis"].cluster.nunique() == 10
    assert found[found.metric == "v"].cluster.nunique() == 10
    assert found[found.metric == "format, image"].cluster.nunique() == 11
    better = pd.DataFrame(
        {"metric": "v", "id": range(50), "cluster": np.arange(50) // 5, "correct": np.arange(50) < 30}
    )
    worse = better.assign(correct=False)
    wide = scoring.difference(worse, better).iloc[0]
    narrow = scoring.difference(worse.assign(cluster=range(50)), better.assign(cluster=range(50))).iloc[0]
    assert wide.difference == narrow.difference == pytest.approx(0.6)
    assert wide.high - wide.low > 1.8 * (narrow.high - narrow.low)


def test_blind_guessing():
    golds, guesses = ["1", "1", "2", "3"], ["1", "1.0", "1", "1"]
    examples = [
        Example(str(i), "t", "?", gold, "number", meta={"blind": guess})
        for i, (gold, guess) in enumerate(zip(golds, guesses, strict=True))
    ]
    assert scoring.blind_rate(examples) == 0.5


@pytest.mark.parametrize("verdict", ["ungraded", "abstained"])
def test_responses_without_an_answer_are_counted_where_they_matter(verdict):
    frame = pd.concat(
        [
            graded("v", {"image": ["right", verdict], "black": [verdict, "wrong"]}),
            graded("m", {"image": ["right"], "described": [verdict]}),
        ]
    )
    counts = {
        metric: scoring.counted(frame, verdict, metric, ABILITIES)
        for metric in ("M_vis", "M_v2r", "v", "m", "format, image", "format, black")
    }
    assert counts == {"M_vis": 2, "M_v2r": 1, "v": 1, "m": 0, "format, image": 1, "format, black": 1}


def test_wilson_at_the_papers_sample_size():
    """At N = 100 an interval is about twenty points wide: what the paper's tables do not say."""
    interval = wilson(50, 100)
    assert interval["low"] == pytest.approx(0.404, abs=1e-3)
    assert interval["high"] == pytest.approx(0.596, abs=1e-3)


def test_a_recipe_without_a_base_is_scored_from_in_on():
    frame = pd.concat(
        [
            graded("v", {"image": ["right", "wrong"], "black": ["wrong", "wrong"]}),
            graded("m", {"image": ["right", "right"], "described": ["right", "wrong"]}),
            graded("t", {"text": ["right", "wrong"]}),
        ]
    ).assign(well_formed=True)
    examples = [Example(str(i), task, "?", "1") for task in "vmt" for i in range(2)]
    roles = {"in": [("one", "IN")], "rl": [("one", "RL")]}
    frame.loc[(frame.task == "t") & (frame.verdict == "wrong"), "verdict"] = "abstained"
    made = scoring.score({"in": frame, "rl": frame}, roles, {"one": ("one", 1)}, ABILITIES, examples)
    steps = made["differences"][["from", "to"]].drop_duplicates()
    assert steps.to_numpy().tolist() == [["IN", "RL"]]
    assert set(made["scores"].role) == {"IN", "RL"}
    scores = made["scores"].set_index(["role", "metric"])
    assert scores.loc[("RL", "M_rea"), ["n", "value", "abstained", "ungraded"]].tolist() == [2, 0.5, 1, 0]
    assert made["vision"][["recipe", "run", "role", "checkpoint", "n"]].to_numpy().tolist() == [
        ["one", 1, "IN", "in", 2],
        ["one", 1, "RL", "rl", 2],
    ]


def test_a_hybrid_asked_fewer_tasks_is_compared_on_those():
    asked = {"v": {"image": 3, "black": 3}, "m": {"image": 3, "described": 3}, "t": {"text": 3}}
    full = pd.concat(
        [graded(task, {condition: ["right"] * n for condition, n in of.items()}) for task, of in asked.items()]
        + [graded("extra", {"image": ["right"] * 5})]
    )
    hybrid = full[full.task != "extra"].assign(well_formed=True)
    grades = {"in": full, "rl": full, "one.x": hybrid}
    roles = {"in": [("one", "IN")], "one.x": [("one", "IN:RL:RL")], "rl": [("one", "RL")]}
    examples = [Example(id=f"v{i}", task="v", prompt="?", answer="", answer_type="text") for i in range(3)]
    made = scoring.score(grades, roles, {"one": ("one", 1)}, ABILITIES, examples)
    n = made["differences"].set_index(["from", "to", "metric"]).n
    assert n["IN", "RL", "format, image"] == 11
    assert n["IN", "RL", "extra"] == 5
    assert n["IN", "IN:RL:RL", "format, image"] == 6
    assert ("IN", "IN:RL:RL", "extra") not in n
    scored = made["scores"].set_index(["role", "metric"]).n
    assert scored["IN", "format, image"] == 11
    assert scored["IN:RL:RL", "format, image"] == 6
    assert set(made["paired"].query("a == 'IN' and b == 'IN:RL:RL'").metric) >= {"M_vis", "v", "format, image"}


def test_categories_tell_abstained_from_wrong():
    frame = graded("t", {"text": ["right", "wrong", "abstained", "ungraded"]})
    examples = [Example(f"t{i}", "t", "?", "1", category="algebra") for i in range(4)]
    (row,) = scoring.categories(frame, examples).to_dict("records")
    assert [row[key] for key in ("n", "right", "wrong", "abstained", "ungraded", "value")] == [4, 1, 1, 1, 1, 0.25]


# --- what M_vis is made of ----------------------------------------------------------------------

PAIRS = [
    # image, black, shuffled; the answers that were read
    ("right", "right", "right", "Yes.", "yes", "yes"),
    ("right", "wrong", "right", "3", "4", "3"),
    ("right", "wrong", "wrong", "red", "blue", "blue"),
    ("right", "abstained", "wrong", "no", None, "yes"),
    ("wrong", "right", "wrong", "a", "b", "c"),
    ("wrong", "wrong", "wrong", "two  words", "Two words", "x"),
    ("wrong", "wrong", "right", "a", "b", "c"),
    ("abstained", "abstained", "abstained", None, None, None),
    ("right", "ungraded", "ungraded", "yes", None, None),
    ("ungraded", "right", "right", None, "yes", "yes"),
]


def seen(pairs=PAIRS, meta=None, choices=None):
    conditions = ("image", "black", "shuffled")[: len(pairs[0]) // 2]
    columns = list(zip(*pairs, strict=True))
    verdicts, said = (
        dict(zip(conditions, part, strict=True)) for part in (columns[: len(conditions)], columns[len(conditions) :])
    )
    examples = [Example(f"v{i}", "v", "?", "yes", choices=choices, meta=meta or {}) for i in range(len(pairs))]
    return scoring.vision(graded("v", verdicts, said), examples, "v")


def test_the_cells_of_vision_add_up_to_n_and_hold_m_vis():
    row = seen()
    assert [row[f"image_{image}_black_{black}"] for image in ("right", "wrong") for black in ("right", "wrong")] == [
        1,
        3,
        1,
        3,
    ]
    assert (row["n"], row["ungraded"], row["abstained"], row["abstained_black"]) == (10, 2, 1, 2)
    frame = graded("v", dict(zip(("image", "black"), list(zip(*PAIRS, strict=True))[:2], strict=True)))
    assert outcomes.holds(frame, {"image": True, "black": False}).sum() == row["image_right_black_wrong"]
    assert (row["accuracy"], row["accuracy_black"], row["accuracy_shuffled"]) == (0.5, 0.3, 0.4)
    assert row["reliance"] == pytest.approx(0.2)
    assert row["reliance_shuffled"] == pytest.approx(0.1)
    # "3" and "4", "red" and "blue", "no" and nothing, "a" and "b" twice; not where a response has no verdict.
    assert row["flip_rate"] == 0.5


def test_reliance_has_a_paired_interval():
    row = seen()
    expected = paired(4, 2, 10)
    assert (row["reliance_low"], row["reliance_high"]) == (expected["low"], expected["high"])
    same = seen([("right", "right", "x", "x")] * 100)
    assert same["reliance"] == same["flip_rate"] == 0
    assert same["reliance_low"] == -same["reliance_high"] != 0
    assert np.isnan(same["accuracy_shuffled"])
    assert np.isnan(same["reliance_shuffled_low"])


@pytest.mark.parametrize(
    ("meta", "choices", "chance", "above"),
    [
        ({"blind": "no"}, None, 0.0, 0.5),
        ({"blind": "yes"}, None, 1.0, np.nan),  # a guess from the prompt is always right
        ({}, ["a", "b", "c", "d"], 0.25, 1 / 3),
        ({}, None, 0.0, 0.5),
    ],
)
def test_accuracy_above_chance(meta, choices, chance, above):
    row = seen(meta=meta, choices=choices)
    assert row["chance"] == chance
    assert row["above_chance"] == pytest.approx(above, nan_ok=True)


@pytest.mark.parametrize(
    ("n10", "n01", "n", "low", "high"),
    [
        # R's statpsych::ci.prop.ps(.05, 12, 4, 26, 6), as its manual has it.
        (26, 4, 48, 0.2548067, 0.6251933),
        # By hand: nobody is discordant, 1.959964 sqrt(2 / 102) / sqrt(102).
        (0, 0, 100, -0.0271745, 0.0271745),
        (5, 0, 5, 0.1958360, 1.0),  # 5/7 - 1.959964 sqrt((1 - 25/49) / 7), and no more than all
    ],
)
def test_the_paired_interval_is_bonett_and_prices(n10, n01, n, low, high):
    found = paired(n10, n01, n)
    assert found["low"] == pytest.approx(low, abs=1e-6)
    assert found["high"] == pytest.approx(high, abs=1e-6)
    mirrored = paired(n01, n10, n)
    assert mirrored["low"] == pytest.approx(-found["high"])


def test_the_paired_interval_covers():
    """Every outcome of 40 pairs weighed by its probability: what is true lies inside about 95 times in a hundred."""
    n = 40
    for p10, p01 in ((0.02, 0.02), (0.1, 0.05), (0.3, 0.1), (0.25, 0.25)):
        covered = 0.0
        for n10 in range(n + 1):
            for n01 in range(n - n10 + 1):
                interval = paired(n10, n01, n)
                if interval["low"] <= p10 - p01 <= interval["high"]:
                    covered += multinomial.pmf([n10, n01, n - n10 - n01], n, [p10, p01, 1 - p10 - p01])
        assert covered > 0.94, (p10, p01)
