"""Attention from reasoning tokens to vision tokens, layer by layer (paper, Section 2.3, Eq. 1)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from ..data.tasks import Example
from ..inference.generation import generate
from ..inference.prompts import Prompt, build_prompt, encode
from .batches import Size, in_batches
from .decoder import Decoder, vision_mask


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


_CHUNK_BYTES = 64 << 20
_measure = None  # what is done with the queries and keys of the layer that is being run


def _measured(module, query, key, value, attention_mask, scaling=None, **kwargs):
    _measure(query, key, scaling)
    inner = ALL_ATTENTION_FUNCTIONS["sdpa"]
    return inner(module, query, key, value, attention_mask, scaling=scaling, **kwargs)


AttentionInterface.register("frankenstein_measured", _measured)
AttentionMaskInterface.register("frankenstein_measured", ALL_MASK_ATTENTION_FUNCTIONS["sdpa"])


def mass_on(query, key, asked, keys, seen, scaling: float, chunk_bytes: int = _CHUNK_BYTES) -> torch.Tensor:
    """Softmax attention of some tokens summed over some others, of one example: [heads, asked tokens], float32.

    query [heads, tokens, d], key [kv heads, tokens, d] with rotary positions applied; asked int [n]: which tokens
    are queries; keys, seen bool [tokens]: whose attention is summed, and which are no padding. Causal. A
    chunk of queries at a time: scores and weights take chunk_bytes at most, or those of one query.
    """
    heads, tokens, d = query.shape
    kv_heads = key.shape[0]
    size = max(1, chunk_bytes // (2 * 4 * heads * tokens))
    place = torch.arange(tokens, device=query.device)
    parts = []
    for some in asked.split(size):
        folded = query[:, some].reshape(kv_heads, -1, d).float()  # a group shares its keys: they are not repeated
        scores = (folded @ key.float().transpose(1, 2)).reshape(heads, len(some), tokens).mul_(scaling)
        scores.masked_fill_((place > some[:, None]) | ~seen, -torch.inf)
        parts.append(torch.softmax(scores, -1) @ keys.float())
    return torch.cat(parts, -1)


@torch.inference_mode()
def masses(decoder: Decoder, inputs, asked: list[torch.Tensor], keys: torch.Tensor) -> list[list[torch.Tensor]]:
    """[layer][example]: attention mass of the asked tokens on the keys, mean over the asked, by head [heads] (Eq. 1).

    inputs: model inputs padded on either side; asked: by example, int [n]; keys: bool [batch, tokens]. One
    forward pass through PyTorch's fused attention, however the model was loaded; the mass is reduced inside
    each attention call, a chunk of queries at a time (see mass_on for the bound); no weights outlive their layer.
    """
    global _measure
    found: list[list[torch.Tensor]] = []
    seen = inputs["attention_mask"].bool()

    def measure(query, key, scaling):
        found.append(
            [
                mass_on(query[i], key[i], asked[i], keys[i], seen[i], scaling).mean(-1)
                if len(asked[i])
                else query.new_full((query.shape[1],), torch.nan)
                for i in range(len(query))
            ]
        )

    _measure = measure
    try:
        with decoder.attention("frankenstein_measured"):
            decoder.model(**inputs, use_cache=False, logits_to_keep=1)
    finally:
        _measure = None
    return found


def reasoning_to_vision(
    model,
    processor,
    examples: list[Example],
    folder: Path,
    *,
    system: str,
    memory_mb: int,
    max_new_tokens: int,
) -> Iterator[dict]:
    """One record an (example, layer): how much reasoning tokens attend to vision tokens.

    The model answers greedily; its own reasoning tokens R are the queries, the image's tokens V the keys.
    attention_mass: sum over V, mean over heads and R (0 to 1); attention_mean: Eq. 1 as it is
    written, the mass divided by |V|; heads: the mass by head. NaN (and error) where a response holds no
    reasoning token, or was not made.
    """
    decoder = Decoder(model)

    def prepare(example: Example) -> tuple[Prompt, list[Size]]:
        prompt = build_prompt(example, "image", folder, system)
        own = encode(processor, [prompt])["input_ids"].shape[1] + max_new_tokens
        return prompt, [Size(0, own, 0, 1)]

    def run(prompts: list[Prompt]):
        responses = generate(model, processor, prompts, max_new_tokens)
        return attend(decoder, processor, prompts, [response.tokens for response in responses])

    nothing = [torch.full((decoder.config.num_attention_heads,), torch.nan)] * len(decoder.layers), 0, 0
    for example, made, error in in_batches(examples, prepare, run, decoder, memory_mb, "examples"):
        by_layer, reasoning, vision = made or nothing
        error = error or (None if reasoning else "no reasoning token in the response")
        for layer, heads in enumerate(by_layer):
            mass = float(heads.mean())
            yield {
                "id": example.id,
                "layer": layer,
                "attention_mass": mass,
                "attention_mean": mass / vision if vision else float("nan"),
                "heads": heads.tolist(),
                "reasoning_tokens": reasoning,
                "vision_tokens": vision,
                "error": error,
            }


def attend(decoder: Decoder, processor, prompts: list[Prompt], responses: list[list[int]]):
    """Attention from the reasoning of given responses to the image, whoever wrote them: the text is only read (teacher-forced).

    responses: token ids behind each prompt. Of each prompt: ([layer] mass by head, reasoning tokens, vision tokens).
    """
    model = decoder.model
    spans = [reasoning_span(processor.tokenizer, tokens) for tokens in responses]
    inputs = encode(processor, prompts, model.device)
    width = inputs["input_ids"].shape[1]
    longest = max(map(len, responses))
    # The responses stand to the right of the left-padded prompts, padded on their own right.
    tail = torch.full((len(prompts), longest), processor.tokenizer.pad_token_id, device=model.device)
    seen = torch.zeros_like(tail)
    for row, tokens in enumerate(responses):
        tail[row, : len(tokens)] = torch.tensor(tokens, device=model.device)
        seen[row, : len(tokens)] = 1
    for name, part in (("input_ids", tail), ("attention_mask", seen), ("mm_token_type_ids", torch.zeros_like(tail))):
        if name in inputs:
            inputs[name] = torch.cat([inputs[name], part], 1)
    keys = vision_mask(model, inputs["input_ids"])
    asked = [torch.arange(width + span.start, width + span.stop, device=model.device) for span in spans]
    by_layer = masses(decoder, inputs, asked, keys)
    return [
        ([layer[row].cpu() for layer in by_layer], len(spans[row]), int(keys[row].sum())) for row in range(len(prompts))
    ]
