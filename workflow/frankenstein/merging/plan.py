"""Merge plans: the source of every tensor of a hybrid, validated before anything is written."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from pathlib import Path

from ..core.errors import InputError
from ..models.architecture import Part, layer_count, read_config
from ..models.manifests import check_unchanged
from ..models.weights import DTYPES, Stored, Weights, check_same_shapes, drop_tied_heads
from .hybrid_spec import Assignment, Choice

MERGE_MANIFEST = "merge_manifest.json"
SHARDS = "shards.json"
# Config keys in which copies of the same model may differ.
_HARMLESS = {
    "_name_or_path",
    "_attn_implementation",
    "_attn_implementation_autoset",
    "attn_implementation",
    "architectures",
    "attention_dropout",  # relevant to training only, like initializer_range
    "initializer_range",
    "bos_token_id",
    "dtype",
    "eos_token_id",
    "pad_token_id",
    "torch_dtype",
    "transformers_version",
    "use_cache",
}


@dataclasses.dataclass(frozen=True)
class Content:
    """A set of tensors and their sources.

    parents: label -> checkpoint; choices: canonical name -> source, in writing order; names: canonical name -> the
    name it is stored under.
    """

    parents: dict[str, Weights]
    choices: dict[str, Choice]
    names: dict[str, str]

    def stored(self, name: str) -> Stored:
        """Location of a tensor in its donor's files."""
        return self.parents[self.choices[name].donor].stored[name]

    def part(self, name: str) -> Part:
        return self.parents[self.choices[name].donor].part(name)

    def nbytes(self, names: Iterable[str]) -> int:
        return sum(self.stored(name).stop - self.stored(name).start for name in names)


@dataclasses.dataclass(frozen=True)
class Plan(Content):
    """The complete plan of a hybrid.

    dropped: stored names omitted from the output (the head, if embeddings are tied); config_from: the donor of config,
    tokenizer and processor; warnings: harmless differences between the donors.
    """

    assignment: Assignment
    dropped: list[str]
    config_from: str
    warnings: list[str]


def plan(donors: dict[str, Path], spec: str, cuts=None, rest_from="early", config_from: str | None = None) -> Plan:
    """Check the donors and determine the source of each tensor of a hybrid; writes nothing.

    donors: name -> checkpoint directory; spec, cuts, rest_from: see Assignment.parse; config_from: the donor of
    config.json, tokenizer and processor (default: the embeddings' donor). Raises InputError if the donors differ in
    depth, tensor names, shapes, dtypes or a relevant config key, if one has changed since its manifest was written, or
    if a tensor belongs to no known part of a model.
    """
    depths = {label: layer_count(path) for label, path in donors.items()}
    (first, depth), *_ = depths.items()
    assignment = Assignment.parse(spec, depth, cuts, rest_from)
    config_from = config_from or assignment.rest["embeddings"].donor
    for label in (*assignment.donors, config_from):
        if label not in donors:
            raise InputError(f"hybrid {spec!r}: no donor {label!r}; given: {', '.join(donors)}")
    used = {label: donors[label] for label in dict.fromkeys((*assignment.donors, config_from))}
    for label in used:
        if depths[label] != depth:
            raise InputError(
                f"{first} ({donors[first]}) has {depth} decoder layers, {label} ({donors[label]}) {depths[label]}"
            )
        check_unchanged(donors[label])
    parents = {label: Weights(path) for label, path in used.items()}
    warnings = _same_configs(used)
    dropped = drop_tied_heads(parents)  # a tied head equals the embeddings, but some files store it again
    check_same_shapes(parents)
    (label, reference), *others = parents.items()
    for other, weights in others:
        for name in reference:
            if reference.dtype(name) != weights.dtype(name):
                raise InputError(
                    f"{name!r} is {reference.dtype(name)} in {label} ({reference.directory}) but "
                    f"{weights.dtype(name)} in {other} ({weights.directory}): save both in one dtype"
                )
    choices = {}
    for name, stored in sorted(reference.stored.items(), key=lambda item: (item[1].file, item[1].start)):
        choices[name] = assignment.choice(reference.part(name))
        if choices[name].towards and stored.dtype not in DTYPES:
            raise InputError(f"{name!r} is {stored.dtype}, which cannot be interpolated; give it one donor")
    warnings += _same_texts(used)
    names = {name: stored.name for name, stored in reference.stored.items()}
    return Plan(parents, choices, names, assignment, dropped, config_from, warnings)


def _flat(config: dict, prefix: str = "") -> dict[str, object]:
    flat = {}
    for key, value in config.items():
        if key not in _HARMLESS:
            flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def _same_configs(donors: dict[str, Path]) -> list[str]:
    """Check that all configs describe the same model; returns warnings. Raises InputError if they do not."""
    raw = {label: _flat(read_config(path)) for label, path in donors.items()}
    (first, reference), *others = raw.items()
    warnings = []
    if any(other != reference for _, other in others):
        # transformers versions omit different defaults; compare the configs as transformers parses them.
        from transformers import AutoConfig

        raw = {
            label: _meant(AutoConfig.from_pretrained(path, local_files_only=True).to_dict())
            for label, path in donors.items()
        }
        (_, reference), *others = raw.items()
        warnings.append("config.json differs between the donors, but not in what it says of the model")
    for label, other in others:
        if odd := sorted(key for key in {**reference, **other} if reference.get(key) != other.get(key)):
            raise InputError(
                f"config.json: {odd[0]} is {reference.get(odd[0])!r} in {first} ({donors[first]}) but "
                f"{other.get(odd[0])!r} in {label} ({donors[label]}) ({len(odd)} such keys): not the same model"
            )
    return warnings


def _meant(config: dict) -> dict[str, object]:
    """The config keys that define the model, without the duplicates of old configs (text-model keys, rope types)."""
    text = config.get("text_config") or {}
    flat = _flat({key: value for key, value in config.items() if key not in text})
    return {
        key: value
        for key, value in flat.items()
        if not key.startswith("text_config.vision_") and not (".rope_" in key and key.endswith(".type"))
    }


def _chat_template(directory: Path) -> str | None:
    for file in ("chat_template.jinja", "chat_template.json", "tokenizer_config.json"):
        if (path := directory / file).exists():
            text = path.read_text() if path.suffix == ".jinja" else json.loads(path.read_text()).get("chat_template")
            if text:
                return str(text)
    return None


def _vocabulary(directory: Path) -> object:
    if (path := directory / "tokenizer.json").exists():
        try:
            record = json.loads(path.read_text())
            return record["model"].get("vocab"), record.get("added_tokens")
        except (json.JSONDecodeError, KeyError) as error:
            raise InputError(f"{path}: no tokenizer ({error!r}); download or save it again") from None
    path = directory / "vocab.json"
    return json.loads(path.read_text()) if path.exists() else None


def _same_texts(donors: dict[str, Path]) -> list[str]:
    """Warnings if the donors' chat templates or vocabularies differ."""
    (first, reference), *others = donors.items()
    warnings = []
    for label, path in others:
        if _chat_template(path) != _chat_template(reference):
            warnings.append(f"the chat templates of {first} ({reference}) and {label} ({path}) differ")
        files = [directory / "tokenizer.json" for directory in (reference, path)]
        same = all(file.exists() for file in files) and files[0].read_bytes() == files[1].read_bytes()
        if not same and _vocabulary(path) != _vocabulary(reference):
            warnings.append(f"the vocabularies of {first} ({reference}) and {label} ({path}) differ")
    return warnings
