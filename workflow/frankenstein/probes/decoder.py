"""The probes' view of a loaded model: decoder layers, vision tokens, and prompts as they enter layer 0.

Everything is taken from the model's own forward pass; what a family does not expose there is in models/families/.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from ..core.errors import InputError
from ..models.architecture import empty_model, read_config, text_decoder
from ..models.family import RESIZED, THOUSANDTHS, family_of

# Kinds of decoder layers whose tokens read each other through softmax attention, over all earlier tokens or the last ones.
_ATTENTION = {"full_attention", "sliding_attention", "chunked_attention"}


def refusal(model) -> str | None:
    """Why layers cannot be swapped, skipped or read for attention in a model (which may be on the meta device); None if they can."""
    text = text_decoder(model)
    config = text.config
    if other := sorted(set(getattr(config, "layer_types", None) or []) - _ATTENTION):
        return f"{other[0]} layers have no keys and values per token: swapping and attention are not defined there"
    if any(hasattr(layer, "cross_attn") for layer in text.layers):
        return "images enter by cross-attention layers: there are no vision tokens in the residual stream"
    if getattr(config, "num_kv_shared_layers", 0):
        return "layers read the keys and values of other layers: no layer can be swapped or skipped alone"
    if getattr(config, "hidden_size_per_layer_input", 0):
        return "each layer has an input of its own beside the residual stream"
    if not (hasattr(text, "norm") and model.get_output_embeddings()):
        return "its final norm or head is not where transformers' decoders have it"
    return None


def checked(directory: Path) -> Path:
    """The checkpoint directory. Raises InputError, before weights are read, if probes are not defined for its model (refusal)."""
    if why := refusal(empty_model(directory)):
        raise InputError(f"{directory}: {read_config(directory)['model_type']}: {why}")
    return directory


def vision_mask(model, input_ids):
    """Mask of the vision tokens: bool [batch, tokens]; all False for a language model."""
    token = getattr(model.config, "image_token_id", None)
    return torch.zeros_like(input_ids, dtype=torch.bool) if token is None else input_ids == token


def vision_tokens(model, input_ids) -> list[torch.Tensor]:
    """The places of each image's vision tokens in one prompt, each int [n], ascending. input_ids: int [tokens].

    A run of vision tokens is an image, unless the family separates an image's tokens (Family.separated): then all are one image.
    """
    places = vision_mask(model, input_ids).nonzero()[:, 0]
    if family_of(model.config.model_type).separated or not len(places):
        return [places] if len(places) else []
    return list(places.tensor_split((places.diff() > 1).nonzero()[:, 0].cpu() + 1))


@dataclass(frozen=True)
class Embedded:
    """One prompt as it enters the first decoder layer, without padding, and the positions of tokens to be generated after it.

    ids: int [tokens]; hidden: [tokens, hidden]; rotary: position embeddings by kind of layer (Decoder.kinds), each a tuple of
    [..., 1, tokens + new, head]; visible: by kind of layer, which tokens (columns) a token (row) attends to, bool [tokens + new,
    tokens + new], None where it attends to all up to itself; added: what the model adds to the residual stream after decoder
    layers 0, 1, ... (Qwen3-VL's DeepStack), each [tokens, hidden], zero at text tokens; empty for most families.
    grids: (rows, columns) of each image's vision tokens, or its size in pixels; empty for families that report neither.
    pixels: each image as preprocessed by the processor.
    """

    ids: torch.Tensor
    hidden: torch.Tensor
    rotary: tuple[tuple[torch.Tensor, ...], ...]
    visible: tuple[torch.Tensor | None, ...]
    added: tuple[torch.Tensor, ...] = ()
    grids: tuple[tuple[int, int], ...] = ()
    pixels: tuple[torch.Tensor, ...] = ()


_PACK_BYTES = 2 << 30


def _packed_product(weight, bias, hidden):
    return torch.ops.mkldnn._linear_pointwise(hidden, weight, bias, "none", [], "")


class Decoder:
    """The language model inside a loaded VLM, or a language model: everything a sweep needs.

    layers: the decoder layers; kinds: the kind of each, an index into what Embedded has by kind; finish(hidden): final norm and LM
    head; embed(inputs): prompts as they enter layer 0, by the model's own vision tower, position ids and masks. Raises InputError
    for a model in which a sweep is not defined (refusal).
    """

    def __init__(self, model):
        if why := refusal(model):
            raise InputError(f"{model.config.model_type}: {why}")
        self.model, self.text = model, text_decoder(model)
        self.proved = (
            False  # whether a sweep without interventions was seen to be the model's own answer (sweep._prove)
        )
        self.layers = list(self.text.layers)
        # Layers may be spread over several GPUs (models.loading.spread); what a layer reads is brought to its own.
        self.devices = [next(layer.parameters()).device for layer in self.layers]
        self.config = self.text.config
        types = getattr(self.config, "layer_types", None) or ["full_attention"] * len(self.layers)
        self.kinds = [sorted(set(types)).index(kind) for kind in types]

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
        with contextlib.ExitStack() as stack:
            for module, packed in self._packed:
                stack.enter_context(_instead(module, functools.partial(_packed_product, packed, module.bias)))
            yield

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
        return len(getattr(getattr(self.model.config, "vision_config", None), "deepstack_visual_indexes", None) or ())

    def embeddings(self, tokens: torch.Tensor) -> torch.Tensor:
        """Token embeddings [..., hidden] as they enter layer 0."""
        return self.model.get_input_embeddings()(tokens)

    def finish(self, hidden: torch.Tensor) -> torch.Tensor:
        """Logits [..., vocabulary] from final hidden states [..., hidden]."""
        logits = self.model.get_output_embeddings()(self.text.norm(hidden))
        cap = getattr(self.config, "final_logit_softcapping", None)
        return logits if cap is None else torch.tanh(logits / cap) * cap

    def embed(self, inputs, new: int = 0) -> list[Embedded]:
        """Each prompt of a padded batch, with its padding removed, and `new` tokens after it that are still to be generated.

        The model's own forward runs with decoder layers that record what they are given and return zero: what enters the next one is
        then what the model adds between them. Raises InputError if a layer is given something that a sweep does not know.
        """
        inputs = _left_padded(dict(inputs))
        tokens = inputs["input_ids"].shape[1]
        inputs = _lengthened(inputs, new)
        if not hasattr(self.model.base_model, "get_rope_index"):  # which tells padding from text itself
            inputs["position_ids"] = (inputs["attention_mask"].cumsum(-1) - 1).clamp(min=0)
        entered, given = [], []

        def record(hidden, *args, **kwargs):
            entered.append(hidden)
            given.append({**kwargs, **dict(enumerate(args))})
            return torch.zeros_like(hidden)

        with contextlib.ExitStack() as stack:
            stack.enter_context(self.attention("sdpa"))
            for layer in self.layers:
                stack.enter_context(_instead(layer, record))
            self.model(**inputs, use_cache=False, logits_to_keep=1)
        self._check(given, entered[1:], tokens)
        first = [self.kinds.index(kind) for kind in sorted(set(self.kinds))]
        rotary = [given[layer]["position_embeddings"] for layer in first]
        masks = [_visible(given[layer].get("attention_mask")) for layer in first]
        added = entered[1:]
        while added and not added[-1].any():
            added.pop()

        shapes, pixels = iter(_shapes(self.model, inputs)), iter(_pixels(inputs))
        prompts = []
        for row, kept in enumerate(inputs["attention_mask"].bool()):
            own = kept[:tokens]
            ids = inputs["input_ids"][row, :tokens][own]
            images = len(vision_tokens(self.model, ids))
            visible = [None if mask is None else mask[row % len(mask)][kept][:, kept] for mask in masks]
            prompts.append(
                Embedded(
                    ids,
                    entered[0][row, :tokens][own],
                    tuple(tuple(_row(part, row)[..., kept, :] for part in parts) for parts in rotary),
                    tuple(None if mask is None or _causal(mask) else mask for mask in visible),
                    tuple(states[row, :tokens][own] for states in added),
                    tuple(itertools.islice(shapes, images)),
                    tuple(itertools.islice(pixels, images)),
                )
            )
        return prompts

    def _check(self, given: list[dict], added: list[torch.Tensor], tokens: int) -> None:
        """Layers of a kind share positions and mask, nothing else differs between tokens, and nothing is added to generated ones."""
        name = self.model.config.model_type
        if len(given) != len(self.layers):
            raise InputError(f"{name}: {len(given)} of {len(self.layers)} decoder layers were run: not a plain stack")
        for layer, (kind, kwargs) in enumerate(zip(self.kinds, given, strict=True)):
            like = given[self.kinds.index(kind)]
            known = {"position_embeddings", "attention_mask", "position_ids", "cache_position"}
            odd = [key for key, value in kwargs.items() if key not in known and torch.is_tensor(value)]
            if odd or "position_embeddings" not in kwargs:
                what = f"takes {odd[0]}" if odd else "takes no position embeddings"
                raise InputError(f"{name}: decoder layer {layer} {what}, which a sweep does not know")
            if any(kwargs.get(key) is not like.get(key) for key in ("position_embeddings", "attention_mask")):
                raise InputError(f"{name}: decoder layer {layer} has positions or a mask of its own, unlike its kind")
        if any(states[:, tokens:].any() for states in added):
            raise InputError(f"{name}: something is added to text between its layers, which a sweep does not know")


@contextlib.contextmanager
def _instead(module, forward) -> Iterator[None]:
    """Context: a module's forward is replaced."""
    before = vars(module).get("forward")
    module.forward = forward
    try:
        yield
    finally:
        if before is None:
            del module.forward
        else:
            module.forward = before


def _left_padded(inputs: dict) -> dict:
    """A processor's batch with all padding on the left."""
    mask = inputs["attention_mask"].bool()
    width = mask.shape[1]
    last = width - 1 - mask.flip(-1).int().argmax(-1)
    place = (torch.arange(width, device=mask.device) + 1 + last[:, None]) % width  # each row rolled by its padding
    return {key: part.gather(1, place) if _by_token(part, mask) else part for key, part in inputs.items()}


def _by_token(part, mask) -> bool:
    return torch.is_tensor(part) and part.shape == mask.shape and not part.is_floating_point()


def _lengthened(inputs: dict, new: int) -> dict:
    """Inputs with `new` text tokens after each prompt; which ones does not matter."""
    mask = inputs["attention_mask"]
    tail = mask.new_zeros(len(mask), new)
    parts = {key: torch.cat([part, tail], 1) for key, part in inputs.items() if _by_token(part, mask)}
    return {**inputs, **parts, "attention_mask": torch.cat([mask, tail + 1], 1)}


def _visible(mask) -> torch.Tensor | None:
    """A mask as transformers gives it to PyTorch's attention, as bool [batch, queries, keys]; None for causal attention."""
    if mask is None:
        return None
    return (mask if mask.dtype == torch.bool else mask == 0)[:, 0]


def _causal(visible: torch.Tensor) -> bool:
    return torch.equal(visible, torch.ones_like(visible).tril())


def _row(part, row: int):
    """One prompt's position embeddings [..., 1, tokens, head]; the batch may share them."""
    row %= part.shape[-3]
    return part[..., row : row + 1, :, :]


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


def _shapes(model, inputs) -> list[tuple[int, int]]:
    """The grid of every image in a batch, or its size in pixels where its tokens form no plain grid; [] if neither is reported."""
    return grids(model, inputs) or [tuple(size.tolist()) for size in inputs.get("image_sizes", [])]


def boxes_to_canvas(model, inputs, size: tuple[int, int]) -> tuple[float, float]:
    """(x, y) factors from the family's box coordinates to pixels of the original image.

    inputs: processor output, whose first image is used; size: (width, height) of the original.
    """
    boxes = family_of(model.config.model_type).boxes
    if boxes == THOUSANDTHS:
        return size[0] / 1000, size[1] / 1000
    if boxes == RESIZED:
        patch = model.config.vision_config.patch_size
        _, rows, columns = inputs["image_grid_thw"][0].tolist()
        return size[0] / (columns * patch), size[1] / (rows * patch)
    return 1.0, 1.0
