"""Batches from a memory budget; out of memory halves the batch, and a sample that fails costs itself alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from .anatomy import Decoder
from .errors import InputError


@dataclass(frozen=True)
class Size:
    """What a prompt costs: tokens kept once (before), tokens computed by each of its rows (own), new tokens."""

    before: int
    own: int
    new: int
    rows: int


def memory(decoder: Decoder, sizes: list[Size]) -> int:
    """An estimate, in bytes, of KV cache and activations of a batch that is padded to its longest prompt.

    Weights and the vision tower are not counted. Rows are counted as if none shared a state.
    """
    config, size = decoder.config, decoder.model.dtype.itemsize
    before, own, new = (max(getattr(item, name) for item in sizes) for name in ("before", "own", "new"))
    rows = sum(item.rows for item in sizes)
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    kv = 2 * config.num_key_value_heads * width * size
    activations = (4 * config.hidden_size + 3 * config.intermediate_size) * size
    caches = config.num_hidden_layers * kv * (2 * before * len(sizes) + rows * (own + new))
    passing = activations * (2 * before * len(sizes) + rows * own) + rows * kv * (before + own)
    return caches + passing + rows * config.vocab_size * (size + 4)


def _out_of_memory(error: Exception) -> bool:
    return isinstance(error, torch.OutOfMemoryError) or "allocate memory" in str(error)


def in_batches(
    items: list,
    run: Callable[[list], list],
    cost: Callable[[list], int],
    memory_mb: int,
    what: str,
) -> Iterator[tuple[Any, Any, str | None]]:
    """(item, result, None) of every item, in order, or (item, None, why it failed). Prints how far it is.

    run(batch) -> a result an item; cost(batch) -> bytes; a batch is as many items as memory_mb holds, at least
    one. Where run is out of memory the batch is halved, and later ones are no larger; where it fails
    otherwise its items are tried one by one. Raises the last error where every item failed: then it is
    not the items.
    """
    start, done, failed, most = time.monotonic(), 0, 0, len(items)
    queue = list(items)
    while queue:
        batch = queue[:1]
        for item in queue[1:most]:
            if cost([*batch, item]) > memory_mb * 1_000_000:
                break
            batch.append(item)
        try:
            results = [(item, result, None) for item, result in zip(batch, run(batch), strict=True)]
        except (InputError, RuntimeError, ValueError) as error:  # torch's out of memory is a RuntimeError
            if len(batch) > 1:
                most = len(batch) // 2 if _out_of_memory(error) else 1
                print(f"{what}: a batch of {len(batch)} failed ({error}); going on with {most}", flush=True)
                if torch.cuda.is_available():
                    torch.cuda.empty_cache()
                continue
            failed += 1
            if failed == len(items):
                raise
            results = [(batch[0], None, str(error))]
        yield from results
        queue = queue[len(batch) :]
        done += len(batch)
        spent = time.monotonic() - start
        left = spent / done * len(queue)
        print(f"{what}: {done} of {len(items)}, {failed} failed, {spent:.0f} s, about {left:.0f} s left", flush=True)
