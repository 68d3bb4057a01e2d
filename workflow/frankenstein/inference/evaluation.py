"""An evaluation job: the requests of one shard, and the file of a checkpoint's responses to them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..data import tasks
from ..data.metrics import SHUFFLED
from . import descriptions, prompts, responses
from .cache import ResponseCache
from .respond import respond


@dataclass(frozen=True)
class Asked:
    """requests: (example, condition); folder: where their images are; fingerprints: those of each task's examples."""

    requests: list[tuple[tasks.Example, str]]
    folder: Path
    fingerprints: dict[str, str]


def asked(files: dict[str, str], params, shard: int) -> Asked:
    """The requests of a shard.

    files: paths of the examples and descriptions by "examples.TASK" and "descriptions.TASK". params: conditions by task,
    described (tasks whose descriptions are in files), seed, shards; see the rule `generate`.
    """
    paths = {task: Path(files[f"examples.{task}"]) for task in params.conditions}
    folder = next(iter(paths.values())).parent
    examples = {task: tasks.read_examples(path) for task, path in paths.items()}
    fingerprints = {task: tasks.fingerprint(part) for task, part in examples.items()}
    conditions = params.conditions
    for task in [task for task in examples if task in params.described and "described" in conditions[task]]:
        examples[task] = descriptions.described(examples[task], Path(files[f"descriptions.{task}"]))
    # Before sharding: the other image may belong to another shard.
    for task in [task for task in examples if SHUFFLED in conditions[task]]:
        examples[task] = prompts.with_other_images(examples[task], folder, params.seed)
    requests = [
        (example, condition)
        for task, part in examples.items()
        for example in part[shard :: params.shards]
        for condition in conditions[task]
    ]
    return Asked(requests, folder, fingerprints)


def answer(out: Path, asked: Asked, engine: Callable, header: dict, params, store: Path) -> None:
    """Write a checkpoint's responses to `out`, from the cache `store` where they are already made.

    header: checkpoint, model (cache.model_digest) and prompt (templates.settle). params: system_prompt, batch, max_new_tokens,
    max_pixels; see the rule `generate`. Raises what respond.respond raises.
    """
    settings = {
        **header,
        "engine": engine.version,
        **{key: params.get(key) for key in ("system_prompt", "max_new_tokens", "max_pixels")},
        "prompts": prompts.code(),
    }
    cache = ResponseCache(Path(store), settings)
    records = respond(engine, asked.requests, asked.folder, params.system_prompt, params.batch, cache)
    responses.write(out, settings | {"examples": asked.fingerprints}, records)
