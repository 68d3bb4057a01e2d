"""RL of a checkpoint with TRL's GRPOTrainer: verifiable rewards, regions frozen or not (paper, Section 4)."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pandas as pd
from datasets import Dataset
from PIL import Image
from trl import GRPOConfig, GRPOTrainer

from . import grading
from .errors import InputError
from .training import Rollout, check_frozen, freeze, load, log_table, quiet, save


def answer_reward(completions, answer, answer_type, **_) -> list[float]:
    """1 for a right answer, 0 for any other."""
    texts = [completion[0]["content"] for completion in completions]
    return [
        float(grading.grade(text, gold, kind).verdict == grading.RIGHT)
        for text, gold, kind in zip(texts, answer, answer_type, strict=True)
    ]


def format_reward(completions, **_) -> list[float]:
    """1 for <think>...</think><answer>...</answer> and nothing else, 0 for any other."""
    return [float(grading.well_formed(completion[0]["content"])) for completion in completions]


def grpo(
    start: Path,
    out: Path,
    rollouts: list[Rollout],
    steps: int,
    prompts: int,
    generations: int,
    max_new_tokens: int,
    learning_rate: float,
    rewards: dict[str, float],
    seed: int,
    frozen: range = range(0),
    temperature: float = 1.0,
    beta: float = 0.0,
) -> pd.DataFrame:
    """GRPO with verifiable rewards, `prompts` x `generations` rollouts a step, and save to `out`.

    rewards: weights of "answer" and "format". frozen: decoder layers left out of the optimiser,
    byte-identical afterwards (checked; paper, Section 4). Returns the log: step, loss, reward,
    reward_answer, reward_format, completion_length (tokens), kl (empty at beta = 0).
    """
    model, processor = load(start)
    processor.tokenizer.padding_side = "left"
    freeze(model, frozen)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise InputError(f"{start}: every parameter is frozen, nothing to train")
    functions = {"answer": answer_reward, "format": format_reward}
    dataset = Dataset.from_list([_grpo_row(rollout) for rollout in _alike(rollouts, prompts)])
    with tempfile.TemporaryDirectory() as scratch:
        arguments = GRPOConfig(
            scratch,
            per_device_train_batch_size=prompts * generations,
            num_generations=generations,
            max_completion_length=max_new_tokens,
            learning_rate=learning_rate,
            lr_scheduler_type="constant_with_warmup",
            warmup_steps=min(10, steps // 10),
            temperature=temperature,
            beta=beta,
            reward_weights=[rewards[name] for name in functions],
            **quiet(steps, seed),
            shuffle_dataset=False,
            bf16=False,
            gradient_checkpointing=False,
        )
        trainer = GRPOTrainer(
            model=model,
            reward_funcs=list(functions.values()),
            args=arguments,
            train_dataset=dataset,
            processing_class=processor,
        )
        trainer.train()
    save(model, processor, out)
    check_frozen(start, out, frozen)
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


def _alike(rollouts: list[Rollout], size: int) -> list[Rollout]:
    """The rollouts in groups of `size`, each group all with an image or all without one.

    TRL 1.16 takes no batch of both (its processor call refuses the missing images). Groups come in
    the order in which they fill up; rollouts of a group that never fills are left out.
    """
    ordered, waiting = [], {True: [], False: []}
    for rollout in rollouts:
        group = waiting[rollout.prompt.image is not None]
        group.append(rollout)
        if len(group) == size:
            ordered += group
            group.clear()
    return ordered


def _grpo_row(rollout: Rollout) -> dict:
    messages = [{"role": "user", "content": rollout.prompt.text}]
    if rollout.prompt.system:
        messages.insert(0, {"role": "system", "content": rollout.prompt.system})
    images: list[Image.Image] = [rollout.prompt.image] if rollout.prompt.image is not None else []
    return {"prompt": messages, "images": images, "answer": rollout.answer, "answer_type": rollout.answer_type}
