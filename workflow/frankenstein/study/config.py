"""Parse a configuration into a study; invalid input stops the run with one line that names the key."""

from __future__ import annotations

import difflib
import reprlib
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from ..core.errors import InputError
from .checks import check_references
from .runs import expand
from .schema import SOURCES, Study


def read(path: Path) -> dict:
    """The configuration in a file. One without `checkpoints` changes keys of the mini study, `config.yaml` beside it.

    Raises InputError if there is no such file beside it, or the file is not YAML or has no keys.
    """
    try:
        given = yaml.safe_load(Path(path).read_text())
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(given, dict):
        raise InputError(
            f"{path}: no keys; config/README.md has a study of ten lines, and `frankenstein init` writes one"
        )
    if "checkpoints" in given:
        return given
    mini = Path(path).parent / "config.yaml"
    if not mini.exists():
        raise InputError(f"{path}: no key 'checkpoints', nor a {mini} whose keys it could change")
    from snakemake.utils import update_config  # as the Snakefile does

    whole = yaml.safe_load(mini.read_text())
    update_config(whole, given)
    return whole


def load(config: dict) -> Study:
    """The study described by a configuration. Raises InputError with one line that names the offending key."""
    try:
        study = Study.model_validate(config)
    except ValidationError as error:
        raise InputError(_line(error, config)) from None
    study = expand(study)
    check_references(study)
    return study


# Renamed RL keys, old -> new: in RL, a rollout is a sampled response, not a prompt.
_RENAMED = {"prompts": "prompts_per_step", "generations": "num_generations", "rollouts": "prompt_file"}


def _line(error: ValidationError, config: dict) -> str:
    first = error.errors()[0]
    at, place = config, []
    for key in first["loc"]:
        # pydantic's location also has the tags of unions, and "[key]" for dict keys: neither is a key of the file.
        if key == "[key]" or _tag(key, at):
            continue
        place.append(str(key))
        at = (
            at.get(key) if isinstance(at, dict) else at[key] if isinstance(at, list | tuple) and key < len(at) else None
        )
    where = "config: " + ".".join(place)
    if first["type"] == "extra_forbidden":
        if "num_generations" in (known := _known(first["loc"][:-1], config)) and place[-1] in _RENAMED:
            return f"{where}: is called {_RENAMED[place[-1]]} now"
        near = difflib.get_close_matches(place[-1], known, 1)
        return f"{where}: unknown key" + (f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(known)}")
    if first["type"] == "missing":
        return f"{where}: missing"
    return f"{where}: {first['msg']}, got {reprlib.repr(first['input'])}"


def _tag(key: str | int, at: Any) -> bool:
    """Whether a key of pydantic's location tells the members of a union apart: the kind of a source, a number or list of runs."""
    if isinstance(at, dict):
        return key not in at and key in SOURCES
    return key in ("number", "list")


def _known(path: tuple, config: dict) -> list[str]:
    """The keys that the schema allows at a given path of the configuration."""
    model: Any = Study
    at: Any = config
    for key in path:
        if _tag(key, at):
            model = SOURCES.get(key, model)
            continue
        at = at[key] if isinstance(at, dict | list | tuple) else None
        if isinstance(model, type) and issubclass(model, BaseModel):
            field = next((f for n, f in model.model_fields.items() if key in (n, f.alias)), None)
            model = field.annotation if field else None
        elif getattr(model, "__args__", None):
            model = model.__args__[-1]
    while not (isinstance(model, type) and issubclass(model, BaseModel)):
        if not getattr(model, "__args__", None):
            return []
        model = model.__args__[-1]
    return [field.alias or name for name, field in model.model_fields.items()]


def of_results(folder: Path, root: Path) -> Study:
    """The configuration that a study's folder of results was made from, with paths relative to `root`, where the workflow ran."""
    named = folder / "config"
    if not named.exists():
        raise InputError(f"{folder}: no file `config`: not a study's folder, or the study was never run")
    return load(read(root / named.read_text().strip()))
