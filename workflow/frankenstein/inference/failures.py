"""Which exceptions count as a single sample's failure, and which end the job."""

from __future__ import annotations

import torch

from ..core.errors import InputError

# After a GPU fault nothing more can run: not a single sample's failure.
FATAL: tuple = (torch.AcceleratorError,) if hasattr(torch, "AcceleratorError") else ()
# A processor may raise these, too, on a malformed sample; torch's out-of-memory error is a RuntimeError.
FAILURES = (InputError, RuntimeError, ValueError, LookupError)
