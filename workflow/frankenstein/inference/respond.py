"""Responses to all requests, cached as they arrive; failed requests are kept, with their error."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from ..core.progress import Progress
from ..data.tasks import Example, text_in
from .cache import ResponseCache
from .failures import FAILURES, FATAL
from .generation import Response
from .prompts import Prompt, build_prompt, image_files, sha256_of


def _key(store: ResponseCache, example: Example, condition: str, folder: Path, system: str) -> str:
    """Cache key of a request: everything its response depends on besides the store's settings."""
    images = [sha256_of(folder / file) for file in image_files(example, condition)]
    # Includes the task: batches are formed per task, and rounding depends on the batch.
    return store.key([example.task, condition, text_in(example, condition), system, images])


def _ask(engine: Callable, prompts: list[Prompt]) -> list[Response | Exception]:
    """One response or error per prompt: a failing batch is halved until the failing prompt is isolated."""
    try:
        return engine(prompts)
    except FATAL:
        raise
    except FAILURES as error:
        if len(prompts) == 1:
            return [error]
        print(f"a batch of {len(prompts)} failed, asked again in halves: {error}", flush=True)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    half = len(prompts) // 2
    return [*_ask(engine, prompts[:half]), *_ask(engine, prompts[half:])]


def respond(
    engine: Callable[[list[Prompt]], list[Response | Exception]],
    requests: list[tuple[Example, str]],
    folder: Path,
    system: str,
    batch: int,
    store: ResponseCache,
) -> Iterator[dict]:
    """Yield one record per request (example, condition): id, task, condition, response, tokens, truncated, error.

    Nothing leaves the denominator: a failed request is kept, with its error. Cached responses are not requested
    again, and new ones are cached immediately. Each batch holds a single task and condition, short prompts first, so
    other requests never change a batch; an interrupted batch is rerun whole, so its responses equal those of an
    uninterrupted run. engine: see engines; its `prepare` is called once, before the first batch that has to be run.
    Raises whatever the engine raises fatally, and at the end the last error if all of several requests failed, since
    then the cause is not the requests.
    """
    groups: dict[tuple[str, str], list[Example]] = {}
    for example, condition in requests:
        groups.setdefault((example.task, condition), []).append(example)
    answered, failures, prepared = 0, [], False
    progress, seen = Progress(len(requests)), 0
    for (task, condition), examples in groups.items():
        ready = []
        for example in examples:
            try:
                image_files(example, condition)
                ready.append((len(text_in(example, condition)), example))
            except ValueError as error:
                yield _record(example, condition, error)
        ready.sort(key=lambda item: item[0])
        for start in range(0, len(ready), batch):
            part = [example for _, example in ready[start : start + batch]]
            keys = [_key(store, example, condition, folder, system) for example in part]
            if not all(key in store for key in keys):
                if not prepared and hasattr(engine, "prepare"):
                    engine.prepare()
                prepared = True
                prompts = [build_prompt(example, condition, folder, system) for example in part]
                made = _ask(engine, prompts)
                failures += [result for result in made if isinstance(result, Exception)]
                done = {
                    key: _record(*item) for key, *item in zip(keys, part, [condition] * len(part), made, strict=True)
                }
                store.add({key: record for key, record in done.items() if record["error"] is None})
                print(f"{task}, {condition}: {start + len(part)} of {len(ready)}", flush=True)
            seen += len(part)
            progress(seen)
            for key, example in zip(keys, part, strict=True):
                # Two examples may share one request.
                found = store[key] if key in store else done[key]
                answered += found["error"] is None
                yield {**found, "id": example.id, "task": task}
    if len(failures) > 1 and not answered:
        raise failures[-1]


def _record(example: Example, condition: str, result: Response | Exception) -> dict:
    record = {"id": example.id, "task": example.task, "condition": condition}
    if isinstance(result, Exception):
        error = f"{type(result).__name__}: {result}" if not isinstance(result, ValueError) else str(result)
        return {**record, "response": None, "tokens": 0, "truncated": False, "error": error}
    made = {"response": result.text, "tokens": len(result.tokens), "truncated": result.truncated}
    return {**record, **made, "error": None}
