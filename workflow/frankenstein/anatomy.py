"""From a checkpoint's parameter names to its parts. Everything else names no architecture.

One adapter a model family; Qwen2.5-VL is the first.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from .errors import InputError

FAMILIES = ("qwen2_5_vl",)

_LAYER = re.compile(
    r"layers\.(\d+)\.(self_attn|mlp|input_layernorm|post_attention_layernorm)(?:\.(\w+))?\.(weight|bias)"
)
# transformers has written the same parameter under several prefixes over the years.
_PREFIX = re.compile(
    r"^(?:model\.language_model\.|language_model\.model\.|language_model\.|model\.)?(?=layers\.|embed_tokens\.|norm\.)"
)


@dataclass(frozen=True)
class Part:
    """Where a parameter belongs.

    component: embeddings, layer, final_norm, head, vision_tower or projector;
    layer: index of the decoder layer (0-based), None elsewhere;
    block: attention, mlp or norm within a decoder layer, "" elsewhere;
    matrix: q_proj ... down_proj, "" where the parameter is no weight matrix of a decoder layer.
    """

    component: str
    layer: int | None = None
    block: str = ""
    matrix: str = ""


def canonical(name: str) -> str:
    """A parameter's name free of the prefix convention of the file that holds it."""
    if name.startswith("model.visual."):
        return name.removeprefix("model.")
    return _PREFIX.sub("", name)


def part_of(name: str) -> Part:
    """The part that a parameter belongs to. Raises InputError for a name of no known part."""
    short = canonical(name)
    if match := _LAYER.fullmatch(short):
        layer, block, module, kind = match.groups()
        block = {"self_attn": "attention", "mlp": "mlp"}.get(block, "norm")
        return Part("layer", int(layer), block, module if kind == "weight" and block != "norm" else "")
    if short.startswith("visual."):
        return Part("projector" if short.startswith("visual.merger.") else "vision_tower")
    for start, component in (("embed_tokens.", "embeddings"), ("norm.", "final_norm"), ("lm_head.", "head")):
        if short.startswith(start):
            return Part(component)
    raise InputError(f"parameter {name!r}: no known part of {' or '.join(FAMILIES)}; is this another model family?")


def read_config(directory: Path) -> dict:
    """config.json of a checkpoint directory; InputError where it is missing, broken or of another family."""
    path = Path(directory) / "config.json"
    try:
        config = json.loads(path.read_text())
    except FileNotFoundError:
        raise InputError(f"{directory}: no config.json: not a Hugging Face checkpoint directory") from None
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: not JSON ({error}): half-written? fetch or save the checkpoint again") from None
    if config.get("model_type") not in FAMILIES:
        raise InputError(f"{path}: model_type {config.get('model_type')!r}; supported: {', '.join(FAMILIES)}")
    return config


def layer_count(directory: Path) -> int:
    """Number of decoder layers of a checkpoint."""
    config = read_config(directory)
    return config.get("text_config", config)["num_hidden_layers"]


# --- a loaded model -----------------------------------------------------------------------------


def decoder_layers(model) -> list:
    """The decoder layers of a loaded model, in order."""
    return list(model.model.language_model.layers)


def vision_mask(model, input_ids):
    """bool [batch, tokens]: which prompt tokens are vision tokens."""
    return input_ids == model.config.image_token_id
