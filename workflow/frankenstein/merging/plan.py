"""Merge plans: the source of every tensor of a hybrid, validated before anything is written."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from pathlib import Path

from ..core.errors import InputError
from ..models.architecture import Part, is_language_model, layer_count, read_config
from ..models.manifests import check_unchanged
from ..models.weights import DTYPES, Stored, Weights, check_same_shapes, drop_tied_heads
from .hybrid_spec import EARLY, SEEING, Assignment, Choice

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
    tokenizer and processor; warnings: harmless differences between the donors; language_models: donors without vision.
    """

    assignment: Assignment
    dropped: list[str]
    config_from: str
    warnings: list[str]
    language_models: list[str]

    @property
    def notes(self) -> list[str]:
        """For each donor without vision: who gives what it lacks."""
        seeing = ", ".join(f"{part.replace('_', ' ')} from {self.assignment.rest[part]}" for part in SEEING)
        return [
            f"{label} ({self.parents[label].directory}) is a language model: {seeing}; config, tokenizer and processor from "
            f"{self.config_from}"
            for label in self.language_models
        ]


def plan(donors: dict[str, Path], spec: str, cuts=None, rest_from="early", config_from: str | None = None) -> Plan:
    """Check the donors and determine the source of each tensor of a hybrid; writes nothing.

    donors: name -> checkpoint directory; spec, cuts, rest_from: see Assignment.parse; config_from: the donor of
    config.json, tokenizer and processor (default: the embeddings' donor). A donor may be a language model alone, of the
    same decoder as a VLM among the donors, which then gives config, vision tower and projector. Raises InputError if the
    donors differ in depth, tensor names, shapes, dtypes or a relevant config key, if one has changed since its manifest
    was written, or if a tensor belongs to no known part of a model.
    """
    depths = {label: layer_count(path) for label, path in donors.items()}
    (first, depth), *_ = depths.items()
    assignment = Assignment.parse(spec, depth, cuts, rest_from)
    texts = _language_models(donors)
    if texts:
        given = rest_from.items() if isinstance(rest_from, dict) else ()
        named = [part for part, donor in given if donor != EARLY]
        assignment = assignment.seeing_from(texts, [label for label in donors if label not in texts], named)
        if config_from in texts:
            raise InputError(f"config_from: {config_from} ({donors[config_from]}) is a language model; name a VLM")
    by_default = assignment.rest["embeddings"].donor
    config_from = config_from or (assignment.rest["vision_tower"].donor if by_default in texts else by_default)
    for label in (*assignment.donors, config_from):
        if label not in donors:
            raise InputError(f"hybrid {spec!r}: no donor {label!r}; given: {', '.join(donors)}")
    used = {label: donors[label] for label in dict.fromkeys((*assignment.donors, config_from))}
    for label in used:
        if depths[label] != depth:
            raise InputError(
                f"{first} ({donors[first]}) has {depth} decoder layers, {label} ({donors[label]}) {depths[label]}: donors must have "
                "the same depth"
            )
        check_unchanged(donors[label])
    parents = {label: Weights(path) for label, path in used.items()}
    whole = {label: weights for label, weights in parents.items() if label not in texts}
    (label, reference), *others = whole.items()
    warnings = _same_configs({label: used[label] for label in whole})
    texts = [text for text in texts if text in used]
    warnings += [warning for text in texts for warning in _same_decoder(used, label, text)]
    dropped = drop_tied_heads(parents)  # a tied head equals the embeddings, but some files store it again
    check_same_shapes(whole)
    for text in texts:
        _check_given(assignment, parents, label, text)
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
    return Plan(parents, choices, names, assignment, dropped, config_from, warnings, texts)


def _language_models(donors: dict[str, Path]) -> list[str]:
    """Donors that are language models alone, of which VLMs among the donors are made; none if all donors are."""
    found = [label for label, path in donors.items() if is_language_model(read_config(path))]
    return found if len(found) < len(donors) else []


def _check_given(assignment: Assignment, parents: dict[str, Weights], vlm: str, text: str) -> None:
    """Raise InputError unless every tensor that a language model gives is one of the VLM's, in shape and dtype."""
    reference, weights = parents[vlm], parents[text]
    where = f"{vlm} ({reference.directory})", f"{text} ({weights.directory}, a language model)"
    for name in sorted({*reference, *weights}):
        part = (reference if name in reference.stored else weights).part(name)
        choice = assignment.choice(part)
        if text not in (choice.donor, choice.towards):
            continue
        of_words = part.component in ("embeddings", "head")
        keep = f"take {vlm}'s with --rest embeddings={vlm},head={vlm}"
        if name not in weights.stored or name not in reference.stored:
            holder = where[name not in reference.stored]
            raise InputError(
                f"only {holder} has {name!r}, of {where[0]} and {where[1]}: {keep if of_words else 'not the same decoder'}"
            )
        shapes = reference.shape(name), weights.shape(name)
        if shapes[0] != shapes[1]:
            vocabulary = of_words and shapes[0][1:] == shapes[1][1:]
            raise InputError(
                f"{name!r} is {shapes[0]} in {where[0]} but {shapes[1]} in {where[1]}: "
                + (f"another vocabulary; {keep}" if vocabulary else "a donor must be of the VLM decoder's own size")
            )
        if reference.dtype(name) != weights.dtype(name):
            raise InputError(
                f"{name!r} is {reference.dtype(name)} in {where[0]} but {weights.dtype(name)} in {where[1]}: save both in one dtype"
            )


# Keys that no tensor's shape shows, and without which the same weights compute something else.
_COMPUTED = ("num_attention_heads", "num_key_value_heads", "head_dim", "hidden_act")


def _same_decoder(donors: dict[str, Path], vlm: str, text: str) -> list[str]:
    """Warnings for what a language model's config says otherwise than the text config of a VLM; InputError for what it computes."""
    from transformers import AutoConfig

    ours, theirs = (
        _flat(AutoConfig.from_pretrained(donors[label], local_files_only=True).get_text_config().to_dict())
        for label in (vlm, text)
    )
    # The VLM's rotary embedding has sections for space and time, which are one for text; and layers have no other names.
    known = [key for key in ours if key in theirs and not key.endswith("_type") and key != "layer_types"]
    odd = [key for key in known if ours[key] != theirs[key]]
    for key in odd:
        if key in _COMPUTED:
            raise InputError(
                f"config.json: {key} is {ours[key]!r} in {vlm} ({donors[vlm]}) but {theirs[key]!r} in {text} ({donors[text]}): not the "
                "same decoder"
            )
    said = "; ".join(f"{key} is {ours[key]!r} in {vlm} but {theirs[key]!r} in {text}" for key in odd)
    return [f"the decoders' configs differ, and the hybrid has {vlm}'s: {said}"] if odd else []


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
