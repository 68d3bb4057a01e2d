"""Byte-exact merging of checkpoints into a hybrid: plan, write, record (paper, Section 3.3)."""

from __future__ import annotations

import sys
from concurrent.futures import Future
from pathlib import Path

from ..core.errors import InputError
from .atomic import whole_or_not
from .card import write_rest
from .links import link, linked
from .plan import Plan, plan
from .tensors import Shard, threads, write

SHARD_BYTES = 5_000_000_000  # as in the Hub's own tools


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
    """Write a hybrid: a Hugging Face checkpoint directory with a merge manifest (merge_manifest.json) and a model card.

    donors: name -> checkpoint directory; spec, cuts, rest_from, config_from: see plan. layout: "copy", or "link" to
    hard-link into stores (name -> directory made by `store`, on the same file system as `out`), writing only
    interpolated tensors and layers that mix donors. The directory appears complete or not at all. Raises InputError
    as plan does, and for an output directory that is not empty or insufficient disk space.
    """
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out}: not empty; a hybrid is written to a directory of its own")
    made = plan(donors, spec, cuts, rest_from, config_from)
    shards = linked(made, stores or {}) if layout == "link" else _by_size(made)
    written = [name for shard in shards if not shard.link for name in shard.names]
    for warning in made.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    with whole_or_not(out, made.nbytes(written)) as part:
        hashes: dict[str, str] = {}
        with threads() as pool:
            ahead: dict[str, Future[str]] = {}
            for shard in shards:
                if shard.link:
                    link(shard, part)
                    hashes |= shard.hashes
                else:
                    ahead |= write(made, shard.names, part / shard.file, pool)
            hashes |= {name: digest.result() for name, digest in ahead.items()}
        write_rest(made, part, shards, hashes, layout, command)
    return made


def _by_size(made: Plan) -> list[Shard]:
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
        return [Shard("model.safetensors", shards[0])]
    return [Shard(f"model-{n:05}-of-{len(shards):05}.safetensors", names) for n, names in enumerate(shards, 1)]
