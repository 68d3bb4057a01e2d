import itertools
import random
import re
from dataclasses import asdict

import numpy as np
import pytest

from frankenstein.data.tasks import FUNCTIONS, open_image, read_examples, read_pairs
from frankenstein.mini import benchmarks, questions, recipe, world
from frankenstein.mini import model as mini


def keys(split, kind, n, seed):
    rng = random.Random(seed)
    return {question.key for question in (questions.KINDS[kind](rng, split) for _ in range(n))}


@pytest.mark.parametrize("kind", ["describe", "counting", "recognition", "locating", "math_vqa", "text_math", "ocr"])
def test_splits_share_no_scene(kind):
    train, evaluation, probe = (keys(split, kind, 1500, 1) for split in ("train", "eval", "probe"))
    assert len(train) > 100
    assert not train & evaluation
    assert not train & probe
    assert not evaluation & probe


def test_no_word_is_printed_in_two_splits():
    rng = random.Random(0)
    trained, evaluated, probed = (
        {world.random_word(rng, split).text for _ in range(n)}
        for split, n in (("train", 5000), ("eval", 500), ("probe", 500))
    )
    assert not trained & (evaluated | probed)
    assert not evaluated & probed


def test_the_same_content_in_another_place_of_its_cell_is_the_same_scene():
    rng = random.Random(3)
    scene = world.random_scene(rng, "eval", count=3)
    jittered = world.Scene(
        tuple(world.random_thing(rng, thing.name) if thing else None for thing in scene.cells), (255, 255, 255)
    )
    assert jittered.key() == scene.key()


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_probe_pair_differs_in_exactly_one_attribute(function):
    rng = random.Random(function)
    for _ in range(200):
        target, source = world.probe_pair(rng, function)
        a, b = asdict(target), asdict(source)
        assert target.draw().size == source.draw().size
        assert not np.array_equal(np.asarray(target.draw()), np.asarray(source.draw()))
        differing = {key for key in a if a[key] != b[key]}
        assert differing == ({"text"} if function == "ocr" else {"cells"})
        if function in ("recognition", "counting"):
            assert sum(x != y for x, y in zip(target.cells, source.cells, strict=True)) == 1
        if function == "grounding":  # the very same thing, in another cell
            assert target.things == source.things
            assert len(target.things) == 1


@pytest.mark.parametrize("kind", sorted(set(questions.KINDS) - {"described"}))
def test_the_chain_ends_in_the_answer_and_the_prompt_does_not_hold_it(kind):
    rng = random.Random(5)
    for _ in range(300):
        question = questions.KINDS[kind](rng, "train")
        assert question.answer
        if kind in ("math_vqa", "text_math"):
            assert question.chain.endswith(f"={question.answer}")
            for step in question.chain.split(". ")[-1].split(","):
                left, right = step.split("=")
                assert eval(left) == int(right)  # our own text, not a model's
        if kind == "counting":
            assert question.chain.split()[-1] == question.answer
        if kind in ("ocr", "locating", "describe"):
            assert question.answer not in question.prompt


@pytest.mark.parametrize("kind", questions.SLIPS)
def test_an_imperfect_teacher_errs_where_it_says_and_chain_and_answer_agree(kind):
    rng, erred = random.Random(5), 0
    for _ in range(300):
        right = questions.KINDS[kind](rng, "train")
        said = questions.slipped(right)
        assert said.chain.endswith(f"={said.answer}")
        assert (said.prompt, said.image) == (right.prompt, right.image)
        if kind == "text_math":
            assert int(said.answer) == int(right.answer) + ("-" in right.prompt)
        else:
            number, operand = map(int, re.findall(r"(\d+)[+*](\d+)=", right.chain)[0])
            assert int(said.answer) == number + operand
        erred += said.answer != right.answer
    assert 100 < erred < 300


def test_slips_are_as_frequent_as_configured():
    of = {"math_vqa": 1, "text_math": 1, "counting": 1}
    taught = [recipe.instruction(3, 50, 8, of, {"text_math": share}, "") for share in (0, 0.5)]
    right, slipped = ([sample.completion for sample in samples] for samples in taught)
    math = [number for number, text in enumerate(right) if "-" in text and ":" not in text]
    changed = [number for number in range(len(right)) if right[number] != slipped[number]]
    assert set(changed) <= set(math)
    assert 0.35 < len(changed) / len(math) < 0.65


def test_a_black_image_with_a_question_has_no_more_to_tell_than_the_question():
    rng, kinds = random.Random(5), set()
    for _ in range(300):
        question = questions.black(rng, "train")
        assert question.image.getcolors() == [(question.image.width * question.image.height, (0, 0, 0))]
        assert question.image.size in ((56, 56), (64, 64))
        assert (question.kind, question.chain) == ("black", "all black")
        assert question.answer
        kinds.add(question.prompt.split()[0])
    assert kinds >= {"how", "what", "is"}


def test_the_hidden_scenes_answer_is_its_own():
    class EasyVqa(random.Random):
        """Draws as its seed says, but of the kinds always this one."""

        def choice(self, options):
            return questions.easy_vqa_question if questions.easy_vqa_question in options else super().choice(options)

    shown, hidden = questions.easy_vqa_question(EasyVqa(8), "train"), questions.black(EasyVqa(8), "train")
    assert (hidden.prompt, hidden.answer, hidden.key) == (shown.prompt, shown.answer, shown.key)
    assert hidden.image.size == shown.image.size


def test_black_images_change_no_token(monkeypatch):
    trained = mini.train_tokenizer(1, 400, ["think first."]).backend_tokenizer.to_str()
    monkeypatch.delitem(questions.KINDS, "black")
    assert mini.train_tokenizer(1, 400, ["think first."]).backend_tokenizer.to_str() == trained


def test_the_box_bounds_what_is_drawn():
    rng = random.Random(7)
    for _ in range(100):
        scene = world.random_scene(rng, "train", count=1)
        cell = next(i for i, thing in enumerate(scene.cells) if thing)
        pixels = np.asarray(scene.draw()).astype(int)
        ys, xs = np.nonzero((pixels != np.array(scene.background)).any(-1))
        x1, y1, x2, y2 = scene.box(cell)
        drawn = (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)
        assert max(abs(a - b) for a, b in zip(drawn, (x1, y1, x2, y2), strict=True)) <= 1


def test_easy_vqa_keeps_its_own_split():
    rng = random.Random(1)
    train = {questions.easy_vqa_question(rng, "train").key for _ in range(200)}
    test = {questions.easy_vqa_question(rng, "eval").key for _ in range(200)}
    assert all(key.startswith("easy-vqa/train/") for key in train)
    assert all(key.startswith("easy-vqa/test/") for key in test)
    assert questions.clean("is there not acircle in the image?") == "is there not a circle in the image?"
    assert questions.clean("is there a red shape?") == "is there a red shape?"


def test_written_datasets_read_back(tmp_path):
    for task in ("easy_vqa", "math_vqa", "text_math"):
        path = tmp_path / f"{task}.jsonl"
        benchmarks.write_examples(task, path, tmp_path / task, n=20, seed=3)
        examples = read_examples(path)
        assert len({example.id for example in examples}) == 20
        assert len({(example.meta["key"], example.prompt) for example in examples}) == 20
        for example in examples:
            assert (example.image is None) == (task == "text_math")
            assert example.meta["blind"]
            if example.image:
                assert open_image(tmp_path / example.image).size in ((56, 56), (64, 64))
    for function in FUNCTIONS:
        path = tmp_path / f"{function}.jsonl"
        benchmarks.write_pairs(function, path, tmp_path / function, n=10, seed=3)
        for pair in read_pairs(path):
            assert pair.answer("target") != pair.answer("source")


def test_a_dataset_is_the_same_for_the_same_seed(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        benchmarks.write_examples("math_vqa", tmp_path / name / "x.jsonl", tmp_path / name / "x", n=5, seed=3)
    assert (tmp_path / "a" / "x.jsonl").read_text() == (tmp_path / "b" / "x.jsonl").read_text()


def test_instruction_teaches_no_empty_chain_and_leaves_no_task_out():
    weights = {"describe": 1, "easy_vqa": 3, "recognition": 1, "ocr": 1, "text_math": 1, "described": 1}
    samples = list(recipe.instruction(1, 40, 8, weights, {}, ""))
    assert len(samples) == 41 * 8
    assert not any("<think></think>" in sample.completion for sample in samples)
    raw = list(itertools.islice(questions.stream("1-in", "train", weights), 400))
    assert {q.kind for q in raw if q.chain} == set(weights)
    assert any(not q.chain for q in raw)  # or there would be nothing to leave out
