"""The probes' view of a loaded model: decoder layers, vision tokens, and prompts as they enter layer 0.

Components are located through the model object itself; anything it does not expose is in models/families/.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from ..core.errors import InputError
from ..models.family import RESIZED, THOUSANDTHS, families


def decoder_layers(model) -> list:
    """The decoder layers of a loaded model, in order."""
    return list(model.model.language_model.layers)


def vision_mask(model, input_ids):
    """Mask of the vision tokens: bool [batch, tokens]."""
    return input_ids == model.config.image_token_id


def vision_spans(model, input_ids) -> list[range]:
    """Token range of each image in one prompt (runs of consecutive vision tokens). input_ids: int [tokens]."""
    spans = []
    for position in vision_mask(model, input_ids).nonzero()[:, 0].tolist():
        if spans and spans[-1].stop == position:
            spans[-1] = range(spans[-1].start, position + 1)
        else:
            spans.append(range(position, position + 1))
    return spans


class _Entered(Exception):
    """Aborts the model's own forward pass once the prompt has reached the first decoder layer."""


@dataclass(frozen=True)
class Embedded:
    """One prompt as it enters the first decoder layer, without padding.

    ids: int [tokens]; hidden: [tokens, hidden]; rotary: position embeddings, each [..., 1, tokens, head];
    positions: int [..., 1, tokens], starting at 0; deepstack: features added to the residual stream after decoder
    layers 0, 1, ... (Qwen3-VL's DeepStack), each [tokens, hidden], zero at text tokens; empty for most families.
    grids: (rows, columns) of each image's vision tokens; empty for families whose vision tokens form no plain grid.
    pixels: each image as preprocessed by the processor.
    """

    ids: torch.Tensor
    hidden: torch.Tensor
    rotary: tuple[torch.Tensor, ...]
    positions: torch.Tensor
    deepstack: tuple[torch.Tensor, ...] = ()
    grids: tuple[tuple[int, int], ...] = ()
    pixels: tuple[torch.Tensor, ...] = ()

    @property
    def next_position(self) -> int:
        """Position id of the first generated token; after an image this is not the token count."""
        return int(self.positions.max()) + 1


_PACK_BYTES = 2 << 30


def _packed_product(weight, bias, hidden):
    return torch.ops.mkldnn._linear_pointwise(hidden, weight, bias, "none", [], "")


class Decoder:
    """The language model inside a loaded VLM: everything a sweep needs.

    layers: the decoder layers; finish(hidden): final norm and LM head; embed(inputs): prompts as they enter
    layer 0, using the model's own vision tower and position ids; rotary(positions): position embeddings.
    """

    def __init__(self, model):
        family = model.config.model_type
        if family not in families():
            raise InputError(f"model_type {family!r}; supported: {', '.join(families())}")
        self.model, self.text = model, model.model.language_model
        self.layers = decoder_layers(model)
        self.config = self.text.config
        kinds = set(getattr(self.config, "layer_types", None) or ["full_attention"])
        if kinds != {"full_attention"}:
            raise InputError(f"{family}: sweeps need full attention in every layer, this model has {sorted(kinds)}")

    @functools.cached_property
    def _packed(self) -> list[tuple[torch.nn.Linear, torch.Tensor]]:
        """The layers' weights in oneDNN's packed layout; empty if that does not help or a second copy is too large."""
        modules = [m for layer in self.layers for m in layer.modules() if isinstance(m, torch.nn.Linear)]
        weights = [module.weight for module in modules]
        cpu = all(weight.device.type == "cpu" and weight.dtype == torch.float32 for weight in weights)
        known = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
        if not cpu or not known or sum(weight.nbytes for weight in weights) > _PACK_BYTES:
            return []
        return [(m, torch.ops.mkldnn._reorder_linear_weight(m.weight.detach(), 16)) for m in modules]

    @contextlib.contextmanager
    def decoding(self) -> Iterator[None]:
        """Context: on a float32 CPU, run the linear layers with prepacked weights (decoding is memory-bound there)."""
        before = [vars(module).get("forward") for module, _ in self._packed]
        for module, packed in self._packed:
            module.forward = functools.partial(_packed_product, packed, module.bias)
        try:
            yield
        finally:
            for (module, _), own in zip(self._packed, before, strict=True):
                if own is None:
                    del module.forward
                else:
                    module.forward = own

    @contextlib.contextmanager
    def attention(self, name: str) -> Iterator[None]:
        """Context: the decoder layers use the attention function registered with transformers under this name."""
        before = self.config._attn_implementation
        self.text.set_attn_implementation(name)
        try:
            yield
        finally:
            self.text.set_attn_implementation(before)

    @property
    def deepstack_layers(self) -> int:
        """Number of leading decoder layers after which vision features are added again (Qwen3-VL's DeepStack)."""
        return len(getattr(self.model.config.vision_config, "deepstack_visual_indexes", ()))

    def embeddings(self, tokens: torch.Tensor) -> torch.Tensor:
        """Token embeddings [..., hidden] as they enter layer 0."""
        return self.model.get_input_embeddings()(tokens)

    def finish(self, hidden: torch.Tensor) -> torch.Tensor:
        """Logits [..., vocabulary] from final hidden states [..., hidden]."""
        return self.model.lm_head(self.text.norm(hidden))

    def rotary(self, positions: torch.Tensor, like: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Position embeddings for `positions`, in the dtype of `like`."""
        return self.text.rotary_emb(like, positions)

    def embed(self, inputs) -> list[Embedded]:
        """Each prompt of a padded batch, with its padding removed."""
        seen = {}

        def text_model(module, args, kwargs):
            seen["masks"] = kwargs.get("visual_pos_masks")
            seen["deepstack"] = kwargs.get("deepstack_visual_embeds") or []

        def rotary(module, args, kwargs):
            seen["positions"] = kwargs["position_ids"] if "position_ids" in kwargs else args[1]

        def first_layer(module, args, kwargs):
            seen["hidden"] = args[0] if args else kwargs["hidden_states"]
            raise _Entered

        handles = [
            module.register_forward_pre_hook(hook, with_kwargs=True)
            for module, hook in (
                (self.text, text_model),
                (self.text.rotary_emb, rotary),
                (self.layers[0], first_layer),
            )
        ]
        try:
            self.model(**inputs, use_cache=False)
        except _Entered:
            pass
        finally:
            for handle in handles:
                handle.remove()

        deepstack = []
        for features in seen["deepstack"]:
            dense = torch.zeros_like(seen["hidden"])
            dense[seen["masks"]] = features.to(dense.dtype)
            deepstack.append(dense)
        shapes, pixels = iter(grids(self.model, inputs)), iter(_pixels(inputs))
        prompts = []
        for row, mask in enumerate(inputs["attention_mask"].bool()):
            ids, hidden = inputs["input_ids"][row][mask], seen["hidden"][row][mask]
            positions = seen["positions"]
            positions = positions[..., row % positions.shape[-2], :].unsqueeze(-2)[..., mask]
            # Some families count positions across the padding as well.
            positions = positions - positions.amin()
            images = len(vision_spans(self.model, ids))
            prompts.append(
                Embedded(
                    ids,
                    hidden,
                    self.rotary(positions, hidden),
                    positions,
                    tuple(dense[row][mask] for dense in deepstack),
                    tuple(itertools.islice(shapes, images)),
                    tuple(itertools.islice(pixels, images)),
                )
            )
        return prompts


def _pixels(inputs) -> list[torch.Tensor]:
    """Each image of a batch as preprocessed by the processor."""
    if "image_grid_thw" in inputs:
        return list(inputs["pixel_values"].split(inputs["image_grid_thw"].prod(-1).tolist()))
    return list(inputs.get("pixel_values", []))


def grids(model, inputs) -> list[tuple[int, int]]:
    """(rows, columns) of vision tokens of every image in a batch; empty for families that do not report them."""
    if "image_grid_thw" not in inputs:
        return []
    merge = model.config.vision_config.spatial_merge_size
    return [(int(rows) // merge, int(columns) // merge) for _, rows, columns in inputs["image_grid_thw"]]


def boxes_to_canvas(model, inputs, size: tuple[int, int]) -> tuple[float, float]:
    """(x, y) factors from the family's box coordinates to pixels of the original image.

    inputs: processor output, whose first image is used; size: (width, height) of the original.
    """
    boxes = families()[model.config.model_type].boxes
    if boxes == THOUSANDTHS:
        return size[0] / 1000, size[1] / 1000
    if boxes == RESIZED:
        patch = model.config.vision_config.patch_size
        _, rows, columns = inputs["image_grid_thw"][0].tolist()
        return size[0] / (columns * patch), size[1] / (rows * patch)
    return 1.0, 1.0
