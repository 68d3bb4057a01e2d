"""Response cache: an interrupted job resumes where it stopped, and adding a task costs only that task."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
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
