"""Reasoning-to-vision attention for a long prompt: reduced inside the attention call versus output_attentions=True.

    OMP_NUM_THREADS=2 python benchmarks/attention.py

28 layers and 4,096 tokens by default. Peak memory is measured above the loaded model, each method in its own process;
output_attentions is skipped if its tensors alone (layers x heads x tokens x tokens, float32) would not fit. The last
line is a JSON object.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import sweep
import torch
from transformers.utils import logging

from frankenstein.probes import attention
from frankenstein.probes.decoder import Decoder, vision_mask


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=28)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--tokens", type=int, default=4096)
    parser.add_argument("--vision-tokens", type=int, default=1024)
    parser.add_argument("--way", choices=["ours", "naive"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    logging.set_verbosity_error()
    if arguments.way:
        measure(arguments)
        return
    heads = max(arguments.hidden // 64, 1)
    size = 4 * arguments.layers * heads * arguments.tokens**2 / 1e6
    ways = ["ours", "naive"] if size < 12_000 else ["ours"]
    result = {"layers": arguments.layers, "tokens": arguments.tokens, "all_weights_mb": round(size)}
    for way in ways:
        command = [sys.executable, *sys.argv, "--way", way]
        made = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
        print(f"{way:6} {made['seconds']:8.2f} s {made['peak_mb']:8.0f} MB above the model")
        result |= {f"{way}_{key}": value for key, value in made.items()}
    if "naive" in ways:
        pairs = zip(result.pop("ours_mass"), result.pop("naive_mass"), strict=True)
        result["max_difference"] = max(abs(a - b) for a, b in pairs)
        result["memory_ratio"] = round(result["naive_peak_mb"] / result["ours_peak_mb"], 1)
    result.pop("ours_mass", None)
    print(json.dumps(result))


def measure(arguments) -> None:
    """Print seconds, peak memory and per-layer attention mass of one method, as JSON."""
    model = sweep.build(arguments.layers, arguments.hidden)
    suffix = arguments.tokens - arguments.vision_tokens - sweep.PREFIX
    inputs = sweep.inputs(arguments.vision_tokens, suffix, 1)
    keys = vision_mask(model, inputs["input_ids"])
    asked = torch.arange(arguments.tokens - suffix // 2, arguments.tokens)  # 2nd half: the response
    if arguments.way == "naive":
        model.set_attn_implementation("eager")
    Path("/proc/self/clear_refs").write_text("5")
    before, start = sweep.resident("VmHWM"), time.perf_counter()
    with torch.inference_mode():
        if arguments.way == "ours":
            mass = [float(layer[0].heads.mean()) for layer in attention.masses(Decoder(model), inputs, [asked], keys)]
        else:
            weights = model(**inputs, output_attentions=True, use_cache=False, logits_to_keep=1).attentions
            mass = [float(layer[0][:, asked][..., keys[0]].sum(-1).mean()) for layer in weights]
    seconds = time.perf_counter() - start
    print(json.dumps({"seconds": seconds, "peak_mb": sweep.resident("VmHWM") - before, "mass": mass}))


if __name__ == "__main__":
    main()
