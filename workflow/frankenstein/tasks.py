"""Benchmarks and probe pairs in one record format, as JSON lines beside their images."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from .errors import InputError

# The four vision functions that probe pairs localize (paper, Section 3.1).
FUNCTIONS = ("recognition", "ocr", "grounding", "counting")
# What is swapped, and what becomes of a source image of another size (wavefront.swap).
MODES = ("hidden_state_at_layer", "kv_from_layer", "kv_at_layer_only")
UNEQUAL = ("resize", "interpolate")


@dataclass(frozen=True)
class Example:
    """One question of a benchmark. `image` is a path relative to the JSONL file, None for text tasks."""

    id: str
    task: str
    prompt: str
    answer: str
    answer_type: str = "text"  # text | number | box | list
    image: str | None = None
    description: str | None = None
    choices: list[str] | None = None
    meta: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Pair:
    """A probe pair: two images that differ in one attribute, one prompt (paper, Appendix D).

    The fields and `meta` keys are those of the published pairs: target_answer and source_answer, or
    target_text and source_text, or target_bbox_xyxy and source_bbox_xyxy.
    """

    id: str
    task: str
    target_image: str
    source_image: str
    prompt: str
    meta: dict = field(default_factory=dict)

    @property
    def answer_type(self) -> str:
        return {"grounding": "box", "counting": "number"}.get(self.task, "text")

    def answer(self, side: str) -> str:
        """The gold answer of "target" or "source" as text."""
        for key in (f"{side}_answer", f"{side}_text"):
            if key in self.meta:
                return str(self.meta[key])
        return ",".join(map(str, self.meta[f"{side}_bbox_xyxy"]))


def with_description(description: str, prompt: str) -> str:
    """The text of f(b, d, p): description and prompt (paper, Section 2.2)."""
    return f"the image shows {description}. {prompt}"


def write(path: Path, records: Iterable[Example | Pair]) -> None:
    with open(path, "w") as file:
        for record in records:
            file.write(json.dumps(asdict(record)) + "\n")


def _read(path: Path, kind) -> list:
    records = []
    for number, line in enumerate(Path(path).read_text().splitlines(), 1):
        try:
            records.append(kind(**json.loads(line)))
        except (json.JSONDecodeError, TypeError) as error:
            raise InputError(f"{path}, line {number}: not a record of kind {kind.__name__} ({error})") from None
    if not records:
        raise InputError(f"{path}: empty dataset")
    return records


def read_examples(path: Path) -> list[Example]:
    """Raises InputError for an empty file or a line that is no example."""
    return _read(path, Example)


def read_pairs(path: Path) -> list[Pair]:
    """Probe pairs; a literal image marker in a published prompt is removed (the processor adds its own)."""
    return [
        Pair(**{**asdict(pair), "prompt": pair.prompt.replace("<image>", "").strip()}) for pair in _read(path, Pair)
    ]


def open_image(path: Path) -> Image.Image:
    """The image as RGB, decoded. Raises InputError naming the file."""
    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except (FileNotFoundError, UnidentifiedImageError, OSError) as error:
        raise InputError(
            f"{path}: image does not open ({type(error).__name__}); make or fetch the dataset again"
        ) from None
