"""Model families: what must be said of one that its model does not say of itself. A family is an entry here."""

from __future__ import annotations

from dataclasses import dataclass

PIXELS, RESIZED, THOUSANDTHS = "pixels", "resized", "thousandths"


@dataclass(frozen=True)
class Family:
    """vision, projector: how the names of parameters of the vision tower, and of what brings vision into the language model's
    width, begin (without the prefix `model.`); boxes: the coordinates that it answers in: pixels of the image as it is
    given, pixels of the image as its processor resized it, or thousandths of the image.
    """

    vision: tuple[str, ...]
    projector: tuple[str, ...]
    boxes: str = PIXELS


# By `model_type` of config.json. Of those that are not here, GLM-4V and InternVL answer in thousandths too.
FAMILIES = {
    "qwen2_5_vl": Family(vision=("visual.",), projector=("visual.merger.",), boxes=RESIZED),
    "qwen3_vl": Family(
        vision=("visual.",), projector=("visual.merger.", "visual.deepstack_merger_list."), boxes=THOUSANDTHS
    ),
    "llava_onevision": Family(vision=("vision_tower.",), projector=("multi_modal_projector.", "image_newline")),
}
