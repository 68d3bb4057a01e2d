"""Mistral 3, with a break after each row of vision tokens."""

from ..family import Family

FAMILY = Family("Mistral 3", separated=True)
