"""Updates of one-dimensional tensors: norm weights and biases. They have no spectrum, and the paper's figures leave them out."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..core.errors import InputError
from ..models.weights import Weights
from . import matrices


def vectors(checkpoints: dict[str, Weights]) -> list[str]:
    """Names of all tensors with fewer than two axes, by component and depth, after the checks of matrices.checked."""
    reference = matrices.checked(checkpoints)
    found = {name: reference.part(name) for name in reference if len(reference.shape(name)) < 2}
    return sorted(found, key=lambda name: (found[name].component, found[name].depth, name))


def kind_of(name: str) -> str:
    """norm (a norm's weight), bias (also a norm's), or vector: any other, such as LLaVA's image_newline."""
    return {"weight": "norm", "bias": "bias"}.get(name.rpartition(".")[2], "vector")


def analyze_vector(name: str, base: Weights, instruct: Weights, reinforced: Weights | None) -> dict[str, dict]:
    """The record of one vector's update by stage: "IN" is IN - Base, "RL" is RL - IN.

    parameter, kind (see kind_of), component, layer, block, matrix (empty), rows (entries), columns (1), entries; and, as for a
    matrix (matrices.analyze_matrix), weight_norm, frobenius (the Euclidean norm of the update), frobenius_rms,
    frobenius_relative, changed, changed_bf16, cosine_with_in. Raises InputError for NaN or infinity.
    """
    checkpoints = [base, instruct, *([reinforced] if reinforced is not None else [])]
    values = []
    for weights in checkpoints:
        entries = int(np.prod(weights.shape(name)))
        values.append(weights.strip(name, 0, 0, entries).ravel())
        if not np.isfinite(values[-1]).all():
            raise InputError(f"{weights.path(name)}: {name!r} holds NaN or infinity; fetch it again")
    part, records, earlier = base.part(name), {}, np.zeros(entries)
    for stage, sides, pair in zip(
        ("IN", "RL"), itertools.pairwise(checkpoints), itertools.pairwise(values), strict=False
    ):
        stored = {weights.dtype(name) for weights in sides}
        delta = matrices.difference(*pair, stored)
        before = pair[0].astype(np.float64)
        changed, visible = matrices.count_changed(*pair, stored)
        energy = float(delta @ delta)
        records[stage] = {
            "parameter": name,
            "kind": kind_of(name),
            "component": part.component,
            "layer": part.depth,
            "block": part.block,
            "matrix": part.matrix,
            "rows": entries,
            "columns": 1,
            "entries": entries,
            **matrices.norms(float(before @ before), energy, entries),
            "changed": changed / entries,
            "changed_bf16": visible / entries,
            "cosine_with_in": matrices.cosine(float(delta @ earlier), energy, float(earlier @ earlier)),
        }
        earlier = delta
    return records


def updates(
    base: Path, instruct: Path, reinforced: Path | None, block: int = 0, blocks: int = 1
) -> Iterator[tuple[str, dict]]:
    """Yield (stage, record) for every vector whose index is `block` modulo `blocks`; see analyze_vector."""
    checkpoints = matrices.opened(base, instruct, reinforced)
    for name in vectors(checkpoints)[block::blocks]:
        yield from analyze_vector(name, *checkpoints.values(), *[None] * (3 - len(checkpoints))).items()
