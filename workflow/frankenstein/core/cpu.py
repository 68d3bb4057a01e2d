"""The CPU's kernels: the same on every CPU, so that the same seeds make the same model."""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from pathlib import Path

_CPU = Path("/proc/cpuinfo")


def pin_kernels(environment: MutableMapping[str, str] = os.environ, cpu: Path = _CPU) -> None:
    """Have processes started from here on compute with AVX2 kernels, also where the CPU has wider vectors.

    torch and oneDNN choose their kernels by the CPU's vector instructions, and the last digits of a sum with them, which
    training makes into another model. A value that is set already stays; a CPU without AVX2, which would crash by it, is left
    as it is. MKL's matrix products still depend on the make of the CPU (docs/mini-study.md).
    """
    if cpu.exists() and "avx2" in cpu.read_text().split():
        environment.setdefault("ATEN_CPU_CAPABILITY", "avx2")
        environment.setdefault("ONEDNN_MAX_CPU_ISA", "AVX2")
