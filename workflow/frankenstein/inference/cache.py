"""Caches of responses and probes: an interrupted job resumes where it stopped, and adding a task costs only that task."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from itertools import groupby
from pathlib import Path

from ..core import jsonl


def digest(data) -> str:
    """First 16 hex digits of the sha256 of JSON-serializable data."""
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:16]


def versions(*packages: str) -> str:
    """Installed package versions without hardware suffixes, e.g. "torch 2.14.1, transformers 5.23.0"."""
    return ", ".join(f"{name} {importlib.metadata.version(name).partition('+')[0]}" for name in packages)


def files_of(manifest: Path) -> dict[str, str]:
    """sha256 of each file that a checkpoint's answers depend on: weights, config, tokenizer and processor."""
    files = json.loads(Path(manifest).read_text())["files"]
    return {name: file["sha256"] for name, file in files.items() if name not in ("README.md", "merge_manifest.json")}


def model_digest(manifest: Path) -> str:
    """Digest of the weights, config, tokenizer and processor that a checkpoint's answers depend on, from its manifest."""
    return digest(files_of(manifest))


class ResponseCache:
    """Append-only store of answered records by key, from which an interrupted job resumes.

    It is not a declared workflow output, so only the user ever deletes it. Keys cover the settings (checkpoint,
    prompts, engine and its version, code, ...), so records made under other settings are never returned; batch size
    is not part of the key. The checkpoint's other shards in the same folder are read too, so the number of shards may
    change.
    """

    def __init__(self, path: Path, settings: dict):
        self.path, self.settings, self.records = Path(path), settings, {}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        for file in sorted(self.path.parent.glob("*.jsonl")):
            self.records |= {line["key"]: line["record"] for _, line in jsonl.read(file, torn=True)}
        if self.path.exists():  # cut off a line left torn by an interrupted writer
            whole = self.path.read_bytes()
            if not whole.endswith(b"\n"):
                os.truncate(self.path, whole.rfind(b"\n") + 1)

    def key(self, request) -> str:
        return digest([self.settings, request])

    def __contains__(self, key: str) -> bool:
        return key in self.records

    def __getitem__(self, key: str) -> dict:
        return self.records[key]

    def add(self, records: dict[str, dict]) -> None:
        """Add records whose keys are new; they are on disk when this returns."""
        new = {key: record for key, record in records.items() if key not in self.records}
        self.records |= new
        with open(self.path, "a") as file:
            file.writelines(jsonl.line({"key": key, "record": record}) for key, record in new.items())
            file.flush()
            os.fsync(file.fileno())


def probe_store(path: str, manifest: Path, settings: dict) -> ResponseCache:
    """The store of a probe of a checkpoint; `settings` has all that its records depend on besides, the code included."""
    software = versions("torch", "transformers")
    return ResponseCache(Path(path), {"model": model_digest(manifest), "software": software, **settings})


def resumed(
    store: ResponseCache, items: list, folder: Path, compute: Callable[[list], Iterable[dict]], task: str | None = None
) -> Iterator[dict]:
    """Yield the records of a probe's items, computing only those of items that are not in the store, and storing them as they come.

    items: examples or pairs (dataclasses with `id` and `task`), whose images are in `folder`; compute: items -> records, each with
    the item's `id`, those of one item in a row and with `error` set if it failed (such an item is computed again the next time);
    task: the field of a record that has the item's task, where items of several tasks may share an id. A resumed job forms other
    batches, so its numbers may differ in the last bits.
    """
    keys, todo = {}, []
    for item in items:
        names = [getattr(item, name, None) for name in ("image", "target_image", "source_image")]
        files = [folder / name for name in names if name]
        # An image that is missing fails its own item, in compute.
        images = [hashlib.sha256(file.read_bytes()).hexdigest() if file.exists() else None for file in files]
        key = keys[item.task if task else None, item.id] = store.key([asdict(item), images])
        if key in store:
            yield from store[key]
        else:
            todo.append(item)
    made = compute(todo) if todo else ()
    for name, group in groupby(made, key=lambda record: (record[task] if task else None, record["id"])):
        records = list(group)
        if not any(record["error"] for record in records):
            store.add({keys[name]: records})
        yield from records
