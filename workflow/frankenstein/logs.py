"""What a job prints, in its log file; an InputError as the one line that it is."""

from __future__ import annotations

import sys
import traceback

from .errors import InputError


def redirect(path: str) -> None:
    """Send stdout and stderr to a file from here on, and an uncaught InputError there without its traceback."""
    sys.stdout = sys.stderr = open(path, "w", buffering=1)  # noqa: SIM115 (open until the process ends)

    def hook(kind, error, trace):
        if issubclass(kind, InputError):
            print(f"error: {error}", file=sys.stderr)
        else:
            traceback.print_exception(kind, error, trace, file=sys.stderr)

    sys.excepthook = hook
