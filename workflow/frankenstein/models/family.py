"""Model families: properties that cannot be read from the model itself. Each family has one file in models/families/."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

PIXELS, RESIZED, THOUSANDTHS = "pixels", "resized", "thousandths"
FOLDER = Path(__file__).parent / "families"


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


@cache
def families() -> dict[str, Family]:
    """The supported families by `model_type` in config.json, which is the name of the family's file.

    They are loaded by name, so none is part of a rule's code hash: a rule has the hash of its checkpoint's own family
    (study.jobs.Jobs.family_hash), and editing one family reruns nothing of another.
    """
    # Among families without a file, GLM-4V and InternVL also use thousandths.
    names = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "__init__")
    return {name: importlib.import_module(f".families.{name}", __package__).FAMILY for name in names}
