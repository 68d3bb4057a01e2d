"""Causal probes of a model on real questions: vision-token swapping and layer skipping (paper, Section 3.1)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from . import anatomy, wavefront
from .anatomy import Decoder
from .batches import Size, in_batches, memory
from .errors import InputError
from .generation import Prompt, encode, in_condition, text_of
from .tasks import Example, Pair, open_image

RESIZE, INTERPOLATE = "resize", "interpolate"  # what becomes of a source image of another size than the target


@dataclass(frozen=True)
class _Asked:
    """A pair, ready to be asked: its prompts, and their cost."""

    pair: Pair
    target: Prompt
    source: Prompt
    resized: bool
    to_canvas: tuple[float, float]
    size: Size


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
    """One record a (pair, mode, layer): the answer with the vision tokens swapped at that layer.

    modes: wavefront.MODES; mode "none", layer -1 is the target without a swap. unequal: "resize" brings a source
    image of another size to the target's (`resized`), "interpolate" its hidden states. Fields: id, function,
    mode, layer, response (None: failed), resized, to_canvas (x and y factor from the coordinates of
    the model's boxes to pixels of the target image), error. A pair that fails stays in, with its reason.
    """
    if unequal == INTERPOLATE and list(modes) != [wavefront.HIDDEN_STATE_AT_LAYER]:
        raise InputError(f"{INTERPOLATE}: only for {wavefront.HIDDEN_STATE_AT_LAYER}; keys carry their positions")
    decoder = Decoder(model)
    count = len(decoder.layers)
    labels = [(wavefront.NONE, -1), *((mode, layer) for mode in modes for layer in range(count))]
    families = len({wavefront.KV_FROM_LAYER if mode != wavefront.KV_AT_LAYER_ONLY else mode for mode in modes})

    def prepare(pair: Pair) -> _Asked:
        target, source = (open_image(folder / name) for name in (pair.target_image, pair.source_image))
        resized = source.size != target.size and unequal == RESIZE
        source = source.resize(target.size) if resized else source
        prompts = [Prompt(pair.prompt, image, system) for image in (target, source)]
        inputs = encode(processor, prompts[:1])
        ids = inputs["input_ids"][0]
        before = anatomy.vision_spans(model, ids)[0].stop
        scale = anatomy.boxes_to_canvas(model, inputs, target.size)
        size = Size(before, len(ids) - before, max_new_tokens, 1 + families * count)
        return _Asked(pair, *prompts, resized, scale, size)

    def records(pair: Pair, asked: _Asked | None, answers, error):
        for mode, layer in labels:
            yield {
                "id": pair.id,
                "function": pair.task,
                "mode": mode,
                "layer": layer,
                "response": None if error else text_of(processor, answers[mode, layer].tokens),
                "resized": asked.resized if asked else None,
                "to_canvas": list(asked.to_canvas) if asked else None,
                "error": error,
            }

    ready = []
    for pair in pairs:
        try:
            ready.append(prepare(pair))
        except InputError as error:
            yield from records(pair, None, None, str(error))
    ready.sort(key=lambda asked: (asked.size.before, asked.size.own))

    def run(batch: list[_Asked]):
        targets, sources = (
            encode(processor, [getattr(asked, side) for asked in batch], model.device) for side in ("target", "source")
        )
        return wavefront.swap(decoder, targets, sources, modes, max_new_tokens, interpolate=unequal == INTERPOLATE)

    def cost(batch: list[_Asked]) -> int:
        return memory(decoder, [asked.size for asked in batch])

    for asked, answers, error in in_batches(ready, run, cost, memory_mb, "pairs"):
        yield from records(asked.pair, asked, answers, error)


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
    """One record an (example, layer): the answer with that layer skipped; layer -1 skips none.

    Fields: id, task, layer, response (None: failed), error. An example that fails stays in, with its reason.
    """
    decoder = Decoder(model)
    layers = range(len(decoder.layers))

    def prepare(example: Example) -> tuple[Example, Prompt, Size]:
        prompt = in_condition(example, "image" if example.image else "text", folder, system)
        own = encode(processor, [prompt])["input_ids"].shape[1]
        return example, prompt, Size(0, own, max_new_tokens, 1 + len(layers))

    def records(example: Example, answers, error):
        for number, layer in enumerate((-1, *layers)):
            response = None if error else text_of(processor, answers[number].tokens)
            yield {"id": example.id, "task": example.task, "layer": layer, "response": response, "error": error}

    ready = []
    for example in examples:
        try:
            ready.append(prepare(example))
        except InputError as error:
            yield from records(example, None, str(error))
    ready.sort(key=lambda item: item[2].own)

    def run(batch):
        inputs = encode(processor, [prompt for _, prompt, _ in batch], model.device)
        return wavefront.skip(decoder, inputs, [range(layer, layer + 1) for layer in layers], max_new_tokens)

    def cost(batch) -> int:
        return memory(decoder, [size for *_, size in batch])

    for (example, *_), answers, error in in_batches(ready, run, cost, memory_mb, "examples"):
        yield from records(example, answers, error)
