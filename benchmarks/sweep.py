"""Swapping and skipping at every layer: the sweep engine versus one generate call per layer (naive), and versus all layers as rows
of one batch with a hook per row (rows, the best way with hooks), in one run.

    OMP_NUM_THREADS=2 python benchmarks/sweep.py

A Qwen2.5-VL with random weights and one pair of images. Ratios are medians over paired repeats, alternating between
the methods. The last line is a JSON object.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import time
from pathlib import Path

import flops
import naive_sweep
import torch
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration
from transformers.utils import logging

from frankenstein.probes import sweep
from frankenstein.probes.decoder import Decoder

VOCABULARY, IMAGE = 1000, 990
PREFIX = 20


def build(layers: int, hidden: int):
    heads = max(hidden // 64, 1)
    width = hidden // heads
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": VOCABULARY,
            "hidden_size": hidden,
            "intermediate_size": 4 * hidden,
            "num_hidden_layers": layers,
            "num_attention_heads": heads,
            "num_key_value_heads": max(heads // 4, 1),
            "initializer_range": 0.05,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 1e6,
                "mrope_section": [width // 2 - 2 * (width * 3 // 16), width * 3 // 16, width * 3 // 16],
            },
            "bos_token_id": 0,
            "eos_token_id": None,
            "pad_token_id": 0,
        },
        vision_config={
            "depth": 4,
            "hidden_size": max(hidden // 2, 32),
            "intermediate_size": hidden,
            "num_heads": 4,
            "out_hidden_size": hidden,
            "fullatt_block_indexes": [3],
        },
        image_token_id=IMAGE,
        video_token_id=IMAGE + 1,
        vision_start_token_id=IMAGE + 2,
        vision_end_token_id=IMAGE + 3,
        tie_word_embeddings=True,
    )
    torch.manual_seed(0)
    model = Qwen2_5_VLForConditionalGeneration(config).eval()
    model.generation_config.eos_token_id = None
    model.generation_config.pad_token_id = 0
    return model


def inputs(vision_tokens: int, suffix: int, seed: int) -> dict:
    """One prompt: text, an image of `vision_tokens`, text. The seed changes the image but not the text."""
    rows = max(n for n in range(1, int(vision_tokens**0.5) + 1) if vision_tokens % n == 0)
    text = torch.randint(1, IMAGE, (1, PREFIX + suffix), generator=torch.Generator().manual_seed(0))
    vision = torch.full((1, vision_tokens), IMAGE)
    ids = torch.cat([text[:, : PREFIX - 1], torch.tensor([[IMAGE + 2]]), vision, text[:, PREFIX:]], 1)
    pixels = torch.randn(4 * vision_tokens, 1176, generator=torch.Generator().manual_seed(seed))
    return {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "mm_token_type_ids": (ids == IMAGE).long(),
        "pixel_values": pixels,
        "image_grid_thw": torch.tensor([[1, 2 * rows, 2 * vision_tokens // rows]]),
    }


def ways(arguments) -> dict:
    """name -> function returning {layer: (tokens, first logits)}; layer -1 swaps or skips nothing."""
    model = build(arguments.layers, arguments.hidden)
    decoder = Decoder(model)
    target, source = (inputs(arguments.vision_tokens, arguments.suffix, seed) for seed in (1, 2))
    count, new = arguments.layers, arguments.new_tokens
    mode = sweep.HIDDEN_STATE_AT_LAYER

    def swap():
        answers = sweep.swap(decoder, target, source, [mode], new)[0]
        return {layer: (answer.tokens, answer.logits) for (_, layer), answer in answers.items()}

    def skip():
        answers = sweep.skip(decoder, target, [range(layer, layer + 1) for layer in range(count)], new)[0]
        return {layer: (answer.tokens, answer.logits) for layer, answer in enumerate(answers, -1)}

    def naive_swap():
        answers = naive_sweep.swap(model, target, source, 0, new)
        return {-1: naive_sweep.generate(model, target, new)[0]} | {layer: made[0] for layer, made in answers.items()}

    def naive_skip():
        return {
            layer: naive_sweep.skip(model, target, [layer] if layer >= 0 else [], new)[0] for layer in range(-1, count)
        }

    return {
        "swap naive": naive_swap,
        "swap rows": lambda: naive_sweep.swap_in_rows(model, target, source, new),
        "swap ours": swap,
        "skip naive": naive_skip,
        "skip rows": lambda: naive_sweep.skip_in_rows(model, target, new),
        "skip ours": skip,
    }


def resident(field: str) -> float:
    """Memory of this process in MB, from /proc (Linux)."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) / 1024


@torch.inference_mode()
def peak(arguments, name: str) -> float:
    """Peak memory of one way in MB, beyond what the model takes."""
    run = ways(arguments)
    Path("/proc/self/clear_refs").write_text("5")  # reset the peak, which so far is that of building the model
    before = resident("VmHWM")
    run[name]()
    return resident("VmHWM") - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--hidden", type=int, default=512)
    parser.add_argument("--vision-tokens", type=int, default=256)
    parser.add_argument("--suffix", type=int, default=32, help="text tokens after the image")
    parser.add_argument("--new-tokens", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    logging.set_verbosity_error()
    with torch.inference_mode():
        run = ways(arguments)
        seconds: dict[str, list[float]] = {name: [] for name in run}
        difference, equal = 0.0, True
        run["swap ours"](), run["skip ours"]()  # warm-up
        for _ in range(arguments.repeats):
            made = {}
            for name, way in run.items():
                start = time.perf_counter()
                made[name] = way()
                seconds[name].append(time.perf_counter() - start)
            for probe in ("swap", "skip"):
                for layer, (tokens, logits) in made[f"{probe} naive"].items():
                    for way in ("rows", "ours"):
                        other_tokens, other = made[f"{probe} {way}"][layer]
                        difference = max(difference, float((logits - other).abs().max()))
                        equal = equal and tokens == other_tokens

    # In a process for each: what one has freed would hide what the next one needs.
    with multiprocessing.get_context("forkserver").Pool(1, maxtasksperchild=1) as pool:
        peaks = {name: pool.apply(peak, (arguments, name)) for name in run}
    result = {}
    print(f"{'':12}{'seconds':>10}{'peak MB above the model':>26}")
    for name in run:
        print(f"{name:12}{statistics.median(seconds[name]):10.2f}{peaks[name]:26.0f}")
        result[name.replace(" ", "_") + "_peak_mb"] = round(peaks[name])
    size = (PREFIX, arguments.vision_tokens, arguments.suffix, arguments.new_tokens)
    here = flops.Shape.small(arguments.layers, arguments.hidden, VOCABULARY)
    for probe in ("swap", "skip"):
        ratios = [a / b for a, b in zip(seconds[f"{probe} naive"], seconds[f"{probe} ours"], strict=True)]
        result[f"{probe}_speedup"] = round(statistics.median(ratios), 2)
        result[f"{probe}_speedup_range"] = [round(min(ratios), 2), round(max(ratios), 2)]
        rows = [a / b for a, b in zip(seconds[f"{probe} rows"], seconds[f"{probe} ours"], strict=True)]
        result[f"{probe}_speedup_over_rows"] = round(statistics.median(rows), 2)
        result[f"{probe}_flop_ratio"] = round(flops.ratio(here, probe, *size), 2)
        result[f"{probe}_flop_ratio_7b"] = round(flops.ratio(flops.QWEN2_5_VL_7B, probe, *size), 2)
    result |= {"max_logit_diff": difference, "tokens_equal": equal, "layers": arguments.layers}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
