"""Causal probes with plain hooks: vision-token swapping and layer skipping (paper, Section 3.1, Appendix D)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import torch

from . import anatomy
from .generation import Prompt, encode, generate
from .tasks import Example, Pair, open_image


@contextlib.contextmanager
def _hooks(handles: list) -> Iterator[None]:
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _hidden(args: tuple, kwargs: dict) -> torch.Tensor:
    return args[0] if args else kwargs["hidden_states"]


@torch.inference_mode()
def vision_states(model, inputs) -> list[torch.Tensor]:
    """The vision tokens' hidden states entering each decoder layer: layers x [vision tokens of the batch, hidden]."""
    mask = anatomy.vision_mask(model, inputs["input_ids"])
    states = []

    def keep(module, args, kwargs):
        states.append(_hidden(args, kwargs)[mask].clone())

    layers = anatomy.decoder_layers(model)
    with _hooks([layer.register_forward_pre_hook(keep, with_kwargs=True) for layer in layers]):
        model(**inputs)
    return states


@contextlib.contextmanager
def swapped(model, layer: int, states: torch.Tensor, mask: torch.Tensor) -> Iterator[None]:
    """Within: the next prefill enters decoder layer `layer` with `states` in place of its vision tokens'.

    states [vision tokens of the batch, hidden]; mask bool [batch, tokens]. Prefill only: the first
    call of the layer is the prefill, and decoding is left alone, so that the KV cache is equally
    long at every layer. Hooks are removed whatever happens.
    """
    done = False

    def swap(module, args, kwargs):
        nonlocal done
        if done:
            return None
        done = True
        hidden = _hidden(args, kwargs)
        if hidden.shape[:2] != mask.shape:
            raise ValueError(f"layer {layer}: prefill of {tuple(hidden.shape[:2])} tokens, mask of {tuple(mask.shape)}")
        hidden = hidden.clone()
        hidden[mask] = states.to(hidden.dtype)
        return ((hidden, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": hidden})

    with _hooks([anatomy.decoder_layers(model)[layer].register_forward_pre_hook(swap, with_kwargs=True)]):
        yield


@contextlib.contextmanager
def skipped(model, layer: int) -> Iterator[None]:
    """Within: decoder layer `layer` is an identity, in prefill and in decode.

    The layer still runs, and fills its KV cache, but what it adds to the residual stream is dropped.
    """

    def identity(module, args, kwargs, output):
        hidden = _hidden(args, kwargs)
        return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

    with _hooks([anatomy.decoder_layers(model)[layer].register_forward_hook(identity, with_kwargs=True)]):
        yield


def _batches(items: list, size: int) -> Iterator[list]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _answers(model, processor, prompts: list[Prompt], max_new_tokens: int, hook, layer: int):
    """(texts, error) of one batch under a hook. A layer that fails is a failed sample of every prompt."""
    try:
        with hook:
            return [response.text for response in generate(model, processor, prompts, max_new_tokens)], None
    except RuntimeError as failure:
        if layer < 0:
            raise  # nothing was swapped or skipped: it is the model that fails
        return [None] * len(prompts), f"layer {layer}: {failure}"


def swap_sweep(
    model, processor, pairs: list[Pair], folder: Path, system: str, batch: int, max_new_tokens: int
) -> Iterator[dict]:
    """One record a (pair, layer): the answer with the vision tokens swapped at that layer.

    Layer -1 is the target without a swap. Unequal grids: the source image is resized to the target's
    size first (`resized`). Fields: id, function, layer, response (None: failed), resized, error.
    """
    for part in _batches(pairs, batch):
        targets, sources, resized = [], [], []
        for pair in part:
            target, source = (open_image(folder / name) for name in (pair.target_image, pair.source_image))
            resized.append(source.size != target.size)
            targets.append(Prompt(pair.prompt, target, system))
            sources.append(Prompt(pair.prompt, source.resize(target.size) if resized[-1] else source, system))
        states = vision_states(model, encode(processor, sources, model.device))
        mask = anatomy.vision_mask(model, encode(processor, targets, model.device)["input_ids"])
        for layer in range(-1, len(states)):
            hook = contextlib.nullcontext() if layer < 0 else swapped(model, layer, states[layer], mask)
            texts, error = _answers(model, processor, targets, max_new_tokens, hook, layer)
            for pair, text, was_resized in zip(part, texts, resized, strict=True):
                yield {
                    "id": pair.id,
                    "function": pair.task,
                    "layer": layer,
                    "response": text,
                    "resized": was_resized,
                    "error": error,
                }


def skip_sweep(
    model, processor, examples: list[Example], system: str, batch: int, max_new_tokens: int
) -> Iterator[dict]:
    """One record an (example, layer): the answer with that layer skipped; layer -1 skips none.

    Fields: id, task, layer, response (None: failed), error. Text tasks only.
    """
    for part in _batches(sorted(examples, key=lambda example: len(example.prompt)), batch):
        prompts = [Prompt(example.prompt, None, system) for example in part]
        for layer in range(-1, len(anatomy.decoder_layers(model))):
            hook = contextlib.nullcontext() if layer < 0 else skipped(model, layer)
            texts, error = _answers(model, processor, prompts, max_new_tokens, hook, layer)
            for example, text in zip(part, texts, strict=True):
                yield {"id": example.id, "task": example.task, "layer": layer, "response": text, "error": error}
