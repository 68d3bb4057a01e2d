"""The command `frankenstein`: single analyses for people who want no workflow."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from .errors import InputError

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def _updates_of_block(arguments) -> list[tuple]:
    import torch

    from . import updates

    torch.set_num_threads(1)
    base, instruct, reinforced, block, blocks = arguments
    made = updates.updates(base, instruct, reinforced, block, blocks)
    return [(stage, record, updates.log_spectrum(sigma)[: updates.RANKS].tolist()) for stage, record, sigma, _ in made]


def updates_table(base: Path, instruct: Path, reinforced: Path | None, jobs: int):
    """Energy, diversity and geometry of every weight matrix as a DataFrame (updates.of_matrix), a row a stage and matrix.

    log_ratio: log(sigma_i / sigma_1) of ranks 1 to 50. jobs: processes of one thread each.
    """
    import pandas as pd

    # More blocks than processes: a process that is done takes the next.
    blocks = 1 if jobs == 1 else 8 * jobs
    work = [(base, instruct, reinforced, block, blocks) for block in range(blocks)]
    if jobs == 1:
        made = list(map(_updates_of_block, work))
    else:
        before = {name: os.environ.get(name) for name in _THREADS}
        os.environ |= dict.fromkeys(_THREADS, "1")  # what a process reads when it starts
        try:
            with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
                made = list(pool.map(_updates_of_block, work))
        finally:
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})
    rows = [{"stage": stage, **record, "log_ratio": log} for block in made for stage, record, log in block]
    return pd.DataFrame(rows).sort_values(["stage", "component", "layer", "parameter"], ignore_index=True)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="frankenstein", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    command = commands.add_parser("updates", help="what changed in the weights, matrix by matrix, as one parquet table")
    command.add_argument("--base", type=Path, required=True, help="checkpoint directory (safetensors)")
    command.add_argument("--in", type=Path, required=True, dest="instruct", help="after supervised training")
    command.add_argument("--rl", type=Path, help="after reinforcement learning")
    command.add_argument("-o", "--out", type=Path, required=True, help="table to write (.parquet or .csv)")
    command.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes of one thread (all cores)")
    command.set_defaults(run=_updates)
    parsed = parser.parse_args(arguments)
    try:
        parsed.run(parsed)
    except InputError as error:
        sys.exit(f"error: {error}")


def _updates(parsed) -> None:
    if parsed.out.suffix not in (".parquet", ".csv"):
        raise InputError(f"{parsed.out}: ends neither in .parquet nor in .csv")
    if parsed.jobs < 1:
        raise InputError(f"--jobs {parsed.jobs}: at least one")
    table = updates_table(parsed.base, parsed.instruct, parsed.rl, parsed.jobs)
    if parsed.out.suffix == ".csv":
        table.drop(columns="log_ratio").to_csv(parsed.out, index=False)
    else:
        table.to_parquet(parsed.out, index=False)
    print(f"{parsed.out}: {len(table)} rows")
