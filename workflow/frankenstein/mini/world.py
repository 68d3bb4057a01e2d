"""Scenes of the mini study: coloured shapes on a grid of cells, and printed words.

One cell is one vision token of Qwen2.5-VL (28 x 28 pixels: patch 14, merge 2). Every scene is a value that can be
hashed, drawn, described and asked about. Its hash determines its split, so training, evaluation and probe scenes are
disjoint by construction.
"""

from __future__ import annotations

import hashlib
import random
import string
from dataclasses import dataclass, replace

from PIL import Image, ImageDraw, ImageFont

CELL = 28
SIDE = 2
SHAPES = ("circle", "rectangle", "triangle")
COLOURS = {
    "red": (220, 30, 30),
    "green": (20, 150, 40),
    "blue": (30, 60, 220),
    "yellow": (225, 190, 0),
}
NAMES = tuple(f"{colour} {shape}" for colour in COLOURS for shape in SHAPES)


# easy-VQA's.
LOOSE_COLOURS = {
    "red": (255, 0, 0),
    "green": (0, 255, 0),
    "blue": (0, 0, 255),
    "yellow": (255, 255, 0),
    "black": (0, 0, 0),
    "gray": (128, 128, 128),
    "teal": (0, 128, 128),
    "brown": (165, 42, 42),
}


@dataclass(frozen=True)
class Thing:
    """A shape in a cell: its name ("red circle"), and its box within the cell in pixels."""

    name: str
    left: int
    top: int
    size: int

    @property
    def colour(self) -> str:
        return self.name.split()[0]

    @property
    def shape(self) -> str:
        return self.name.split()[1]


@dataclass(frozen=True)
class Scene:
    """SIDE x SIDE cells in reading order, each a Thing or None, on a plain light background (RGB)."""

    cells: tuple[Thing | None, ...]
    background: tuple[int, int, int] = (255, 255, 255)

    @property
    def names(self) -> list[str]:
        return [thing.name if thing else "nothing" for thing in self.cells]

    @property
    def things(self) -> list[Thing]:
        return [thing for thing in self.cells if thing]

    def key(self) -> str:
        """Identity of a scene: scenes with equal keys count as the same.

        With two or more things, only the content matters (names in cells), not their jitter. Scenes with at most one
        thing are also distinguished by their pixels, because there are only 49 such contents.
        """
        if len(self.things) >= 2:
            return "|".join(self.names)
        return repr(self)

    def describe(self) -> str:
        """The exact textual description d of the scene (paper, Appendix C)."""
        return ", ".join(self.names)

    def box(self, cell: int) -> tuple[int, int, int, int]:
        """Bounding box x1,y1,x2,y2 in pixels of the thing in a cell (0-based, reading order)."""
        thing = self.cells[cell]
        x = cell % SIDE * CELL + thing.left
        y = cell // SIDE * CELL + thing.top
        return x, y, x + thing.size, y + thing.size

    def draw(self) -> Image.Image:
        image = Image.new("RGB", (SIDE * CELL, SIDE * CELL), self.background)
        pen = ImageDraw.Draw(image)
        for cell, thing in enumerate(self.cells):
            if thing is None:
                continue
            x1, y1, x2, y2 = self.box(cell)
            x2, y2 = x2 - 1, y2 - 1
            fill = COLOURS[thing.colour]
            _draw(pen, thing.shape, (x1, y1, x2, y2), fill)
        return image


def _draw(pen: ImageDraw.ImageDraw, shape: str, box: tuple[int, int, int, int], fill: tuple[int, int, int]) -> None:
    x1, y1, x2, y2 = box
    if shape == "circle":
        pen.ellipse(box, fill=fill)
    elif shape == "rectangle":
        pen.rectangle(box, fill=fill)
    else:
        pen.polygon([((x1 + x2) // 2, y1), (x2, y2), (x1, y2)], fill=fill)


@dataclass(frozen=True)
class Word:
    """A printed word in one row, one letter per cell."""

    text: str
    size: int
    ink: tuple[int, int, int]
    background: tuple[int, int, int]

    def key(self) -> str:
        return self.text

    def describe(self) -> str:
        return "the word " + " ".join(self.text)

    def draw(self) -> Image.Image:
        image = Image.new("RGB", (CELL * len(self.text), CELL), self.background)
        pen = ImageDraw.Draw(image)
        font = ImageFont.load_default(self.size)
        for i, letter in enumerate(self.text):
            pen.text((i * CELL + CELL / 2, CELL / 2), letter, font=font, fill=self.ink, anchor="mm")
        return image


def split_of(key: str) -> str:
    """The split of a scene, word or expression: 80 % train, 10 % eval, 10 % probe."""
    bucket = hashlib.blake2b(key.encode(), digest_size=4).digest()[0] % 10
    return {0: "eval", 1: "probe"}.get(bucket, "train")


def _paper(rng: random.Random) -> tuple[int, int, int]:
    return tuple(rng.randint(225, 255) for _ in range(3))


def random_thing(rng: random.Random, name: str | None = None) -> Thing:
    size = rng.choice((18, 20, 22))
    slack = CELL - size
    return Thing(name or rng.choice(NAMES), rng.randint(1, slack - 1), rng.randint(1, slack - 1), size)


def loose_shape(rng: random.Random) -> tuple[Image.Image, str]:
    """A shape of any size anywhere on a canvas as large as easy-VQA's, and its name; drawn like these, but none of them."""
    shape, colour = rng.choice(SHAPES), rng.choice(tuple(LOOSE_COLOURS))
    width = rng.randint(8, 32)
    height = {"circle": width, "rectangle": rng.randint(8, 32), "triangle": round(width * 0.87)}[shape]
    x, y = rng.randint(0, 63 - width), rng.randint(0, 63 - height)
    image = Image.new("RGB", (64, 64), _paper(rng))
    _draw(ImageDraw.Draw(image), shape, (x, y, x + width, y + height), LOOSE_COLOURS[colour])
    return image, f"{colour} {shape}"


def random_scene(rng: random.Random, split: str, count: int | None = None) -> Scene:
    """A scene from the split with `count` things (default: 0 to 4, equally likely)."""
    while True:
        wanted = rng.randint(0, SIDE * SIDE) if count is None else count
        filled = set(rng.sample(range(SIDE * SIDE), wanted))
        cells = tuple(random_thing(rng) if i in filled else None for i in range(SIDE * SIDE))
        scene = Scene(cells, _paper(rng))
        if split_of(scene.key()) == split:
            return scene


def random_word(rng: random.Random, split: str, size: int = 3) -> Word:
    """A printed word of random letters. The letters determine the split, so no word occurs in two splits."""
    while True:
        text = "".join(rng.choice(string.ascii_uppercase) for _ in range(size))
        if split_of(text) == split:
            ink = tuple(rng.randint(0, 90) for _ in range(3))
            return Word(text, rng.choice((18, 20, 22, 24)), ink, _paper(rng))


def probe_pair(rng: random.Random, function: str) -> tuple[Scene | Word, Scene | Word]:
    """(target, source) differing in exactly one attribute, on equal grids (paper, Appendix D).

    recognition: a thing is present, or the canvas is blank; counting: one thing more or fewer; grounding: the thing is
    in a different cell; ocr: the printed word differs.
    """
    while True:
        if function == "ocr":
            target = random_word(rng, "probe")
            source = replace(target, text=random_word(rng, "probe").text)
            if source.text != target.text:
                return target, source
            continue
        if function == "recognition":
            target = random_scene(rng, "probe", count=1)
            source = replace(target, cells=(None,) * len(target.cells))
        elif function == "grounding":
            target = random_scene(rng, "probe", count=1)
            cell = next(i for i, thing in enumerate(target.cells) if thing)
            cells = [None] * len(target.cells)
            cells[rng.choice([i for i in range(len(cells)) if i != cell])] = target.cells[cell]
            source = replace(target, cells=tuple(cells))
        elif function == "counting":
            target = random_scene(rng, "probe")
            cell = rng.randrange(len(target.cells))
            cells = list(target.cells)
            cells[cell] = None if cells[cell] else random_thing(rng)
            source = replace(target, cells=tuple(cells))
        else:
            raise ValueError(f"no probe function {function!r}")
        if split_of(source.key()) == "probe":
            return target, source
