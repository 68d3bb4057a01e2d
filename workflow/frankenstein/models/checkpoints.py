"""Checking that a checkpoint is complete, and recording it in a manifest."""

from __future__ import annotations

import json
import math
from pathlib import Path

from ..core.errors import InputError
from . import architecture
from .manifests import MANIFEST, sha256
from .weights import DTYPES, Weights


def _from(place: Path, directory: Path) -> Path:
    """The directory relative to `place` if below it, so that both can be moved together; otherwise its full path."""
    full = directory.resolve()
    return full.relative_to(place.resolve()) if full.is_relative_to(place.resolve()) else full


def write_manifest(manifest: Path, directory: Path, source: dict) -> None:
    """Check that a checkpoint is complete, then write its manifest: location, source, family, and each file's sha256.

    The manifest is written last, so its presence means that the checkpoint is complete. Raises InputError for a
    missing or incomplete file, an unknown parameter, or a non-finite weight.
    """
    directory, manifest = Path(directory), Path(manifest)
    config, layers = architecture.read_config(directory), architecture.layer_count(directory)
    if architecture.is_language_model(config):
        raise InputError(
            f"{directory}: a {config['model_type']} language model, which sees nothing: it can be a donor of a merge (frankenstein "
            "merge --donor), and no checkpoint of a study"
        )
    weights = Weights(directory)
    if found := ({weights.part(name).layer for name in weights} - {None}) ^ set(range(layers)):
        raise InputError(
            f"{directory}: config.json declares {layers} decoder layers, but layer {min(found)} is in only one of "
            "config.json and the weights: the checkpoint is incomplete"
        )
    for name in weights:
        if weights.dtype(name) in DTYPES and not weights.finite(name):
            raise InputError(f"{weights.path(name)}: {name!r} holds NaN or infinity; train or fetch it again")
    files = sorted(path for path in directory.iterdir() if path.is_file() and path.name != MANIFEST)
    record = {
        "directory": str(_from(manifest.parent, directory)),
        "source": source,
        "family": config["model_type"],
        "layers": layers,
        "tensors": len(weights),
        "parameters": sum(math.prod(weights.shape(name)) for name in weights),
        "files": {path.name: {"size": path.stat().st_size, "sha256": sha256(path)} for path in files},
    }
    manifest.write_text(json.dumps(record, indent=1))
