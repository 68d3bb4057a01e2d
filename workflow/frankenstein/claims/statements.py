"""The statements of claims (workflow/claims/*.yaml): reading and validation."""

from __future__ import annotations

import inspect
from math import nan
from pathlib import Path

import yaml

from ..core.errors import InputError
from ..core.regions import NAMES
from ..data.tasks import FUNCTIONS
from .layer_samples import PARTS
from .statistics import STATISTICS

EXPECTED = ("greater", "less", "equal")
RELEVANT = 0.03  # smallest relevant difference between rates where a claim declares no `margin`
_KNOWN = {"region": NAMES, "more": NAMES, "less": NAMES, "stage": ("IN", "RL"), "function": FUNCTIONS, "part": PARTS}


def arguments(statement: dict) -> dict:
    """Keyword arguments of a statement's statistic; the roles of a gain are {from, to} in YAML."""
    return {{"from": "old", "to": "new"}.get(key, key): value for key, value in statement["of"].items()}


def _refusal(statement: dict) -> str | None:
    """Why no study could test a statement; None if one could."""
    name = statement["statistic"]
    if name not in STATISTICS:
        return f"no statistic {name!r}; there are {', '.join(STATISTICS)}"
    if statement["expect"] not in EXPECTED:
        return f"expect is {', '.join(EXPECTED)}, not {statement['expect']!r}"
    margin = statement.get("margin")
    if margin is not None and not (isinstance(margin, int | float) and margin > 0):
        return f"margin is the smallest relevant difference, a number above zero, not {margin!r}"
    if statement["expect"] == "equal" and margin is None:
        return (
            f"{statement['name']}: equal is within a margin, which {name} does not have by itself: give one (`margin`)"
        )
    try:
        if {"old", "new"} & set(statement["of"]):
            raise TypeError("the roles are from and to")
        inspect.signature(STATISTICS[name].compute).bind(None, None, **arguments(statement))
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


def _with_margin(statement: dict, claim: dict) -> dict:
    """The statement with its margin: its own, the claim's, or the default of a rate; none for another quantity."""
    known = STATISTICS.get(statement["statistic"])
    margin = statement.get("margin", claim.get("margin"))
    return {**statement, "margin": RELEVANT if margin is None and known and known.axis == "rate" else margin}


def margin_of(statement: dict) -> float:
    """The smallest relevant difference of a statement, in the unit of its statistic; NaN without one."""
    return nan if statement["margin"] is None else float(statement["margin"])


def read(paths: list[Path]) -> list[dict]:
    """Read claims from YAML files. Raises InputError, naming file and claim, for untestable statements and duplicate claim names."""
    claims: list[dict] = []
    for path in paths:
        try:
            for claim in yaml.safe_load(Path(path).read_text()):
                stated = [_with_margin(statement, claim) for statement in claim["statements"]]
                for statement in stated:
                    if why := _refusal(statement):
                        raise InputError(f"{path}: claim {claim['claim']}: {why}")
                names = [str(statement["name"]) for statement in claim["statements"]]
                if len(set(names)) < len(names):
                    raise InputError(f"{path}: claim {claim['claim']}: two statements share a name")
                if not isinstance(claim["claim"], int | str):
                    raise InputError(f"{path}: claim {claim['claim']}: the name of a claim must be a number or a text")
                if str(claim["claim"]) in [str(other["claim"]) for other in claims]:
                    raise InputError(f"{path}: claim {claim['claim']} appears twice")
                claims.append({"says": claim["says"], "where": "", "asks": "", **claim, "statements": stated})
        except OSError as error:
            raise InputError(f"config: claims: {path}: {error.strerror}") from None
        except (yaml.YAMLError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{path}: not a list of claims ({type(error).__name__}: {error})") from None
    return claims
