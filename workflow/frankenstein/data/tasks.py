"""Benchmarks and probe pairs in a common record format: JSON lines with the images beside them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from ..core import jsonl
from ..core.errors import InputError

# The four vision functions that probe pairs localize (paper, Section 3.1).
FUNCTIONS = ("recognition", "ocr", "grounding", "counting")


@dataclass(frozen=True)
class Example:
    """One question of a task. `image` is a path relative to the JSONL file, None for text tasks.

    benchmark: the public benchmark it comes from; None for the mini study's own questions. grading: name of the rule
    that grades it (grading.rules.RULES); None for the mini study's rule (grading.short). question_type, answer_type,
    precision and unit are used by the grading rules.
    """

    id: str
    task: str
    prompt: str
    answer: str
    answer_type: str | None = "text"  # mini study: text | number | box
    image: str | None = None
    description: str | None = None
    choices: list[str] | None = None
    meta: dict = field(default_factory=dict)
    benchmark: str | None = None
    category: str | None = None
    question_type: str | None = None
    precision: int | None = None
    unit: str | None = None
    grading: str | None = None


@dataclass(frozen=True)
class Pair:
    """A probe pair: two images that differ in one attribute, and one prompt (paper, Appendix D).

    Fields and `meta` keys match the published pairs: target_answer and source_answer, or
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
        """The gold answer for side "target" or "source", as text."""
        for key in (f"{side}_answer", f"{side}_text"):
            if key in self.meta:
                return str(self.meta[key])
        return ",".join(map(str, self.meta[f"{side}_bbox_xyxy"]))


def with_description(description: str, prompt: str) -> str:
    """The text of f(b, d, p) in the mini study's wording: description and prompt (paper, Section 2.2)."""
    return f"the image shows {description}. {prompt}"


def described(example: Example) -> str:
    """The text of f(b, d, p) (paper, Section 2.2)."""
    if example.benchmark is None:
        return with_description(example.description, example.prompt)
    return f"Description of the image: {example.description}\n\n{example.prompt}"


def text_in(example: Example, condition: str) -> str:
    """The user text of an example under a condition. Raises ValueError if the example lacks what the condition needs."""
    if condition != "text" and example.image is None:
        raise ValueError(f"{example.id}: no image for the condition {condition!r}")
    if condition != "described":
        return example.prompt
    if example.description is None:
        raise ValueError(f"{example.id}: no description")
    return described(example)


def write(path: Path, records: Iterable[Example | Pair]) -> None:
    with open(path, "w") as file:
        file.writelines(jsonl.line(asdict(record)) for record in records)


def _read(path: Path, kind) -> list:
    records, seen = [], set()
    for number, record in jsonl.read(path):
        try:
            records.append(kind(**record))
        except TypeError as error:
            raise InputError(f"{path}, line {number}: not a record of kind {kind.__name__} ({error})") from None
        if records[-1].id in seen:
            raise InputError(f"{path}, line {number}: id {records[-1].id!r} appears twice")
        seen.add(records[-1].id)
    if not records:
        raise InputError(f"{path}: empty dataset")
    return records


def fingerprint(examples: Iterable[Example]) -> str:
    """First 16 hex digits of the sha256 of the records: identifies the questions, their wording and the gold answers."""
    digest = hashlib.sha256()
    for example in examples:
        digest.update(json.dumps(asdict(example), sort_keys=True).encode() + b"\0")
    return digest.hexdigest()[:16]


def read_examples(path: Path) -> list[Example]:
    """Read a task's examples. Raises InputError for an empty file or a line that is not an example."""
    return _read(path, Example)


def read_pairs(path: Path) -> list[Pair]:
    """Read probe pairs, removing literal image markers from published prompts (the processor adds its own)."""
    return [
        Pair(**{**asdict(pair), "prompt": pair.prompt.replace("<image>", "").strip()}) for pair in _read(path, Pair)
    ]


def open_image(path: Path) -> Image.Image:
    """The decoded image as RGB. Raises InputError, naming the file, if it cannot be opened."""
    try:
        with Image.open(path) as image:
            return image.convert("RGB")
    except (FileNotFoundError, UnidentifiedImageError, OSError) as error:
        raise InputError(
            f"{path}: image cannot be opened ({type(error).__name__}); generate or download the dataset again"
        ) from None
