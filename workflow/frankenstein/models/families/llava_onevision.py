"""LLaVA-OneVision."""

from ..family import Family

FAMILY = Family(vision=("vision_tower.",), projector=("multi_modal_projector.", "image_newline"))
