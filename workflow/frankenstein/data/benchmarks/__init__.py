"""The public benchmarks, one module each: where it is published, how rows become examples, and which rule grades them.

Each module defines BENCHMARK and is discovered by its presence in this folder (docs/extending.md).
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from .benchmark import Benchmark

_HELPERS = ("__init__", "benchmark", "wording")
BENCHMARKS: dict[str, Benchmark] = {
    path.stem: import_module(f"{__name__}.{path.stem}").BENCHMARK
    for path in sorted(Path(__file__).parent.glob("*.py"))
    if path.stem not in _HELPERS
}
