"""What this machine's GPU (or CPU) does, in place of what `costs` assumes: decoding steps and forward passes at 7B widths."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from dataclasses import replace

from ..models import gpu
from .costs import Basis, basis

_WIDTHS = {"hidden_size": 3584, "intermediate_size": 18944, "num_attention_heads": 28, "num_key_value_heads": 4}
_LAYERS = 2


def measure(batch: int, prompt: int = 512, steps: int = 16, widths: dict[str, int] = _WIDTHS) -> Basis:
    """The basis with what was measured: layer (seconds per decoding step and layer of transformers, eager, `batch` rows), flops (a
    forward pass over the prompts) and bandwidth (a copy in memory). vLLM's speed and the length of responses stay assumed.

    Two layers with random weights, in bfloat16 on a GPU and float32 on a CPU, after one warm-up. Takes under a minute on a GPU.
    """
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    device = gpu.device()
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    config = Qwen2Config(vocab_size=1000, num_hidden_layers=_LAYERS, tie_word_embeddings=True, **widths)
    torch.manual_seed(0)
    with torch.device(device), torch.inference_mode():
        model = Qwen2ForCausalLM(config).to(dtype).eval()
        ids = torch.randint(1000, (batch, prompt))

        def timed(work: Callable) -> float:
            work()
            if device == "cuda":
                torch.cuda.synchronize()
            start = time.perf_counter()
            work()
            if device == "cuda":
                torch.cuda.synchronize()
            return time.perf_counter() - start

        cache = model(ids, use_cache=True, logits_to_keep=1).past_key_values

        def decode() -> None:
            for _ in range(steps):
                model(ids[:, :1], past_key_values=cache, use_cache=True)

        layer = timed(decode) / steps / _LAYERS
        forward = timed(lambda: model(ids, use_cache=False, logits_to_keep=1))
        in_layers = sum(p.numel() for name, p in model.named_parameters() if ".layers." in name)
        data = torch.empty(2**28 if device == "cuda" else 2**26, dtype=torch.float32)
        copied = timed(lambda: data.clone())
    where = torch.cuda.get_device_name() if device == "cuda" else platform.processor() or platform.machine()
    return replace(
        basis,
        layer=layer,
        flops=2 * in_layers * ids.numel() / forward,
        bandwidth=2 * data.nbytes / copied,
        where=f"measured on {where} ({device}), vLLM and lengths assumed",
    )
