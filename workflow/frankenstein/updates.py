"""What changed in the weights: energy, diversity and geometry of updates, streamed (paper, Section 3.2, Figs. 5 and 6).

A matrix is read in strips along its longer side, subtracted, and reduced to the Gram matrix of its shorter
side in float64: its eigenvalues are the squared singular values of the update. Never more than a strip
and two Gram matrices are in memory, however large the checkpoint.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.linalg import blas, eigh_tridiagonal, eigvalsh_tridiagonal, lapack

from .anatomy import Part, part_of
from .checkpoints import DTYPES, Weights, check_same_shapes
from .errors import InputError

RANKS = 50  # ranks over which a line is fitted to the log spectrum
STRIP = 256
# A Gram matrix squares the spectrum: below this share of sigma_1 its singular values mean nothing.
GRAM_FLOOR = 1e-8


@dataclass(frozen=True)
class Matrix:
    """A weight matrix of a checkpoint: [rows, columns]; a convolution's kernel is flattened to its output channels."""

    name: str
    part: Part
    rows: int
    columns: int

    @property
    def wide(self) -> bool:
        return self.rows < self.columns


def matrices(checkpoints: dict[str, Weights]) -> list[Matrix]:
    """Every weight matrix, by depth, after what can be told from headers alone has been checked.

    No norms, no biases. Tied embeddings count once. Raises InputError where the checkpoints differ in names or
    shapes, or where one is quantised or an adapter that was not merged.
    """
    for label, weights in checkpoints.items():
        _check_plain(label, weights)
    check_same_shapes(checkpoints)
    reference = next(iter(checkpoints.values()))
    found = []
    for name in reference:
        shape, part = reference.shape(name), part_of(name)
        if len(shape) >= 2 and not (part.component == "head" and all(map(_tied, checkpoints.values()))):
            found.append(Matrix(name, part, shape[0], int(np.prod(shape[1:]))))
    return sorted(found, key=lambda matrix: (matrix.part.component, matrix.part.depth, matrix.name))


def _config(weights: Weights) -> dict:
    path = weights.directory / "config.json"
    return json.loads(path.read_text()) if path.exists() else {}


def _tied(weights: Weights) -> bool:
    config = _config(weights)
    return bool(config.get("tie_word_embeddings", config.get("text_config", {}).get("tie_word_embeddings")))


def _check_plain(label: str, weights: Weights) -> None:
    if adapters := sorted(name for name in weights if ".lora_" in name):
        raise InputError(
            f"{label} ({weights.directory}): {len(adapters)} tensors of an adapter, {adapters[0]!r} first: "
            "merge it into its model first (peft: merge_and_unload)"
        )
    packed = sorted(name for name in weights if weights.dtype(name) not in DTYPES)
    if packed or "quantization_config" in _config(weights):
        what = (
            f"{packed[0]!r} is {weights.dtype(packed[0])}, {len(packed)} such tensors" if packed else "see config.json"
        )
        raise InputError(f"{label} ({weights.directory}): quantised ({what}); give the checkpoint it was made from")


def _strips(matrix: Matrix, *checkpoints: Weights) -> Iterator[list[torch.Tensor]]:
    """The matrix in each checkpoint, strip by strip, as [strip, shorter side] in the stored dtype."""
    for start in range(0, max(matrix.rows, matrix.columns), STRIP):
        strips = []
        for weights in checkpoints:
            strip = weights.strip(matrix.name, int(matrix.wide), start, start + STRIP)
            strips.append(strip.T if matrix.wide else strip)
        yield strips


def _difference(before: torch.Tensor, after: torch.Tensor) -> torch.Tensor:
    """after - before, float64; subtracted in float32, or float64 where either is stored in float32 or float64."""
    exact = torch.float64 if torch.float32 in (before.dtype, after.dtype) else torch.float32
    exact = torch.promote_types(exact, torch.promote_types(before.dtype, after.dtype))
    return (after.to(exact) - before.to(exact)).double()


class _Gram:
    """D^T D of a tall matrix D, strip by strip, float64; of it the lower triangle. On the GPU where there is one."""

    def __init__(self, size: int):
        self.cuda = torch.cuda.is_available()
        self.sum = (
            torch.zeros(size, size, dtype=torch.float64, device="cuda")
            if self.cuda
            else np.zeros((size, size), order="F")
        )

    def add(self, strip: torch.Tensor) -> None:
        """strip [n, size], float64."""
        if self.cuda:
            strip = strip.cuda()
            self.sum.addmm_(strip.T, strip)
        else:
            columns = np.asfortranarray(strip.numpy().T)  # a view where the strip is contiguous
            self.sum = blas.dsyrk(1.0, columns, 1.0, self.sum, lower=1, overwrite_c=1)

    def spectrum(self, top: int) -> tuple[np.ndarray, np.ndarray]:
        """(all singular values of D, descending; its top right singular vectors [size, top]). Overwrites the sum."""
        size = len(self.sum)
        top = min(top, size)
        if not top:
            whole = torch.as_tensor(self.sum.T)  # the lower triangle of columns is the upper one of rows
            values, vectors = torch.linalg.eigvalsh(whole, UPLO="U").cpu().numpy(), np.empty((size, 0))
        elif self.cuda or size < 3:
            values, vectors = torch.linalg.eigh(torch.as_tensor(self.sum.T), UPLO="U")
            values, vectors = values.cpu().numpy(), vectors[:, size - top :].cpu().numpy()
        else:
            # One reduction to tridiagonal form gives both all eigenvalues and the top vectors.
            work = int(lapack.dsytrd_lwork(size, lower=1)[0])
            reduced, diagonal, off, tau, _ = lapack.dsytrd(self.sum, lower=1, lwork=work, overwrite_a=1)
            values = eigvalsh_tridiagonal(diagonal, off)
            _, vectors = eigh_tridiagonal(diagonal, off, select="i", select_range=(size - top, size - 1))
            reflectors, below = np.asfortranarray(reduced[1:, :-1]), np.asfortranarray(vectors[1:])
            work = int(lapack.dormqr("L", "N", reflectors, tau, below, -1)[1][0])
            vectors[1:], _, _ = lapack.dormqr("L", "N", reflectors, tau, below, work)
        return np.sqrt(np.maximum(values[::-1], 0)), np.ascontiguousarray(vectors[:, ::-1])


@dataclass(frozen=True)
class Subspace:
    """Top singular vectors, orthonormal columns: left [rows, k], right [columns, k], float64."""

    left: np.ndarray
    right: np.ndarray


def _subspace(matrix: Matrix, short: np.ndarray, strips: Iterator[torch.Tensor]) -> Subspace:
    """Both sides' top singular vectors from those of the shorter side."""
    long = np.concatenate([strip.numpy() @ short for strip in strips])
    long, _ = np.linalg.qr(long)  # already orthogonal but for rounding; a sign is of no matter
    return Subspace(short, long) if matrix.wide else Subspace(long, short)


def log_spectrum(sigma: np.ndarray) -> np.ndarray:
    """log(sigma_i / sigma_1) of singular values (descending), NaN where it means nothing: below the floor, or no update."""
    relative = sigma / sigma[0] if sigma[0] > 0 else np.zeros_like(sigma)
    return np.log(np.where(relative > GRAM_FLOOR, relative, np.nan))


def diversity(sigma: np.ndarray) -> dict[str, float]:
    """What the singular values (descending) of an update say of it; all zero for a zero update.

    spectral: sigma_1; nuclear: their sum; stable_rank: sum sigma^2 / sigma_1^2 (Rudelson and Vershynin, 2007);
    effective_rank: exp of the entropy of sigma / sum sigma (Roy and Vetterli, 2007); participation_ratio:
    (sum sigma^2)^2 / sum sigma^4; energy_top_1, _10, _50: share of sum sigma^2 in the first; slope: of
    log(sigma_i / sigma_1) over ranks 1 to 50, least squares (below zero; lower is steeper); floor: values
    below it mean nothing (GRAM_FLOOR sigma_1); rank: values above it.
    """
    names = ("spectral", "nuclear", "stable_rank", "effective_rank", "participation_ratio")
    names += ("energy_top_1", "energy_top_10", "energy_top_50", "slope", "floor")
    if not sigma[0] > 0:
        return {**dict.fromkeys(names, 0.0), "rank": 0}
    relative = sigma / sigma[0]
    squares = relative**2
    share = relative[relative > 0] / relative.sum()
    rank = int((relative > GRAM_FLOOR).sum())
    shown = log_spectrum(sigma)[: min(RANKS, rank)]
    values = (
        sigma[0],
        sigma.sum(),
        squares.sum(),
        np.exp(-(share * np.log(share)).sum()),
        squares.sum() ** 2 / (squares**2).sum(),
        *(squares[:k].sum() / squares.sum() for k in (1, 10, 50)),
        np.polyfit(np.arange(len(shown)), shown, 1)[0] if len(shown) > 1 else 0.0,
        GRAM_FLOOR * sigma[0],
    )
    return {**dict(zip(names, map(float, values), strict=True)), "rank": rank}


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Mean squared cosine of the principal angles of two spaces of orthonormal columns: 0 orthogonal, 1 equal.

    The subspace similarity of Hu et al. (2021), section 7.2. Random spaces of k columns in n dimensions have k / n.
    """
    return float(np.linalg.norm(one.T @ other) ** 2 / min(one.shape[1], other.shape[1]))


def geometry(update: Subspace, base: Subspace) -> dict[str, float]:
    """How an update's top space lies to the base weight's, left (outputs) and right (inputs).

    overlap_left, overlap_right: see overlap; angle_left, angle_right: the smallest principal angle, in degrees
    (Bjorck and Golub, 1973).
    """
    result = {}
    for side in ("left", "right"):
        ours, theirs = getattr(update, side), getattr(base, side)
        result[f"overlap_{side}"] = overlap(ours, theirs)
        cosine = np.linalg.norm(ours.T @ theirs, 2)
        result[f"angle_{side}"] = float(np.degrees(np.arccos(min(1.0, cosine))))
    return result


GEOMETRY = (
    "overlap_left",
    "overlap_right",
    "angle_left",
    "angle_right",
    "principal_left",
    "principal_right",
    "principal",
)


def _measure(matrix: Matrix, before: Weights, after: Weights, top: int, base: Subspace | None, earlier=None):
    """(record, singular values, Subspace or None) of one update. earlier: (before, after) of the update to compare with.

    base: None where no geometry is asked for.
    """
    gram = _Gram(min(matrix.rows, matrix.columns))
    weight = dot = other_energy = 0.0
    changed = visible = 0
    for strips in _strips(matrix, before, after, *(earlier or ())):
        old, new = strips[:2]
        delta = _difference(old, new).contiguous()
        gram.add(delta)
        changed += int((old != new).sum())
        visible += int((old.bfloat16() != new.bfloat16()).sum())
        weight += float(old.double().square().sum())
        if earlier:
            other = _difference(*strips[2:])
            dot += float((delta * other).sum())
            other_energy += float(other.square().sum())
    energy = float(gram.sum.diagonal().sum())
    for value, weights in ((weight, before), (energy, after)):
        if not np.isfinite(value):
            raise InputError(f"{weights.directory}: {matrix.name!r} holds NaN or infinity; fetch or train it again")
    entries = matrix.rows * matrix.columns
    sigma, short = gram.spectrum(top)
    if energy == 0:
        sigma = np.zeros_like(sigma)
    del gram
    # Every stored entry is off by up to half a unit in the last place, of its own value at most eps times.
    noise = np.sqrt(
        weight * sum(torch.finfo(DTYPES[weights.dtype(matrix.name)]).eps ** 2 for weights in (before, after)) / 12
    )
    record = {
        "parameter": matrix.name,
        "component": matrix.part.component,
        "layer": matrix.part.depth,
        "block": matrix.part.block,
        "matrix": matrix.part.matrix,
        "rows": matrix.rows,
        "columns": matrix.columns,
        "entries": entries,
        "weight_norm": weight**0.5,
        "frobenius": energy**0.5,
        "frobenius_rms": (energy / entries) ** 0.5,
        "frobenius_relative": (energy / weight) ** 0.5 if weight else 0.0,
        **diversity(sigma),
        "rounding_floor": float(noise * (matrix.rows**0.5 + matrix.columns**0.5) / entries**0.5),
        "changed": changed / entries,
        "changed_bf16": visible / entries,
        "cosine_with_in": dot / (energy * other_energy) ** 0.5 if energy * other_energy else 0.0,
    }
    if base is None:
        return record, sigma, None
    if energy == 0:
        return {**record, **dict.fromkeys(GEOMETRY, 0.0)}, sigma, None
    space = _subspace(matrix, short, (_difference(*pair) for pair in _strips(matrix, before, after)))
    return {**record, **geometry(space, base), **_principal(matrix, before, after, base, energy)}, sigma, space


def _principal(matrix: Matrix, before: Weights, after: Weights, base: Subspace, energy: float) -> dict[str, float]:
    """Share of the update's energy inside the base's top space: principal_left, principal_right, both at once (principal)."""
    long, short = (base.right, base.left) if matrix.wide else (base.left, base.right)
    start, inside, crossed = 0, 0.0, np.zeros((long.shape[1], len(short)))
    for pair in _strips(matrix, before, after):
        delta = _difference(*pair).numpy()
        inside += float(np.linalg.norm(delta @ short) ** 2)
        crossed += long[start : start + len(delta)].T @ delta
        start += len(delta)
    of_long = float(np.linalg.norm(crossed) ** 2)
    left, right = (inside, of_long) if matrix.wide else (of_long, inside)
    both = float(np.linalg.norm(crossed @ short) ** 2)
    return {"principal_left": left / energy, "principal_right": right / energy, "principal": both / energy}


def _top_of(matrix: Matrix, weights: Weights, top: int) -> Subspace:
    """Top singular vectors of the weight matrix itself."""
    gram = _Gram(min(matrix.rows, matrix.columns))
    for (strip,) in _strips(matrix, weights):
        gram.add(strip.double().contiguous())
    _, short = gram.spectrum(top)
    return _subspace(matrix, short, (strip.double() for (strip,) in _strips(matrix, weights)))


def of_matrix(matrix: Matrix, base: Weights, instruct: Weights, reinforced: Weights | None, top: int = 16):
    """{stage: (record, all singular values float64 descending, Subspace or None)} of one matrix.

    Stage "IN" is IN - Base, "RL" is RL - IN. A record holds energy (frobenius; frobenius_rms: / sqrt(entries);
    frobenius_relative: / the norm before), diversity (see there), and geometry: changed, the share of entries
    that differ at all, and changed_bf16, of those that differ once rounded to bfloat16, where an update below half
    a unit in the last place is invisible (the sparsity of Mukherjee et al., 2025); cosine_with_in, of the RL
    update with the IN update (0 in the IN record); overlap and smallest principal angle of the update's top space with the
    Base's, and the share of its energy inside that space, left, right and both (principal; compare Zhu et al.,
    2025). rounding_floor: the spectral norm that rounding of the stored weights alone would have, at most.
    top: how many singular vectors make a top space; 0: no geometry of spaces. Raises InputError for NaN or infinity.
    """
    space = _top_of(matrix, base, top) if top else None
    made = {"IN": _measure(matrix, base, instruct, top, space)}
    if reinforced is not None:
        made["RL"] = _measure(matrix, instruct, reinforced, top, space, earlier=(base, instruct))
    return made


def updates(base: Path, instruct: Path, reinforced: Path | None, block: int = 0, blocks: int = 1, top: int = 16):
    """(stage, record, singular values, Subspace or None) of every matrix whose number is `block` modulo `blocks`.

    See of_matrix. A matrix is a piece of work of its own: how the checkpoint is cut into blocks changes nothing.
    """
    checkpoints = {"Base": Weights(base), "IN": Weights(instruct)}
    if reinforced is not None:
        checkpoints["RL"] = Weights(reinforced)
    mine = matrices(checkpoints)[block::blocks]
    for number, matrix in enumerate(mine, 1):
        for stage, made in of_matrix(matrix, *checkpoints.values(), *[None] * (3 - len(checkpoints)), top=top).items():
            yield stage, *made
        print(f"{number} of {len(mine)}: {matrix.name}", flush=True)


def overlaps(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> list[dict]:
    """How the same update's top spaces of two recipes with one Base lie to each other: a record a key of both.

    Keys are stage/parameter/side, values [rows or columns, k]. overlap: see there; by_chance: of random spaces.
    """
    records = []
    for key in one:
        if key in other:
            stage, parameter, side = key.split("/")
            part = part_of(parameter)
            chance = one[key].shape[1] / len(one[key])
            label = {"stage": stage, "component": part.component, "layer": part.depth, "matrix": part.matrix}
            records.append({**label, "side": side, "overlap": overlap(one[key], other[key]), "by_chance": chance})
    return records
