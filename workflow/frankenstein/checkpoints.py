"""A checkpoint directory: safetensors read tensor by tensor, and a manifest written last.

safetensors only: no pickle, no remote code.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

from . import anatomy
from .errors import InputError

# torch is imported where a tensor or a model is wanted: it takes 500 MB and 4 seconds.

MANIFEST = "manifest.json"
# What weights may be stored in, as safetensors writes it; numpy has no bfloat16: the upper half of a float32.
DTYPES = {"F64": np.dtype("<f8"), "F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "BF16": np.dtype("<u2")}


@dataclass(frozen=True)
class Stored:
    """Where a tensor's bytes lie: file, [start, stop) in it; name and dtype as safetensors writes them; shape."""

    name: str
    file: str
    start: int
    stop: int
    dtype: str
    shape: tuple[int, ...]


class Weights:
    """The tensors of a checkpoint directory by canonical name (anatomy.canonical), read one at a time.

    Raises InputError for a directory that is missing, holds no safetensors, or is half-written.
    """

    def __init__(self, directory: Path):
        self.directory = Path(directory)
        if not self.directory.is_dir():
            raise InputError(f"{directory}: no such checkpoint directory")
        index = self.directory / "model.safetensors.index.json"
        promised: dict[str, str] = {}
        if index.exists():
            try:
                promised = json.loads(index.read_text())["weight_map"]
            except (json.JSONDecodeError, KeyError) as error:
                raise InputError(f"{index}: half-written or damaged ({error}); fetch or save it again") from None
            files = sorted(set(promised.values()))
        else:
            files = sorted(path.name for path in self.directory.glob("*.safetensors"))
        if not files:
            raise InputError(f"{directory}: no .safetensors file (pickled weights are not read)")
        self.stored: dict[str, Stored] = {}
        for file in files:
            for stored in self._read_header(file):
                name = anatomy.canonical(stored.name)
                if name in self.stored:
                    raise InputError(
                        f"{directory}: tensor {stored.name!r} stands in {self.stored[name].file} and in {file}"
                    )
                self.stored[name] = stored
        if missing := sorted(set(promised) - {stored.name for stored in self.stored.values()}):
            raise InputError(f"{index}: {missing[0]!r} is not in {promised[missing[0]]}; fetch or save it again")

    def _open(self, file: str, framework: str):
        path = self.directory / file
        try:
            return safe_open(path, framework=framework)
        except FileNotFoundError:
            raise InputError(f"{path}: missing shard: the checkpoint is half-written, fetch or save it again") from None
        except SafetensorError as error:
            raise InputError(f"{path}: half-written or damaged ({error}); fetch or save it again") from None

    def _read_header(self, file: str) -> list[Stored]:
        self._open(file, "numpy")  # the library checks the file: sizes, overlaps, dtypes
        with open(self.directory / file, "rb") as opened:
            length = int.from_bytes(opened.read(8), "little")
            header = json.loads(opened.read(length))
        header.pop("__metadata__", None)
        return [
            Stored(name, file, *(8 + length + at for at in of["data_offsets"]), of["dtype"], tuple(of["shape"]))
            for name, of in header.items()
        ]

    def __iter__(self) -> Iterator[str]:
        return iter(self.stored)

    def __len__(self) -> int:
        return len(self.stored)

    def __getitem__(self, name: str):
        """The torch tensor in its stored dtype."""
        return self._open(self.stored[name].file, "pt").get_tensor(self.stored[name].name)

    def path(self, name: str) -> Path:
        """The file that holds a tensor."""
        return self.directory / self.stored[name].file

    def shape(self, name: str) -> tuple[int, ...]:
        return self.stored[name].shape

    def dtype(self, name: str) -> str:
        """As safetensors writes it: F32, BF16, ..."""
        return self.stored[name].dtype

    def strip(self, name: str, axis: int, start: int, stop: int) -> np.ndarray:
        """Rows (axis 0) or columns (axis 1) of a matrix; what has more axes is flattened to two.

        float32, or float64 where stored so: no value is rounded. Read, not mapped: the pages of a mapped file
        would count as this process's memory.
        """
        dtype, at, file = DTYPES[self.dtype(name)], self.stored[name].start, self.path(name)
        rows, *rest = self.shape(name) or (1,)
        columns = math.prod(rest)
        stop = min(stop, columns if axis else rows)
        shape = (rows, stop - start) if axis else (stop - start, columns)
        size = dtype.itemsize
        if axis:
            pieces = [(at + (row * columns + start) * size, (stop - start) * size) for row in range(rows)]
        else:
            pieces = [(at + start * columns * size, (stop - start) * columns * size)]
        buffer = bytearray(math.prod(shape) * size)
        view, filled = memoryview(buffer), 0
        with open(file, "rb", buffering=0) as opened:
            for at, count in pieces:
                while count:  # a read may return less than it was asked for
                    got = os.preadv(opened.fileno(), [view[filled : filled + count]], at)
                    if not got:
                        raise InputError(f"{file}: ends within {name!r}; fetch or save it again")
                    filled, at, count = filled + got, at + got, count - got
        return from_stored(np.frombuffer(buffer, dtype=dtype).reshape(shape), self.dtype(name))

    def finite(self, name: str) -> bool:
        """Whether a tensor holds neither NaN nor infinity."""
        shape = self.shape(name) or (1,)
        rows = max(1, (1 << 22) // max(1, math.prod(shape[1:])))
        return all(np.isfinite(self.strip(name, 0, at, at + rows)).all() for at in range(0, shape[0], rows))


def as_stored(values: np.ndarray, dtype: str) -> np.ndarray:
    """Values rounded to a stored dtype (DTYPES), to nearest, ties to even; to bfloat16 by way of float32, as torch does."""
    if dtype != "BF16":
        return values.astype(DTYPES[dtype])
    bits = values.astype(np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(DTYPES["BF16"])


def from_stored(stored: np.ndarray, dtype: str) -> np.ndarray:
    """What is stored as float32, or as float64 where stored so; no value is rounded."""
    if dtype == "BF16":
        return np.left_shift(stored, 16, dtype=np.uint32).view(np.float32)
    return stored.astype(np.float32) if dtype == "F16" else stored


def drop_tied_heads(weights: dict[str, Weights]) -> list[str]:
    """Where all checkpoints tie head and embeddings, forget the head that some files store once more; its stored names."""
    if not all(anatomy.ties_embeddings(checkpoint.directory) for checkpoint in weights.values()):
        return []
    dropped = set()
    for checkpoint in weights.values():
        for name in [name for name in checkpoint if anatomy.part_of(name).component == "head"]:
            dropped.add(checkpoint.stored.pop(name).name)
    return sorted(dropped)


def check_same_shapes(weights: dict[str, Weights]) -> None:
    """Raise InputError naming the first tensor that two checkpoints do not share in name and shape."""
    (first, reference), *others = weights.items()
    for label, other in others:
        if missing := sorted(set(reference) ^ set(other)):
            holder = first if missing[0] in reference.stored else label
            raise InputError(
                f"{first} ({reference.directory}) and {label} ({other.directory}) differ: "
                f"only {holder} has {missing[0]!r} ({len(missing)} such tensors)"
            )
        for name in reference:
            if reference.shape(name) != other.shape(name):
                raise InputError(
                    f"{name!r} is {reference.shape(name)} in {first} ({reference.directory}) but "
                    f"{other.shape(name)} in {label} ({other.directory}): not the same model size"
                )


def sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _from(place: Path, directory: Path) -> Path:
    """The directory as seen from a place above it, so that both can move together; elsewhere its full path."""
    full = directory.resolve()
    return full.relative_to(place.resolve()) if full.is_relative_to(place.resolve()) else full


def write_manifest(manifest: Path, directory: Path, source: dict) -> None:
    """Check a whole checkpoint, then write its manifest: where it is, how it came to be, each file's sha256.

    The manifest is written last: where it stands, the checkpoint is whole. Raises InputError for
    a missing or half-written file, an unknown parameter, or a weight that is not finite.
    """
    directory, manifest = Path(directory), Path(manifest)
    layers = anatomy.layer_count(directory)
    weights = Weights(directory)
    if found := ({anatomy.part_of(name).layer for name in weights} - {None}) ^ set(range(layers)):
        raise InputError(
            f"{directory}: config.json speaks of {layers} decoder layers, but layer {min(found)} is only in one of "
            "config.json and the weights: the checkpoint is not whole"
        )
    for name in weights:
        if weights.dtype(name) in DTYPES and not weights.finite(name):
            raise InputError(f"{weights.path(name)}: {name!r} holds NaN or infinity; train or fetch it again")
    files = sorted(path for path in directory.iterdir() if path.is_file() and path.name != MANIFEST)
    record = {
        "directory": str(_from(manifest.parent, directory)),
        "source": source,
        "layers": layers,
        "tensors": len(weights),
        "parameters": sum(math.prod(weights.shape(name)) for name in weights),
        "files": {path.name: {"size": path.stat().st_size, "sha256": sha256(path)} for path in files},
    }
    manifest.write_text(json.dumps(record, indent=1))


def directory_of(manifest: Path) -> Path:
    """The checkpoint directory that a manifest speaks of; InputError where a file is gone or has changed since."""
    manifest = Path(manifest)
    record = json.loads(manifest.read_text())
    directory, written = manifest.parent / record["directory"], manifest.stat().st_mtime_ns
    for name, file in record["files"].items():
        path = directory / name
        same = path.exists() and path.stat().st_size == file["size"]
        # A younger file may be a copy: its content decides.
        if not same or (path.stat().st_mtime_ns > written and sha256(path) != file["sha256"]):
            raise InputError(f"{path}: gone or changed since {manifest} was written; delete the manifest and run again")
    return directory


def check_unchanged(directory: Path) -> None:
    """Where a checkpoint directory holds its manifest: InputError unless its files are the manifest's."""
    if (manifest := Path(directory) / MANIFEST).exists():
        directory_of(manifest)


def cap_pixels(processor, pixels: int) -> None:
    """Make a processor shrink images to at most so many pixels. InputError where it has no such setting (Qwen's has)."""
    images = processor.image_processor
    size = dict(images.size)
    if set(size) != {"shortest_edge", "longest_edge"} or not hasattr(images, "merge_size"):
        raise InputError(
            f"evaluation.max_pixels: {type(images).__name__} has no limit in pixels (its size is {size}); leave the key out"
        )
    size["longest_edge"] = min(size["longest_edge"], pixels)
    size["shortest_edge"] = min(size["shortest_edge"], size["longest_edge"])
    images.size = type(images.size)(**size)


def load_model(directory: Path, attention: str = "sdpa", max_pixels: int | None = None, template: str | None = None):
    """(model in eval mode, processor), from disk only.

    max_pixels: images with more are shrunk to it (cap_pixels). template: a chat template in place of its own.
    """
    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor

    processor = AutoProcessor.from_pretrained(directory, local_files_only=True)
    if max_pixels:
        cap_pixels(processor, max_pixels)
    if template:
        processor.chat_template = template
    model, loading = AutoModelForImageTextToText.from_pretrained(
        directory,
        local_files_only=True,
        use_safetensors=True,
        attn_implementation=attention,
        dtype="auto",
        output_loading_info=True,
    )
    for problem in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if names := sorted(loading[problem]):
            raise InputError(f"{directory}: {problem.replace('_', ' ')}: {names[0]} ({len(names)} in all)")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return model.eval().to(device), processor
