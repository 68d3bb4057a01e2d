"""The mini study's model: an untrained Qwen2.5-VL, using the original classes, with about 2.5 M parameters.

`build` writes an ordinary Hugging Face checkpoint, which AutoProcessor and AutoModelForImageTextToText load from disk.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
)

from . import questions

# The special tokens of Qwen2.5-VL that the mini study needs. TAGS are ordinary (non-special) added tokens.
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>"]
SPECIAL += ["<|image_pad|>", "<|video_pad|>"]
TAGS = ["<think>", "</think>", "<answer>", "</answer>"]

CHAT_TEMPLATE = """\
{%- for message in messages -%}
<|im_start|>{{ message.role }}
{% if message.content is string %}{{ message.content }}{% else -%}
{%- for part in message.content -%}
{%- if part.type == 'image' -%}<|vision_start|><|image_pad|><|vision_end|>
{%- else -%}{{ part.text }}{%- endif -%}
{%- endfor -%}
{%- endif -%}<|im_end|>
{% endfor -%}
{%- if add_generation_prompt %}<|im_start|>assistant
{% endif -%}"""


def train_tokenizer(seed: int, vocab_size: int, system_prompts: list[str]) -> PreTrainedTokenizerFast:
    """Byte-level BPE with digits split individually, trained on the mini study's own training text.

    Printed words are excluded, so that each capital letter remains one token and reading amounts to spelling.
    """
    # Black images were added later; excluding them keeps the text, and therefore every token, unchanged.
    weights = {kind: 1.0 for kind in questions.KINDS if kind not in ("ocr", "black")}
    text = [
        f"{q.prompt}{questions.EXPLAIN}\n{q.answer}\n{q.chain}\n{q.description or ''}"
        for q in itertools.islice(questions.stream(seed, "train", weights), 4000)
    ]
    text += ["system\n", "user\n", "assistant\n", *system_prompts] * 50
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(text, trainer)
    tokenizer.add_special_tokens(SPECIAL)
    tokenizer.add_tokens(TAGS)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        padding_side="left",
        model_max_length=1024,
    )


def build(directory: Path, seed: int, shape: dict, system_prompts: list[str]) -> None:
    """Write an untrained checkpoint.

    shape: hidden_size, intermediate_size, layers, heads, kv_heads, vision_hidden_size, vision_layers,
    vocab_size, initializer_range. Raises ValueError (from transformers) if heads do not divide hidden_size.
    """
    tokenizer = train_tokenizer(seed, shape["vocab_size"], system_prompts)
    token = tokenizer.convert_tokens_to_ids
    head_dim = shape["hidden_size"] // shape["heads"]
    # Time, height and width share the rotary frequencies 2 : 3 : 3, as in Qwen2.5-VL.
    height = head_dim // 2 * 3 // 8
    eos, pad = token("<|im_end|>"), token("<|endoftext|>")
    config = Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": shape["hidden_size"],
            "intermediate_size": shape["intermediate_size"],
            "num_hidden_layers": shape["layers"],
            "num_attention_heads": shape["heads"],
            "num_key_value_heads": shape["kv_heads"],
            "max_position_embeddings": 1024,
            "initializer_range": shape["initializer_range"],
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10000.0,
                "mrope_section": [head_dim // 2 - 2 * height, height, height],
            },
            "bos_token_id": pad,
            "eos_token_id": eos,
            "pad_token_id": pad,
        },
        vision_config={
            "depth": shape["vision_layers"],
            "hidden_size": shape["vision_hidden_size"],
            "intermediate_size": 2 * shape["vision_hidden_size"],
            "num_heads": 4,
            "initializer_range": shape["initializer_range"],
            "out_hidden_size": shape["hidden_size"],
            "window_size": 112,
            "fullatt_block_indexes": [shape["vision_layers"] - 1],
        },
        image_token_id=token("<|image_pad|>"),
        video_token_id=token("<|video_pad|>"),
        vision_start_token_id=token("<|vision_start|>"),
        vision_end_token_id=token("<|vision_end|>"),
        tie_word_embeddings=True,
    )
    torch.manual_seed(seed)
    model = Qwen2_5_VLForConditionalGeneration(config)
    model.generation_config.eos_token_id = eos
    model.generation_config.pad_token_id = pad
    pixels = {"min_pixels": 28 * 28, "max_pixels": 112 * 112}
    # Of the mini study's own images: their light background is near zero.
    pixels |= {"image_mean": [0.94] * 3, "image_std": [0.25] * 3}
    processor = Qwen2_5_VLProcessor(
        image_processor=Qwen2VLImageProcessor(**pixels),
        tokenizer=tokenizer,
        video_processor=Qwen2VLVideoProcessor(**pixels),
        chat_template=CHAT_TEMPLATE,
    )
    model.save_pretrained(directory)
    processor.save_pretrained(directory)
