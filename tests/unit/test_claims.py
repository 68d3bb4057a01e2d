"""Planted effects are found, nothing is not: the suite that proves the instrument."""

import gc

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import ROOT
from safetensors.torch import load_file, save_file
from scipy.stats import binomtest

from frankenstein.claims import claims, controls, estimates, interpolation, paper, reference, statements, statistics
from frankenstein.claims.measurements import Measurements
from frankenstein.claims.statements import CONTRADICTED, MISSING, SUPPORTED, UNDECIDED
from frankenstein.core.errors import InputError
from frankenstein.core.regions import Regions
from frankenstein.core.roles import RETRAINED
from frankenstein.merging.hybrid_spec import HYBRIDS
from frankenstein.updates import matrices

PAPER = statements.read([ROOT / "workflow" / "claims" / "paper.yaml"])
REGIONS = Regions((3, 6), 9)
FROZEN = [f"RL, {region} frozen" for region in ("Early", "Mid", "Late")]


def claim(number):
    return [found for found in PAPER if found["claim"] == number]


def of_claim(number, measured) -> pd.DataFrame:
    return statements.check_all(claim(number), measured).set_index(["statement", "recipe"])


def whole(number, measured) -> str:
    found = statements.check_all(claim(number), measured)
    return claims.summarize_claims(claim(number), found).verdict.item()


def hits(rates: dict, n=400, seed=0, recipes=("one", "two")) -> pd.DataFrame:
    """rates: role -> {metric: share of hits}; examples are alike in difficulty, so pairs agree more often than chance."""
    rng, rows = np.random.default_rng(seed), []
    for recipe in recipes:
        difficulty = rng.random(n)
        for role, metrics in rates.items():
            for metric, rate in metrics.items():
                luck = 0.8 * difficulty + 0.2 * rng.random(n)
                hit = luck < np.quantile(luck, rate) if 0 < rate < 1 else np.full(n, bool(rate))
                rows.append(
                    pd.DataFrame({"recipe": recipe, "role": role, "metric": metric, "id": range(n), "correct": hit})
                )
    return pd.concat(rows)


def measured(**parts) -> Measurements:
    return Measurements(REGIONS, ("one", "two"), ("b1", "b2"), seed=1, **parts)


def test_a_skill_that_mid_and_late_carry_is_found_in_the_hybrid():
    rates = {"IN": {"M_v2r": 0.4, "M_rea": 0.4}, "IN:RL:RL": {"M_v2r": 0.6, "M_rea": 0.6}}
    found = of_claim(6, measured(outcomes=hits(rates)))
    assert (found.verdict == SUPPORTED).all()
    assert (found.low > 0).all()
    assert found.estimate.between(0.15, 0.25).all()
    assert whole(6, measured(outcomes=hits(rates))) == SUPPORTED
    # Only hybrids with RL's Early have it: the other way round.
    rates = {"IN": {"M_v2r": 0.4, "M_rea": 0.4}, "IN:RL:RL": {"M_v2r": 0.4, "M_rea": 0.25}}
    assert whole(6, measured(outcomes=hits(rates))) == CONTRADICTED


def test_at_the_papers_n_a_gain_of_five_points_is_undecided_and_says_what_would_decide():
    rates = {"IN": {"M_v2r": 0.40, "M_rea": 0.40}, "IN:RL:RL": {"M_v2r": 0.45, "M_rea": 0.45}}
    found = of_claim(6, measured(outcomes=hits(rates, n=100)))
    assert (found.verdict == UNDECIDED).all()
    needed = found.needed.iloc[0]
    assert needed > 100
    again = of_claim(6, measured(outcomes=hits(rates, n=int(4 * needed), seed=3)))
    assert (again.p < 0.05).all()


def test_what_freezing_does():
    with_gain = {"M_v2r": 0.6, "M_rea": 0.6}
    rates = {
        "IN": {"M_v2r": 0.4, "M_rea": 0.4},
        "RL": with_gain,
        FROZEN[0]: with_gain,
        FROZEN[2]: {"M_v2r": 0.4, "M_rea": 0.4},
    }
    assert whole(7, measured(outcomes=hits(rates))) == SUPPORTED
    assert whole(7, measured(outcomes=hits(rates | {FROZEN[2]: with_gain}))) == UNDECIDED
    assert whole(7, measured(outcomes=hits(rates | {FROZEN[2]: {"M_v2r": 0.75, "M_rea": 0.75}}))) == CONTRADICTED


def test_rising_and_not_rising():
    rates = {
        "Base": {"b1": 0.3, "b2": 0.4, "M_vis": 0.5, "M_rea": 0.6},
        "IN": {"b1": 0.5, "b2": 0.6, "M_vis": 0.3, "M_rea": 0.7},
        "RL": {"b1": 0.7, "b2": 0.8, "M_vis": 0.6, "M_rea": 0.5},
    }
    assert whole(1, measured(outcomes=hits(rates))) == SUPPORTED
    rates["RL"]["M_rea"], rates["IN"]["M_vis"] = 0.9, 0.55
    assert whole(1, measured(outcomes=hits(rates))) == CONTRADICTED


def attention(raised: range, by=0.03, n=40, seed=0) -> pd.DataFrame:
    """Attention mass by example and layer, RL's raised in known layers."""
    rng, rows = np.random.default_rng(seed), []
    for recipe in ("one", "two"):
        own = rng.normal(0.1, 0.02, (n, 9))
        for stage in ("IN", "RL"):
            mass = own + rng.normal(0, 0.005, (n, 9))
            if stage == "RL":
                mass[:, list(raised)] += by
            rows += [
                {"recipe": recipe, "stage": stage, "id": i, "layer": layer, "attention_mass": mass[i, layer]}
                for i in range(n)
                for layer in range(9)
            ]
    return pd.DataFrame(rows)


def test_attention_raised_in_known_layers():
    assert whole(2, measured(attention=attention(range(3, 9)))) == SUPPORTED
    assert whole(2, measured(attention=attention(range(9)))) == UNDECIDED  # everywhere: not Late more than Early
    assert whole(2, measured(attention=attention(range(0)))) == UNDECIDED
    assert whole(2, measured(attention=attention(range(3, 6), by=-0.03))) == CONTRADICTED


def probes(read_at: dict, n=60, seed=0) -> pd.DataFrame:
    """Swaps of a model that reads the image up to a layer: a swap at or below it changes the answer."""
    rng, rows = np.random.default_rng(seed), []
    for function, last in read_at.items():
        for i in range(n):
            changes = {layer: 0 <= layer <= last and rng.random() < 0.9 for layer in range(-1, 9)}
            rows += [
                {"id": i, "function": function, "mode": "none" if layer < 0 else "hidden_state_at_layer", "layer": layer,
                 "changed": changed, "failed": False, "right": not changed, "unchangeable": False}
                for layer, changed in changes.items()
            ]  # fmt: skip
    return pd.DataFrame(rows)


def test_what_the_base_can_not_do_is_claimed_nothing_of():
    able = probes({"recognition": 2, "ocr": 1, "grounding": 2, "counting": 0})
    wrong = able.assign(right=able.right & ((able.function != "counting") | (able.id < 20)))
    found = of_claim(3, measured(swaps=wrong, skips=skips("late")))
    assert list(found.verdict) == [SUPPORTED, SUPPORTED, SUPPORTED, MISSING, SUPPORTED]
    assert found.why.iloc[3] == "the Base has only 33% of the counting pairs right without a swap"
    assert whole(3, measured(swaps=wrong, skips=skips("late"))) == UNDECIDED
    same = able.assign(unchangeable=able.function == "ocr")
    assert of_claim(3, measured(swaps=same, skips=skips("late"))).why.iloc[1] == "no swap can change a pair of ocr"


def skips(region: str, n=60, seed=0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        [
            {
                "task": "t",
                "id": i,
                "layer": layer,
                "failed": False,
                "wrong": bool(rng.random() < (0.8 if layer >= 0 and REGIONS.of(layer) == region else 0.3)),
            }
            for i in range(n)
            for layer in range(-1, 9)
        ]
    )


def test_a_layer_that_alone_reads_the_image_is_where_swapping_shows_it():
    early = probes({"recognition": 2, "ocr": 1, "grounding": 2, "counting": 0})
    found = of_claim(3, measured(swaps=early, skips=skips("late")))
    assert (found.verdict == SUPPORTED).all()
    failed = early.assign(failed=early.function == "ocr")
    found = of_claim(3, measured(swaps=failed, skips=skips("late")))
    assert list(found.verdict) == [SUPPORTED, MISSING, SUPPORTED, SUPPORTED, SUPPORTED]
    assert found.why.iloc[1] == "every sample failed"
    # A swap at any layer up to the reading one changes the answer; it is read in that one alone.
    mid = probes({"recognition": 4, "ocr": 4, "grounding": 4, "counting": 4})
    found = of_claim(3, measured(swaps=mid, skips=skips("late")))
    assert list(found.verdict[:4]) == [CONTRADICTED, UNDECIDED, UNDECIDED, UNDECIDED]
    late = probes({"recognition": 8, "ocr": 8, "grounding": 8, "counting": 8})
    found = of_claim(3, measured(swaps=late, skips=skips("early")))
    assert list(found.verdict) == [UNDECIDED, CONTRADICTED, CONTRADICTED, CONTRADICTED, CONTRADICTED]


def test_a_model_that_reads_alike_in_all_layers_is_no_early_reader():
    """Its change rate falls with depth, and says nothing of where it reads."""
    rows = [
        {"id": i, "function": function, "mode": "none" if layer < 0 else "hidden_state_at_layer", "layer": layer,
         "changed": 0 <= layer <= i % 9, "failed": False, "right": layer < 0, "unchangeable": False}
        for function in ("recognition", "ocr", "grounding", "counting") for i in range(90) for layer in range(-1, 9)
    ]  # fmt: skip
    found = of_claim(3, measured(swaps=pd.DataFrame(rows), skips=skips("late")))
    assert set(found.verdict[:4]) == {UNDECIDED}
    assert found.estimate.iloc[:4].abs().max() < 1e-12


def planted(tiny, folder, change) -> None:
    """A checkpoint of the tiny one's, every weight matrix of a decoder layer moved by change(layer, shape)."""
    tensors = load_file(tiny / "model.safetensors")
    for name, tensor in tensors.items():
        if ".layers." in name and tensor.ndim == 2:
            tensors[name] = tensor + change(int(name.split(".layers.")[1].split(".")[0]), tensor.shape)
    folder.mkdir()
    for path in tiny.glob("*.json"):
        (folder / path.name).write_bytes(path.read_bytes())
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def of_weights(base, instruct, reinforced) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"recipe": "one", "stage": stage, **record}
            for stage, record, *_ in matrices.updates(base, instruct, reinforced)
        ]
    )


def spread(scale):
    return lambda layer, shape: scale * torch.randn(shape, generator=torch.Generator().manual_seed(layer))


def concentrated(scale, layers):
    """The energy of `spread`, in one direction, in known layers."""

    def change(layer, shape):
        if layer not in layers:
            return spread(scale / 30)(layer, shape)
        generator = torch.Generator().manual_seed(layer)
        one = torch.outer(torch.randn(shape[0], generator=generator), torch.randn(shape[1], generator=generator))
        return scale * one * (shape[0] * shape[1]) ** 0.5 / one.norm() + spread(scale / 100)(layer, shape)

    return change


def test_an_update_planted_in_mid_is_found_there_and_a_spread_one_is_nowhere(tiny, tmp_path):
    planted(tiny, tmp_path / "in", concentrated(1e-2, range(3, 6)))
    planted(tmp_path / "in", tmp_path / "rl", spread(1e-3))
    frame = of_weights(tiny, tmp_path / "in", tmp_path / "rl")
    found = statements.check_all(claim(4), Measurements(REGIONS, ("one",), updates=frame, seed=1)).set_index(
        "statement"
    )
    assert list(found.verdict) == [SUPPORTED, UNDECIDED]
    assert found.estimate.iloc[0] > 2.9
    assert abs(found.estimate.iloc[1]) < 0.1


def test_energy_that_is_highest_in_late_does_not_peak_in_mid():
    """Mid is above the mean of the others, and Late above Mid."""
    rows = [
        {"recipe": "one", "stage": stage, "component": "layer", "layer": layer, "matrix": "q", "frobenius": np.exp(level / 2)}
        for stage in ("IN", "RL") for layer, level in enumerate([-3] * 3 + [1] * 3 + [1.2] * 3)
    ]  # fmt: skip
    late = Measurements(REGIONS, ("one",), updates=pd.DataFrame(rows), seed=1)
    found = of_claim(4, late)
    assert set(found.verdict) == {UNDECIDED}
    assert (found.estimate < 0).all()
    mean = np.mean(np.exp([-3, 1, 1.2]))
    over_early = statistics.energy_contrast(late, "one", "IN", "mid", "early").value
    assert over_early == pytest.approx((np.exp(1) - np.exp(-3)) / mean)
    over_rest = statistics.energy_contrast(late, "one", "IN", "mid").value
    assert over_rest == pytest.approx((np.exp(1) - (np.exp(-3) + np.exp(1.2)) / 2) / mean)


def test_an_update_of_low_rank_is_concentrated_and_one_of_nothing_says_nothing(tiny, tmp_path):
    """A slope over the ranks that there are called a rank-8 update flatter than a full one, and one of zero steeper."""

    def low_rank(layer, shape):
        generator = torch.Generator().manual_seed(layer)
        return 1e-3 * torch.randn(shape[0], 8, generator=generator) @ torch.randn(8, shape[1], generator=generator)

    planted(tiny, tmp_path / "in", spread(1e-3))
    planted(tmp_path / "in", tmp_path / "rl", low_rank)
    frame = of_weights(tiny, tmp_path / "in", tmp_path / "rl")
    assert (of_claim(5, Measurements(REGIONS, ("one",), updates=frame, seed=1)).verdict == SUPPORTED).all()
    same = of_weights(tiny, tmp_path / "in", tmp_path / "in")
    found = of_claim(5, Measurements(REGIONS, ("one",), updates=same, seed=1))
    assert set(found.verdict) == {MISSING}
    assert set(found.why) == {"no two spectra to compare"}


def test_equal_energy_spread_or_concentrated_is_told_by_the_spectrum(tiny, tmp_path):
    planted(tiny, tmp_path / "in", spread(1e-3))
    planted(tmp_path / "in", tmp_path / "rl", concentrated(1e-3, range(9)))
    frame = of_weights(tiny, tmp_path / "in", tmp_path / "rl")
    energy = frame[frame.component == "layer"].groupby("stage").frobenius.sum()
    assert energy["IN"] == pytest.approx(energy["RL"], rel=0.02)
    assert (of_claim(5, Measurements(REGIONS, ("one",), updates=frame, seed=1)).verdict == SUPPORTED).all()
    swapped = frame.assign(stage=frame.stage.map({"IN": "RL", "RL": "IN"}))
    assert whole(5, Measurements(REGIONS, ("one",), updates=swapped, seed=1)) == CONTRADICTED


def test_rl_that_is_in_changes_nothing(tiny, tmp_path):
    planted(tiny, tmp_path / "in", spread(1e-3))
    frame = of_weights(tiny, tmp_path / "in", tmp_path / "in")
    same = hits({role: {"M_v2r": 0.4, "M_rea": 0.4} for role in ("IN",)})
    copies = [same.assign(role=role) for role in ("IN", "RL", "IN:RL:RL", *FROZEN)]
    nothing = Measurements(REGIONS, ("one", "two"), outcomes=pd.concat(copies), updates=frame, seed=1)
    for number in (6, 7):
        found = statements.check_all(claim(number), nothing)
        assert set(found.verdict) == {UNDECIDED}
        assert set(found.estimate) == {0.0}
    rl = (
        statements.check_all(claim(4), nothing)
        .set_index(["statement", "recipe"])
        .loc["RL's energy per layer peaks in Mid"]
    )
    assert rl.why["one"] == "the update of RL is exactly zero"
    assert rl.why["two"] == "no update of RL"


def nothing_in_layers(seed: int, n=12) -> dict[str, pd.DataFrame]:
    """Probes and updates in which all layers, and both stages, are alike but for luck."""
    rng = np.random.default_rng(seed)
    cells = [(i, layer) for i in range(n) for layer in range(9)]
    swaps = [
        {"id": i, "function": function, "mode": "hidden_state_at_layer", "layer": layer, "changed": layer <= read, "failed": False}
        for function in ("recognition", "ocr", "grounding", "counting")
        for i in range(n) for read in [rng.integers(9)] for layer in range(9)
    ]  # fmt: skip
    swaps += [{**row, "mode": "none", "layer": -1, "changed": False} for row in swaps if row["layer"] == 0]
    swaps = [{**row, "right": row["layer"] < 0, "unchangeable": False} for row in swaps]
    skips = [{"task": "t", "id": i, "layer": layer, "wrong": rng.random() < 0.5, "failed": False} for i, layer in cells]
    updates = [
        {"recipe": recipe, "stage": stage, "component": "layer", "layer": layer, "matrix": matrix,
         "frobenius": rng.lognormal(), "slope": rng.normal(), "stable_rank": rng.lognormal(), "spectral": 1.0, "rounding_floor": 0.0}
        for recipe in ("one", "two") for stage in ("IN", "RL") for layer in range(9) for matrix in "qkvogud"
    ]  # fmt: skip
    return {"swaps": pd.DataFrame(swaps), "skips": pd.DataFrame(skips), "updates": pd.DataFrame(updates)}


@pytest.mark.slow
def test_of_many_nothings_at_most_one_in_twenty_is_a_claim(monkeypatch):
    """100 null studies in which checkpoints, layers and stages differ by luck alone. A false claim is one that is decided."""
    monkeypatch.setattr(estimates, "_RESAMPLES", 999)  # the least p is .002, and Holm multiplies by ten at most
    monkeypatch.setattr(estimates, "interval", lambda *_: (0.0, 0.0))  # verdicts do not rest on it
    monkeypatch.setattr(controls, "_DRAWS", 9)
    monkeypatch.setattr(gc, "collect", lambda: 0)  # statsmodels calls it, and it takes most of the time
    metrics = dict.fromkeys(("b1", "b2", "M_vis", "M_v2r", "M_rea"), 0.5)
    rates = {role: metrics for role in ("Base", "IN", "RL", *HYBRIDS[:1], *FROZEN)}
    false = dict.fromkeys(range(1, 8), 0)
    draws = 100
    for draw in range(draws):
        rng = np.random.default_rng(draw)
        frame = hits(rates, n=60, seed=draw)
        frame["correct"] = rng.random(len(frame)) < 0.5
        null = measured(outcomes=frame, attention=attention(range(0), n=12, seed=draw), **nothing_in_layers(draw))
        found = statements.check_all(PAPER, null)
        for number in false:
            false[number] += bool((found[found.claim == number].verdict != UNDECIDED).any())
    assert sum(false.values()) > 0  # it could have been more
    for number, count in false.items():
        assert binomtest(count, draws, 0.05, alternative="greater").pvalue > 0.01, (number, count)
    print(false)


def test_what_a_study_has_not_is_not_claimed():
    found = statements.check_all(PAPER, measured())
    assert set(found.verdict) == {MISSING}
    assert set(claims.summarize_claims(PAPER, found).verdict) == {MISSING}
    assert found.why.str.len().gt(0).all()
    one_recipe = hits({"IN": {"M_v2r": 0.4, "M_rea": 0.4}, "IN:RL:RL": {"M_v2r": 0.7, "M_rea": 0.7}}, recipes=("one",))
    made = statements.check_all(claim(6), measured(outcomes=one_recipe))
    row = claims.summarize_claims(claim(6), made).iloc[0]
    assert (row.verdict, row.supported, row.missing) == (SUPPORTED, 2, 2)  # of recipe one, and the report says so
    assert claims.summarize_claims(claim(6), made, partial=True).verdict.item() == UNDECIDED
    # A statement that nobody could make is not given.
    half = statements.check_all(claim(6), measured(outcomes=one_recipe[one_recipe.metric == "M_rea"]))
    row = claims.summarize_claims(claim(6), half).iloc[0]
    assert (row.verdict, row.supported, row.missing) == (UNDECIDED, 1, 3)
    # Nor has a recipe no say where its samples failed.
    mass = attention(range(3, 9))
    failed = mass.assign(attention_mass=mass.attention_mass.where(mass.recipe == "one"))
    assert whole(2, measured(attention=mass[mass.recipe == "one"])) == SUPPORTED
    assert whole(2, measured(attention=failed)) == UNDECIDED


def test_other_examples_are_no_pairs():
    frame = hits({"IN": {"M_v2r": 0.4, "M_rea": 0.4}, "IN:RL:RL": {"M_v2r": 0.4, "M_rea": 0.4}})
    frame = frame[~((frame.role == "IN") & (frame.id == 3))]
    with pytest.raises(InputError, match="one: IN and IN:RL:RL were not asked the same examples of M_v2r"):
        statements.check_all(claim(6), measured(outcomes=frame))


def test_the_papers_own_cells_decide_nothing():
    """N = 100: no difference of Tables 2 and 3 that its findings on merging and freezing rest on can be told from zero."""
    found = paper.of_paper(PAPER, reference.read(ROOT / "workflow" / "claims" / "reference.yaml"))
    assert len(found) == 18
    assert set(found.verdict) == {UNDECIDED}
    assert ((found.low < 0) & (found.high > 0)).all()
    assert found.needed.min() > 200
    late = found[found.statement == "M_rea, Late frozen - RL"].iloc[0]
    assert late.estimate == 0
    larger = {
        "table2": {"n": 100, "roles": ["IN", "IN:RL:RL"], "x": {"M_v2r": [20, 60], "M_rea": [20, 60]}},
        "table3": {"n": 1, "roles": []},
    }
    assert set(paper.of_paper(claim(6), larger).verdict) == {SUPPORTED}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("- {claim: 9, says: x, statements: [{name: a, statistic: magic, of: {}, expect: less}]}", "claim 9: no statistic 'magic'"),
        ("- {claim: 9, says: x, statements: [{name: a, statistic: gain, of: {}, expect: up}]}", "expect is greater or less, not 'up'"),
        ("- {claim: 9, says: x, statements: [{name: a, statistic: gain, of: {metric: M_vis}, expect: less}]}", "claim 9: gain of .*: missing a required argument: 'old'"),
        ("- {claim: 9, says: x, statements: [{name: a, statistic: attention_gain, of: {region: middle}, expect: less}]}", "region is one of early, mid, late, not 'middle'"),
        ("- {claim: 9, says: x, statements: [{name: a, statistic: gain, of: {metric: M_vis, old: IN, new: RL}, expect: less}]}", "the roles are from and to"),
        ("- {claim: 9, says: x, statements: [{name: a, statistic: trend, of: {metric: M_vis, doses: {IN: 1, RL: 1}}, expect: less}]}", "a trend needs two doses"),
        ("- {claim: 9, says: x, statements: [{name: a, statistic: trend, of: {metric: M_vis, doses: [IN, RL]}, expect: less}]}", "doses are .role: number"),
        ("- {claim: 9, says: x, statements: [{name: a, statistic: gain, of: {metric: M_vis, from: IN, to: RL}, expect: less}, {name: a, statistic: gain, of: {metric: M_rea, from: IN, to: RL}, expect: less}]}", "two statements of one name"),
        ("- {claim: null, says: x, statements: []}", "its name is a number or a text"),
        ("- {claim: '1', says: x, statements: []}", "claim 1 is there twice"),
        ("- {claim: 9, statements: 3}", "no list of claims"),
        ("{", "no list of claims"),
        ("- {claim: 1, says: x, statements: []}", "claim 1 is there twice"),
    ],
)  # fmt: skip
def test_claims_that_are_none_are_named(tmp_path, text, says):
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(InputError, match=says):
        statements.read([ROOT / "workflow" / "claims" / "paper.yaml", tmp_path / "c.yaml"])


def test_claims_of_ones_own(tmp_path):
    (tmp_path / "c.yaml").write_text(
        "- claim: vision holds\n  says: RL loses no vision.\n  statements:\n"
        "    - {name: M_vis RL - IN, statistic: gain, of: {metric: M_vis, from: IN, to: RL}, expect: greater}\n"
    )
    own = statements.read([tmp_path / "c.yaml"])
    frame = hits({"IN": {"M_vis": 0.4}, "RL": {"M_vis": 0.6}})
    found = statements.check_all(own, measured(outcomes=frame))
    assert claims.summarize_claims(own, found).verdict.item() == SUPPORTED


def test_another_seed_stands_beside_rl():
    """IN trained again: what it gains over IN is the null of every statement that goes from IN to RL."""
    rates = {"Base": {"M_v2r": 0.2}, "IN": {"M_v2r": 0.4}, "RL": {"M_v2r": 0.6}, RETRAINED: {"M_v2r": 0.5}}
    listed = [
        {"name": "RL", "statistic": "gain", "of": {"metric": "M_v2r", "from": "IN", "to": "RL"}, "expect": "greater"},
        {"name": "IN", "statistic": "gain", "of": {"metric": "M_v2r", "from": "Base", "to": "IN"}, "expect": "greater"},
        {"name": "late", "statistic": "attention_gain", "of": {"region": "late"}, "expect": "greater"},
    ]
    mass = attention(range(3, 9))
    again = mass[mass.stage == "IN"].assign(stage=RETRAINED, attention_mass=lambda frame: frame.attention_mass + 0.01)
    made = statements.check_all(
        [{"claim": 1, "statements": listed}],
        measured(outcomes=hits(rates, recipes=("one",)), attention=pd.concat([mass, again])),
    ).set_index(["statement", "recipe"])
    assert made.null["RL", "one"] == pytest.approx(0.1, abs=0.02)
    assert made.null_low["RL", "one"] < made.null["RL", "one"] < made.null_high["RL", "one"]
    assert np.isnan(made.null["IN", "one"])  # nothing of RL's is in it
    assert made.null["late", "one"] == pytest.approx(0.01)
    assert np.isnan(made.null["RL", "two"])
    without = statements.check_all([{"claim": 1, "statements": listed}], measured(attention=mass))
    assert without.null.isna().all()


def test_dose_response():
    roles = {"IN": 0.0, "half": 0.5, "IN:RL:RL": 1.0}
    rates = {"IN": {"M_rea": 0.3}, "half": {"M_rea": 0.5}, "IN:RL:RL": {"M_rea": 0.7}}
    frame = hits(rates, recipes=("one",))
    found = statistics.trend(measured(outcomes=frame), "one", "M_rea", roles)
    table = frame.pivot(index="id", columns="role", values="correct").astype(float)[list(roles)]
    slopes = [np.polyfit(list(roles.values()), row, 1)[0] for row in table.to_numpy()]  # the obvious twin
    assert found.value == pytest.approx(np.mean(slopes))
    assert found.value == pytest.approx(0.4, abs=0.01)
    assert found.low < 0.4 < found.high
    assert found.p_greater < 0.01
    every = {role: {metric: 0.5 for metric in ("M_vis", "M_v2r", "M_rea")} for role in roles}
    table = interpolation.response(measured(outcomes=hits(every)), ["one", "two"], {"IN:RL:RL": roles})
    assert len(table) == 2 * 3 * 3
    assert set(table.value) == {50.0}
    assert (table.low < 50).all()
    assert set(interpolation.response(measured(outcomes=hits(every)), ["two"], {"IN:RL:RL": roles}).recipe) == {"two"}


def test_recipes_are_replicates():
    rates = {"IN": {"M_v2r": 0.4, "M_rea": 0.4}, "IN:RL:RL": {"M_v2r": 0.6, "M_rea": 0.3}}
    made = statements.check_all(claim(6), measured(outcomes=hits(rates)))
    found = claims.replicates(made).set_index("statement")
    row = found.loc["M_v2r, IN:RL:RL - IN"]
    both = made[made.statement == "M_v2r, IN:RL:RL - IN"].estimate
    assert (row.recipes, row.along) == (2, 2)
    assert row["mean"] == pytest.approx(both.mean())
    half = 12.706 * both.std(ddof=1) / 2**0.5  # t with one degree of freedom
    assert row.high - row["mean"] == pytest.approx(half, rel=1e-3)
    assert found.along["M_rea, IN:RL:RL - IN"] == 0
    # Two RL runs of one IN are one replicate of what is about IN alone.
    frame = hits(rates, recipes=("one",))
    shared = pd.concat([frame, frame.assign(recipe="two")])
    nothing = frame[frame.role == "IN"]
    unmoved = pd.concat(
        [nothing.assign(role=role, recipe=recipe) for role in ("IN", "IN:RL:RL") for recipe in ("one", "two")]
    )
    assert (
        claims.replicates(statements.check_all(claim(6), measured(outcomes=unmoved))).recipes == 2
    ).all()  # no change is a finding too
    assert claims.replicates(statements.check_all(claim(6), measured(outcomes=shared))).empty
    assert claims.replicates(statements.check_all(claim(6), measured())).empty


def test_what_n_could_show():
    """`detectable` is the effect that is found in four of five studies of this N."""
    rates = {"IN": {"M_v2r": 0.5, "M_rea": 0.5}, "IN:RL:RL": {"M_v2r": 0.5, "M_rea": 0.5}}
    frame = hits(rates, n=200, recipes=("one",))
    detectable = of_claim(6, measured(outcomes=frame)).detectable["M_v2r, IN:RL:RL - IN", "one"]
    rng = np.random.default_rng(0)
    before, after = (frame[(frame.role == role) & (frame.metric == "M_v2r")].correct.to_numpy() for role in rates)
    spread = np.std(after.astype(float) - before, ddof=1)
    found = 0
    for _ in range(300):
        change = rng.choice([-1, 0, 1], 200, p=three(detectable, spread))
        found += estimates.of_mean(change, "examples", 0).p_greater < estimates.LEVEL / 2
    assert 0.7 < found / 300 < 0.9


def three(mean, deviation):
    """Shares of -1, 0 and 1 with a mean and a standard deviation."""
    moved = deviation**2 + mean**2
    return [(moved - mean) / 2, 1 - moved, (moved + mean) / 2]
