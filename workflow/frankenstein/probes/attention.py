"""Attention from reasoning tokens to vision tokens, layer by layer (paper, Section 2.3, Eq. 1)."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from ..core.errors import InputError
from ..data.tasks import Example
from ..inference.generation import text_of
from ..inference.prompts import Prompt, build_prompt, encode
from .batches import Size, in_batches
from .decoder import Decoder, grids, vision_mask


def _first(tokenizer, tokens: list[int], holds) -> int:
    """The smallest k such that holds(text of the first k tokens); holds must be monotone: once true, always true."""
    low, high = 0, len(tokens)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(tokenizer.decode(tokens[:middle])) else (middle + 1, high)
    return low


def reasoning_span(tokenizer, tokens: list[int]) -> range:
    """Range of the generated tokens that are reasoning: those between <think> and </think>.

    Without a closing tag, everything after <think>; without an opening tag, everything from the first token on.
    """
    text = tokenizer.decode(tokens)
    start = end = None
    if "<think>" in text:
        start = _first(tokenizer, tokens, lambda part: "<think>" in part)
    if "</think>" in text:
        cut = text.index("</think>")
        end = _first(tokenizer, tokens, lambda part: len(part) > cut) - 1
    return range(start or 0, len(tokens) if end is None else end)


_CHUNK_BYTES = {"cpu": 64 << 20, "cuda": 1 << 30}  # of scores and weights at a time
_measure = None  # callback for the queries and keys of the layer being run


def _measured(module, query, key, value, attention_mask, scaling=None, **kwargs):
    if kwargs.get("softcap") is not None or kwargs.get("s_aux") is not None:
        raise InputError(f"{type(module).__name__}: capped scores or attention sinks, of which no mass is defined here")
    _measure(query, key, attention_mask, scaling)
    inner = ALL_ATTENTION_FUNCTIONS["sdpa"]
    return inner(module, query, key, value, attention_mask, scaling=scaling, **kwargs)


AttentionInterface.register("frankenstein_measured", _measured)
AttentionMaskInterface.register("frankenstein_measured", ALL_MASK_ATTENTION_FUNCTIONS["sdpa"])


def weights_on(query, key, asked, keys, visible, scaling: float, chunk_bytes: int | None = None) -> torch.Tensor:
    """Softmax attention weights on a set of keys, averaged over query tokens, one example: float32 [heads, keys].

    query: [heads, tokens, d] and key: [kv heads, tokens, d], rotary embeddings applied; asked: int [n], the query
    tokens; keys: bool [tokens], the tokens whose attention weights are returned; visible: bool [n, tokens], which tokens each
    query attends to.
    Queries are processed in chunks: scores and weights take at most chunk_bytes (default: by device), or what one query needs if
    more.
    """
    heads, tokens, d = query.shape
    kv_heads = key.shape[0]
    chunk_bytes = chunk_bytes or _CHUNK_BYTES.get(query.device.type, 64 << 20)
    size = max(1, chunk_bytes // (2 * 4 * heads * tokens))
    asked, keys, visible = (part.to(query.device) for part in (asked, keys, visible))
    total = torch.zeros(heads, int(keys.sum()), device=query.device)
    for some, seen in zip(asked.split(size), visible.split(size), strict=True):
        folded = query[:, some].reshape(kv_heads, -1, d).float()  # heads of a group share keys, unrepeated
        scores = (folded @ key.float().transpose(1, 2)).reshape(heads, len(some), tokens).mul_(scaling)
        scores.masked_fill_(~seen, -torch.inf)
        total += torch.softmax(scores, -1).sum(1)[:, keys]
    return total / len(asked)


class Attended(NamedTuple):
    """Attention on the keys in one layer, averaged over the query tokens: its mass by head (float32 [heads]; Eq. 1), and by key,
    averaged over heads (float32 [keys])."""

    heads: torch.Tensor
    keys: torch.Tensor


@torch.inference_mode()
def masses(decoder: Decoder, inputs, asked: list[torch.Tensor], keys: torch.Tensor) -> list[list[Attended]]:
    """Attention on the keys, averaged over the query tokens (NaN without any): [layer][example].

    inputs: model inputs padded on either side; asked: query tokens per example, each int [n]; keys: bool [batch,
    tokens]. One forward pass through PyTorch's fused attention, regardless of the attention implementation the model
    was loaded with. The weights are reduced inside each attention call, in chunks of queries (memory bound: see weights_on);
    no attention weights are kept beyond their layer.
    """
    global _measure
    found: list[list[Attended]] = []
    seen = inputs["attention_mask"].bool()
    place = torch.arange(seen.shape[1], device=seen.device)

    def visible(mask, i: int):
        """The model's own mask; where it has none, attention is causal."""
        if mask is None:
            return (place <= asked[i][:, None]) & seen[i]
        return mask[i % len(mask), 0, asked[i].to(mask.device)]

    def measure(query, key, mask, scaling):
        weights = [
            weights_on(query[i], key[i], asked[i], keys[i], visible(mask, i), scaling) for i in range(len(query))
        ]
        found.append([Attended(of.sum(-1), of.mean(0)) for of in weights])

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
    given: Mapping[str, dict],
    *,
    system: str,
    memory_mb: int,
) -> Iterator[dict]:
    """Yield one record per (example, layer): how strongly reasoning tokens attend to vision tokens.

    The model reads responses that it or another checkpoint gave (given: example id -> its record, with response, token_ids and
    error; see inference.respond); the response's reasoning tokens R are the queries and the image's tokens V the keys.
    attention_mass: summed over V, averaged over heads and R (0 to 1); attention_mean: Eq. 1 as written, i.e. the mass divided by
    |V|; heads: the mass per head; map, grid: the mass per vision token, and the image's rows and columns of them (see maps);
    tokens, reasoning_tokens, vision_tokens: numbers of tokens of the response, in R and in V. NaN, with `error` set, if there is no response, it has no reasoning token, or its tokens mean another text to this model's tokenizer.
    A response without token ids (of a server) is tokenized here.
    """
    decoder = Decoder(model)

    def prepare(example: Example) -> tuple[tuple[Prompt, list[int]], list[Size]]:
        prompt, tokens = build_prompt(example, "image", folder, system), _readable(processor, given.get(example.id))
        return (prompt, tokens), [Size(0, encode(processor, [prompt])["input_ids"].shape[1] + len(tokens), 0, 1)]

    def run(prepared: list[tuple[Prompt, list[int]]]):
        prompts, texts = map(list, zip(*prepared, strict=True))
        return list(zip(texts, attend(decoder, processor, prompts, texts), strict=True))

    unknown = Attended(torch.full((decoder.config.num_attention_heads,), torch.nan), torch.empty(0))
    nothing = [unknown] * len(decoder.layers), 0, 0, None
    for example, made, error in in_batches(examples, prepare, run, decoder, memory_mb, "examples"):
        tokens, (by_layer, reasoning, vision, grid) = made or ([], nothing)
        error = error or (None if reasoning else "no reasoning token in the response")
        for layer, (heads, keys) in enumerate(by_layer):
            mass = float(heads.mean())
            yield {
                "id": example.id,
                "layer": layer,
                "attention_mass": mass,
                "attention_mean": mass / vision if vision else float("nan"),
                "heads": heads.tolist(),
                "map": base64.b64encode(keys.numpy().astype(np.float16)).decode(),
                "grid": grid,
                "tokens": len(tokens),
                "reasoning_tokens": reasoning,
                "vision_tokens": vision,
                "error": error,
            }


def maps(records: pd.DataFrame) -> pd.DataFrame:
    """The maps of the records of reasoning_to_vision that have one: id, layer, rows, columns, attention.

    attention: float16 [rows x columns], row by row: attention weight on each vision token, averaged over heads and reasoning
    tokens. An image whose vision tokens form no plain grid has none.
    """
    found = records[records.error.isna() & records.grid.notna()]
    return pd.DataFrame(
        {
            "id": found.id,
            "layer": found.layer,
            "rows": found.grid.str[0].astype(int),
            "columns": found.grid.str[1].astype(int),
            "attention": [np.frombuffer(base64.b64decode(text), np.float16) for text in found["map"]],
        }
    )


def _readable(processor, record: dict | None) -> list[int]:
    """The token ids of a response. Raises ValueError if there is none, or if they mean another text to this tokenizer."""
    if record is None or record["response"] is None:
        raise ValueError(f"no response to read: {record['error'] if record else 'it was not asked'}")
    if record["token_ids"] is None:
        return processor.tokenizer(record["response"], add_special_tokens=False)["input_ids"]
    if text_of(processor, record["token_ids"]) != record["response"]:
        raise ValueError("this tokenizer decodes the response's tokens to a different text")
    return record["token_ids"]


def attend(decoder: Decoder, processor, prompts: list[Prompt], responses: list[list[int]]):
    """Attention from the reasoning in given responses to the image, teacher-forced: any model may have written them.

    responses: the token ids that follow each prompt. Returns, per prompt: ([layer] -> Attended, number of reasoning tokens, number of
    vision tokens, (rows, columns) of the vision tokens or None if they form no plain grid).
    """
    model = decoder.model
    spans = [reasoning_span(processor.tokenizer, tokens) for tokens in responses]
    inputs = encode(processor, prompts, model.device)
    width = inputs["input_ids"].shape[1]
    longest = max(map(len, responses))
    # Responses follow the left-padded prompts and are themselves right-padded.
    shape = inputs["input_ids"].shape
    tail = torch.full((len(prompts), longest), processor.tokenizer.pad_token_id, device=model.device)
    seen, text = torch.zeros_like(tail), torch.zeros_like(tail)
    for row, tokens in enumerate(responses):
        tail[row, : len(tokens)] = torch.tensor(tokens, device=model.device)
        seen[row, : len(tokens)] = 1
    for name, part in inputs.items():
        if part.shape == shape:  # and the types of tokens that some families have
            inputs[name] = torch.cat([part, {"input_ids": tail, "attention_mask": seen}.get(name, text)], 1)
    keys = vision_mask(model, inputs["input_ids"])
    asked = [torch.arange(width + span.start, width + span.stop, device=model.device) for span in spans]
    by_layer = masses(decoder, inputs, asked, keys)
    shapes = grids(model, inputs) or [None] * len(prompts)
    found = []
    for row in range(len(prompts)):
        layers = [Attended(*(part.cpu() for part in layer[row])) for layer in by_layer]
        vision, grid = int(keys[row].sum()), shapes[row]
        found.append((layers, len(spans[row]), vision, grid if grid and math.prod(grid) == vision else None))
    return found
