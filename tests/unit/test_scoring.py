import itertools

import pandas as pd
import pytest

from frankenstein import scoring
from frankenstein.errors import InputError
from frankenstein.intervals import wilson
from frankenstein.metrics import as_published, conditions
from frankenstein.tasks import Example

ABILITIES = {"vision": "v", "vision_to_reasoning": "m", "reasoning": "t"}


def graded(task, verdicts):
    """verdicts: condition -> list of verdicts, one an example."""
    return pd.DataFrame(
        [
            {"id": f"{task}{i}", "task": task, "condition": condition, "verdict": verdict, "well_formed": False}
            for condition, column in verdicts.items()
            for i, verdict in enumerate(column)
        ]
    )


def test_the_papers_metrics_on_every_combination():
    verdicts = ["right", "wrong", "ungraded"]
    pairs = list(itertools.product(verdicts, repeat=2))
    first, second = ([pair[i] for pair in pairs] for i in (0, 1))
    frame = pd.concat(
        [
            graded("v", {"image": first, "black": second}),
            graded("m", {"image": first, "described": second}),
            graded("t", {"text": verdicts}),
        ]
    )
    rates = scoring.rates(scoring.outcomes(frame, ABILITIES)).set_index("metric")
    # Of nine combinations: right with the image and wrong without it; right with both.
    assert rates.loc["M_vis", "value"] == pytest.approx(1 / 9)
    assert rates.loc["M_v2r", "value"] == pytest.approx(1 / 9)
    assert rates.loc["M_rea", "value"] == pytest.approx(1 / 3)
    assert list(rates.loc[["M_vis", "M_v2r", "M_rea", "v"], "n"]) == [9, 9, 3, 9]
    assert rates.loc["v", "value"] == pytest.approx(1 / 3)


def test_a_missing_condition_is_an_error():
    frame = graded("v", {"image": ["right", "wrong"]})
    with pytest.raises(InputError, match="'black' is missing"):
        scoring.hits(frame, {"image": True, "black": False})


def test_conditions_of_a_task():
    assert conditions("v", ABILITIES) == ["image", "black"]
    assert conditions("m", ABILITIES) == ["image", "described"]
    assert conditions("t", ABILITIES) == ["text"]
    assert conditions("other", ABILITIES) == ["image"]
    assert conditions("other", ABILITIES, has_image=False) == ["text"]
    assert as_published(["black", "image"]) == "image"
    assert as_published(["text"]) == "text"


def outcome(hits):
    return pd.DataFrame({"metric": "M_rea", "id": range(len(hits)), "hit": hits})


def test_paired_difference():
    better = scoring.difference(outcome([False] * 30 + [True] * 20), outcome([True] * 45 + [False] * 5), seed=1).iloc[0]
    assert better.difference == pytest.approx(0.5)
    assert better.low < 0.5 < better.high
    assert better.p_mcnemar < 0.001
    same = scoring.difference(outcome([True, False]), outcome([True, False]), seed=1).iloc[0]
    assert (same.difference, same.low, same.high, same.p_mcnemar) == (0, 0, 0, 1)
    with pytest.raises(InputError, match="not asked the same"):
        scoring.difference(outcome([True, False]), outcome([True]), seed=1)


def test_blind_guessing():
    golds, guesses = ["1", "1", "2", "3"], ["1", "1.0", "1", "1"]
    examples = [
        Example(str(i), "t", "?", gold, "number", meta={"blind": guess})
        for i, (gold, guess) in enumerate(zip(golds, guesses, strict=True))
    ]
    assert scoring.blind_rate(examples) == 0.5


def test_ungraded_responses_are_counted_where_they_matter():
    frame = pd.concat(
        [
            graded("v", {"image": ["right", "ungraded"], "black": ["ungraded", "wrong"]}),
            graded("m", {"image": ["right"], "described": ["ungraded"]}),
        ]
    )
    counts = {
        metric: scoring.ungraded(frame, metric, ABILITIES)
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
    made = scoring.score({"in": frame, "rl": frame}, roles, ABILITIES, examples, 1)
    steps = made["differences"][["from", "to"]].drop_duplicates()
    assert steps.to_numpy().tolist() == [["IN", "RL"]]
    assert set(made["scores"].role) == {"IN", "RL"}
