"""The GPU rules' work at the widths of a 7B model, run once each on this machine's CPU: seconds and memory.

    OMP_NUM_THREADS=2 python benchmarks/sevenb.py --layers 2 --blocks 2

A generated checkpoint (benchmarks/generated.py: Qwen2.5-VL-7B's widths and vocabulary, few layers, bfloat16) is loaded as
every rule loads one, and one prompt with an image goes through generation, a swap sweep, a skip sweep and the reduction of
attention, each in its own process. The outputs are meaningless. The last line is a JSON object.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import generated
import sweep as bench
import torch
from transformers import AutoModelForImageTextToText
from transformers.utils import logging

from frankenstein.probes import attention, sweep
from frankenstein.probes.decoder import Decoder, vision_mask

WAYS = ("generate", "swap", "skip", "attention")


def inputs(model, vision_tokens: int, suffix: int, seed: int) -> dict:
    """One prompt: an image between texts. Token ids are made up, because there is no tokenizer."""
    made = bench.inputs(vision_tokens, suffix, seed)
    own = {bench.IMAGE: model.config.image_token_id, bench.IMAGE + 2: model.config.vision_start_token_id}
    for theirs, ours in own.items():
        made["input_ids"][made["input_ids"] == theirs] = ours
    return {**made, "pixel_values": made["pixel_values"].to(model.dtype)}


def measure(parsed) -> None:
    """Print seconds and memory of one method, as JSON."""
    model = AutoModelForImageTextToText.from_pretrained(parsed.checkpoint, dtype="auto", local_files_only=True).eval()
    model.generation_config.eos_token_id = None
    target, source = (inputs(model, parsed.vision_tokens, parsed.suffix, seed) for seed in (1, 2))
    decoder, new = Decoder(model), parsed.new_tokens
    layers = range(len(decoder.layers))
    keys = vision_mask(model, target["input_ids"])
    asked = torch.arange(target["input_ids"].shape[1] - parsed.suffix // 2, target["input_ids"].shape[1])
    ways = {
        "generate": lambda: model.generate(**target, max_new_tokens=new, do_sample=False, pad_token_id=0),
        "swap": lambda: sweep.swap(decoder, target, source, [sweep.HIDDEN_STATE_AT_LAYER], new),
        "skip": lambda: sweep.skip(decoder, target, [range(layer, layer + 1) for layer in layers], new),
        "attention": lambda: list(attention.masses(decoder, target, [asked], keys)),
    }
    loaded = bench.resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")
    start = time.perf_counter()
    with torch.inference_mode():
        ways[parsed.way]()
    seconds = time.perf_counter() - start
    print(json.dumps({"seconds": seconds, "peak_mb": bench.resident("VmHWM"), "loaded_mb": loaded}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--blocks", type=int, default=2)
    parser.add_argument("--vocabulary", type=int, default=152064)
    parser.add_argument("--scale", type=int, default=1, help="factor that divides the widths (default: 1)")
    parser.add_argument("--vision-tokens", type=int, default=300)
    parser.add_argument("--suffix", type=int, default=40)
    parser.add_argument("--new-tokens", type=int, default=8)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--checkpoint", help=argparse.SUPPRESS)
    parsed = parser.parse_args()
    logging.set_verbosity_error()
    if parsed.way:
        measure(parsed)
        return
    result = {"layers": parsed.layers}
    with tempfile.TemporaryDirectory() as folder:
        shape = generated.config(parsed.layers, parsed.blocks, parsed.vocabulary, parsed.scale)
        (checkpoint,) = generated.write(Path(folder), shape, ["base"])
        for way in WAYS:
            command = [sys.executable, *sys.argv, "--way", way, "--checkpoint", str(checkpoint)]
            made = json.loads(
                subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1]
            )
            print(
                f"{way:10} {made['seconds']:8.2f} s, peak {made['peak_mb']:7.0f} MB, loaded {made['loaded_mb']:7.0f} MB"
            )
            result |= {f"{way}_{key}": round(value, 2) for key, value in made.items()}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
