"""Supervised training with transformers' Trainer, and helpers shared with RL."""

from __future__ import annotations

import itertools
import random
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor, Trainer, TrainerCallback, TrainingArguments

from ..core.errors import InputError
from ..core.progress import Progress
from ..inference.prompts import Prompt, render
from ..models import architecture
from ..models.vision_attention import windows_at_once
from ..models.weights import Weights

_DTYPES = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16}


@dataclass(frozen=True)
class Sample:
    """One supervised sample: a prompt and the target completion."""

    prompt: Prompt
    completion: str


@dataclass(frozen=True)
class RLPrompt:
    """One prompt for GRPO, with the gold answer its reward is computed from.

    path: path of its image, opened lazily, if `prompt` holds none. example: the record (tasks.Example, as JSON) needed
    by a reward that uses a benchmark's grading rules.
    """

    prompt: Prompt
    answer: str
    answer_type: str | None
    path: str | None = None
    example: str | None = None

    @property
    def has_image(self) -> bool:
        return self.prompt.image is not None or self.path is not None


def stored_dtype(start: Path) -> torch.dtype:
    """Storage dtype of a checkpoint's weights. Raises InputError if there are several, or one unsuitable for training."""
    weights = Weights(start)
    dtypes = {weights.stored[name].dtype: name for name in weights}
    if len(dtypes) > 1 or not set(dtypes) <= set(_DTYPES):
        (one, name), *rest = sorted(dtypes.items())
        what = f"{name!r} is {one}" + (f", {rest[0][1]!r} is {rest[0][0]}" if rest else "")
        raise InputError(
            f"{start}: {what}: training starts from checkpoints stored wholly in float32, bfloat16 or float16"
        )
    return _DTYPES[next(iter(dtypes))]


def load(start: Path, template: str | None = None):
    """(model, processor) for training, always in float32: small updates would be lost in half precision.

    template: a chat template replacing the checkpoint's own.
    """
    stored_dtype(start)
    processor = AutoProcessor.from_pretrained(start, local_files_only=True)
    if template:
        processor.chat_template = template
    model = AutoModelForImageTextToText.from_pretrained(
        start, local_files_only=True, use_safetensors=True, dtype=torch.float32
    )
    windows_at_once(model)
    return model, processor


def freeze(model, layers: range, components: tuple[str, ...] = ()) -> list[str]:
    """Set requires_grad = False for all parameters of these decoder layers and components (architecture.Part).

    Frozen parameters are not given to the optimizer. Returns their names.
    """
    frozen = []
    parts = architecture.parts_of(model)
    for name, parameter in model.named_parameters():
        part = parts[name]
        if part.layer in layers or part.component in components:
            parameter.requires_grad_(False)
            frozen.append(name)
    return frozen


def check_frozen(before: Path, after: Path, layers: range, components: tuple[str, ...] = ()) -> int:
    """Number of tensors of these layers and components, all byte-identical; raises InputError naming one that is not."""
    old, new = Weights(before), Weights(after)
    parts = {name: old.part(name) for name in old}
    names = [name for name, part in parts.items() if part.layer in layers or part.component in components]
    if len(layers) and not names:
        raise InputError(f"{before}: no tensor of layers {layers.start} to {layers.stop - 1}: nothing was frozen")
    for name in names:
        if not torch.equal(old[name].view(torch.uint8), new[name].view(torch.uint8)):
            raise InputError(f"{after}: {name!r} was frozen but differs from {before}")
    return len(names)


class _Collate:
    """Samples -> right-padded model inputs and labels; the loss covers only the completion."""

    def __init__(self, processor):
        self.processor = processor

    def __call__(self, samples: list[Sample]) -> dict[str, torch.Tensor]:
        tokenizer = self.processor.tokenizer
        images = [sample.prompt.image for sample in samples if sample.prompt.image is not None]
        encoded = self.processor(
            text=[render(self.processor, sample.prompt) for sample in samples], images=images or None
        )
        # Prompt and completion are tokenized separately, as in generation, where the completion starts a new token.
        completions = tokenizer([sample.completion for sample in samples])["input_ids"]
        completions = [[*tokens, tokenizer.eos_token_id] for tokens in completions]
        prompts = encoded["input_ids"]
        width = max(len(p) + len(c) for p, c in zip(prompts, completions, strict=True))
        size = (len(samples), width)
        batch = {
            "input_ids": torch.full(size, tokenizer.pad_token_id),
            "labels": torch.full(size, -100),
            "attention_mask": torch.zeros(size, dtype=torch.long),
            "mm_token_type_ids": torch.zeros(size, dtype=torch.long),
        }
        for i, (prompt, completion) in enumerate(zip(prompts, completions, strict=True)):
            end = len(prompt) + len(completion)
            batch["input_ids"][i, :end] = torch.tensor([*prompt, *completion])
            batch["labels"][i, len(prompt) : end] = torch.tensor(completion)
            batch["attention_mask"][i, :end] = 1
            batch["mm_token_type_ids"][i, : len(prompt)] = torch.tensor(encoded["mm_token_type_ids"][i])
        if images:
            batch["pixel_values"] = torch.as_tensor(encoded["pixel_values"])
            batch["image_grid_thw"] = torch.as_tensor(encoded["image_grid_thw"])
        return batch


class _Stream(torch.utils.data.IterableDataset):
    """Samples in the given order, but for batches of similar lengths: of every POOL batches, sorted by length, in a
    random order. Without it, nearly half of the tokens of a batch are padding."""

    POOL = 8

    def __init__(self, samples: Iterable[Sample], tokenizer, batch: int, seed: int):
        self.samples, self.tokenizer, self.batch, self.seed = samples, tokenizer, batch, seed

    def __iter__(self):
        samples, rng = iter(self.samples), random.Random(self.seed)
        while pool := list(itertools.islice(samples, self.batch * self.POOL)):
            texts = self.tokenizer([f"{s.prompt.text}{s.completion}" for s in pool])["input_ids"]
            shortest_first = sorted(range(len(pool)), key=lambda i: len(texts[i]))
            batches = [shortest_first[i : i + self.batch] for i in range(0, len(pool), self.batch)]
            rng.shuffle(batches)
            yield from (pool[i] for batch in batches for i in batch)


class Told(TrainerCallback):
    """Tells the terminal how far training is."""

    def on_train_begin(self, args, state, control, **_):
        self.progress, self.begun = Progress(state.max_steps - state.global_step), state.global_step

    def on_step_end(self, args, state, control, **_):
        if state.is_world_process_zero:
            self.progress(state.global_step - self.begun)


def log_table(history: list[dict], names: dict[str, str]) -> pd.DataFrame:
    """A trainer's log as a table: step, plus the columns in `names` (our name -> the trainer's)."""
    rows = [entry for entry in history if "loss" in entry]
    return pd.DataFrame([{"step": row["step"], **{ours: row.get(key) for ours, key in names.items()}} for row in rows])


def quiet(steps: int, seed: int) -> dict:
    """Arguments shared by all trainers: number of steps, about 50 log rows, no intermediate saving or reporting."""
    return {
        "max_steps": steps,
        "seed": seed,
        "logging_steps": max(1, steps // 50),
        "save_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
    }


def supervised(
    start: Path,
    out: Path,
    samples: Iterable[Sample],
    steps: int,
    batch: int,
    learning_rate: float,
    seed: int,
    template: str | None = None,
) -> pd.DataFrame:
    """Train on samples in the given order and save a checkpoint to `out`. Returns the log: step, loss.

    template: a chat template replacing that of `start`; it is saved with the checkpoint.
    """
    model, processor = load(start, template)
    with tempfile.TemporaryDirectory() as scratch:
        arguments = TrainingArguments(
            scratch,
            per_device_train_batch_size=batch,
            learning_rate=learning_rate,
            lr_scheduler_type="warmup_stable_decay",
            lr_scheduler_kwargs={"num_decay_steps": steps // 3},
            warmup_steps=min(50, steps // 10),
            weight_decay=0.01,
            adam_beta2=0.98,
            **quiet(steps, seed),
            remove_unused_columns=False,
            # Pixel values do not have one row per sample, so the loader must not slice them.
            accelerator_config={"dispatch_batches": False},
        )
        trainer = Trainer(
            model,
            arguments,
            train_dataset=_Stream(samples, processor.tokenizer, batch, seed),
            data_collator=_Collate(processor),
            callbacks=[Told()],
        )
        trainer.train()
        if trainer.state.global_step != steps:
            raise InputError(f"{out}: samples ended at step {trainer.state.global_step} of {steps}")
    save(model, processor, out, stored_dtype(start))
    return log_table(trainer.state.log_history, {"loss": "loss"})


def save(model, processor, out: Path, dtype: torch.dtype = torch.float32) -> None:
    """Save a trained checkpoint in the given dtype, with all parameters unfrozen."""
    model.requires_grad_(True)
    model.to(dtype).save_pretrained(out)
    processor.save_pretrained(out)
