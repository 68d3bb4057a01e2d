"""Statements of claims (workflow/claims/*.yaml): read, checked, and tested in every recipe."""

from __future__ import annotations

import inspect
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from statsmodels.stats.multitest import multipletests

from ..core.errors import InputError
from ..core.regions import NAMES
from ..core.roles import RETRAINED
from ..data.tasks import FUNCTIONS
from . import controls
from .estimates import LEVEL
from .measurements import Measurements
from .statistics import STATISTICS

SUPPORTED, CONTRADICTED, UNDECIDED, MISSING = "supported", "contradicted", "undecided", "not in this study"


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
        inspect.signature(STATISTICS[name].compute).bind(None, None, **_arguments(statement))
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


def judged(family: pd.DataFrame) -> pd.DataFrame:
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


def check_all(claims: list[dict], measured: Measurements, partial: bool = False) -> pd.DataFrame:
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
            for recipe in ("",) if STATISTICS[name].of_base else measured.recipes:
                row = {"claim": claim["claim"], "statement": statement["name"], "recipe": recipe, "expect": expect}
                row |= {"axis": f"difference of {STATISTICS[name].axis}", "why": ""}
                rows.append(row)
                try:
                    found = STATISTICS[name].compute(measured, recipe, **of)
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
                if STATISTICS[name].profile:
                    profile, more, less = STATISTICS[name].profile(measured, recipe, of)
                    row["p_layers"] = controls.p_layers(profile, measured.regions, more, less, expect, measured.seed)
                if _of_rl(name, of):
                    try:
                        null = STATISTICS[name].compute(without_rl, recipe, **of)
                        row |= {"null": null.value, "null_low": null.low, "null_high": null.high}
                    except (LookupError, InputError) as error:
                        if isinstance(error, InputError) and not partial:
                            raise
    columns = ["claim", "statement", "recipe", "expect", "estimate", "low", "high", "p", "p_holm", "n", "unit", "sample", "needed", "detectable", "axis", "p_layers", "null", "null_low", "null_high"]  # fmt: skip
    frame = pd.DataFrame(rows, columns=[*columns, "p_greater", "p_less", "verdict", "why"]).astype({"verdict": object})
    for _, part in frame[frame.verdict.isna()].groupby("claim", sort=False):
        frame.loc[part.index, ["p", "p_holm", "verdict"]] = judged(part)
        level = LEVEL / len(part)  # of Holm's first step: what tells then tells in any order
        for at in part.index:
            frame.loc[at, "detectable"] = estimates[at].detectable(level)
            if frame.verdict[at] == UNDECIDED:
                frame.loc[at, "needed"] = estimates[at].needed(level)
    return frame[[*columns, "verdict", "why"]]
