"""Attention from reasoning tokens to vision tokens, layer by layer (paper, Section 2.3, Eq. 1)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch

from . import anatomy
from .generation import Prompt, encode, generate, in_condition
from .tasks import Example


def _first(tokenizer, tokens: list[int], holds) -> int:
    """The least k for which holds(text of the first k tokens); holds must stay true once it is."""
    low, high = 0, len(tokens)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(tokenizer.decode(tokens[:middle])) else (middle + 1, high)
    return low


def reasoning_span(tokenizer, tokens: list[int]) -> range:
    """Which of the generated tokens are reasoning: those between <think> and </think>.

    Without a closing tag all that follows <think>, without an opening one all tokens.
    """
    text = tokenizer.decode(tokens)
    start = end = None
    if "<think>" in text:
        start = _first(tokenizer, tokens, lambda part: "<think>" in part)
    if "</think>" in text:
        cut = text.index("</think>")
        end = _first(tokenizer, tokens, lambda part: len(part) > cut) - 1
    return range(start or 0, len(tokens) if end is None else end)


@torch.inference_mode()
def reasoning_to_vision(
    model, processor, examples: list[Example], folder: Path, system: str, batch: int, max_new_tokens: int
) -> Iterator[dict]:
    """One record an (example, layer): how much reasoning tokens attend to vision tokens.

    The model answers greedily; its own reasoning tokens R are the queries, the image's tokens V the keys.
    attention_mass: sum over V, mean over heads and R (0 to 1); attention_mean: Eq. 1 as it is
    written, the mass divided by |V|. NaN (and error) where a response holds no reasoning token.
    Needs a model loaded with attention="eager", which returns attention weights.
    """
    for start in range(0, len(examples), batch):
        part = examples[start : start + batch]
        prompts: list[Prompt] = [in_condition(example, "image", folder, system) for example in part]
        responses = generate(model, processor, prompts, max_new_tokens)
        spans = [reasoning_span(processor.tokenizer, response.tokens) for response in responses]

        inputs = encode(processor, prompts, model.device)
        width = inputs["input_ids"].shape[1]
        longest = max(len(response.tokens) for response in responses)
        # The responses stand to the right of the left-padded prompts, padded on their own right.
        tail = torch.full((len(part), longest), processor.tokenizer.pad_token_id, device=model.device)
        seen = torch.zeros_like(tail)
        queries = torch.zeros(len(part), width + longest, dtype=torch.bool, device=model.device)
        for row, (response, span) in enumerate(zip(responses, spans, strict=True)):
            tail[row, : len(response.tokens)] = torch.tensor(response.tokens, device=model.device)
            seen[row, : len(response.tokens)] = 1
            queries[row, width + span.start : width + span.stop] = True
        inputs["input_ids"] = torch.cat([inputs["input_ids"], tail], 1)
        inputs["attention_mask"] = torch.cat([inputs["attention_mask"], seen], 1)
        inputs["mm_token_type_ids"] = torch.cat([inputs["mm_token_type_ids"], torch.zeros_like(tail)], 1)
        keys = anatomy.vision_mask(model, inputs["input_ids"])
        attentions = model(**inputs, output_attentions=True).attentions

        for layer, weights in enumerate(attentions):  # [batch, heads, queries, keys]
            mass = torch.einsum("bhqk,bk->bhq", weights.float(), keys.float()).mean(1)
            for row, example in enumerate(part):
                count, vision = len(spans[row]), int(keys[row].sum())
                value = float(mass[row][queries[row]].mean()) if count else float("nan")
                yield {
                    "id": example.id,
                    "layer": layer,
                    "attention_mass": value,
                    "attention_mean": value / vision,
                    "reasoning_tokens": count,
                    "vision_tokens": vision,
                    "error": None if count else "no reasoning token in the response",
                }
