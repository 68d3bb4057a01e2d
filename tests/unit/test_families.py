"""Checkpoints of every family from disk, as a user would take them: loading, prompts, generation, limits in pixels."""

import copy
import functools
import re
import shutil

import naive_sweep
import numpy as np
import pytest
import torch
from families import CHECKPOINTS, LAYERS, checkpoint
from PIL import Image
from safetensors.torch import load_file, save_file

from frankenstein import cli
from frankenstein.core.errors import InputError
from frankenstein.inference.generation import generate
from frankenstein.inference.prompts import Prompt, encode, tokens_at_most
from frankenstein.merging import hybrids, verification
from frankenstein.models.family import ABILITIES, PROBES, families, family_of
from frankenstein.models.loading import cap_pixels, load_model
from frankenstein.models.weights import Weights
from frankenstein.probes import attention, decoder, sweep
from frankenstein.probes.decoder import Decoder
from frankenstein.training import grpo
from frankenstein.training.sft import RLPrompt
from frankenstein.updates import table

SEEING = [family for family in CHECKPOINTS if family != "gemma3_text"]
SYSTEM = "Think."
NEW = 6


def noise(width: int, height: int, seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


PROMPTS = [
    Prompt("How many?", noise(84, 56, 1), SYSTEM),
    Prompt("What color has the largest of the dots?", noise(40, 90, 2), SYSTEM),
    Prompt("Hm", noise(150, 100, 3)),
]


def without_images(prompts):
    return [Prompt(prompt.text, None, prompt.system) for prompt in prompts]


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    """The directory of a family's checkpoint, written when first asked for."""

    @functools.cache
    def of(family):
        if family == "smolvlm":
            pytest.importorskip("num2words", reason="SmolVLM's processor wants num2words, for videos")
        return checkpoint(family, tmp_path_factory.mktemp(family))

    return of


@pytest.fixture(scope="module")
def load(directory):
    return functools.cache(lambda family: load_model(directory(family)))


def by_transformers(processor, prompt) -> dict:
    """Inputs of one prompt as transformers itself makes them from a chat."""
    content = [{"type": "image", "image": prompt.image}] if prompt.image else []
    chat = [{"role": "user", "content": [*content, {"type": "text", "text": prompt.text}]}]
    if prompt.system:
        chat.insert(0, {"role": "system", "content": [{"type": "text", "text": prompt.system}]})
    if not hasattr(processor, "image_processor"):
        chat = [message | {"content": message["content"][0]["text"]} for message in chat]
    made = {"add_generation_prompt": True, "tokenize": True, "return_dict": True, "return_tensors": "pt"}
    return processor.apply_chat_template(chat, **made)


def vision_tokens(model, inputs) -> int:
    return int((inputs["input_ids"] == model.config.image_token_id).sum())


@torch.inference_mode()
def check_inputs(model, processor, prompts) -> list[dict]:
    """A left-padded batch is encoded and read as each of its prompts alone by transformers, whose inputs are returned."""
    inputs, single = encode(processor, prompts), [by_transformers(processor, prompt) for prompt in prompts]
    logits = model(**inputs).logits[:, -1]
    for row, alone in enumerate(single):
        assert torch.equal(inputs["input_ids"][row][inputs["attention_mask"][row].bool()], alone["input_ids"][0])
        assert inputs["attention_mask"][row, -1]
        torch.testing.assert_close(logits[row], model(**alone).logits[0, -1], rtol=0, atol=1e-4)
    return single


@pytest.mark.parametrize("family", SEEING)
def test_a_padded_batch_is_answered_as_each_prompt_alone(load, family):
    model, processor = load(family)
    made = generate(model, processor, PROMPTS, NEW)
    for response, alone in zip(made, check_inputs(model, processor, PROMPTS), strict=True):
        tokens = model.generate(**alone, max_new_tokens=NEW, do_sample=False)[0, alone["input_ids"].shape[1] :].tolist()
        assert response.tokens == (tokens if response.truncated else tokens[:-1])
    assert len({tuple(response.tokens) for response in made}) > 1


@pytest.mark.parametrize("family", CHECKPOINTS)
def test_prompts_without_images(load, family):
    model, processor = load(family)
    prompts = without_images(PROMPTS)
    check_inputs(model, processor, prompts)
    assert generate(model, processor, prompts[1:], 2)[0].tokens == generate(model, processor, prompts[1:2], 2)[0].tokens


@pytest.mark.parametrize("family", SEEING)
def test_prompts_with_and_without_images_in_one_batch(load, family):
    """Mllama's processor indexes the first prompt's images, and its model answers those without one differently."""
    mixed = [*without_images(PROMPTS[:1]), *PROMPTS[1:]]
    if family == "mllama":
        with pytest.raises(InputError, match="with and without an image"):
            encode(load(family)[1], mixed)
    else:
        check_inputs(*load(family), mixed)


@pytest.mark.parametrize("family", SEEING)
def test_the_answer_depends_on_the_image(load, family):
    model, processor = load(family)
    black, seen = (Prompt("How many?", image) for image in (Image.new("RGB", (84, 56)), PROMPTS[0].image))
    with torch.inference_mode():
        logits = model(**encode(processor, [black, seen])).logits[:, -1]
    assert (logits[0] - logits[1]).abs().max() > 0.1


def test_a_text_model_refuses_an_image(load):
    with pytest.raises(InputError, match="takes no images"):
        encode(load("gemma3_text")[1], PROMPTS[:1])


@pytest.mark.parametrize("family", CHECKPOINTS)
def test_a_prompt_begins_once(load, family):
    tokenizer = getattr(processor := load(family)[1], "tokenizer", processor)
    ids = encode(processor, without_images(PROMPTS[:1]))["input_ids"][0].tolist()
    assert ids.count(tokenizer.bos_token_id) == (tokenizer.bos_token_id is not None)


@pytest.mark.parametrize("family", CHECKPOINTS)
def test_the_bound_of_a_prompts_tokens_is_tight(load, family):
    processor = load(family)[1]
    sizes = [None, *((20, 20), (84, 56), (40, 90), (300, 200), (56, 400)) * (family in SEEING)]
    for size in sizes:
        ids = encode(processor, [Prompt("How many?", size and Image.new("RGB", size), SYSTEM)])["input_ids"]
        assert 0 <= tokens_at_most(processor, [("How many?", size)], SYSTEM) - ids.shape[1] <= (size is not None)
    most = tokens_at_most(processor, [("How many?", size) for size in sizes], SYSTEM)
    assert most == max(tokens_at_most(processor, [("How many?", size)], SYSTEM) for size in sizes)


@pytest.mark.parametrize("family", CHECKPOINTS)
@torch.inference_mode()
def test_weights_by_the_names_in_the_files(directory, load, family):
    """As a hybrid's are given, whatever the names in memory; and in the precision that published checkpoints have."""
    model, processor = load(family)
    given, _ = load_model(directory(family), state_dict=load_file(directory(family) / "model.safetensors"))
    prompts = PROMPTS[:2] if family in SEEING else without_images(PROMPTS[:2])
    inputs = encode(processor, prompts)
    torch.testing.assert_close(model.state_dict(), given.state_dict(), rtol=0, atol=0)
    torch.testing.assert_close(model(**inputs).logits, given(**inputs).logits, rtol=0, atol=1e-4)
    assert len(generate(given.to(torch.bfloat16), processor, prompts, 2)) == 2


# Vision tokens of an image of 200 x 200 pixels, before and after this limit.
LIMITS = {
    "qwen2_5_vl": (56 * 56, 16, 4),
    "qwen3_vl": (64 * 64, 9, 4),
    "qwen3_vl_moe": (64 * 64, 9, 4),
    "qwen3_5": (64 * 64, 9, 4),
    "glm4v": (56 * 56, 16, 4),
    "llava_onevision": (28 * 56, 24, 10),
    "llava_next": (28 * 56, 24, 10),
    "internvl": (2 * 56 * 56, 20, 4),
    "smolvlm": (100 * 100, 20, 4),
    "idefics3": (100 * 100, 20, 4),
    "mistral3": (56 * 56, 16, 4),
    "pixtral": (64 * 64, 49, 16),
    "gemma4": (70 * 144, 64, 64),  # its smallest setting already; see below
}


@pytest.mark.parametrize("family", LIMITS)
def test_pixels_are_capped(directory, load, family):
    """The model understands the capped images, and small ones stay as they are."""
    limit, before, after = LIMITS[family]
    large, small = (Prompt("?", noise(side, side, 4)) for side in (200, 28))
    free, capped = load(family), load_model(directory(family), max_pixels=limit)
    for (model, processor), tokens in ((free, before), (capped, after)):
        assert vision_tokens(model, encode(processor, [large])) == tokens
    check_inputs(*capped, [large])  # the model knows as many, or refuses
    if family not in ("smolvlm", "idefics3"):  # which enlarge every image to the limit
        assert torch.equal(*(encode(processor, [small])["pixel_values"] for _, processor in (free, capped)))


def test_gemma4_has_a_few_settings(directory):
    _, processor = load_model(directory("gemma4"))
    processor.image_processor.max_soft_tokens = 1120
    assert cap_pixels(processor, 300 * 144) == {"max_soft_tokens": 280}
    assert encode(processor, [PROMPTS[2]])["input_ids"].shape[1] < 280 + 30
    with pytest.raises(InputError, match="must be one of"):
        cap_pixels(processor, 69 * 144)


@pytest.mark.parametrize(
    ("family", "pixels"), [("gemma3", 112 * 112), ("mllama", 4 * 28 * 28), ("llava_onevision", 28 * 28)]
)
def test_a_limit_that_cannot_be_kept_is_refused(directory, family, pixels):
    _, processor = load_model(directory(family))
    with pytest.raises(InputError, match=f"max_pixels: {pixels - 1} is too few for .*{pixels}"):
        cap_pixels(processor, pixels - 1)
    before = encode(processor, PROMPTS[:1])["input_ids"]
    cap_pixels(processor, pixels)
    assert encode(processor, PROMPTS[:1])["input_ids"].shape[1] <= before.shape[1]


def test_the_hard_cases_are_there(load):
    configs = {family: load(family)[0].config for family in CHECKPOINTS if family != "smolvlm"}
    assert len({getattr(config, "tie_word_embeddings", False) for config in configs.values()}) == 2
    for family in ("gemma3", "gemma3_text", "gemma4"):
        text = configs[family].get_text_config()
        assert {"sliding_attention", "full_attention"} == set(text.layer_types)
        assert text.sliding_window < encode(load(family)[1], without_images(PROMPTS[2:]))["input_ids"].shape[1]
    runs = {}
    for family in SEEING:
        if family in configs:
            seen = encode(load(family)[1], PROMPTS[:1])["input_ids"][0] == configs[family].image_token_id
            runs[family] = int(seen[0]) + int((seen[1:] & ~seen[:-1]).sum())
    assert {family: count for family, count in runs.items() if count > 1} == {
        "idefics3": 5,
        "mistral3": 2,
        "pixtral": 4,
    }


# --- what is done with a family, against the slow, obvious ways ------------------------------------


def refused(family: str, ability: str) -> str | None:
    return family_of(model_type(family)).refused.get(ability)


def model_type(family: str) -> str:
    return {"pixtral": "llava"}.get(family, family)


def able(ability: str, families=SEEING) -> list[str]:
    return [family for family in families if not refused(family, ability)]


def test_the_families_listed_are_those_tested():
    """`frankenstein families` says of each what the tests below prove."""
    assert set(families()) == {model_type(family) for family in SEEING}
    assert all(set(family.refused) <= set(ABILITIES) for family in families().values())


def test_the_command_lists_families_and_tells_of_a_checkpoint(directory, capsys, tmp_path):
    cli.main(["families"])
    said = capsys.readouterr().out
    assert re.search(r"qwen3_vl +generation yes +swap yes", said)
    assert "mllama, swap, skip, attention: images enter by cross-attention layers" in said
    shutil.copy(directory("gemma4") / "config.json", tmp_path)
    cli.main(["families", str(tmp_path)])
    assert re.search(r"gemma4: 6 decoder layers; .*\n.*\n +swap +no: layers read", capsys.readouterr().out)


def asked(processor, seed: int, text_only: bool = False):
    """Two prompts of different lengths in one batch; the seed decides what is seen."""
    images = [None if text_only else noise(84, 56, seed + number) for number in range(2)]
    return [Prompt(text, image) for text, image in zip(("How many red dots?", "Hm"), images, strict=True)]


def check_answers(made: list[sweep.Answer], twins: list) -> None:
    for answer, (tokens, logits) in zip(made, twins, strict=True):
        assert answer.tokens == tokens
        torch.testing.assert_close(answer.logits, logits, rtol=0, atol=1e-4)


@pytest.mark.parametrize("family", able("skip", CHECKPOINTS))
@torch.inference_mode()
def test_skips_are_those_of_hooks(load, family):
    model, processor = load(family)
    inputs = encode(processor, asked(processor, 1, family == "gemma3_text"))
    made = sweep.skip(Decoder(model), inputs, [range(layer, layer + 1) for layer in range(LAYERS)], NEW)
    for layer in range(-1, LAYERS):
        twins = naive_sweep.skip(model, inputs, [layer] if layer >= 0 else [], NEW)
        check_answers([rows[layer + 1] for rows in made], twins)


@pytest.mark.parametrize("family", able("swap"))
@torch.inference_mode()
def test_swaps_are_those_of_hooks_and_of_an_edited_cache(load, family):
    model, processor = load(family)
    targets, sources = (asked(processor, seed) for seed in (1, 11))
    batches = [encode(processor, prompts) for prompts in (targets, sources)]
    made = sweep.swap(Decoder(model), *batches, list(sweep.MODES), NEW)
    for layer, twins in naive_sweep.swap(model, *batches, None, NEW).items():
        check_answers([rows[sweep.HIDDEN_STATE_AT_LAYER, layer] for rows in made], twins)
    for row, pair in enumerate(zip(targets, sources, strict=True)):
        alone = [encode(processor, [prompt]) for prompt in pair]
        for mode, first, last in ((sweep.KV_FROM_LAYER, 2, LAYERS), (sweep.KV_AT_LAYER_ONLY, 2, 3)):
            twin = naive_sweep.swap_cache(model, *alone, range(first, last), NEW, None)
            check_answers([made[row][mode, first]], [twin])
        own, other = made[row][sweep.NONE, -1].logits, made[row][sweep.HIDDEN_STATE_AT_LAYER, 1].logits
        assert (own - other).abs().max() > 1e-2


@torch.inference_mode()
def test_a_family_without_tests_is_proved_before_it_is_believed(load, monkeypatch):
    """As if InternVL had no file, and did something to its logits that the engine does not."""
    model, processor = load("internvl")
    monkeypatch.setattr(sweep, "families", dict)
    inputs = encode(processor, asked(processor, 1))
    known = Decoder(model)
    assert sweep.skip(known, inputs, [range(1)], 1)
    assert known.proved
    unknown = Decoder(model)
    monkeypatch.setattr(unknown, "finish", lambda hidden: known.finish(hidden) * 1.01)
    with pytest.raises(InputError, match="internvl: without any intervention"):
        sweep.skip(unknown, inputs, [range(1)], 1)


@pytest.mark.parametrize("family", able("attention"))
def test_attention_is_that_of_output_attentions(directory, family):
    model, processor = load_model(directory(family))
    inputs = encode(processor, PROMPTS[:2])
    keys, width = naive_sweep.image_mask(model, inputs), inputs["input_ids"].shape[1]
    reasoning = [torch.arange(width - 3, width)] * 2
    found = attention.masses(Decoder(model), inputs, reasoning, keys)
    twins = naive_sweep.attention_weights(model, inputs, reasoning, keys)
    for layer, expected in zip(found, twins, strict=True):
        for ours, twin in zip(layer, expected, strict=True):
            torch.testing.assert_close(ours.heads, twin.sum(-1).mean(-1), rtol=1e-4, atol=1e-6)
            torch.testing.assert_close(ours.keys, twin.mean((0, 1)), rtol=1e-4, atol=1e-6)
    responses = [[70, 71, 72, 73], [80, 81]]
    together = attention.attend(Decoder(model), processor, PROMPTS[:2], responses)
    for number, (layers, reasoning, vision, _) in enumerate(together):
        [(alone, *counts, _)] = attention.attend(Decoder(model), processor, [PROMPTS[number]], [responses[number]])
        assert counts == [reasoning, vision] == [len(responses[number]), int(keys[number].sum())]
        for one, other in zip(layers, alone, strict=True):
            torch.testing.assert_close(one.heads, other.heads, rtol=1e-4, atol=1e-6)
    if family == "gemma3":  # the text after the image is longer than a window
        kinds = model.get_decoder().config.layer_types
        assert [float(layer[0].heads.max()) > 0 for layer in found] == [kind == "full_attention" for kind in kinds]


@pytest.mark.parametrize("family", able("swap"))
@torch.inference_mode()
def test_in_bfloat16_the_error_is_transformers_own(directory, family):
    """The error of the logits against float32, over all layers, is at most 1.5 times that of the twin with hooks.

    The median: in either way, rounding now and then sends a token to another expert, which moves one answer by more.
    """
    exact, processor = load_model(directory(family))
    rounded = copy.deepcopy(exact).bfloat16()
    targets, sources = (encode(processor, asked(processor, seed)) for seed in (1, 11))
    halves = [
        {key: part.bfloat16() if part.is_floating_point() else part for key, part in inputs.items()}
        for inputs in (targets, sources)
    ]
    true = naive_sweep.swap(exact, targets, sources, None, 1)
    twin = naive_sweep.swap(rounded, *halves, None, 1)
    made = sweep.swap(Decoder(rounded), *halves, [sweep.HIDDEN_STATE_AT_LAYER], 1)
    of_twin = [logits for layer in range(LAYERS) for _, logits in twin[layer]]
    ours = [rows[sweep.HIDDEN_STATE_AT_LAYER, layer].logits for layer in range(LAYERS) for rows in made]
    exactly = torch.stack([logits for layer in range(LAYERS) for _, logits in true[layer]])
    errors = [(torch.stack(logits) - exactly).abs().median() for logits in (ours, of_twin)]
    assert 0 < errors[0] <= 1.5 * errors[1]


@pytest.mark.parametrize("family", [family for family in SEEING if refused(family, "swap")])
def test_what_a_probe_cannot_define_is_refused_before_weights_are_read(directory, tmp_path, family):
    shutil.copy(directory(family) / "config.json", tmp_path)
    for ability in PROBES:
        with pytest.raises(InputError, match=re.escape(refused(family, ability))):
            decoder.checked(tmp_path)
    with pytest.raises(InputError, match=re.escape(refused(family, "swap"))):
        Decoder(load_model(directory(family))[0])


UNTRAINED = [family for family in SEEING if refused(family, "frozen_rl")]


def one_step(start, out, frozen) -> None:
    """One step of RL whose rewards differ between the rollouts of a prompt."""
    prompts = [RLPrompt(prompt, "3", "number") for prompt in PROMPTS[:2]]

    def reward(completions, **_):
        return [float(number % 2) for number, _ in enumerate(completions)]

    rewards = {"answer": 1.0, "format": 0.0}
    grpo.grpo(start, out, prompts, 1, 2, 2, 3, 1e-2, rewards, seed=0, frozen=frozen, answer=reward)


@pytest.mark.slow
@pytest.mark.parametrize("family", able("frozen_rl"))
def test_rl_with_a_region_frozen_then_updates_and_hybrids(directory, tmp_path, family):
    start, reinforced, hybrid = directory(family), tmp_path / "rl", tmp_path / "hybrid"
    one_step(start, reinforced, range(2, 4))
    before, after = Weights(start), Weights(reinforced)
    moved = {before.part(name).layer for name in before if not torch.equal(before[name], after[name])}
    assert moved >= {0, 1, 4, 5}
    assert not moved & {2, 3}

    made = table.updates_table(start, reinforced, None, jobs=1)
    assert set(made.layer[(made.component == "layer") & (made.frobenius > 0)]) == moved - {None}
    experts = [name for name in made.parameter if "experts" in name]
    assert len(experts) == (LAYERS * 2 * 4 if family == "qwen3_vl_moe" else 0)

    hybrids.merge({"IN": start, "RL": reinforced}, "IN:IN:RL", hybrid)
    verification.verify(hybrid)
    merged = Weights(hybrid)
    for name in merged:
        donor = after if (merged.part(name).layer or 0) >= 4 else before
        assert torch.equal(merged[name], donor[name]), name
    assert generate(*load_model(hybrid), PROMPTS[:1], 2)


@pytest.mark.parametrize("family", UNTRAINED)
def test_rl_of_a_family_that_trl_cannot_train_is_refused(directory, tmp_path, family):
    with pytest.raises(InputError, match=re.escape(refused(family, "frozen_rl"))):
        one_step(directory(family), tmp_path / "rl", range(0))


@pytest.mark.slow
@pytest.mark.parametrize("family", UNTRAINED)
def test_updates_and_hybrids_of_a_family_without_rl(directory, tmp_path, family):
    """With a copy in which layer 3 has changed."""
    start, moved = directory(family), tmp_path / "moved"
    shutil.copytree(start, moved)
    tensors = load_file(moved / "model.safetensors")
    names = [stored.name for name, stored in Weights(start).stored.items() if Weights(start).part(name).layer == 3]
    save_file({n: t + 1e-3 * (n in names) for n, t in tensors.items()}, moved / "model.safetensors", {"format": "pt"})
    made = table.updates_table(start, moved, None, jobs=1)
    assert set(made.layer[made.frobenius > 0]) == {3}
    hybrids.merge({"IN": start, "RL": moved}, "IN:RL:IN", tmp_path / "hybrid")
    verification.verify(tmp_path / "hybrid")


PACKED = {"qwen2_vl", "qwen2_5_vl", "qwen3_vl", "qwen3_vl_moe", "qwen3_5", "glm4v"}


@pytest.mark.parametrize("family", SEEING)
@pytest.mark.parametrize("alike", [True, False], ids=["one length", "several"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_vision_windows_of_equal_length_are_attended_at_once(family, alike, dtype, directory, monkeypatch):
    """In towers that pack images and windows: with equal bytes, forward and backward, in fewer calls."""
    model, processor = load_model(directory(family))
    own = {config._attn_implementation for config in (model.config, model.config.vision_config)}
    assert ("frankenstein_flash_windows" in own) == (family in PACKED)
    if family not in PACKED:
        return
    model.to(dtype).requires_grad_(True)
    if alike:
        prompts = [Prompt(prompt.text, noise(84, 56, number)) for number, prompt in enumerate(PROMPTS)]
    else:
        prompts = [*PROMPTS, Prompt("And here?", noise(84, 56, 4)), Prompt("Here?", noise(300, 200, 5))]
    inputs = encode(processor, prompts).to(dtype)
    calls, product = [], torch.nn.functional.scaled_dot_product_attention
    monkeypatch.setattr(
        torch.nn.functional, "scaled_dot_product_attention", lambda *a, **k: calls.append(1) or product(*a, **k)
    )

    def made() -> list[torch.Tensor]:
        calls.clear()
        model.zero_grad()
        logits = model(**inputs).logits
        logits.float().logsumexp(-1).sum().backward()
        gradients = (parameter.grad for parameter in model.parameters())
        return [logits.detach(), *(gradient.clone() for gradient in gradients if gradient is not None)]

    ours, few = made(), len(calls)
    model.config.vision_config._attn_implementation = "sdpa"
    theirs, many = made(), len(calls)
    assert few < many
    assert len(ours) == len(theirs) > 20
    assert all(map(torch.equal, ours, theirs))
