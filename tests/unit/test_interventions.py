import random

import pytest
import torch
from conftest import SHARED

from frankenstein import anatomy, interventions
from frankenstein.generation import Prompt, encode, generate
from frankenstein.mini import benchmarks, world
from frankenstein.tasks import Example, read_pairs


@pytest.fixture
def pair():
    rng = random.Random(1)
    return world.probe_pair(rng, "grounding")


def prompts(pair, n=1):
    texts = ["where is the red circle?", "is there a shape?", "describe the cells."][:n]
    return [[Prompt(text, scene.draw()) for text in texts] for scene in pair]


def prefill(model, inputs):
    with torch.inference_mode():
        return model(**inputs, use_cache=True)


@pytest.mark.parametrize("layer", range(9))
def test_swapping_hidden_states_is_swapping_the_cache_from_there_on(loaded, pair, layer):
    """Section 4a of the specification: with an equal prefix and grid the two are one computation."""
    model, processor = loaded
    target, source = (encode(processor, side) for side in prompts(pair))
    mask = anatomy.vision_mask(model, target["input_ids"])
    states = interventions.vision_states(model, source)
    with interventions.swapped(model, layer, states[layer], mask):
        swapped = prefill(model, target)
    plain, other = prefill(model, target), prefill(model, source)
    span = mask[0].nonzero()[:, 0]
    after = span[-1] + 1
    for index, cache in enumerate(swapped.past_key_values.layers):
        expected = other if index >= layer else plain
        for kind in ("keys", "values"):
            torch.testing.assert_close(
                getattr(cache, kind)[:, :, span],
                getattr(expected.past_key_values.layers[index], kind)[:, :, span],
                rtol=1e-4,
                atol=1e-5,
            )
        # The text after the image differs from both runs once it has read the swapped tokens.
        if index > layer:
            assert not torch.allclose(cache.keys[:, :, after:], plain.past_key_values.layers[index].keys[:, :, after:])
    assert not torch.allclose(swapped.logits[:, -1], plain.logits[:, -1])


def test_swapping_at_the_first_layer_answers_as_the_source(loaded, pair):
    model, processor = loaded
    target, source = prompts(pair, 3)
    inputs = encode(processor, target)
    states = interventions.vision_states(model, encode(processor, source))
    with interventions.swapped(model, 0, states[0], anatomy.vision_mask(model, inputs["input_ids"])):
        logits = prefill(model, inputs).logits[:, -1]
    torch.testing.assert_close(logits, prefill(model, encode(processor, source)).logits[:, -1], rtol=1e-4, atol=1e-5)


def test_the_cache_is_equally_long_at_every_layer_after_decoding(loaded, pair):
    """Defect 1 of the public scripts: the swap ran in decoding too, and the cache grew."""
    model, processor = loaded
    target, source = (encode(processor, side) for side in prompts(pair))
    states = interventions.vision_states(model, source)
    with interventions.swapped(model, 4, states[4], anatomy.vision_mask(model, target["input_ids"])):
        output = model.generate(
            **target, max_new_tokens=5, min_new_tokens=5, return_dict_in_generate=True, do_sample=False
        )
    lengths = {layer.keys.shape[2] for layer in output.past_key_values.layers}
    assert lengths == {target["input_ids"].shape[1] + 4}


def test_hooks_are_removed_on_error(loaded, pair):
    model, processor = loaded
    inputs = encode(processor, prompts(pair)[0])
    before = prefill(model, inputs).logits

    def hooks():  # transformers keeps some of its own
        layers = anatomy.decoder_layers(model)
        return [(len(layer._forward_pre_hooks), len(layer._forward_hooks)) for layer in layers]

    standing = hooks()
    wrong = torch.zeros(1, 3, dtype=torch.bool)
    with (
        pytest.raises(ValueError, match="layer 2: prefill of"),
        interventions.swapped(model, 2, torch.zeros(0, 64), wrong),
    ):
        prefill(model, inputs)
    assert hooks() == standing
    assert torch.equal(prefill(model, inputs).logits, before)


@pytest.mark.parametrize("layer", [0, 4, 8])
def test_skipping_a_layer_is_leaving_it_out(loaded, layer):
    """Against the obvious twin: a model without that layer's contribution."""
    model, processor = loaded
    inputs = encode(processor, [Prompt("1+2=?"), Prompt("what is 3+4+5=?")])
    with interventions.skipped(model, layer):
        skipped = prefill(model, inputs).logits
    module = anatomy.decoder_layers(model)[layer]
    outputs = (module.self_attn.o_proj.weight, module.mlp.down_proj.weight)
    saved = [weight.detach().clone() for weight in outputs]
    try:
        with torch.no_grad():
            for weight in outputs:
                weight.zero_()
        torch.testing.assert_close(skipped[:, -1], prefill(model, inputs).logits[:, -1])
    finally:
        with torch.no_grad():
            for weight, value in zip(outputs, saved, strict=True):
                weight.copy_(value)


def test_a_sweep_does_not_depend_on_the_batch(loaded, tmp_path):
    model, processor = loaded
    benchmarks.write_pairs("counting", tmp_path / "counting.jsonl", tmp_path / "counting", n=5, seed=1)
    pairs = read_pairs(tmp_path / "counting.jsonl")
    by_batch = []
    for batch in (1, 5):
        records = interventions.swap_sweep(model, processor, pairs, tmp_path, "", batch, 6)
        by_batch.append({(record["id"], record["layer"]): record["response"] for record in records})
    assert len(by_batch[0]) == 5 * 10
    assert by_batch[0] == by_batch[1]


def test_a_layer_that_fails_is_counted_and_the_sweep_goes_on(loaded):
    model, processor = loaded
    examples = [Example(f"e{i}", "text_math", f"{i}+1=?", str(i + 1), "number") for i in range(3)]

    def fail(module, args):
        raise RuntimeError("out of memory")

    original = interventions.skipped
    handle = []

    def failing(model, layer):
        if layer == 5:
            handle.append(anatomy.decoder_layers(model)[0].register_forward_pre_hook(fail))
        elif handle:
            handle.pop().remove()
        return original(model, layer)

    interventions.skipped = failing
    try:
        records = list(interventions.skip_sweep(model, processor, examples, "", 8, 4))
    finally:
        interventions.skipped = original
    assert len(records) == 3 * 10
    failed = [record for record in records if record["error"]]
    assert {record["layer"] for record in failed} == {5}
    assert all(record["response"] is None for record in failed)
    assert "layer 5: out of memory" in failed[0]["error"]


def test_greedy_generation_does_not_depend_on_padding(loaded):
    model, processor = loaded
    scene = world.random_scene(random.Random(3), "train", 2).draw()
    asked = [Prompt("1+1=?"), Prompt("how many red shapes are there?", scene), Prompt("x" * 60, scene, "think first.")]
    alone = [generate(model, processor, [prompt], 8)[0] for prompt in asked]
    assert alone == generate(model, processor, asked, 8)


@pytest.mark.skipif(not SHARED.is_dir(), reason=f"no real data at {SHARED}")
@pytest.mark.parametrize("function", ["recognition", "ocr", "grounding", "counting"])
def test_published_pairs_run(loaded, function):
    model, processor = loaded
    folder = SHARED / "probe_pairs" / function
    pairs = read_pairs(folder / "data.jsonl")
    assert len(pairs) == 25
    assert all("<image>" not in pair.prompt for pair in pairs)
    # Three of the published OCR pairs print the same word twice: a swap cannot change their answer.
    same = [pair for pair in pairs if pair.answer("target") == pair.answer("source")]
    assert len(same) == (3 if function == "ocr" else 0)
    records = list(interventions.swap_sweep(model, processor, pairs[:2], folder, "", 2, 2))
    assert len(records) == 2 * 10
    assert not any(record["error"] for record in records)
