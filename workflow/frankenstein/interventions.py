"""Causal probes with plain hooks: vision-token swapping and layer skipping (paper, Section 3.1, Appendix D)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import torch

from . import anatomy, grading
from .generation import Prompt, Response, encode, generate
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


def changed(function: str, before: str, after: str, pair: Pair) -> bool | None:
    """Whether a swap changed the answer, by the paper's rule for the function; None if it can't be told.

    recognition: the answer is "no"; grounding: the box meets the SOURCE's gold box at IoU > 0.5;
    counting: the count differs (None unless both answers are counts); ocr: the text differs.
    """
    before, after = (grading.extract(text) or "" for text in (before, after))
    if function == "recognition":
        return grading.plain(after).startswith("no")
    if function == "grounding":
        found = grading.box(after)
        return found is not None and grading.iou(found, grading.box(pair.answer("source"))) > 0.5
    if function == "counting":
        counts = grading.number(before), grading.number(after)
        return None if None in counts else counts[0] != counts[1]
    return grading.plain(before) != grading.plain(after)


def _batches(items: list, size: int) -> Iterator[list]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def swap_sweep(
    model, processor, pairs: list[Pair], folder: Path, system: str, batch: int, max_new_tokens: int
) -> Iterator[dict]:
    """One record a (pair, layer): the answer with the vision tokens swapped at that layer.

    Layer -1 is the target without a swap. Unequal grids: the source image is resized to the target's
    size first (`resized`). Fields: id, function, layer, response, changed (None: can't be told),
    text_changed (any difference of text, the public script's rule), right (the target's gold), resized, error.
    """
    layers = range(-1, len(anatomy.decoder_layers(model)))
    for part in _batches(pairs, batch):
        targets, sources, resized = [], [], []
        for pair in part:
            target, source = (open_image(folder / name) for name in (pair.target_image, pair.source_image))
            resized.append(source.size != target.size)
            targets.append(Prompt(pair.prompt, target, system))
            sources.append(Prompt(pair.prompt, source.resize(target.size) if resized[-1] else source, system))
        states = vision_states(model, encode(processor, sources, model.device))
        mask = anatomy.vision_mask(model, encode(processor, targets, model.device)["input_ids"])
        baseline: list[Response] = []
        for layer in layers:
            error = None
            try:
                hook = contextlib.nullcontext() if layer < 0 else swapped(model, layer, states[layer], mask)
                with hook:
                    responses = generate(model, processor, targets, max_new_tokens)
            except RuntimeError as failure:
                # A layer that fails is a failed sample of every pair, and the sweep goes on.
                responses, error = [None] * len(part), f"layer {layer}: {failure}"
            if layer < 0:
                if error:
                    raise RuntimeError(f"the model fails on the targets themselves: {error}")
                baseline = responses
            for pair, before, after, was_resized in zip(part, baseline, responses, resized, strict=True):
                text = after.text if after else None
                answer_type = {"grounding": "box", "counting": "number"}.get(pair.task, "text")
                yield {
                    "id": pair.id,
                    "function": pair.task,
                    "layer": layer,
                    "response": text,
                    "changed": changed(pair.task, before.text, text, pair) if after else None,
                    "text_changed": grading.plain(before.text) != grading.plain(text) if after else None,
                    "right": grading.grade(text, pair.answer("target"), answer_type).verdict == grading.RIGHT,
                    "resized": was_resized,
                    "error": error,
                }


def skip_sweep(
    model, processor, examples: list[Example], system: str, batch: int, max_new_tokens: int
) -> Iterator[dict]:
    """One record an (example, layer): the answer with that layer skipped; layer -1 skips none.

    Fields: id, task, layer, response, verdict (right, wrong, ungraded), error. Text tasks only.
    """
    for layer in range(-1, len(anatomy.decoder_layers(model))):
        for part in _batches(sorted(examples, key=lambda example: len(example.prompt)), batch):
            prompts = [Prompt(example.prompt, None, system) for example in part]
            error = None
            try:
                with contextlib.nullcontext() if layer < 0 else skipped(model, layer):
                    texts = [response.text for response in generate(model, processor, prompts, max_new_tokens)]
            except RuntimeError as failure:
                texts, error = [None] * len(part), f"layer {layer}: {failure}"
            for example, text in zip(part, texts, strict=True):
                verdict = grading.grade(text, example.answer, example.answer_type).verdict
                yield {
                    "id": example.id,
                    "task": example.task,
                    "layer": layer,
                    "response": text,
                    "verdict": verdict,
                    "error": error,
                }
