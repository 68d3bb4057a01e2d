"""Answers that are kept as they are made: a job that was stopped goes on there, and a new task costs only itself."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
from pathlib import Path

from ..core import jsonl


def digest(data) -> str:
    """16 hex digits of sha256 over plain data."""
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()[:16]


def versions(*packages: str) -> str:
    """Installed versions of packages, less what they say of the hardware: "torch 2.14.1, transformers 5.23.0"."""
    return ", ".join(f"{name} {importlib.metadata.version(name).partition('+')[0]}" for name in packages)


def model_digest(manifest: Path) -> str:
    """What a checkpoint answers by: the sha256 of its weights, config, tokenizer and processor, from its manifest."""
    files = json.loads(Path(manifest).read_text())["files"]
    files = {name: file["sha256"] for name, file in files.items() if name not in ("README.md", "merge_manifest.json")}
    return digest(files)


class ResponseCache:
    """Records of what has been answered, by key, append-only: a job that was stopped goes on where it was.

    It lies in no declared output, so nothing deletes it but the user. A key holds the settings (checkpoint, prompts,
    engine and its version, code ...): what was made under others is never given out. The size of batches is none of them. Other shards of the checkpoint, in the
    same folder, are read too: the number of shards may change.
    """

    def __init__(self, path: Path, settings: dict):
        self.path, self.settings, self.records = Path(path), settings, {}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        for file in sorted(self.path.parent.glob("*.jsonl")):
            self.records |= {line["key"]: line["record"] for _, line in jsonl.read(file, torn=True)}
        if self.path.exists():  # a line that its writer left torn is cut off, or the next would stand behind it
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
        """Keep records that are not there yet; on disk when this returns."""
        new = {key: record for key, record in records.items() if key not in self.records}
        self.records |= new
        with open(self.path, "a") as file:
            file.writelines(jsonl.line({"key": key, "record": record}) for key, record in new.items())
            file.flush()
            os.fsync(file.fileno())
