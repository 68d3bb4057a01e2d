"""Causal probes on whole datasets: vision-token swapping and layer skipping (paper, Section 3.1)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import InputError
from ..data.tasks import Example, Pair, open_image
from ..inference.generation import text_of
from ..inference.prompts import Prompt, build_prompt, encode
from . import sweep
from .batches import Size, in_batches
from .decoder import Decoder, boxes_to_canvas, vision_tokens
from .modes import UNEQUAL

RESIZE, INTERPOLATE = UNEQUAL


@dataclass(frozen=True)
class _Asked:
    """A pair as presented to the model."""

    target: Prompt
    source: Prompt
    resized: bool
    to_canvas: tuple[float, float]


def swap_sweep(
    model,
    processor,
    pairs: list[Pair],
    folder: Path,
    *,
    system: str,
    modes: list[str],
    unequal: str,
    memory_mb: int,
    max_new_tokens: int,
) -> Iterator[dict]:
    """Yield one record per (pair, mode, layer): the answer with the vision tokens swapped at that layer.

    modes: from modes.MODES; mode "none" with layer -1 is the target without a swap. unequal: how to handle a source
    image whose size differs from the target's: "resize" resizes the image (recorded in `resized`), "interpolate"
    interpolates its hidden states. Fields: id, function, mode, layer, response (None if the pair failed), truncated
    (max_new_tokens was reached), resized, to_canvas (x and y factors from the model's box coordinates to pixels of
    the target image), error. A failed pair keeps its records, with the reason in `error`.
    """
    if unequal == INTERPOLATE and list(modes) != [sweep.HIDDEN_STATE_AT_LAYER]:
        raise InputError(f"{INTERPOLATE}: only for {sweep.HIDDEN_STATE_AT_LAYER}; keys contain their positions")
    decoder = Decoder(model)
    count = len(decoder.layers)
    labels = [(sweep.NONE, -1), *((mode, layer) for mode in modes for layer in range(count))]
    # Swapping hidden states at a layer equals swapping keys and values from it on: the two modes share one row.
    rows = 1 + count * len({mode.replace(sweep.HIDDEN_STATE_AT_LAYER, sweep.KV_FROM_LAYER) for mode in modes})

    def prepare(pair: Pair) -> tuple[_Asked, list[Size]]:
        target, source = (open_image(folder / name) for name in (pair.target_image, pair.source_image))
        resized = source.size != target.size and unequal == RESIZE
        source = source.resize(target.size) if resized else source
        prompts = [Prompt(pair.prompt, image, system) for image in (target, source)]
        inputs = encode(processor, prompts[:1])
        ids = inputs["input_ids"][0]
        images = vision_tokens(model, ids)
        if len(images) != 1:
            raise InputError(f"{pair.id}: {len(images)} runs of vision tokens in the prompt, but one image was given")
        first, last = images[0][[0, -1]].tolist()
        asked = _Asked(*prompts, resized, boxes_to_canvas(model, inputs, target.size))
        sizes = [Size(last + 1, len(ids) - last - 1, max_new_tokens, rows)]
        whole = last - first + 1 == len(images[0]) and unequal != INTERPOLATE
        if long := decoder.deepstack_layers if whole else count:
            sizes.append(Size(first, len(ids) - first, max_new_tokens, 1 + long))
        return asked, sizes

    def run(batch: list[_Asked]):
        targets, sources = (
            encode(processor, prompts, model.device)
            for prompts in ([asked.target for asked in batch], [asked.source for asked in batch])
        )
        swapped = sweep.swap(decoder, targets, sources, modes, max_new_tokens, interpolate=unequal == INTERPOLATE)
        return list(zip(batch, swapped, strict=True))

    for pair, made, error in in_batches(pairs, prepare, run, decoder, memory_mb, "pairs"):
        asked, answers = made or (None, None)
        for mode, layer in labels:
            yield {
                "id": pair.id,
                "function": pair.task,
                "mode": mode,
                "layer": layer,
                "response": text_of(processor, answers[mode, layer].tokens) if made else None,
                "truncated": answers[mode, layer].truncated if made else False,
                "resized": asked.resized if asked else None,
                "to_canvas": list(asked.to_canvas) if asked else None,
                "error": error,
            }


def skip_sweep(
    model,
    processor,
    examples: list[Example],
    folder: Path,
    *,
    system: str,
    memory_mb: int,
    max_new_tokens: int,
) -> Iterator[dict]:
    """Yield one record per (example, layer): the answer with that layer skipped; layer -1 skips none.

    Fields: id, task, layer, response (None if the example failed), truncated (max_new_tokens was reached), error.
    A failed example keeps its records, with the reason in `error`.
    """
    decoder = Decoder(model)
    layers = range(len(decoder.layers))

    def prepare(example: Example) -> tuple[Prompt, list[Size]]:
        prompt = build_prompt(example, "image" if example.image else "text", folder, system)
        own = encode(processor, [prompt])["input_ids"].shape[1]
        return prompt, [Size(0, own, max_new_tokens, 1 + len(layers))]

    def run(prompts: list[Prompt]):
        inputs = encode(processor, prompts, model.device)
        return sweep.skip(decoder, inputs, [range(layer, layer + 1) for layer in layers], max_new_tokens)

    for example, answers, error in in_batches(examples, prepare, run, decoder, memory_mb, "examples"):
        for number, layer in enumerate((-1, *layers)):
            said = answers[number] if answers else None
            yield {
                "id": example.id,
                "task": example.task,
                "layer": layer,
                "response": text_of(processor, said.tokens) if said else None,
                "truncated": said.truncated if said else False,
                "error": error,
            }
