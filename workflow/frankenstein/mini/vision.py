"""Pretraining of the mini study's vision encoder, as a VLM starts from one that can see: naming what each cell shows."""

from __future__ import annotations

import random
import string
from pathlib import Path

import torch
from torch import nn
from torch.nn.functional import cross_entropy, mse_loss

from ..core.progress import Progress
from ..training import sft
from . import world

_NAMES = ("nothing", *world.NAMES)
_LOOSE = tuple(f"{colour} {shape}" for colour in world.LOOSE_COLOURS for shape in world.SHAPES)
# Images per step: scenes, and as many words; single loose shapes, which take longest to learn.
_SCENES, _SINGLE = 8, 32


class _Readouts(nn.ModuleDict):
    """Linear readouts of a vision token, discarded after training."""

    def __init__(self, width: int):
        sizes = {"thing": len(_NAMES), "box": 3, "letter": len(string.ascii_uppercase), "loose": len(_LOOSE)}
        super().__init__({name: nn.Linear(width, size) for name, size in sizes.items()})


def pretrain(directory: Path, seed: int, steps: int, learning_rate: float) -> None:
    """Train the vision encoder and projector of the checkpoint in `directory`, in place; prints the loss.

    Each vision token names what its cell shows (and locates it), or its letter; the mean over an image of one loose shape
    names that, as in easy-VQA, none of whose images is shown. Scenes and words are those of the train split.
    """
    model, processor = sft.load(directory)
    visual, rng = model.model.visual, random.Random(f"{seed}-vision")
    torch.manual_seed(seed)
    readouts = _Readouts(visual.config.out_hidden_size)
    parameters = [*visual.parameters(), *readouts.parameters()]
    optimizer = torch.optim.AdamW(parameters, learning_rate, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=steps + 1, pct_start=0.1)
    progress = Progress(steps, "vision encoder")
    for step in range(1, steps + 1):
        scenes = [world.random_scene(rng, "train") for _ in range(_SCENES)]
        words = [world.random_word(rng, "train") for _ in range(_SCENES)]
        single, names = zip(*(world.loose_shape(rng) for _ in range(_SINGLE)), strict=True)
        images = [*(shown.draw() for shown in (*scenes, *words)), *single]
        encoded = processor.image_processor(images, return_tensors="pt")
        tokens = visual(encoded["pixel_values"], grid_thw=encoded["image_grid_thw"]).pooler_output
        cells = [thing for scene in scenes for thing in scene.cells]
        letters = "".join(word.text for word in words)
        of_cells, of_letters, rest = tokens.tensor_split([len(cells), len(cells) + len(letters)])
        loss = cross_entropy(readouts["thing"](of_cells), _indices(_NAMES, [n for s in scenes for n in s.names]))
        loss = loss + cross_entropy(readouts["letter"](of_letters), _indices(string.ascii_uppercase, letters))
        whole = rest.unflatten(0, (_SINGLE, -1)).mean(1)
        loss = loss + cross_entropy(readouts["loose"](whole), _indices(_LOOSE, names))
        if filled := [i for i, thing in enumerate(cells) if thing]:
            boxes = torch.tensor([[cells[i].left, cells[i].top, cells[i].size] for i in filled])
            loss = loss + mse_loss(readouts["box"](of_cells[filled]), boxes / world.CELL)
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        if step % 50 == 0 or step == steps:
            print(f"vision encoder: step {step}, loss {loss.item():.3f}", flush=True)
        progress(step)
    sft.save(model, processor, directory)


def _indices(names, shown) -> torch.Tensor:
    return torch.tensor([names.index(name) for name in shown])
