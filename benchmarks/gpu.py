"""What a GPU does with the probes, beside what the same run measured of the GPU itself: exactness, memory and speed.

    python benchmarks/gpu.py            # 7B widths; needs torch, transformers and safetensors alone, and about 40 GB
    python benchmarks/gpu.py --small    # a small model, on the CPU too: that the suite itself runs

A line per check: what was measured, its limit, and whether it holds. The limits of speed are for GPUs. The last line is a JSON object.
**We have not run it on a GPU**: none was at hand.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable

import naive_sweep
import sweep as bench
import torch
import torch.nn.functional as F
from transformers.utils import logging

from frankenstein.models import vision_attention
from frankenstein.probes import attention, batches, sweep
from frankenstein.probes.decoder import Decoder, vision_mask

MODE = sweep.HIDDEN_STATE_AT_LAYER


class Suite:
    def __init__(self, small: bool):
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.gpu, self.small = self.device == "cuda", small
        self.hidden, self.layers, self.vision = (128, 4, 16) if small else (3584, 28, 1125)
        self.results: dict[str, float | bool] = {}

    # --- helpers ---

    def model(self, dtype, layers: int | None = None):
        torch.set_default_device(self.device)
        try:
            return bench.build(layers or self.layers, self.hidden).to(dtype)
        finally:
            torch.set_default_device("cpu")

    def inputs(self, seed: int, dtype, vision: int | None = None) -> dict:
        made = bench.inputs(vision or self.vision, 32, seed)
        made["pixel_values"] = made["pixel_values"].to(dtype)
        return {name: part.to(self.device) for name, part in made.items()}

    def timed(self, work: Callable, repeats: int = 3) -> float:
        work()
        best = float("inf")
        for _ in range(repeats):
            self.sync()
            start = time.perf_counter()
            work()
            self.sync()
            best = min(best, time.perf_counter() - start)
        return best

    def sync(self) -> None:
        if self.gpu:
            torch.cuda.synchronize()

    def check(self, name: str, figure: float | bool, limit: str, holds: bool, of_gpus: bool = False) -> None:
        """Print and keep a figure; a limit of speed counts on a GPU at full size alone."""
        counts = not of_gpus or (self.gpu and not self.small)
        shown = figure if isinstance(figure, bool) else f"{figure:.4g}"
        print(f"{name:62} {shown!s:>10}   {limit:28} {('holds' if holds else 'FAILS') if counts else '-'}", flush=True)
        self.results[name] = figure
        if counts:
            self.results["failed"] = self.results.get("failed", 0) + (not holds)

    # --- checks ---

    def roofline(self) -> None:
        size = 2**30 if self.gpu else 2**24
        data = torch.empty(size // 4, device=self.device)
        self.bandwidth = 2 * data.nbytes / self.timed(lambda: data.clone())
        side, dtype = (8192, torch.bfloat16) if self.gpu else (512, torch.float32)
        a = torch.randn(side, side, device=self.device, dtype=dtype)
        self.flops = 2 * side**3 / self.timed(lambda: a @ a)
        self.check("copy, TB/s", self.bandwidth / 1e12, "", True)
        self.check("matrix product, TFLOP/s", self.flops / 1e12, "", True)

    def exact(self) -> None:
        """The sweep in float32, TF32 off, against hooks on one layer at a time."""
        torch.backends.cuda.matmul.allow_tf32 = False
        model = self.model(torch.float32, layers=4)
        target, source = (self.inputs(seed, torch.float32, 64) for seed in (1, 2))
        ours = sweep.swap(Decoder(model), target, source, [MODE], 8)[0]
        naive = naive_sweep.swap(model, target, source, 0, 8)
        plain = naive_sweep.generate(model, target, 8)[0]
        pairs = [(ours[MODE, layer], made[0]) for layer, made in naive.items()] + [(ours[sweep.NONE, -1], plain)]
        equal = all(one.tokens == tokens for one, (tokens, _) in pairs)
        largest = max(float((one.logits.cpu() - logits.cpu()).abs().max()) for one, (_, logits) in pairs)
        self.check("swap in float32: tokens as with hooks, and as generate", equal, "equal", equal)
        self.check("swap in float32: largest difference of logits", largest, "<= 1e-4", largest <= 1e-4)

    def half(self) -> None:
        """The sweep in bfloat16: its error against float32, beside that of transformers' own attention."""
        exact, model = self.model(torch.float32, layers=4), self.model(torch.bfloat16, layers=4)
        model.load_state_dict(exact.state_dict())
        wide, narrow = self.inputs(1, torch.float32, 64), self.inputs(1, torch.bfloat16, 64)
        with torch.inference_mode():
            true = exact(**wide, logits_to_keep=1).logits[0, -1].float()
            theirs = model(**narrow, logits_to_keep=1).logits[0, -1].float()
        ours = sweep.skip(Decoder(model), narrow, [range(1)], 1)[0][0].logits.to(true)
        errors = [float((made - true).norm() / true.norm()) for made in (ours, theirs)]
        self.check(
            "bfloat16: error over transformers' own", errors[0] / errors[1], "<= 1.5", errors[0] <= 1.5 * errors[1]
        )

    def mass(self) -> None:
        """Attention mass against output_attentions, and its time over that of a plain forward pass."""
        model = self.model(torch.float32, layers=2)
        model.set_attn_implementation("eager")
        inputs = self.inputs(1, torch.float32, 64)
        keys = vision_mask(model, inputs["input_ids"])
        asked = torch.arange(inputs["input_ids"].shape[1] - 16, inputs["input_ids"].shape[1], device=self.device)
        with torch.inference_mode():
            weights = model(**inputs, output_attentions=True).attentions
        expected = torch.stack([w[0, :, asked][..., keys[0]].sum(-1).mean(-1).float() for w in weights])
        found = torch.stack([layer[0].heads for layer in attention.masses(Decoder(model), inputs, [asked], keys)])
        worst = float((found - expected).abs().max())
        self.check("attention mass: largest difference from output_attentions", worst, "<= 1e-3", worst <= 1e-3)
        model = self.model(torch.bfloat16 if self.gpu else torch.float32, layers=2)
        inputs = self.inputs(1, model.dtype, 64 if self.small else 8000)
        keys, decoder = vision_mask(model, inputs["input_ids"]), Decoder(model)
        asked = torch.arange(inputs["input_ids"].shape[1] - 24, inputs["input_ids"].shape[1], device=self.device)
        with torch.inference_mode():
            plain = self.timed(lambda: model(**inputs, use_cache=False, logits_to_keep=1))
            ours = self.timed(lambda: attention.masses(decoder, inputs, [asked], keys))
        self.check("attention at 8,000 tokens: time over a forward pass", ours / plain, "<= 3", ours <= 3 * plain, True)

    def sweeps(self) -> None:
        """Swap at every layer: against one generate per layer and all layers as rows of one batch; and its memory."""
        dtype = torch.bfloat16 if self.gpu else torch.float32
        model, new = self.model(dtype), 8
        target, source = self.inputs(1, dtype), self.inputs(2, dtype)
        decoder = Decoder(model)
        held = torch.cuda.memory_allocated() if self.gpu else 0
        if self.gpu:
            torch.cuda.reset_peak_memory_stats()
        with torch.inference_mode():
            ours = self.timed(lambda: sweep.swap(decoder, target, source, [MODE], new))
            peak = torch.cuda.max_memory_allocated() - held if self.gpu else 0
            naive = self.timed(lambda: naive_sweep.swap(model, target, source, 0, new), 1)
            rows = self.timed(lambda: naive_sweep.swap_in_rows(model, target, source, new), 1)
        self.check("swap: one generate per layer over ours", naive / ours, ">= 8", naive >= 8 * ours, True)
        self.check("swap: all layers as rows of one batch over ours", rows / ours, ">= 1.5", rows >= 1.5 * ours, True)
        if self.gpu:
            size = batches.Size(bench.PREFIX + self.vision, 32, new, 1 + self.layers)
            ratio = batches.memory(decoder, [size]) / peak
            self.check("swap: estimated over measured memory", ratio, "0.7 to 1.5", 0.7 <= ratio <= 1.5, True)
        first, second = (sweep.swap(decoder, target, source, [MODE], new)[0] for _ in range(2))
        same = all(bool((first[key].logits == second[key].logits).all()) for key in first)
        self.check("swap: the same batch twice", same, "equal bytes", same)

    def windows(self) -> None:
        """An image of 1260 x 700 in the vision tower: windows of equal length at once, against one after the other."""
        dtype = torch.bfloat16 if self.gpu else torch.float32
        model = self.model(dtype, layers=1)
        image = {name: self.inputs(1, dtype)[name] for name in ("pixel_values", "image_grid_thw")}

        def features() -> torch.Tensor:
            return torch.cat(model.get_image_features(**image).pooler_output)

        with torch.inference_mode():
            apart, seconds = features(), self.timed(features)
            vision_attention.windows_at_once(model)
            together = features()
            ratio = seconds / self.timed(features)
        difference = float((together.float() - apart.float()).norm() / apart.float().norm())
        self.check("vision windows at once: difference, relative", difference, "<= 0.02", difference <= 0.02)
        self.check("vision windows: one after the other over at once", ratio, ">= 3", ratio >= 3, True)

    def decoding(self) -> None:
        """A step of transformers' generate, 32 rows, over the time to read weights and cache once."""
        dtype = torch.bfloat16 if self.gpu else torch.float32
        model, new = self.model(dtype), 24
        inputs = naive_sweep._rows(self.inputs(1, dtype), 4 if self.small else 32)
        with torch.inference_mode():
            seconds = [self.timed(lambda n=n: naive_sweep.generate(model, inputs, n), 1) for n in (4, 4 + new)]
        step = (seconds[1] - seconds[0]) / new
        size = sum(p.numel() * p.element_size() for name, p in model.named_parameters() if "visual" not in name)
        self.check("decoding: ms per step and layer (costs.Basis.layer)", 1000 * step / self.layers, "", True)
        self.check(
            "decoding: a step over reading the weights once", step / (size / self.bandwidth), "about 4 when eager", True
        )

    def memory_runs_out(self) -> None:
        """A batch that does not fit is halved, and all are answered."""
        if not self.gpu:
            return
        decoder = Decoder(self.model(torch.bfloat16, layers=1))
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(0.3)
        try:

            def run(items: list[int]) -> list[int]:
                held = [torch.empty(total // 10, dtype=torch.uint8, device="cuda") for _ in items]
                return items[: len(held)]

            sizes = [batches.Size(0, 1, 1, 1)]
            found = list(batches.in_batches(list(range(8)), lambda item: (item, sizes), run, decoder, 10**6, "items"))
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0)
        answered = sorted(item for item, result, error in found if error is None) == list(range(8))
        self.check("out of memory: halved, and all answered", answered, "8 of 8", answered)

    def fused(self) -> None:
        """Decoding attention in bfloat16: its error against float64 over that of torch's fused attention."""
        torch.manual_seed(0)
        query = (6 * torch.randn(3, 28, 1, 128, device=self.device)).bfloat16()
        keys, values = (torch.randn(3, 4, 2000, 128, device=self.device).bfloat16() for _ in range(2))
        exact = F.scaled_dot_product_attention(*(part.double() for part in (query, keys, values)), enable_gqa=True)
        theirs = F.scaled_dot_product_attention(query, keys, values, enable_gqa=True)
        plain = argparse.Namespace(kinds=[0])
        state = argparse.Namespace(
            keys=[keys], values=[values], padded=False, before=None, decoder=plain, hidden_own=[None]
        )
        ours = sweep._BatchedSweep._attend_one(state, 0, None, query, 128**-0.5, 2000, 0)
        errors = [float((made.double() - exact).norm()) for made in (ours, theirs)]
        self.check(
            "decoding attention in bfloat16: error over fused",
            errors[0] / errors[1],
            "<= 1.5",
            errors[0] <= 1.5 * errors[1],
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="a small model, on any machine")
    parsed = parser.parse_args()
    logging.set_verbosity_error()
    suite = Suite(parsed.small)
    if not (suite.gpu or parsed.small):
        parser.error("no GPU that torch can use here; --small runs the suite on a small model")
    print(torch.cuda.get_device_name() if suite.gpu else "CPU: limits of speed do not count")
    parts = (
        suite.roofline,
        suite.exact,
        suite.half,
        suite.fused,
        suite.mass,
        suite.sweeps,
        suite.windows,
        suite.decoding,
        suite.memory_runs_out,
    )
    for part in parts:
        part()
    print(json.dumps(suite.results | {"device": suite.device, "failed": suite.results.get("failed", 0)}))


if __name__ == "__main__":
    main()
