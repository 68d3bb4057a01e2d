"""Commands on this machine: doctor, completion."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ..core.terminal import paint
from .command import command


def add(commands: argparse._SubParsersAction) -> None:
    """Add the commands of this module."""
    command(
        commands,
        "doctor",
        _doctor,
        "check this machine: versions, GPU, disk, Hub, Slurm",
        """
        Check what a study needs, a line each: ok, missing (with what to do), or - for what only some studies need.
        Exits with 1 if anything is missing that the default study, the mini study, needs.
        """,
        "frankenstein doctor",
    )
    made = command(
        commands,
        "completion",
        _completion,
        "print a completion script for your shell",
        """
        Print a script that completes commands, options and files in bash, zsh or tcsh.
        """,
        """
        frankenstein completion bash > ~/.local/share/bash-completion/completions/frankenstein
        frankenstein completion zsh > ~/.zfunc/_frankenstein
        """,
    )
    made.add_argument("shell", choices=("bash", "zsh", "tcsh"))


def _doctor(_) -> None:
    from ..study import doctor

    styles = {doctor.OK: "good", doctor.MISSING: "bad", doctor.NOTE: "note"}

    def show(line: doctor.Line) -> None:
        print(f"{paint(f'{line.state:8}', styles[line.state])} {line.what}", flush=True)
        if line.todo:
            print(f"{'':8}   {line.todo}", flush=True)

    if not doctor.report(show):
        sys.exit(1)


def _completion(parsed) -> None:
    import shtab

    from . import commands, parser

    top = parser()
    for made in commands(top).values():
        for action in made._actions:
            if action.type is Path:
                action.complete = shtab.FILE
    print(shtab.complete(top, parsed.shell))
