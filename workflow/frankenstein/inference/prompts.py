"""Prompts: an example under one of the paper's conditions, rendered by a chat template, as model inputs (Section 2.2)."""

from __future__ import annotations

import hashlib
import itertools
import random
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from ..core.errors import InputError
from ..core.provenance import code_hash
from ..data.metrics import SHUFFLED
from ..data.tasks import Example, open_image, text_in

# Conditions: the paper's f(i,p), f(b,p), f(b,d,p) and f(p), plus p with another example's image.
CONDITIONS = ("image", "black", "described", "text", SHUFFLED)

# Minimum side length of an image in pixels: one patch of Qwen2.5-VL (paper, Appendix C).
SMALLEST = 28


@dataclass(frozen=True)
class Prompt:
    """Model input: the user's text, an optional image, and the system prompt (empty for none)."""

    text: str
    image: Image.Image | None = None
    system: str = ""


def with_other_images(examples: list[Example], folder: Path, seed: int) -> list[Example]:
    """Assign each example of a task another example's image (path in meta["other_image"]) for the condition "shuffled".

    Deterministic given the seed. No example gets an image byte-identical to its own. Each image is used once, unless
    more than half of them are identical, in which case some of the rest are reused. Examples without an image, and
    tasks with only one distinct image, get none.
    """
    alike: dict[str, list[Example]] = {}
    for example in examples:
        if example.image is not None:
            alike.setdefault(sha256_of(folder / example.image), []).append(example)
    if len(alike) < 2:
        return examples
    rng = random.Random(f"{seed}-{SHUFFLED}")
    groups = list(alike.values())
    rng.shuffle(groups)
    for group in groups:
        rng.shuffle(group)
    # Identical images are adjacent, so shifting by the count of the most frequent image always yields a different one.
    ordered, step = [example for group in groups for example in group], max(map(len, groups))
    moved = [*ordered[step:], *ordered[:step]]
    frequent = {example.id for example in max(groups, key=len)}
    spare = itertools.cycle([example for example in ordered if example.id not in frequent])
    others = {
        example.id: (next(spare) if {example.id, other.id} <= frequent else other).image
        for example, other in zip(ordered, moved, strict=True)
    }
    return [
        replace(example, meta=example.meta | {"other_image": others[example.id]}) if example.id in others else example
        for example in examples
    ]


def image_files(example: Example, condition: str) -> list[str]:
    """The images a request depends on: its own and, if shuffled, the other one. ValueError if there is no other."""
    if condition == "text":
        return []
    if condition != SHUFFLED:
        return [example.image]
    if "other_image" not in example.meta:
        raise ValueError(f"{example.id}: no other image in the task")
    return [example.image, example.meta["other_image"]]


def _enlarged(size: tuple[int, int]) -> tuple[int, int]:
    """The size at which an image is shown: its own, or larger if a side is below SMALLEST."""
    scale = max(1.0, SMALLEST / min(size))
    width, height = (max(SMALLEST, round(side * scale)) for side in size)
    return (width, height) if scale > 1 else size


def shape(example: Example, condition: str, folder: Path) -> tuple[str, tuple[int, int] | None]:
    """The text and the image's (width, height) of build_prompt's prompt, without decoding the image."""
    if condition == "text":
        return text_in(example, condition), None
    try:
        with Image.open(folder / example.image) as image:
            size = image.size
    except OSError:
        size = open_image(folder / example.image).size  # says what is wrong with it
    return text_in(example, condition), _enlarged(size)


def build_prompt(example: Example, condition: str, folder: Path, system: str) -> Prompt:
    """The prompt of an example under a condition. `folder` holds the images; a black or other image gets the original's size.

    Raises ValueError if the example lacks what the condition needs.
    """
    text, files = text_in(example, condition), image_files(example, condition)
    if condition == "text":
        return Prompt(text, None, system)
    image = open_image(folder / example.image)
    if image.size != (size := _enlarged(image.size)):
        image = image.resize(size, Image.Resampling.BICUBIC)
    if condition == SHUFFLED:
        image = open_image(folder / files[1]).resize(image.size, Image.Resampling.BICUBIC)
    elif condition != "image":
        image = Image.new("RGB", image.size)
    return Prompt(text, image, system)


def tokenizer_of(processor):
    """A processor's tokenizer; a text-only model's processor is its tokenizer itself."""
    return getattr(processor, "tokenizer", processor)


def _written(processor, prompt: Prompt) -> str:
    """The prompt as the chat template writes it, ending with the generation prompt."""
    seeing = hasattr(processor, "image_processor")
    if prompt.image is not None and not seeing:
        raise InputError(f"{type(processor).__name__}: this model takes no images; ask it under the condition text")
    content = [{"type": "image"}] if prompt.image is not None else []
    messages = [{"role": "user", "content": [*content, {"type": "text", "text": prompt.text}]}]
    if prompt.system:
        messages.insert(0, {"role": "system", "content": [{"type": "text", "text": prompt.system}]})
    if not seeing:
        messages = [message | {"content": message["content"][-1]["text"]} for message in messages]
    return processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)


def render(processor, prompt: Prompt) -> str:
    """The prompt rendered by the chat template, ending with the generation prompt.

    Without the token that begins a text where the tokenizer puts one in front itself: Gemma's template writes a second one.
    """
    rendered, tokenizer = _written(processor, prompt), tokenizer_of(processor)
    begins = tokenizer.bos_token is not None and tokenizer("").input_ids[:1] == [tokenizer.bos_token_id]
    return rendered.removeprefix(tokenizer.bos_token) if begins else rendered


def tokens_at_most(processor, asked: list[tuple[str, tuple[int, int] | None]], system: str) -> int:
    """Upper bound of the tokens of any of these prompts (`shape`)."""
    shown = Image.new("RGB", (SMALLEST, SMALLEST))
    texts = {render(processor, Prompt(text, shown if size else None, system)) for text, size in asked}
    longest = max((len(ids) for ids in tokenizer_of(processor)(list(texts)).input_ids), default=0)
    sizes = {size for _, size in asked if size}
    if not sizes:
        return longest
    if not hasattr(processor, "_get_num_multimodal_tokens"):  # SmolVLM, Mllama: it has to be tried
        return longest + max(_tokens_of_image(processor, size) for size in sizes)
    sizes = [shown.size, *sizes]
    told = processor._get_num_multimodal_tokens(image_sizes=[(h, w) for w, h in sizes]).num_image_tokens
    # Gemma's processors do not tell the tokens around an image, which are always as many.
    around = _tokens_of_image(processor, shown.size) - told[0]
    return longest + max(told[1:]) + max(around, 0)


def _tokens_of_image(processor, size: tuple[int, int]) -> int:
    """Tokens that an image of this size adds to a prompt rendered with its placeholder."""
    prompt = Prompt("", Image.new("RGB", size))
    placed = tokenizer_of(processor)(render(processor, prompt)).input_ids
    return encode(processor, [prompt])["input_ids"].shape[1] - len(placed)


def encode(processor, prompts: list[Prompt], device="cpu"):
    """Left-padded model inputs for a batch: input_ids and attention_mask [batch, tokens], pixel_values, ...

    Raises InputError if the model takes no images but a prompt has one, or for prompts with and without an image in one
    batch of a model with cross-attention.
    """
    tokenizer = tokenizer_of(processor)
    tokenizer.padding_side = "left"
    texts = [_written(processor, prompt) for prompt in prompts]
    # Each prompt's own list: of a flat one, some processors take all for the images of one prompt.
    images = [[prompt.image] if prompt.image is not None else [] for prompt in prompts]
    if any(images) and not all(images) and "cross_attention_mask" in processor.model_input_names:
        # transformers' Mllama fails on them, or answers the prompts without an image differently.
        raise InputError(f"{type(processor).__name__}: prompts with and without an image are in one batch; split it")
    # As transformers does it: a template that writes the first token leaves the tokenizer none to add.
    begun = tokenizer.bos_token is not None and texts[0].startswith(tokenizer.bos_token)
    return processor(
        text=texts,
        **({"images": images} if any(images) else {}),
        add_special_tokens=not begun,
        padding=True,
        return_tensors="pt",
    ).to(device)


def sha256_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def code() -> str:
    """Hash of the code that builds prompts, the part of our code that cached answers depend on."""
    return code_hash(Path(__file__))
