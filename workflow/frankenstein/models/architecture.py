"""Mapping from a checkpoint's parameter names to the parts of the model."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import InputError
from .family import families

_LAYER = re.compile(
    r"layers\.(\d+)\.(self_attn|mlp|input_layernorm|post_attention_layernorm)(?:\.(\w+))?\.(weight|bias)"
)
# Different transformers versions save the same parameter under different prefixes.
_PREFIX = re.compile(
    r"^(?:model\.language_model\.|language_model\.model\.|language_model\.|model\.)?(?=layers\.|embed_tokens\.|norm\.|lm_head\.)"
)

# Parameters outside the language model, and among them those projecting vision to the language model's width.
_PROJECTING = tuple(dict.fromkeys(start for family in families().values() for start in family.projector))
_SEEING = (*dict.fromkeys(start for family in families().values() for start in family.vision), *_PROJECTING)
_VISION_BLOCK = re.compile(r"(?:blocks|layers)\.(\d+)\.")


@dataclass(frozen=True)
class Part:
    """The part of the model a parameter belongs to.

    component: embeddings, layer, final_norm, head, vision_tower or projector;
    layer: index of the decoder layer (0-based), None elsewhere;
    block: attention, mlp or norm within a decoder layer or a block of the vision tower, "" elsewhere;
    matrix: name of the weight matrix (q_proj ... down_proj, qkv, merger.mlp.0, ...), "" for norms and biases;
    depth: index of the decoder layer or of the vision tower's block, -1 elsewhere.
    """

    component: str
    layer: int | None = None
    block: str = ""
    matrix: str = ""
    depth: int = -1


def canonical(name: str) -> str:
    """A parameter's name without the prefix convention of the file it is stored in."""
    short = name.removeprefix("model.")
    return short if short.startswith(_SEEING) else _PREFIX.sub("", name)


def part_of(name: str) -> Part:
    """The part a parameter belongs to. Raises InputError if the name matches no known part."""
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
    raise InputError(f"parameter {name!r}: no known part of {' or '.join(families())}; is this another model family?")


def read_config(directory: Path, language_model: bool = False) -> dict:
    """config.json of a checkpoint directory. Raises InputError if it is missing, invalid or of an unsupported family.

    language_model: accept that of a language model as well, which only merges can use (is_language_model).
    """
    path = Path(directory) / "config.json"
    try:
        config = json.loads(path.read_text())
    except FileNotFoundError:
        raise InputError(f"{directory}: no config.json: not a Hugging Face checkpoint directory") from None
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: not JSON ({error}): incomplete? download or save the checkpoint again") from None
    if config.get("model_type") not in families() and not (language_model and is_language_model(config)):
        raise InputError(f"{path}: model_type {config.get('model_type')!r}; supported: {', '.join(families())}")
    return config


def is_language_model(config: dict) -> bool:
    """Whether a config is a language model's alone: layers, and nothing that sees."""
    return "num_hidden_layers" in config and "vision_config" not in config


def layer_count(directory: Path, language_model: bool = False) -> int:
    """Number of decoder layers in a checkpoint. language_model: see read_config."""
    config = read_config(directory, language_model)
    text = config.get("text_config", config)
    if "num_hidden_layers" not in text:
        raise InputError(f"{directory}/config.json: no num_hidden_layers; download or save the checkpoint again")
    return text["num_hidden_layers"]


def ties_embeddings(directory: Path) -> bool:
    """Whether a checkpoint's config ties the LM head to the embeddings; False if there is no config."""
    path = Path(directory) / "config.json"
    config = json.loads(path.read_text()) if path.exists() else {}
    return bool(config.get("tie_word_embeddings", config.get("text_config", {}).get("tie_word_embeddings")))
