"""The full table of updates, computed in parallel processes; written by `frankenstein updates`."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from ..core.errors import InputError
from ..core.progress import Progress
from ..models.weights import Weights
from . import RANKS, matrices, vectors

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def _not_finite(work: tuple) -> list[tuple[Path, str]]:
    name, directories = work
    return [(directory, name) for directory in directories if not Weights(directory).finite(name)]


def _of_matrix(work: tuple) -> list[dict]:
    matrix, directories = work
    weights = [*map(Weights, directories), *[None] * (3 - len(directories))]
    made = matrices.analyze_matrix(matrix, *weights)
    return [
        {"stage": stage, **record, "log_ratio": matrices.log_spectrum(sigma)[:RANKS].tolist()}
        for stage, (record, sigma, _) in made.items()
    ]


@contextlib.contextmanager
def _processes(jobs: int) -> Iterator[Callable]:
    """Context: a parallel map over single-threaded processes, yielding results in order."""
    if jobs == 1:
        yield map
        return
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ |= dict.fromkeys(_THREADS, "1")  # read by each process at start-up
    try:
        with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
            yield pool.map
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def updates_table(base: Path, instruct: Path, reinforced: Path | None, jobs: int):
    """DataFrame of energy, diversity and geometry (matrices.analyze_matrix): one row per stage and weight matrix, then those of the
    norms and biases (vectors.analyze_vector; column kind), without what only a spectrum has.

    log_ratio: log(sigma_i / sigma_1) for ranks 1 to 50, None for a vector. jobs: number of single-threaded processes. Raises InputError,
    before any long computation, for checkpoints whose headers are incompatible or that contain NaN or infinity.
    """
    checkpoints = matrices.opened(base, instruct, reinforced)
    found, small = matrices.matrices(checkpoints), vectors.vectors(checkpoints)
    directories = [weights.directory for weights in checkpoints.values()]
    # Longest first, so that no process finishes long after the others.
    found.sort(key=lambda matrix: -matrix.rows * matrix.columns * min(matrix.rows, matrix.columns))
    work = [(matrix, directories) for matrix in found]
    with _processes(jobs) as spread:
        names = [(name, directories) for name in dict.fromkeys([*(matrix.tensor for matrix in found), *small])]
        if bad := [found for some in spread(_not_finite, names) for found in some]:
            directory, name = bad[0]
            raise InputError(
                f"{directory}: {name!r} holds NaN or infinity ({len(bad)} such tensors); download it again"
            )
        rows, done = [], Progress(len(found))
        for number, made in enumerate(spread(_of_matrix, work), 1):
            done(number)
            rows += made
    import pandas as pd  # imported here only, to save memory in the worker processes

    rows += [{"stage": stage, **record} for stage, record in vectors.updates(base, instruct, reinforced)]
    frame = pd.DataFrame(rows).assign(vector=lambda frame: frame.kind != "matrix")
    order = ["vector", "stage", "component", "layer", "parameter"]
    return frame.sort_values(order, ignore_index=True).drop(columns="vector")
