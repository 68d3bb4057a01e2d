"""Merging two 5 GB parents with 7B widths: ours, copied and linked, versus cp, safetensors and mergekit.

    python benchmarks/merging.py [--mergekit PATH/TO/mergekit-yaml]      (15 GB of disk)

Each method runs in its own process, with the parents in the page cache and no pending disk writes at its start; seconds
and peak RSS are that process's, including start-up and imports. cp copies as many bytes as the hybrid has. Each method
runs `--repeats` times, interleaved with the others; medians are reported. The last line is a JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PLAIN = """
import json, sys
from pathlib import Path
from safetensors import safe_open
from safetensors.torch import save_file
early, late, cut, out = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
out.mkdir()
made = {}
for name, file in json.loads((early / "model.safetensors.index.json").read_text())["weight_map"].items():
    layer = int(name.split(".")[2]) if name.startswith("model.layers.") else 0
    with safe_open((early if layer < cut else late) / file, "pt") as opened:
        made[name] = opened.get_tensor(name)
save_file(made, out / "model.safetensors")
"""


def timed(command: list[str], out: Path) -> tuple[float, float, float]:
    """(seconds, peak RSS in MB, GB written to disk) of a command that writes to `out`, which is then removed."""
    os.sync()
    free, start = shutil.disk_usage(out.parent).free, time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    said = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    if status:
        sys.exit(f"{' '.join(command)}: {said[-2000:]}")
    os.sync()
    written = (free - shutil.disk_usage(out.parent).free) / 1e9
    return seconds, usage.ru_maxrss / 1024, written


def mergekit_config(parents: list[Path], layers: int, cut: int) -> dict:
    """The same hybrid for mergekit, in its `modules:` form with every module named (otherwise it drops the vision tower)."""
    instruct, reinforced = ({"model": str(path)} for path in parents)
    slices = [
        {"sources": [{**instruct, "layer_range": [0, cut]}]},
        {"sources": [{**reinforced, "layer_range": [cut, layers]}]},
    ]
    return {
        "merge_method": "passthrough",
        "modules": {
            "text_decoder": {"slices": slices},
            "vision_tower": {"models": [instruct]},
            "multi_modal_projector": {"models": [instruct]},
        },
        "dtype": "bfloat16",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--blocks", type=int, default=4)
    parser.add_argument("--vocabulary", type=int, default=152064)
    parser.add_argument("--scale", type=int, default=1, help="factor that divides the widths (default: 1)")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--directory", type=Path, help="directory for the parents (default: a temporary one)")
    parser.add_argument("--mergekit", help="path of mergekit-yaml in an environment with mergekit 0.1.5")
    parsed = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = parsed.directory or Path(folder)
        sizes = {"--layers": parsed.layers, "--blocks": parsed.blocks, "--vocabulary": parsed.vocabulary}
        sizes = [str(word) for pair in {**sizes, "--scale": parsed.scale}.items() for word in pair]
        # In another process, because a process's memory use counts for the processes it starts.
        generate = [sys.executable, str(Path(__file__).with_name("generated.py")), str(place), *sizes]
        subprocess.run([*generate, "--stages", "in", "rl"], check=True, stdout=subprocess.DEVNULL)
        parents = [place / "in", place / "rl"]
        cut, out = parsed.layers // 2, place / "out"
        donors = ["--in", str(parents[0]), "--rl", str(parents[1]), "--cuts", str(cut), "IN:RL", str(out)]
        merge = [sys.executable, "-m", "frankenstein", "merge"]
        link = [*merge, "--link", str(place / "stores")]
        ways = {
            "cp": ["cp", "-r", str(parents[0]), str(out)],
            "ours, copy": [*merge, *donors],
            "ours, link": [*link, *donors],
            "safetensors": [sys.executable, "-c", PLAIN, *map(str, parents), str(cut), str(out)],
        }
        if parsed.mergekit:
            config = place / "mergekit.yaml"
            config.write_text(json.dumps(mergekit_config(parents, parsed.layers, cut)))
            ways["mergekit"] = [parsed.mergekit, str(config), str(out), "--lazy-unpickle", "--low-cpu-memory"]
            ways["mergekit"] += ["--no-copy-tokenizer", "--no-write-model-card"]
        first, _, _ = timed([*link, *donors], out)  # creates the stores and loads the parents into the page cache
        shutil.rmtree(out)
        measured: dict[str, list] = {way: [] for way in ways}
        for _ in range(parsed.repeats):
            for way, command in ways.items():
                measured[way].append(timed(command, out))
                shutil.rmtree(out)
    median = {way: [statistics.median(values) for values in zip(*runs, strict=True)] for way, runs in measured.items()}
    print(f"{'':14}{'seconds':>10}{'peak MB':>10}{'GB written':>12}")
    for way, (seconds, peak, written) in median.items():
        print(f"{way:14}{seconds:10.2f}{peak:10.0f}{written:12.2f}")
    print(f"creating both stores (once) and the first linked hybrid: {first:.2f} s")
    copy = median["ours, copy"][0]
    result = {
        "copy_vs_cp": copy / median["cp"][0],
        "copy_seconds": copy,
        "link_seconds": median["ours, link"][0],
        "link_gb_written": median["ours, link"][2],
        "peak_rss_mb": max(median[way][1] for way in ("ours, copy", "ours, link")),
        "vs_safetensors": median["safetensors"][0] / copy,
        "vs_mergekit": median["mergekit"][0] / copy if "mergekit" in median else None,
    }
    print(json.dumps({key: value and float(f"{value:.3g}") for key, value in result.items()}))


if __name__ == "__main__":
    main()
