"""LLaVA-OneVision."""

from ..family import Family

FAMILY = Family("LLaVA-OneVision")
