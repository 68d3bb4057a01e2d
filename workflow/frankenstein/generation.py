"""Greedy generation for a batch of questions, in one of the paper's conditions (Section 2.2)."""

from __future__ import annotations

import hashlib
import itertools
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from PIL import Image

from .batches import FAILURES, FATAL
from .metrics import SHUFFLED
from .responses import Store
from .tasks import Example, open_image, text_in

# What the model is given: f(i,p), f(b,p), f(b,d,p) and f(p) of the paper, and p with another example's image.
CONDITIONS = ("image", "black", "described", "text", SHUFFLED)
# Pixels that an image has a side at least: a patch of Qwen2.5-VL (paper, Appendix C).
SMALLEST = 28


@dataclass(frozen=True)
class Prompt:
    """What goes into the model: an image or none, the user's text, the system prompt (empty: none)."""

    text: str
    image: Image.Image | None = None
    system: str = ""


@dataclass(frozen=True)
class Response:
    """Generated text, its token ids (without the end token; an endpoint gives none), and whether it ran out of new tokens."""

    text: str
    tokens: list[int]
    truncated: bool


def with_other_images(examples: list[Example], folder: Path, seed: int) -> list[Example]:
    """Examples of a task with the path of another one's image in meta["other_image"], for the condition "shuffled".

    The seed fixes which. No example gets an image of the same bytes as its own. Each image is given out once, but where more
    than half of them are the same: then some of the others go out again. An example without image, or of a task that has
    only one image, gets none.
    """
    alike: dict[str, list[Example]] = {}
    for example in examples:
        if example.image is not None:
            alike.setdefault(_sha256(folder / example.image), []).append(example)
    if len(alike) < 2:
        return examples
    rng = random.Random(f"{seed}-{SHUFFLED}")
    groups = list(alike.values())
    rng.shuffle(groups)
    for group in groups:
        rng.shuffle(group)
    # Equal images stand together: so many places on as there are of the most frequent one, an image is another one.
    ordered, step = [example for group in groups for example in group], max(map(len, groups))
    moved = [*ordered[step:], *ordered[:step]]
    frequent = {example.id for example in max(groups, key=len)}
    spare = itertools.cycle([example for example in ordered if example.id not in frequent])
    others = {
        example.id: (next(spare) if {example.id, other.id} <= frequent else other).image
        for example, other in zip(ordered, moved, strict=True)
    }
    return [
        replace(example, meta=example.meta | {"other_image": others[example.id]}) if example.id in others else example
        for example in examples
    ]


def _files(example: Example, condition: str) -> list[str]:
    """The images that a request depends on: its own, and another one. ValueError where there is no other."""
    if condition == "text":
        return []
    if condition != SHUFFLED:
        return [example.image]
    if "other_image" not in example.meta:
        raise ValueError(f"{example.id}: no other image in the task")
    return [example.image, example.meta["other_image"]]


def in_condition(example: Example, condition: str, folder: Path, system: str) -> Prompt:
    """The prompt of an example in a condition. `folder` holds its image; black, or another image, has the size of its own.

    Raises ValueError where the example lacks what the condition needs.
    """
    text, files = text_in(example, condition), _files(example, condition)
    if condition == "text":
        return Prompt(text, None, system)
    image = open_image(folder / example.image)
    if min(image.size) < SMALLEST:
        scale = SMALLEST / min(image.size)
        image = image.resize([max(SMALLEST, round(side * scale)) for side in image.size], Image.Resampling.BICUBIC)
    if condition == SHUFFLED:
        image = open_image(folder / files[1]).resize(image.size, Image.Resampling.BICUBIC)
    elif condition != "image":
        image = Image.new("RGB", image.size)
    return Prompt(text, image, system)


def render(processor, prompt: Prompt) -> str:
    """The prompt as the chat template writes it, up to where the assistant speaks."""
    content = [{"type": "image"}] if prompt.image is not None else []
    messages = [{"role": "user", "content": [*content, {"type": "text", "text": prompt.text}]}]
    if prompt.system:
        messages.insert(0, {"role": "system", "content": [{"type": "text", "text": prompt.system}]})
    return processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)


def encode(processor, prompts: list[Prompt], device="cpu"):
    """Model inputs of a batch, left-padded: input_ids, attention_mask [batch, tokens], pixel_values, ..."""
    processor.tokenizer.padding_side = "left"
    images = [prompt.image for prompt in prompts if prompt.image is not None]
    return processor(
        text=[render(processor, prompt) for prompt in prompts],
        images=images or None,
        padding=True,
        return_tensors="pt",
    ).to(device)


def stop_tokens(model) -> set[int]:
    """The tokens that end a response."""
    stops = model.generation_config.eos_token_id
    return set(stops if isinstance(stops, list) else [] if stops is None else [stops])


def text_of(processor, tokens: list[int]) -> str:
    """Generated tokens as text, without special tokens and outer blanks."""
    return processor.tokenizer.decode(tokens, skip_special_tokens=True).strip()


@torch.inference_mode()
def generate(model, processor, prompts: list[Prompt], max_new_tokens: int) -> list[Response]:
    """Greedy responses of one batch, in order."""
    inputs = encode(processor, prompts, model.device)
    output = model.generate(
        **inputs,
        max_new_tokens=max_new_tokens,
        do_sample=False,
        # A checkpoint's own settings have no say in greedy decoding. Qwen2.5-VL ships a repetition penalty.
        repetition_penalty=1.0,
        temperature=None,
        top_p=None,
        top_k=None,
    )
    stops = stop_tokens(model)
    responses = []
    for row in output[:, inputs["input_ids"].shape[1] :].tolist():
        end = next((i for i, token in enumerate(row) if token in stops), None)
        tokens = row if end is None else row[:end]
        responses.append(Response(text_of(processor, tokens), tokens, end is None))
    return responses


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _key(store: Store, example: Example, condition: str, folder: Path, system: str) -> str:
    """What the response to a request depends on, beside the store's settings."""
    images = [_sha256(folder / file) for file in _files(example, condition)]
    # The task too: batches are a task's own, and rounding depends on the batch.
    return store.key([example.task, condition, text_in(example, condition), system, images])


def _ask(ask: Callable, prompts: list[Prompt]) -> list[Response | Exception]:
    """A response or an error a prompt: a batch that fails is halved until what fails stands alone."""
    try:
        return ask(prompts)
    except FATAL:
        raise
    except FAILURES as error:
        if len(prompts) == 1:
            return [error]
        print(f"a batch of {len(prompts)} failed, asked again in halves: {error}", flush=True)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    half = len(prompts) // 2
    return [*_ask(ask, prompts[:half]), *_ask(ask, prompts[half:])]


def respond(
    ask: Callable[[list[Prompt]], list[Response | Exception]],
    requests: list[tuple[Example, str]],
    folder: Path,
    system: str,
    batch: int,
    store: Store,
) -> Iterator[dict]:
    """One record a request (example, condition): id, task, condition, response, tokens, truncated, error.

    Nothing leaves the denominator: a request that fails stays in, with its error. What the store has is not asked
    again; what is made goes there at once. A batch holds one task in one condition, short prompts first, so what
    else is asked changes no batch, and a batch that was broken off is asked whole: its responses are those of an
    unbroken run. ask: an engine (engines); its `prepare` is called once, before the first batch. Raises what that raises,
    and at the end the last error where all of several requests failed: then it is not the requests.
    """
    groups: dict[tuple[str, str], list[Example]] = {}
    for example, condition in requests:
        groups.setdefault((example.task, condition), []).append(example)
    answered, failures, prepared = 0, [], False
    for (task, condition), examples in groups.items():
        ready = []
        for example in examples:
            try:
                _files(example, condition)
                ready.append((len(text_in(example, condition)), example))
            except ValueError as error:
                yield _record(example, condition, error)
        ready.sort(key=lambda item: item[0])
        for start in range(0, len(ready), batch):
            part = [example for _, example in ready[start : start + batch]]
            keys = [_key(store, example, condition, folder, system) for example in part]
            if not all(key in store for key in keys):
                if not prepared and hasattr(ask, "prepare"):
                    ask.prepare()
                prepared = True
                prompts = [in_condition(example, condition, folder, system) for example in part]
                made = _ask(ask, prompts)
                failures += [result for result in made if isinstance(result, Exception)]
                done = {
                    key: _record(*item) for key, *item in zip(keys, part, [condition] * len(part), made, strict=True)
                }
                store.add({key: record for key, record in done.items() if record["error"] is None})
                print(f"{task}, {condition}: {start + len(part)} of {len(ready)}", flush=True)
            for key, example in zip(keys, part, strict=True):
                # Two examples may be one request.
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
