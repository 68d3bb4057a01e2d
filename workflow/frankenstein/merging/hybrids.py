"""Hybrids: checkpoints whose every tensor has a known donor (paper, Section 3.3, Appendix E).

Bytes go from file to file, or files are linked; only tensors between two donors are computed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import itertools
import json
import os
import shutil
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path

import numpy as np

from ..core.errors import InputError
from ..models.architecture import layer_count, part_of, read_config
from ..models.manifests import MANIFEST, check_unchanged
from ..models.weights import DTYPES, Stored, Weights, as_stored, check_same_shapes, drop_tied_heads
from .hybrid_spec import Assignment, Choice

MERGE_MANIFEST = "merge_manifest.json"
SHARD_BYTES = 5_000_000_000  # as the Hub's own tools write it
_CHUNK = 1 << 20  # fits a core's own cache
# Configs may differ in these and the model be the same.
_HARMLESS = {
    "_name_or_path",
    "_attn_implementation",
    "_attn_implementation_autoset",
    "attn_implementation",
    "architectures",
    "attention_dropout",  # of training alone, as is the range of initial weights
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
    """Which tensors, and from where.

    parents: label -> checkpoint; choices: canonical name -> where it comes from, in the order of writing;
    names: canonical name -> the name it is stored under.
    """

    parents: dict[str, Weights]
    choices: dict[str, Choice]
    names: dict[str, str]

    def stored(self, name: str) -> Stored:
        """Where a tensor lies in its donor."""
        return self.parents[self.choices[name].donor].stored[name]

    def nbytes(self, names: Iterable[str]) -> int:
        return sum(self.stored(name).stop - self.stored(name).start for name in names)


@dataclasses.dataclass(frozen=True)
class Plan(Content):
    """What a hybrid is made of.

    dropped: stored names that no file holds: the head of models with tied embeddings; config_from: the donor of
    config, tokenizer and processor; warnings: harmless differences of the donors.
    """

    assignment: Assignment
    dropped: list[str]
    config_from: str
    warnings: list[str]


def plan(donors: dict[str, Path], spec: str, cuts=None, rest_from="early", config_from: str | None = None) -> Plan:
    """Check the donors and say where each tensor of a hybrid comes from; nothing is written.

    donors: name -> checkpoint directory; spec, cuts, rest_from: see Assignment.parse; config_from: the donor of
    config.json, tokenizer and processor (the embeddings' donor). Raises InputError where the donors differ in depth,
    names, shapes, dtypes or in a config that matters, where one has changed since its manifest was written, and for a
    tensor that no part of a model is known for.
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
    dropped = drop_tied_heads(parents)  # the head is the embeddings': some files store it once more
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
        choices[name] = assignment.choice(part_of(name))
        if choices[name].towards and stored.dtype not in DTYPES:
            raise InputError(f"{name!r} is {stored.dtype}: nothing lies between two of these; give it one donor")
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
    """Warnings. Raises InputError for configs of different models."""
    raw = {label: _flat(read_config(path)) for label, path in donors.items()}
    (first, reference), *others = raw.items()
    warnings = []
    if any(other != reference for _, other in others):
        # One version of transformers writes what another leaves out: its own reading of them decides.
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
    """What a config says of the model: old ones repeat the text model's keys at the top, and name rope types twice."""
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
            raise InputError(f"{path}: no tokenizer ({error!r}); fetch or save it again") from None
    path = directory / "vocab.json"
    return json.loads(path.read_text()) if path.exists() else None


def _same_texts(donors: dict[str, Path]) -> list[str]:
    """Warnings where donors' chat templates or vocabularies differ."""
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


def summary(made: Plan, layout: str) -> str:
    """What would be written, for a person: who gives how much, and what it costs on the disk."""
    shares: dict[str, list[str]] = {}
    for name, choice in made.choices.items():
        shares.setdefault(str(choice), []).append(name)
    lines = [
        f"{choice}: {len(names)} tensors, {made.nbytes(names) / 1e9:.2f} GB" for choice, names in sorted(shares.items())
    ]
    lines.append(f"config, tokenizer, processor: {made.config_from}")
    if layout == "copy":
        lines.append(f"disk: {made.nbytes(made.choices) / 1e9:.2f} GB")
    else:
        mixed = made.nbytes(_mixed(made))
        lines.append(f"disk: {mixed / 1e9:.2f} GB, and once a parent its size")
    return "\n".join([*lines, *(f"dropped, for embeddings are tied: {name}" for name in made.dropped)])


# --- writing --------------------------------------------------------------------------------------


def merge(
    donors: dict[str, Path],
    spec: str,
    out: Path,
    *,
    cuts: tuple[int, ...] | None = None,
    rest_from: str | dict = "early",
    config_from: str | None = None,
    layout: str = "copy",
    stores: dict[str, Path] | None = None,
    command: str = "",
) -> Plan:
    """Write a hybrid: a Hugging Face checkpoint directory with its account (merge_manifest.json) and a model card.

    donors: name -> checkpoint directory, spec, cuts, rest_from, config_from: see plan. layout: copy, or link: hard
    links into stores (name -> directory made by `store`; on the file system of `out`), and only what lies between two
    donors, or shares a layer with another, is written. The directory appears whole or not at all. Raises
    InputError as plan does, for an output directory that is not empty, and for a disk that is too full.
    """
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out}: not empty; a hybrid is written to a directory of its own")
    made = plan(donors, spec, cuts, rest_from, config_from)
    shards = _linked(made, stores or {}) if layout == "link" else _by_size(made)
    written = [name for shard in shards if not shard.link for name in shard.names]
    for warning in made.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    with _whole_or_not(out, made.nbytes(written)) as part:
        hashes: dict[str, str] = {}
        with _threads() as pool:
            ahead: dict[str, Future[str]] = {}
            for shard in shards:
                if shard.link:
                    _link(shard, part)
                    hashes |= shard.hashes
                else:
                    ahead |= _write(made, shard.names, part / shard.file, pool)
            hashes |= {name: digest.result() for name, digest in ahead.items()}
        _write_rest(made, part, shards, hashes, layout, command)
    return made


def _runs(process: int) -> bool:
    """Whether there is such a process; /proc is Linux's alone, and without it every process would seem dead."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


@contextlib.contextmanager
def _whole_or_not(out: Path, needed: int, again: bool = False) -> Iterator[Path]:
    """A directory to write `needed` bytes to, which becomes `out` at the end, or goes; what a killed run left goes too.

    again: what stands in `out` then is replaced; else it is left alone, and an error.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    for left in out.parent.glob(f".{out.name}.*.partial"):
        if not _runs(int(left.name.split(".")[-2])):
            shutil.rmtree(left, ignore_errors=True)
    if needed > (free := shutil.disk_usage(out.parent).free):
        raise InputError(
            f"{out}: {needed / 1e9:.1f} GB to write, {free / 1e9:.1f} GB free on its disk; nothing written"
        )
    part = out.parent / f".{out.name}.{os.getpid()}.partial"
    part.mkdir()
    try:
        yield part
        if again and out.exists():
            shutil.rmtree(out)  # what links to its files keeps them
        os.replace(part, out)
    except BaseException as error:
        shutil.rmtree(part, ignore_errors=True)
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            raise InputError(f"{out}: the disk is full; what was written is removed") from None
        raise


@dataclasses.dataclass(frozen=True)
class _Shard:
    """A file of a hybrid: its canonical tensor names; the file to link, or None where it is written; known hashes."""

    file: str
    names: list[str]
    link: Path | None = None
    hashes: dict[str, str] | None = None


def _by_size(made: Plan) -> list[_Shard]:
    shards: list[list[str]] = [[]]
    filled = 0
    for name in made.choices:
        size = made.nbytes([name])
        if shards[-1] and filled + size > SHARD_BYTES:
            shards.append([])
            filled = 0
        shards[-1].append(name)
        filled += size
    if len(shards) == 1:
        return [_Shard("model.safetensors", shards[0])]
    return [_Shard(f"model-{n:05}-of-{len(shards):05}.safetensors", names) for n, names in enumerate(shards, 1)]


@contextlib.contextmanager
def _threads() -> Iterator[ThreadPoolExecutor]:
    """A thread a core; after an error what has not begun is not done."""
    pool = ThreadPoolExecutor(min(8, os.cpu_count() or 1))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _write(made: Content, names: list[str], path: Path, pool: ThreadPoolExecutor) -> dict[str, Future[str]]:
    """A safetensors file of these tensors, being written by the pool; sha256 of each one's bytes.

    A piece is hashed and written while it is in the processor's cache: faster than a copy within the kernel and a hash.
    """
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name in names:
        stored, size = made.stored(name), made.nbytes([name])
        header[made.names[name]] = {"dtype": stored.dtype, "shape": stored.shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + at)

    def write(name: str) -> str:
        digest, at = hashlib.sha256(), 8 + len(text) + header[made.names[name]]["data_offsets"][0]
        with open(path, "r+b", buffering=0) as file:
            for piece in _pieces(made, name):
                digest.update(piece)
                rest = memoryview(piece)
                while rest:
                    count = os.pwrite(file.fileno(), rest, at)
                    rest, at = rest[count:], at + count
        return digest.hexdigest()

    # The largest first: no thread is left with one at the end.
    return {name: pool.submit(write, name) for name in sorted(names, key=lambda name: -made.nbytes([name]))}


def _between(made: Content, name: str) -> Iterator[bytes]:
    """donor + alpha (towards - donor), computed in float64, rounded to the stored dtype; in pieces."""
    choice = made.choices[name]
    donor, towards = (made.parents[label] for label in (choice.donor, choice.towards))
    shape = donor.shape(name) or (1,)
    rows = max(1, _CHUNK // 8 // max(1, int(np.prod(shape[1:]))))
    for at in range(0, shape[0], rows):
        start, end = (weights.strip(name, 0, at, at + rows).astype(np.float64) for weights in (donor, towards))
        yield as_stored(start + choice.alpha * (end - start), donor.dtype(name)).tobytes()


def _pieces(made: Content, name: str) -> Iterator[bytes | memoryview]:
    """A tensor's bytes as they belong in the hybrid."""
    if made.choices[name].towards:
        yield from _between(made, name)
    else:
        yield from _pieces_of(made.parents[made.choices[name].donor], name)


def _pieces_of(weights: Weights, name: str) -> Iterator[memoryview]:
    """A tensor's bytes as they are stored; each piece is gone with the next."""
    stored, buffer = weights.stored[name], memoryview(bytearray(_CHUNK))
    with open(weights.path(name), "rb", buffering=0) as file:
        at = stored.start
        while at < stored.stop:
            count = os.preadv(file.fileno(), [buffer[: min(_CHUNK, stored.stop - at)]], at)
            if not count:
                raise InputError(f"{weights.path(name)}: ends within {name!r}; fetch or save it again")
            yield buffer[:count]
            at += count


def _digest(pieces: Iterable[bytes | memoryview]) -> str:
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()


def _write_rest(made: Plan, out: Path, shards: list[_Shard], hashes: dict, layout: str, command: str) -> None:
    """Index, config, tokenizer, processor, account and model card."""
    donor = made.parents[made.config_from].directory
    for path in sorted(path for path in donor.iterdir() if path.is_file()):
        ours = path.name in (MANIFEST, MERGE_MANIFEST) or path.name.endswith(".index.json")
        if path.suffix in (".json", ".jinja", ".txt", ".model") and not ours:
            shutil.copyfile(path, out / path.name)
    if len(shards) > 1 or shards[0].file != "model.safetensors":
        index = {"metadata": {"total_size": made.nbytes(made.choices)}}
        index["weight_map"] = {made.names[name]: shard.file for shard in shards for name in shard.names}
        (out / "model.safetensors.index.json").write_text(json.dumps(index, indent=1))
    tensors = {}
    for name, choice in made.choices.items():
        entry = {"donor": choice.donor, "file": made.stored(name).file, "sha256": hashes[name]}
        if choice.towards:
            entry |= {"towards": choice.towards, "alpha": choice.alpha}
        tensors[made.names[name]] = entry
    record = {
        "hybrid": made.assignment.spec,
        "layers": made.assignment.layers,
        "cuts": list(made.assignment.cuts),
        "rest": {part: str(choice) for part, choice in made.assignment.rest.items()},
        "config_from": made.config_from,
        "layout": layout,
        "parents": {label: _origin(weights.directory) for label, weights in made.parents.items()},
        "warnings": made.warnings,
        "dropped": made.dropped,
        "frankenstein": version("frankenstein-vlm"),
        "command": command,
        "tensors": tensors,
    }
    (out / MERGE_MANIFEST).write_text(json.dumps(record, indent=1))
    (out / "README.md").write_text(_card(made, record))


def _origin(directory: Path) -> dict:
    """Where a parent lies, and where it came from as far as its own manifest tells."""
    path = directory / MANIFEST
    source = json.loads(path.read_text()).get("source") if path.exists() else None
    return {"directory": str(directory.resolve()), "source": source}


def _card(made: Plan, record: dict) -> str:
    """The model card, as the Hub reads it."""
    bounds = (0, *made.assignment.cuts, made.assignment.layers)
    rows = [
        f"| decoder layers {low} to {high - 1} | {choice} |"
        for (low, high), choice in zip(itertools.pairwise(bounds), made.assignment.regions, strict=True)
    ]
    rows += [
        f"| over them, decoder layers {layers.start} to {layers.stop - 1}{block and ', ' + block} | {choice} |"
        for choice, layers, block in made.assignment.overlays
    ]
    rows += [f"| {part.replace('_', ' ')} | {choice} |" for part, choice in record["rest"].items()]
    rows.append(f"| config, tokenizer, processor | {made.config_from} |")
    hub = [
        (parent["source"] or {}).get("repo") for parent in record["parents"].values()
    ]  # only what the Hub knows can be a base_model
    front = ["---", "library_name: transformers", "pipeline_tag: image-text-to-text", "tags: [merge, frankenstein]"]
    if all(hub):
        front.append(f"base_model: [{', '.join(hub)}]")
    parents = [
        f"- {label}: `{parent['directory']}`"
        + (f", from {json.dumps(parent['source'], sort_keys=True)}" if parent["source"] else "")
        for label, parent in record["parents"].items()
    ]
    lines = [
        *front, "---", "", f"# Hybrid {record['hybrid']}", "",
        "Made by Frankenstein (after arXiv 2602.12395, Section 3.3): whole parts of trained checkpoints, no training.", "",
        "| part | from |", "| --- | --- |", *rows, "", "Parents:", "", *parents, "",
        *(["Command:", "", f"    {record['command']}", ""] if record["command"] else []),
        *(f"Warning: {warning}." for warning in record["warnings"]),
        f"`{MERGE_MANIFEST}` names the donor and the sha256 of each of the {len(record['tensors'])} tensors; "
        "`frankenstein verify` reads them back.", "",
    ]  # fmt: skip
    return "\n".join(lines)


# --- links ----------------------------------------------------------------------------------------

SHARDS = "shards.json"


def _key(name: str) -> str:
    """The shard of a store that a tensor belongs to: its decoder layer, or its part."""
    part = part_of(name)
    return part.component if part.layer is None else f"layer-{part.layer:03}"


def store(directory: Path, out: Path) -> None:
    """Re-shard a checkpoint once, a file a decoder layer and a part of the rest, for hybrids to link to; with sha256s.

    shards.json is written last. The files are read-only: a hybrid's bytes are these very files.
    """
    check_unchanged(directory)
    weights, out = Weights(directory), Path(out)
    stored = {name: stored.name for name, stored in weights.stored.items()}
    own = Content({"own": weights}, dict.fromkeys(weights, Choice("own")), stored)
    ordered = dict.fromkeys(sorted(weights, key=lambda name: (weights.stored[name].file, weights.stored[name].start)))
    names: dict[str, list[str]] = {}
    for name in ordered:
        names.setdefault(_key(name), []).append(name)
    with _whole_or_not(out, own.nbytes(weights), again=True) as part:
        with _threads() as pool:
            hashes: dict[str, Future[str]] = {}
            for key, of in names.items():
                hashes |= _write(own, of, part / f"{key}.safetensors", pool)
            digests = {name: digest.result() for name, digest in hashes.items()}
        shards = {key: {"file": f"{key}.safetensors", "tensors": of} for key, of in sorted(names.items())}
        for shard in shards.values():
            (part / shard["file"]).chmod(0o444)
        record = {
            "directory": str(Path(directory).resolve()),
            "files": _stamps(weights),
            "shards": shards,
            "sha256": digests,
        }
        (part / SHARDS).write_text(json.dumps(record, indent=1))


def stored_in(directory: Path, parent: Path) -> Path:
    """The store of a parent among others in a directory; made where it is not there, or not of what the parent is now."""
    place = hashlib.sha256(str(Path(parent).resolve()).encode()).hexdigest()[:8]
    path = Path(directory) / f"{Path(parent).resolve().name}-{place}"
    record = json.loads((path / SHARDS).read_text()) if (path / SHARDS).exists() else {}
    if record.get("files") != _stamps(Weights(parent)):
        store(parent, path)
    return path


def _by_key(made: Content) -> dict[str, list[str]]:
    shards: dict[str, list[str]] = {}
    for name in made.choices:
        shards.setdefault(_key(name), []).append(name)
    return shards


def _one_donor(made: Content, names: list[str]) -> str | None:
    """The donor of a whole shard, under its own names; None where it must be written."""
    choice, *others = {made.choices[name] for name in names}
    alike = all(made.stored(name).name == made.names[name] for name in names)
    return None if others or choice.towards or not alike else choice.donor


def _mixed(made: Content) -> list[str]:
    """Tensors that layout link has to write."""
    return [name for names in _by_key(made).values() if _one_donor(made, names) is None for name in names]


def _stamps(weights: Weights) -> dict[str, list[int]]:
    """Size and time of change of each file."""
    files = sorted({stored.file for stored in weights.stored.values()})
    status = {file: (weights.directory / file).stat() for file in files}
    return {file: [status[file].st_size, status[file].st_mtime_ns] for file in files}


def _linked(made: Plan, stores: dict[str, Path]) -> list[_Shard]:
    """A hybrid's shards: links into the donors' stores wherever a whole shard has one donor."""
    records = {}
    for label, weights in made.parents.items():
        if label not in stores or not (path := Path(stores[label]) / SHARDS).exists():
            raise InputError(f"layout link: no store of {label} ({weights.directory}); make one with merging.store")
        records[label] = json.loads(path.read_text())
        if records[label]["files"] != _stamps(weights):
            raise InputError(f"{path}: {weights.directory} has changed since; make the store again")
    shards = []
    for key, names in _by_key(made).items():
        donor = _one_donor(made, names)
        shard = records[donor]["shards"][key] if donor else {"tensors": []}
        if set(shard["tensors"]) == set(names):  # not where a tied head was dropped
            hashes = {name: records[donor]["sha256"][name] for name in names}
            file = Path(stores[donor]) / shard["file"]
            shards.append(_Shard(f"{donor}-{key}.safetensors", names, file, hashes))
        else:
            shards.append(_Shard(f"mixed-{key}.safetensors", names))
    return shards


def _link(shard: _Shard, out: Path) -> None:
    try:
        os.link(shard.link, out / shard.file)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP):
            raise
        raise InputError(
            f"{out.parent}: cannot link to {shard.link} ({error.strerror}): links need one file system; use layout copy"
        ) from None


# --- reading back ---------------------------------------------------------------------------------


def verify(out: Path) -> list[str]:
    """Read a hybrid back against its account and its parents; what could not be checked, as warnings.

    Raises InputError naming the first tensor whose bytes are not its donor's, or that stands only in one of weights
    and account.
    """
    out = Path(out)
    try:
        record = json.loads((out / MERGE_MANIFEST).read_text())
    except FileNotFoundError:
        raise InputError(f"{out}: no {MERGE_MANIFEST}: not a hybrid of ours, or half-written; merge it again") from None
    hybrid = Weights(out)
    by_stored = {stored.name: name for name, stored in hybrid.stored.items()}
    if odd := sorted(set(by_stored) ^ set(record["tensors"])):
        raise InputError(
            f"{out}: {odd[0]!r} is in the weights or in {MERGE_MANIFEST}, but not in both ({len(odd)} such)"
        )
    warnings, parents = [], {}
    for label, parent in record["parents"].items():
        if Path(parent["directory"]).is_dir():
            parents[label] = Weights(Path(parent["directory"]))
        else:
            warnings.append(f"{label} ({parent['directory']}) is gone: its tensors are checked by sha256 alone")
    for label, weights in parents.items():
        names = {name for name in weights if weights.stored[name].name not in record["dropped"]}
        if odd := sorted(names ^ set(hybrid)):
            raise InputError(f"{out}: {odd[0]!r} is not in both the hybrid and {label} ({len(odd)} such)")

    def check(stored: str) -> None:
        entry, name = record["tensors"][stored], by_stored[stored]
        choice = Choice(entry["donor"], entry.get("towards", ""), entry.get("alpha", 0.0))
        where = f"{hybrid.path(name)}: {stored!r}"
        if (found := _digest(_pieces_of(hybrid, name))) != entry["sha256"]:
            raise InputError(f"{where} is not what {MERGE_MANIFEST} says (sha256): changed since it was merged")
        if set(filter(None, (choice.donor, choice.towards))) <= set(parents):
            source = Content(parents, {name: choice}, {})
            of_donor = {weights.stored[name].dtype for weights in parents.values()}, _digest(_pieces(source, name))
            if of_donor != ({hybrid.dtype(name)}, found):
                raise InputError(f"{where} differs from its donor {choice} ({parents[choice.donor].directory})")

    with _threads() as pool:
        list(pool.map(check, record["tensors"]))
    return warnings


def describe(directory: Path) -> str:
    """A checkpoint in a few lines: family, depth, dtypes, parts; of a hybrid, who gave what."""
    weights, config = Weights(directory), read_config(directory)
    sizes: dict[str, int] = {}
    for name in weights:
        part = part_of(name).component
        sizes[part] = sizes.get(part, 0) + int(np.prod(weights.shape(name)))
    dtypes = sorted({weights.dtype(name) for name in weights})
    files = {stored.file for stored in weights.stored.values()}
    lines = [
        f"{directory}: {config['model_type']}, {layer_count(directory)} decoder layers, "
        f"{sum(sizes.values()) / 1e6:,.1f} M parameters, {', '.join(dtypes)}, {len(weights)} tensors in {len(files)} files",
        *(f"  {part:14}{size / 1e6:12,.1f} M" for part, size in sorted(sizes.items())),
    ]
    if (path := Path(directory) / MERGE_MANIFEST).exists():
        record = json.loads(path.read_text())
        lines.append(f"hybrid {record['hybrid']}, cuts {record['cuts']}, layout {record['layout']}")
        lines += [f"  {label:14}{parent['directory']}" for label, parent in record["parents"].items()]
        stored = {s.name: name for name, s in weights.stored.items()}
        given: dict[str, set[str]] = {}
        for name, entry in record["tensors"].items():
            choice = Choice(entry["donor"], entry.get("towards", ""), entry.get("alpha", 0.0))
            given.setdefault(_key(stored[name]), set()).add(str(choice))
        lines += [f"  {key:14}{', '.join(sorted(who))}" for key, who in sorted(given.items())]
        lines += [f"  warning: {warning}" for warning in record["warnings"]]
    return "\n".join(lines)
