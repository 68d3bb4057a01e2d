"""Which findings a study supports, contradicts, or cannot tell, and how many examples would tell (paper, its seven findings).

A claim is data (workflow/claims/*.yaml): statements, each a statistic with the direction it should have. A statement is tested in every
recipe, two-sided; p-values are corrected by Holm's method within the claim; the claim is supported where every statement is, in every
recipe that has what it is about (an intersection of tests), contradicted where one is significantly the other way round, and
undecided otherwise.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from math import ceil, inf
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from scipy import stats
from statsmodels.stats.multitest import multipletests

from ..core.errors import InputError
from ..core.intervals import student
from ..core.regions import NAMES
from ..core.roles import RETRAINED
from ..data.tasks import FUNCTIONS
from . import controls, layer_samples
from .estimates import LEVEL, POWER, Estimate, of_difference, of_mean
from .layer_samples import EXAMPLES, LAYERS, MATRICES, wanted
from .measurements import Measurements
from .reference import paper_cells

SUPPORTED, CONTRADICTED, UNDECIDED, MISSING = "supported", "contradicted", "undecided", "not in this study"


def _side(measured: Measurements, recipe: str, role: str, metric: str) -> pd.Series:
    """Hits by (metric, id) of a role; the benchmarks are pooled: every example weighs alike."""
    hits = wanted(measured.outcomes, "no evaluation")
    part = hits[(hits.recipe == recipe) & (hits.role == role)]
    part = part[part.metric.isin(measured.benchmarks) if metric == "benchmarks" else part.metric == metric]
    return wanted(part, f"no {metric} of {role}").set_index(["metric", "id"]).correct.astype(float)


def _difference(measured: Measurements, recipe: str, metric: str, old: str, new: str) -> np.ndarray:
    before, after = (_side(measured, recipe, role, metric) for role in (old, new))
    if not before.index.sort_values().equals(after.index.sort_values()):
        raise InputError(f"{recipe}: {old} and {new} were not asked the same examples of {metric}")
    return (after - before[after.index]).to_numpy()


def gain(measured: Measurements, recipe: str, metric: str, old: str, new: str) -> Estimate:
    """Rate of hits of role `new` less that of `old`, paired by example. Benchmarks are pooled over examples."""
    return of_mean(_difference(measured, recipe, metric, old, new), EXAMPLES, measured.seed)


def smaller_gain(measured: Measurements, recipe: str, metric: str) -> Estimate:
    """The smaller of the two steps Base -> IN -> RL: above zero only where both are (an intersection of one-sided tests)."""
    steps = [gain(measured, recipe, metric, old, new) for old, new in (("Base", "IN"), ("IN", "RL"))]
    # It falls if either does: the smaller p counts twice (Bonferroni).
    falls = min(1.0, 2 * min(step.p_less for step in steps))
    return replace(
        min(steps, key=lambda step: step.value), p_greater=max(step.p_greater for step in steps), p_less=falls
    )


def trend(measured: Measurements, recipe: str, metric: str, doses: dict[str, float]) -> Estimate:
    """Change of the rate of hits from dose 0 to dose 1: least-squares slope of an example's hits on the dose of each role."""
    x = np.array(list(doses.values()), float)
    sides = pd.DataFrame({role: _side(measured, recipe, role, metric) for role in doses})
    if sides.isna().any(axis=None):
        raise InputError(f"{recipe}: {', '.join(doses)} were not asked the same examples of {metric}")
    centred = x - x.mean()
    return of_mean(sides.to_numpy() @ centred / (centred @ centred), EXAMPLES, measured.seed)


def _contrast(measured: Measurements, frame: pd.DataFrame, more: str, less: str | None) -> Estimate:
    """By example, the mean over a region's layers, less that over another's."""
    means = frame.assign(region=frame.layer.map(measured.regions.of)).groupby(["unit", "region"]).value.mean().unstack()
    for region in filter(None, (more, less)):
        if region not in means:
            raise LookupError(f"every sample failed in {region}")
    return of_mean((means[more] - (means[less] if less else 0)).dropna(), EXAMPLES, measured.seed)


def attention_gain(measured: Measurements, recipe: str, region: str, less: str | None = None) -> Estimate:
    """RL - IN of the attention mass, mean over a region's layers (less another region's), paired by example."""
    return _contrast(measured, layer_samples.attention_change(measured, recipe), region, less)


def swap_contrast(measured: Measurements, recipe: str, function: str, more: str, less: str) -> Estimate:
    """Change rate under swapping in one region's layers less another's, on the Base, in the paper's mode."""
    return _contrast(measured, layer_samples.swap_changes(measured, function), more, less)


def skip_contrast(measured: Measurements, recipe: str, more: str, less: str) -> Estimate:
    """Error rate with a layer skipped in one region less another, on the Base."""
    return _contrast(measured, layer_samples.skip_errors(measured), more, less)


def energy_contrast(measured: Measurements, recipe: str, stage: str, more: str) -> Estimate:
    """Mean log energy (squared Frobenius norm) of a region's layers less that of the others; permutation of layers.

    Layers are taken to be exchangeable. Neighbours are alike, so that p is too small where the profile is smooth.
    """
    frame = layer_samples.log_energy(measured, recipe, stage)
    if np.isinf(frame.value).all():
        return Estimate(0.0, np.nan, np.nan, 1.0, 1.0, len(frame), LAYERS)
    inside = frame.layer.map(measured.regions.of) == more
    return of_difference(frame.value[inside].to_numpy(), frame.value[~inside].to_numpy(), LAYERS, measured.seed)


def slope_difference(measured: Measurements, recipe: str, region: str) -> Estimate:
    """Slope of the log spectrum, RL's less IN's, paired by weight matrix over a region's layers; lower is steeper.

    Matrices are taken to be independent: p is too small where all of one kind (all q_proj, say) have an effect in common.
    """
    frame = layer_samples.slope_change(measured, recipe)
    found = of_mean(frame.value[frame.layer.map(measured.regions.of) == region], MATRICES, measured.seed)
    return replace(found, deviation=np.nan)  # there are no more matrices to be had


STATISTICS: dict[str, Callable[..., Estimate]] = {
    function.__name__: function
    for function in (
        gain, smaller_gain, trend, attention_gain, swap_contrast, skip_contrast, energy_contrast, slope_difference,
    )
}  # fmt: skip
# What an estimate is a difference of.
_AXES = {
    "gain": "rate",
    "smaller_gain": "rate",
    "trend": "rate",
    "attention_gain": "attention mass",
    "swap_contrast": "rate",
    "skip_contrast": "rate",
    "energy_contrast": "log squared Frobenius norm",
    "slope_difference": "slope of log(σᵢ/σ₁) a rank",
}
_OF_BASE = ("swap_contrast", "skip_contrast")  # one Base a study: one test, whatever the recipes
# The layer profile under a statistic, and the regions that it compares.
_PROFILES: dict[str, Callable] = {
    "attention_gain": lambda e, recipe, of: (layer_samples.attention_change(e, recipe), of["region"], of.get("less")),
    "swap_contrast": lambda e, recipe, of: (layer_samples.swap_changes(e, of["function"]), of["more"], of["less"]),
    "skip_contrast": lambda e, recipe, of: (layer_samples.skip_errors(e), of["more"], of["less"]),
    "energy_contrast": lambda e, recipe, of: (
        layer_samples.log_energy(e, recipe, of["stage"]),
        of["more"],
        controls.REST,
    ),
    "slope_difference": lambda e, recipe, of: (layer_samples.slope_change(e, recipe), of["region"], None),
}
_KNOWN = {"region": NAMES, "more": NAMES, "less": NAMES, "stage": ("IN", "RL"), "function": FUNCTIONS}


def _arguments(statement: dict) -> dict:
    """What a statistic is of; in YAML the roles of a gain are {from, to}."""
    return {{"from": "old", "to": "new"}.get(key, key): value for key, value in statement["of"].items()}


def _refusal(statement: dict) -> str | None:
    """Why a statement can not be tested by any study."""
    name = statement["statistic"]
    if name not in STATISTICS:
        return f"no statistic {name!r}; there are {', '.join(STATISTICS)}"
    if statement["expect"] not in ("greater", "less"):
        return f"expect is greater or less, not {statement['expect']!r}"
    try:
        if {"old", "new"} & set(statement["of"]):
            raise TypeError("the roles are from and to")
        inspect.signature(STATISTICS[name]).bind(None, None, **_arguments(statement))
        doses = statement["of"].get("doses", {"": 0, " ": 1})
        if not isinstance(doses, dict) or not all(isinstance(dose, int | float) for dose in doses.values()):
            raise TypeError("doses are {role: number}")
        if len(set(doses.values())) < 2:
            raise TypeError("a trend needs two doses")
    except TypeError as error:
        return f"{name} of {statement['of']}: {error}"
    for key, known in _KNOWN.items():
        if key in statement["of"] and statement["of"][key] not in known:
            return f"{key} is one of {', '.join(known)}, not {statement['of'][key]!r}"
    return None


def read(paths: list[Path]) -> list[dict]:
    """Claims of YAML files. Raises InputError, by file and claim, for what no study could test, or a claim named twice."""
    claims: list[dict] = []
    for path in paths:
        try:
            for claim in yaml.safe_load(Path(path).read_text()):
                for statement in claim["statements"]:
                    if why := _refusal(statement):
                        raise InputError(f"{path}: claim {claim['claim']}: {why}")
                names = [str(statement["name"]) for statement in claim["statements"]]
                if len(set(names)) < len(names):
                    raise InputError(f"{path}: claim {claim['claim']}: two statements of one name")
                if not isinstance(claim["claim"], int | str):
                    raise InputError(f"{path}: claim {claim['claim']}: its name is a number or a text")
                if str(claim["claim"]) in [str(other["claim"]) for other in claims]:
                    raise InputError(f"{path}: claim {claim['claim']} is there twice")
                claims.append({"says": claim["says"], "where": "", "asks": "", **claim})
        except OSError as error:
            raise InputError(f"config: claims: {path}: {error.strerror}") from None
        except (yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{path}: no list of claims ({type(error).__name__}: {error})") from None
    return claims


def _judged(family: pd.DataFrame) -> pd.DataFrame:
    """p (two-sided), p_holm and verdict of a family of statements, from their p_greater and p_less."""
    both = (2 * family[["p_greater", "p_less"]].min(axis=1)).clip(upper=1)
    corrected = multipletests(both, LEVEL, method="holm")[1]
    along = np.where(family.p_greater <= family.p_less, "greater", "less") == family.expect
    found = np.where(corrected >= LEVEL, UNDECIDED, np.where(along, SUPPORTED, CONTRADICTED))
    return pd.DataFrame({"p": both, "p_holm": corrected, "verdict": found}, index=family.index)


def _null(measured: Measurements) -> Measurements:
    """The same study with IN trained again with another seed in RL's place, and nothing of RL."""

    def renamed(frame: pd.DataFrame | None, key: str) -> pd.DataFrame | None:
        if frame is None:
            return None
        kept = frame[frame[key].isin(["Base", "IN", RETRAINED])]
        return kept.assign(**{key: kept[key].replace({RETRAINED: "RL"})})

    return Measurements(
        measured.regions,
        measured.recipes,
        measured.benchmarks,
        renamed(measured.outcomes, "role"),
        renamed(measured.attention, "stage"),
        seed=measured.seed,
    )


def _of_rl(name: str, of: dict) -> bool:
    """Whether a statistic sets RL itself against IN, so that another IN can stand in its place."""
    return name == "attention_gain" or (name == "gain" and "RL" in (of["old"], of["new"]))


def statements(claims: list[dict], measured: Measurements, partial: bool = False) -> pd.DataFrame:
    """Every statement in every recipe, a row each.

    claim, statement, recipe, expect, axis (what the estimate is); estimate, low, high; p (two-sided), p_holm; n, unit, sample
    (Estimate.sample); needed (of an undecided one: units for 80 % power at this effect and the level of Holm's first step),
    detectable (the effect that these n would show so); p_layers (share of random partitions of the layers, of the same sizes,
    that go as far in the expected direction); null, null_low, null_high (of what sets RL against IN, the same with IN trained
    again with another seed in RL's place); verdict, why (where it is not in this study).

    partial: what a failed run left; roles that were not asked the same examples then only cost their statements. Otherwise
    they raise InputError.
    """
    rows, estimates, without_rl = [], {}, _null(measured)
    for claim in claims:
        for statement in claim["statements"]:
            name, of, expect = statement["statistic"], _arguments(statement), statement["expect"]
            for recipe in ("",) if name in _OF_BASE else measured.recipes:
                row = {"claim": claim["claim"], "statement": statement["name"], "recipe": recipe, "expect": expect}
                row |= {"axis": f"difference of {_AXES[name]}", "why": ""}
                rows.append(row)
                try:
                    found = STATISTICS[name](measured, recipe, **of)
                except (LookupError, InputError) as error:
                    if isinstance(error, InputError) and not partial:
                        raise
                    row |= {"verdict": MISSING, "why": str(error.args[0])}
                    continue
                estimates[len(rows) - 1] = found
                row |= {
                    key: getattr(found, key) for key in ("low", "high", "n", "unit", "sample", "p_greater", "p_less")
                }
                row["estimate"] = found.value
                if name in _PROFILES:
                    profile, more, less = _PROFILES[name](measured, recipe, of)
                    row["p_layers"] = controls.p_layers(profile, measured.regions, more, less, expect, measured.seed)
                if _of_rl(name, of):
                    try:
                        null = STATISTICS[name](without_rl, recipe, **of)
                        row |= {"null": null.value, "null_low": null.low, "null_high": null.high}
                    except (LookupError, InputError) as error:
                        if isinstance(error, InputError) and not partial:
                            raise
    columns = ["claim", "statement", "recipe", "expect", "estimate", "low", "high", "p", "p_holm", "n", "unit", "sample", "needed", "detectable", "axis", "p_layers", "null", "null_low", "null_high"]  # fmt: skip
    frame = pd.DataFrame(rows, columns=[*columns, "p_greater", "p_less", "verdict", "why"]).astype({"verdict": object})
    for _, part in frame[frame.verdict.isna()].groupby("claim", sort=False):
        frame.loc[part.index, ["p", "p_holm", "verdict"]] = _judged(part)
        level = LEVEL / len(part)  # of Holm's first step: what tells then tells in any order
        for at in part.index:
            frame.loc[at, "detectable"] = estimates[at].detectable(level)
            if frame.verdict[at] == UNDECIDED:
                frame.loc[at, "needed"] = estimates[at].needed(level)
    return frame[[*columns, "verdict", "why"]]


def replicates(tested: pd.DataFrame) -> pd.DataFrame:
    """Statements that were tested in several recipes, these as the replicates: claim, statement, expect, recipes, along (how many
    have the expected sign), mean, low, high (t interval over recipes: what another recipe would bring), axis."""
    rows = []
    for (claim, statement), part in tested[tested.estimate.notna()].groupby(["claim", "statement"], sort=False):
        # Recipes that share the checkpoints of a statement are one replicate of it.
        part = part[part["sample"].eq("") | ~part["sample"].duplicated()]
        if len(part) < 2:
            continue
        first = part.iloc[0]
        along = int((part.estimate > 0).sum() if first.expect == "greater" else (part.estimate < 0).sum())
        row = {"claim": claim, "statement": statement, "expect": first.expect, "recipes": len(part), "along": along}
        rows.append({**row, "mean": part.estimate.mean(), **student(part.estimate), "axis": first.axis})
    columns = ["claim", "statement", "expect", "recipes", "along", "mean", "low", "high", "axis"]
    return pd.DataFrame(rows, columns=columns)


def summarize_claims(claims: list[dict], tested: pd.DataFrame, partial: bool = False) -> pd.DataFrame:
    """claim, asks, says, where, verdict, supported, contradicted, undecided, missing (statements x recipes).

    A recipe without a chapter (frozen runs in one recipe alone, say) has no say in a claim about it. But a statement that
    no recipe could make, or not one that made others, or whose samples failed, leaves the claim undecided at best; of a
    failed run (partial) any does.
    """
    rows = []
    for claim in claims:
        part = tested[tested.claim == claim["claim"]]
        made = part[part.verdict != MISSING]
        counts = {name: int((part.verdict == name).sum()) for name in (SUPPORTED, CONTRADICTED, UNDECIDED, MISSING)}
        lost = part[part.verdict == MISSING]
        lacking = (
            set(part.statement) - set(made.statement)
            or set(lost.recipe) & set(made.recipe)
            or lost.why.str.contains("failed").any()
            or (partial and len(lost))
        )
        if made.empty:
            whole = MISSING
        elif counts[CONTRADICTED]:
            whole = CONTRADICTED
        else:
            whole = UNDECIDED if counts[UNDECIDED] or lacking else SUPPORTED
        counts["missing"] = counts.pop(MISSING)
        rows.append({**{key: claim[key] for key in ("claim", "asks", "says", "where")}, "verdict": whole, **counts})
    columns = ["claim", "asks", "says", "where", "verdict", SUPPORTED, CONTRADICTED, UNDECIDED, "missing"]
    return pd.DataFrame(rows, columns=columns)


def of_paper(claims: list[dict], reference: dict) -> pd.DataFrame:
    """The paper's own table cells through the same statements, unpaired: a difference of two rates, each of N = 100.

    Columns of `statements`; table and recipe say whose cells. p: Boschloo's exact test; interval: Newcombe's. `needed` is N a cell.
    """
    from statsmodels.stats.proportion import confint_proportions_2indep, samplesize_proportions_2indep_onetail

    cells, rows = paper_cells(reference), []
    for claim in claims:
        for statement in claim["statements"]:
            if statement["statistic"] != "gain":
                continue
            of = statement["of"]
            for (table, recipe), part in cells[cells.metric == of["metric"]].groupby(["table", "recipe"], sort=False):
                by_role = part.set_index("role")
                if not {of["from"], of["to"]} <= set(by_role.index):
                    continue
                n = int(part.n.iloc[0])
                before, after = (round(by_role.value[of[step]] * n) for step in ("from", "to"))
                counts = [[after, before], [n - after, n - before]]
                greater, less = (stats.boschloo_exact(counts, alternative=side).pvalue for side in ("greater", "less"))
                low, high = confint_proportions_2indep(after, n, before, n, method="newcomb")
                change = (after - before) / n
                needed = inf
                if change:
                    side = "larger" if change > 0 else "smaller"
                    needed = ceil(
                        samplesize_proportions_2indep_onetail(
                            change, before / n, POWER, alpha=LEVEL / 2, alternative=side
                        )
                    )
                rows.append(
                    {"claim": claim["claim"], "statement": statement["name"], "recipe": recipe, "table": table, "expect": statement["expect"],
                     "estimate": change, "low": low, "high": high, "p_greater": greater, "p_less": less, "n": n, "needed": needed}
                )  # fmt: skip
    columns = ["claim", "statement", "recipe", "table", "expect", "estimate", "low", "high", "p_greater", "p_less", "n", "needed"]  # fmt: skip
    frame = pd.DataFrame(rows, columns=columns)
    judged = [_judged(part) for _, part in frame.groupby(["claim", "table"], sort=False)]
    empty = pd.DataFrame(columns=["p", "p_holm", "verdict"])
    return frame.drop(columns=["p_greater", "p_less"]).join(pd.concat(judged) if judged else empty)
