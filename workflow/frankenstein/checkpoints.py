"""A checkpoint directory: safetensors read tensor by tensor, and a manifest written last.

safetensors only: no pickle, no remote code.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from . import anatomy
from .errors import InputError

MANIFEST = "manifest.json"
# What weights may be stored in, as safetensors writes it.
DTYPES = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


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
        self.files: dict[str, str] = {}
        self.stored_names: dict[str, str] = {}
        self._headers: dict[str, tuple[tuple[int, ...], str]] = {}
        self._headers_of: dict[Path, tuple[int, dict]] = {}
        for file in files:
            opened = self._open(file)
            for stored in opened.keys():  # noqa: SIM118 (not a dict)
                name = anatomy.canonical(stored)
                if name in self.files:
                    raise InputError(f"{directory}: tensor {stored!r} stands in {self.files[name]} and in {file}")
                self.files[name], self.stored_names[name] = file, stored
                header = opened.get_slice(stored)
                self._headers[name] = tuple(header.get_shape()), header.get_dtype()
        if missing := sorted(set(promised) - set(self.stored_names.values())):
            raise InputError(f"{index}: {missing[0]!r} is not in {promised[missing[0]]}; fetch or save it again")

    def _open(self, file: str):
        path = self.directory / file
        try:
            return safe_open(path, framework="pt")
        except FileNotFoundError:
            raise InputError(f"{path}: missing shard: the checkpoint is half-written, fetch or save it again") from None
        except SafetensorError as error:
            raise InputError(f"{path}: half-written or damaged ({error}); fetch or save it again") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self.files)

    def __getitem__(self, name: str) -> torch.Tensor:
        """The tensor in its stored dtype."""
        return self._open(self.files[name]).get_tensor(self.stored_names[name])

    def strip(self, name: str, axis: int, start: int, stop: int) -> torch.Tensor:
        """Rows (axis 0) or columns (axis 1) of a matrix, in its stored dtype; what has more axes is flattened to two.

        Read, not mapped: the pages of a mapped file would count as this process's memory.
        """
        shape, dtype = self.shape(name), DTYPES[self.dtype(name)]
        rows, columns = shape[0], math.prod(shape[1:])
        size, (file, offset) = dtype.itemsize, self._place(name)
        stop = min(stop, columns if axis else rows)
        if axis == 0:
            pieces = [(start * columns, (stop - start) * columns)]
            shape = stop - start, columns
        else:
            pieces = [(row * columns + start, stop - start) for row in range(rows)]
            shape = rows, stop - start
        buffer = bytearray(math.prod(shape) * size)
        view, filled = memoryview(buffer), 0
        with open(file, "rb", buffering=0) as opened:
            for first, count in pieces:
                while count:  # a read may return less than it was asked for
                    got = os.preadv(opened.fileno(), [view[filled : filled + count * size]], offset + first * size)
                    if got % size or not got:
                        raise InputError(f"{file}: ends within {name!r}; fetch or save it again")
                    filled, first, count = filled + got, first + got // size, count - got // size
        return torch.frombuffer(buffer, dtype=dtype).reshape(shape)

    def _place(self, name: str) -> tuple[Path, int]:
        """The file of a tensor, and the byte at which it begins there."""
        path = self.directory / self.files[name]
        if path not in self._headers_of:
            with open(path, "rb") as file:
                length = int.from_bytes(file.read(8), "little")
                self._headers_of[path] = 8 + length, json.loads(file.read(length))
        start, header = self._headers_of[path]
        return path, start + header[self.stored_names[name]]["data_offsets"][0]

    def shape(self, name: str) -> tuple[int, ...]:
        return self._headers[name][0]

    def dtype(self, name: str) -> str:
        """As safetensors writes it: F32, BF16, ..."""
        return self._headers[name][1]


def check_same_shapes(weights: dict[str, Weights]) -> None:
    """Raise InputError naming the first tensor that two checkpoints do not share in name and shape."""
    (first, reference), *others = weights.items()
    for label, other in others:
        if missing := sorted(set(reference) ^ set(other)):
            holder = first if missing[0] in reference.files else label
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
        if not torch.isfinite(weights[name]).all():
            raise InputError(
                f"{directory / weights.files[name]}: {name!r} holds NaN or infinity; train or fetch it again"
            )
    files = sorted(path for path in directory.iterdir() if path.is_file() and path.name != MANIFEST)
    record = {
        "directory": "." if manifest.parent == directory else str(directory.resolve()),
        "source": source,
        "layers": layers,
        "tensors": len(weights.files),
        "parameters": sum(torch.Size(weights.shape(name)).numel() for name in weights),
        "files": {path.name: {"size": path.stat().st_size, "sha256": sha256(path)} for path in files},
    }
    manifest.write_text(json.dumps(record, indent=1))


def directory_of(manifest: Path) -> Path:
    """The checkpoint directory that a manifest speaks of; InputError where a file is gone or of another size."""
    manifest = Path(manifest)
    record = json.loads(manifest.read_text())
    directory = manifest.parent / record["directory"]
    for name, file in record["files"].items():
        path = directory / name
        if not path.exists() or path.stat().st_size != file["size"]:
            raise InputError(f"{path}: gone or changed since {manifest} was written; delete the manifest and run again")
    return directory


def load_model(directory: Path, attention: str = "sdpa"):
    """(model in eval mode, processor), from disk only."""
    from transformers import AutoModelForImageTextToText, AutoProcessor

    processor = AutoProcessor.from_pretrained(directory, local_files_only=True)
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
