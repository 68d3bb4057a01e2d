"""Mistral 3, with a break after each row of vision tokens."""

from ..family import UNPADDED, Family

FAMILY = Family("Mistral 3", separated=True, refused={"frozen_rl": UNPADDED})
