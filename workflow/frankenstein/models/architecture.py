"""From a checkpoint's parameter names to its parts."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import InputError
from .families import FAMILIES

_LAYER = re.compile(
    r"layers\.(\d+)\.(self_attn|mlp|input_layernorm|post_attention_layernorm)(?:\.(\w+))?\.(weight|bias)"
)
# transformers has written the same parameter under several prefixes over the years.
_PREFIX = re.compile(
    r"^(?:model\.language_model\.|language_model\.model\.|language_model\.|model\.)?(?=layers\.|embed_tokens\.|norm\.|lm_head\.)"
)

# What is no language model, and what of it brings vision into the language model's width.
_PROJECTING = tuple(dict.fromkeys(start for family in FAMILIES.values() for start in family.projector))
_SEEING = (*dict.fromkeys(start for family in FAMILIES.values() for start in family.vision), *_PROJECTING)
_VISION_BLOCK = re.compile(r"(?:blocks|layers)\.(\d+)\.")


@dataclass(frozen=True)
class Part:
    """Where a parameter belongs.

    component: embeddings, layer, final_norm, head, vision_tower or projector;
    layer: index of the decoder layer (0-based), None elsewhere;
    block: attention, mlp or norm within a decoder layer or a block of the vision tower, "" elsewhere;
    matrix: q_proj ... down_proj, qkv, merger.mlp.0, ...: which weight matrix, "" for norms and biases;
    depth: index of the decoder layer or of the vision tower's block, -1 elsewhere.
    """

    component: str
    layer: int | None = None
    block: str = ""
    matrix: str = ""
    depth: int = -1


def canonical(name: str) -> str:
    """A parameter's name free of the prefix convention of the file that holds it."""
    short = name.removeprefix("model.")
    return short if short.startswith(_SEEING) else _PREFIX.sub("", name)


def part_of(name: str) -> Part:
    """The part that a parameter belongs to. Raises InputError for a name of no known part."""
    short = canonical(name)
    if match := _LAYER.fullmatch(short):
        layer, block, module, kind = match.groups()
        block = {"self_attn": "attention", "mlp": "mlp"}.get(block, "norm")
        matrix = module if kind == "weight" and block != "norm" and "norm" not in module else ""
        return Part("layer", int(layer), block, matrix, int(layer))
    if short.startswith(_SEEING):
        path, _, kind = short.rpartition(".")
        matrix = "" if kind == "bias" or re.search(r"norm|ln_", path) else path.partition(".")[2]
        if short.startswith(_PROJECTING):
            return Part("projector", matrix=matrix)
        if match := _VISION_BLOCK.search(path):
            block = "norm" if not matrix else "attention" if "attn" in path else "mlp"
            return Part("vision_tower", None, block, matrix and path.rpartition(".")[2], int(match.group(1)))
        return Part("vision_tower", matrix=matrix)
    for start, component, matrix in (
        ("embed_tokens.", "embeddings", "embed_tokens"),
        ("norm.", "final_norm", ""),
        ("lm_head.", "head", "lm_head"),
    ):
        if short.startswith(start):
            return Part(component, matrix=matrix)
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
    text = config.get("text_config", config)
    if "num_hidden_layers" not in text:
        raise InputError(f"{directory}/config.json: no num_hidden_layers; fetch or save the checkpoint again")
    return text["num_hidden_layers"]


def ties_embeddings(directory: Path) -> bool:
    """Whether a checkpoint's head is its embeddings, as its config says; not where there is none."""
    path = Path(directory) / "config.json"
    config = json.loads(path.read_text()) if path.exists() else {}
    return bool(config.get("tie_word_embeddings", config.get("text_config", {}).get("tie_word_embeddings")))
