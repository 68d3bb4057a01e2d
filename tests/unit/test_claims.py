"""Planted effects are found, nothing is not: the suite that proves the instrument."""

import numpy as np
import pandas as pd
import pytest
import torch
import verdicts as simulated
from conftest import ROOT
from safetensors.torch import load_file, save_file
from scipy.stats import binomtest

from frankenstein.claims import interpolation, paper, reference, sensitivity, statements, statistics, testing, verdicts
from frankenstein.claims.estimates import LEVEL, over_examples, smallest
from frankenstein.claims.measurements import Measurements
from frankenstein.claims.verdicts import CONTRADICTED, MISSING, SAME, SUPPORTED, UNDECIDED
from frankenstein.core.errors import InputError
from frankenstein.core.regions import Regions
from frankenstein.core.roles import NULL_HYBRID, RETRAINED, Run
from frankenstein.updates import matrices

PAPER = statements.read([ROOT / "workflow" / "claims" / "paper.yaml"])
REGIONS = Regions((3, 6), 9)
FROZEN = [f"RL, {region} frozen" for region in ("Early", "Mid", "Late")]


def claim(number):
    return [found for found in PAPER if found["claim"] == number]


def decided(stated, measured, partial=False) -> pd.DataFrame:
    return verdicts.decide(testing.check_all(stated, measured, partial)[0])


def of_claim(number, measured) -> pd.DataFrame:
    return decided(claim(number), measured).set_index("statement")


def summary(number, measured, partial=False) -> pd.Series:
    return verdicts.summarize_claims(claim(number), decided(claim(number), measured, partial), partial).iloc[0]


def whole(number, measured) -> str:
    return summary(number, measured).verdict


def runs_of(recipes=("one", "two"), runs=4) -> tuple[Run, ...]:
    return tuple(Run(recipe, number) for recipe in recipes for number in range(1, runs + 1))


def in_runs(frame: pd.DataFrame, runs: tuple[Run, ...]) -> pd.DataFrame:
    """The same measurements in every run, but for a trifle that tells the runs apart."""
    parts = []
    for k, run in enumerate(runs):
        part = frame.assign(recipe=run.recipe, run=run.number)
        for column in ("frobenius", "stable_rank"):
            if column in part:
                part[column] *= 1 + 1e-4 * k * (part.stage == "RL")
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def hits(rates: dict, n=400, seed=0, recipes=("one", "two"), runs=4, sd=0.0) -> pd.DataFrame:
    """rates: role -> {metric: share of hits}; examples are alike in difficulty, so pairs agree more often than chance. sd: of a
    role's rate between runs."""
    rng, rows = np.random.default_rng(seed), []
    for run in runs_of(recipes, runs):
        difficulty = rng.random(n)
        for role, metrics in rates.items():
            for metric, rate in metrics.items():
                luck = 0.8 * difficulty + 0.2 * rng.random(n)
                rate = float(np.clip(rate + rng.normal(0, sd), 0, 1)) if sd else rate
                hit = luck < np.quantile(luck, rate) if 0 < rate < 1 else np.full(n, bool(rate))
                part = {"recipe": run.recipe, "run": run.number, "role": role, "metric": metric, "id": range(n)}
                rows.append(pd.DataFrame({**part, "correct": hit, "cluster": range(n)}))
    return pd.concat(rows)


def measured(runs=None, **parts) -> Measurements:
    return Measurements(REGIONS, runs or runs_of(), ("b1", "b2"), seed=1, **parts)


def one_run(**parts) -> Measurements:
    return measured((Run("one"),), **parts)


def test_a_skill_that_mid_and_late_carry_is_found_in_the_hybrid():
    rates = {"IN": {"M_v2r": 0.4, "M_rea": 0.4}, "IN:RL:RL": {"M_v2r": 0.6, "M_rea": 0.6}}
    found = of_claim(6, measured(outcomes=hits(rates, sd=0.02)))
    assert (found.verdict == SUPPORTED).all()
    assert (found.low > 0).all()
    assert (found.over == "runs").all()
    assert (found.n == 8).all()
    assert (found.along == 8).all()
    assert found.estimate.between(0.15, 0.25).all()
    assert whole(6, measured(outcomes=hits(rates, sd=0.02))) == SUPPORTED
    # Only hybrids with RL's Early have it: the other way round.
    rates = {"IN": {"M_v2r": 0.4, "M_rea": 0.4}, "IN:RL:RL": {"M_v2r": 0.4, "M_rea": 0.25}}
    assert whole(6, measured(outcomes=hits(rates, sd=0.02))) == CONTRADICTED


def test_one_run_says_what_holds_in_its_checkpoints_and_nothing_of_rl():
    rates = {"IN": {"M_v2r": 0.4, "M_rea": 0.4}, "IN:RL:RL": {"M_v2r": 0.7, "M_rea": 0.7}}
    one = one_run(outcomes=hits(rates, recipes=("one",), runs=1))
    found = of_claim(6, one)
    assert set(found.verdict) == {UNDECIDED}
    assert set(found.in_checkpoint) == {SUPPORTED}
    assert set(found.over) == {"examples"}
    assert (summary(6, one).verdict, summary(6, one).in_checkpoint) == (UNDECIDED, SUPPORTED)
    assert found.needed_runs.isna().all()  # the variance between runs is not known


def test_more_examples_do_not_decide_what_differs_between_runs():
    """Training seeds alone: a difference that thousands of examples show in one run is none of RL's."""
    rates = {role: {"M_v2r": 0.4, "M_rea": 0.4} for role in ("IN", "RL", "IN:RL:RL", *FROZEN)}
    seen = [summary(6, measured(outcomes=hits(rates, n=4000, seed=seed, sd=0.05))).verdict for seed in range(12)]
    assert seen.count(UNDECIDED) >= 11
    alone = [
        summary(6, one_run(outcomes=hits(rates, n=4000, seed=seed, sd=0.05, runs=1, recipes=("one",)))).in_checkpoint
        for seed in range(12)
    ]
    assert alone.count(UNDECIDED) < 6  # in one run's checkpoints they do differ


def test_recipes_that_share_checkpoints_share_the_run():
    rates = {"IN": {"M_v2r": 0.4, "M_rea": 0.4}, "IN:RL:RL": {"M_v2r": 0.6, "M_rea": 0.6}}
    frame = hits(rates, recipes=("one",), sd=0.02)
    shared = pd.concat([frame, frame.assign(recipe="two")])
    members = {run: frozenset({f"in-{run.number}", f"rl-{run.number}"}) for run in runs_of()}
    tested, by_run = testing.check_all(claim(6), measured(outcomes=shared, checkpoints=members))
    assert set(tested.n) == {4}
    assert by_run.groupby("recipe").counted.all().to_dict() == {"one": True, "two": False}
    # Other checkpoints that happen to answer alike are other runs, and so are other RLs of one IN.
    apart = {run: frozenset({f"{run.recipe}-in-{run.number}"}) for run in runs_of()}
    assert set(testing.check_all(claim(6), measured(outcomes=shared, checkpoints=apart))[0].n) == {8}
    differ = pd.concat([frame, hits(rates, recipes=("two",), sd=0.02, seed=1)])
    assert set(testing.check_all(claim(6), measured(outcomes=differ, checkpoints=members))[0].n) == {8}


def test_a_gain_below_the_margin_is_no_relevant_difference():
    rates = {"IN": {"M_v2r": 0.4, "M_rea": 0.4}, "IN:RL:RL": {"M_v2r": 0.4, "M_rea": 0.4}}
    many = measured(runs_of(runs=10), outcomes=hits(rates, n=800, runs=10, sd=0.005))
    assert whole(6, many) == SAME
    few = measured(runs_of(runs=2), outcomes=hits(rates, n=100, runs=2, sd=0.02))
    found = of_claim(6, few)
    assert set(found.verdict) == {UNDECIDED}
    assert (found.needed_runs > 4).all()  # in runs and examples, against the declared margin
    assert (found.needed_examples >= 100).all()


def test_what_is_needed_decides():
    """Two points between runs: as many runs as were said to be needed find an effect of the margin."""
    rates = {"IN": {"M_v2r": 0.4, "M_rea": 0.4}, "IN:RL:RL": {"M_v2r": 0.43, "M_rea": 0.43}}
    found = of_claim(6, measured(runs_of(runs=20), outcomes=hits(rates, n=1000, runs=20, sd=0.06)))
    needed, n = found.needed_runs.max(), int(found.needed_examples.max())
    assert 40 < needed <= 100
    again = measured(runs_of(runs=60), outcomes=hits(rates, n=n, runs=60, sd=0.06, seed=3))
    assert whole(6, again) == SUPPORTED


def test_a_merge_must_beat_the_merge_with_another_seed():
    """Averaging two INs can help by itself: what IN:SEED:SEED gains is not RL's."""
    rates = {"IN": {"M_v2r": 0.4, "M_rea": 0.4}, "IN:RL:RL": {"M_v2r": 0.6, "M_rea": 0.6}}
    soup = rates | {NULL_HYBRID: {"M_v2r": 0.6, "M_rea": 0.6}}
    found = of_claim(6, measured(outcomes=hits(soup, sd=0.02)))
    assert set(found.verdict) == {UNDECIDED}
    assert found.null.between(0.15, 0.25).all()
    worse = rates | {NULL_HYBRID: {"M_v2r": 0.2, "M_rea": 0.2}}  # a merge that breaks is no help either
    assert whole(6, measured(outcomes=hits(worse, sd=0.02))) == SUPPORTED
    # To the other side alike.
    harm = {"IN": {"M_v2r": 0.6, "M_rea": 0.6}, "IN:RL:RL": {"M_v2r": 0.4, "M_rea": 0.4}}
    assert whole(6, measured(outcomes=hits(harm | {NULL_HYBRID: harm["IN:RL:RL"]}, sd=0.02))) == UNDECIDED
    assert whole(6, measured(outcomes=hits(harm, sd=0.02))) == CONTRADICTED


def test_with_one_run_rl_must_beat_another_seed():
    rates = {"IN": {"M_v2r": 0.4}, "RL": {"M_v2r": 0.6}, RETRAINED: {"M_v2r": 0.6}}
    stated = [{"claim": 1, "statements": [gain("IN", "RL", "M_v2r")]}]
    beside = decided(stated, one_run(outcomes=hits(rates, recipes=("one",), runs=1))).iloc[0]
    assert beside.in_checkpoint == UNDECIDED
    assert beside.null == pytest.approx(0.2, abs=0.01)
    alone = hits({role: rates[role] for role in ("IN", "RL")}, recipes=("one",), runs=1)
    assert decided(stated, one_run(outcomes=alone)).in_checkpoint.item() == SUPPORTED


def gain(old, new, metric, expect="greater", name=None) -> dict:
    of = {"metric": metric, "from": old, "to": new}
    return {"name": name or f"{metric} {new} - {old}", "statistic": "gain", "of": of, "expect": expect, "margin": 0.03}


def test_what_freezing_does():
    with_gain = {"M_v2r": 0.6, "M_rea": 0.6}
    without = {"M_v2r": 0.4, "M_rea": 0.4}
    rates = {"IN": without, "RL": with_gain, FROZEN[0]: with_gain, FROZEN[2]: without}

    def verdict(rates):
        return whole(7, measured(runs_of(runs=8), outcomes=hits(rates, n=800, runs=8, sd=0.01)))

    assert verdict(rates) == SUPPORTED
    assert verdict(rates | {FROZEN[2]: with_gain}) == UNDECIDED  # no region matters
    assert verdict(rates | {FROZEN[2]: {"M_v2r": 0.75, "M_rea": 0.75}}) == CONTRADICTED
    assert verdict(rates | {FROZEN[0]: {"M_v2r": 0.5, "M_rea": 0.5}}) == CONTRADICTED  # Early matters as well
    assert verdict(rates | {"RL": without, FROZEN[0]: without}) == UNDECIDED  # RL gains nothing that could be lost


def test_rising_and_not_rising():
    rates = {
        "Base": {"b1": 0.3, "b2": 0.4, "M_vis": 0.5, "M_rea": 0.6},
        "IN": {"b1": 0.5, "b2": 0.6, "M_vis": 0.3, "M_rea": 0.7},
        "RL": {"b1": 0.7, "b2": 0.8, "M_vis": 0.6, "M_rea": 0.5},
    }
    assert whole(1, measured(outcomes=hits(rates, sd=0.02))) == SUPPORTED
    rates["RL"]["M_rea"], rates["IN"]["M_vis"] = 0.9, 0.55
    assert whole(1, measured(outcomes=hits(rates, sd=0.02))) == CONTRADICTED


def test_benchmarks_weigh_alike_whatever_their_size():
    """As in Figure 2: a large benchmark that falls does not outweigh a small one that rises more."""
    frame = hits({"IN": {"b1": 0.4, "b2": 0.5}, "RL": {"b1": 0.6, "b2": 0.45}}, n=1000, sd=0.01)
    frame = frame[(frame.metric == "b2") | (frame.id < 100)]
    found = decided([{"claim": 1, "statements": [gain("IN", "RL", "benchmarks")]}], measured(outcomes=frame)).iloc[0]
    assert found.estimate == pytest.approx((0.2 - 0.05) / 2, abs=0.03)
    assert found.verdict == SUPPORTED


def attention(raised: range, by=0.03, n=40, seed=0, recipes=("one", "two"), runs=4, dilution=0.0) -> pd.DataFrame:
    """Attention mass by example and layer over both responses, RL's raised in known layers."""
    rng, rows = np.random.default_rng(seed), []
    for run in runs_of(recipes, runs):
        own = rng.normal(0.1, 0.02, (n, 9))
        texts = {"IN": 0.0, "RL": dilution}  # what a response takes from all layers, whoever reads it
        for stage in ("IN", "RL"):
            mass = own + rng.normal(0, 0.005, (n, 9)) + rng.normal(0, 0.001)
            if stage == "RL":
                mass[:, list(raised)] += by
            for text, less in texts.items():
                at = {"recipe": run.recipe, "run": run.number, "stage": stage, "text": text, "own": text == stage}
                columns = {"id": np.repeat(range(n), 9), "layer": np.tile(range(9), n)}
                rows.append(pd.DataFrame({**at, **columns, "attention_mass": (mass - less).ravel()}))
    return pd.concat(rows, ignore_index=True)


def test_a_longer_response_does_not_hide_what_the_weights_do():
    """Over its own response RL attends less to the image than IN, for that is longer; over the same one it attends more."""
    diluted = measured(attention=attention(range(3, 9), dilution=0.05))
    assert whole(2, diluted) == SUPPORTED
    parts = {
        part: testing.check_all(
            [{"claim": 1, "statements": [{"name": part, "statistic": "attention_gain", "of": {"region": "late", "part": part}, "expect": "greater", "margin": 0.01}]}],
            diluted,
        )[0].estimate.item()
        for part in ("total", "weights", "text")
    }  # fmt: skip
    assert parts["total"] == pytest.approx(-0.02, abs=0.005)
    assert parts["weights"] == pytest.approx(0.03, abs=0.005)
    assert parts["text"] == pytest.approx(-0.05)


def test_attention_raised_in_known_layers():
    assert whole(2, measured(attention=attention(range(3, 9)))) == SUPPORTED
    assert whole(2, measured(attention=attention(range(9)))) == UNDECIDED  # everywhere: not Late more than Early
    assert whole(2, measured(attention=attention(range(0)))) == SAME  # a tenth of the margin is between the runs
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
    """Of the one Base, over its examples: it is no claim about RL, and needs no runs."""
    early = probes({"recognition": 2, "ocr": 1, "grounding": 2, "counting": 0})
    found = of_claim(3, one_run(swaps=early, skips=skips("late")))
    assert (found.verdict == SUPPORTED).all()
    assert set(found.over) == {"examples"}
    failed = early.assign(failed=early.function == "ocr")
    found = of_claim(3, measured(swaps=failed, skips=skips("late")))
    assert list(found.verdict) == [SUPPORTED, MISSING, SUPPORTED, SUPPORTED, SUPPORTED]
    assert found.why.iloc[1] == "every sample failed"
    # A swap at any layer up to the reading one changes the answer; it is read in that one alone.
    mid = probes({"recognition": 4, "ocr": 4, "grounding": 4, "counting": 4})
    found = of_claim(3, measured(swaps=mid, skips=skips("late")))
    assert found.verdict.iloc[0] == CONTRADICTED
    assert not set(found.verdict.iloc[1:4]) & {SUPPORTED, CONTRADICTED}
    late = probes({"recognition": 8, "ocr": 8, "grounding": 8, "counting": 8})
    found = of_claim(3, measured(swaps=late, skips=skips("early")))
    assert found.verdict.iloc[0] not in (SUPPORTED, CONTRADICTED)
    assert list(found.verdict.iloc[1:]) == [CONTRADICTED] * 4


def test_a_model_that_reads_alike_in_all_layers_is_no_early_reader():
    """Its change rate falls with depth, and says nothing of where it reads."""
    rows = [
        {"id": i, "function": function, "mode": "none" if layer < 0 else "hidden_state_at_layer", "layer": layer,
         "changed": 0 <= layer <= i % 9, "failed": False, "right": layer < 0, "unchangeable": False}
        for function in ("recognition", "ocr", "grounding", "counting") for i in range(90) for layer in range(-1, 9)
    ]  # fmt: skip
    found = of_claim(3, measured(swaps=pd.DataFrame(rows), skips=skips("late")))
    assert not set(found.verdict[:4]) & {SUPPORTED, CONTRADICTED}
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
            {"recipe": "one", "run": 1, "stage": stage, **record}
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


def of_updates(frame: pd.DataFrame, runs=6) -> Measurements:
    several = runs_of(("one",), runs)
    return Measurements(REGIONS, several, updates=in_runs(frame, several), seed=1)


def test_an_update_planted_in_mid_is_found_there_and_a_spread_one_is_nowhere(tiny, tmp_path):
    planted(tiny, tmp_path / "in", concentrated(1e-2, range(3, 6)))
    planted(tmp_path / "in", tmp_path / "rl", spread(1e-3))
    frame = of_weights(tiny, tmp_path / "in", tmp_path / "rl")
    found = of_claim(4, of_updates(frame.assign(frobenius=frame.frobenius * np.where(frame.stage == "IN", 1.0, 1.0))))
    assert found.estimate.iloc[0] > 2.9
    assert abs(found.estimate.iloc[1]) < 0.1
    # Of one run they are numbers without a test: what is beyond the margin holds in its weights.
    one = of_claim(4, of_updates(frame, runs=1))
    assert list(one.verdict) == [UNDECIDED, UNDECIDED]
    assert list(one.in_checkpoint) == [SUPPORTED, SAME]
    assert one.low.isna().all()


def test_energy_that_is_highest_in_late_does_not_peak_in_mid():
    """Mid is above the mean of the others, and Late above Mid."""
    rng, rows = np.random.default_rng(0), []
    for run in runs_of(("one",), 6):
        rows += [
            {"recipe": run.recipe, "run": run.number, "stage": stage, "component": "layer", "layer": layer, "matrix": "q",
             "frobenius": np.exp((level + rng.normal(0, 0.05)) / 2)}
            for stage in ("IN", "RL") for layer, level in enumerate([-3] * 3 + [1] * 3 + [1.2] * 3)
        ]  # fmt: skip
    late = Measurements(REGIONS, runs_of(("one",), 6), updates=pd.DataFrame(rows), seed=1)
    found = of_claim(4, late)
    assert set(found.verdict) == {CONTRADICTED}
    assert (found.estimate < 0).all()
    mean = np.mean(np.exp([-3, 1, 1.2]))
    over_early = statistics.energy_contrast(late, Run("one"), "IN", "mid", "early")[0].value
    assert over_early == pytest.approx((np.exp(1) - np.exp(-3)) / mean, rel=0.1)
    over_rest = statistics.energy_contrast(late, Run("one"), "IN", "mid")[0].value
    assert over_rest == pytest.approx((np.exp(1) - (np.exp(-3) + np.exp(1.2)) / 2) / mean, rel=0.2)


def test_an_update_of_low_rank_is_concentrated_and_one_of_nothing_says_nothing(tiny, tmp_path):
    """A slope over the ranks that there are called a rank-8 update flatter than a full one, and one of zero steeper."""

    def low_rank(layer, shape):
        generator = torch.Generator().manual_seed(layer)
        return 1e-3 * torch.randn(shape[0], 8, generator=generator) @ torch.randn(8, shape[1], generator=generator)

    planted(tiny, tmp_path / "in", spread(1e-3))
    planted(tmp_path / "in", tmp_path / "rl", low_rank)
    frame = of_weights(tiny, tmp_path / "in", tmp_path / "rl")
    found = of_claim(5, of_updates(frame))
    assert (found.verdict == SUPPORTED).all()
    assert (found.share == 1).all()  # of all weight matrices
    assert (found.effect_size < -1).all()
    same = of_weights(tiny, tmp_path / "in", tmp_path / "in")
    found = of_claim(5, of_updates(same))
    assert set(found.verdict) == {MISSING}
    assert set(found.why) == {"no two spectra to compare"}


def test_equal_energy_spread_or_concentrated_is_told_by_the_spectrum(tiny, tmp_path):
    planted(tiny, tmp_path / "in", spread(1e-3))
    planted(tmp_path / "in", tmp_path / "rl", concentrated(1e-3, range(9)))
    frame = of_weights(tiny, tmp_path / "in", tmp_path / "rl")
    energy = frame[frame.component == "layer"].groupby("stage").frobenius.sum()
    assert energy["IN"] == pytest.approx(energy["RL"], rel=0.02)
    assert whole(5, of_updates(frame)) == SUPPORTED
    assert whole(5, of_updates(frame.assign(stage=frame.stage.map({"IN": "RL", "RL": "IN"})))) == CONTRADICTED


def test_rl_that_is_in_changes_nothing(tiny, tmp_path):
    planted(tiny, tmp_path / "in", spread(1e-3))
    frame = of_weights(tiny, tmp_path / "in", tmp_path / "in")
    same = hits({role: {"M_v2r": 0.4, "M_rea": 0.4} for role in ("IN",)})
    copies = [same.assign(role=role) for role in ("IN", "RL", "IN:RL:RL", *FROZEN)]
    nothing = measured(outcomes=pd.concat(copies), updates=in_runs(frame, runs_of(("one",))))
    for number in (6, 7):
        found = of_claim(number, nothing)
        assert not set(found.verdict) & {CONTRADICTED}
        assert set(found[found.expect == "greater"].verdict) == {SAME}  # in all runs exactly: within any margin
        assert set(found.estimate) == {0.0}
    assert of_claim(4, nothing).loc["RL's energy per layer peaks in Mid"].why == (
        "the update of RL is exactly zero; no update of RL"
    )


def test_planted_effects_of_known_size_are_found_and_none_is_not():
    """Both ways of the simulation: a gain of 10 points, and the nulls in short (benchmarks/verdicts.py has them whole)."""
    found = simulated.study(3, runs=12, n=200, run=0.02, gain=0.10)
    made = of_claim(6, found)
    assert set(made.verdict) == {SUPPORTED}
    assert made.estimate.between(0.05, 0.15).all()


@pytest.mark.slow
@pytest.mark.parametrize("null", ["all", "runs, sd 5 points"])
def test_of_many_nothings_at_most_one_in_twenty_is_a_claim(null):
    """Studies without an effect. A false verdict is a direction, of any claim of the report."""
    studies = 12
    false = sum(
        any(simulated.false_claims(PAPER, simulated.study(seed, n=60, **simulated.NULLS[null]), 0).values())
        for seed in range(studies)
    )
    assert binomtest(false, studies, LEVEL, alternative="greater").pvalue > 0.01, false


def test_runs_alone_would_not_do():
    """What RL does to single questions, as much good as harm, is the same in all runs: only with the draw of the questions in the
    variance is it no effect of RL. The t test over runs alone finds one."""
    false, plain = 0, 0
    for seed in range(25):
        null = simulated.study_of_gains(seed, 8, 100, 0.0, 0.0)
        null = simulated.outcomes(np.random.default_rng(seed), null.runs, 100, ("M_v2r", "M_rea"), question=0.9)
        found = of_claim(6, measured(tuple(Run("one", k) for k in range(1, 9)), outcomes=null))
        row = testing.check_all(claim(6), measured(tuple(Run("one", k) for k in range(1, 9)), outcomes=null))[0].iloc[0]
        false += row.p_for < 0.025 or row.p_against < 0.025
        alone = row["_estimate"]
        plain += abs(alone.value) / alone.by_runs**0.5 > 2.365  # t, 7 degrees of freedom
        assert CONTRADICTED not in set(found.verdict)
    assert false <= 4
    assert plain >= 8


def test_what_a_study_has_not_is_not_claimed():
    found = decided(PAPER, measured())
    assert set(found.verdict) == {MISSING}
    assert set(verdicts.summarize_claims(PAPER, found).verdict) == {MISSING}
    assert found.why.str.len().gt(0).all()
    frame = hits(
        {"IN": {"M_v2r": 0.4, "M_rea": 0.4}, "IN:RL:RL": {"M_v2r": 0.7, "M_rea": 0.7}}, recipes=("one",), sd=0.02
    )
    row = summary(6, measured(outcomes=frame))  # of recipe one alone
    assert (row.verdict, row.supported, row.missing) == (SUPPORTED, 2, 0)
    assert summary(6, measured(outcomes=frame), partial=True).verdict == UNDECIDED
    # A statement that nobody could make is not given.
    row = summary(6, measured(outcomes=frame[frame.metric == "M_rea"]))
    assert (row.verdict, row.supported, row.missing) == (UNDECIDED, 1, 1)
    # Nor is a claim where samples failed.
    mass = attention(range(3, 9))
    failed = mass.assign(attention_mass=mass.attention_mass.where(mass.recipe == "one"))
    assert whole(2, measured(attention=mass[mass.recipe == "one"])) == SUPPORTED
    assert whole(2, measured(attention=failed)) == UNDECIDED


def test_other_examples_are_no_pairs():
    frame = hits({"IN": {"M_v2r": 0.4, "M_rea": 0.4}, "IN:RL:RL": {"M_v2r": 0.4, "M_rea": 0.4}})
    frame = frame[~((frame.role == "IN") & (frame.id == 3))]
    with pytest.raises(InputError, match="one: IN and IN:RL:RL were not asked the same examples of M_v2r"):
        testing.check_all(claim(6), measured(outcomes=frame))


def test_the_papers_own_cells_decide_nothing():
    """N = 100: no difference of Tables 2 and 3 that its findings on merging and freezing rest on can be told from zero."""
    found = paper.of_paper(PAPER, reference.read(ROOT / "workflow" / "claims" / "reference.yaml"))
    cells, over = found[found.recipe != "all"], found[found.recipe == "all"]
    assert set(found.verdict) == {UNDECIDED}
    assert ((cells.low < 0) & (cells.high > 0)).all()
    assert cells.needed.min() > 2000  # three points
    assert set(over.n) == {3}  # recipes of Table 2
    merged = over.set_index("statement").loc["M_v2r, IN:RL:RL - IN"]
    parts = cells[cells.statement == "M_v2r, IN:RL:RL - IN"].estimate
    assert merged.estimate == pytest.approx(parts.mean())
    assert merged.high - merged.estimate == pytest.approx(4.303 * parts.std(ddof=1) / 3**0.5, rel=1e-3)
    larger = {
        "table2": {"n": 100, "roles": ["IN", "IN:RL:RL"], "x": {"M_v2r": [20, 60], "M_rea": [20, 60]}},
        "table3": {"n": 1, "roles": []},
    }
    assert set(paper.of_paper(claim(6), larger).verdict) == {SUPPORTED}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("- {claim: 9, says: x, statements: [{name: a, statistic: magic, of: {}, expect: less}]}", "claim 9: no statistic 'magic'"),
        ("- {claim: 9, says: x, statements: [{name: a, statistic: gain, of: {}, expect: up}]}", "expect is greater, less, equal, not 'up'"),
        ("- {claim: 9, says: x, statements: [{name: a, statistic: gain, of: {metric: M_vis}, expect: less}]}", "claim 9: gain of .*: missing a required argument: 'old'"),
        ("- {claim: 9, says: x, statements: [{name: a, statistic: attention_gain, of: {region: middle}, expect: less}]}", "region is one of early, mid, late, not 'middle'"),
        ("- {claim: 9, says: x, statements: [{name: a, statistic: gain, of: {metric: M_vis, old: IN, new: RL}, expect: less}]}", "the roles are from and to"),
        ("- {claim: 9, says: x, statements: [{name: a, statistic: trend, of: {metric: M_vis, doses: {IN: 1, RL: 1}}, expect: less}]}", "a trend needs two doses"),
        ("- {claim: 9, says: x, statements: [{name: a, statistic: trend, of: {metric: M_vis, doses: [IN, RL]}, expect: less}]}", "doses are .role: number"),
        ("- {claim: 9, says: x, statements: [{name: a, statistic: gain, of: {metric: M_vis, from: IN, to: RL}, expect: less}, {name: a, statistic: gain, of: {metric: M_rea, from: IN, to: RL}, expect: less}]}", "two statements share a name"),
        ("- {claim: 9, says: x, margin: -1, statements: [{name: a, statistic: gain, of: {metric: M_vis, from: IN, to: RL}, expect: less}]}", "margin is the smallest relevant difference, a number above zero, not -1"),
        ("- {claim: 9, says: x, statements: [{name: a, statistic: attention_gain, of: {region: mid}, expect: equal}]}", "equal is within a margin, which attention_gain does not have by itself"),
        ("- {claim: null, says: x, statements: []}", "the name of a claim must be a number or a text"),
        ("- {claim: '1', says: x, statements: []}", "claim 1 appears twice"),
        ("- {claim: 9, statements: 3}", "not a list of claims"),
        ("{", "not a list of claims"),
        ("- {claim: 1, says: x, statements: []}", "claim 1 appears twice"),
    ],
)  # fmt: skip
def test_claims_that_are_none_are_named(tmp_path, text, says):
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(InputError, match=says):
        statements.read([ROOT / "workflow" / "claims" / "paper.yaml", tmp_path / "c.yaml"])


def test_claims_of_ones_own(tmp_path):
    (tmp_path / "c.yaml").write_text(
        "- claim: vision holds\n  says: RL loses no vision.\n  margin: 0.02\n  statements:\n"
        "    - {name: M_vis RL - IN, statistic: gain, of: {metric: M_vis, from: IN, to: RL}, expect: greater}\n"
        "    - {name: all is alike, statistic: gain, of: {metric: M_vis, from: IN, to: RL}, expect: equal, margin: 0.5}\n"
    )
    own = statements.read([tmp_path / "c.yaml"])
    frame = hits({"IN": {"M_vis": 0.4}, "RL": {"M_vis": 0.6}}, sd=0.02)
    found = decided(own, measured(outcomes=frame))
    assert list(found.margin) == [0.02, 0.5]
    assert verdicts.summarize_claims(own, found).verdict.item() == SUPPORTED


def test_another_seed_stands_beside_rl():
    """IN trained again: what it gains over IN is the null of every statement that goes from IN to RL."""
    rates = {"Base": {"M_v2r": 0.2}, "IN": {"M_v2r": 0.4}, "RL": {"M_v2r": 0.6}, RETRAINED: {"M_v2r": 0.5}}
    listed = [
        gain("IN", "RL", "M_v2r", name="RL"),
        gain("Base", "IN", "M_v2r", name="IN"),
        gain("RL", FROZEN[2], "M_v2r", "less", name="frozen"),
        {"name": "late", "statistic": "attention_gain", "of": {"region": "late"}, "expect": "greater", "margin": 0.01},
    ]
    mass = attention(range(3, 9))
    again = mass[mass.stage == "IN"].assign(stage=RETRAINED, attention_mass=lambda frame: frame.attention_mass + 0.01)
    again = pd.concat([again.assign(text=RETRAINED, own=True), again.assign(text="IN", own=False)])
    again = again.drop_duplicates(["recipe", "run", "text", "id", "layer"])
    study = measured(outcomes=hits(rates, recipes=("one",), sd=0.005), attention=pd.concat([mass, again]))
    made, by_run = testing.check_all([{"claim": 1, "statements": listed}], study)
    made = made.set_index("statement")
    assert made.null["RL"] == pytest.approx(0.1, abs=0.02)
    assert made.null_low["RL"] < made.null["RL"] < made.null_high["RL"]
    assert np.isnan(made.null["IN"])  # nothing of RL's is in it
    assert np.isnan(made.null["frozen"])
    assert made.null["late"] == pytest.approx(0.01)
    assert by_run[(by_run.statement == "RL") & (by_run.recipe == "one")].null.notna().all()
    assert by_run[(by_run.statement == "RL") & (by_run.recipe == "two")].why.eq("no M_v2r of IN").all()
    without = testing.check_all([{"claim": 1, "statements": listed}], measured(attention=mass))[0]
    assert without.null.isna().all()


def test_the_runs_shown_are_those_of_the_estimate():
    """Of the smaller of two steps, each run has the number of the step that is smaller over the runs."""
    rates = {"Base": {"M_vis": 0.3}, "IN": {"M_vis": 0.45}, "RL": {"M_vis": 0.55}}
    stated = [{"claim": 1, "statements": [{"name": "x", "statistic": "smaller_gain", "of": {"metric": "M_vis"}, "expect": "less", "margin": 0.03}]}]  # fmt: skip
    tested, by_run = testing.check_all(stated, measured(outcomes=hits(rates, sd=0.04)))
    assert tested.estimate.item() == pytest.approx(by_run.estimate.mean())
    few = testing.check_all(stated, measured(runs_of(runs=1), outcomes=hits(rates, n=10, sd=0.3, runs=1)))[0]
    assert (few.low.item(), few.high.item()) == (-1, 1)  # t with one degree of freedom, and rates


def test_dose_response():
    roles = {"IN": 0.0, "half": 0.5, "IN:RL:RL": 1.0}
    rates = {"IN": {"M_rea": 0.3}, "half": {"M_rea": 0.5}, "IN:RL:RL": {"M_rea": 0.7}}
    frame = hits(rates, recipes=("one",), runs=1)
    found = over_examples(*statistics.trend(one_run(outcomes=frame), Run("one"), "M_rea", roles))
    table = frame.pivot(index="id", columns="role", values="correct").astype(float)[list(roles)]
    slopes = [np.polyfit(list(roles.values()), row, 1)[0] for row in table.to_numpy()]  # the obvious twin
    assert found.value == pytest.approx(np.mean(slopes))
    assert found.value == pytest.approx(0.4, abs=0.01)
    assert found.low < 0.4 < found.high
    assert found.above() < 0.01
    every = {role: {metric: 0.5 for metric in ("M_vis", "M_v2r", "M_rea")} for role in roles}
    study = measured(outcomes=hits(every, runs=1))
    table = interpolation.response(study, [Run("one"), Run("two")], {"IN:RL:RL": roles})
    assert len(table) == 2 * 3 * 3
    assert set(table.value) == {50.0}
    assert (table.low < 50).all()
    assert set(interpolation.response(study, [Run("two")], {"IN:RL:RL": roles}).recipe) == {"two"}


def test_holm_over_the_whole_report():
    """Worked by hand: three claims with three decisions each; the fewer are left, the easier."""
    rows = [
        {"claim": 1, "p_for": 0.001, "p_against": 0.99, "p_within": 0.9},
        {"claim": 1, "p_for": 0.004, "p_against": 0.99, "p_within": 0.9},
        {"claim": 2, "p_for": 0.99, "p_against": 0.003, "p_within": 0.9},
        {"claim": 2, "p_for": 0.5, "p_against": 0.5, "p_within": 0.9},
        {"claim": 3, "p_for": 0.3, "p_against": 0.7, "p_within": 0.0072},
    ]
    # for 1: .004; against 2: 2 x .003 = .006; within 3: .0072. Holm: .004 <= .05/9, .006 <= .05/8, .0072 > .05/7.
    frame = pd.DataFrame(rows).assign(over="runs")
    assert verdicts.report_level(frame) == pytest.approx(0.05 / 7)
    frame.loc[4, "p_within"] = 0.0071
    assert verdicts.report_level(frame) == pytest.approx(0.05 / 6)
    frame.loc[1, "p_for"] = 0.2
    assert verdicts.report_level(frame) == pytest.approx(0.05 / 9)  # the first step fails, and so do all


def test_random_layers_describe_the_profile():
    mass = attention(range(3, 9))
    shares = testing.random_layers(claim(2), measured(attention=mass))
    assert shares[0] > 0.1  # Mid is raised, and so is Late: other thirds do as well
    assert shares[2] < 0.05  # against Early
    assert np.isnan(testing.random_layers(claim(6), measured(attention=mass))).all()


def test_the_smaller_step_of_two():
    rates = {"Base": {"M_vis": 0.3}, "IN": {"M_vis": 0.6}, "RL": {"M_vis": 0.5}}
    parts = statistics.smaller_gain(measured(outcomes=hits(rates)), Run("one"), "M_vis")
    found = smallest([over_examples(part) for part in parts])
    assert found.value == pytest.approx(-0.1, abs=0.01)
    assert found.below() < 0.01


def test_other_cuts_and_other_models_stand_beside_the_estimates(tiny, tmp_path):
    planted(tiny, tmp_path / "in", spread(1e-3))
    planted(tmp_path / "in", tmp_path / "rl", concentrated(1e-3, range(6, 9)))
    frame = of_weights(tiny, tmp_path / "in", tmp_path / "rl")
    runs = runs_of(("one",), 4)
    rates = {"IN": {"M_v2r": 0.4, "M_rea": 0.4}, "IN:RL:RL": {"M_v2r": 0.6, "M_rea": 0.6}}
    study = measured(runs, updates=in_runs(frame, runs), outcomes=hits(rates, recipes=("one",), sd=0.02))
    found = sensitivity.sensitivity(PAPER, study, also=[(3, 7)])
    late = found[found.statement == "log stable rank RL - IN in Late"].set_index("variant")
    assert list(late.index) == [
        "as tested", "runs alone", "kind x layer clusters", "mixed model", "cuts 3, 7",
    ]  # fmt: skip
    assert late.estimate["mixed model"] == pytest.approx(late.estimate["as tested"], rel=0.05)
    assert late.high["kind x layer clusters"] - late.low["kind x layer clusters"] > 10 * (
        late.high["runs alone"] - late.low["runs alone"]
    )  # runs that are copies say nothing of the matrices
    assert (late.high < 0).all()
    mid = found[found.statement == "log stable rank RL - IN in Mid"].set_index("variant").estimate
    assert mid["as tested"] > -0.5
    assert mid["cuts 3, 7"] < -0.3  # one of its four layers is concentrated
    merged = found[found.statement == "M_rea, IN:RL:RL - IN"].set_index("variant")
    assert list(merged.index) == ["as tested", "runs alone", "run x example clusters"]  # hybrids are not cut again
    assert merged.estimate.max() - merged.estimate.min() < 1e-9
    assert (merged.low > 0).all()
