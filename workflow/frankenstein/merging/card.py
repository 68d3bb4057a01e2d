"""A hybrid's files other than weights: config, tokenizer, index, model card, and the manifest of every tensor."""

from __future__ import annotations

import itertools
import json
import shutil
from importlib.metadata import version
from pathlib import Path

from ..models.manifests import MANIFEST
from .plan import MERGE_MANIFEST, Plan
from .tensors import Shard


def write_rest(made: Plan, out: Path, shards: list[Shard], hashes: dict, layout: str, command: str) -> None:
    """Write index, config, tokenizer, processor, merge manifest and model card."""
    donor = made.parents[made.config_from].directory
    for path in sorted(path for path in donor.iterdir() if path.is_file()):
        ours = path.name in (MANIFEST, MERGE_MANIFEST) or path.name.endswith(".index.json")
        if path.suffix in (".json", ".jinja", ".txt", ".model") and not ours:
            shutil.copyfile(path, out / path.name)
    if len(shards) > 1 or shards[0].file != "model.safetensors":
        index = {"metadata": {"total_size": made.nbytes(made.choices)}}
        index["weight_map"] = {made.names[name]: shard.file for shard in shards for name in shard.names}
        (out / "model.safetensors.index.json").write_text(json.dumps(index, indent=1))
    tensors = {}
    for name, choice in made.choices.items():
        entry = {"donor": choice.donor, "file": made.stored(name).file, "sha256": hashes[name]}
        if choice.towards:
            entry |= {"towards": choice.towards, "alpha": choice.alpha}
        tensors[made.names[name]] = entry
    record = {
        "hybrid": made.assignment.spec,
        "layers": made.assignment.layers,
        "cuts": list(made.assignment.cuts),
        "rest": {part: str(choice) for part, choice in made.assignment.rest.items()},
        "config_from": made.config_from,
        "layout": layout,
        "parents": {label: _origin(weights.directory) for label, weights in made.parents.items()},
        "language_models": made.language_models,
        "notes": made.notes,
        "warnings": made.warnings,
        "dropped": made.dropped,
        "frankenstein": version("frankenstein-vlm"),
        "command": command,
        "tensors": tensors,
    }
    (out / MERGE_MANIFEST).write_text(json.dumps(record, indent=1))
    (out / "README.md").write_text(_card(made, record))


def _origin(directory: Path) -> dict:
    """A parent's directory, and its origin if its own manifest records one."""
    path = directory / MANIFEST
    source = json.loads(path.read_text()).get("source") if path.exists() else None
    return {"directory": str(directory.resolve()), "source": source}


def _card(made: Plan, record: dict) -> str:
    """The model card, in the format of the Hub."""
    bounds = (0, *made.assignment.cuts, made.assignment.layers)
    rows = [
        f"| decoder layers {low} to {high - 1} | {choice} |"
        for (low, high), choice in zip(itertools.pairwise(bounds), made.assignment.regions, strict=True)
    ]
    rows += [
        f"| over them, decoder layers {layers.start} to {layers.stop - 1}{block and ', ' + block} | {choice} |"
        for choice, layers, block in made.assignment.overlays
    ]
    rows += [f"| {part.replace('_', ' ')} | {choice} |" for part, choice in record["rest"].items()]
    rows.append(f"| config, tokenizer, processor | {made.config_from} |")
    hub = [
        (parent["source"] or {}).get("repo") for parent in record["parents"].values()
    ]  # only what the Hub knows can be a base_model
    front = ["---", "library_name: transformers", "pipeline_tag: image-text-to-text", "tags: [merge, frankenstein]"]
    if all(hub):
        front.append(f"base_model: [{', '.join(hub)}]")
    parents = [
        f"- {label}: `{parent['directory']}`"
        + (f", from {json.dumps(parent['source'], sort_keys=True)}" if parent["source"] else "")
        for label, parent in record["parents"].items()
    ]
    lines = [
        *front, "---", "", f"# Hybrid {record['hybrid']}", "",
        "Made by Frankenstein (after arXiv 2602.12395, Section 3.3): whole parts of trained checkpoints, no training.", "",
        "| part | from |", "| --- | --- |", *rows, "", "Parents:", "", *parents, "",
        *(["Command:", "", f"    {record['command']}", ""] if record["command"] else []),
        *(f"{note}." for note in record["notes"]),
        *(f"Warning: {warning}." for warning in record["warnings"]),
        f"`{MERGE_MANIFEST}` names the donor and the sha256 of each of the {len(record['tensors'])} tensors; "
        "`frankenstein verify` reads them back.", "",
    ]  # fmt: skip
    return "\n".join(lines)
