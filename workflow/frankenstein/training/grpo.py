"""RL with TRL's GRPOTrainer: verifiable rewards, optionally with frozen regions (paper, Section 4)."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import torch
from accelerate import PartialState
from datasets import Dataset, List
from datasets import Image as DatasetImage
from safetensors.torch import load_file, save_file
from trl import GRPOConfig, GRPOTrainer

from ..core.errors import InputError
from ..grading import short
from ..grading.outcome import RIGHT
from ..inference.cache import digest
from ..models.architecture import read_config
from ..models.family import family_of
from .sft import RLPrompt, Told, check_frozen, freeze, load, log_table, quiet, save, stored_dtype


def answer_reward(completions, answer, answer_type, **_) -> list[float]:
    """1 for a correct answer, 0 otherwise."""
    texts = [completion[0]["content"] for completion in completions]
    return [
        float(short.grade(text, gold, kind).verdict == RIGHT)
        for text, gold, kind in zip(texts, answer, answer_type, strict=True)
    ]


def _named(name: str, reward: Callable) -> Callable:
    """A reward function renamed to the name it should have in the log."""

    def named(*arguments, **columns):
        return reward(*arguments, **columns)

    named.__name__ = name
    return named


def format_reward(completions, **_) -> list[float]:
    """1 for exactly <think>...</think><answer>...</answer>, 0 otherwise."""
    return [float(short.well_formed(completion[0]["content"])) for completion in completions]


def grpo(
    start: Path,
    out: Path,
    prompts: list[RLPrompt],
    steps: int,
    prompts_per_step: int,
    num_generations: int,
    max_new_tokens: int,
    learning_rate: float,
    rewards: dict[str, float],
    seed: int,
    frozen: range = range(0),
    temperature: float = 1.0,
    beta: float = 0.0,
    save_steps: int | None = None,
    scratch: Path | None = None,
    components: tuple[str, ...] = (),
    micro_batch: int | None = None,
    bf16: bool = False,
    answer: Callable = answer_reward,
    template: str | None = None,
    report_to: str = "none",
    vllm_gpu_memory_utilization: float | None = None,
) -> pd.DataFrame:
    """GRPO with verifiable rewards and `prompts_per_step` x `num_generations` rollouts per step; saves to `out`.

    rewards: weights of "answer" and "format". frozen, components: decoder layers and components (architecture.Part)
    excluded from the optimizer; checked to be byte-identical afterwards (paper, Section 4). micro_batch: rollouts per
    device and forward pass (default: all of a step's, split over the processes). bf16: forward pass in bfloat16, with
    weights and optimizer state in float32. answer: the reward function for answers. template: a chat template
    replacing that of `start`; it is saved with the checkpoint, whose dtype is the one `start` is stored in. save_steps:
    interval in steps for saving the full state (weights, optimizer, RNG) to the folder `scratch`, from which an
    interrupted run resumes; the folder is deleted at the end. report_to: "trackio" or "wandb" to log there as well.
    vllm_gpu_memory_utilization: vLLM makes the rollouts, in these processes, with this share of each GPU's memory (None:
    transformers does). Returns the log: step, loss, reward, reward_answer, reward_format, completion_length (tokens), kl
    (empty if beta = 0).
    """
    chosen = _reporting(report_to, out) | _rollouts(vllm_gpu_memory_utilization)
    processes = int(os.environ.get("WORLD_SIZE", 1))
    begun = None
    if save_steps:
        settings = [
            steps,
            prompts_per_step,
            num_generations,
            max_new_tokens,
            learning_rate,
            rewards,
            seed,
            temperature,
            beta,
        ]
        settings += [list(frozen), list(components), micro_batch, bf16, template, vllm_gpu_memory_utilization]
        # A state is read by as many processes, sharded in the same way, as wrote it.
        settings += [os.environ.get(f"ACCELERATE_USE_{sharding}") for sharding in ("FSDP", "DEEPSPEED")] + [processes]
        # The first process removes states of other runs before the others look.
        with PartialState().main_process_first() if processes > 1 else contextlib.nullcontext():
            begun = _begun(scratch, start, prompts, settings)
    print(f"going on from {begun}" if begun else "from the start", flush=True)
    kind = read_config(start)["model_type"]
    if why := family_of(kind).refused.get("frozen_rl"):
        raise InputError(f"{start}: {kind}: {why}")
    # The trainer would look for weights under names that transformers 5 does not save, and silently load nothing.
    # A sharded state has none under any: there it is the trainer that loads what each process wrote.
    model, processor = load(begun if begun and list(begun.glob("*.safetensors")) else Path(start), template)
    processor.tokenizer.padding_side = "left"
    freeze(model, frozen, components)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise InputError(f"{start}: every parameter is frozen, so there is nothing to train")
    functions = {"answer": _named("answer_reward", answer), "format": format_reward}
    dataset = _dataset(_alike(prompts, prompts_per_step))
    size = prompts_per_step * num_generations
    at_once = micro_batch or max(1, size // processes)
    if size % (at_once * processes):
        raise InputError(
            f"{size} rollouts per step ({prompts_per_step} prompts x {num_generations}) are not a multiple of micro_batch {at_once} x {processes} processes"
        )
    with contextlib.nullcontext(str(scratch)) if save_steps else tempfile.TemporaryDirectory() as folder:
        arguments = GRPOConfig(
            folder,
            per_device_train_batch_size=at_once,
            gradient_accumulation_steps=size // (at_once * processes),
            num_generations=num_generations,
            max_completion_length=max_new_tokens,
            learning_rate=learning_rate,
            lr_scheduler_type="constant_with_warmup",
            warmup_steps=min(10, steps // 10),
            temperature=temperature,
            beta=beta,
            reward_weights=[rewards[name] for name in functions],
            **quiet(steps, seed)
            | ({"save_strategy": "steps", "save_steps": save_steps, "save_total_limit": 1} if save_steps else {})
            | chosen,
            shuffle_dataset=False,
            bf16=bf16,
            gradient_checkpointing=bf16,  # a model large enough for bf16 needs this as well
        )
        trainer = GRPOTrainer(
            model=model,
            reward_funcs=list(functions.values()),
            args=arguments,
            train_dataset=dataset,
            processing_class=processor,
            callbacks=[Told()],
        )
        if vllm_gpu_memory_utilization:
            trainer.vllm_generation.generate = _one_token_per_image(
                trainer.vllm_generation, model.config.image_token_id
            )
        if trainer.accelerator.num_processes != processes:  # each would train alone, and all would write to one place
            raise InputError(
                f"{processes} processes were started, but accelerate does not connect them (it shards on GPUs only): check distributed_type and use_cpu in its configuration"
            )
        trainer.train(resume_from_checkpoint=begun and str(begun))
    if processes == 1:
        save(model, processor, out, stored_dtype(start))
    else:
        _gather(trainer, processor, out, stored_dtype(start))
    if trainer.accelerator.is_main_process:
        check_frozen(start, out, frozen, components)
        if save_steps:
            shutil.rmtree(scratch, ignore_errors=True)
    return log_table(
        trainer.state.log_history,
        {
            "loss": "loss",
            "reward": "reward",
            "reward_answer": "rewards/answer_reward/mean",
            "reward_format": "rewards/format_reward/mean",
            "completion_length": "completions/mean_length",
            "kl": "kl",
        },
    )


def _need(package: str, key: str, install: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise InputError(f"{key}: {package} is not installed here: `{install}`, or leave the key out")


def _reporting(to: str, out: Path) -> dict:
    """Trainer arguments that also log to trackio or wandb, as a run named after the checkpoint. Raises InputError if it is not
    installed, before any training."""
    if to == "none":
        return {}
    _need(to, "training.report_to", f"pip install {to}")
    name = out.parent.name if out.name == "model" else out.name
    return {"report_to": [to], "run_name": name, "project": "frankenstein"}


def _rollouts(vllm_memory: float | None) -> dict:
    """Trainer arguments for rollouts by vLLM. Raises InputError if it is not installed, before any training.

    The trainer corrects for the difference between vLLM's probabilities and its own (truncated importance sampling), which
    is its default.
    """
    if vllm_memory is None:
        return {}
    _need("vllm", "vllm_gpu_memory_utilization", "pip install -c constraints-vllm.txt -e '.[vllm]'")
    return {
        "use_vllm": True,
        "vllm_mode": "colocate",
        "vllm_gpu_memory_utilization": vllm_memory,
        "vllm_max_model_length": -1,  # the longest that this memory holds
        "vllm_enable_sleep_mode": torch.cuda.is_available(),  # vLLM's memory is free while the trainer's is needed
    }


def _one_token_per_image(generation, image: int) -> Callable:
    """A trainer's `generation.generate`, which hands vLLM prompts with one token (`image`) per image in place of all of them.

    TRL 1.16 hands over all, of which vLLM takes the first for the image and expands it again: rollouts were sampled with three
    image tokens too many of four. The returned function raises InputError if what vLLM read is not what the trainer trains on.
    """
    generate = generation.generate

    def generated(prompts: list[list[int]], **rest) -> tuple:
        short = [
            [token for at, token in enumerate(ids) if ids[max(at - 1, 0) : at + 1] != [image, image]] for ids in prompts
        ]
        read, *made = generate(prompts=short, **rest)
        for ours, its in zip(prompts, read, strict=True):
            if list(ours) != list(its):
                raise InputError(
                    f"vllm_gpu_memory_utilization: vLLM reads a prompt of {len(its)} tokens where training has {len(ours)}: with this model, leave the key out"
                )
        return (read, *made)

    return generated


def _gather(trainer, processor, out: Path, dtype: torch.dtype) -> None:
    """Save a model sharded over several processes, in its original dtype."""
    if trainer.is_fsdp_enabled:  # whose second version has no full state dict in the trainer's own way of saving
        whole = trainer.accelerator.get_state_dict(trainer.model)  # by all processes together
        if trainer.accelerator.is_main_process:
            model = trainer.accelerator.unwrap_model(trainer.model)
            # Gathered, tied weights are no longer seen to be one.
            for tied in model.all_tied_weights_keys:
                whole.pop(tied, None)
            model.save_pretrained(out, state_dict=whole)
    else:
        trainer.save_model(str(out))
    trainer.accelerator.wait_for_everyone()
    if not trainer.accelerator.is_main_process:
        return
    processor.save_pretrained(out)
    (out / "training_args.bin").unlink(missing_ok=True)  # a pickle that nothing needs
    if not list(out.glob("*.safetensors")):
        raise InputError(
            f"{out}: accelerate gathered no weights; with DeepSpeed ZeRO-3 set zero3_save_16bit_model: true"
        )
    for path in out.glob("*.safetensors"):
        save_file({name: tensor.to(dtype) for name, tensor in load_file(path).items()}, path, metadata={"format": "pt"})


def _begun(scratch: Path, start: Path, prompts: list[RLPrompt], settings: list) -> Path | None:
    """The latest complete state of this same run in `scratch`; deletes states of other runs and incomplete ones."""
    files = [
        (path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in sorted(Path(start).glob("*.safetensors"))
    ]
    asked = [
        (asked_for.prompt.text, asked_for.prompt.system, asked_for.answer, asked_for.path) for asked_for in prompts
    ]
    mine, key = digest([settings, files, asked]), Path(scratch) / "run"
    if not key.exists() or key.read_text() != mine:
        shutil.rmtree(scratch, ignore_errors=True)
        key.parent.mkdir(parents=True, exist_ok=True)
        key.write_text(mine)
    states = sorted(Path(scratch).glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    whole = [path for path in states if (path / "trainer_state.json").exists()]  # written last
    for path in set(states) - set(whole):
        shutil.rmtree(path)
    return whole[-1] if whole else None


def _alike(prompts: list[RLPrompt], size: int) -> list[RLPrompt]:
    """The prompts in groups of `size`; within a group, either all have an image or none has.

    TRL 1.16 does not support mixed batches (its processor call rejects the missing images). Groups are ordered by
    when they fill up; prompts of a group that never fills are dropped.
    """
    ordered, waiting = [], {True: [], False: []}
    for prompt in prompts:
        group = waiting[prompt.has_image]
        group.append(prompt)
        if len(group) == size:
            ordered += group
            group.clear()
    return ordered


def _grpo_row(asked: RLPrompt) -> dict:
    messages = [{"role": "user", "content": asked.prompt.text}]
    if asked.prompt.system:
        messages.insert(0, {"role": "system", "content": asked.prompt.system})
    images = [asked.path] if asked.path else [asked.prompt.image] if asked.prompt.image is not None else []
    golds = {"answer": asked.answer, "answer_type": asked.answer_type, "example": asked.example}
    return {"prompt": messages, "images": images, **golds}


def _dataset(prompts: list[RLPrompt]) -> Dataset:
    """Dataset rows for TRL; images given as paths are opened lazily, when their row is read."""
    dataset = Dataset.from_list([_grpo_row(asked) for asked in prompts])
    if any(asked.path for asked in prompts):
        dataset = dataset.cast_column("images", List(DatasetImage()))
    return dataset
