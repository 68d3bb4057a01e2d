"""Pretraining of the mini study's vision encoder, as VLMs start from one that can see: naming what each cell shows."""

from __future__ import annotations

import random
import string
from collections.abc import Iterator

import torch
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss

from . import questions, world

_NAMES = ("nothing", *world.NAMES)
_EACH = 16  # images of each kind per step


class _Heads(nn.Module):
    """Linear readouts of a vision token, discarded after training."""

    def __init__(self, width: int, shown: list[str]):
        super().__init__()
        self.thing, self.box = nn.Linear(width, len(_NAMES)), nn.Linear(width, 3)
        self.letter, self.whole = nn.Linear(width, len(string.ascii_uppercase)), nn.Linear(width, len(shown))


def pretrain(model, processor, seed: int, steps: int, learning_rate: float) -> Iterator[float]:
    """Train `model`'s vision encoder and projector in place; yields the loss of each step.

    Each vision token names its cell's shape and colour and locates it within the cell, or names its letter; the mean over an
    easy-VQA image names its shape and colour. Only training scenes, words and images are shown. Readouts are linear.
    """
    visual, rng = model.model.visual, random.Random(f"{seed}-vision")
    torch.manual_seed(seed)
    pictured = questions.easy_vqa_images("train")
    shown = sorted({what for _, what in pictured})
    heads = _Heads(visual.config.out_hidden_size, shown)
    parameters = [*visual.parameters(), *heads.parameters()]
    optimizer = torch.optim.AdamW(parameters, learning_rate, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=steps + 1, pct_start=0.1)

    def tokens(images):
        encoded = processor.image_processor(images, return_tensors="pt")
        return visual(encoded["pixel_values"], grid_thw=encoded["image_grid_thw"]).pooler_output

    for _ in range(steps):
        scenes = [world.random_scene(rng, "train") for _ in range(_EACH)]
        words = [world.random_word(rng, "train") for _ in range(_EACH)]
        pictures = rng.sample(pictured, _EACH)
        seen = tokens([scene.draw() for scene in scenes])
        things = [thing for scene in scenes for thing in scene.cells]
        named = torch.tensor([_NAMES.index(name) for scene in scenes for name in scene.names])
        loss = cross_entropy(heads.thing(seen), named)
        filled = torch.tensor([i for i, thing in enumerate(things) if thing], dtype=torch.long)
        boxes = torch.tensor([[thing.left, thing.top, thing.size] for thing in things if thing]).reshape(-1, 3)
        loss = loss + mse_loss(heads.box(seen[filled]), boxes / world.CELL) if len(filled) else loss
        spelled = torch.tensor([string.ascii_uppercase.index(letter) for word in words for letter in word.text])
        loss = loss + cross_entropy(heads.letter(tokens([word.draw() for word in words])), spelled)
        whole = tokens([image for image, _ in pictures]).unflatten(0, (_EACH, -1)).mean(1)
        loss = loss + cross_entropy(heads.whole(whole), torch.tensor([shown.index(what) for _, what in pictures]))
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        yield loss.item()
