"""What a job prints, in its log file; an InputError as the one line that it is."""

from __future__ import annotations

import os
import sys
import traceback

from .errors import InputError


def redirect(path: str) -> None:
    """Send stdout and stderr to a file from here on, and an uncaught InputError there without its traceback.

    By file descriptor: what took hold of stderr before (transformers' logger) writes there too.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)

    def hook(kind, error, trace):
        if issubclass(kind, InputError):
            print(f"error: {error}", file=sys.stderr)
        else:
            traceback.print_exception(kind, error, trace, file=sys.stderr)

    sys.excepthook = hook
