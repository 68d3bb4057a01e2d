"""Responses to all requests, cached as they arrive; failed requests are kept, with their error."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch

from ..core.progress import Progress
from ..data.tasks import Example, text_in
from .cache import ResponseCache
from .failures import FAILURES, FATAL
from .generation import Response
from .prompts import Prompt, build_prompt, image_files, sha256_of, shape

# (cache key, example, condition) of a request.
Asked = list[tuple[str, Example, str]]


def _key(store: ResponseCache, example: Example, condition: str, folder: Path, system: str, task: str | None) -> str:
    """Cache key of a request: everything its response depends on besides the store's settings."""
    images = [sha256_of(folder / file) for file in image_files(example, condition)]
    return store.key([task, condition, text_in(example, condition), system, images])


def respond(
    engine,
    requests: list[tuple[Example, str]],
    folder: Path,
    system: str,
    batch: int,
    store: ResponseCache,
) -> Iterator[dict]:
    """Yield one record per request (example, condition): id, task, condition, response, tokens, token_ids, truncated, error.

    Nothing leaves the denominator: a failed request is kept, with its error. Cached responses are not requested again, and new
    ones are cached as soon as they are there. An engine that takes batches gets those of a single task and condition, short
    prompts first, so other requests never change a batch; an interrupted batch is rerun whole, so its responses equal those of
    an uninterrupted run. An engine that streams gets all requests at once. See `engines`.

    Raises whatever the engine raises fatally, and the last error if all of several requests failed, since then the cause is not
    the requests.
    """
    streams = hasattr(engine, "stream")
    keys: list[str | ValueError] = []
    for example, condition in requests:
        try:
            # In a batch, rounding depends on the batch, and so on the task.
            keys.append(_key(store, example, condition, folder, system, None if streams else example.task))
        except ValueError as error:
            keys.append(error)
    asked = [(key, *request) for key, request in zip(keys, requests, strict=True) if isinstance(key, str)]
    answer = _streamed if streams else _in_batches
    failed: dict[str, dict] = {}
    for made in answer(engine, asked, folder, system, batch, store):
        store.add({key: record for key, record in made.items() if record["error"] is None})
        failed |= {key: record for key, record in made.items() if record["error"] is not None}
    if len(failed) > 1 and not any(key in store for key, *_ in asked):
        raise RuntimeError(f"all {len(failed)} requests failed; the last: {next(reversed(failed.values()))['error']}")
    for key, (example, condition) in zip(keys, requests, strict=True):
        if isinstance(key, ValueError):
            yield _record(example, condition, key)
        else:
            # Two examples may share one request.
            yield {**(store[key] if key in store else failed[key]), "id": example.id, "task": example.task}


def _streamed(engine, asked: Asked, folder: Path, system: str, batch: int, store: ResponseCache):
    """Yield {key: record} of each request that is not in the store, as it is finished."""
    todo = list({key: (key, example, condition) for key, example, condition in asked if key not in store}.values())
    progress = Progress(len(asked))
    if not todo:
        return
    engine.prepare([shape(example, condition, folder) for _, example, condition in todo], system)
    prompts = (build_prompt(example, condition, folder, system) for _, example, condition in todo)
    for done, (number, result) in enumerate(engine.stream(prompts), 1):
        key, example, condition = todo[number]
        yield {key: _record(example, condition, result)}
        progress(len(asked) - len(todo) + done)
        if done % 100 == 0 or done == len(todo):
            print(f"{done} of {len(todo)} requests", flush=True)


def _in_batches(engine, asked: Asked, folder: Path, system: str, batch: int, store: ResponseCache):
    """Yield {key: record} of each batch that is not whole in the store."""
    groups: dict[tuple[str, str], Asked] = {}
    for request in asked:
        _, example, condition = request
        groups.setdefault((example.task, condition), []).append(request)
    prepared, progress, seen = False, Progress(len(asked)), 0
    for (task, condition), group in groups.items():
        group.sort(key=lambda request: len(text_in(*request[1:])))
        for start in range(0, len(group), batch):
            part = group[start : start + batch]
            seen += len(part)
            if not all(key in store for key, *_ in part):
                if not prepared:
                    engine.prepare()
                prepared = True
                made = _ask(engine, [build_prompt(*request[1:], folder, system) for request in part])
                yield {key: _record(*of, result) for (key, *of), result in zip(part, made, strict=True)}
                print(f"{task}, {condition}: {start + len(part)} of {len(group)}", flush=True)
            progress(seen)


def _ask(engine, prompts: list[Prompt]) -> list[Response | Exception]:
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


def _record(example: Example, condition: str, result: Response | Exception) -> dict:
    record = {"id": example.id, "task": example.task, "condition": condition}
    if isinstance(result, Exception):
        error = f"{type(result).__name__}: {result}" if not isinstance(result, ValueError) else str(result)
        return {**record, "response": None, "tokens": 0, "token_ids": None, "truncated": False, "error": error}
    made = {"response": result.text, "tokens": result.length, "token_ids": result.tokens}
    return {**record, **made, "truncated": result.truncated, "error": None}
