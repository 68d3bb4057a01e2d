"""Qwen3-VL, whose DeepStack projects vision several times."""

from ..family import THOUSANDTHS, Family

FAMILY = Family("Qwen3-VL", boxes=THOUSANDTHS)
