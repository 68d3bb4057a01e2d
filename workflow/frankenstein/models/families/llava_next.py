"""LLaVA-NeXT."""

from ..family import Family

FAMILY = Family("LLaVA-NeXT")
