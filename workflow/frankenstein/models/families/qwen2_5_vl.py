"""Qwen2.5-VL."""

from ..family import RESIZED, Family

FAMILY = Family(vision=("visual.",), projector=("visual.merger.",), boxes=RESIZED)
