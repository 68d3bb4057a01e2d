"""Qwen3-VL with experts."""

from ..family import THOUSANDTHS, Family

FAMILY = Family("Qwen3-VL-MoE", boxes=THOUSANDTHS)
