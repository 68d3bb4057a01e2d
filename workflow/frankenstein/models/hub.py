"""Checkpoints and datasets from the Hub: at a pinned revision, in the shared cache, verified against the Hub's hashes."""

from __future__ import annotations

import errno
import fnmatch
import hashlib
import json
import re
from pathlib import Path

from ..core.errors import InputError
from .manifests import sha256

# Files of a checkpoint: safetensors weights and small text files. Never pickle, never code.
CHECKPOINT = [
    "*.safetensors",
    "*.json",
    "*.jinja",
    "merges.txt",
    "vocab.txt",
    "tokenizer.model",
    "README.md",
    "LICENSE*",
]


def cache() -> Path:
    """The Hub's cache directory (HF_HOME, HF_HUB_CACHE)."""
    from huggingface_hub.constants import HF_HUB_CACHE

    return Path(HF_HUB_CACHE)


def cached(repo: str, revision: str | None, file: str) -> Path:
    """Where a file of a model lies once it has been fetched."""
    return cache() / f"models--{repo.replace('/', '--')}" / "snapshots" / str(revision) / file


def fetch(account: Path, repo: str, revision: str | None, patterns: list[str], kind: str) -> Path:
    """Fetch a repository's files matching these patterns into the Hub's cache (HF_HOME); returns their folder.

    kind: "model" or "dataset". Complete files in the cache are not fetched again; a broken connection resumes, while a
    killed job refetches its unfinished files. Each file's size and sha256 (the git hash for small files) are verified
    against the Hub's. `account`, written last, records repo, revision, folder, files (size, sha256) and verified
    (false if the Hub could not be reached, i.e. offline from the cache). Raises InputError for errors that a retry
    cannot fix; transient ones (connection, 429, 503) are passed on unchanged.
    """
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub import errors as hub_errors

    if not revision or not re.fullmatch(r"[0-9a-f]{40}", revision):
        raise InputError(
            f"{kind} {repo}: revision {revision!r} is not a commit hash; run `frankenstein pin CONFIG` to fill in the current one"
        )
    where = f"{kind} {repo} at {revision[:12]}"
    common = {"repo_type": kind, "revision": revision}
    try:
        try:
            siblings = HfApi().repo_info(repo, files_metadata=True, **common).siblings or []
        except hub_errors.OfflineModeIsEnabled:
            siblings = None
        if siblings is not None:
            names = _wanted([file.rfilename for file in siblings], patterns)
            wanted = [file for file in siblings if file.rfilename in names]
            _check_names(where, [file.rfilename for file in siblings], [file.rfilename for file in wanted], patterns)
        folder = Path(
            snapshot_download(
                repo,
                allow_patterns=patterns if siblings is None else sorted(names),
                local_files_only=siblings is None,
                **common,
            )
        )
    except hub_errors.GatedRepoError:
        raise InputError(
            f"{where} is gated: accept its terms on its page, then log in (`hf auth login`, or HF_TOKEN)"
        ) from None
    except hub_errors.RevisionNotFoundError:
        raise InputError(f"{where}: no such revision; `frankenstein pin CONFIG` writes today's") from None
    except hub_errors.RepositoryNotFoundError:
        raise InputError(
            f"{where}: no such repository, or it is private and you are not logged in (`hf auth login`, or HF_TOKEN)"
        ) from None
    except (hub_errors.LocalEntryNotFoundError, hub_errors.IncompleteSnapshotError) as error:
        if siblings is not None:
            raise  # a connection error: worth retrying
        raise InputError(
            f"{where}: not in the cache, and HF_HUB_OFFLINE is set: run once online ({type(error).__name__})"
        ) from None
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise InputError(f"{where}: the disk of the cache is full; free it, or set HF_HOME to another") from None
        raise
    files = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        if name in _wanted([name], patterns) and (siblings is None or name in names):
            files[name] = {"size": path.stat().st_size, "sha256": sha256(path)}
    if siblings is None:
        _check_names(where, list(files), list(files), patterns)
    else:
        for file in wanted:
            _verify(where, folder / file.rfilename, files.get(file.rfilename), file)
    record = {
        "repo": repo,
        "revision": revision,
        "folder": str(folder),
        "verified": siblings is not None,
        "files": files,
    }
    account.parent.mkdir(parents=True, exist_ok=True)
    account.write_text(json.dumps(record, indent=1))
    return folder


def _wanted(names: list[str], patterns: list[str]) -> set[str]:
    """Names matching the patterns; for a checkpoint, only root-level files and no second copy of the weights."""
    found = {name for name in names if any(fnmatch.fnmatch(name, pattern) for pattern in patterns)}
    if patterns == CHECKPOINT:
        found = {name for name in found if "/" not in name}
        if any(name.startswith("model") and name.endswith(".safetensors") for name in found):
            found = {name for name in found if not name.startswith("consolidated")}
    return found


def _check_names(where: str, all_names: list[str], wanted: list[str], patterns: list[str]) -> None:
    if patterns == CHECKPOINT and not any(name.endswith(".safetensors") for name in wanted):
        pickles = [name for name in all_names if name.endswith((".bin", ".pt", ".pth", ".ckpt"))]
        has = f"only {pickles[0]}, which is pickle and could run code" if pickles else "no weights"
        raise InputError(f"{where}: no safetensors, {has}: not fetched")
    if not wanted:
        raise InputError(
            f"{where}: no file like {' or '.join(patterns)}; there are {', '.join(sorted(all_names)[:10]) or 'none'}"
        )


def _verify(where: str, path: Path, found: dict | None, file) -> None:
    """Verify a file against the Hub's metadata: sha256 for large files, the git blob hash for small ones."""
    if found is None:
        raise InputError(f"{where}: {file.rfilename} is not there after the download; run again")
    if file.lfs is not None:
        same = (found["size"], found["sha256"]) == (file.lfs.size, file.lfs.sha256)
    else:
        data = path.read_bytes()
        blob = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
        same = file.blob_id in (None, blob)
    if not same:
        path.resolve().unlink()  # otherwise the next try would take it for complete
        raise ConnectionError(
            f"{where}: {file.rfilename} is not what the Hub says it is; fetched again on the next try"
        )


def files(account: Path) -> list[Path]:
    """The fetched files, in order. Raises InputError if one is missing from the cache or has a different size."""
    record = json.loads(Path(account).read_text())
    paths = []
    for name, file in record["files"].items():
        path = Path(record["folder"]) / name
        if not path.exists() or path.stat().st_size != file["size"]:
            raise InputError(f"{path}: missing from the cache or changed; delete {account} and run again")
        paths.append(path)
    return paths
