"""Spectra and geometry of weight updates: one layer of a 7B model, both stages, ours versus the public method.

    python benchmarks/updates.py            (about a quarter of an hour; the machine must be idle)

The public method: whole state dicts in memory and torch.linalg.svdvals of each float32 delta, with two threads; also
with wide matrices transposed. Ours: two single-threaded processes, streaming from bfloat16 safetensors. The last line is
a JSON object; errors are relative to svdvals in float64, for one matrix per shape.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def shapes(hidden: int, kv: int, intermediate: int) -> dict[str, tuple[int, int]]:
    attention = {"q": (hidden, hidden), "k": (kv, hidden), "v": (kv, hidden), "o": (hidden, hidden)}
    mlp = {"gate": (intermediate, hidden), "up": (intermediate, hidden), "down": (hidden, intermediate)}
    return {f"self_attn.{name}_proj": shape for name, shape in attention.items()} | {
        f"mlp.{name}_proj": shape for name, shape in mlp.items()
    }


def write_checkpoints(folder: Path, wanted: dict[str, tuple[int, int]]) -> list[Path]:
    """Base; IN: a dense update (rank 64 plus noise); RL: a sparse update (five of six entries unchanged). bfloat16."""
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    stages = {"base": {}, "in": {}, "rl": {}}
    for name, (rows, columns) in wanted.items():
        weight = 0.02 * torch.randn(rows, columns)
        low = torch.randn(rows, 64) @ (torch.randn(64, columns) * torch.logspace(0, -2, 64)[:, None])
        tuned = weight + 1e-4 * low + 2e-4 * torch.randn(rows, columns)
        moved = tuned + 3e-4 * torch.randn(rows, columns) * (torch.rand(rows, columns) < 1 / 6)
        for stage, tensor in zip(stages.values(), (weight, tuned, moved), strict=True):
            stage[f"model.layers.0.{name}.weight"] = tensor.bfloat16()
    paths = []
    for stage, tensors in stages.items():
        paths.append(folder / stage)
        paths[-1].mkdir()
        save_file(tensors, paths[-1] / "model.safetensors", metadata={"format": "pt"})
        (paths[-1] / "config.json").write_text('{"model_type": "qwen2_5_vl"}')
    return paths


def public(paths: list[Path], transpose: bool) -> tuple[float, dict]:
    """(seconds, {(stage, name): singular values}): state dicts in memory, float32 deltas, svdvals."""
    import torch
    from safetensors.torch import load_file

    start, spectra = time.perf_counter(), {}
    base, instruct, reinforced = (load_file(path / "model.safetensors") for path in paths)
    for stage, before, after in (("IN", base, instruct), ("RL", instruct, reinforced)):
        for name in before:
            delta = after[name].float() - before[name].float()
            wide = delta.shape[0] < delta.shape[1]
            spectra[stage, name] = torch.linalg.svdvals(delta.T if transpose and wide else delta).numpy()
    return time.perf_counter() - start, spectra


def work(arguments):
    """One process's share of the work: ({(stage, name): singular values}, peak MB of the process)."""
    from frankenstein.updates import matrices

    paths, block, blocks, top = arguments
    made = {
        (stage, f"model.{record['parameter']}"): sigma
        for stage, record, sigma, _ in matrices.updates(*paths, block, blocks, top)
    }
    status = Path("/proc/self/status").read_text()  # ru_maxrss would include the parent's peak
    return made, int(status.split("VmHWM:")[1].split()[0]) / 1024


def started(seconds: float) -> None:
    """Import dependencies, and keep this process busy so that the other one starts too."""
    from frankenstein.updates import matrices  # noqa: F401

    time.sleep(seconds)


def ours(paths: list[Path], blocks: int, top: int) -> tuple[float, dict, float]:
    """(seconds, spectra, peak MB of a process); processes are started and imports done before timing begins."""
    os.environ |= dict.fromkeys(THREADS, "1")
    spectra, peak = {}, 0.0
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        list(pool.map(started, [2.0] * 2))
        start = time.perf_counter()
        for made, used in pool.map(work, [(paths, block, blocks, top) for block in range(blocks)]):
            spectra, peak = spectra | made, max(peak, used)
        seconds = time.perf_counter() - start
    return seconds, spectra, peak


def gemm(size: int) -> float:
    """GFLOP/s of a float64 matrix product on this machine, two threads."""
    import torch

    a = torch.randn(size, size, dtype=torch.float64)
    a @ a
    start = time.perf_counter()
    a @ a
    return 2 * size**3 / (time.perf_counter() - start) / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hidden", type=int, default=3584)
    parser.add_argument("--kv", type=int, default=512)
    parser.add_argument("--intermediate", type=int, default=18944)
    arguments = parser.parse_args()
    import numpy as np
    import torch
    from safetensors.torch import load_file

    torch.set_num_threads(2)
    wanted = shapes(arguments.hidden, arguments.kv, arguments.intermediate)
    with tempfile.TemporaryDirectory() as folder:
        paths = write_checkpoints(Path(folder), wanted)
        speed = gemm(min(4096, 2 * arguments.hidden))
        seconds, spectra, peak = ours(paths, len(wanted), 0)
        with_geometry, _, peak_geometry = ours(paths, len(wanted), 16)
        as_published, _ = public(paths, transpose=False)
        transposed, theirs = public(paths, transpose=True)
        errors = {"ours": [], "public": []}
        stages = [load_file(path / "model.safetensors") for path in paths]
        for number, stage in enumerate(("IN", "RL")):
            for name in ("self_attn.q_proj", "self_attn.k_proj", "mlp.gate_proj"):
                key = f"model.layers.0.{name}.weight"
                exact = torch.linalg.svdvals(stages[number + 1][key].double() - stages[number][key].double()).numpy()
                for label, found in (("ours", spectra), ("public", theirs)):
                    errors[label].append(np.abs(found[stage, key] - exact) / exact)
    # One triangle of a Gram matrix, and its reduction to tridiagonal form.
    flops = sum(min(shape) ** 2 * max(shape) + 4 / 3 * min(shape) ** 3 for shape in wanted.values())
    floor = 2 * flops / speed / 1e9
    print(f"{'':24}{'seconds':>10}{'worst relative error':>24}")
    for label, took, of in (
        ("public", as_published, "public"),
        ("public, transposed", transposed, "public"),
        ("ours", seconds, "ours"),
        ("ours with geometry", with_geometry, "ours"),
    ):
        print(f"{label:24}{took:10.1f}{max(error.max() for error in errors[of]):24.1e}")
    result = {
        "speedup": as_published / seconds,
        "speedup_transposed": transposed / seconds,
        "gemm_floor_share": floor / seconds,
        "gemm_gflops": speed,
        "achieved_gflops": 2 * flops / seconds / 1e9,
        "seconds_per_layer": seconds,
        "seconds_per_layer_with_geometry": with_geometry,
        "peak_rss_mb": max(peak, peak_geometry),
        "max_rel_error_top50": max(float(error[:50].max()) for error in errors["ours"]),
        "max_rel_error_all": max(float(error.max()) for error in errors["ours"]),
        "max_rel_error_all_public": max(float(error.max()) for error in errors["public"]),
    }
    print(json.dumps({key: float(f"{value:.3g}") for key, value in result.items()}))


if __name__ == "__main__":
    main()
