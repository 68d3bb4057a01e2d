"""LLaVA-NeXT, whose boxes are in [0, 1]."""

from ..family import FRACTIONS, Family

FAMILY = Family("LLaVA-NeXT", boxes=FRACTIONS)
