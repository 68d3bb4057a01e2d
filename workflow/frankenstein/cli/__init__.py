"""The `frankenstein` command: run a study, and its analyses one by one without the workflow."""

from __future__ import annotations

import argparse
import os
import shlex
import sys

from .. import __version__
from ..core.errors import InputError
from ..core.terminal import paint
from . import checkpoints, machine, responses, studies

# Each command imports what it needs when it runs: `--help` must not wait for torch, and a merge needs neither torch nor pandas.

_FIRST = """\
first steps:
  frankenstein doctor                                check this machine
  frankenstein init                                  write a study of your own Base, IN and RL
  frankenstein plan config/mine.yaml                 what it will cost
  frankenstein run config/mine.yaml                  run it; the report is results/mine/report.html
  frankenstein view results/mine                     look at its examples

`frankenstein COMMAND --help` describes a command and gives an example.
"""


def parser() -> argparse.ArgumentParser:
    """The parser of all commands, from which docs/cli.md and the shell completion are made."""
    top = argparse.ArgumentParser(
        prog="frankenstein",
        description="What did reinforcement learning change in a vision-language model, where, and was it necessary?",
        epilog=_FIRST,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"frankenstein {__version__}")
    commands = top.add_subparsers(required=True, metavar="COMMAND", title="commands")
    for group in (studies, checkpoints, responses, machine):
        group.add(commands)
    return top


def commands(top: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """Every command's parser by name."""
    (action,) = [action for action in top._actions if isinstance(action, argparse._SubParsersAction)]
    return action.choices


def main(arguments: list[str] | None = None) -> None:
    """Run a command line (default: this process's). Exits with 1 and one line on stderr where the input is at fault."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments:
        parser().print_help()
        sys.exit(2)
    parsed = parser().parse_args(arguments)
    parsed.command = shlex.join(["frankenstein", *arguments])
    try:
        parsed.run(parsed)
    except BrokenPipeError:  # `frankenstein ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except (KeyboardInterrupt, EOFError):  # Ctrl-C, or Ctrl-D in answer to a question
        sys.exit(130)
    except (InputError, OSError) as error:
        text = f"{error.filename}: {error.strerror}" if isinstance(error, OSError) and error.filename else str(error)
        sys.exit(f"{paint('error:', 'bad', sys.stderr)} {text}")
