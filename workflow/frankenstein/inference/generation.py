"""Greedy generation for a batch of prompts."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from .prompts import Prompt, encode


@dataclass(frozen=True)
class Response:
    """Generated text, its token ids (without the end token; empty for an endpoint), and whether it was truncated."""

    text: str
    tokens: list[int]
    truncated: bool


def stop_tokens(model) -> set[int]:
    """Ids of the tokens that end a response."""
    stops = model.generation_config.eos_token_id
    return set(stops if isinstance(stops, list) else [] if stops is None else [stops])


def text_of(processor, tokens: list[int]) -> str:
    """Decode generated tokens, without special tokens or surrounding whitespace."""
    return processor.tokenizer.decode(tokens, skip_special_tokens=True).strip()


@torch.inference_mode()
def generate(model, processor, prompts: list[Prompt], max_new_tokens: int) -> list[Response]:
    """Greedy responses for one batch, in order."""
    inputs = encode(processor, prompts, model.device)
    output = model.generate(
        **inputs,
        max_new_tokens=max_new_tokens,
        do_sample=False,
        # Override the checkpoint's generation config: Qwen2.5-VL, for one, ships a repetition penalty.
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
