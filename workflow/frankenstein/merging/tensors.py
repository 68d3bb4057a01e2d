"""Byte-level tensor I/O for a hybrid's files, hashing each tensor while it is written."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np

from ..core.errors import InputError
from ..models.weights import Weights, as_stored
from .plan import Content

_CHUNK = 1 << 20  # fits in a core's private cache


@dataclasses.dataclass(frozen=True)
class Shard:
    """One file of a hybrid: its canonical tensor names, the file to hard-link (None: to be written), hashes if known."""

    file: str
    names: list[str]
    link: Path | None = None
    hashes: dict[str, str] | None = None


@contextlib.contextmanager
def threads() -> Iterator[ThreadPoolExecutor]:
    """A thread pool, one thread per core (at most 8); after an error, pending work is cancelled."""
    pool = ThreadPoolExecutor(min(8, os.cpu_count() or 1))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def write(made: Content, names: list[str], path: Path, pool: ThreadPoolExecutor) -> dict[str, Future[str]]:
    """Start writing these tensors to a safetensors file in the pool; returns a future sha256 for each tensor's bytes.

    Each chunk is hashed and written while still in the CPU cache, which beats an in-kernel copy plus a separate hash.
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
            for piece in pieces(made, name):
                digest.update(piece)
                rest = memoryview(piece)
                while rest:
                    count = os.pwrite(file.fileno(), rest, at)
                    rest, at = rest[count:], at + count
        return digest.hexdigest()

    # Largest first, so that no thread is left with a large tensor at the end.
    return {name: pool.submit(write, name) for name in sorted(names, key=lambda name: -made.nbytes([name]))}


def _between(made: Content, name: str) -> Iterator[bytes]:
    """donor + alpha (towards - donor), computed in float64 and rounded to the stored dtype, in chunks."""
    choice = made.choices[name]
    donor, towards = (made.parents[label] for label in (choice.donor, choice.towards))
    shape = donor.shape(name) or (1,)
    rows = max(1, _CHUNK // 8 // max(1, int(np.prod(shape[1:]))))
    for at in range(0, shape[0], rows):
        start, end = (weights.strip(name, 0, at, at + rows).astype(np.float64) for weights in (donor, towards))
        yield as_stored(start + choice.alpha * (end - start), donor.dtype(name)).tobytes()


def pieces(made: Content, name: str) -> Iterator[bytes | memoryview]:
    """A tensor's bytes as they should appear in the hybrid."""
    if made.choices[name].towards:
        yield from _between(made, name)
    else:
        yield from pieces_of(made.parents[made.choices[name].donor], name)


def pieces_of(weights: Weights, name: str) -> Iterator[memoryview]:
    """A tensor's bytes as stored; each chunk is overwritten by the next."""
    stored, buffer = weights.stored[name], memoryview(bytearray(_CHUNK))
    with open(weights.path(name), "rb", buffering=0) as file:
        at = stored.start
        while at < stored.stop:
            count = os.preadv(file.fileno(), [buffer[: min(_CHUNK, stored.stop - at)]], at)
            if not count:
                raise InputError(f"{weights.path(name)}: ends within {name!r}; download or save it again")
            yield buffer[:count]
            at += count


def digest(pieces: Iterable[bytes | memoryview]) -> str:
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()
