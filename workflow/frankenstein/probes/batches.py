"""Batches sized to a memory budget: running out of memory halves the batch, and a failing sample affects no other."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch

from ..core.progress import Progress
from ..inference.failures import FAILURES, FATAL
from .decoder import Decoder


@dataclass(frozen=True)
class Size:
    """Cost of a prompt: tokens cached once (before), tokens computed by each row (own), new tokens, number of rows."""

    before: int
    own: int
    new: int
    rows: int


def memory(decoder: Decoder, sizes: list[Size]) -> int:
    """Estimated bytes of KV cache and activations for a batch padded to its longest prompt.

    Excludes weights and the vision tower. Rows are counted as if none shared a state.
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
    prepare: Callable[[Any], tuple[Any, list[Size]]],
    run: Callable[[list], list],
    decoder: Decoder,
    memory_mb: int,
    what: str,
) -> Iterator[tuple[Any, Any, str | None]]:
    """Yield (item, result, None) for every item, or (item, None, reason) if it failed; prints its progress.

    Items of similar size are batched together, so results are not in input order. prepare(item) -> (prepared item,
    its Size on each path that run may take); run(prepared items) -> one result per item. A batch holds as many items
    as fit in memory_mb, but at least one. If run is out of memory, the batch is halved and later ones are no larger;
    after any other failure, the items of that batch run one by one. Raises the last error if all of several items
    failed, since then the cause is not the items.
    """
    start, done, failed, most, alone = time.monotonic(), 0, 0, len(items), 0
    progress = Progress(len(items))

    def fail(error: Exception) -> str:
        nonlocal failed, done
        failed, done = failed + 1, done + 1
        if failed == len(items) > 1 or isinstance(error, FATAL):
            raise error
        print(f"{what}: {done} of {len(items)}: failed: {error}", flush=True)
        return str(error)

    queue = []
    for item in items:
        try:
            queue.append((item, *prepare(item)))
        except FAILURES as error:
            yield item, None, fail(error)
    queue.sort(key=lambda ready: [(size.own, size.before) for size in ready[2]])
    while queue:
        batch = queue[:1]
        for ready in queue[1 : 1 if alone else most]:
            ways = zip(*(sizes for *_, sizes in [*batch, ready]), strict=True)
            if max(memory(decoder, list(sizes)) for sizes in ways) > memory_mb * 1_000_000:
                break
            batch.append(ready)
        results = None
        try:
            results = run([prepared for _, prepared, _ in batch])
        except FAILURES as error:
            if len(batch) == 1:
                queue, alone, why = queue[1:], max(alone - 1, 0), fail(error)
            else:
                why = f"{what}: a batch of {len(batch)} failed ({error}); smaller ones from here"
                if _out_of_memory(error):
                    most = len(batch) // 2
                else:
                    alone = len(batch)
        if results is None:
            # Not before the error is gone, whose frames hold the tensors of the batch.
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            if len(batch) == 1:
                yield batch[0][0], None, why
            else:
                print(why, flush=True)
            continue
        yield from ((item, result, None) for (item, *_), result in zip(batch, results, strict=True))
        queue, done, alone = queue[len(batch) :], done + len(batch), max(alone - len(batch), 0)
        spent = time.monotonic() - start
        left = spent / done * len(queue)
        progress(done)
        print(f"{what}: {done} of {len(items)}, {failed} failed, {spent:.0f} s, about {left:.0f} s left", flush=True)
