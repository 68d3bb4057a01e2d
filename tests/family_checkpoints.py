"""Tiny checkpoints of many families, as a user has them on disk: transformers' own classes, random weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
import transformers as hf
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

LAYERS = 6
HIDDEN = 64
_TEXT = {
    "hidden_size": HIDDEN,
    "intermediate_size": 96,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 2048,
    "initializer_range": 0.1,
}


def _text(tokenizer, **more) -> dict:
    ids = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    return {**_TEXT, "vocab_size": len(tokenizer), **ids, **more}


_VISION = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "initializer_range": 0.2,
}
# Qwen and GLM name the same things differently.
_GRID_VISION = {"depth": 3, "hidden_size": 32, "intermediate_size": 64, "num_heads": 4, "initializer_range": 0.2}
_MROPE = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 3, 3]}
_AREA = {"size": {"shortest_edge": 1, "longest_edge": 112 * 112}}


@dataclass(frozen=True)
class Chat:
    """How a family writes a prompt, as its own chat template does for one turn; `image` is what its processor replaces."""

    system: tuple[str, str]
    user: tuple[str, str]
    answer: str
    image: str
    begin: str = ""

    @property
    def template(self) -> str:
        return (
            f"{_quoted(self.begin)}{{%- for message in messages -%}}"
            f"{{%- if message.role == 'system' -%}}{_quoted(self.system[0])}{{%- else -%}}{_quoted(self.user[0])}{{%- endif -%}}"
            "{%- if message.content is string -%}{{ message.content }}{%- else -%}{%- for part in message.content -%}"
            f"{{%- if part.type == 'image' -%}}{_quoted(self.image)}{{%- else -%}}{{{{ part.text }}}}{{%- endif -%}}"
            "{%- endfor -%}{%- endif -%}"
            f"{{%- if message.role == 'system' -%}}{_quoted(self.system[1])}{{%- else -%}}{_quoted(self.user[1])}{{%- endif -%}}"
            f"{{%- endfor -%}}{{%- if add_generation_prompt -%}}{_quoted(self.answer)}{{%- endif -%}}"
        )


def _quoted(text: str) -> str:
    """As Jinja prints it, line breaks included."""
    return f"{{{{ {text!r} }}}}"


def _chatml(image: str) -> Chat:
    turns = [(f"<|im_start|>{role}\n", "<|im_end|>\n") for role in ("system", "user")]
    return Chat(*turns, "<|im_start|>assistant\n", image)


def _gemma(turn: str, end: str, image: str) -> Chat:
    return Chat(("", "\n\n"), ("", f"{end}\n"), f"{turn}model\n", image, begin=f"<bos>{turn}user\n")


@dataclass(frozen=True)
class Family:
    """What a family's checkpoint consists of.

    parts: the config and the processor, given the tokenizer. special: special tokens, of which `named` are attributes
    of the tokenizer (boi_token, ...). adds_bos: whether the tokenizer begins every text with `bos` by itself.
    """

    parts: Callable
    chat: Chat
    special: tuple[str, ...]
    eos: str
    pad: str
    bos: str | None = None
    adds_bos: bool = False
    named: dict[str, str] = field(default_factory=dict)


def _tokenizer(family: Family) -> hf.PreTrainedTokenizerFast:
    """Bytes, and the family's special tokens after them."""
    alphabet = {byte: number for number, byte in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocab=alphabet, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(family.special))
    if family.adds_bos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{family.bos} $A", special_tokens=[(family.bos, tokenizer.token_to_id(family.bos))]
        )
    return hf.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=family.bos,
        eos_token=family.eos,
        pad_token=family.pad,
        extra_special_tokens=family.named,
        model_max_length=2048,
    )


def checkpoint(name: str, folder: Path, seed: int = 0) -> Path:
    """Write a family's checkpoint into `folder`: float32 weights, configs, processor, tokenizer and chat template."""
    family = FAMILIES[name]
    tokenizer = _tokenizer(family)
    config, processor = family.parts(tokenizer)
    auto = hf.AutoModelForCausalLM if processor is tokenizer else hf.AutoModelForImageTextToText
    torch.manual_seed(seed)
    model = auto.from_config(config, dtype=torch.float32)
    _vary(model)
    model.generation_config = hf.GenerationConfig(
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    processor.chat_template = family.chat.template
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return Path(folder)


@torch.no_grad()
def _vary(model) -> None:
    """Fill what starts as a constant: gates and projections that start at zero would hide the image, norms their order."""
    for parameter in model.parameters():
        if parameter.min() == parameter.max():
            if parameter.numel() == 1:
                parameter.fill_(0.5)
            else:
                parameter.add_(torch.randn_like(parameter) * (0.1 if parameter.dim() == 1 else 0.2))


def _qwen_ids(tokenizer) -> dict:
    names = {"image_token_id": "image_pad", "video_token_id": "video_pad"}
    names |= {f"vision_{end}_token_id": f"vision_{end}" for end in ("start", "end")}
    return {key: tokenizer.convert_tokens_to_ids(f"<|{token}|>") for key, token in names.items()}


def _qwen2_5_vl(tokenizer):
    vision = {**_GRID_VISION, "depth": 2, "out_hidden_size": HIDDEN, "fullatt_block_indexes": [1]}
    config = hf.Qwen2_5_VLConfig(
        text_config=_text(tokenizer, rope_parameters=_MROPE),
        vision_config=vision,
        tie_word_embeddings=True,
        **_qwen_ids(tokenizer),
    )
    images, videos = hf.Qwen2VLImageProcessor(**_AREA), hf.Qwen2VLVideoProcessor(**_AREA)
    return config, hf.Qwen2_5_VLProcessor(images, tokenizer, videos)


def _qwen3_processor(tokenizer):
    sizes = {**_AREA, "patch_size": 16}
    images, videos = hf.Qwen2VLImageProcessor(**sizes), hf.Qwen3VLVideoProcessor(**sizes)
    return hf.Qwen3VLProcessor(images, tokenizer, videos)


def _qwen3(config_class, tokenizer, tied: bool, text: dict, vision: dict):
    config = config_class(
        text_config=_text(tokenizer, **text),
        vision_config={**_GRID_VISION, "out_hidden_size": HIDDEN, "num_position_embeddings": 64, **vision},
        tie_word_embeddings=tied,
        **_qwen_ids(tokenizer),
    )
    return config, _qwen3_processor(tokenizer)


_INTERLEAVED = {"rope_parameters": {**_MROPE, "mrope_interleaved": True}}
_DEEPSTACK = {"deepstack_visual_indexes": [0, 1]}


def _qwen3_vl(tokenizer):
    return _qwen3(hf.Qwen3VLConfig, tokenizer, True, _INTERLEAVED, _DEEPSTACK)


def _qwen3_vl_moe(tokenizer):
    experts = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "decoder_sparse_step": 1}
    return _qwen3(hf.Qwen3VLMoeConfig, tokenizer, False, {**_INTERLEAVED, **experts}, _DEEPSTACK)


def _qwen3_5(tokenizer):
    linear = {"linear_key_head_dim": 16, "linear_value_head_dim": 16, "linear_num_key_heads": 2}
    linear |= {"linear_num_value_heads": 4}
    rope = {**_MROPE, "mrope_section": [1, 1, 0], "mrope_interleaved": True, "partial_rotary_factor": 0.25}
    kinds = [*["linear_attention"] * 3, "full_attention", "linear_attention", "full_attention"]
    text = {**linear, "rope_parameters": rope, "layer_types": kinds}
    return _qwen3(hf.Qwen3_5Config, tokenizer, False, text, {})


_PINPOINTS = [[28, 28], [28, 56], [56, 28], [56, 56]]


def _llava_onevision(tokenizer):
    vision = {**_VISION, "model_type": "siglip_vision_model", "image_size": 28, "patch_size": 14}
    config = hf.LlavaOnevisionConfig(
        text_config=_text(tokenizer, model_type="qwen2"),
        vision_config={**vision, "vision_use_head": False},
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        video_token_id=tokenizer.convert_tokens_to_ids("<video>"),
        image_grid_pinpoints=_PINPOINTS,
        vision_feature_layer=-1,
        tie_word_embeddings=True,
    )
    size = {"height": 28, "width": 28}
    return config, hf.LlavaOnevisionProcessor(
        hf.LlavaOnevisionImageProcessor(size=size, image_grid_pinpoints=_PINPOINTS),
        tokenizer,
        hf.LlavaOnevisionVideoProcessor(size=size),
        num_image_tokens=4,
        vision_feature_select_strategy="full",
    )


def _llava_next(tokenizer):
    vision = {**_VISION, "num_hidden_layers": 3, "model_type": "clip_vision_model", "image_size": 28, "patch_size": 14}
    config = hf.LlavaNextConfig(
        text_config=_text(tokenizer, model_type="mistral", sliding_window=None),
        vision_config=vision,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        image_grid_pinpoints=_PINPOINTS,
    )
    images = hf.LlavaNextImageProcessor(
        size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28}, image_grid_pinpoints=_PINPOINTS
    )
    return config, hf.LlavaNextProcessor(
        images, tokenizer, patch_size=14, vision_feature_select_strategy="default", num_additional_image_tokens=1
    )


def _internvl(tokenizer):
    config = hf.InternVLConfig(
        text_config=_text(tokenizer, model_type="qwen3"),
        vision_config={**_VISION, "image_size": [56, 56], "patch_size": [14, 14]},
        image_token_id=tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"),
        image_seq_length=4,
        tie_word_embeddings=False,
    )
    images = hf.GotOcr2ImageProcessor(size={"height": 56, "width": 56}, max_patches=4)
    videos = hf.InternVLVideoProcessor(size={"height": 56, "width": 56})
    return config, hf.InternVLProcessor(images, tokenizer, videos, image_seq_length=4)


# All windows are shorter than the prompts.
_SLIDING = {"sliding_window": 8, "layer_types": [*["sliding_attention"] * 3, "full_attention", "sliding_attention"]}
_SLIDING["layer_types"].append("full_attention")


def _gemma3_text(tokenizer):
    return hf.Gemma3TextConfig(**_text(tokenizer), **_SLIDING, query_pre_attn_scalar=16), tokenizer


def _gemma3(tokenizer):
    vision = {**_VISION, "model_type": "siglip_vision_model", "image_size": 112, "patch_size": 14}
    config = hf.Gemma3Config(
        text_config=_gemma3_text(tokenizer)[0].to_dict(),
        vision_config={**vision, "vision_use_head": False},
        mm_tokens_per_image=16,
        boi_token_index=tokenizer.boi_token_id,
        eoi_token_index=tokenizer.eoi_token_id,
        image_token_index=tokenizer.image_token_id,
    )
    images = hf.Gemma3ImageProcessor(size={"height": 112, "width": 112})
    return config, hf.Gemma3Processor(images, tokenizer, image_seq_length=16)


def _gemma4(tokenizer):
    # The last layers read the keys and values of the last layer of their own kind before them.
    text = _text(tokenizer, **_SLIDING, num_kv_shared_layers=2, global_head_dim=32)
    text |= {"hidden_size_per_layer_input": 8, "vocab_size_per_layer_input": len(tokenizer)}
    vision = {**_VISION, "num_key_value_heads": 4, "head_dim": 8, "patch_size": 4, "position_embedding_size": 256}
    config = hf.Gemma4Config(
        text_config={**text, "use_bidirectional_attention": "vision"},
        vision_config={**vision, "pooling_kernel_size": 3},
        audio_config=None,
        eoa_token_index=tokenizer.eoa_token_id,
        video_token_id=tokenizer.convert_tokens_to_ids("<|video|>"),
        **{
            f"{name}_token_id": getattr(tokenizer, f"{name}_token_id")
            for name in ("boi", "eoi", "image", "boa", "audio")
        },
    )
    sizes = {"patch_size": 4, "pooling_kernel_size": 3}
    return config, hf.Gemma4Processor(
        hf.Gemma4AudioFeatureExtractor(),
        hf.Gemma4ImageProcessor(max_soft_tokens=70, **sizes),
        tokenizer,
        hf.Gemma4VideoProcessor(max_soft_tokens=70, **sizes),
        image_seq_length=70,
    )


def _glm4v(tokenizer):
    rope = {**_MROPE, "mrope_section": [1, 1, 2], "partial_rotary_factor": 0.5}
    ids = {"image_token_id": "image", "video_token_id": "video"}
    ids |= {f"{kind}_{end}_token_id": f"{way}_of_{kind}" for kind in ("image", "video") for end, way in _ENDS}
    config = hf.Glm4vConfig(
        text_config=_text(tokenizer, rope_parameters=rope),
        vision_config={**_GRID_VISION, "depth": 2, "out_hidden_size": HIDDEN, "image_size": 56},
        **{key: tokenizer.convert_tokens_to_ids(f"<|{token}|>") for key, token in ids.items()},
    )
    # A still image counts as two frames against the limit.
    area = {"size": {"shortest_edge": 1, "longest_edge": 2 * 112 * 112}}
    return config, hf.Glm4vProcessor(hf.Glm4vImageProcessor(**area), tokenizer, hf.Glm4vVideoProcessor(**area))


_ENDS = (("start", "begin"), ("end", "end"))


def _idefics(config_class, tokenizer):
    return config_class(
        text_config=_text(tokenizer, model_type="llama"),
        vision_config={**_VISION, "image_size": 56, "patch_size": 14},
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        pad_token_id=tokenizer.pad_token_id,
    )


_TILES = {"size": {"longest_edge": 112}, "max_image_size": {"longest_edge": 56}}


def _smolvlm(tokenizer):
    videos = hf.SmolVLMVideoProcessor(
        size={"longest_edge": 56}, max_image_size={"longest_edge": 56}, video_sampling={"fps": 1, "max_frames": 2}
    )
    processor = hf.SmolVLMProcessor(hf.SmolVLMImageProcessor(**_TILES), tokenizer, videos, image_seq_len=4)
    return _idefics(hf.SmolVLMConfig, tokenizer), processor


def _idefics3(tokenizer):
    processor = hf.Idefics3Processor(hf.Idefics3ImageProcessor(**_TILES), tokenizer, image_seq_len=4)
    return _idefics(hf.Idefics3Config, tokenizer), processor


def _pixtral_processor(tokenizer, patch: int, merge: int):
    images = hf.PixtralImageProcessor(size={"longest_edge": 112}, patch_size={"height": patch, "width": patch})
    return hf.PixtralProcessor(images, tokenizer, patch_size=patch, spatial_merge_size=merge)


def _mistral3(tokenizer):
    config = hf.Mistral3Config(
        text_config=_text(tokenizer, model_type="mistral", sliding_window=None),
        vision_config={**_VISION, "model_type": "pixtral", "image_size": 112, "patch_size": 14},
        image_token_index=tokenizer.convert_tokens_to_ids("[IMG]"),
        spatial_merge_size=2,
        tie_word_embeddings=False,
    )
    return config, _pixtral_processor(tokenizer, 14, 2)


def _pixtral(tokenizer):
    config = hf.LlavaConfig(
        text_config=_text(tokenizer, model_type="mistral", sliding_window=None),
        vision_config={**_VISION, "model_type": "pixtral", "image_size": 112, "patch_size": 16},
        image_token_index=tokenizer.convert_tokens_to_ids("[IMG]"),
        vision_feature_select_strategy="full",
        vision_feature_layer=-1,
    )
    return config, _pixtral_processor(tokenizer, 16, 1)


def _mllama(tokenizer):
    image = tokenizer.convert_tokens_to_ids("<|image|>")
    # The image's id is the first beyond the vocabulary: it has an embedding, and no logit.
    text = {key: value for key, value in _text(tokenizer, vocab_size=image).items() if key != "head_dim"}
    vision = {**_VISION, "num_global_layers": 1, "image_size": 28, "patch_size": 14, "vision_output_dim": 64}
    vision["attention_heads"] = vision.pop("num_attention_heads")
    config = hf.MllamaConfig(
        text_config={**text, "cross_attention_layers": [1, 4]},
        vision_config={**vision, "intermediate_layers_indices": [1]},
        image_token_index=image,
    )
    images = hf.MllamaImageProcessor(size={"height": 28, "width": 28}, max_image_tiles=4)
    return config, hf.MllamaProcessor(images, tokenizer)


_QWEN = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>")
_QWEN += ("<|video_pad|>",)
_MISTRAL = ("<unk>", "<s>", "</s>", "<pad>", "[INST]", "[/INST]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[IMG]")
_MISTRAL += ("[IMG_BREAK]", "[IMG_END]")
_IDEFICS = ("<fake_token_around_image>", "<image>", "<global-img>", "<end_of_utterance>")
_IDEFICS += tuple(f"<row_{row}_col_{column}>" for row in (1, 2) for column in (1, 2))
_GEMMA3 = ("<pad>", "<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>", "<start_of_image>", "<end_of_image>")
_GEMMA3 += ("<image_soft_token>",)
_GEMMA4_NAMED = {"boi": "<|image>", "eoi": "<image|>", "image": "<|image|>"}
_GEMMA4_NAMED |= {"boa": "<|audio>", "eoa": "<audio|>", "audio": "<|audio|>"}
_GLM = ("<|endoftext|>", "<|user|>", "<|assistant|>", "<|system|>", "[gMASK]", "<sop>", "<|image|>", "<|video|>")
_GLM += tuple(f"<|{way}_of_{kind}|>" for kind in ("image", "video") for way in ("begin", "end"))
_LLAMA = ("<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>")
_LLAMA += ("<|finetune_right_pad_id|>", "<|python_tag|>", "<|image|>")
_HEADER = "<|start_header_id|>{}<|end_header_id|>\n\n"

_qwen = _chatml("<|vision_start|><|image_pad|><|vision_end|>")
_mistral = Chat(("[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]"), ("[INST]", "[/INST]"), "", "[IMG]", begin="<s>")


def _of_qwen(parts) -> Family:
    return Family(parts, _qwen, _QWEN, eos="<|im_end|>", pad="<|endoftext|>")


def _of_gemma3(parts) -> Family:
    named = {"boi_token": "<start_of_image>", "eoi_token": "<end_of_image>", "image_token": "<image_soft_token>"}
    chat = _gemma("<start_of_turn>", "<end_of_turn>", "<start_of_image>")
    return Family(parts, chat, _GEMMA3, "<end_of_turn>", "<pad>", "<bos>", adds_bos=True, named=named)


def _of_mistral(parts) -> Family:
    return Family(parts, _mistral, _MISTRAL, eos="</s>", pad="<pad>", bos="<s>", adds_bos=True)


FAMILIES = {
    "qwen2_5_vl": _of_qwen(_qwen2_5_vl),
    "qwen3_vl": _of_qwen(_qwen3_vl),
    "qwen3_vl_moe": _of_qwen(_qwen3_vl_moe),
    "qwen3_5": _of_qwen(_qwen3_5),
    "llava_onevision": Family(
        _llava_onevision,
        _chatml("<image>\n"),
        ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<image>", "<video>"),
        eos="<|im_end|>",
        pad="<|endoftext|>",
    ),
    "llava_next": Family(
        _llava_next,
        Chat(("<<SYS>>\n", "\n<</SYS>>\n\n"), ("[INST] ", " [/INST]"), "", "<image>\n"),
        ("<unk>", "<s>", "</s>", "<pad>", "<image>"),
        eos="</s>",
        pad="<pad>",
        bos="<s>",
        adds_bos=True,
    ),
    "internvl": Family(
        _internvl,
        _chatml("<IMG_CONTEXT>\n"),
        ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<img>", "</img>", "<IMG_CONTEXT>", "<video>"),
        eos="<|im_end|>",
        pad="<|endoftext|>",
        named={
            "start_image_token": "<img>",
            "end_image_token": "</img>",
            "context_image_token": "<IMG_CONTEXT>",
            "video_token": "<video>",
        },
    ),
    "gemma3": _of_gemma3(_gemma3),
    "gemma3_text": _of_gemma3(_gemma3_text),
    "gemma4": Family(
        _gemma4,
        _gemma("<|turn>", "<turn|>", "\n\n<|image|>\n\n"),
        ("<pad>", "<eos>", "<bos>", "<|turn>", "<turn|>", *_GEMMA4_NAMED.values(), "<|video|>"),
        eos="<turn|>",
        pad="<pad>",
        bos="<bos>",
        adds_bos=True,
        named={f"{key}_token": token for key, token in _GEMMA4_NAMED.items()},
    ),
    "glm4v": Family(
        _glm4v,
        Chat(
            ("<|system|>\n", ""),
            ("<|user|>\n", ""),
            "<|assistant|>\n",
            "<|begin_of_image|><|image|><|end_of_image|>",
            begin="[gMASK]<sop>",
        ),
        _GLM,
        eos="<|user|>",
        pad="<|endoftext|>",
    ),
    "smolvlm": Family(
        _smolvlm,
        Chat(
            ("System: ", "<end_of_utterance>\n"),
            ("User:", "<end_of_utterance>\n"),
            "Assistant:",
            "<image>",
            begin="<|im_start|>",
        ),
        ("<|im_start|>", "<|im_end|>", *_IDEFICS),
        eos="<end_of_utterance>",
        pad="<|im_end|>",
        bos="<|im_start|>",
    ),
    "idefics3": Family(
        _idefics3,
        Chat(
            ("System: ", "<end_of_utterance>\n"),
            ("User:", "<end_of_utterance>\n"),
            "Assistant:",
            "<image>",
            begin="<|begin_of_text|>",
        ),
        ("<|begin_of_text|>", "<|end_of_text|>", "<|finetune_right_pad_id|>", *_IDEFICS),
        eos="<end_of_utterance>",
        pad="<|finetune_right_pad_id|>",
        bos="<|begin_of_text|>",
        adds_bos=True,
    ),
    "mistral3": _of_mistral(_mistral3),
    "pixtral": _of_mistral(_pixtral),
    "mllama": Family(
        _mllama,
        Chat(
            (_HEADER.format("system"), "<|eot_id|>"),
            (_HEADER.format("user"), "<|eot_id|>"),
            _HEADER.format("assistant"),
            "<|image|>",
            begin="<|begin_of_text|>",
        ),
        _LLAMA,
        eos="<|eot_id|>",
        pad="<|finetune_right_pad_id|>",
        bos="<|begin_of_text|>",
        adds_bos=True,
    ),
}
