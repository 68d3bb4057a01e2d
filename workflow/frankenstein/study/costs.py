"""What a study's jobs need, from the size of a checkpoint, the batch and the tokens: host memory, GPU memory, minutes, disk.

Rules take their resources from here, `frankenstein plan` adds them up. They are limits, meant to be too large rather than too
small; a retry doubles them (`attempt`). The basis of each constant stands beside it.
"""

from __future__ import annotations

from math import ceil
from pathlib import Path

from ..data.benchmarks import BENCHMARKS
from .schema import Descriptions, Finetuned, FromHub, Judge, LocalCheckpoint, Pretrained, Reinforced, Study

_BYTES = 2  # a parameter, as checkpoints of this size are published (bfloat16)
_HOST_MB = 3500  # Python, torch and a processor: 2 GB measured in the mini study's largest job
_MARGIN = 1.25  # weights on their way to the GPU
# Seconds of a decoding step a parameter, the batch's size beside the point: 36 ms at 8.3e9. Assumed, not measured: transformers
# on one 80 GB GPU reads the weights once a step. A small model's step takes 11 ms on two CPU cores (mini study).
STEP = 4.4e-12
_STEP_LEAST = 0.02
_FLOPS = 1e14  # a second in prefill, assumed (a third of a 80 GB GPU's bfloat16)
_PROMPT = 1500  # tokens of an image at 1280 x 720 and its question
_KV = 57344 / 8.29e9  # bytes of KV cache a token and parameter: Qwen2.5-VL-7B's 28 layers, 4 heads of 128, bfloat16
_UPDATE = 56 / 8.29e9  # core-minutes a parameter of both stages' spectra: 28 minutes on two cores at 7B (README)
_LAYERS = 28  # of a 7B model, for the minutes of its probes: a smaller one has fewer, or is faster
_DISK = 200  # MB a second that are read, hashed and written


def parameters(study: Study, checkpoint: str) -> float:
    """How many parameters a checkpoint has: of the config, of its files, or of what it is made from; 8.29e9 where nobody knows."""
    if "." in checkpoint:  # a hybrid
        return parameters(study, study.recipes[checkpoint.split(".")[0]].instruct)
    source = study.checkpoints[checkpoint]
    if isinstance(source, FromHub):
        return source.parameters or 8.29e9
    if isinstance(source, LocalCheckpoint):
        return sum(path.stat().st_size for path in Path(source.path).glob("*.safetensors")) / _BYTES
    if isinstance(source, Finetuned | Reinforced):
        return parameters(study, source.start)
    assert isinstance(source, Pretrained)
    shape = source.model
    layer = (
        2 * shape.hidden_size**2 * (1 + shape.kv_heads / shape.heads) + 3 * shape.hidden_size * shape.intermediate_size
    )
    tower = shape.vision_layers * 12 * shape.vision_hidden_size**2
    return shape.layers * layer + tower + shape.vocab_size * shape.hidden_size


def weights_mb(study: Study, checkpoint: str) -> int:
    return ceil(parameters(study, checkpoint) * _BYTES / 1e6)


def host_mb(study: Study, checkpoint: str) -> int:
    """Memory of a job that loads a checkpoint."""
    return ceil(_HOST_MB + _MARGIN * weights_mb(study, checkpoint))


def examples(study: Study, task: str) -> int:
    """How many examples a task has; of a category whose size is not known, those of the whole benchmark."""
    dataset = study.datasets.get(task)
    if dataset is None:
        return study.evaluation.examples or 0
    return dataset.sample or BENCHMARKS[dataset.benchmark].size(dataset.split, dataset.category)


def requests(study: Study) -> int:
    """What a checkpoint is asked: examples of every task in every condition."""
    return sum(examples(study, task) * len(study.conditions(task)) for task in study.tasks())


def _step(study: Study, checkpoint: str) -> float:
    return max(_STEP_LEAST, STEP * parameters(study, checkpoint))


def answer_minutes(study: Study, checkpoint: str, asked: int, new_tokens: int) -> int:
    """Minutes of greedy answers in batches, each to its last token: no response is taken to stop early."""
    batches = ceil(asked / study.evaluation.batch)
    prefill = asked * _PROMPT * 2 * parameters(study, checkpoint) / _FLOPS
    return 10 + ceil((batches * new_tokens * _step(study, checkpoint) + prefill) / 60)


def generate_minutes(study: Study, checkpoint: str) -> int:
    """Of one shard of a checkpoint's responses."""
    asked = ceil(requests(study) / study.evaluation.shards)
    return answer_minutes(study, checkpoint, asked, study.evaluation.max_new_tokens)


def generate_gpu_mb(study: Study, checkpoint: str) -> int:
    """GPU memory of generation: weights, and the KV cache of a batch at its longest."""
    tokens = study.evaluation.batch * (_PROMPT + study.evaluation.max_new_tokens)
    return ceil(weights_mb(study, checkpoint) * _MARGIN + tokens * _KV * parameters(study, checkpoint) / 1e6)


def probe_gpu_mb(study: Study, checkpoint: str) -> int:
    """GPU memory of a probe: weights, and what probes.memory_mb allows a batch."""
    return ceil(weights_mb(study, checkpoint) * _MARGIN) + study.probes.memory_mb


def probe_mb(study: Study, checkpoint: str) -> int:
    """Host memory of a probe; without a GPU its batches are there too."""
    return host_mb(study, checkpoint) + study.probes.memory_mb


def probe_minutes(study: Study, checkpoint: str, samples: int, rows: int) -> int:
    """Of one shard of a probe: so many samples, each with so many rows (layers and modes) that are computed half on average."""
    mine = ceil(samples / study.probes.shards)
    prefill = mine * rows / 2 * _PROMPT * 2 * parameters(study, checkpoint) / _FLOPS
    decode = mine * study.probes.max_new_tokens * _step(study, checkpoint)
    return 10 + ceil((prefill + decode) / 60)


def swap_minutes(study: Study, checkpoint: str) -> int:
    """Of one shard of vision-token swapping, for one function."""
    return probe_minutes(study, checkpoint, study.probes.pairs, _LAYERS * len(study.probes.modes))


def skip_minutes(study: Study, checkpoint: str) -> int:
    """Of one shard of layer skipping."""
    return probe_minutes(study, checkpoint, study.probes.skip_examples * len(study.skip_tasks()), _LAYERS)


def attention_minutes(study: Study, checkpoint: str) -> int:
    """Of one shard of a checkpoint's attention."""
    asked = ceil(study.probes.attention_examples / study.probes.shards)
    return answer_minutes(study, checkpoint, asked, study.evaluation.max_new_tokens)


def fetch_minutes(study: Study, checkpoint: str) -> int:
    """Of a download as slow as 50 Mbit/s."""
    return 30 + weights_mb(study, checkpoint) // 360


def helper_mb(study: Study, helper: Descriptions | Judge | None) -> int:
    """Host memory of a job that asks a checkpoint for help, or an endpoint."""
    return host_mb(study, helper.checkpoint) if helper and helper.checkpoint else 2000


def reinforce_mb(study: Study, checkpoint: str) -> int:
    """Host memory of RL on prompts of one's own: in float32, for each process on its way to its GPU."""
    return study.checkpoints[checkpoint].gpus * 2 * host_mb(study, checkpoint)


def update_minutes(study: Study, recipe: str) -> int:
    """Of one shard of a recipe's spectra, on one core."""
    work = _UPDATE * parameters(study, study.recipes[recipe].instruct)
    return 15 + ceil(2 * work / study.updates.shards)


def reinforce_minutes(study: Study, checkpoint: str) -> int:
    """Of GRPO: each step's rollouts to their last token, and three times a forward pass over them."""
    source = study.checkpoints[checkpoint]
    size = source.prompts_per_step * source.num_generations
    work = size * (_PROMPT + source.max_new_tokens) * 6 * parameters(study, checkpoint) / _FLOPS
    return 30 + ceil(source.steps * (source.max_new_tokens * _step(study, checkpoint) + work) / 60)


def reinforce_gpu_mb(study: Study, checkpoint: str) -> int:
    """GPU memory of GRPO on each GPU: weights, gradients and AdamW's two moments in float32, shared out where there are several."""
    return ceil(16 * parameters(study, checkpoint) / 1e6 / study.checkpoints[checkpoint].gpus)


def copy_minutes(study: Study, checkpoint: str, passes: int = 2) -> int:
    """Of reading a checkpoint so many times (fetch, hash, scan, merge)."""
    return 10 + ceil(passes * weights_mb(study, checkpoint) / _DISK / 60)
