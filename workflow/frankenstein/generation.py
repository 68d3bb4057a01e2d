"""Greedy generation for a batch of questions, in one of the paper's conditions (Section 2.2)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image

from .tasks import Example, open_image, with_description

# What the model is given: f(i,p), f(b,p), f(b,d,p) and f(p) of the paper.
CONDITIONS = ("image", "black", "described", "text")


@dataclass(frozen=True)
class Prompt:
    """What goes into the model: an image or none, the user's text, the system prompt (empty: none)."""

    text: str
    image: Image.Image | None = None
    system: str = ""


@dataclass(frozen=True)
class Response:
    """Generated text, its token ids (without the end token), and whether it ran out of new tokens."""

    text: str
    tokens: list[int]
    truncated: bool


def in_condition(example: Example, condition: str, folder: Path, system: str) -> Prompt:
    """The prompt of an example in a condition. `folder` holds its image; black has the image's size.

    Raises ValueError where the example lacks what the condition needs.
    """
    if condition == "text":
        return Prompt(example.prompt, None, system)
    if example.image is None:
        raise ValueError(f"{example.id}: no image for the condition {condition!r}")
    image = open_image(folder / example.image)
    if condition == "image":
        return Prompt(example.prompt, image, system)
    black = Image.new("RGB", image.size)
    if condition == "black":
        return Prompt(example.prompt, black, system)
    if example.description is None:
        raise ValueError(f"{example.id}: no description")
    return Prompt(with_description(example.description, example.prompt), black, system)


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


def respond(
    model, processor, requests: list[tuple[Example, str]], folder: Path, system: str, batch: int, max_new_tokens: int
) -> Iterator[dict]:
    """One record a request (example, condition), images first, short prompts first.

    Records hold id, task, condition, response, tokens, truncated, error. A request that fails stays
    in, with its error: nothing leaves the denominator.
    """
    ready = []
    for example, condition in requests:
        record = {"id": example.id, "task": example.task, "condition": condition}
        try:
            ready.append((record, in_condition(example, condition, folder, system)))
        except ValueError as error:
            yield {**record, "response": None, "tokens": 0, "truncated": False, "error": str(error)}
    # Alike prompts share a batch, so that little of it is padding.
    ready.sort(key=lambda item: (item[1].image is None, len(item[1].text)))
    for start in range(0, len(ready), batch):
        part = ready[start : start + batch]
        for (record, _), response in zip(
            part, generate(model, processor, [prompt for _, prompt in part], max_new_tokens), strict=True
        ):
            yield {
                **record,
                "response": response.text,
                "tokens": len(response.tokens),
                "truncated": response.truncated,
                "error": None,
            }
