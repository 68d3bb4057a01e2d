"""Gemma 3, whose image tokens see each other and most of whose layers have a sliding window."""

from ..family import Family

FAMILY = Family("Gemma 3")
