"""A checkpoint's responses as files: whose they are in a header, then a record a response; and a store while they are made."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
from collections.abc import Iterable
from pathlib import Path

from ..core import jsonl
from ..core.errors import InputError
from ..data.tasks import Example, fingerprint


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


def write(path: Path, header: dict, records: Iterable[dict]) -> None:
    """A file of responses: its header in the first line."""
    with open(path, "w") as file:
        file.write(jsonl.line({"header": header}))
        file.writelines(map(jsonl.line, records))


def read(path: Path) -> tuple[dict, list[dict]]:
    """(header, records). Raises InputError for a file without header, a line that is no record, a request answered twice."""
    lines = jsonl.read(path)
    _, first = next(lines, (0, {}))
    if "header" not in first:
        raise InputError(f"{path}: no header that says whose responses these are; delete the file and run again")
    records, seen = [], set()
    for number, record in lines:
        key = (record.get("id"), record.get("task"), record.get("condition"))
        if None in key or key in seen:
            what = "is answered twice" if key in seen else "lacks id, task or condition"
            raise InputError(f"{path}, line {number}: {key} {what}; delete the file and run again")
        seen.add(key)
        records.append(record)
    return first["header"], records


def read_all(paths: list[Path], checkpoint: str, examples: list[Example]) -> list[dict]:
    """Records of a checkpoint's shards.

    Raises InputError unless all are this checkpoint's, made under the same settings, and about these examples in this wording.
    """
    by_task: dict[str, list[Example]] = {}
    for example in examples:
        by_task.setdefault(example.task, []).append(example)
    asked = {task: fingerprint(part) for task, part in by_task.items()}
    known = {(example.task, example.id) for example in examples}
    records, seen, common = [], set(), None
    for path in paths:
        header, part = read(path)
        if header["checkpoint"] != checkpoint:
            raise InputError(f"{path}: responses of {header['checkpoint']!r}, not of {checkpoint!r}")
        if odd := [task for task in asked if header["examples"].get(task) != asked[task]]:
            raise InputError(
                f"{path}: {odd[0]} was asked in another version than the dataset's; delete the file and run again"
            )
        settings = {key: value for key, value in header.items() if key != "examples"}
        common = common or settings
        if odd := [key for key in common | settings if common.get(key) != settings.get(key)]:
            raise InputError(
                f"{path}: {odd[0]} is {settings.get(odd[0])!r}, but {common.get(odd[0])!r} in {paths[0]}: "
                "responses made under different settings are not graded together; delete one and run again"
            )
        if odd := [r for r in part if r["task"] in asked and (r["task"], r["id"]) not in known]:
            raise InputError(
                f"{path}: response to {odd[0]['id']!r}, which is not in the dataset; delete the file and run again"
            )
        for record in part:
            if (key := (record["task"], record["id"], record["condition"])) in seen:
                raise InputError(f"{path}: {key} is answered in another of these files too: shards of two runs")
            seen.add(key)
        records += [record for record in part if record["task"] in asked]
    if missing := sorted(known - {(record["task"], record["id"]) for record in records}):
        raise InputError(
            f"{', '.join(map(str, paths))}: no response to {missing[0][1]!r} ({len(missing)} such): "
            "delete the files and run again"
        )
    return records
