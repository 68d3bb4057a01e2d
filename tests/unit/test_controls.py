"""Random partitions and sliding windows: special where something was planted, and nowhere else."""

from itertools import permutations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest

from frankenstein.claims import controls
from frankenstein.claims.measurements import Measurements
from frankenstein.core.regions import Regions
from frankenstein.core.roles import Run

REGIONS = Regions((2, 4), 6)


def profile(values) -> pd.DataFrame:
    return pd.DataFrame({"layer": range(len(values)), "unit": 0, "value": values})


@pytest.mark.parametrize(("more", "less"), [("mid", None), ("mid", "early"), ("late", controls.REST)])
@pytest.mark.parametrize("expect", ["greater", "less"])
def test_random_partitions_against_all_of_them(more, less, expect):
    values = np.random.default_rng(4).normal(size=6)
    made = controls.random_layers(profile(values), REGIONS, more, less, expect, seed=1)

    def contrast(order):
        parts = {"early": order[:2], "mid": order[2:4], "late": order[4:]}
        other = np.concatenate([part for name, part in parts.items() if name != more]) if less == controls.REST else ()
        return np.mean(parts[more]) - (np.mean(other) if len(other) else np.mean(parts[less]) if less else 0)

    every = np.array([contrast(list(order)) for order in permutations(values)])
    far = every >= contrast(values) - 1e-12 if expect == "greater" else every <= contrast(values) + 1e-12
    assert made == pytest.approx(far.mean(), abs=0.02)


def test_a_planted_region_is_special_and_noise_is_not():
    regions = Regions((10, 19), 28)
    values = np.random.default_rng(0).normal(size=28) * 0.1
    values[10:19] += 1
    assert controls.random_layers(profile(values), regions, "mid", controls.REST, "greater", 1) < 0.001
    assert controls.random_layers(profile(values), regions, "mid", controls.REST, "less", 1) > 0.99
    false = sum(
        controls.random_layers(profile(np.random.default_rng(i).normal(size=28)), regions, "mid", "late", "greater", i)
        < 0.05
        for i in range(60)
    )
    assert binomtest(false, 60, 0.05, alternative="greater").pvalue > 0.01
    assert np.isnan(controls.random_layers(profile(np.ones(28)), regions, "mid", None, "greater", 1))


def test_windows_are_means_of_layers_less_that_of_all():
    rng = np.random.default_rng(0)
    table = rng.normal(size=(30, 28))
    table[:, 12:21] += 2
    rows = [
        {
            "recipe": "one",
            "run": 1,
            "stage": stage,
            "id": i,
            "layer": layer,
            "attention_mass": table[i, layer] * (stage == "RL"),
        }
        for stage in ("IN", "RL")
        for i in range(30)
        for layer in range(28)
    ]
    found = controls.windows(
        Measurements(Regions((10, 19), 28), (Run("one"), Run("two")), attention=pd.DataFrame(rows), seed=1)
    )
    assert list(found["first"]) == list(range(20))
    assert (found["last"] - found["first"] == 8).all()
    best = found.loc[found.value.idxmax()]
    assert best["first"] == 12
    own = table[:, 12:21].mean(1) - table.mean(1)
    assert best.value == pytest.approx(own.mean())
    assert best.low == pytest.approx(own.mean() - 2.045 * own.std(ddof=1) / 30**0.5, rel=1e-3)
    assert best.value > best.random_high
    assert set(found.quantity) == {"attention mass, RL - IN"}
    assert set(found.n) == {30}
    assert controls.windows(Measurements(None, (Run("one"),))).empty


def test_of_noise_at_most_one_in_twenty_has_a_window_beyond():
    """All windows at once, however many there are."""
    beyond = 0
    for seed in range(60):
        squares = np.random.default_rng(seed).lognormal(size=28)
        rows = [
            {"recipe": "one", "run": 1, "stage": "IN", "component": "layer", "layer": layer, "matrix": "q", "frobenius": value**0.5, "slope": 0, "stable_rank": 1, "spectral": 1, "rounding_floor": 0}
            for layer, value in enumerate(squares)
        ]  # fmt: skip
        found = controls.windows(
            Measurements(Regions((10, 19), 28), (Run("one"),), updates=pd.DataFrame(rows), seed=seed)
        )
        beyond += bool(((found.value > found.random_high) | (found.value < found.random_low)).any())
    assert binomtest(beyond, 60, 0.05, alternative="greater").pvalue > 0.01


def test_one_high_layer_is_not_beyond():
    """In every order of the layers some window holds it: what tells a window from that would be rounding."""
    values = np.where(np.arange(9) == 0, 1.0, 0.0)
    rows = [
        {"id": i, "function": "ocr", "mode": "hidden_state_at_layer" if layer >= 0 else "none", "layer": layer,
         "changed": bool(value), "failed": False, "right": layer < 0, "unchangeable": False}
        for layer, value in enumerate([False, *values], -1) for i in range(4)
    ]  # fmt: skip
    found = controls.windows(Measurements(Regions((3, 6), 9), (Run("one"),), swaps=pd.DataFrame(rows), seed=1))
    assert not (found.value > found.random_high).any()
