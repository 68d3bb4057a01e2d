"""Verification of a hybrid against its merge manifest and its parents."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from ..core.errors import InputError
from ..models.architecture import layer_count, read_config
from ..models.weights import Weights
from .hybrid_spec import Choice
from .links import file_key
from .plan import MERGE_MANIFEST, Content
from .tensors import digest, pieces, pieces_of, threads


def verify(out: Path) -> list[str]:
    """Check a hybrid's tensors against its merge manifest and its parents; returns warnings for unverifiable parts.

    Raises InputError naming the first tensor whose bytes differ from its donor's, or that is missing from either the
    weights or the manifest.
    """
    out = Path(out)
    try:
        record = json.loads((out / MERGE_MANIFEST).read_text())
    except FileNotFoundError:
        raise InputError(f"{out}: no {MERGE_MANIFEST}: not a hybrid made here, or incomplete; merge it again") from None
    hybrid = Weights(out)
    by_stored = {stored.name: name for name, stored in hybrid.stored.items()}
    if odd := sorted(set(by_stored) ^ set(record["tensors"])):
        raise InputError(
            f"{out}: {odd[0]!r} is in the weights or in {MERGE_MANIFEST}, but not in both ({len(odd)} such)"
        )
    tensors = {by_stored[stored]: entry for stored, entry in record["tensors"].items()}
    warnings, parents = [], {}
    for label, parent in record["parents"].items():
        if Path(parent["directory"]).is_dir():
            parents[label] = Weights(Path(parent["directory"]))
        else:
            warnings.append(f"{label} ({parent['directory']}) is gone: its tensors are checked by sha256 alone")
    for label, weights in parents.items():
        names = {name for name in weights if weights.stored[name].name not in record["dropped"]}
        if label in record.get("language_models", ()):  # which need have no more than it gave
            given = {name for name, entry in tensors.items() if label in (entry["donor"], entry.get("towards"))}
            odd = sorted(given - names)
        else:
            odd = sorted(names ^ set(hybrid))
        if odd:
            raise InputError(f"{out}: {odd[0]!r} is not in both the hybrid and {label} ({len(odd)} such)")

    def check(name: str) -> None:
        entry = tensors[name]
        choice = Choice(entry["donor"], entry.get("towards", ""), entry.get("alpha", 0.0))
        where = f"{hybrid.path(name)}: {hybrid.stored[name].name!r}"
        if (found := digest(pieces_of(hybrid, name))) != entry["sha256"]:
            raise InputError(f"{where} is not what {MERGE_MANIFEST} says (sha256): changed since it was merged")
        donors = {label for label in (choice.donor, choice.towards) if label}
        if donors <= set(parents):
            source = Content(parents, {name: choice}, {})
            of_donor = {parents[label].dtype(name) for label in donors}, digest(pieces(source, name))
            if of_donor != ({hybrid.dtype(name)}, found):
                raise InputError(f"{where} differs from its donor {choice} ({parents[choice.donor].directory})")

    with threads() as pool:
        list(pool.map(check, tensors))
    return warnings


def describe(directory: Path) -> str:
    """Short summary of a checkpoint: family, depth, dtypes, parts; for a hybrid, which donor supplied each part."""
    weights, config = Weights(directory), read_config(directory)
    sizes: dict[str, int] = {}
    for name in weights:
        part = weights.part(name).component
        sizes[part] = sizes.get(part, 0) + int(np.prod(weights.shape(name)))
    dtypes = sorted({weights.dtype(name) for name in weights})
    files = {stored.file for stored in weights.stored.values()}
    lines = [
        f"{directory}: {config['model_type']}, {layer_count(directory)} decoder layers, "
        f"{sum(sizes.values()) / 1e6:,.1f} M parameters, {', '.join(dtypes)}, {len(weights)} tensors in {len(files)} files",
        *(f"  {part:14}{size / 1e6:12,.1f} M" for part, size in sorted(sizes.items())),
    ]
    if (path := Path(directory) / MERGE_MANIFEST).exists():
        record = json.loads(path.read_text())
        lines.append(f"hybrid {record['hybrid']}, cuts {record['cuts']}, layout {record['layout']}")
        lines += [f"  {label:14}{parent['directory']}" for label, parent in record["parents"].items()]
        stored = {s.name: name for name, s in weights.stored.items()}
        given: dict[str, set[str]] = {}
        for name, entry in record["tensors"].items():
            choice = Choice(entry["donor"], entry.get("towards", ""), entry.get("alpha", 0.0))
            given.setdefault(file_key(weights.part(stored[name])), set()).add(str(choice))
        lines += [f"  {key:14}{', '.join(sorted(who))}" for key, who in sorted(given.items())]
        lines += [f"  {note}" for note in record.get("notes", ())]
        lines += [f"  warning: {warning}" for warning in record["warnings"]]
    return "\n".join(lines)
