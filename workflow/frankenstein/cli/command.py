"""A command of the command line, with a description and examples in its help."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Callable


def command(
    commands: argparse._SubParsersAction, name: str, run: Callable, help: str, text: str, examples: str
) -> argparse.ArgumentParser:
    """Add a command and return its parser.

    help: its line in `frankenstein --help`; text: its description, as it should be laid out; examples: command lines;
    run: called with the parsed arguments, imports what it needs.
    """
    examples = textwrap.indent(textwrap.dedent(examples).strip(), "  ")
    title = "examples" if "\n" in examples else "example"
    made = commands.add_parser(
        name,
        help=help,
        description=textwrap.dedent(text).strip(),
        epilog=f"{title}:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.set_defaults(run=run)
    return made
