"""Resource estimates for a study's jobs, from checkpoint size, batch and tokens: host memory, GPU memory, minutes, disk.

The rules request these resources, and `frankenstein plan` adds them up. They are limits that err on the large side; a retry
doubles them (`attempt`). The basis of each constant is given next to it.
"""

from __future__ import annotations

from math import ceil
from pathlib import Path

from ..data.benchmarks import BENCHMARKS
from .schema import Descriptions, Finetuned, FromHub, Judge, LocalCheckpoint, Pretrained, Reinforced, Study

_BYTES = 2  # per parameter: checkpoints of this size are published in bfloat16
_HOST_MB = 3500  # Python, torch and a processor; the mini study's largest job used 2 GB
_MARGIN = 1.25  # overhead while moving weights to the GPU
# Seconds per decoding step and parameter, independent of batch size: 36 ms at 8.3e9. Assumed, not measured: transformers on
# one 80 GB GPU, reading the weights once per step. A small model's step takes 11 ms on two CPU cores (mini study).
STEP = 4.4e-12
_STEP_LEAST = 0.02
_FLOPS = 1e14  # per second in prefill, assumed (a third of an 80 GB GPU's bfloat16 peak)
_PROMPT = 1500  # tokens of a 1280 x 720 image and its question
_KV = 57344 / 8.29e9  # bytes of KV cache per token and parameter: Qwen2.5-VL-7B's 28 layers, 4 heads of 128, bfloat16
_UPDATE = 56 / 8.29e9  # core-minutes per parameter for both stages' spectra: 28 minutes on two cores at 7B (README)
_LAYERS = 28  # of a 7B model, for probe run times: smaller models have fewer layers or are faster
_DISK = 200  # MB per second read, hashed and written


def parameters(study: Study, checkpoint: str) -> float:
    """Parameter count of a checkpoint, from the config, its files, or its parent checkpoint; 8.29e9 if unknown."""
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
    """Host memory of a job that loads a checkpoint."""
    return ceil(_HOST_MB + _MARGIN * weights_mb(study, checkpoint))


def examples(study: Study, task: str) -> int:
    """Number of examples of a task; for a category of unknown size, that of the whole benchmark."""
    dataset = study.datasets.get(task)
    if dataset is None:
        return study.evaluation.examples or 0
    return dataset.sample or BENCHMARKS[dataset.benchmark].size(dataset.split, dataset.category)


def requests(study: Study, checkpoint: str) -> int:
    """Number of requests to a checkpoint: the examples of each of its tasks in every condition."""
    return sum(examples(study, task) * len(conditions) for task, conditions in study.asked(checkpoint).items())


def _step(study: Study, checkpoint: str) -> float:
    return max(_STEP_LEAST, STEP * parameters(study, checkpoint))


def answer_minutes(study: Study, checkpoint: str, asked: int, new_tokens: int) -> int:
    """Minutes of batched greedy decoding, assuming that every response reaches the token limit."""
    batches = ceil(asked / study.evaluation.batch)
    prefill = asked * _PROMPT * 2 * parameters(study, checkpoint) / _FLOPS
    return 10 + ceil((batches * new_tokens * _step(study, checkpoint) + prefill) / 60)


def generate_minutes(study: Study, checkpoint: str) -> int:
    """Minutes for one shard of a checkpoint's responses."""
    asked = ceil(requests(study, checkpoint) / study.evaluation.shards)
    return answer_minutes(study, checkpoint, asked, study.evaluation.max_new_tokens)


def hybrids_minutes(study: Study, run: str, count: int) -> int:
    """Minutes for one shard of the responses of `count` hybrids of a run, merged in memory one after the other."""
    hybrid = next(iter(study.hybrids(run).values()))
    return count * (generate_minutes(study, hybrid) + copy_minutes(study, hybrid))


def hybrids_mb(study: Study, run: str) -> int:
    """Host memory of a job that merges a run's hybrids in memory: the hybrid, and the model that it is loaded into."""
    instruct = study.recipes[run].instruct
    return host_mb(study, instruct) + weights_mb(study, instruct)


def generate_gpu_mb(study: Study, checkpoint: str) -> int:
    """GPU memory of generation: weights, plus the KV cache of a batch at full length."""
    tokens = study.evaluation.batch * (_PROMPT + study.evaluation.max_new_tokens)
    return ceil(weights_mb(study, checkpoint) * _MARGIN + tokens * _KV * parameters(study, checkpoint) / 1e6)


def probe_gpu_mb(study: Study, checkpoint: str) -> int:
    """GPU memory of a probe: weights, plus the batch memory allowed by probes.memory_mb."""
    return ceil(weights_mb(study, checkpoint) * _MARGIN) + study.probes.memory_mb


def probe_mb(study: Study, checkpoint: str) -> int:
    """Host memory of a probe, including its batches, which are on the host if there is no GPU."""
    return host_mb(study, checkpoint) + study.probes.memory_mb


def probe_minutes(study: Study, checkpoint: str, samples: int, rows: int) -> int:
    """Minutes for one shard of a probe: `samples` with `rows` (layers x modes) each; on average half of each row is recomputed."""
    mine = ceil(samples / study.probes.shards)
    prefill = mine * rows / 2 * _PROMPT * 2 * parameters(study, checkpoint) / _FLOPS
    decode = mine * study.probes.max_new_tokens * _step(study, checkpoint)
    return 10 + ceil((prefill + decode) / 60)


def swap_minutes(study: Study, checkpoint: str) -> int:
    """Minutes for one shard of vision-token swapping on one function."""
    return probe_minutes(study, checkpoint, study.probes.pairs, _LAYERS * len(study.probes.modes))


def skip_minutes(study: Study, checkpoint: str) -> int:
    """Minutes for one shard of layer skipping."""
    return probe_minutes(study, checkpoint, study.probes.skip_examples * len(study.skip_tasks()), _LAYERS)


def attention_minutes(study: Study, checkpoint: str) -> int:
    """Minutes for one shard of a checkpoint's attention over given responses: a forward pass over each, at full length."""
    asked = ceil(study.probes.attention_examples / study.probes.shards)
    tokens = asked * (_PROMPT + study.evaluation.max_new_tokens)
    return 10 + ceil(tokens * 2 * parameters(study, checkpoint) / _FLOPS / 60)


def fetch_minutes(study: Study, checkpoint: str) -> int:
    """Minutes for a download at only 50 Mbit/s."""
    return 30 + weights_mb(study, checkpoint) // 360


def helper_mb(study: Study, helper: Descriptions | Judge | None) -> int:
    """Host memory of a job that queries a helper model (descriptions, judge): a checkpoint or an endpoint."""
    return host_mb(study, helper.checkpoint) if helper and helper.checkpoint else 2000


def reinforce_mb(study: Study, checkpoint: str) -> int:
    """Host memory of RL on a prompt file: each GPU's process loads float32 weights through host memory."""
    return study.checkpoints[checkpoint].gpus * 2 * host_mb(study, checkpoint)


def update_minutes(study: Study, recipe: str) -> int:
    """Minutes for one shard of a recipe's spectra, on one core."""
    work = _UPDATE * parameters(study, study.recipes[recipe].instruct)
    return 15 + ceil(2 * work / study.updates.shards)


def reinforce_minutes(study: Study, checkpoint: str) -> int:
    """Minutes of GRPO: per step, full-length rollouts plus the cost of three forward passes over them."""
    source = study.checkpoints[checkpoint]
    size = source.prompts_per_step * source.num_generations
    work = size * (_PROMPT + source.max_new_tokens) * 6 * parameters(study, checkpoint) / _FLOPS
    return 30 + ceil(source.steps * (source.max_new_tokens * _step(study, checkpoint) + work) / 60)


def reinforce_gpu_mb(study: Study, checkpoint: str) -> int:
    """GPU memory of GRPO on each GPU: weights, gradients and AdamW's two moments in float32, sharded across GPUs."""
    return ceil(16 * parameters(study, checkpoint) / 1e6 / study.checkpoints[checkpoint].gpus)


def copy_minutes(study: Study, checkpoint: str, passes: int = 2) -> int:
    """Minutes for reading a checkpoint `passes` times (fetch, hash, scan, merge)."""
    return 10 + ceil(passes * weights_mb(study, checkpoint) / _DISK / 60)
