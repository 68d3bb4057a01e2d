"""Reading a checkpoint's tensors one at a time from safetensors: no pickle, no remote code."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open

from ..core.errors import InputError
from . import architecture

# torch is imported only where a torch tensor or model is needed: it costs 500 MB and 4 seconds.

# Supported storage dtypes by safetensors name; numpy lacks bfloat16, which is the upper half of a float32.
DTYPES = {"F64": np.dtype("<f8"), "F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "BF16": np.dtype("<u2")}


@dataclass(frozen=True)
class Stored:
    """Location of a tensor's bytes: file and byte range [start, stop); name and dtype as in safetensors; shape."""

    name: str
    file: str
    start: int
    stop: int
    dtype: str
    shape: tuple[int, ...]


class Weights:
    """The tensors of a checkpoint directory by canonical name (architecture.canonical_parts), read one at a time.

    Raises InputError if the directory is missing, contains no safetensors, is incomplete, or is of a model that transformers does not
    have.
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
                raise InputError(f"{index}: incomplete or damaged ({error}); download or save it again") from None
            files = sorted(set(promised.values()))
        else:
            files = sorted(path.name for path in self.directory.glob("*.safetensors"))
        if not files:
            raise InputError(f"{directory}: no .safetensors file (pickled weights are not read)")
        self.stored: dict[str, Stored] = {}
        headers = [stored for file in files for stored in self._read_header(file)]
        known = architecture.canonical_parts(self.directory, [stored.name for stored in headers])
        self.parts: dict[str, architecture.Part | None] = {}
        for stored in headers:
            name, part = known[stored.name]
            if name in self.stored:
                raise InputError(
                    f"{directory}: tensor {stored.name!r} is in both {self.stored[name].file} and {stored.file}"
                )
            self.stored[name], self.parts[name] = stored, part
        if missing := sorted(set(promised) - {stored.name for stored in self.stored.values()}):
            raise InputError(f"{index}: {missing[0]!r} is not in {promised[missing[0]]}; download or save it again")

    def _open(self, file: str, framework: str):
        path = self.directory / file
        try:
            return safe_open(path, framework=framework)
        except FileNotFoundError:
            raise InputError(
                f"{path}: missing shard: the checkpoint is incomplete; download or save it again"
            ) from None
        except SafetensorError as error:
            raise InputError(f"{path}: incomplete or damaged ({error}); download or save it again") from None

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

    def part(self, name: str) -> architecture.Part:
        """The part of the model that a tensor belongs to. Raises InputError if the model has no such tensor."""
        if self.parts[name] is None:
            kind = architecture.read_config(self.directory)["model_type"]
            raise InputError(
                f"{self.path(name)}: {self.stored[name].name!r} is no tensor of a {kind} model; is config.json its own?"
            )
        return self.parts[name]

    def path(self, name: str) -> Path:
        """The file that contains a tensor."""
        return self.directory / self.stored[name].file

    def shape(self, name: str) -> tuple[int, ...]:
        return self.stored[name].shape

    def dtype(self, name: str) -> str:
        """Storage dtype in safetensors notation: F32, BF16, ..."""
        return self.stored[name].dtype

    def strip(self, name: str, axis: int, start: int, stop: int, index: int | None = None) -> np.ndarray:
        """Rows (axis 0) or columns (axis 1) of a matrix; tensors with more axes are flattened to two.

        index: of one matrix in a tensor of stacked matrices [n, rows, columns].

        Returns float32, or float64 if stored as float64: no value is rounded. Reads rather than memory-maps, since
        mapped pages would count towards this process's memory.
        """
        dtype, at, file = DTYPES[self.dtype(name)], self.stored[name].start, self.path(name)
        shape = self.shape(name) or (1,)
        if index is not None:
            shape = shape[1:]
            at += index * math.prod(shape) * dtype.itemsize
        rows, columns = shape[0], math.prod(shape[1:])
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
                while count:  # a read may return fewer bytes than requested
                    got = os.preadv(opened.fileno(), [view[filled : filled + count]], at)
                    if not got:
                        raise InputError(f"{file}: ends within {name!r}; download or save it again")
                    filled, at, count = filled + got, at + got, count - got
        return from_stored(np.frombuffer(buffer, dtype=dtype).reshape(shape), self.dtype(name))

    def finite(self, name: str) -> bool:
        """Whether a tensor contains neither NaN nor infinity."""
        shape = self.shape(name) or (1,)
        rows = max(1, (1 << 22) // max(1, math.prod(shape[1:])))
        return all(np.isfinite(self.strip(name, 0, at, at + rows)).all() for at in range(0, shape[0], rows))


def as_stored(values: np.ndarray, dtype: str) -> np.ndarray:
    """Round values to a storage dtype (DTYPES), to nearest, ties to even; to bfloat16 via float32, as torch does."""
    if dtype != "BF16":
        return values.astype(DTYPES[dtype])
    bits = values.astype(np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(DTYPES["BF16"])


def from_stored(stored: np.ndarray, dtype: str) -> np.ndarray:
    """Stored values as float32, or float64 if stored as float64; no value is rounded."""
    if dtype == "BF16":
        return np.left_shift(stored, 16, dtype=np.uint32).view(np.float32)
    return stored.astype(np.float32) if dtype == "F16" else stored


def drop_tied_heads(weights: dict[str, Weights]) -> list[str]:
    """If all checkpoints tie head and embeddings, drop redundantly stored heads; returns their stored names."""
    if not all(architecture.ties_embeddings(checkpoint.directory) for checkpoint in weights.values()):
        return []
    dropped = set()
    for checkpoint in weights.values():
        for name in [name for name in checkpoint if (part := checkpoint.parts[name]) and part.component == "head"]:
            dropped.add(checkpoint.stored.pop(name).name)
    return sorted(dropped)


def check_same_shapes(weights: dict[str, Weights]) -> None:
    """Raise InputError naming the first tensor whose presence or shape differs between two checkpoints."""
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
