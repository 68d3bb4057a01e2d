"""Loading a checkpoint's model and processor, from disk only."""

from __future__ import annotations

import math
from pathlib import Path

from PIL import Image

from ..core.errors import InputError
from . import gpu
from .classes import model_class


def cap_pixels(processor, pixels: int) -> dict[str, object]:
    """Limit a processor's images to this many pixels by the setting that it has for it, and return what was set.

    An image cut into tiles has at most so many in its tiles, but at least one tile; the overview of the whole image
    that such families show beside them is not counted. Raises InputError if no setting of the processor can keep to it.
    """
    images = processor.image_processor
    size = dict(images.size or {})
    refused = f"evaluation.max_pixels: {pixels} is too few for {type(images).__name__}"
    if set(size) == {"shortest_edge", "longest_edge"} and hasattr(images, "merge_size"):  # areas: Qwen, GLM
        # GLM counts a still image as the frames of a video that shows nothing else.
        frames = images.temporal_patch_size if "Glm" in type(images).__name__ else 1
        longest = min(size["longest_edge"], pixels * frames)
        limit = {"size": {"shortest_edge": min(size["shortest_edge"], longest), "longest_edge": longest}}
    elif set(size) == {"longest_edge"}:
        side = min(size["longest_edge"], math.isqrt(pixels))
        if tile := getattr(images, "max_image_size", None):  # SmolVLM enlarges to whole tiles
            side = max(1, side // tile["longest_edge"]) * tile["longest_edge"]
        limit = {"size": {"longest_edge": side}}
    elif hasattr(images, "image_grid_pinpoints"):  # LLaVA
        shapes = [list(shape) for shape in images.image_grid_pinpoints if math.prod(shape) <= pixels]
        if not shapes:
            smallest = min(map(math.prod, images.image_grid_pinpoints))
            raise InputError(f"{refused}, whose smallest image has {smallest}; raise it or leave the key out")
        limit = {"image_grid_pinpoints": shapes}
    elif hasattr(images, "max_soft_tokens"):  # Gemma 4: some powers of two
        tokens, area = images.max_soft_tokens, (images.pooling_kernel_size * images.patch_size) ** 2
        while tokens * area > pixels:
            tokens //= 2
        try:
            type(images)(max_soft_tokens=tokens)
        except ValueError as error:
            raise InputError(f"{refused}: {error}; raise it or leave the key out") from None
        limit = {"max_soft_tokens": tokens}
    elif hasattr(images, "max_patches"):  # InternVL
        tiles = max(1, pixels // (size["height"] * size["width"]))
        limit = {"max_patches": min(images.max_patches, tiles)}
    else:
        # One size for all, or none known here. Mllama's tiles cannot be fewer: the model knows a layout by its number.
        large = images([Image.new("RGB", (4096, 1024))], return_tensors="pt")["pixel_values"].numel() // 3
        if large > pixels:
            raise InputError(f"{refused}, which shows a large image in {large}; raise it or leave the key out")
        limit = {}
    for name, value in limit.items():
        setattr(images, name, type(images.size)(**value) if name == "size" else value)
    return limit


def spread(model, memory: dict[int, int]) -> dict[str, int]:
    """Device map of a model (on the meta device) over GPUs, about as much on each; a decoder layer or a block of the vision tower is
    never divided.

    memory: GPU -> bytes for weights. Raises InputError if they do not suffice: nothing is left to the CPU or the disk, from where
    every forward pass would fetch it again.
    """
    from accelerate import infer_auto_device_map
    from accelerate.utils import get_balanced_memory

    whole = list(model._no_split_modules or ())
    balanced = get_balanced_memory(model, dict(memory), no_split_module_classes=whole)
    placed = infer_auto_device_map(model, balanced, no_split_module_classes=whole)
    if left := [name for name, place in placed.items() if place not in memory]:
        size = sum(weight.numel() * weight.element_size() for weight in model.parameters())
        raise InputError(
            f"{size / 1e9:.1f} GB of weights do not fit {len(memory)} GPUs with {sum(memory.values()) / 1e9:.1f} GB for them: "
            f"{left[0] or 'the model'} has no place; give the job more GPUs (evaluation.gpus, probes.gpus)"
        )
    return placed


def _device_map(kind, config, gpus: int) -> dict:
    """Where the parts of a model go: all to one device, or over so many GPUs, with a tenth of each left to what is computed."""
    import torch

    if (device := gpu.device()) == "cpu" or gpus == 1:
        return {"": device}  # straight to the GPU, without a copy in host memory
    if gpus > (seen := gpu.count()):
        raise InputError(
            f"{gpus} GPUs are wanted, and this process sees {seen} (CUDA_VISIBLE_DEVICES, or the scheduler)"
        )
    with torch.device("meta"):
        empty = kind(config).to(config.dtype or config.get_text_config().dtype or torch.float32)
    return spread(empty, {number: int(0.9 * torch.cuda.mem_get_info(number)[0]) for number in range(gpus)})


def load_model(
    directory: Path,
    attention: str = "sdpa",
    max_pixels: int | None = None,
    template: str | None = None,
    state_dict: dict | None = None,
    gpus: int = 1,
):
    """(model in eval mode, processor), from disk only.

    max_pixels: larger images are downscaled to it (cap_pixels). template: a chat template replacing the checkpoint's own.
    state_dict: tensors, by the names that a checkpoint's files have, in place of the directory's (merging.memory).
    gpus: number of GPUs to spread the layers over (spread); of no meaning on the CPU. Raises InputError for missing or unexpected
    weights, and where they do not fit the GPUs.
    """
    from transformers import AutoConfig, AutoProcessor, GenerationConfig

    from .vision_attention import windows_at_once

    processor = AutoProcessor.from_pretrained(directory, local_files_only=True)
    config = AutoConfig.from_pretrained(directory, local_files_only=True)
    if max_pixels:
        limit = cap_pixels(processor, max_pixels)
        if "image_grid_pinpoints" in limit:  # by which the model tells an image's tiles apart
            config.image_grid_pinpoints = limit["image_grid_pinpoints"]
    if template:
        processor.chat_template = template
    kind = model_class(config, directory)
    model, loading = kind.from_pretrained(
        None if state_dict is not None else directory,
        config=config,
        state_dict=state_dict,
        local_files_only=True,
        use_safetensors=True,
        attn_implementation=attention,
        dtype="auto",
        device_map=_device_map(kind, config, gpus),
        output_loading_info=True,
    )
    for problem in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if names := sorted(loading[problem]):
            raise InputError(f"{directory}: {problem.replace('_', ' ')}: {names[0]} ({len(names)} in all)")
    if state_dict is not None and (Path(directory) / "generation_config.json").exists():
        model.generation_config = GenerationConfig.from_pretrained(directory, local_files_only=True)
    windows_at_once(model)
    return model.eval(), processor
