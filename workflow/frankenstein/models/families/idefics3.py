"""Idefics3, which cuts an image into labeled tiles."""

from ..family import Family

FAMILY = Family("Idefics3", separated=True)
