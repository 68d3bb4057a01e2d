"""A whole checkpoint: checked, and written down in a manifest."""

from __future__ import annotations

import json
import math
from pathlib import Path

from ..core.errors import InputError
from . import architecture
from .manifests import MANIFEST, sha256
from .weights import DTYPES, Weights


def _from(place: Path, directory: Path) -> Path:
    """The directory as seen from a place above it, so that both can move together; elsewhere its full path."""
    full = directory.resolve()
    return full.relative_to(place.resolve()) if full.is_relative_to(place.resolve()) else full


def write_manifest(manifest: Path, directory: Path, source: dict) -> None:
    """Check a whole checkpoint, then write its manifest: where it is, how it came to be, each file's sha256.

    The manifest is written last: where it stands, the checkpoint is whole. Raises InputError for
    a missing or half-written file, an unknown parameter, or a weight that is not finite.
    """
    directory, manifest = Path(directory), Path(manifest)
    layers = architecture.layer_count(directory)
    weights = Weights(directory)
    if found := ({architecture.part_of(name).layer for name in weights} - {None}) ^ set(range(layers)):
        raise InputError(
            f"{directory}: config.json speaks of {layers} decoder layers, but layer {min(found)} is only in one of "
            "config.json and the weights: the checkpoint is not whole"
        )
    for name in weights:
        if weights.dtype(name) in DTYPES and not weights.finite(name):
            raise InputError(f"{weights.path(name)}: {name!r} holds NaN or infinity; train or fetch it again")
    files = sorted(path for path in directory.iterdir() if path.is_file() and path.name != MANIFEST)
    record = {
        "directory": str(_from(manifest.parent, directory)),
        "source": source,
        "layers": layers,
        "tensors": len(weights),
        "parameters": sum(math.prod(weights.shape(name)) for name in weights),
        "files": {path.name: {"size": path.stat().st_size, "sha256": sha256(path)} for path in files},
    }
    manifest.write_text(json.dumps(record, indent=1))
