"""The mini study's evaluation tasks and probe pairs, in the record format of `tasks`."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path

from ..data import tasks
from . import questions, world


def write_examples(task: str, path: Path, images: Path, n: int, seed: int) -> None:
    """Write n examples of a task's eval split: a JSONL file, and PNG images in the folder `images` beside it.

    meta contains the scene's key and the best guess from the prompt alone (`blind`).
    """
    images.mkdir(parents=True, exist_ok=True)
    guess = _blind(task, seed)
    records = []
    for i, question in enumerate(questions.sample(seed, "eval", task, n)):
        name = f"{task}-{i:04d}"
        if question.image is not None:
            question.image.save(images / f"{name}.png")
        records.append(
            tasks.Example(
                id=name,
                task=task,
                prompt=question.prompt,
                answer=question.answer,
                answer_type=question.answer_type,
                image=f"{images.name}/{name}.png" if question.image is not None else None,
                description=question.description,
                meta={"key": question.key, "blind": guess(question.prompt)},
            )
        )
    tasks.write(path, records)


def _blind(task: str, seed: int, n: int = 4000) -> Callable[[str], str]:
    """A function returning the best blind guess for a prompt: the most frequent answer among training questions with it."""
    rng = random.Random(f"{seed}-{task}-blind")
    answers = defaultdict(Counter)
    for _ in range(n):
        question = questions.KINDS[task](rng, "train")
        answers[question.prompt][question.answer] += 1
        answers[None][question.answer] += 1
    return lambda prompt: answers[prompt if prompt in answers else None].most_common(1)[0][0]


def _asked(function: str, scene) -> tuple[str, dict]:
    """The prompt about a scene, and the gold answer under the key that the published pairs use for this function."""
    if function == "ocr":
        return "what word is printed?", {"text": scene.text}
    if function == "counting":
        return "how many shapes are there?", {"answer": str(len(scene.things))}
    cell = next((i for i, thing in enumerate(scene.cells) if thing), None)
    if function == "recognition":
        return "is there a {}?", {"answer": "no" if cell is None else "yes"}
    return "where is the {}?", {"bbox_xyxy": list(scene.box(cell))}


def write_pairs(function: str, path: Path, images: Path, n: int, seed: int) -> None:
    """Write n probe pairs of a function from the probe split, each differing in exactly one attribute."""
    images.mkdir(parents=True, exist_ok=True)
    rng = random.Random(f"{seed}-{function}")
    pairs, seen = [], set()
    while len(pairs) < n:
        target, source = world.probe_pair(rng, function)
        if (target, source) in seen:
            continue
        seen.add((target, source))
        name = f"{function}_{len(pairs):06d}"
        meta = {}
        for side, scene in (("target", target), ("source", source)):
            scene.draw().save(images / f"{name}_{side[0]}.png")
            prompt, gold = _asked(function, scene)
            meta |= {f"{side}_{key}": value for key, value in gold.items()}
            meta[f"{side}_key"] = scene.key()
        if "{}" in prompt:
            prompt = prompt.format(target.things[0].name)
        files = {f"{side}_image": f"{images.name}/{name}_{side[0]}.png" for side in ("target", "source")}
        pairs.append(tasks.Pair(id=name, task=function, prompt=prompt, meta=meta, **files))
    tasks.write(path, pairs)
