"""Resource estimates for a study's jobs, from checkpoint size, batch and tokens: host memory, GPU memory, minutes, disk.

The rules request limits, which err on the large side: every response goes to its last token; a retry doubles them (`attempt`).
`frankenstein plan` also adds up what is to be expected (`expected_minutes`). All of it rests on `basis`.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from pathlib import Path

import yaml

from ..core.regions import Regions
from ..data.benchmarks import BENCHMARKS
from .schema import Descriptions, Finetuned, FromHub, Judge, LocalCheckpoint, Pretrained, Reinforced, Study


@dataclass(frozen=True)
class Basis:
    """What a GPU does, assumed for one of 80 GB (H100) until `frankenstein plan --measure` replaces what it can.

    layer: seconds per decoding step and layer in transformers, which launches kernels one by one (30 ms at 28 layers); bandwidth:
    bytes per second of weights and KV cache read in a step; flops: per second in prefill and forward passes (a third of the 798 TFLOP/s that a matrix product was seen to reach);
    vllm: tokens generated per second by vLLM at 7B, all requests at once; answer: tokens of a response that may have thousands.
    """

    layer: float = 30e-3 / 28
    bandwidth: float = 2.5e12
    flops: float = 2.7e14
    vllm: float = 10_000
    answer: int = 1500
    where: str = "assumed for one H100"


basis = Basis()
_UNKNOWN = 8.29e9  # parameters: Qwen2.5-VL-7B's
_BYTES = 2  # per parameter: checkpoints of this size are published in bfloat16
_HOST_MB = 3500  # Python, torch and a processor; the mini study's largest job used 2 GB
_MARGIN = 1.25  # overhead while moving weights to the GPU
_PROMPT = 1500  # tokens of a 1280 x 720 image and its question
_KV = 57344 / 8.29e9  # bytes of KV cache per token and parameter: Qwen2.5-VL-7B's 28 layers, 4 heads of 128, bfloat16
_UPDATE = (
    56 / 8.29e9
)  # core-minutes per parameter for both stages' spectra: 28 minutes on two cores at 7B (docs/benchmarks.md)
_DISK = 200  # MB per second read, hashed and written
_SLACK = 10  # minutes that a limit allows for the start of a job
_START = {
    "transformers": 1,
    "vllm": 4,
}  # minutes until the first request: imports, weights; vLLM also compiles and captures graphs
# Decoder layers by billions of parameters, for checkpoints that are not there to be asked: Qwen2.5-VL's 3B, 7B, 32B and 72B.
_DEPTHS = ((6, 36), (20, 28), (50, 64), (float("inf"), 80))


def parameters(study: Study, checkpoint: str) -> float:
    """Parameter count of a checkpoint, from the config, its files, or its parent checkpoint; _UNKNOWN if it is not there to be asked."""
    if "." in checkpoint:  # a hybrid
        return parameters(study, study.recipes[checkpoint.split(".")[0]].instruct)
    source = study.checkpoints[checkpoint]
    if isinstance(source, FromHub):
        return source.parameters or _UNKNOWN
    if isinstance(source, LocalCheckpoint):
        return sum(path.stat().st_size for path in Path(source.path).glob("*.safetensors")) / _BYTES or _UNKNOWN
    if isinstance(source, Finetuned | Reinforced):
        return parameters(study, source.start)
    assert isinstance(source, Pretrained)
    shape = source.model
    layer = (
        2 * shape.hidden_size**2 * (1 + shape.kv_heads / shape.heads) + 3 * shape.hidden_size * shape.intermediate_size
    )
    tower = shape.vision_layers * 12 * shape.vision_hidden_size**2
    return shape.layers * layer + tower + shape.vocab_size * shape.hidden_size


def layers(study: Study, checkpoint: str) -> int:
    """Number of decoder layers: the config's for the mini study, else that of Qwen2.5-VL with about as many parameters."""
    if "." in checkpoint:
        return layers(study, study.recipes[checkpoint.split(".")[0]].instruct)
    source = study.checkpoints[checkpoint]
    if isinstance(source, Finetuned | Reinforced):
        return layers(study, source.start)
    if isinstance(source, Pretrained):
        return source.model.layers
    return next(depth for most, depth in _DEPTHS if parameters(study, checkpoint) < most * 1e9)


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


def _step(study: Study, checkpoint: str, rows: int, tokens: float) -> float:
    """Seconds per decoding step of transformers: its launches, or reading the weights and `rows` caches of `tokens` if that is more."""
    size = parameters(study, checkpoint)
    read = size * (_BYTES + rows * tokens * _KV)
    return max(layers(study, checkpoint) * basis.layer, read / basis.bandwidth)


def _forward(study: Study, checkpoint: str, tokens: float) -> float:
    """Minutes of forward passes over so many tokens."""
    return tokens * 2 * parameters(study, checkpoint) / basis.flops / 60


def _answering(study: Study, checkpoint: str, new_tokens: int) -> float:
    """Minutes for one shard of a checkpoint's responses, each of this length, once the weights are there."""
    shards, batch = study.evaluation.shards, study.evaluation.batch
    asked = ceil(requests(study, checkpoint) / shards)
    prefill = _forward(study, checkpoint, asked * _PROMPT)
    if study.evaluation.engine == "vllm":
        speed = basis.vllm * 8.29e9 / parameters(study, checkpoint) * study.evaluation.gpus
        return prefill + asked * new_tokens / speed / 60
    # A batch holds a single task and condition, and lasts as long as its longest response.
    batches = sum(
        len(conditions) * ceil(ceil(examples(study, task) / shards) / batch)
        for task, conditions in study.asked(checkpoint).items()
    )
    longest = study.evaluation.max_new_tokens
    return prefill + batches * longest * _step(study, checkpoint, batch, _PROMPT + longest / 2) / 60


def generate_minutes(study: Study, checkpoint: str) -> int:
    """Minutes for one shard of a checkpoint's responses."""
    return _SLACK + ceil(_answering(study, checkpoint, study.evaluation.max_new_tokens))


def hybrids_minutes(study: Study, run: str, count: int) -> int:
    """Minutes for one shard of the responses of `count` hybrids of a run, merged in memory one after the other."""
    hybrid = next(iter(study.hybrids(run).values()))
    return count * (generate_minutes(study, hybrid) + copy_minutes(study, hybrid))


def expected_minutes(study: Study, rule: str, wildcards: dict[str, str], count: int = 0) -> float | None:
    """Minutes that a job on a GPU should take: responses of vLLM have basis.answer tokens, batches of transformers last to the last
    token; None for rules without such an estimate. count: hybrids of a run that are merged in memory."""
    start, name = _START[study.evaluation.engine], wildcards.get("checkpoint", "")
    answer = min(study.evaluation.max_new_tokens, basis.answer)
    if rule == "generate":
        return start + _answering(study, name, answer)
    if rule == "generate_hybrids":
        hybrid = next(iter(study.hybrids(wildcards["recipe"]).values()))
        reading = 2 * weights_mb(study, hybrid) / 1000 / 60  # both donors, at 1 GB per second
        return start + count * (_answering(study, hybrid, answer) + reading)
    work = {
        "attention": _attending,
        "attention_on_text": _attending,
        "swap_vision_tokens": _swapping,
        "skip_layers": _skipping,
    }
    return _START["transformers"] + work[rule](study, name) if rule in work else None


def hybrids_mb(study: Study, run: str) -> int:
    """Host memory of a job that merges a run's hybrids in memory: the hybrid, and the model that it is loaded into."""
    instruct = study.recipes[run].instruct
    return host_mb(study, instruct) + weights_mb(study, instruct)


def generate_gpu_mb(study: Study, checkpoint: str) -> int:
    """GPU memory of generation, on all GPUs of a job: weights, plus the KV cache of what is answered at a time, at full length.

    That is a batch with transformers; vLLM has as many requests in its cache as there is room for, and needs room for one.
    """
    rows = 1 if study.evaluation.engine == "vllm" else study.evaluation.batch
    tokens = rows * (_PROMPT + study.evaluation.max_new_tokens)
    return ceil(loaded_gpu_mb(study, checkpoint) + tokens * _KV * parameters(study, checkpoint) / 1e6)


def loaded_gpu_mb(study: Study, checkpoint: str) -> int:
    """GPU memory of a checkpoint's weights and of what a forward pass over a few tokens needs."""
    return ceil(weights_mb(study, checkpoint) * _MARGIN)


def probe_gpu_mb(study: Study, checkpoint: str) -> int:
    """GPU memory of a probe, on all GPUs of a job: weights, plus the batch memory allowed by probes.memory_mb."""
    return loaded_gpu_mb(study, checkpoint) + study.probes.memory_mb


def probe_mb(study: Study, checkpoint: str) -> int:
    """Host memory of a probe, including its batches, which are on the host if there is no GPU."""
    return host_mb(study, checkpoint) + study.probes.memory_mb


def _probing(study: Study, checkpoint: str, samples: int, rows: int) -> float:
    """Minutes for one shard of a probe: `samples` with `rows` (layers x modes) each; on average half of each row is recomputed."""
    mine = ceil(samples / study.probes.shards)
    decode = mine * study.probes.max_new_tokens * _step(study, checkpoint, rows, _PROMPT)
    return _forward(study, checkpoint, mine * rows / 2 * _PROMPT) + decode / 60


def _swapping(study: Study, checkpoint: str) -> float:
    return _probing(study, checkpoint, study.probes.pairs, layers(study, checkpoint) * len(study.probes.modes))


def _skipping(study: Study, checkpoint: str) -> float:
    samples = study.probes.skip_examples * len(study.skip_tasks())
    return _probing(study, checkpoint, samples, layers(study, checkpoint))


def _attending(study: Study, checkpoint: str) -> float:
    asked = ceil(study.probes.attention_examples / study.probes.shards)
    return _forward(study, checkpoint, asked * (_PROMPT + study.evaluation.max_new_tokens))


def swap_minutes(study: Study, checkpoint: str) -> int:
    """Minutes for one shard of vision-token swapping on one function."""
    return _SLACK + ceil(_swapping(study, checkpoint))


def skip_minutes(study: Study, checkpoint: str) -> int:
    """Minutes for one shard of layer skipping."""
    return _SLACK + ceil(_skipping(study, checkpoint))


def attention_minutes(study: Study, checkpoint: str) -> int:
    """Minutes for one shard of a checkpoint's attention over given responses: a forward pass over each, at full length."""
    return _SLACK + ceil(_attending(study, checkpoint))


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
    decode = source.max_new_tokens * _step(study, checkpoint, size, _PROMPT + source.max_new_tokens / 2) / 60
    return 30 + ceil(
        source.steps * (decode + 3 * _forward(study, checkpoint, size * (_PROMPT + source.max_new_tokens)))
    )


# Share of a 7B model's parameters by component (Qwen2.5-VL): of a frozen one, only the float32 weights are kept.
_SHARES = {"vision_tower": 0.08, "projector": 0.01, "embeddings": 0.065, "head": 0.065}
_IN_LAYERS = 0.78


def _trained_share(study: Study, checkpoint: str) -> float:
    """Share of the parameters that are not frozen."""
    source = study.checkpoints[checkpoint]
    frozen = sum(_SHARES.get(component, 0) for component in source.frozen_components)
    if source.frozen:
        depth = layers(study, checkpoint)
        frozen += _IN_LAYERS * len(Regions(study.regions.cuts, depth).range(source.frozen)) / depth
    return 1 - frozen


def _sharded(accelerate: str | None) -> set[str]:
    """What an accelerate configuration file shards over the GPUs, of weights, gradients and optimizer; plain DDP nothing."""
    try:
        settings = yaml.safe_load(Path(accelerate).read_text()) if accelerate else {}
    except (OSError, yaml.YAMLError):
        return set()  # the job itself says what is wrong with it
    kind = str(settings.get("distributed_type")).upper()
    if kind == "DEEPSPEED":  # ZeRO-1, 2 and 3
        stage = (settings.get("deepspeed_config") or {}).get("zero_stage", 3)
        return set(("optimizer", "gradients", "weights")[:stage])
    return {"weights", "gradients", "optimizer"} if kind == "FSDP" else set()


def reinforce_gpu_mb(study: Study, checkpoint: str) -> int:
    """GPU memory of GRPO on each GPU: float32 weights, and gradients and AdamW's two moments of those that are trained (4, 4 and 8
    bytes per parameter), each divided by the GPUs if accelerate shards it, on what is left of a GPU of which vLLM takes its share for
    rollouts. Activations come on top."""
    source = study.checkpoints[checkpoint]
    trained, sharded = _trained_share(study, checkpoint), _sharded(source.accelerate)
    bytes_each = {"weights": 4, "gradients": 4 * trained, "optimizer": 8 * trained}
    state = sum(size / (source.gpus if part in sharded else 1) for part, size in bytes_each.items())
    left = 1 - (source.vllm_gpu_memory_utilization or 0)
    return ceil(parameters(study, checkpoint) * state / left / 1e6)


def copy_minutes(study: Study, checkpoint: str, passes: int = 2) -> int:
    """Minutes for reading a checkpoint `passes` times (fetch, hash, scan, merge)."""
    return 10 + ceil(passes * weights_mb(study, checkpoint) / _DISK / 60)
