"""Loading a checkpoint's model and processor, from disk only."""

from __future__ import annotations

from pathlib import Path

from ..core.errors import InputError
from . import gpu


def cap_pixels(processor, pixels: int) -> None:
    """Limit a processor's images to this many pixels. Raises InputError if it has no such setting (Qwen's does)."""
    images = processor.image_processor
    size = dict(images.size)
    if set(size) != {"shortest_edge", "longest_edge"} or not hasattr(images, "merge_size"):
        raise InputError(
            f"evaluation.max_pixels: {type(images).__name__} has no limit in pixels (its size is {size}); leave the key out"
        )
    size["longest_edge"] = min(size["longest_edge"], pixels)
    size["shortest_edge"] = min(size["shortest_edge"], size["longest_edge"])
    images.size = type(images.size)(**size)


def load_model(
    directory: Path,
    attention: str = "sdpa",
    max_pixels: int | None = None,
    template: str | None = None,
    state_dict: dict | None = None,
):
    """(model in eval mode, processor), from disk only.

    max_pixels: larger images are downscaled to it (cap_pixels). template: a chat template replacing the checkpoint's own.
    state_dict: tensors, by the names that a checkpoint's files have, in place of the directory's (merging.memory).
    """
    from transformers import (
        MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
        AutoConfig,
        AutoModelForImageTextToText,
        AutoProcessor,
        GenerationConfig,
    )

    device = gpu.device()
    processor = AutoProcessor.from_pretrained(directory, local_files_only=True)
    if max_pixels:
        cap_pixels(processor, max_pixels)
    if template:
        processor.chat_template = template
    source, auto, weights = directory, AutoModelForImageTextToText, {}
    if state_dict is not None:  # which the automatic class does not take
        config = AutoConfig.from_pretrained(directory, local_files_only=True)
        weights = {"config": config, "state_dict": state_dict}
        source, auto = None, MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING[type(config)]
    model, loading = auto.from_pretrained(
        source,
        **weights,
        local_files_only=True,
        use_safetensors=True,
        attn_implementation=attention,
        dtype="auto",
        device_map={"": device},  # straight to the GPU, without a copy in host memory
        output_loading_info=True,
    )
    for problem in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if names := sorted(loading[problem]):
            raise InputError(f"{directory}: {problem.replace('_', ' ')}: {names[0]} ({len(names)} in all)")
    if state_dict is not None and (Path(directory) / "generation_config.json").exists():
        model.generation_config = GenerationConfig.from_pretrained(directory, local_files_only=True)
    return model.eval(), processor
