"""LLaVA with Pixtral's vision tower, which has a break after each row of vision tokens."""

from ..family import UNPADDED, Family

FAMILY = Family("Pixtral", separated=True, refused={"frozen_rl": UNPADDED})
