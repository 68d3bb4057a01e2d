"""docs/cli.md, generated from the parsers by `python -m frankenstein.cli.reference_docs`; a test checks it."""

from __future__ import annotations

import argparse
from pathlib import Path

from . import commands, parser

_HEAD = """\
# The command line

Generated from the commands themselves (`python -m frankenstein.cli.reference_docs`). `frankenstein COMMAND --help` shows
the same, `python -m frankenstein` is the same command, and `frankenstein completion bash` (or `zsh`, `tcsh`) prints a
completion script. Errors are one line, and the exit status is 1. Output is colored on a terminal only, and not with
`NO_COLOR` set.
"""


def _names(action: argparse.Action) -> str:
    """An argument as it is typed: "`--jobs N`", "`-o`, `--out FILE`", "`spec`"."""
    value = "" if action.nargs == 0 else f" {_value(action)}"
    if not action.option_strings:
        return f"`{action.metavar or action.dest}`"
    *short, last = action.option_strings
    return ", ".join([*(f"`{name}`" for name in short), f"`{last}{value}`"])


def _value(action: argparse.Action) -> str:
    return "{" + ",".join(action.choices) + "}" if action.choices else action.metavar or action.dest.upper()


def reference() -> str:
    """The page: of each command, description, examples and arguments."""
    parts = [_HEAD]
    for name, made in commands(parser()).items():
        examples = made.epilog.split("\n", 1)[1]
        rows = [
            f"| {_names(action)} | {(action.help or '').replace('|', '&#124;')}{' (required)' * _must(action)} |"
            for action in made._actions
            if not isinstance(action, argparse._HelpAction)
        ]
        parts += [
            f"## `{name}`\n",
            f"```text\n{made.description}\n```\n",
            f"```text\n{_dedented(examples)}\n```\n",
            *(["\n".join(["| argument | what |", "|---|---|", *rows]) + "\n"] if rows else []),
        ]
    return "\n".join(parts)


def _must(action: argparse.Action) -> bool:
    return bool(action.option_strings) and action.required


def _dedented(text: str) -> str:
    return "\n".join(line.removeprefix("  ") for line in text.splitlines())


def main() -> None:
    Path("docs/cli.md").write_text(reference())


if __name__ == "__main__":
    main()
