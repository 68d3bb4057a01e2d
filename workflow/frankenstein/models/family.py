"""Model families: what cannot be read from the model itself. A family that needs to say something has a file in models/families/."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

# What is done with a model. frozen_rl: RL, also with regions frozen.
ABILITIES = ("generation", "swap", "skip", "attention", "updates", "merge", "verify", "frozen_rl")
UNPADDED = "TRL does not pad the prompts of a batch, and Pixtral's processor takes no others"
PROBES = ("swap", "skip", "attention")
PIXELS, RESIZED, THOUSANDTHS = "pixels", "resized", "thousandths"
FOLDER = Path(__file__).parent / "families"


@dataclass(frozen=True)
class Family:
    """What a family says of itself; the defaults hold for any other.

    title: its models' name in the documentation; boxes: its box coordinates: pixels of the input image, pixels of the image as
    resized by the processor, or thousandths of the image; projector: modules inside the vision tower that project to the
    language model's width (one beside the tower is found); separated: other tokens stand between an image's vision tokens (row
    breaks, labels of tiles), so that all vision tokens of a prompt are one image; refused: why what is not done
    with it is not, by ability; the tests hold it against what happens.
    """

    title: str = ""
    boxes: str = PIXELS
    projector: tuple[str, ...] = ("merger", "deepstack_merger_list")
    separated: bool = False
    refused: dict[str, str] = field(default_factory=dict)


@cache
def families() -> dict[str, Family]:
    """The families with a file, by `model_type` in config.json, which is the file's name: those that the tests cover.

    They are loaded by name, so none is part of a rule's code hash: a rule has the hash of its checkpoint's own family
    (study.jobs.Jobs.family_hash), and editing one family reruns nothing of another.
    """
    names = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "__init__")
    return {name: importlib.import_module(f".families.{name}", __package__).FAMILY for name in names}


def family_of(model_type: str) -> Family:
    """The family of a model type; for one without a file, the defaults."""
    return families().get(model_type, Family())
