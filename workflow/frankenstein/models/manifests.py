"""Reading a checkpoint's manifest: the directory it describes, and whether its files are unchanged."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from ..core.errors import InputError

MANIFEST = "manifest.json"


def sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def directory_of(manifest: Path) -> Path:
    """The checkpoint directory a manifest describes. Raises InputError if a file is missing or has changed since."""
    manifest = Path(manifest)
    record = json.loads(manifest.read_text())
    directory, written = manifest.parent / record["directory"], manifest.stat().st_mtime_ns
    for name, file in record["files"].items():
        path = directory / name
        same = path.exists() and path.stat().st_size == file["size"]
        # A newer file may be an identical copy: compare its content.
        if not same or (path.stat().st_mtime_ns > written and sha256(path) != file["sha256"]):
            raise InputError(
                f"{path}: missing or changed since {manifest} was written; delete the manifest and run again"
            )
    return directory


def check_unchanged(directory: Path) -> None:
    """If a checkpoint directory contains its manifest, raise InputError unless the files match it."""
    if (manifest := Path(directory) / MANIFEST).exists():
        directory_of(manifest)
