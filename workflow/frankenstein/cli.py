"""The command `frankenstein`: single analyses for people who want no workflow."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from .errors import InputError

# What a command needs it imports itself: a merge needs neither torch nor pandas.


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
    from .updates_table import updates_table

    table = updates_table(parsed.base, parsed.instruct, parsed.rl, parsed.jobs)
    if parsed.out.suffix == ".csv":
        table.drop(columns="log_ratio").to_csv(parsed.out, index=False)
    else:
        table.to_parquet(parsed.out, index=False)
    print(f"{parsed.out}: {len(table)} rows")
