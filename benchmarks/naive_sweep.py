"""Slow, straightforward reference for the sweep engine: hooks on one layer at a time, transformers' own generate.

Does what the public scripts do, without their defects. Tests compare the engine with it; benchmarks time it.
"""

from __future__ import annotations

import contextlib

import torch
from transformers import DynamicCache


def decoder_layers(model):
    """The decoder layers of any model of transformers."""
    return model.get_decoder().layers


def _hidden(args, kwargs):
    return args[0] if args else kwargs["hidden_states"]


def _last(model):
    """The last token's logits; Gemma 4, given the number 1, would not run the others through its last layers."""
    return torch.tensor([-1], device=model.device)


@contextlib.contextmanager
def hooked(*handles):
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def generate(model, inputs, max_new_tokens, every=False):
    """(tokens without the end token, first logits [vocabulary]) for a batch, by transformers' generate.

    every: return the logits of every step instead, [steps, vocabulary].
    """
    output = model.generate(
        **inputs,
        max_new_tokens=max_new_tokens,
        do_sample=False,
        repetition_penalty=1.0,
        return_dict_in_generate=True,
        output_logits=True,
    )
    stops = model.generation_config.eos_token_id
    stops = stops if isinstance(stops, list) else [stops]
    answers = []
    logits = torch.stack(output.logits, 1).float()
    for row, steps in zip(output.sequences[:, inputs["input_ids"].shape[1] :].tolist(), logits, strict=True):
        end = next((i for i, token in enumerate(row) if token in stops), len(row))
        answers.append((row[:end], steps if every else steps[0]))
    return answers


def swap(model, targets, sources, image, max_new_tokens, change=lambda states: states, every=False):
    """{layer: answers} with the source's hidden states of image `image` (see image_mask) entering that layer, in prefill only.

    change: function applied beforehand to the source's states [vision tokens of the batch, hidden].
    """
    masks = [image_mask(model, inputs, image) for inputs in (targets, sources)]
    states = []

    def keep(module, args, kwargs):
        states.append(_hidden(args, kwargs)[masks[1]].clone())

    with hooked(*(x.register_forward_pre_hook(keep, with_kwargs=True) for x in decoder_layers(model))):
        model(**sources, logits_to_keep=_last(model))
    answers = {}
    for layer, module in enumerate(decoder_layers(model)):
        prefill = True

        def replace(module, args, kwargs, layer=layer):
            nonlocal prefill
            if not prefill:
                return None
            prefill = False
            hidden = _hidden(args, kwargs).clone()
            if (
                hidden.shape[:2] != masks[0].shape
            ):  # of Gemma 4's last layers no token reads another: they run the last one
                return None
            hidden[masks[0]] = change(states[layer])
            return ((hidden, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": hidden})

        with hooked(module.register_forward_pre_hook(replace, with_kwargs=True)):
            answers[layer] = generate(model, targets, max_new_tokens, every)
    return answers


def image_mask(model, inputs, image=None):
    """Mask of vision tokens: bool [batch, tokens]. image: number of a run of them in each prompt; all of a prompt if None."""
    mask = inputs["input_ids"] == model.config.image_token_id
    if image is None:
        return mask
    begins = mask & ~torch.nn.functional.pad(mask, (1, 0))[:, :-1]
    return mask & (begins.cumsum(1) == image + 1)


def swap_cache(model, target, source, layers, max_new_tokens, image=0):
    """One pair: the source's keys and values of vision tokens at `layers`, in a transformers cache, then the text.

    target, source: one prompt each, with equally many vision tokens. Returns (tokens, first logits).
    """
    places, others = (image_mask(model, inputs, image)[0].nonzero()[:, 0] for inputs in (target, source))
    stop = int(places[-1]) + 1
    positions, caches = [], []

    def keep(module, args, kwargs):
        positions.append(kwargs["position_ids"] if "position_ids" in kwargs else args[1])

    rotary = model.get_decoder().rotary_emb
    with hooked(rotary.register_forward_pre_hook(keep, with_kwargs=True)):
        for inputs in (target, source):
            # Without a config it keeps all tokens of layers with a sliding window too; the mask cuts them.
            caches.append(model(**inputs, past_key_values=DynamicCache(), use_cache=True).past_key_values)
    for index, (cache, given) in enumerate(zip(caches[0].layers, caches[1].layers, strict=True)):
        if index in layers:
            cache.keys[:, :, places] = given.keys[:, :, others]
            cache.values[:, :, places] = given.values[:, :, others]
        cache.keys, cache.values = cache.keys[:, :, :stop], cache.values[:, :, :stop]
    cache = caches[0]
    ids, at = target["input_ids"][:, stop:], positions[0][..., stop:]
    following = int(positions[0].max()) + 1
    stops = model.generation_config.eos_token_id
    tokens, first = [], None
    for step in range(max_new_tokens):
        logits = model(input_ids=ids, position_ids=at, past_key_values=cache, use_cache=True).logits[:, -1]
        first = logits[0].float() if first is None else first
        token = int(logits.argmax())
        if token in (stops if isinstance(stops, list) else [stops]):
            break
        tokens.append(token)
        ids, at = torch.tensor([[token]]), positions[0][..., :1] * 0 + following + step
    return tokens, first


def skip(model, inputs, layers, max_new_tokens, every=False):
    """Answers with `layers` as identities: each still runs, but its contribution to the residual stream is dropped."""

    def identity(module, args, kwargs, output):
        hidden = _hidden(args, kwargs)
        return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

    modules = [decoder_layers(model)[layer] for layer in layers]
    with hooked(*(module.register_forward_hook(identity, with_kwargs=True) for module in modules)):
        return generate(model, inputs, max_new_tokens, every)


@torch.inference_mode()
def attention_weights(model, inputs, asked, keys):
    """Attention weights on the keys by output_attentions: [attention layer][example] -> tensor [heads, asked tokens, keys].

    asked: query tokens per example, each int [n]; keys: bool [batch, tokens]. Layers that give no attention weights have no
    entry (Qwen3.5's gated DeltaNet). The model attends eagerly from here on.
    """
    model.set_attn_implementation("eager")
    weights = model(**inputs, output_attentions=True).attentions
    return [[layer[row][:, asked[row]][..., keys[row]] for row in range(len(asked))] for layer in weights]


# --- all layers as rows of one batch, a hook per row: the best that one would write with hooks and generate -----------------------------


def _rows(inputs, count: int) -> dict:
    """A prompt `count` times; its image is encoded as often, for generate takes pixels."""
    return {name: part.repeat(count, *[1] * (part.ndim - 1)) for name, part in inputs.items()}


def swap_in_rows(model, target, source, max_new_tokens) -> dict:
    """One pair: {layer: (tokens, first logits)}; row 0, layer -1, is the target as it is."""
    layers, states = decoder_layers(model), []

    def keep(module, args, kwargs):
        states.append(_hidden(args, kwargs)[0, image_mask(model, source, 0)[0]].clone())

    with hooked(*(x.register_forward_pre_hook(keep, with_kwargs=True) for x in layers)):
        model(**source, logits_to_keep=1)
    mask, done = image_mask(model, target, 0)[0], set()

    def replace(layer):
        def hook(module, args, kwargs):
            if layer in done:
                return None
            done.add(layer)  # in prefill only
            hidden = _hidden(args, kwargs).clone()
            hidden[layer + 1, mask] = states[layer]
            return ((hidden, *args[1:]), kwargs) if args else (args, {**kwargs, "hidden_states": hidden})

        return hook

    with hooked(*(x.register_forward_pre_hook(replace(layer), with_kwargs=True) for layer, x in enumerate(layers))):
        return dict(enumerate(generate(model, _rows(target, len(layers) + 1), max_new_tokens), -1))


def skip_in_rows(model, inputs, max_new_tokens) -> dict:
    """One prompt: {layer: (tokens, first logits)}; row 0, layer -1, skips nothing."""
    layers = decoder_layers(model)

    def identity(row):
        def hook(module, args, kwargs, output):
            hidden = (output[0] if isinstance(output, tuple) else output).clone()
            hidden[row] = _hidden(args, kwargs)[row]
            return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

        return hook

    with hooked(*(x.register_forward_hook(identity(row), with_kwargs=True) for row, x in enumerate(layers, 1))):
        return dict(enumerate(generate(model, _rows(inputs, len(layers) + 1), max_new_tokens), -1))
