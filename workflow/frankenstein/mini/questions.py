"""Questions about the mini world: prompt, answer, and the chain of thought leading to the answer."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache

from PIL import Image

from ..core.errors import InputError
from ..data.tasks import with_description
from . import world


@dataclass(frozen=True)
class Question:
    """One question. `chain` is the reasoning taught to IN; `description` is the scene in words."""

    kind: str
    image: Image.Image | None
    prompt: str
    answer: str
    chain: str
    answer_type: str = "text"  # text | number | box | list
    description: str | None = None
    key: str = ""


TEXT_TASK = "text_math"  # the only kind without an image
EXPLAIN = " explain."  # prompt suffix asking a Base to show its steps

# --- the generated world: one function per kind, (random state, split) -> Question -------------


# Share of the scenes and questions with so many hits that are kept, which makes their numbers about equally frequent: where one hit is
# by far the most frequent, RL learns to say one instead of to count, and is rewarded for it.
_KEPT = (0.4, 0.25, 0.5, 1, 1)


def _counted(rng: random.Random, split: str) -> tuple[world.Scene, str, list[bool]]:
    """A scene, what is to be counted in it (plural noun), and for each cell whether it counts."""
    while True:
        scene, kind = world.random_scene(rng, split), rng.randrange(3)
        # Mostly ask about something present, or nearly all counts would be zero.
        thing = rng.choice(scene.things) if scene.things and rng.random() < 0.8 else world.random_thing(rng)
        if kind == 0:
            what, counts = "shapes", [found is not None for found in scene.cells]
        elif kind == 1:
            what, counts = (
                f"{thing.shape}s",
                [found is not None and found.shape == thing.shape for found in scene.cells],
            )
        else:
            what = f"{thing.colour} shapes"
            counts = [found is not None and found.colour == thing.colour for found in scene.cells]
        if rng.random() < _KEPT[sum(counts)]:
            return scene, what, counts


def _tally(scene: world.Scene, counts: list[bool]) -> str:
    total = 0
    parts = []
    for name, hit in zip(scene.names, counts, strict=True):
        total += hit
        parts.append(f"{name} {total}")
    return ", ".join(parts)


def describe(rng, split):
    scene = world.random_scene(rng, split)
    return _of(scene, "describe", "describe the cells.", scene.describe(), "look", "list")


def cell(rng, split):
    scene = world.random_scene(rng, split)
    i = rng.randrange(len(scene.cells))
    return _of(scene, "cell", f"what is in cell {i + 1}?", scene.names[i], scene.describe(), "text")


def recognition(rng, split):
    scene = world.random_scene(rng, split, count=rng.choice((0, 1, 1, 1, 1, 2)))
    if scene.things and rng.random() < 0.6:
        name = rng.choice(scene.things).name
    else:
        # Absent; mostly a name sharing one word with something present, or the colour alone would tell.
        shared = rng.choice(("colour", "colour", "shape"))  # to go by the colour is what models fall for
        words = {getattr(thing, shared) for thing in scene.things} if rng.random() < 0.8 else set()
        near = [name for name in world.NAMES if name not in scene.names and words & set(name.split())]
        name = rng.choice(near or [name for name in world.NAMES if name not in scene.names])
    answer = "yes" if name in scene.names else "no"
    return _of(scene, "recognition", f"is there a {name}?", answer, scene.describe(), "text")


def counting(rng, split):
    scene, what, counts = _counted(rng, split)
    prompt = f"how many {what} are there?"
    return _of(scene, "counting", prompt, str(sum(counts)), _tally(scene, counts), "number")


def locating(rng, split):
    # Mostly one thing on a clean canvas, as in the paper's grounding pairs.
    scene = world.random_scene(rng, split, count=rng.choice((1, 1, 1, 2)))
    once = [i for i, name in enumerate(scene.names) if name != "nothing" and scene.names.count(name) == 1]
    if not once:
        return locating(rng, split)
    i = rng.choice(once)
    box = ",".join(map(str, scene.box(i)))
    return _of(scene, "locating", f"where is the {scene.names[i]}?", box, f"cell {i + 1}", "box")


def ocr(rng, split):
    word = world.random_word(rng, split)
    chain = ",".join(word.text)
    return _of(word, "ocr", "what word is printed?", word.text, chain, "text")


def math_vqa(rng, split):
    """Arithmetic over visual content: count, then apply one operation with a number from the prompt."""
    scene, what, counts = _counted(rng, split)
    n, k = sum(counts), rng.randint(2, 9)
    verb, sign, result = rng.choice((("add", "+", n + k), ("times", "*", n * k)))
    prompt = f"how many {what} are there? {verb} {k}."
    chain = f"{_tally(scene, counts)}. {n}{sign}{k}={result}"
    return _of(scene, "math_vqa", prompt, str(result), chain, "number")


def text_math(rng, split):
    """Additions and subtractions in two or three steps; every intermediate result lies between 0 and 24."""
    while True:
        total = rng.randint(0, 9)
        prompt, steps = str(total), []
        for _ in range(rng.choice((2, 2, 3))):
            sign, k = rng.choice("+-"), rng.randint(1, 5)
            new = total + k if sign == "+" else total - k
            prompt += f"{sign}{k}"
            steps.append(f"{total}{sign}{k}={new}")
            total = new
            if total < 0:
                break
        if total >= 0 and world.split_of(prompt) == split:
            chain = ",".join(steps)
            return Question("text_math", None, f"{prompt}=?", str(total), chain, "number", None, prompt)


def _of(scene, kind, prompt, answer, chain, answer_type):
    return Question(kind, scene.draw(), prompt, answer, chain, answer_type, scene.describe(), scene.key())


KINDS = {f.__name__: f for f in (describe, cell, recognition, counting, locating, ocr, math_vqa, text_math)}


# --- easy-VQA (PyPI package easy-vqa, by Victor Zhou, MIT) ---------------------------------------


@cache
def _easy_vqa(part: str) -> tuple[list[tuple[str, str, int]], dict[int, str], dict[int, str]]:
    """Questions, image paths and a short description of each image in easy-VQA's own train or test part."""
    import easy_vqa

    train = part == "train"
    rows = list(zip(*(easy_vqa.get_train_questions() if train else easy_vqa.get_test_questions()), strict=True))
    paths = easy_vqa.get_train_image_paths() if train else easy_vqa.get_test_image_paths()
    shapes, colours = {}, {}
    for _, answer, image in rows:
        if answer in ("circle", "rectangle", "triangle"):
            shapes[image] = answer
        elif answer not in ("yes", "no"):
            colours[image] = answer
    seen = {i: " ".join(filter(None, (colours.get(i), shapes.get(i)))) for i in paths}
    return rows, paths, seen


def clean(question: str) -> str:
    """Insert spaces missing in some easy-VQA questions ("not acircle")."""
    return re.sub(r"\ba(?=(circle|triangle|rectangle|black|blue|brown|gray|green|red|teal|yellow)\b)", "a ", question)


@cache
def _open(path: str) -> Image.Image:
    with Image.open(path) as image:
        return image.convert("RGB")


def easy_vqa_question(rng, split):
    """A question from easy-VQA: on its train images for the train split, on its test images otherwise."""
    rows, paths, seen = _easy_vqa("train" if split == "train" else "test")
    question, answer, image = rows[rng.randrange(len(rows))]
    name = f"easy-vqa/{'train' if split == 'train' else 'test'}/{image}"
    shown = seen[image]
    return Question(
        "easy_vqa", _open(str(paths[image])), clean(question), answer, shown, "text",
        f"a {shown}" if shown else None, name,
    )  # fmt: skip


KINDS["easy_vqa"] = easy_vqa_question

# --- streams ------------------------------------------------------------------------------------


def described(rng, split):
    """A question about a scene given in words instead of pixels, in the form of f(b, d, p)."""
    kind = rng.choice((recognition, counting, math_vqa, cell))
    question = kind(rng, split)
    black = Image.new("RGB", question.image.size)
    return Question(
        "described", black, with_description(question.description, question.prompt), question.answer,
        question.chain, question.answer_type, question.description, question.key,
    )  # fmt: skip


KINDS["described"] = described


def black(rng, split):
    """A question about a hidden scene: the image is black and of the same size, but the answer is still the scene's.

    The best a model can learn is therefore the most frequent answer to each prompt. Only kinds with few possible answers
    are used, because there would be nothing to learn for a printed word or a box.
    """
    kind = rng.choice((recognition, counting, math_vqa, cell, easy_vqa_question))
    question = kind(rng, split)
    hidden = Image.new("RGB", question.image.size)
    return replace(question, kind="black", image=hidden, chain="all black", description=None)


KINDS["black"] = black


SLIPS = ("math_vqa", "text_math")


def slipped(question: Question) -> Question:
    """A question of SLIPS as a careless teacher works it, chain and answer agreeing: a multiplication is done as an addition
    (Math VQA), or the first subtraction comes out one too high (text arithmetic). Others are returned as they are."""
    counted, _, steps = question.chain.rpartition(". ")
    worked, total, erred = [], None, False
    for first, sign, second in re.findall(r"(\d+)([-+*])(\d+)=", steps):
        a, b = int(first) if total is None else total, int(second)
        total = a - b if sign == "-" else a + b  # also for "*"
        if sign == "-" and not erred:
            total += 1
        erred = erred or sign in "-*"
        worked.append(f"{a}{sign}{b}={total}")
    chain = ",".join(worked) if question.kind == TEXT_TASK else f"{counted}. {worked[0]}"
    return replace(question, chain=chain, answer=str(total))


def stream(seed: int, split: str, weights: dict[str, float]) -> Iterator[Question]:
    """An endless stream of questions, kinds drawn in proportion to `weights`. Deterministic given the seed."""
    rng = random.Random(seed)
    kinds, shares = list(weights), list(weights.values())
    while True:
        yield KINDS[rng.choices(kinds, shares)[0]](rng, split)


def sample(seed: int, split: str, kind: str, n: int) -> list[Question]:
    """n questions of a kind, no two with the same scene and prompt. Raises InputError if there are too few."""
    rng = random.Random(f"{seed}-{split}-{kind}")
    found: dict[tuple[str, str], Question] = {}
    tries = 0
    while len(found) < n:
        question = KINDS[kind](rng, split)
        tries += 1
        if tries > 1000 * n:
            raise InputError(
                f"the {split} split has only {len(found)} different {kind} questions, but {n} were requested: lower evaluation.examples"
            )
        found.setdefault((question.key, question.prompt), question)
    return list(found.values())
