"""The public benchmarks as they are published, in one record format: MathVista, MathVerse, MathVision, LogicVista, MATH-500, GSM8K.

A benchmark's files are parquet with embedded images (the Hub's), JSON lines, or JSON beside a folder of images.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from ..core import jsonl
from ..core.errors import InputError
from . import tasks
from .tasks import Example

# The paper's probe pairs: repository, commit, folder.
PAIRS = (
    "https://github.com/xirui-li/Frankenstein.git",
    "8377f0681ae1ba8b257dadffa92e49c5ee291c55",
    "dataset/vision_functionality_dataset",
)
# What asks a question that stands in the image (MathVerse, Vision Only).
_IN_IMAGE = "Answer the question in the image."


@dataclass(frozen=True)
class Published:
    """Where a benchmark is published, and how a row of it becomes an example.

    files: split -> pattern in the repository, the first split being the one that papers report; rows: how many a split
    has, and of a category where papers use it alone. An example's `image` is what the row holds, yet to be written out.
    """

    repo: str
    revision: str | None
    files: dict[str, str]
    example: Callable[[dict, bool], Example]
    rows: dict[str, int]
    has_image: bool = True


def _lettered(choices: list[str]) -> str:
    return "".join(f"\n({chr(ord('A') + at)}) {choice}" for at, choice in enumerate(choices))


def _ask(question: str, choices: list[str] | None) -> str:
    """The question with its choices lettered (paper, Appendix C)."""
    return question + (f"\nChoices:{_lettered(choices)}" if choices else "")


def question(example: Example) -> str:
    """What an example asks, without the lettered choices behind it."""
    return example.prompt.removesuffix(f"\nChoices:{_lettered(example.choices)}") if example.choices else example.prompt


def _choices_in(text: str, mark: str) -> list[str] | None:
    """The choices that a text lists behind its letters; None unless these are A, B, C ... and none is empty (a picture)."""
    _, *parts = re.split(rf"(?<![\w]){mark}", text)
    letters, choices = parts[::2], [part.strip(" \n;,.") for part in parts[1::2]]
    whole = letters == [chr(ord("A") + at) for at in range(len(letters))] and len(letters) > 1
    return choices if whole and all(choices) and len(set(choices)) == len(choices) else None


def _hint(row: dict) -> str:
    """MathVista's hint on what an answer looks like."""
    kind, places = row["answer_type"], row.get("precision")
    if row["question_type"] == "multi_choice":
        return "answer the question and provide the correct option letter, e.g., A, B, C, D, at the end."
    if kind == "integer":
        return "answer the question requiring an integer answer and provide the final value, e.g., 1, 2, 3, at the end."
    if kind == "float":
        many, examples = (
            ("one decimal place", "1.2, 1.3, 1.4") if places == 1 else ("two decimal places", "1.23, 1.34, 1.45")
        )
        return (
            f"answer the question requiring a floating-point number with {many} and provide the final value, "
            f"e.g., {examples}, at the end."
        )
    return (
        "answer the question requiring a Python list as an answer and provide the final list, "
        "e.g., [1, 2, 3], [1.2, 1.3, 1.4], at the end."
    )


def _mathvista(row: dict, published: bool) -> Example:
    choices = _list(row["choices"])
    question = row["question"].strip()
    if published:
        unit = f" (Unit: {row['unit']})" if row.get("unit") else ""
        query = f"Hint: Please {_hint(row)}\nQuestion: {question}{unit}" + (
            f"\nChoices:{_lettered(choices)}" if choices else ""
        )
        prompt = row.get("query") or query
    else:
        prompt = _ask(question, choices)
    meta = row["metadata"]
    return Example(
        id=str(row["pid"]),
        task="",
        prompt=prompt,
        answer=str(row["answer"]),
        answer_type=row["answer_type"],
        image=row.get("decoded_image") or row["image"],
        choices=choices,
        category=meta["category"],
        question_type=row["question_type"],
        precision=None if row["precision"] is None else int(row["precision"]),
        unit=row["unit"],
        meta={key: meta[key] for key in ("task", "context", "source", "language", "grade") if key in meta},
    )


def _mathverse(row: dict, published: bool) -> Example:
    question = (row["question"] or "").strip()
    # Where the question stands in the image its text is published for graders.
    stated = row.get("question_for_eval") or question
    choices = _choices_in(stated.partition("Choices:")[2], r"([A-H])\s?[:.]")
    kind = row["question_type"].replace("-", "_")
    meta = row["metadata"] or {}
    return Example(
        id=str(row["sample_index"]),
        task="",
        prompt=row["query_cot"] if published else question or _IN_IMAGE,
        answer=str(row["answer"]),
        answer_type=None,
        image=row["image"] or None,
        choices=choices if kind == "multi_choice" else None,
        category=row["problem_version"],
        question_type=kind,
        meta={"problem": str(row["problem_index"])}
        | {key: meta[key] for key in ("subject", "subfield") if key in meta},
    )


def _mathvision(row: dict, published: bool) -> Example:
    # One picture holds all that the text calls <image1>, <image2> ...: where there is one mark it says no more than that.
    texts = [row["question"], *map(str, _list(row["options"]) or [])]
    several = len(set(re.findall(r"<image\d+>", " ".join(texts)))) > 1
    question, *choices = (re.sub(r"<image(\d+)>", r"image \1" if several else "", text).strip() for text in texts)
    return Example(
        id=str(row["id"]),
        task="",
        prompt=_ask(question, choices),
        answer=str(row["answer"]),
        answer_type=None,
        image=row.get("decoded_image") or row["image"],
        choices=choices or None,
        category=row["subject"],
        question_type="multi_choice" if choices else "free_form",
        meta={"level": str(row["level"])},
    )


def _logicvista(row: dict, published: bool) -> Example:
    question, answer = row["question"].strip(), str(row["answer"]).strip()
    skills = [row["skill"]] if isinstance(row["skill"], str) else _list(row["skill"])
    choices = _choices_in(question, r"\(([A-I])\)") or []
    one = re.fullmatch("[A-I]", answer) is not None and ord(answer) - ord("A") < len(choices)
    return Example(
        id=str(row["id"]),
        task="",
        prompt=question,
        answer=answer,
        answer_type=None,
        image=row["image"] if "image" in row else f"images/{row['imagename']}",
        choices=choices if one else None,  # they stand in the question, and are for the grader
        category=", ".join(skills or []),
        question_type="multi_choice" if one else "letters",
    )


def _math500(row: dict, published: bool) -> Example:
    return Example(
        id=row["unique_id"],
        task="",
        prompt=row["problem"].strip(),
        answer=row["answer"],
        answer_type=None,
        category=row["subject"],
        meta={"level": str(row["level"])},
    )


def _gsm8k(row: dict, published: bool) -> Example:
    _, mark, answer = row["answer"].rpartition("####")
    if not mark:
        raise InputError("answer without ####")
    return Example(
        id=str(row["id"]), task="", prompt=row["question"].strip(), answer=answer.strip(), answer_type="number"
    )


BENCHMARKS = {
    # Revisions as their pages on the Hub name them; LogicVista's own place is github.com/Yijia-Xiao/LogicVista (data/),
    # of the mirror here no revision is known to us.
    "mathvista": Published(
        "AI4Math/MathVista",
        "2b6ad69445fbb5695c9b165475e8decdbeb97747",
        {"testmini": "data/testmini-*.parquet"},
        _mathvista,
        {"testmini": 1000, "general-vqa": 460, "math-targeted-vqa": 540},
    ),
    "mathverse": Published(
        "AI4Math/MathVerse",
        "268dfc55b62296be3bdf6406d6dea07bd06a7d64",
        {"testmini": "testmini.parquet"},
        _mathverse,
        {"testmini": 3940},
    ),
    "mathvision": Published(
        "MathLLMs/MathVision",
        "0c681f39d3dacd336abf62ceb833e40320c8599f",
        {"test": "data/test-*.parquet", "testmini": "data/testmini-*.parquet"},
        _mathvision,
        {"test": 3040, "testmini": 304},
    ),
    "logicvista": Published("lscpku/LogicVista", None, {"test": "data/test-*.parquet"}, _logicvista, {"test": 448}),
    "math500": Published(
        "HuggingFaceH4/MATH-500",
        "ff5b20257d8185524591543f8ff5993951537bb8",
        {"test": "test.jsonl"},
        _math500,
        {"test": 500},
        has_image=False,
    ),
    "gsm8k": Published(
        "openai/gsm8k",
        "e53f048856ff4f594e959d75785d2c2d37b678ee",
        {"test": "main/test-*.parquet"},
        _gsm8k,
        {"test": 1319},
        has_image=False,
    ),
}


def size(benchmark: str, split: str | None = None, category: str | None = None) -> int:
    """How many rows a benchmark's split is published with; of a category where that is known, else of them all."""
    source = BENCHMARKS[benchmark]
    return source.rows.get(category) or source.rows[split or next(iter(source.files))]


def _list(value) -> list | None:
    return None if value is None else list(value)


def rows(path: Path) -> Iterator[tuple[str, dict]]:
    """(where it stands, row) of each row of a published file: .parquet, .jsonl, or .json (a list, or an object by id).

    A row without an id of its own has its place in the file, counted from 0.
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
            raise InputError(f"{path}: no JSON ({error})") from None
        pairs = found.items() if isinstance(found, dict) else enumerate(found)
        for key, row in pairs:
            yield f"{path}, {key!r}", {"id": key, **row}
    else:
        raise InputError(f"{path}: neither .parquet nor .jsonl nor .json")


def read(benchmark: str, files: list[Path], as_published: bool) -> list[Example]:
    """Every row of a benchmark as an example, its `image` as it stands there (bytes in a dict, or a path); ids are unique.

    as_published: the benchmark's own wording of the question (MathVista's query with its hint, MathVerse's query_cot)
    instead of question and lettered choices. Raises InputError for a row without a field or without its image.
    """
    source, examples, seen = BENCHMARKS[benchmark], [], set()
    first = 0
    for path in files:
        before = first
        for where, row in rows(path):
            first += 1
            if isinstance(row["id"], int) and len(files) > 1:  # its place is in all the files
                row["id"] += before
            try:
                example = source.example(row, as_published)
            except (KeyError, TypeError, AttributeError, InputError) as error:
                what = f"no field {error}" if isinstance(error, KeyError) else str(error)
                raise InputError(f"{where}: no row of {benchmark}: {what}") from None
            if source.has_image and not example.image:
                raise InputError(f"{where}: {benchmark} {example.id!r} has no image")
            if example.id in seen:
                raise InputError(f"{where}: id {example.id!r} stands twice")
            seen.add(example.id)
            examples.append(replace(example, benchmark=benchmark))
    return examples


def sample(examples: list[Example], category: str | None, n: int | None, seed: int, where: str) -> list[Example]:
    """Examples of a category, and of these n drawn as the paper draws them: RandomState(seed).choice, sorted (Appendix C).

    Raises InputError for a category that is not there, and for more than there are.
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
    """A JSONL file of examples and their images in the folder `images` beside it, bytes as published.

    root: the folder that image paths of the published rows start from. Raises InputError for an image that is not there or does not open.
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
    path = Path(os.path.normpath(root / str(found)))  # not resolved: the folder of images may be a link
    if not path.is_relative_to(os.path.normpath(root)):
        raise InputError(f"{path}: the image of {example.benchmark} {example.id!r} is outside {root}")
    if not path.is_file():
        raise InputError(f"{path}: the image of {example.benchmark} {example.id!r} is not there")
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
    """Make a task of a benchmark's published files: examples of a category, a sample or all, to `path` and `images`.

    instruction: text before each question.
    """
    found = sample(read(benchmark, files, as_published), category, n, seed, f"{task} ({benchmark})")
    asked = [replace(example, task=task, prompt=instruction + example.prompt) for example in found]
    write(asked, path, images, Path(files[0]).parent)


def fetch_pairs(url: str, commit: str, folder: str, out: Path) -> None:
    """A folder of a git repository at a commit, to `out`; git checks every file's hash. Raises InputError without git."""
    if shutil.which("git") is None:
        raise InputError(f"fetching {url} needs git; install it, or clone {commit[:12]} elsewhere and set probes.path")
    with tempfile.TemporaryDirectory(dir=out.parent) as clone:
        for command in (
            ["init", "-q"],
            ["fetch", "-q", "--depth", "1", url, commit],
            ["checkout", "-q", "FETCH_HEAD", "--", folder],
        ):
            subprocess.run(["git", "-C", clone, *command], check=True, env={**os.environ, "GIT_TERMINAL_PROMPT": "0"})
        (Path(clone) / folder).rename(out)


def pairs(path: Path, out: Path, images: Path, n: int) -> None:
    """The first n published probe pairs of a function, to `out` and their images to the folder `images` beside it.

    path: a data.jsonl of the public set (fields of tasks.Pair), its images beside it. Raises InputError where there are
    fewer, and for an image that is not there or does not open.
    """
    found = tasks.read_pairs(path)
    if len(found) < n:
        raise InputError(f"{path}: {len(found)} pairs, and probes.pairs asks for {n}")
    images.mkdir(parents=True, exist_ok=True)
    copied = []
    for number, pair in enumerate(found[:n]):
        names = {}
        for side in ("target_image", "source_image"):
            source = (path.parent / getattr(pair, side)).resolve()
            if not source.is_relative_to(path.parent.resolve()):
                raise InputError(f"{path}: the {side} of {pair.id!r} is outside its folder")
            tasks.open_image(source)
            name = f"{number:05d}_{side[0]}{source.suffix}"
            (images / name).write_bytes(source.read_bytes())
            names[side] = f"{images.name}/{name}"
        copied.append(replace(pair, **names))
    tasks.write(out, copied)
