"""How often verdicts are false: claims tested on studies drawn without an effect, and the power at the declared margin.

python benchmarks/verdicts.py --studies 300

A null is a way in which studies differ though RL does nothing: examples alone, training runs, questions that RL answers better
or worse (as many of each), versions of one problem, weight matrices of one kind, neighbouring layers; `all` has them
together. Two more have an effect of exactly the margin, where only "no relevant difference" (and the wrong sign) is false. A
study has two recipes of four runs and is put through the paper's claims as the workflow does it. The last line is JSON.
"""

import argparse
import json
import os
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import binomtest, norm

from frankenstein.claims import statements, testing, verdicts
from frankenstein.claims.estimates import LEVEL
from frankenstein.claims.measurements import Measurements
from frankenstein.core.regions import Regions
from frankenstein.core.roles import Run

PAPER = Path(__file__).parents[1] / "workflow" / "claims" / "paper.yaml"
REGIONS = Regions((4, 8), 12)
ROLES = ("Base", "IN", "RL", "IN:RL:RL", "RL, Early frozen", "RL, Mid frozen", "RL, Late frozen")
AGREEMENT = 0.7  # correlation of two checkpoints' latent scores on one question: about a quarter of the pairs disagree
NULLS = {
    "examples": {},
    "runs, sd 2 points": {"run": 0.02},
    "runs, sd 5 points": {"run": 0.05},
    "questions": {"question": 0.5},
    "problems": {"problem": 0.7, "run": 0.02},
    "kinds": {"kind": 0.5},
    "layers": {"smooth": 0.9},
    "all": {"run": 0.02, "question": 0.3, "problem": 0.5, "kind": 0.5, "smooth": 0.8},
    "margin": {"run": 0.02, "gain": 0.03, "shift": 1.0},
    "minus the margin": {"run": 0.02, "gain": -0.03, "shift": -1.0},
}
PLANTED = tuple(name for name in NULLS if "margin" in name)  # these have an effect


def outcomes(rng, runs, n, metrics, *, run=0.0, question=0.0, problem=0.0, gain=0.0) -> pd.DataFrame:
    """Right and wrong answers of every role: a latent score per question, right where it is above zero.

    run: sd of a checkpoint's rate between runs; question: variance share of what a role does to a question in all runs;
    problem: variance share of what a checkpoint does to all five versions of a problem (benchmarks only); gain: of RL and
    all that has it, over IN.
    """
    frames = []
    for metric in metrics:
        cluster = np.arange(n) // (5 if metric == "b1" else 1)
        difficulty = rng.normal(size=n)
        of_role = {role: rng.normal(size=n) for role in ROLES}
        for one in runs:
            luck = rng.normal(size=n)
            for role in ROLES:
                has = role not in ("Base", "IN")
                rate = np.clip(0.5 + gain * has + rng.normal(0, run) if run else 0.5 + gain * has, 0.02, 0.98)
                shared = rng.normal(size=n)[cluster] if metric == "b1" and problem else 0.0
                rest = 1 - AGREEMENT
                noise = (
                    np.sqrt(question) * of_role[role]
                    + np.sqrt(problem * (metric == "b1")) * shared
                    + np.sqrt(max(1 - question - problem * (metric == "b1"), 0.05)) * rng.normal(size=n)
                )
                noise /= np.sqrt(
                    question + problem * (metric == "b1") + max(1 - question - problem * (metric == "b1"), 0.05)
                )
                score = np.sqrt(AGREEMENT / 2) * (difficulty + luck) + np.sqrt(rest) * noise
                hit = score < norm.ppf(rate)
                columns = {"metric": metric, "id": np.arange(n), "correct": hit, "cluster": cluster}
                frames.append(pd.DataFrame({"recipe": one.recipe, "run": one.number, "role": role, **columns}))
    return pd.concat(frames, ignore_index=True)


def walk(rng, size, rho) -> np.ndarray:
    """A profile over the layers, [size, layers], whose neighbours correlate by rho; variance one."""
    steps = rng.normal(size=(size, REGIONS.layers))
    for layer in range(1, REGIONS.layers):
        steps[:, layer] = rho * steps[:, layer - 1] + np.sqrt(1 - rho**2) * steps[:, layer]
    return steps


def layered(rng, runs, n, *, smooth=0.0, kind=0.0, shift=0.0) -> dict[str, pd.DataFrame]:
    """Attention, swaps, skips and updates in which no region is special: shift moves all of RL's attention and stable ranks, in
    margins of their claims."""
    layers, kinds = range(REGIONS.layers), "qkvogud"
    mass, updates = [], []
    for one in runs:
        label = {"recipe": one.recipe, "run": one.number}
        common = 0.005 * walk(rng, 1, smooth)
        texts = {text: rng.normal(0, 0.01, (n, 1)) for text in ("IN", "RL")}
        for stage in ("IN", "RL"):
            own = 0.1 + 0.01 * walk(rng, n, smooth) + (common + 0.01 * shift if stage == "RL" else 0)
            for text, dilution in texts.items():
                columns = {
                    "stage": stage,
                    "text": text,
                    "own": text == stage,
                    "id": np.repeat(range(n), REGIONS.layers),
                }
                columns |= {"layer": np.tile(layers, n), "attention_mass": (own + dilution).ravel()}
                mass.append(pd.DataFrame({**label, **columns}))
            stage_shift = 0.1 * shift if stage == "RL" else 0
            energy, ranks = np.exp(0.3 * walk(rng, 1, smooth))[0], walk(rng, 1, smooth)[0]
            for matrix in kinds:
                own_rank = kind * rng.normal() + 0.3 * ranks + 0.3 * rng.normal(size=REGIONS.layers)
                own_rank += stage_shift
                columns = {
                    "frobenius": np.sqrt(energy),
                    "stable_rank": np.exp(own_rank),
                    "slope": -1.0,
                    "spectral": 1.0,
                }
                updates.append(
                    pd.DataFrame({**label, "stage": stage, "component": "layer", "layer": layers, "matrix": matrix, **columns})
                )  # fmt: skip
    swaps = []
    for function in ("recognition", "ocr", "grounding", "counting"):
        read = rng.integers(REGIONS.layers, size=n)
        for layer in (-1, *layers):
            mode = "hidden_state_at_layer" if layer >= 0 else "none"
            columns = {"mode": mode, "layer": layer, "changed": (layer >= 0) & (layer <= read), "right": layer < 0}
            swaps.append(pd.DataFrame({"id": range(n), "function": function, **columns}))
    skips = pd.DataFrame({"id": np.repeat(range(n), REGIONS.layers), "layer": np.tile(layers, n)})
    return {
        "attention": pd.concat(mass, ignore_index=True),
        "updates": pd.concat(updates, ignore_index=True).assign(rounding_floor=0.0),
        "swaps": pd.concat(swaps, ignore_index=True).assign(failed=False, unchangeable=False),
        "skips": skips.assign(task="t", failed=False, wrong=rng.random(len(skips)) < 0.5),
    }


def study(seed: int, runs=8, n=100, **null) -> Measurements:
    """One study of two recipes with `runs` runs in all."""
    rng = np.random.default_rng(seed)
    of_layers = {key: null.pop(key) for key in ("smooth", "kind", "shift") if key in null}
    of_recipes = [Run(recipe, number) for recipe in ("one", "two") for number in range(1, runs // 2 + 1)]
    metrics = ("b1", "b2", "M_vis", "M_v2r", "M_rea")
    return Measurements(
        REGIONS, tuple(of_recipes), ("b1", "b2"), outcomes(rng, of_recipes, n, metrics, **null),
        **layered(rng, of_recipes, 40, **of_layers),
    )  # fmt: skip


def false_claims(claims: list[dict], measured: Measurements, planted: float) -> dict:
    """claim -> whether its verdict is false. planted: the sign of the effect in the study, or 0 for none: a direction is then false."""
    return _false(claims, testing.check_all(claims, measured)[0], planted)[0]


def _false(claims: list[dict], tested: pd.DataFrame, planted: float) -> tuple[dict, dict]:
    """(claim -> whether its verdict is false; statement -> whether its own test at 5 %, two-sided and uncorrected, finds a
    direction where there is none)."""
    decided = verdicts.decide(tested)
    found = verdicts.summarize_claims(claims, decided).set_index("claim").verdict
    if planted:
        # It is known which side is true of gains, attention and stable ranks; "no relevant difference" is false of all three.
        wrong = {2: verdicts.CONTRADICTED, 6: verdicts.CONTRADICTED, 5: verdicts.SUPPORTED}
        if planted < 0:
            wrong = {2: verdicts.SUPPORTED, 6: verdicts.SUPPORTED, 5: verdicts.CONTRADICTED}
        return {claim: found[claim] in (verdicts.SAME, side) for claim, side in wrong.items()}, {}
    directed = decided[decided.expect != "equal"]
    at_five = {row.statement: min(row.p_for, row.p_against) < LEVEL / 2 for row in directed.itertuples()}
    return {claim: verdict in (verdicts.SUPPORTED, verdicts.CONTRADICTED) for claim, verdict in found.items()}, at_five


def one_study(job: tuple) -> tuple[dict, dict]:
    """The false claims and statements of one study of a null: (name of the null, seed, runs, examples)."""
    name, seed, runs, n = job
    claims, null = statements.read([PAPER]), NULLS[name]
    seed += 100_000 * list(NULLS).index(name)  # no two nulls share a draw
    tested, _ = testing.check_all(claims, study(seed, runs, n, **null))
    return _false(claims, tested, np.sign(null.get("gain", 0.0)))


def power_at_margin(claims: list[dict], studies: int, run=0.02) -> dict:
    """What `needed` promises: from a pilot's variances, runs and examples for 80 % power at the margin; and the share of studies of
    that size, with an effect of the margin, in which the statement is supported at that level (LEVEL / 6, one-sided)."""
    claim = [one for one in claims if one["claim"] == 6]
    tested, _ = testing.check_all(claim, study_of_gains(10_000, 100, 500, run, 0.03))  # enough to know the variances
    runs, examples = tested["_estimate"][0].needed(0.03, LEVEL / 6)
    found = 0
    for seed in range(studies):
        tested, _ = testing.check_all(claim, study_of_gains(20_000 + seed, runs, examples, run, 0.03))
        found += tested.p_for[0] <= LEVEL / 6
    return {"runs": runs, "examples": examples, "promised": 0.8, "found": found / studies}


def study_of_gains(seed: int, runs: int, n: int, run: float, gain: float) -> Measurements:
    """A study with answers alone, one recipe."""
    rng, of_recipe = np.random.default_rng(seed), [Run("one", number) for number in range(1, runs + 1)]
    return Measurements(None, tuple(of_recipe), (), outcomes(rng, of_recipe, n, ("M_v2r", "M_rea"), run=run, gain=gain))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=300, help="studies of each null")
    parser.add_argument("--runs", type=int, default=8, help="training runs of a study, over two recipes")
    parser.add_argument("--examples", type=int, default=100, help="examples per metric")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes")
    options = parser.parse_args()
    claims, start = statements.read([PAPER]), time.time()
    limit = LEVEL + 1.96 * np.sqrt(LEVEL * (1 - LEVEL) / options.studies)
    print(
        f"{options.studies} studies of {options.runs} runs and {options.examples} examples: share with a false verdict, by claim"
    )
    print(
        f"(at most {LEVEL:.0%} is nominal; up to {limit:.1%} is within chance of it). Last: the statements' own tests at 5 %,"
    )
    print(
        "two-sided and uncorrected, their mean and the worst of them: the tests hold their level, and not the correction alone.\n"
    )
    print(
        f"{'null':20}" + "".join(f"{claim['claim']:>7}" for claim in claims) + f"{'any':>7}  95 % interval   statements"
    )
    rates, of_statements = {}, {}
    with ProcessPoolExecutor(options.jobs) as pool:
        for name in NULLS:
            jobs = [(name, seed, options.runs, options.examples) for seed in range(options.studies)]
            found, alone = map(pd.DataFrame, zip(*pool.map(one_study, jobs, chunksize=4), strict=True))
            any_false = found.any(axis=1)
            bounds = binomtest(int(any_false.sum()), options.studies).proportion_ci(0.95, "wilson")
            cells = "".join(f"{found[c['claim']].mean():7.3f}" if c["claim"] in found else f"{'-':>7}" for c in claims)
            line = f"{name:20}{cells}{any_false.mean():7.3f}  [{bounds.low:.3f}, {bounds.high:.3f}]"
            if len(alone.columns):
                most = alone.mean().idxmax()
                of_statements[name] = float(alone[most].mean())
                line += f"  {alone.mean().mean():.3f}; {of_statements[name]:.3f} ({most})"
            print(line, flush=True)
            rates[name] = {"claim": float(found.mean().max()), "any": float(any_false.mean())}
    power = power_at_margin(claims, options.studies)
    print(
        f"\npower at the margin of 3 points (run sd 2 points): {power['runs']} runs of {power['examples']} examples promise 0.80, "
        f"found {power['found']:.2f}; {time.time() - start:.0f} s"
    )
    worst = max(rates, key=lambda name: rates[name]["any"])
    print(
        json.dumps(
            {"studies": options.studies, "worst_false_decision_rate": rates[worst]["any"], "worst_null": worst,
             "worst_claim_rate": max(rate["claim"] for rate in rates.values()), "nominal": LEVEL,
             "worst_statement_rate": max(of_statements.values()), "power_at_margin": power["found"],
             "power_runs": power["runs"], "power_examples": power["examples"]}
        )
    )  # fmt: skip


if __name__ == "__main__":
    main()
