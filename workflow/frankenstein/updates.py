"""What changed in the weights: energy and diversity of an update (paper, Section 3.2, Figs. 5 and 6)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from .anatomy import part_of
from .checkpoints import Weights, check_same_shapes


def spectrum(delta: torch.Tensor) -> np.ndarray:
    """All singular values of a matrix [m, n], float64, descending: min(m, n) values."""
    return torch.linalg.svdvals(delta.double()).numpy()


def summarize(delta: torch.Tensor, reference: torch.Tensor, sigma: np.ndarray) -> dict[str, float]:
    """Energy and diversity of one update.

    frobenius: ||D||; frobenius_rms: ||D|| / sqrt(entries); weight_norm: ||W|| before the update;
    spectral: sigma_1; nuclear: sum of sigma; stable_rank: ||D||^2 / sigma_1^2; effective_rank:
    exp of the entropy of sigma / sum(sigma) (Roy and Vetterli, 2007). All zero for a zero update.
    """
    frobenius = float(torch.linalg.vector_norm(delta.double()))
    result = {
        "frobenius": frobenius,
        "frobenius_rms": frobenius / delta.numel() ** 0.5,
        "weight_norm": float(torch.linalg.vector_norm(reference.double())),
        "spectral": float(sigma[0]),
        "nuclear": float(sigma.sum()),
        "stable_rank": 0.0,
        "effective_rank": 0.0,
    }
    if sigma[0] > 0:
        share = sigma[sigma > 0] / sigma.sum()
        result["stable_rank"] = float((sigma**2).sum() / sigma[0] ** 2)
        result["effective_rank"] = float(np.exp(-(share * np.log(share)).sum()))
    return result


def updates(before: Path, after: Path) -> Iterator[tuple[dict, np.ndarray]]:
    """For every weight matrix of the decoder layers: (its record, all singular values of after - before).

    One matrix in memory at a time. The subtraction is in float32, or float64 where either stored
    dtype is float64. Raises InputError where the checkpoints differ in names or shapes.
    """
    old, new = Weights(before), Weights(after)
    check_same_shapes({"before": old, "after": new})
    for name in sorted(old, key=lambda name: (part_of(name).layer or 0, name)):
        part = part_of(name)
        if not part.matrix:
            continue
        a, b = old[name], new[name]
        dtype = torch.promote_types(torch.promote_types(a.dtype, b.dtype), torch.float32)
        delta = b.to(dtype) - a.to(dtype)
        sigma = spectrum(delta)
        record = {"layer": part.layer, "block": part.block, "matrix": part.matrix, "parameter": name}
        yield {**record, **summarize(delta, a, sigma), "entries": delta.numel()}, sigma
