"""Attention in vision towers that pack all images and windows into one sequence (Qwen2-VL to Qwen3-VL, GLM-4V).

Under "sdpa", transformers attends within one window after the other: 84 calls per block for an image of 1260 x 700 pixels, each
block waiting for the windows' bounds from the GPU. Only under a name with "flash" in it does it hand over the bounds; ours then
attends within all windows of equal length at once, and an image's windows have at most four lengths. On the CPU, the result has
equal bytes.
"""

from __future__ import annotations

import inspect

import torch
import torch.nn.functional as F
from transformers import AttentionInterface
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

_NAME = "frankenstein_flash_windows"


def _by_length(bounds: torch.Tensor) -> tuple[list[torch.Tensor], torch.Tensor | None]:
    """The places of the tokens, int [windows, length] for each length of a window; and where among these, one after the other, the
    sequence's tokens are, int [tokens], or None if in order. bounds: int [windows + 1]."""
    if not hasattr(bounds, "_by_length"):  # a tower's blocks share the tensor
        lengths, kinds = bounds.diff(), []
        for length in lengths.unique().tolist():
            starts = bounds[:-1][lengths == length]
            kinds.append(starts[:, None] + torch.arange(length, device=bounds.device))
        order = torch.cat([places.flatten() for places in kinds])
        bounds._by_length = kinds, order.argsort() if len(kinds) > 1 else None
    return bounds._by_length


def _attention(module, query, key, value, attention_mask, scaling=None, dropout=0.0, cu_seq_lens_q=None, **kwargs):
    """query, key, value: [1, heads, tokens, d]. Returns ([1, tokens, heads, d], None)."""
    if cu_seq_lens_q is None:
        inner = ALL_ATTENTION_FUNCTIONS["sdpa"]
        return inner(module, query, key, value, attention_mask, scaling=scaling, dropout=dropout, **kwargs)
    kinds, order = _by_length(cu_seq_lens_q)
    parts = []
    for places in kinds:
        # All of one length: nothing has to be copied.
        windows = (p[0].unflatten(1, places.shape) if order is None else p[0][:, places] for p in (query, key, value))
        made = F.scaled_dot_product_attention(*(w.transpose(0, 1) for w in windows), dropout_p=dropout, scale=scaling)
        parts.append(made.transpose(1, 2).flatten(0, 1))
    made = torch.cat(parts)
    return (made if order is None else made[order])[None], None


AttentionInterface.register(_NAME, _attention)


def windows_at_once(model) -> None:
    """Let a model's vision tower, if it packs windows and is under "sdpa", attend within all of equal length at once."""
    for module in model.modules():
        attends = type(module).__name__.endswith("Attention")
        packs = attends and "cu_seqlens" in inspect.signature(module.forward).parameters
        if packs and module.config._attn_implementation == "sdpa":
            module.config._attn_implementation = _NAME
