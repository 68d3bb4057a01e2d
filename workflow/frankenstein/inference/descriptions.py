"""Descriptions d of the images for f(b, d, p) (paper, Section 2.2): read from a file, or written by a model."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from ..core import jsonl
from ..core.errors import InputError
from ..data.tasks import Example
from .cache import ResponseCache
from .respond import respond


def from_file(path: Path, examples: list[Example]) -> list[dict]:
    """Records id, description, error: of a .jsonl of these, or a .json of texts by id (or with these as "texts": MathVista's captions).

    Where the file has none the description is None. Raises InputError for a file that has none at all of these examples.
    """
    path = Path(path)
    try:
        if path.suffix == ".jsonl":
            texts = {str(record["id"]): record.get("description") for _, record in jsonl.read(path)}
        else:
            found = json.loads(path.read_text())
            texts = found.get("texts", found)
    except (ValueError, KeyError, AttributeError) as error:
        raise InputError(
            f"{path}: neither JSON lines of id and description nor JSON texts by id ({type(error).__name__}: {error})"
        ) from None
    if not any(texts.get(example.id) for example in examples):
        raise InputError(f"{path}: no description of any of {len(examples)} examples, such as {examples[0].id!r}")
    return [
        {"id": example.id, "description": text, "error": None if text else f"{path.name} has none"}
        for example in examples
        for text in [texts.get(example.id) or None]
    ]


def by_model(
    engine: Callable, examples: list[Example], folder: Path, prompt: str, batch: int, store: ResponseCache
) -> list[dict]:
    """Records id, description, error: what an engine answers to `prompt` on each image."""
    asked = [(replace(example, prompt=prompt), "image") for example in examples]
    return [
        {
            "id": made["id"],
            "description": made["response"] or None,
            "error": made["error"] or (None if made["response"] else "empty"),
        }
        for made in respond(engine, asked, folder, "", batch, store)
    ]


def described(examples: list[Example], path: Path) -> list[Example]:
    """Examples with their descriptions from a file of records; None where there is none, which stays in N."""
    texts = {record["id"]: record["description"] for _, record in jsonl.read(path)}
    return [replace(example, description=texts.get(example.id)) for example in examples]
