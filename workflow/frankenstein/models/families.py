"""Model families: properties that cannot be read from the model itself. Each supported family has one entry here."""

from __future__ import annotations

from dataclasses import dataclass

PIXELS, RESIZED, THOUSANDTHS = "pixels", "resized", "thousandths"


@dataclass(frozen=True)
class Family:
    """Parameter-name prefixes and box convention of a family.

    vision, projector: name prefixes (without `model.`) of all vision parameters, and of those projecting vision to the
    language model's width; boxes: the family's box coordinates: pixels of the input image, pixels of the image as
    resized by the processor, or thousandths of the image.
    """

    vision: tuple[str, ...]
    projector: tuple[str, ...]
    boxes: str = PIXELS


# Keyed by `model_type` in config.json. Among families not listed, GLM-4V and InternVL also use thousandths.
FAMILIES = {
    "qwen2_5_vl": Family(vision=("visual.",), projector=("visual.merger.",), boxes=RESIZED),
    "qwen3_vl": Family(
        vision=("visual.",), projector=("visual.merger.", "visual.deepstack_merger_list."), boxes=THOUSANDTHS
    ),
    "llava_onevision": Family(vision=("vision_tower.",), projector=("multi_modal_projector.", "image_newline")),
}
