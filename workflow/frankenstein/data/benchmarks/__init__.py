"""The public benchmarks, a module each: where it is published, how a row becomes an example, and which rule grades it.

A module has BENCHMARK, and is found by being here (docs/extending.md).
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
