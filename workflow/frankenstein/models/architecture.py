"""The parts of a checkpoint, from the module tree of its model on the meta device: no weight is read, no remote code run."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import json
import os
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import InputError
from .classes import model_class
from .family import FOLDER, family_of

# torch and transformers are imported only for a kind of checkpoint that this machine has not met: they cost 500 MB and 5 seconds.


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


# --- a model's parameters ------------------------------------------------------------------------


def text_decoder(model):
    """The language model's stack of decoder layers (`.layers`). Raises InputError if the model has no such stack."""
    from torch.nn import ModuleList

    decoder = model.get_decoder()
    if not isinstance(getattr(decoder, "layers", None), ModuleList):
        raise InputError(f"{model.config.model_type}: its language model is no stack of decoder layers")
    return decoder


def vision_tower(model):
    """The vision encoder; None for a language model."""
    tower = model.get_encoder("image")
    return None if tower in (model, model.base_model) else tower


def parts_of(model) -> dict[str, Part]:
    """The part of each tensor in a model's state dict, by name.

    Raises InputError naming a tensor outside the language model, the head, the vision tower and the projector.
    """
    decoder, tower = text_decoder(model), vision_tower(model)
    paths = {id(module): f"{path}." for path, module in model.named_modules() if path}
    layers, head = paths[id(decoder.layers)], paths.get(id(model.get_output_embeddings()))
    inside, seeing = paths[id(decoder)], paths.get(id(tower))
    projecting = tuple(f"{seeing}{child}." for child in family_of(model.config.model_type).projector)
    blocks = _blocks(tower, seeing) if tower is not None else {}
    found = {}
    for name, tensor in model.state_dict().items():
        module = model.get_submodule(name.rpartition(".")[0])
        if name.startswith(layers):
            number, _, own = name.removeprefix(layers).partition(".")
            found[name] = Part("layer", int(number), *_in_block(decoder.layers[int(number)], own, tensor), int(number))
        elif name.startswith(inside):
            own = name.removeprefix(inside)
            if module is getattr(decoder, "norm", None):
                found[name] = Part("final_norm")
            elif hasattr(module, "num_embeddings") or "per_layer" in own:  # Gemma 4 also embeds for each layer
                found[name] = Part("embeddings", matrix=_matrix(own, tensor))
        elif head and name.startswith(head):
            found[name] = Part("head", matrix=_matrix(name, tensor).rpartition(".")[2])
        elif seeing and name.startswith(projecting):
            found[name] = Part("projector", matrix=_matrix(name.removeprefix(seeing), tensor))
        elif seeing and name.startswith(seeing):
            block = next((path for path in blocks if name.startswith(path)), None)
            if block is None:
                found[name] = Part("vision_tower", matrix=_matrix(name.removeprefix(seeing), tensor))
            else:
                depth, module = blocks[block]
                kind, matrix = _in_block(module, name.removeprefix(block), tensor)
                found[name] = Part("vision_tower", None, kind, matrix, depth)
        elif seeing and not any(word in name for word in _OTHER_SENSES):
            # Beside the tower: image_newline, or a module such as multi_modal_projector, whose name a matrix does without.
            child, _, own = name.removeprefix(model.base_model_prefix + ".").partition(".")
            found[name] = Part("projector", matrix=_matrix(own, tensor) or ("" if tensor.ndim < 2 else child))
        if name not in found:
            raise InputError(
                f"{type(model).__name__}: {name!r} belongs to no part of a vision-language model that Frankenstein knows"
            )
    return found


_OTHER_SENSES = ("audio", "speech", "sound")


def _blocks(tower, path: str) -> dict[str, tuple[int, object]]:
    """The vision tower's transformer blocks, in order: path -> (depth, module)."""
    from torch.nn import ModuleList

    found = []
    for name, module in tower.named_modules():
        if isinstance(module, ModuleList) and any("attention" in _kinds(block) for block in module):
            found += [(f"{path}{name}.{number}.", block) for number, block in enumerate(module)]
    return {path: (depth, block) for depth, (path, block) in enumerate(found)}


def _kinds(block) -> set[str]:
    return {_kind(name, module) for name, module in block.named_children()}


def _kind(name: str, module) -> str:
    """attention, norm or mlp: what a child of a decoder layer or vision block is."""
    cls = type(module).__name__.lower()
    # A norm may be named after what it follows (post_self_attn_layernorm); its class is not.
    if ("attn" in name or "attention" in cls) and "norm" not in cls:
        return "attention"
    parameters = list(module.parameters())
    return "norm" if parameters and all(parameter.ndim < 2 for parameter in parameters) else "mlp"


def _in_block(block, name: str, tensor) -> tuple[str, str]:
    """(block, matrix) of a tensor in a decoder layer or vision block."""
    child, _, own = name.partition(".")
    if not own:  # a gate or scale of the layer itself
        return "norm", ""
    return _kind(child, getattr(block, child)), _matrix(own, tensor) or ("" if tensor.ndim < 2 else child)


def _matrix(name: str, tensor) -> str:
    """The name of a weight matrix; empty for norms, biases and other vectors."""
    return name.removesuffix(".weight") if tensor.ndim > 1 and name != "weight" else ""


# --- a checkpoint's tensors ----------------------------------------------------------------------


def read_config(directory: Path) -> dict:
    """config.json of a checkpoint directory. Raises InputError if it is missing, invalid or does not name a model type."""
    path = Path(directory) / "config.json"
    try:
        config = json.loads(path.read_text())
    except FileNotFoundError:
        raise InputError(f"{directory}: no config.json: not a Hugging Face checkpoint directory") from None
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: not JSON ({error}): incomplete? download or save the checkpoint again") from None
    if "model_type" not in config:
        raise InputError(f"{path}: no model_type; download or save the checkpoint again")
    return config


def empty_model(directory: Path):
    """A checkpoint's model without weights, on the meta device.

    Raises InputError if transformers has no vision-language or language model for its config; code that comes with a checkpoint
    is not run.
    """
    import torch
    from transformers import AutoConfig

    raw, path = read_config(directory), Path(directory) / "config.json"
    try:
        AutoConfig.for_model(raw["model_type"])
    except ValueError:
        why = f"{path}: model_type {raw['model_type']!r} is unknown to transformers {importlib.metadata.version('transformers')}"
        if "auto_map" in raw:
            why += "; it needs the code in its repository, which is not run: convert it to a model type of transformers"
        raise InputError(why) from None
    config = AutoConfig.from_pretrained(directory, local_files_only=True)
    kind = model_class(config, directory)
    with torch.device("meta"):
        return kind._from_config(config)


def canonical_parts(directory: Path, stored: list[str]) -> dict[str, tuple[str, Part | None]]:
    """Each stored tensor's name independent of how its file names it, and its part (None if the model has no such tensor).

    transformers versions save the same parameter under different names: transformers' own conversion tells which it is. The result
    is kept in the user's cache (XDG_CACHE_HOME/frankenstein), by config, names and the code that it depends on.
    """
    kind = read_config(directory)["model_type"]
    code = [path.read_text() for path in (Path(__file__), FOLDER / f"{kind}.py") if path.exists()]
    config, version = (Path(directory) / "config.json").read_text(), importlib.metadata.version("transformers")
    made_of = [config, *sorted(stored), version, *code]
    key = hashlib.sha256("\0".join(made_of).encode()).hexdigest()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "frankenstein" / "parts" / f"{key}.json"
    if not cache.exists():
        made = _canonical_parts(empty_model(directory), stored)
        as_json = {name: (own, part and dataclasses.astuple(part)) for name, (own, part) in made.items()}
        try:
            cache.parent.mkdir(parents=True, exist_ok=True)
            part = cache.with_suffix(f".{os.getpid()}")
            part.write_text(json.dumps(as_json))
            part.replace(cache)
        except OSError:
            return made  # a home that cannot be written to costs time, nothing else
    return {name: (own, part and Part(*part)) for name, (own, part) in json.loads(cache.read_text()).items()}


def _canonical_parts(model, stored: list[str]) -> dict[str, tuple[str, Part | None]]:
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import WeightRenaming, rename_source_key

    transforms = get_model_conversion_mapping(model)
    renamings = [one for one in transforms if isinstance(one, WeightRenaming)]
    converters = [one for one in transforms if not isinstance(one, WeightRenaming)]
    parts, tensors, prefix = parts_of(model), model.state_dict(), model.base_model_prefix
    inside = next(path for path, module in model.named_modules() if module is text_decoder(model)) + "."
    found = {}
    for name in stored:
        # A converted tensor (one expert of several that the model stacks) keeps a name of its own.
        own, _ = rename_source_key(name, renamings, [], prefix, tensors)
        target, _ = rename_source_key(name, renamings, converters, prefix, tensors)
        part = parts.get(target)
        if target not in tensors:
            own = name
        elif target.startswith(f"{prefix}.") and not own.startswith(f"{prefix}."):
            own = f"{prefix}.{own}"
        if part and part.matrix and own != target:
            module = part.matrix.partition(".")[0]
            part = dataclasses.replace(part, matrix=module + own.removesuffix(".weight").rpartition(f".{module}")[2])
        found[name] = own.removeprefix(inside).removeprefix("model."), part
    return found


def is_language_model(config: dict) -> bool:
    """Whether a config is a language model's alone: layers, and nothing that sees."""
    return "num_hidden_layers" in config and "vision_config" not in config


def layer_count(directory: Path) -> int:
    """Number of decoder layers in a checkpoint."""
    config = read_config(directory)
    text = config.get("text_config", config)
    if "num_hidden_layers" not in text:
        raise InputError(f"{directory}/config.json: no num_hidden_layers; download or save the checkpoint again")
    return text["num_hidden_layers"]


def ties_embeddings(directory: Path) -> bool:
    """Whether a checkpoint's config ties the LM head to the embeddings; False if there is no config."""
    path = Path(directory) / "config.json"
    config = json.loads(path.read_text()) if path.exists() else {}
    return bool(config.get("tie_word_embeddings", config.get("text_config", {}).get("tie_word_embeddings")))
