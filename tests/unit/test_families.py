"""Checkpoints of every family from disk, as a user would take them: loading, prompts, generation, limits in pixels."""

import functools

import naive_sweep
import numpy as np
import pytest
import torch
from families import CHECKPOINTS, LAYERS, checkpoint
from PIL import Image
from safetensors.torch import load_file

from frankenstein.core.errors import InputError
from frankenstein.inference.generation import generate
from frankenstein.inference.prompts import Prompt, encode, tokens_at_most
from frankenstein.models.loading import cap_pixels, load_model

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


# Their layers see the image by another way than the states at its tokens, too: cross-attention; DeepStack, after layers 0
# and 1; Gemma 4's input of each layer, which is projected from the embeddings, those of the image among them.
ELSEWHERE = {"mllama", "qwen3_vl", "qwen3_vl_moe", "gemma4"}


@pytest.mark.parametrize("family", SEEING)
@torch.inference_mode()
def test_the_twins_of_the_sweeps_know_every_family(load, family):
    """Of equal prompts with different images: the source's states entering layer 0 are the source's own answer."""
    model, processor = load(family)
    targets, sources = (
        encode(
            processor, [Prompt(text, noise(84, 56, seed + number)) for number, text in enumerate(("How many?", "Hm"))]
        )
        for seed in (1, 11)
    )
    own, other = (naive_sweep.generate(model, inputs, 3) for inputs in (targets, sources))
    swapped = naive_sweep.swap(model, targets, sources, None, 3)
    assert len(swapped) == LAYERS
    for row in range(2):
        assert not same(swapped[3][row], own[row]) or family == "mllama"
        assert same(swapped[0][row], other[row]) is (family not in ELSEWHERE)
        if family == "gemma4":  # nothing reads these layers' states at the image
            assert all(same(swapped[layer][row], own[row]) for layer in (4, 5))
        skipped = [naive_sweep.skip(model, targets, layers, 3)[row] for layers in ([], [0], [3])]
        assert [same(answer, own[row]) for answer in skipped] == [True, False, False]


def same(answer, other) -> bool:
    return answer[0] == other[0] and bool(torch.allclose(answer[1], other[1], rtol=0, atol=1e-4))


@pytest.mark.parametrize("family", [family for family in SEEING if family != "mllama"])
def test_the_twin_of_attention_knows_every_family(directory, family):
    """Of Mllama's layers, those that see the image have the image's tokens alone for keys: their mass is 1."""
    model, processor = load_model(directory(family), attention="eager")
    inputs = encode(processor, PROMPTS[:2])
    keys, width = naive_sweep.image_mask(model, inputs), inputs["input_ids"].shape[1]
    masses = naive_sweep.attention_masses(model, inputs, [torch.arange(width - 3, width)] * 2, keys)
    assert len(masses) == (2 if family == "qwen3_5" else LAYERS)
    for heads in (heads for by_example in masses for heads in by_example):
        assert heads.shape == (4,)
        assert 0 <= heads.min() <= heads.max() < 1
    windowed = [float(by_example[0].max()) for by_example in masses]
    if family in ("gemma3", "gemma4"):  # the text after the image is longer than a window
        assert [mass > 0 for mass in windowed] == [
            kind == "full_attention" for kind in model.get_decoder().config.layer_types
        ]
    else:
        assert min(windowed) > 0
