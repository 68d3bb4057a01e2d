"""The statements of claims (workflow/claims/*.yaml): reading, validation, and tests in every recipe."""

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
    """Keyword arguments of a statement's statistic; the roles of a gain are {from, to} in YAML."""
    return {{"from": "old", "to": "new"}.get(key, key): value for key, value in statement["of"].items()}


def _refusal(statement: dict) -> str | None:
    """Why no study could test a statement; None if one could."""
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
    """Read claims from YAML files. Raises InputError, naming file and claim, for untestable statements and duplicate claim names."""
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
    """Add p (two-sided), p_holm and verdict to a family of statements, from p_greater and p_less."""
    both = (2 * family[["p_greater", "p_less"]].min(axis=1)).clip(upper=1)
    corrected = multipletests(both, LEVEL, method="holm")[1]
    along = np.where(family.p_greater <= family.p_less, "greater", "less") == family.expect
    found = np.where(corrected >= LEVEL, UNDECIDED, np.where(along, SUPPORTED, CONTRADICTED))
    return pd.DataFrame({"p": both, "p_holm": corrected, "verdict": found}, index=family.index)


def _null(measured: Measurements) -> Measurements:
    """The null study: IN retrained with another seed takes RL's place, and all of RL's measurements are removed."""

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
    """Whether a statistic compares RL itself with IN, so that a retrained IN can replace RL."""
    return name == "attention_gain" or (name == "gain" and "RL" in (of["old"], of["new"]))


def check_all(claims: list[dict], measured: Measurements, partial: bool = False) -> pd.DataFrame:
    """Test every statement in every recipe, one row each.

    claim, statement, recipe, expect, axis (quantity estimated); estimate, low, high; p (two-sided), p_holm; n, unit, sample
    (Estimate.sample); needed (if undecided: units for 80 % power at this effect and the level of Holm's first step),
    detectable (minimum detectable effect with n units, likewise); p_layers (fraction of random layer partitions of the same
    sizes that are as extreme in the expected direction); null, null_low, null_high (for comparisons of RL with IN: the same
    with IN retrained with another seed in RL's place); verdict, why (reason if this study cannot test it).

    partial: the results are those of a failed run; roles that were not evaluated on the same examples then only lose their
    statements. Otherwise they raise InputError.
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
        level = LEVEL / len(part)  # of Holm's first step: sufficient at any later step
        for at in part.index:
            frame.loc[at, "detectable"] = estimates[at].detectable(level)
            if frame.verdict[at] == UNDECIDED:
                frame.loc[at, "needed"] = estimates[at].needed(level)
    return frame[[*columns, "verdict", "why"]]
