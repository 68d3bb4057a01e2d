"""The paper's probe pairs, as published in its repository."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

from ..core.errors import InputError
from . import tasks

# Repository, commit, folder.
PAIRS = (
    "https://github.com/xirui-li/Frankenstein.git",
    "8377f0681ae1ba8b257dadffa92e49c5ee291c55",
    "dataset/vision_functionality_dataset",
)


def fetch_pairs(url: str, commit: str, folder: str, out: Path) -> None:
    """Fetch a folder of a git repository at a commit to `out`; git verifies the file hashes. Raises InputError without git."""
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
    """Copy the first n published probe pairs of a function to `out`, and their images to the folder `images` beside it.

    path: a data.jsonl of the public set (fields as in tasks.Pair), with its images beside it. Raises InputError if
    there are fewer than n pairs, or if an image is missing or cannot be opened.
    """
    found = tasks.read_pairs(path)
    if len(found) < n:
        raise InputError(f"{path}: only {len(found)} pairs, but probes.pairs is {n}")
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
