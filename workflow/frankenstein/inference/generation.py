"""Greedy generation for a batch of prompts."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from .prompts import Prompt, encode, tokenizer_of


@dataclass(frozen=True)
class Response:
    """Generated text, its token ids (without the end token; None from an endpoint), whether it was truncated, and the number of
    tokens where an endpoint tells it."""

    text: str
    tokens: list[int] | None
    truncated: bool
    told: int | None = None

    @property
    def length(self) -> int | None:
        return self.told if self.tokens is None else len(self.tokens)


def stop_tokens(generation_config) -> set[int]:
    """Ids of the tokens that end a response."""
    stops = generation_config.eos_token_id
    return set(stops if isinstance(stops, list) else [] if stops is None else [stops])


def text_of(processor, tokens: list[int]) -> str:
    """Decode generated tokens, without special tokens or surrounding whitespace."""
    return tokenizer_of(processor).decode(tokens, skip_special_tokens=True).strip()


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
    stops = stop_tokens(model.generation_config)
    responses = []
    for row in output[:, inputs["input_ids"].shape[1] :].tolist():
        end = next((i for i, token in enumerate(row) if token in stops), None)
        tokens = row if end is None else row[:end]
        responses.append(Response(text_of(processor, tokens), tokens, end is None))
    return responses
