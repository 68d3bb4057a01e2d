"""Converting published benchmark files to tasks: rows to examples, the paper's sampling, and images as files.

Benchmark files are parquet with embedded images (as on the Hub), JSON lines, or JSON with a folder of images.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from ..core import jsonl
from ..core.errors import InputError
from . import tasks
from .benchmarks import BENCHMARKS
from .benchmarks.wording import lettered
from .tasks import Example


def question(example: Example) -> str:
    """An example's question, without the lettered choices that follow it."""
    return example.prompt.removesuffix(f"\nChoices:{lettered(example.choices)}") if example.choices else example.prompt


def rows(path: Path) -> Iterator[tuple[str, dict]]:
    """Yield (location, row) for each row of a published file: .parquet, .jsonl, or .json (a list, or an object by id).

    A row without an id gets its 0-based position in the file.
    """
    path = Path(path)
    if path.suffix == ".parquet":
        import pyarrow.parquet

        file, number = pyarrow.parquet.ParquetFile(path), 0
        for batch in file.iter_batches(batch_size=64):
            for row in batch.to_pylist():
                yield f"{path}, row {number}", {"id": number, **row}
                number += 1
    elif path.suffix == ".jsonl":
        for number, (line, row) in enumerate(jsonl.read(path)):
            yield f"{path}, line {line}", {"id": number, **row}
    elif path.suffix == ".json":
        try:
            found = json.loads(path.read_text())
        except ValueError as error:
            raise InputError(f"{path}: not JSON ({error})") from None
        pairs = found.items() if isinstance(found, dict) else enumerate(found)
        for key, row in pairs:
            yield f"{path}, {key!r}", {"id": key, **row}
    else:
        raise InputError(f"{path}: must be a .parquet, .jsonl or .json file")


def read(benchmark: str, files: list[Path], as_published: bool) -> list[Example]:
    """All rows of a benchmark as examples with unique ids; `image` is left as in the row (bytes in a dict, or a path).

    as_published: use the benchmark's own wording of the question (MathVista's query with its hint, MathVerse's
    query_cot) instead of the question plus lettered choices. Raises InputError for a row lacking a field or its image.
    """
    source, examples, seen = BENCHMARKS[benchmark], [], set()
    first = 0
    for path in files:
        before = first
        for where, row in rows(path):
            first += 1
            if isinstance(row["id"], int) and len(files) > 1:  # position across all files
                row["id"] += before
            try:
                example = source.example(row, as_published)
            except (KeyError, TypeError, AttributeError, InputError) as error:
                what = f"no field {error}" if isinstance(error, KeyError) else str(error)
                raise InputError(f"{where}: no row of {benchmark}: {what}") from None
            if source.has_image and not example.image:
                raise InputError(f"{where}: {benchmark} {example.id!r} has no image")
            if example.id in seen:
                raise InputError(f"{where}: id {example.id!r} appears twice")
            seen.add(example.id)
            examples.append(replace(example, benchmark=benchmark, grading=source.grading(vars(example))))
    return examples


def sample(examples: list[Example], category: str | None, n: int | None, seed: int, where: str) -> list[Example]:
    """Filter by category, then sample n examples as the paper does: RandomState(seed).choice, sorted (Appendix C).

    Raises InputError for an unknown category, or if n exceeds the number of examples.
    """
    if category is not None:
        known = sorted({example.category or "" for example in examples})
        if category not in known:
            raise InputError(f"{where}: no category {category!r}; there are {', '.join(map(repr, known))}")
        examples = [example for example in examples if example.category == category]
    if n is None:
        return examples
    if n > len(examples):
        raise InputError(f"{where}: a sample of {n} of {len(examples)} rows")
    return [examples[at] for at in sorted(np.random.RandomState(seed).choice(len(examples), size=n, replace=False))]


def write(examples: list[Example], path: Path, images: Path, root: Path) -> None:
    """Write examples to a JSONL file, and their images (bytes as published) to the folder `images` beside it.

    root: the folder that image paths in the published rows are relative to. Raises InputError for an image that is
    missing or cannot be opened.
    """
    images.mkdir(parents=True, exist_ok=True)
    written = []
    for number, example in enumerate(examples):
        if example.image is not None:
            data = _bytes(example, root)
            try:
                with Image.open(io.BytesIO(data)) as image:
                    image.load()
                    kind = (image.format or "png").lower()
            except (UnidentifiedImageError, OSError, Image.DecompressionBombError) as error:
                raise InputError(
                    f"{root}: the image of {example.benchmark} {example.id!r} does not open ({type(error).__name__})"
                ) from None
            name = f"{number:05d}.{kind}"
            (images / name).write_bytes(data)
            example = replace(example, image=f"{images.name}/{name}")
        written.append(example)
    tasks.write(path, written)


def _bytes(example: Example, root: Path) -> bytes:
    found = example.image
    if isinstance(found, dict):
        if found.get("bytes"):
            return found["bytes"]
        found = found.get("path") or ""
    path = Path(os.path.normpath(root / str(found)))  # not resolved, since the image folder may be a symlink
    if not path.is_relative_to(os.path.normpath(root)):
        raise InputError(f"{path}: the image of {example.benchmark} {example.id!r} is outside {root}")
    if not path.is_file():
        raise InputError(f"{path}: the image of {example.benchmark} {example.id!r} is missing")
    return path.read_bytes()


def dataset(
    task: str,
    benchmark: str,
    files: list[Path],
    path: Path,
    images: Path,
    *,
    category: str | None = None,
    n: int | None = None,
    seed: int = 123,
    instruction: str = "",
    as_published: bool = False,
) -> None:
    """Create a task from a benchmark's published files: all examples, a category or a sample, to `path` and `images`.

    instruction: text prepended to each question.
    """
    found = sample(read(benchmark, files, as_published), category, n, seed, f"{task} ({benchmark})")
    asked = [replace(example, task=task, prompt=instruction + example.prompt) for example in found]
    write(asked, path, images, Path(files[0]).parent)
