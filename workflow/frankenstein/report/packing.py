"""Data and images inside the report's page, or in a folder beside it where the page would be too large."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import mimetypes
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from . import attention_maps, swap_pairs
from .examples import Examples

LIMIT = 25_000_000  # bytes of a self-contained page


class Parts:
    """What the page's scripts read: name -> packed data (`texts`), and the images that they show, each once by content."""

    def __init__(self, results: Path):
        self.texts: dict[str, str] = {}
        self._results, self._names, self._files = Path(results), {}, {}

    def add(self, name: str, data, images: Iterable[str | None] = ()) -> None:
        """Add data and the images that it names, by their paths below the results; an image that is not there is left out."""
        self.texts[name] = pack(data)
        for path in filter(None, images):
            file = self._results / path
            if path not in self._names and file.exists():
                copy = hashlib.sha256(file.read_bytes()).hexdigest()[:16] + file.suffix
                self._names[path], self._files[copy] = copy, file

    @property
    def size(self) -> int:
        """Bytes in the page, about."""
        return sum(map(len, self.texts.values())) + sum(file.stat().st_size * 4 // 3 for file in self._files.values())

    def inside(self) -> dict[str, str]:
        """The parts with the images among them, as data URIs."""
        uris = {name: _uri(file) for name, file in self._files.items()}
        return self.texts | {"images": pack({"names": self._names, "uris": uris})}

    def beside(self, folder: Path) -> dict[str, str]:
        """The parts, after writing them and the images into a folder: each part as a script that hands it over."""
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "images").mkdir(parents=True)
        for name, file in self._files.items():
            shutil.copyfile(file, folder / "images" / name)
        texts = self.texts | {"images": pack({"names": self._names})}
        for name, text in texts.items():
            (folder / f"{name}.js").write_text(f"receive({json.dumps(name)}, {json.dumps(text)});\n")
        return texts


def pack(data) -> str:
    """JSON, compressed, in base64. Equal data makes equal text."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return base64.b64encode(gzip.compress(text.encode("utf-8", "replace"), mtime=0)).decode()


def _uri(file: Path) -> str:
    kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
    return f"data:{kind};base64,{base64.b64encode(file.read_bytes()).decode()}"


def add_examples(parts: Parts, examples: Examples) -> None:
    """Add the index of the examples, and each task's questions and answers."""
    index = examples.index()
    if not index["tasks"]:
        return
    parts.add("index", index)
    for task, of in index["tasks"].items():
        everything = range(len(of["ids"]))
        questions = examples.questions(task, everything)
        images = [question[key] for question in questions for key in ("image", "other")]
        parts.add(f"task.{task}", {"questions": questions, "answers": examples.answers(task, everything)}, images)


def add_attention(parts: Parts, results: Path, examples: Examples, task: str, runs: Mapping[str, Sequence]) -> None:
    """Add a sample of attention maps; see attention_maps.attention."""
    attention = attention_maps.attention(results, examples, task, runs)
    if attention["runs"]:
        shown = [example for run in attention["runs"].values() for example in run["examples"]]
        parts.add("attention", attention, [example["image"] for example in shown])


def add_swaps(parts: Parts, results: Path, table: Path) -> None:
    """Add the pairs of the swap explorer; see swap_pairs.swaps."""
    swaps = swap_pairs.swaps(results, table)
    if swaps["functions"]:
        pairs = [pair for of in swaps["functions"].values() for pair in of["pairs"]]
        parts.add("swaps", swaps, [pair[side]["image"] for pair in pairs for side in ("target", "source")])
