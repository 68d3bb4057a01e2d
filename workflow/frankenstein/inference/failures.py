"""What a sample may fail of without ending the job, and what ends it."""

from __future__ import annotations

import torch

from ..core.errors import InputError

# Of a GPU that has faulted nothing more is to be had: not a sample's failure.
FATAL: type[Exception] | tuple = getattr(torch, "AcceleratorError", ())
# Of a processor too, on an odd sample; torch's out of memory is a RuntimeError.
FAILURES = (InputError, RuntimeError, ValueError, LookupError)
