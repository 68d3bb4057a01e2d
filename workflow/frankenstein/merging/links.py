"""Hybrids as hard links: each parent is re-sharded once, with one file per decoder layer or other part."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from concurrent.futures import Future
from pathlib import Path

from ..core.errors import InputError
from ..models.architecture import Part
from ..models.manifests import check_unchanged
from ..models.weights import Weights
from .atomic import whole_or_not
from .hybrid_spec import Choice
from .plan import SHARDS, Content, Plan
from .tensors import Shard, threads, write


def file_key(part: Part) -> str:
    """The shard of a store that holds a tensor: one per decoder layer and per other part."""
    return part.component if part.layer is None else f"layer-{part.layer:03}"


def store(directory: Path, out: Path) -> None:
    """Re-shard a checkpoint for hybrids to link to: one file per decoder layer and per other part, with sha256s.

    shards.json is written last. The files are read-only, because linked hybrids share these very files.
    """
    check_unchanged(directory)
    weights, out = Weights(directory), Path(out)
    stored = {name: stored.name for name, stored in weights.stored.items()}
    own = Content({"own": weights}, dict.fromkeys(weights, Choice("own")), stored)
    ordered = dict.fromkeys(sorted(weights, key=lambda name: (weights.stored[name].file, weights.stored[name].start)))
    names: dict[str, list[str]] = {}
    for name in ordered:
        names.setdefault(file_key(weights.part(name)), []).append(name)
    with whole_or_not(out, own.nbytes(weights), again=True) as part:
        with threads() as pool:
            hashes: dict[str, Future[str]] = {}
            for key, of in names.items():
                hashes |= write(own, of, part / f"{key}.safetensors", pool)
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
    """Path of a parent's store within `directory`; (re)built if missing or out of date with the parent."""
    place = hashlib.sha256(str(Path(parent).resolve()).encode()).hexdigest()[:8]
    path = Path(directory) / f"{Path(parent).resolve().name}-{place}"
    record = json.loads((path / SHARDS).read_text()) if (path / SHARDS).exists() else {}
    if record.get("files") != _stamps(Weights(parent)):
        store(parent, path)
    return path


def _by_key(made: Content) -> dict[str, list[str]]:
    shards: dict[str, list[str]] = {}
    for name in made.choices:
        shards.setdefault(file_key(made.part(name)), []).append(name)
    return shards


def _one_donor(made: Content, names: list[str]) -> str | None:
    """The donor that a whole shard can be linked from, tensor names included; None if it must be written."""
    choice, *others = {made.choices[name] for name in names}
    alike = all(made.stored(name).name == made.names[name] for name in names)
    return None if others or choice.towards or not alike else choice.donor


def mixed(made: Content) -> list[str]:
    """Tensors that layout "link" has to write because they cannot be linked."""
    return [name for names in _by_key(made).values() if _one_donor(made, names) is None for name in names]


def _stamps(weights: Weights) -> dict[str, list[int]]:
    """Size and modification time of each file."""
    files = sorted({stored.file for stored in weights.stored.values()})
    status = {file: (weights.directory / file).stat() for file in files}
    return {file: [status[file].st_size, status[file].st_mtime_ns] for file in files}


def linked(made: Plan, stores: dict[str, Path]) -> list[Shard]:
    """A hybrid's shards: links into the donors' stores where a whole shard has a single donor."""
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
        if set(shard["tensors"]) == set(names):  # differs where a tied head was dropped
            hashes = {name: records[donor]["sha256"][name] for name in names}
            file = Path(stores[donor]) / shard["file"]
            shards.append(Shard(f"{donor}-{key}.safetensors", names, file, hashes))
        else:
            shards.append(Shard(f"mixed-{key}.safetensors", names))
    return shards


def link(shard: Shard, out: Path) -> None:
    try:
        os.link(shard.link, out / shard.file)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP):
            raise
        raise InputError(
            f"{out.parent}: cannot link to {shard.link} ({error.strerror}): links need one file system; use layout copy"
        ) from None
