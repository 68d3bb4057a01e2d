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
    from transformers import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING, AutoConfig, AutoProcessor, GenerationConfig

    processor = AutoProcessor.from_pretrained(directory, local_files_only=True)
    if max_pixels:
        cap_pixels(processor, max_pixels)
    if template:
        processor.chat_template = template
    config = AutoConfig.from_pretrained(directory, local_files_only=True)
    kind = MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING[type(config)]
    model, loading = kind.from_pretrained(
        None if state_dict else directory,
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
    if state_dict and (Path(directory) / "generation_config.json").exists():
        model.generation_config = GenerationConfig.from_pretrained(directory, local_files_only=True)
    return model.eval(), processor
