"""SmolVLM2, which cuts an image into labeled tiles."""

from ..family import Family

FAMILY = Family("SmolVLM2", separated=True)
