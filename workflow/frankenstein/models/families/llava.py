"""LLaVA, also with Pixtral's vision tower, which has a break after each row of vision tokens."""

from ..family import Family

FAMILY = Family("Pixtral (llava)", separated=True)
