"""Qwen2.5-VL."""

from ..family import RESIZED, Family

FAMILY = Family("Qwen2.5-VL", boxes=RESIZED)
