"""Energy, diversity and geometry of weight updates, streamed (paper, Section 3.2, Figs. 5 and 6).

Each matrix is read in strips along its longer side, subtracted, and reduced to the float64 Gram matrix of its
shorter side, whose eigenvalues are the squared singular values of the update. Regardless of checkpoint size, memory
holds at most one strip per checkpoint and one Gram matrix per stage.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.linalg import blas, eigh_tridiagonal, eigvalsh_tridiagonal, lapack
from scipy.sparse.linalg import LinearOperator, eigsh

from ..core.errors import InputError
from ..models.architecture import Part
from ..models.weights import DTYPES, Weights, as_stored, check_same_shapes, drop_tied_heads, from_stored
from . import RANKS

STRIP = 512
LARGE = 4096  # side length of a Gram matrix above which stages are processed separately (4096: 134 MB)
# Machine epsilon (spacing of numbers just above 1) of each storage dtype.
EPS = {"F64": 2.0**-52, "F32": 2.0**-23, "F16": 2.0**-10, "BF16": 2.0**-7}


@dataclass(frozen=True)
class Matrix:
    """A weight matrix of a checkpoint: [rows, columns]; convolution kernels are flattened, one output channel per row.

    tensor: the name it is stored under; expert: its index in a tensor of stacked experts [experts, rows, columns], else None.
    """

    tensor: str
    part: Part
    rows: int
    columns: int
    expert: int | None = None

    @property
    def name(self) -> str:
        return self.tensor if self.expert is None else f"{self.tensor}.{self.expert}"

    @property
    def wide(self) -> bool:
        return self.rows < self.columns


def matrices(checkpoints: dict[str, Weights]) -> list[Matrix]:
    """All weight matrices, ordered by component and depth, after the checks of `checked`.

    Excludes norms and biases (see updates.vectors); tied embeddings count once.
    """
    reference, found = checked(checkpoints), []
    for name in reference:
        shape, part = reference.shape(name), reference.part(name)
        if len(shape) == 3 and "experts" in part.matrix:
            of = [dataclasses.replace(part, matrix=f"{part.matrix}.{expert}") for expert in range(shape[0])]
            found += [Matrix(name, part, *shape[1:], expert) for expert, part in enumerate(of)]
        elif len(shape) >= 2:
            found.append(Matrix(name, part, shape[0], int(np.prod(shape[1:]))))
    return sorted(found, key=lambda matrix: (matrix.part.component, matrix.part.depth, matrix.name))


def checked(checkpoints: dict[str, Weights]) -> Weights:
    """The first checkpoint, after checks that need only the file headers and the removal of tied heads from all.

    Raises InputError if the checkpoints differ in tensor names or shapes, or if one is quantized or contains an
    unmerged adapter.
    """
    for label, weights in checkpoints.items():
        _check_plain(label, weights)
    drop_tied_heads(checkpoints)
    check_same_shapes(checkpoints)
    return next(iter(checkpoints.values()))


def _config(weights: Weights) -> dict:
    path = weights.directory / "config.json"
    return json.loads(path.read_text()) if path.exists() else {}


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
        raise InputError(f"{label} ({weights.directory}): quantized ({what}); give the unquantized checkpoint")


def _strips(matrix: Matrix, *checkpoints: Weights) -> Iterator[list[np.ndarray]]:
    """The matrix in each checkpoint, strip by strip: [strip, columns], or [rows, strip] for a wide matrix."""
    for start in range(0, max(matrix.rows, matrix.columns), STRIP):
        yield [
            weights.strip(matrix.tensor, int(matrix.wide), start, start + STRIP, matrix.expert)
            for weights in checkpoints
        ]


def difference(before: np.ndarray, after: np.ndarray, stored: set[str]) -> np.ndarray:
    """after - before as float64; subtracted in float32, or in float64 if either is stored as float32 or float64."""
    exact = np.float64 if stored & {"F32", "F64"} else np.float32
    return np.subtract(after, before, out=np.empty(after.shape), dtype=exact, casting="unsafe")


def count_changed(before: np.ndarray, after: np.ndarray, stored: set[str]) -> tuple[int, int]:
    """How many entries differ: as stored (in the dtypes `stored`), and after rounding to bfloat16."""
    changed = np.count_nonzero(before != after)
    if stored == {"BF16"}:
        return changed, changed
    rounded = [from_stored(as_stored(values, "BF16"), "BF16") for values in (before, after)]
    return changed, np.count_nonzero(rounded[0] != rounded[1])


def norms(weight: float, energy: float, entries: int) -> dict[str, float]:
    """weight_norm, frobenius, frobenius_rms and frobenius_relative, from the squared norms of the weights before and of the update."""
    return {
        "weight_norm": weight**0.5,
        "frobenius": energy**0.5,
        "frobenius_rms": (energy / entries) ** 0.5,
        "frobenius_relative": (energy / weight) ** 0.5 if weight else 0.0,
    }


def cosine(dot: float, energy: float, other_energy: float) -> float:
    """The cosine of two updates, from their dot product and squared norms; 0 if either is zero."""
    return dot / (energy * other_energy) ** 0.5 if energy * other_energy else 0.0


def _descending(values: np.ndarray, vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.sqrt(np.maximum(values[::-1], 0)), np.ascontiguousarray(vectors[:, ::-1])


class _Gram:
    """Lower triangle of D^T D for a tall matrix D (D D^T for a wide one), accumulated over strips in float64."""

    def __init__(self, size: int):
        self.sum = np.full((size, size), 0.0, order="F")  # np.full gets huge pages, np.zeros does not

    def add(self, strip: np.ndarray, wide: bool) -> None:
        """Accumulate a float64 strip: [n, size], or [size, n] for a wide matrix."""
        self.sum = blas.dsyrk(1.0, strip.T, 1.0, self.sum, trans=int(wide), lower=1, overwrite_c=1)

    def trace(self) -> float:
        return float(np.trace(self.sum))

    def spectrum(self, top: int) -> tuple[np.ndarray, np.ndarray]:
        """(all singular values of D, descending; top singular vectors [size, top]). Overwrites the sum."""
        size = len(self.sum)
        if size < 3:
            values, vectors = np.linalg.eigh(self.sum)
            return _descending(values, vectors[:, size - top :])
        # A single tridiagonal reduction yields both all eigenvalues and the top vectors.
        work = int(lapack.dsytrd_lwork(size, lower=1)[0])
        reduced, diagonal, off, tau, _ = lapack.dsytrd(self.sum, lower=1, lwork=work, overwrite_a=1)
        values, vectors = eigvalsh_tridiagonal(diagonal, off), np.empty((size, 0))
        if top:
            _, vectors = eigh_tridiagonal(diagonal, off, select="i", select_range=(size - top, size - 1))
            for start in reversed(range(0, size - 1, STRIP)):  # last reflectors first; in blocks, to save memory
                stop = min(start + STRIP, size - 1)
                reflectors, below = reduced[start + 1 :, start:stop], np.asfortranarray(vectors[start + 1 :])
                work = int(lapack.dormqr("L", "N", reflectors, tau[start:stop], below, -1)[1][0])
                vectors[start + 1 :], _, _ = lapack.dormqr("L", "N", reflectors, tau[start:stop], below, work)
        return _descending(values, vectors)

    def top(self, count: int) -> np.ndarray:
        """Only the top singular vectors of D [size, count], by Lanczos iteration if count is small relative to size."""
        size = len(self.sum)
        if size <= 8 * count:
            return self.spectrum(count)[1]
        whole = LinearOperator((size, size), lambda vector: blas.dsymv(1.0, self.sum, vector.ravel(), lower=1))
        start = np.random.default_rng(0).standard_normal(size)
        return _descending(*eigsh(whole, count, v0=start, ncv=4 * count))[1]


class _DeviceGram:
    """Same as _Gram, but with torch on a device (the GPU if there is one)."""

    def __init__(self, size: int, device: str):
        import torch

        self.torch, self.sum = torch, torch.zeros(size, size, dtype=torch.float64, device=device)

    def add(self, strip: np.ndarray, wide: bool) -> None:
        strip = self.torch.from_numpy(strip).to(self.sum.device)
        self.sum.addmm_(*((strip, strip.T) if wide else (strip.T, strip)))

    def trace(self) -> float:
        return float(self.sum.trace())

    def spectrum(self, top: int) -> tuple[np.ndarray, np.ndarray]:
        values, vectors = self.torch.linalg.eigh(self.sum)
        return _descending(values.cpu().numpy(), vectors[:, len(values) - top :].cpu().numpy())

    def top(self, count: int) -> np.ndarray:
        return self.spectrum(count)[1]


@functools.cache
def _gpu() -> bool:
    """Whether torch sees a GPU; without a driver, torch (500 MB) is not imported to find out."""
    if not any(os.path.exists(device) for device in ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")):
        return False
    import torch

    return torch.cuda.is_available()


def _gram(matrix: Matrix) -> _Gram | _DeviceGram:
    size = min(matrix.rows, matrix.columns)
    return _DeviceGram(size, "cuda") if _gpu() else _Gram(size)


@dataclass(frozen=True)
class Subspace:
    """Top singular vectors as orthonormal columns: left [rows, k], right [columns, k], float64."""

    left: np.ndarray
    right: np.ndarray


def _subspace(matrix: Matrix, short: np.ndarray, long: list[np.ndarray]) -> Subspace:
    """Top singular vectors of both sides, from those of the shorter side and their products with D, given per strip."""
    along, _ = np.linalg.qr(np.concatenate(long))  # already orthogonal up to rounding; signs do not matter
    return Subspace(short, along) if matrix.wide else Subspace(along, short)


def gram_floor(n: int) -> float:
    """The share of sigma_1 below which singular values from an n x n Gram matrix are rounding.

    A Gram matrix holds squares, so that its eigenvalues are off by up to about n eps sigma_1^2 (float64) and what stands for
    zero comes out as sqrt(n eps) sigma_1: 1e-7 for n = 64, 9e-7 for n = 3584.
    """
    return float(np.sqrt(n * np.finfo(np.float64).eps))


def log_spectrum(sigma: np.ndarray) -> np.ndarray:
    """log(sigma_i / sigma_1) of singular values (descending), NaN below the floor (gram_floor) and for a zero update."""
    relative = sigma / sigma[0] if sigma[0] > 0 else np.zeros_like(sigma)
    return np.log(np.where(relative > gram_floor(len(sigma)), relative, np.nan))


def diversity(sigma: np.ndarray) -> dict[str, float]:
    """Summary statistics of an update's singular values (descending); all zero for a zero update, but for its slope.

    spectral: sigma_1; nuclear: their sum; stable_rank: sum sigma^2 / sigma_1^2 (Rudelson and Vershynin, 2007);
    effective_rank: exp of the entropy of sigma / sum sigma (Roy and Vetterli, 2007); participation_ratio:
    (sum sigma^2)^2 / sum sigma^4; energy_top_1, _10, _50: share of sum sigma^2 in the first 1, 10, 50; floor: gram_floor sigma_1;
    rank: how many values lie above it; slope: of log(sigma_i / sigma_1) over the first 50 of these, least squares (below
    zero; lower is steeper), NaN where there are fewer than two.
    """
    names = ("spectral", "nuclear", "stable_rank", "effective_rank", "participation_ratio")
    names += ("energy_top_1", "energy_top_10", "energy_top_50", "floor")
    if not sigma[0] > 0:
        return {**dict.fromkeys(names, 0.0), "slope": np.nan, "rank": 0}
    relative = sigma / sigma[0]
    squares = relative**2
    share = relative[relative > 0] / relative.sum()
    floor = gram_floor(len(sigma))
    rank = int((relative > floor).sum())
    shown = log_spectrum(sigma)[: min(RANKS, rank)]
    values = (
        sigma[0],
        sigma.sum(),
        squares.sum(),
        np.exp(-(share * np.log(share)).sum()),
        squares.sum() ** 2 / (squares**2).sum(),
        *(squares[:k].sum() / squares.sum() for k in (1, 10, 50)),
        floor * sigma[0],
    )
    slope = float(np.polyfit(np.arange(len(shown)), shown, 1)[0]) if len(shown) > 1 else np.nan
    return {**dict(zip(names, map(float, values), strict=True)), "slope": slope, "rank": rank}


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    """Mean squared cosine of the principal angles between two subspaces (orthonormal columns): 0 orthogonal, 1 equal.

    The subspace similarity of Hu et al. (2021), section 7.2. For random k-dimensional subspaces of R^n it averages k / n.
    """
    return float(np.linalg.norm(one.T @ other) ** 2 / min(one.shape[1], other.shape[1]))


def geometry(update: Subspace, base: Subspace) -> dict[str, float]:
    """Alignment of an update's top singular subspace with the base weight's, left (outputs) and right (inputs).

    overlap_left, overlap_right: see overlap; angle_left, angle_right: the smallest principal angle in degrees
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


class _Update:
    """One update (after - before) of one matrix: the quantities accumulated over its strips."""

    def __init__(self, matrix: Matrix, before: Weights, after: Weights):
        self.matrix, self.before, self.after = matrix, before, after
        self.stored = {before.dtype(matrix.tensor), after.dtype(matrix.tensor)}
        self.gram: _Gram | _DeviceGram | None = None
        self.changed = self.visible = 0
        self.weight = self.dot = self.inside = 0.0
        self.along: list[np.ndarray] = []
        self.crossed: np.ndarray | float = 0.0

    def add(self, before: np.ndarray, after: np.ndarray, earlier: np.ndarray | None) -> np.ndarray:
        """Accumulate one strip and return its difference; earlier: that of the update to compare with."""
        delta = difference(before, after, self.stored)
        self.gram = self.gram or _gram(self.matrix)
        self.gram.add(delta, self.matrix.wide)
        changed, visible = count_changed(before, after, self.stored)
        self.changed, self.visible = self.changed + changed, self.visible + visible
        self.weight += _squares(before)
        if earlier is not None:
            self.dot += float(np.vdot(delta, earlier))
        return delta

    def finish(self, top: int, other_energy: float) -> None:
        """Compute the record, the singular values and the shorter side's top vectors from the accumulated sums."""
        matrix, weight, energy = self.matrix, self.weight, self.gram.trace()
        for value, weights in ((weight, self.before), (energy, self.after)):
            if not np.isfinite(value):
                raise InputError(
                    f"{weights.path(matrix.tensor)}: {matrix.name!r} holds NaN or infinity; fetch it again"
                )
        size = min(matrix.rows, matrix.columns)
        if energy:
            self.sigma, self.short = self.gram.spectrum(min(top, size))
        else:
            self.sigma, self.short = np.zeros(size), np.empty((size, 0))
        del self.gram
        self.energy, entries = energy, matrix.rows * matrix.columns
        # Each stored entry is off by up to half a unit in the last place, which is at most eps times its own value.
        squares = sum(EPS[weights.dtype(matrix.tensor)] ** 2 for weights in (self.before, self.after))
        noise = np.sqrt(weight * squares / 12)
        self.record = {
            "parameter": matrix.name,
            "kind": "matrix",
            "component": matrix.part.component,
            "layer": matrix.part.depth,
            "block": matrix.part.block,
            "matrix": matrix.part.matrix,
            "rows": matrix.rows,
            "columns": matrix.columns,
            "entries": entries,
            **norms(weight, energy, entries),
            **diversity(self.sigma),
            "rounding_floor": float(noise * (matrix.rows**0.5 + matrix.columns**0.5) / entries**0.5),
            "changed": self.changed / entries,
            "changed_bf16": self.visible / entries,
            "cosine_with_in": cosine(self.dot, energy, other_energy),
        }

    def add_along(self, before: np.ndarray, after: np.ndarray, base: Subspace) -> None:
        """Second pass over a strip, once the top vectors are known: accumulate the geometry relative to the base."""
        long, short = (base.right, base.left) if self.matrix.wide else (base.left, base.right)
        delta = _tall(self.matrix, difference(before, after, self.stored))
        own, inside = np.split(delta @ np.hstack([self.short, short]), [self.short.shape[1]], axis=1)
        done = sum(map(len, self.along))
        self.along.append(own)
        self.inside += float(np.linalg.norm(inside) ** 2)
        self.crossed += long[done : done + len(delta)].T @ delta

    def compare(self, base: Subspace) -> Subspace:
        """The update's own top subspace; adds its geometry relative to the base's to the record."""
        space = _subspace(self.matrix, self.short, self.along)
        of_long = float(np.linalg.norm(self.crossed) ** 2)
        left, right = (self.inside, of_long) if self.matrix.wide else (of_long, self.inside)
        both = float(np.linalg.norm(self.crossed @ (base.left if self.matrix.wide else base.right)) ** 2)
        shares = {"principal_left": left, "principal_right": right, "principal": both}
        self.record |= geometry(space, base) | {name: value / self.energy for name, value in shares.items()}
        return space


def _squares(strip: np.ndarray) -> float:
    strip = strip.astype(np.float64)
    return float(np.vdot(strip, strip))


def _top_of(matrix: Matrix, weights: Weights, top: int) -> Subspace | None:
    """Top singular vectors of the weight matrix itself; None if it is all zeros."""
    gram = _gram(matrix)
    for (strip,) in _strips(matrix, weights):
        gram.add(strip.astype(np.float64), matrix.wide)
    energy = gram.trace()
    if not np.isfinite(energy):
        raise InputError(f"{weights.path(matrix.tensor)}: {matrix.name!r} holds NaN or infinity; fetch it again")
    if not energy:
        return None
    short = gram.top(min(top, matrix.rows, matrix.columns))
    return _subspace(matrix, short, [_tall(matrix, strip) @ short for (strip,) in _strips(matrix, weights)])


def _tall(matrix: Matrix, strip: np.ndarray) -> np.ndarray:
    return strip.T if matrix.wide else strip


def analyze_matrix(matrix: Matrix, base: Weights, instruct: Weights, reinforced: Weights | None, top: int = 16):
    """Analyse one matrix: {stage: (record, all singular values float64 descending, Subspace or None)}.

    Stage "IN" is IN - Base, "RL" is RL - IN. Each record contains

    - energy: frobenius; frobenius_rms (divided by sqrt(entries)); frobenius_relative (divided by the norm of the
      weights before the update);
    - diversity (see there), and rounding_floor: an upper bound on the spectral norm due to rounding of the stored
      weights alone;
    - changed, the share of entries that differ at all, and changed_bf16, the share that still differ after rounding
      to bfloat16, where an update below half a unit in the last place vanishes (the sparsity of Mukherjee et al., 2025);
    - geometry: cosine_with_in, the cosine of the RL update with the IN update (0 in the IN record); overlap and
      smallest principal angle between the update's top subspace and the Base weight's, and the share of the update's
      energy inside the latter: left, right and both (principal; compare Zhu et al., 2025).

    top: dimension of the top subspaces; 0 skips the subspace geometry. Raises InputError for NaN or infinity.
    """
    checkpoints = [base, instruct, *([reinforced] if reinforced is not None else [])]
    space = _top_of(matrix, base, top) if top else None
    made = [_Update(matrix, *pair) for pair in itertools.pairwise(checkpoints)]
    energy = 0.0
    # One pass over the files for both stages, unless two Gram matrices are too large (5120 in a 7B model's projector).
    for together in [made] if min(matrix.rows, matrix.columns) <= LARGE else [[update] for update in made]:
        for strips in _strips(matrix, *checkpoints):
            delta = None
            for update, pair in zip(made, itertools.pairwise(strips), strict=True):
                here = update in together
                delta = update.add(*pair, earlier=delta) if here else difference(*pair, update.stored)
        for update in together:
            update.finish(top, energy)
            energy = update.energy
            if top:
                update.record |= dict.fromkeys(GEOMETRY, 0.0)
    spaces: list[Subspace | None] = [None] * len(made)
    moved = [number for number, update in enumerate(made) if update.energy and space is not None]
    for strips in _strips(matrix, *checkpoints) if moved else ():
        for number in moved:
            made[number].add_along(*strips[number : number + 2], space)
    for number in moved:
        spaces[number] = made[number].compare(space)
    return {
        stage: (update.record, update.sigma, own)
        for stage, update, own in zip(("IN", "RL"), made, spaces, strict=False)
    }


def opened(base: Path, instruct: Path, reinforced: Path | None) -> dict[str, Weights]:
    """The stages' checkpoints by name: Base, IN and, where there is one, RL."""
    directories = {"Base": base, "IN": instruct} | ({"RL": reinforced} if reinforced is not None else {})
    return {label: Weights(directory) for label, directory in directories.items()}


def updates(base: Path, instruct: Path, reinforced: Path | None, block: int = 0, blocks: int = 1, top: int = 16):
    """Yield (stage, record, singular values, Subspace or None) for every matrix whose index is `block` modulo `blocks`.

    See analyze_matrix. Matrices are processed independently, so the number of blocks does not affect the results.
    """
    checkpoints = opened(base, instruct, reinforced)
    mine = matrices(checkpoints)[block::blocks]
    for number, matrix in enumerate(mine, 1):
        for stage, made in analyze_matrix(
            matrix, *checkpoints.values(), *[None] * (3 - len(checkpoints)), top=top
        ).items():
            yield stage, *made
        print(f"{number} of {len(mine)}: {matrix.name}", flush=True)


def overlaps(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> list[dict]:
    """Overlap between two recipes' top update subspaces (same Base): one record per key present in both.

    Keys are stage/component/layer/matrix/parameter/side, values [rows or columns, k]. overlap: see the function; by_chance: its value for
    random subspaces.
    """
    records = []
    for key in one:
        if key in other:
            stage, component, layer, matrix, _, side = key.split("/")
            chance = one[key].shape[1] / len(one[key])
            label = {"stage": stage, "component": component, "layer": int(layer), "matrix": matrix}
            records.append({**label, "side": side, "overlap": overlap(one[key], other[key]), "by_chance": chance})
    return records
