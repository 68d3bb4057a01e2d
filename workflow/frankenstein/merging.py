"""Hybrids of IN and RL: whole decoder layers from one or the other donor (paper, Section 3.3, Appendix E)."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file

from .anatomy import layer_count, part_of
from .checkpoints import Weights, check_same_shapes, sha256
from .errors import InputError
from .regions import Hybrid, Regions


def rest_donor(hybrid: Hybrid, rest_from: str) -> str:
    """The donor, IN or RL, of what lies in no decoder layer. rest_from: early (the Early region's donor), in, or rl."""
    return hybrid.donor("early") if rest_from == "early" else rest_from.upper()


def donors(names: list[str], hybrid: Hybrid, regions: Regions, rest_from: str) -> dict[str, str]:
    """The donor, IN or RL, of every tensor: decoder layers by region, everything else as rest_donor says."""
    rest = rest_donor(hybrid, rest_from)
    result = {}
    for name in names:
        part = part_of(name)
        result[name] = rest if part.layer is None else hybrid.donor(regions.of(part.layer))
    return result


def merge(instruct: Path, reinforced: Path, out: Path, hybrid: Hybrid, regions: Regions, rest_from: str) -> None:
    """Write a hybrid checkpoint directory with merge_manifest.json: each tensor's donor, file and region.

    Every tensor of the parents is in the hybrid, byte for byte its donor's. Config, tokenizer and
    processor are those of the donor of the rest. Raises InputError where the parents differ in
    names, shapes, dtypes or depth.
    """
    parents = {"IN": Path(instruct), "RL": Path(reinforced)}
    weights = {donor: Weights(path) for donor, path in parents.items()}
    check_same_shapes(weights)
    if (layers := layer_count(instruct)) != regions.layers:
        raise InputError(f"{instruct}: {layers} decoder layers, but the regions were cut for {regions.layers}")
    plan = donors(sorted(weights["IN"]), hybrid, regions, rest_from)
    tensors, account = {}, {}
    for name, donor in plan.items():
        tensor, other = weights[donor][name], weights["RL" if donor == "IN" else "IN"][name]
        if tensor.dtype != other.dtype:
            raise InputError(f"{name!r} is {tensor.dtype} in {donor} ({parents[donor]}) but {other.dtype} in the other")
        stored = weights[donor].stored_names[name]
        if stored in tensors:
            raise InputError(f"{out}: {stored!r} would be written twice")
        tensors[stored] = tensor
        layer = part_of(name).layer
        account[stored] = {
            "donor": donor,
            "region": "rest" if layer is None else regions.of(layer),
            "file": weights[donor].files[name],
        }
    out.mkdir(parents=True, exist_ok=True)
    rest = rest_donor(hybrid, rest_from)
    for path in sorted(parents[rest].iterdir()):
        if path.suffix in (".json", ".jinja", ".txt") and not path.name.endswith((".index.json", "manifest.json")):
            shutil.copyfile(path, out / path.name)
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})
    record = {
        "hybrid": str(hybrid),
        "cuts": list(regions.cuts),
        "rest_from": rest_from,
        "rest_donor": rest,
        "parents": {donor: str(path) for donor, path in parents.items()},
        "sha256": sha256(out / "model.safetensors"),
        "tensors": account,
    }
    (out / "merge_manifest.json").write_text(json.dumps(record, indent=1))


def verify(out: Path) -> None:
    """Read a hybrid back against its parents. Raises InputError naming a tensor that is not its donor's."""
    record = json.loads((out / "merge_manifest.json").read_text())
    parents = {donor: Weights(path) for donor, path in record["parents"].items()}
    hybrid = Weights(out)
    stored = {hybrid.stored_names[name]: name for name in hybrid}
    if odd := sorted(set(stored) ^ set(record["tensors"])):
        raise InputError(f"{out}: {odd[0]!r} is in the weights or in merge_manifest.json, but not in both")
    if missing := sorted(set(parents["IN"]) ^ set(hybrid)):
        raise InputError(f"{out}: {missing[0]!r} is not in both the hybrid and its parents")
    for name, entry in record["tensors"].items():
        tensor = hybrid[stored[name]]
        donor = parents[entry["donor"]][stored[name]]
        # Bytes, not values: NaN payloads and signed zeros included.
        if tensor.dtype != donor.dtype or not torch.equal(tensor.view(torch.uint8), donor.view(torch.uint8)):
            raise InputError(
                f"{out}: {name!r} differs from its donor {entry['donor']} ({parents[entry['donor']].directory})"
            )
