"""The sweep engine against its naive twin: hooks, one layer at a time, transformers' own generate."""

import types

import families
import naive_sweep
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from families import LAYERS, batch, image, text
from hypothesis import given, settings
from hypothesis import strategies as st

from frankenstein.core.errors import InputError
from frankenstein.probes import sweep
from frankenstein.probes.decoder import Decoder
from frankenstein.probes.sweep import HIDDEN_STATE_AT_LAYER, KV_AT_LAYER_ONLY, KV_FROM_LAYER, MODES

SINGLES = [range(layer, layer + 1) for layer in range(LAYERS)]


@pytest.fixture(scope="module")
def models():
    return {family: families.build(family) for family in families.FAMILIES}


@pytest.fixture(params=families.FAMILIES)
def model(models, request):
    model = models[request.param]
    model.generation_config.eos_token_id = families.EOS
    return model


@pytest.fixture
def qwen(models):
    model = models["qwen2_5_vl"]
    model.generation_config.eos_token_id = families.EOS
    return model


def same(answer, twin, tolerance=1e-4):
    """Equal tokens, first logits within the tolerance."""
    tokens, logits = twin
    torch.testing.assert_close(answer.logits, logits, rtol=0, atol=tolerance)
    assert answer.tokens == tokens


@torch.inference_mode()
def check_swap(model, targets, sources, new_tokens, modes=MODES, image=None, singly=None):
    """Every mode, layer and example against the twin. singly: the same prompts one by one, for the twin of kv modes."""
    answers = sweep.swap(Decoder(model), targets, sources, list(modes), new_tokens, image=image)
    for made, twin in zip(answers, naive_sweep.generate(model, targets, new_tokens), strict=True):
        same(made["none", -1], twin)
    if HIDDEN_STATE_AT_LAYER in modes:
        for layer, twins in naive_sweep.swap(model, targets, sources, image or 0, new_tokens).items():
            for made, twin in zip(answers, twins, strict=True):
                same(made[HIDDEN_STATE_AT_LAYER, layer], twin)
    for mode in {KV_FROM_LAYER, KV_AT_LAYER_ONLY} & set(modes):
        for made, (target, source) in zip(answers, singly or [(targets, sources)], strict=True):
            for layer in range(LAYERS):
                layers = range(layer, LAYERS) if mode == KV_FROM_LAYER else [layer]
                same(made[mode, layer], naive_sweep.swap_cache(model, target, source, layers, new_tokens, image or 0))
    return answers


@torch.inference_mode()
def check_skip(model, inputs, ranges, new_tokens):
    answers = sweep.skip(Decoder(model), inputs, ranges, new_tokens)
    for number, layers in enumerate([[], *ranges]):
        for made, twin in zip(answers, naive_sweep.skip(model, inputs, layers, new_tokens), strict=True):
            same(made[number], twin)
    return answers


def pair(model, before=4, after=5, seed=1):
    prompts = [[*text(before, 8), image(s), *text(after, 9)] for s in (seed, seed + 1)]
    return tuple(batch(model, [prompt]) for prompt in prompts)


def test_swap(model):
    answers = check_swap(model, *pair(model), 8)[0]
    # The sweep is of something: swapping everywhere changes the answer, and rows part from each other.
    assert len({tuple(answer.tokens) for answer in answers.values()}) > 3


def test_skip(model):
    answers = check_skip(model, pair(model)[0], SINGLES, 8)[0]
    assert len({tuple(answer.tokens) for answer in answers}) > 3


def test_skipping_a_range_of_layers(model):
    check_skip(model, pair(model)[0], [range(0, 2), range(2, 4), range(3, 6), range(0, 6)], 6)


def test_hidden_states_at_a_layer_are_the_sources_cache_from_there_on(model):
    """Section 4a: one computation where the prefix and the grid are equal; DeepStack parts them, below its last layer."""
    answers = sweep.swap(Decoder(model), *pair(model), list(MODES), 4)[0]
    deepstack = 2 if model.config.model_type == "qwen3_vl" else 0
    for layer in range(LAYERS):
        apart = (answers[HIDDEN_STATE_AT_LAYER, layer].logits - answers[KV_FROM_LAYER, layer].logits).abs().max()
        assert bool(apart > 1e-2) == (layer < deepstack)


def test_the_two_ways_of_swapping_hidden_states_agree(model, monkeypatch):
    """The short way (caches) and the long one (vision tokens run on), each by the engine."""
    short = sweep.swap(Decoder(model), *pair(model), [HIDDEN_STATE_AT_LAYER], 6)[0]
    monkeypatch.setattr(sweep._Pair, "alike", False)
    long = sweep.swap(Decoder(model), *pair(model), [HIDDEN_STATE_AT_LAYER], 6)[0]
    for label in short:
        same(short[label], (long[label].tokens, long[label].logits))


@pytest.mark.slow
@pytest.mark.parametrize("side", ["left", "right"])
def test_many_examples_of_different_lengths_and_image_sizes(model, side):
    """Padded on either side; the twin pads on the left, as generation has to."""
    grids = [(2, 3), (1, 2), (3, 3)]
    prompts = [
        [[*text(before, 8), image(seed + i, grid), *text(after, 9)] for seed in (1, 11)]
        for i, (before, after, grid) in enumerate(zip((4, 0, 7), (5, 9, 2), grids, strict=True))
    ]
    targets, sources = (batch(model, [p[k] for p in prompts]) for k in (0, 1))
    singly = [tuple(batch(model, [p[k]]) for k in (0, 1)) for p in prompts]
    answers = check_swap(model, targets, sources, 8, singly=singly)
    check_skip(model, targets, SINGLES, 8)
    again = sweep.swap(Decoder(model), *(batch(model, [p[k] for p in prompts], side) for k in (0, 1)), list(MODES), 8)
    for made, other in zip(answers, again, strict=True):
        for label, answer in made.items():
            same(answer, (other[label].tokens, other[label].logits))


def test_text_alone_can_be_skipped(qwen):
    check_skip(qwen, batch(qwen, [text(4, 1), text(9, 2), text(1, 3)]), SINGLES, 6)


@pytest.mark.parametrize("number", [0, 1])
def test_several_images_and_the_named_one_is_swapped(models, number):
    for family in ("qwen2_5_vl", "qwen3_vl"):
        model = models[family]
        shown = [[3, 4], [3, 4]]
        shown[1][number] = 5
        targets, sources = (
            batch(model, [[*text(2, 1), image(a), *text(1, 2), image(b, (1, 2)), *text(3, 3)]]) for a, b in shown
        )
        # The twin of the kv modes knows no image after the swapped one.
        check_swap(model, targets, sources, 5, image=number, modes=MODES if number else [HIDDEN_STATE_AT_LAYER])
        made = sweep.swap(Decoder(model), targets, sources, list(MODES), 5, image=number)[0]
        for layer in range(2, LAYERS):  # from the last DeepStack layer on
            torch.testing.assert_close(made[KV_FROM_LAYER, layer].logits, made[HIDDEN_STATE_AT_LAYER, layer].logits)


def test_an_earlier_image_that_differs_is_no_equal_prefix(qwen):
    """The ids are equal; only the features tell. The long way is taken, and is exact."""
    targets, sources = (batch(qwen, [[image(s), *text(1, 2), image(s + 1), *text(3, 3)]]) for s in (1, 5))
    check_swap(qwen, targets, sources, 5, image=1)


def test_padding_that_differs_between_the_sides(model):
    """LLaVA's forward pass counts positions over the padding too: source and target would be rotated apart."""
    first = [[[*text(2, 1), image(s), *text(3, 2)]] for s in (1, 2)]
    prompts = [first[0] + [[*text(1, 3), image(3), *text(2, 4)]], first[1] + [[*text(9, 5), image(4), *text(2, 4)]]]
    targets, sources = (batch(model, side) for side in prompts)
    singly = [tuple(batch(model, [side[i]]) for side in prompts) for i in range(2)]
    made = check_swap(model, targets, sources, 5, modes=MODES[1:], singly=singly)
    alone = sweep.swap(Decoder(model), *singly[0], list(MODES), 5)[0]
    for label in made[0]:
        same(made[0][label], (alone[label].tokens, alone[label].logits))


def test_different_earlier_images_of_small_features_are_told_apart():
    """In bfloat16, with a vision tower that says little: the inputs decide, not a tolerance."""
    model = families.build("qwen2_5_vl", torch.bfloat16)
    with torch.no_grad():
        model.model.visual.merger.mlp[2].weight.mul_(0.01)
    prompts = [decoder_prompt(model, [image(s), *text(1, 2), image(s + 1), *text(3, 3)]) for s in (1, 5)]
    again = decoder_prompt(model, [image(1), *text(1, 2), image(9), *text(3, 3)])
    for other, alike in ((prompts[1], False), (again, True)):
        assert sweep._Pair.of(Decoder(model), 0, prompts[0], other, 1).alike is alike


def decoder_prompt(model, prompt):
    return Decoder(model).embed(batch(model, [prompt]))[0]


def test_unequal_prefixes(model):
    """Hidden states are replaced as they are; keys and values come with the source's own positions."""
    target = batch(model, [[*text(3, 1), image(1), *text(4, 2)]])
    source = batch(model, [[*text(6, 3), image(2), *text(2, 4)]])
    check_swap(model, target, source, 6)


def test_a_prompt_that_ends_with_the_image(models):
    """Right after the end-of-image token, and (LLaVA has none) with the last vision token itself."""
    for family in ("qwen2_5_vl", "qwen3_vl"):
        check_swap(models[family], *(batch(models[family], [[*text(3, 1), image(s)]]) for s in (1, 2)), 6)
    model = models["llava_onevision"]
    prompts = [batch(model, [[*text(3, 1), image(s)]]) for s in (1, 2)]
    check_swap(model, *prompts, 6, modes=[HIDDEN_STATE_AT_LAYER])
    with pytest.raises(InputError, match="pair 0: no text follows the image"):
        sweep.swap(Decoder(model), *prompts, [KV_FROM_LAYER], 6)


@pytest.mark.parametrize("new_tokens", [1, 2, 12])
def test_ends_at_different_steps(model, new_tokens):
    """Any of a third of the vocabulary ends a response: rows end at different steps, some at once."""
    prompts = [[[*text(3, 1 + i), image(s + i), *text(4, 2)] for s in (1, 21)] for i in range(3)]
    targets, sources = (batch(model, [p[k] for p in prompts]) for k in (0, 1))
    singly = [tuple(batch(model, [p[k]]) for k in (0, 1)) for p in prompts]
    model.generation_config.eos_token_id = list(range(1, 300, 6))
    answers = check_swap(model, targets, sources, new_tokens, singly=singly)
    skipped = check_skip(model, targets, SINGLES, new_tokens)
    ended = {len(answer.tokens) for made in answers for answer in made.values()}
    ended |= {len(answer.tokens) for made in skipped for answer in made}
    assert new_tokens < 12 or len(ended) > 4
    for made in skipped:
        for answer in made:
            assert answer.truncated == (len(answer.tokens) == new_tokens)


@pytest.mark.slow
@settings(max_examples=20, deadline=None)
@given(
    shapes=st.lists(
        st.tuples(st.integers(0, 5), st.sampled_from([(1, 1), (1, 2), (2, 3)]), st.integers(1, 6)),
        min_size=1,
        max_size=4,
    ),
    new_tokens=st.integers(1, 6),
    skipped=st.lists(st.tuples(st.integers(0, LAYERS - 1), st.integers(1, LAYERS)), max_size=4),
    ends=st.integers(2, 60),
    seed=st.integers(0, 999),
)
def test_any_batch(models, shapes, new_tokens, skipped, ends, seed):
    model = models["qwen2_5_vl"]
    model.generation_config.eos_token_id = list(range(1, 300, ends))
    prompts = [
        [[*text(before, seed), image(seed + k, grid), *text(after, seed + 1)] for k in (0, 1000)]
        for before, grid, after in shapes
    ]
    targets, sources = (batch(model, [p[k] for p in prompts]) for k in (0, 1))
    check_swap(
        model, targets, sources, new_tokens, singly=[tuple(batch(model, [p[k]]) for k in (0, 1)) for p in prompts]
    )
    check_skip(model, targets, [range(a, min(a + n, LAYERS)) for a, n in skipped], new_tokens)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_decoding_is_as_exact_as_fused_attention(dtype):
    """One token per state over 2,000 keys whose scores are large: the error against float64, beside torch's own fused attention."""
    torch.manual_seed(0)
    heads, kv_heads, tokens, d = 8, 2, 2000, 64
    query = (6 * torch.randn(3, heads, 1, d)).to(dtype)
    keys, values = (torch.randn(3, kv_heads, tokens, d).to(dtype) for _ in range(2))
    exact = torch.nn.functional.scaled_dot_product_attention(
        *(part.double() for part in (query, keys, values)), enable_gqa=True
    )
    fused = torch.nn.functional.scaled_dot_product_attention(query, keys, values, enable_gqa=True)
    plain = types.SimpleNamespace(kinds=[0])
    state = types.SimpleNamespace(
        keys=[keys], values=[values], padded=False, before=None, decoder=plain, hidden_own=[None]
    )
    ours = sweep._BatchedSweep._attend_one(state, 0, None, query, d**-0.5, tokens, 0)
    errors = [float((made.double() - exact).norm() / exact.norm()) for made in (ours, fused)]
    assert errors[0] <= 1.5 * errors[1]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(dtype):
    """Logits within 5 % of their spread; a token that differs is a near tie, and few do (of up to 4 a row)."""
    model = families.build("qwen2_5_vl", dtype)
    prompts = [[[*text(3, i), image(s + i), *text(5, i + 50)] for s in (1, 101)] for i in range(8)]
    targets, sources = (batch(model, [p[k] for p in prompts]) for k in (0, 1))
    with torch.inference_mode():
        swapped = sweep.swap(Decoder(model), targets, sources, [HIDDEN_STATE_AT_LAYER], 4)
        skipped = sweep.skip(Decoder(model), targets, SINGLES, 4)
        naive = naive_sweep.swap(model, targets, sources, 0, 4, every=True)
        naive_skip = [naive_sweep.skip(model, targets, [layer], 4, every=True) for layer in range(LAYERS)]
    rows = [
        (made[HIDDEN_STATE_AT_LAYER, layer], twin)
        for layer, twins in naive.items()
        for made, twin in zip(swapped, twins, strict=True)
    ]
    rows += [
        (made[1 + i], twin) for i, twins in enumerate(naive_skip) for made, twin in zip(skipped, twins, strict=True)
    ]
    flips = 0
    for answer, (tokens, logits) in rows:
        spread = float(logits[0].max() - logits[0].min())
        torch.testing.assert_close(answer.logits, logits[0], rtol=0, atol=0.05 * spread)
        pairs = zip([*answer.tokens, families.EOS], [*tokens, families.EOS], logits, strict=False)
        for ours, theirs, here in pairs:
            if ours != theirs:
                flips += 1
                assert float(here[theirs] - here[ours]) <= 0.1 * spread
                break  # what follows answers to another history
    assert flips <= len(rows) // 10


def test_what_is_decoded_leaves_the_image_alone(qwen, monkeypatch):
    """Defect 1 of the public scripts: the swap ran in decoding too, and the cache grew by the image a token.

    A step reads the image's cache as prefill left it, and writes one token of its own rows' and nothing else.
    """
    original, held = sweep._BatchedSweep._step, []

    def watched(wave, tokens, step):
        before = [[part.clone() for part in (*cache, wave.keys[j])] for j, cache in enumerate(wave.before.caches)]
        hidden = original(wave, tokens, step)
        for j, (keys, values, own) in enumerate(before):
            assert torch.equal(keys, wave.before.caches[j][0])
            assert torch.equal(values, wave.before.caches[j][1])
            written = (own != wave.keys[j]).any(-1).any(1)
            assert not written[:, : wave.width + step].any()
            assert written[:, wave.width + step].all()
        held.append(wave.keys[0].shape[2])
        return hidden

    monkeypatch.setattr(sweep._BatchedSweep, "_step", watched)
    sweep.swap(Decoder(qwen), *pair(qwen), [KV_FROM_LAYER], 6)
    assert held == [1 + 5 + 6 - 1] * 5  # the suffix and all new tokens but the last: no vision token


def test_a_sweep_leaves_the_model_as_it_was(qwen):
    target, source = pair(qwen)
    first = naive_sweep.generate(qwen, target, 5)[0]
    linear = qwen.model.language_model.layers[0].mlp.up_proj
    sweep.swap(Decoder(qwen), target, source, list(MODES), 5)
    sweep.skip(Decoder(qwen), target, SINGLES, 5)
    with pytest.raises(InputError):
        sweep.skip(Decoder(qwen), target, [range(9, 10)], 5)
    assert "forward" not in vars(linear)
    other = qwen.model.language_model.layers[1].mlp.up_proj
    wrapped = other.forward = lambda hidden: torch.nn.functional.linear(hidden, other.weight)
    sweep.skip(Decoder(qwen), target, SINGLES, 3)
    assert vars(other).pop("forward") is wrapped
    assert qwen.model.language_model.config._attn_implementation == "sdpa"
    tokens, logits = naive_sweep.generate(qwen, target, 5)[0]
    assert tokens == first[0]
    assert torch.equal(logits, first[1])


@pytest.mark.parametrize("grid", [(4, 2), (3, 2)])
def test_unequal_grids(qwen, grid):
    """More tokens, and as many in another arrangement."""
    target = batch(qwen, [[*text(3, 1), image(1, (2, 3)), *text(4, 2)]])
    source = batch(qwen, [[*text(3, 1), image(2, grid), *text(4, 2)]])
    says = rf"6 vision tokens in the target \(\(2, 3\)\), {grid[0] * grid[1]} in the source \(.*resize"
    with pytest.raises(InputError, match=says):
        sweep.swap(Decoder(qwen), target, source, [HIDDEN_STATE_AT_LAYER], 4)
    with pytest.raises(InputError, match="resize"):
        sweep.swap(Decoder(qwen), target, source, [KV_FROM_LAYER], 4, interpolate=True)
    made = sweep.swap(Decoder(qwen), target, source, [HIDDEN_STATE_AT_LAYER], 4, interpolate=True)[0]

    def to_target(states):
        image = states.T.reshape(1, -1, *grid)
        return F.interpolate(image, size=(2, 3), mode="bilinear").reshape(states.shape[1], -1).T

    with torch.inference_mode():
        for layer, twins in naive_sweep.swap(qwen, target, source, 0, 4, change=to_target).items():
            same(made[HIDDEN_STATE_AT_LAYER, layer], twins[0])


def test_bad_input(qwen):
    decoder, (target, source) = Decoder(qwen), pair(qwen)
    without = batch(qwen, [text(5, 1)])
    both = batch(qwen, [[image(1), *text(2, 1)], [image(2), *text(2, 1)]])
    for message, call in {
        "target 0: no vision token": lambda: sweep.swap(decoder, without, source, [KV_FROM_LAYER], 4),
        "source 0: no vision token": lambda: sweep.swap(decoder, target, without, [KV_FROM_LAYER], 4),
        "target 0: image 1 was requested, but the prompt has 1 images": lambda: sweep.swap(
            decoder, target, source, [KV_FROM_LAYER], 4, image=1
        ),
        "target 0: 2 images in the prompt; say which one": lambda: sweep.swap(
            decoder, *[batch(qwen, [[image(1), 7, image(2), 8]])] * 2, [KV_FROM_LAYER], 4
        ),
        "1 targets but 2 sources": lambda: sweep.swap(decoder, target, both, [KV_FROM_LAYER], 4),
        "mode 'kv': one of": lambda: sweep.swap(decoder, target, source, ["kv"], 4),
        "max_new_tokens is 0": lambda: sweep.swap(decoder, target, source, [KV_FROM_LAYER], 0),
        "layers 5 to 6: this model has layers 0 to 5": lambda: sweep.skip(decoder, target, [range(5, 7)], 4),
    }.items():
        with pytest.raises(InputError, match=message):
            call()


def test_layers_without_keys_and_values_are_refused(qwen):
    kinds = qwen.config.text_config.layer_types
    try:
        qwen.config.text_config.layer_types = ["linear_attention", *kinds[1:]]
        with pytest.raises(InputError, match="qwen2_5_vl: linear_attention layers have no keys and values"):
            Decoder(qwen)
    finally:
        qwen.config.text_config.layer_types = kinds


def test_rows_that_agree_are_computed_once():
    """At layer j of a swap: the unchanged row and those that have parted at layers 0 to j."""
    ops = np.zeros((1 + LAYERS, LAYERS), dtype=int)
    for layer in range(LAYERS):
        ops[1 + layer, layer:] = sweep.SOURCE
    rows = np.arange(1 + LAYERS)
    layers, state = sweep._plan(ops, rows * 0, rows, rows * 0, 2, ["cpu"] * LAYERS)
    assert [len(layer.parents) for layer in layers] == [j + 2 for j in range(LAYERS)]
    assert sorted(state.tolist()) == rows.tolist()
    # After different tokens nothing is shared; after equal ones all is, as in prefill.
    apart, _ = sweep._plan(ops, rows * 0, rows, rows, 2, ["cpu"] * LAYERS)
    assert [len(layer.parents) for layer in apart] == [1 + LAYERS] * LAYERS
