import random

import naive_sweep
import pytest
import torch
from conftest import SHARED

from frankenstein.core.errors import InputError
from frankenstein.data.tasks import Example, Pair, open_image, read_pairs
from frankenstein.inference.generation import generate
from frankenstein.inference.prompts import Prompt, encode
from frankenstein.mini import benchmarks, world
from frankenstein.probes import batches, interventions, sweep

BOTH = [sweep.HIDDEN_STATE_AT_LAYER, sweep.KV_AT_LAYER_ONLY]


def swap_sweep(loaded, pairs, folder, *, memory_mb=1000, modes=BOTH, unequal="resize", max_new_tokens=6):
    return list(
        interventions.swap_sweep(
            *loaded,
            pairs,
            folder,
            system="",
            modes=modes,
            unequal=unequal,
            memory_mb=memory_mb,
            max_new_tokens=max_new_tokens,
        )
    )


def skip_sweep(loaded, examples, folder, memory_mb=1000):
    return list(interventions.skip_sweep(*loaded, examples, folder, system="", memory_mb=memory_mb, max_new_tokens=6))


@pytest.fixture
def counting(tmp_path):
    benchmarks.write_pairs("counting", tmp_path / "counting.jsonl", tmp_path / "counting", n=5, seed=1)
    return read_pairs(tmp_path / "counting.jsonl")


@pytest.fixture
def sums():
    return [Example(f"e{i}", "text_math", f"{i}+{'1' * (i + 1)}=?", str(i + 1), "number") for i in range(5)]


def test_records_are_the_naive_sweeps_answers(loaded, counting, tmp_path):
    model, processor = loaded
    records = {(r["id"], r["mode"], r["layer"]): r for r in swap_sweep(loaded, counting, tmp_path)}
    assert len(records) == 5 * (1 + 2 * 9)
    assert not any(record["error"] or record["resized"] for record in records.values())
    targets, sources = (
        encode(processor, [Prompt(pair.prompt, open_image(tmp_path / getattr(pair, side))) for pair in counting])
        for side in ("target_image", "source_image")
    )
    with torch.inference_mode():
        naive = naive_sweep.swap(model, targets, sources, 0, 6)
    for layer, answers in naive.items():
        for pair, (tokens, _) in zip(counting, answers, strict=True):
            text = processor.tokenizer.decode(tokens, skip_special_tokens=True).strip()
            assert records[pair.id, sweep.HIDDEN_STATE_AT_LAYER, layer]["response"] == text


@pytest.mark.parametrize("memory_mb", [1, 3])
def test_a_sweep_does_not_depend_on_the_batch(loaded, counting, sums, tmp_path, memory_mb, capsys):
    def by_label(records):
        return {(r["id"], r.get("mode"), r["layer"]): r["response"] for r in records}

    large = by_label(swap_sweep(loaded, counting, tmp_path)), by_label(skip_sweep(loaded, sums, tmp_path))
    assert capsys.readouterr().out.count("5 of 5") == 2
    small = (
        by_label(swap_sweep(loaded, counting, tmp_path, memory_mb=memory_mb)),
        by_label(skip_sweep(loaded, sums, tmp_path, memory_mb=memory_mb)),
    )
    assert "1 of 5" in capsys.readouterr().out or memory_mb > 1
    assert small == large


def test_a_sample_that_fails_stays_in_with_its_reason(loaded, counting, sums, tmp_path):
    (tmp_path / counting[2].source_image).write_bytes(b"no image")
    records = swap_sweep(loaded, counting, tmp_path)
    assert len(records) == 5 * (1 + 2 * 9)
    failed = [record for record in records if record["error"]]
    assert {record["id"] for record in failed} == {counting[2].id}
    assert len(failed) == 1 + 2 * 9
    assert all(record["response"] is None and "image cannot be opened" in record["error"] for record in failed)

    sums[1] = Example("seen", "text_math", "1+1=?", "2", "number", image="nowhere.png")
    records = skip_sweep(loaded, sums, tmp_path)
    assert len(records) == 5 * (1 + 9)
    assert {record["id"] for record in records if record["error"]} == {"seen"}


def test_out_of_memory_halves_the_batch_and_goes_on(loaded, sums, tmp_path, monkeypatch, capsys):
    expected = skip_sweep(loaded, sums, tmp_path)
    original, sizes = sweep.skip, []

    def small(decoder, inputs, *arguments):
        sizes.append(len(inputs["input_ids"]))
        if sizes[-1] > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return original(decoder, inputs, *arguments)

    monkeypatch.setattr(sweep, "skip", small)
    assert skip_sweep(loaded, sums, tmp_path) == expected
    assert sizes == [5, 2, 2, 1]
    assert "a batch of 5 failed (CUDA out of memory)" in capsys.readouterr().out


def test_one_bad_sample_costs_only_itself_and_a_broken_model_is_an_error(loaded, sums, tmp_path, monkeypatch):
    original, broken = sweep.skip, []

    def fail(decoder, inputs, *arguments):
        if broken or len(inputs["input_ids"]) > 1 or "1111=?" in loaded[1].tokenizer.decode(inputs["input_ids"][0]):
            raise RuntimeError("device-side assert")
        return original(decoder, inputs, *arguments)

    monkeypatch.setattr(sweep, "skip", fail)
    records = skip_sweep(loaded, sums, tmp_path)
    failed = {record["id"] for record in records if record["error"] == "device-side assert"}
    assert failed == {"e3", "e4"}  # 3+1111 and 4+11111
    assert len(records) == 5 * 10
    broken.append(True)
    with pytest.raises(RuntimeError, match="device-side assert"):
        skip_sweep(loaded, sums, tmp_path)


def test_a_source_of_another_size_is_resized_or_interpolated(loaded, counting, tmp_path):
    image = open_image(tmp_path / counting[0].source_image)
    image.resize((image.width // 2, image.height)).save(tmp_path / counting[0].source_image)
    for unequal, modes in (("resize", BOTH), ("interpolate", BOTH[:1])):
        records = swap_sweep(loaded, counting, tmp_path, unequal=unequal, modes=modes)
        assert not any(record["error"] for record in records)
        resized = {record["id"] for record in records if record["resized"]}
        assert resized == ({counting[0].id} if unequal == "resize" else set())
    with pytest.raises(InputError, match="interpolate: only for hidden_state_at_layer"):
        swap_sweep(loaded, counting, tmp_path, unequal="interpolate")


def test_greedy_generation_does_not_depend_on_padding(loaded):
    model, processor = loaded
    scene = world.random_scene(random.Random(3), "train", 2).draw()
    asked = [Prompt("1+1=?"), Prompt("how many red shapes are there?", scene), Prompt("x" * 60, scene, "think first.")]
    alone = [generate(model, processor, [prompt], 8)[0] for prompt in asked]
    assert alone == generate(model, processor, asked, 8)


def test_a_checkpoints_own_penalty_has_no_say(loaded):
    """Qwen2.5-VL ships a repetition penalty, which transformers would apply to greedy decoding."""
    model, processor = loaded
    before = generate(model, processor, [Prompt("1+1=?")], 8)
    model.generation_config.repetition_penalty = 9.0
    try:
        assert generate(model, processor, [Prompt("1+1=?")], 8) == before
    finally:
        model.generation_config.repetition_penalty = None


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"no real data at {SHARED}")
@pytest.mark.parametrize("function", ["recognition", "ocr", "grounding", "counting"])
def test_published_pairs_run(loaded, function):
    folder = SHARED / "probe_pairs" / function
    pairs = read_pairs(folder / "data.jsonl")
    assert len(pairs) == 25
    assert all("<image>" not in pair.prompt for pair in pairs)
    # Three of the published OCR pairs print the same word twice: a swap cannot change their answer.
    same = [pair for pair in pairs if pair.answer("target") == pair.answer("source")]
    assert len(same) == (3 if function == "ocr" else 0)
    records = swap_sweep(loaded, pairs[:2], folder, max_new_tokens=2)
    assert len(records) == 2 * (1 + 2 * 9)
    assert not any(record["error"] for record in records)
    # Boxes are answered in pixels of the resized image, which the tiny checkpoint's processor keeps at 112 x 112 or less.
    by_id = {pair.id: pair for pair in pairs}
    for record in records:
        image = open_image(folder / by_id[record["id"]].target_image)
        sides = [side / factor for side, factor in zip(image.size, record["to_canvas"], strict=True)]
        assert all(side % 28 == pytest.approx(0) for side in sides)
        assert sides[0] * sides[1] <= 112 * 112


def test_other_failures_cost_a_sample_too(loaded, counting, tmp_path, capsys):
    """The processor refuses an image that is 300 times as wide as high; a prompt holds a vision token of its own."""
    open_image(tmp_path / counting[1].target_image).resize((8400, 28)).save(tmp_path / counting[1].target_image)
    counting[3] = Pair(**{**vars(counting[3]), "prompt": "what is <|image_pad|>?"})
    failed = {record["id"]: record["error"] for record in swap_sweep(loaded, counting, tmp_path) if record["error"]}
    assert set(failed) == {counting[1].id, counting[3].id}
    assert "aspect ratio" in failed[counting[1].id]
    assert "5 of 5, 2 failed" in capsys.readouterr().out


def test_a_shard_of_one_records_its_failure_and_one_of_many_that_all_fail_is_an_error(loaded, counting, tmp_path):
    assert all(record["error"] for record in swap_sweep(loaded, counting[:1], tmp_path / "nowhere"))
    with pytest.raises(InputError, match="image cannot be opened"):
        swap_sweep(loaded, counting, tmp_path / "nowhere")


def test_batches_are_whole_again_after_a_failure(loaded, sums, tmp_path, monkeypatch):
    """A batch that fails is run one by one; the next ones are not."""
    original, sizes = sweep.skip, []

    def fail(decoder, inputs, *arguments):
        sizes.append(len(inputs["input_ids"]))
        if "1+1=?" in "".join(loaded[1].tokenizer.batch_decode(inputs["input_ids"])):
            raise RuntimeError("no")
        return original(decoder, inputs, *arguments)

    monkeypatch.setattr(sweep, "skip", fail)
    many = [Example(f"s{i}", "text_math", f"{i}+{i}=?", "0", "number") for i in range(9)]
    monkeypatch.setattr(batches, "memory", lambda decoder, sizes: len(sizes) * 1_000_000)
    records = skip_sweep(loaded, many, tmp_path, memory_mb=3)
    assert {record["id"] for record in records if record["error"]} == {"s1"}
    assert sizes == [3, 1, 1, 1, 3, 3]
