import json

import pytest
from PIL import Image

from frankenstein.core.errors import InputError
from frankenstein.data import tasks
from frankenstein.data.tasks import Example
from frankenstein.inference import prompts
from frankenstein.inference.prompts import build_prompt
from frankenstein.mini import questions


def test_an_empty_dataset_is_named(tmp_path):
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(InputError, match=r"empty\.jsonl: empty dataset"):
        tasks.read_examples(tmp_path / "empty.jsonl")


@pytest.mark.parametrize(
    "line", ["{", '{"id": "a"}', '{"id": "a", "task": "t", "prompt": "p", "answer": "x", "colour": 1}']
)
def test_a_line_that_is_no_example_is_named(tmp_path, line):
    good = json.dumps({"id": "a", "task": "t", "prompt": "p", "answer": "x"})
    (tmp_path / "bad.jsonl").write_text(f"{good}\n{line}\n")
    with pytest.raises(InputError, match=r"bad\.jsonl, line 2: (not a record of kind Example|not a JSON object)"):
        tasks.read_examples(tmp_path / "bad.jsonl")


def test_an_image_that_does_not_open_is_named(tmp_path):
    for name, content in (("cut.png", b"\x89PNG\r\n\x1a\n" + b"0" * 20), ("text.png", b"hello")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=f"{name}: image cannot be opened"):
            tasks.open_image(tmp_path / name)
    with pytest.raises(InputError, match=r"gone\.png: image cannot be opened"):
        tasks.open_image(tmp_path / "gone.png")


def test_conditions_give_the_model_what_the_paper_says(tmp_path):
    scene = next(questions.stream(1, "eval", {"math_vqa": 1}))
    scene.image.save(tmp_path / "a.png")
    example = Example("a", "math_vqa", scene.prompt, scene.answer, "number", "a.png", scene.description)
    image, black, described, text = (
        build_prompt(example, c, tmp_path, "s") for c in ("image", "black", "described", "text")
    )
    assert image.image.tobytes() == scene.image.tobytes()
    assert image.text == black.text == text.text == scene.prompt
    assert black.image.size == described.image.size == scene.image.size
    assert not any(black.image.tobytes())
    assert not any(described.image.tobytes())
    assert scene.description in described.text
    assert described.text.endswith(scene.prompt)
    assert text.image is None
    with pytest.raises(ValueError, match="no description"):
        build_prompt(Example("b", "t", "p", "x", image="a.png"), "described", tmp_path, "")


def drawn(tmp_path, colours, seed=1):
    """Examples whose images are of these colours, each of another size, with another one's image."""
    made = []
    for number, colour in enumerate(colours):
        name = f"{number}.png"
        Image.new("RGB", (30, 30), colour).save(tmp_path / name)
        made.append(Example(str(number), "t", "p", "x", image=name))
    return prompts.with_other_images(made, tmp_path, seed)


@pytest.mark.parametrize(
    ("colours", "once"),
    [
        (["red", "green"], True),
        ([(n, 0, 0) for n in range(50)], True),
        (["red"] * 5 + ["green"] * 3 + ["blue"] * 2, True),  # as many red ones as others
        (["red"] * 7 + ["green"] * 2 + ["blue"], False),  # more than others: these are given out again
        (["red"] * 4 + ["green"] * 4 + ["blue"] * 5 + [(n, 9, 9) for n in range(9)], True),
    ],
)
def test_the_other_image_is_never_the_same_and_each_goes_out_once_if_it_can(tmp_path, colours, once):
    for seed in range(20):
        examples = drawn(tmp_path, colours, seed)
        others = [example.meta["other_image"] for example in examples]
        assert [example.id for example in examples] == [str(n) for n in range(len(colours))]
        assert all(colours[int(other.removesuffix(".png"))] != colours[n] for n, other in enumerate(others))
        assert (len(set(others)) == len(others)) == once
    assert drawn(tmp_path, colours, 3) == drawn(tmp_path, colours, 3)


def test_the_draw_of_other_images_follows_the_seed(tmp_path):
    colours = [(n, 0, 0) for n in range(50)]
    first, second = ([e.meta["other_image"] for e in drawn(tmp_path, colours, seed)] for seed in (1, 2))
    assert sum(a == b for a, b in zip(first, second, strict=True)) < 10


def test_another_image_is_shown_in_the_size_of_ones_own(tmp_path):
    for name, colour, size in (("a", "red", (56, 28)), ("b", "green", (40, 90))):
        Image.new("RGB", size, colour).save(tmp_path / f"{name}.png")
    pair = [Example(name, "t", f"what is {name}?", "x", image=f"{name}.png") for name in "ab"]
    first, second = prompts.with_other_images(pair, tmp_path, 1)
    shown = build_prompt(first, "shuffled", tmp_path, "s")
    assert (shown.text, shown.system, shown.image.size) == ("what is a?", "s", (56, 28))
    assert shown.image.getpixel((20, 20)) == (0, 128, 0)
    assert build_prompt(second, "shuffled", tmp_path, "").image.size == (40, 90)
    assert build_prompt(first, "black", tmp_path, "").image.getpixel((20, 20)) == (0, 0, 0)
    alone = prompts.with_other_images(pair[:1], tmp_path, 1)[0]
    with pytest.raises(ValueError, match="a: no other image in the task"):
        build_prompt(alone, "shuffled", tmp_path, "")


def test_asking_for_more_than_there_is_is_an_error(monkeypatch):
    one = next(questions.stream(1, "eval", {"text_math": 1}))
    monkeypatch.setitem(questions.KINDS, "text_math", lambda rng, split: one)
    with pytest.raises(
        InputError, match=r"only 1 different text_math questions, but 3 were requested: lower evaluation\.examples"
    ):
        questions.sample(1, "eval", "text_math", 3)
