"""Untrained models of the families that the sweeps know, with random weights, and prompts for them."""

from __future__ import annotations

import torch
from family_checkpoints import FAMILIES as CHECKPOINTS  # noqa: F401
from family_checkpoints import checkpoint  # noqa: F401
from transformers import (
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
)

LAYERS = 6
IMAGE, VIDEO, START, END, EOS, PAD = 290, 291, 292, 293, 1, 0
_TEXT = {
    "vocab_size": 300,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "initializer_range": 0.1,
    "bos_token_id": PAD,
    "eos_token_id": EOS,
    "pad_token_id": PAD,
}
_TOKENS = {
    "image_token_id": IMAGE,
    "video_token_id": VIDEO,
    "vision_start_token_id": START,
    "vision_end_token_id": END,
    "tie_word_embeddings": True,
}
_ROPE = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 3, 3]}


def _qwen2_5_vl():
    vision = {"depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 4, "out_hidden_size": 64}
    vision |= {"fullatt_block_indexes": [1], "initializer_range": 0.2}
    config = Qwen2_5_VLConfig(text_config={**_TEXT, "rope_parameters": _ROPE}, vision_config=vision, **_TOKENS)
    return Qwen2_5_VLForConditionalGeneration(config)


def _qwen3_vl():
    vision = {"depth": 3, "hidden_size": 32, "intermediate_size": 64, "num_heads": 4, "out_hidden_size": 64}
    vision |= {"deepstack_visual_indexes": [0, 1], "num_position_embeddings": 64, "initializer_range": 0.2}
    rope = {**_ROPE, "mrope_interleaved": True}
    text = {**_TEXT, "head_dim": 16, "rope_parameters": rope}
    return Qwen3VLForConditionalGeneration(Qwen3VLConfig(text_config=text, vision_config=vision, **_TOKENS))


def _llava_onevision():
    vision = {"model_type": "siglip_vision_model", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    vision |= {"num_attention_heads": 4, "image_size": 28, "patch_size": 14, "vision_use_head": False}
    config = LlavaOnevisionConfig(
        text_config={**_TEXT, "model_type": "qwen2"},
        vision_config=vision,
        image_token_id=IMAGE,
        video_token_id=VIDEO,
        image_grid_pinpoints=[[28, 28], [28, 56], [56, 28]],
        vision_feature_layer=-1,
        tie_word_embeddings=True,
    )
    return LlavaOnevisionForConditionalGeneration(config)


FAMILIES = {"qwen2_5_vl": _qwen2_5_vl, "qwen3_vl": _qwen3_vl, "llava_onevision": _llava_onevision}


def build(family: str, dtype=torch.float32):
    torch.manual_seed(0)
    model = FAMILIES[family]().eval().to(dtype)
    model.generation_config.eos_token_id = EOS
    model.generation_config.pad_token_id = PAD
    return model


def text(count: int, seed: int) -> list[int]:
    return torch.randint(5, 280, (count,), generator=torch.Generator().manual_seed(seed)).tolist()


def image(seed: int, grid=(2, 3)) -> tuple[int, tuple[int, int]]:
    """An image of a prompt: what it shows, and its grid of vision tokens."""
    return seed, grid


def batch(model, prompts: list[list], side: str = "left") -> dict:
    """Model inputs of prompts: lists of token ids and images. Padded on a side."""
    family = model.config.model_type
    rows, pixels, grids = [], [], []
    for prompt in prompts:
        ids = []
        for part in prompt:
            if not isinstance(part, tuple):
                ids.append(part)
                continue
            seed, grid = part
            noise = torch.Generator().manual_seed(seed)
            if family == "llava_onevision":
                pixels.append(torch.randn(2, 3, 28, 28, generator=noise))
                count = _llava_tokens(model)
                ids += [IMAGE] * count
            else:
                patch = model.config.vision_config.patch_size
                pixels.append(torch.randn(4 * grid[0] * grid[1], 6 * patch**2, generator=noise))
                grids.append([1, 2 * grid[0], 2 * grid[1]])
                ids += [START, *[IMAGE] * (grid[0] * grid[1]), END]
        rows.append(ids)
    width = max(map(len, rows))
    left = side == "left"
    inputs = {
        "input_ids": torch.tensor(
            [[PAD] * (width - len(r)) * left + r + [PAD] * (width - len(r)) * (not left) for r in rows]
        ),
        "attention_mask": torch.tensor(
            [[0] * (width - len(r)) * left + [1] * len(r) + [0] * (width - len(r)) * (not left) for r in rows]
        ),
    }
    if family != "llava_onevision":
        inputs["mm_token_type_ids"] = (inputs["input_ids"] == IMAGE).long()
    if pixels and family == "llava_onevision":
        inputs |= {"pixel_values": torch.stack(pixels), "image_sizes": torch.tensor([[28, 28]] * len(pixels))}
    elif pixels:
        inputs |= {"pixel_values": torch.cat(pixels), "image_grid_thw": torch.tensor(grids)}
    if pixels:
        inputs["pixel_values"] = inputs["pixel_values"].to(model.dtype)
    return inputs


def _llava_tokens(model) -> int:
    """How many vision tokens an image of 28 x 28 becomes."""
    with torch.inference_mode():
        pixels = torch.zeros(1, 2, 3, 28, 28, dtype=model.dtype)
        features = model.model.get_image_features(pixels, torch.tensor([[28, 28]]), return_dict=True).pooler_output
    return sum(len(part) for part in features)
