"""The sweep engine: one intervention a layer, all layers in one pass, exact (paper, Section 3.1, Appendix D).

Every intervention is a row. A token's hidden state entering layer j depends only on what was done to
its row below j and on the tokens that the row has generated; so rows that agree so far are one state,
computed once, and part where they differ: row l leaves the unchanged row at layer l. Vision tokens
see nothing that comes after them: when the text after an image is all that changes, each image is
encoded and prefilled once, and in decoding its KV cache is read where it lies, however many rows read it.

The decoder layers are the model's own, called one by one; only attention is ours, put in place
through transformers' AttentionInterface. Prompts of a batch are padded on the right, where causal
attention never looks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from transformers import AttentionInterface

from ..core.errors import InputError
from ..inference.generation import stop_tokens
from .decoder import Decoder, Embedded, vision_spans
from .modes import MODES

# What a row does at a layer.
PLAIN, SOURCE, REPLACE, SKIP = range(4)
# Vision-token swapping asks three questions of layer l: the source's hidden states enter it, and go on; text reads
# the source's keys and values at all layers from l on; text reads them at layer l alone: where vision is read.
HIDDEN_STATE_AT_LAYER, KV_FROM_LAYER, KV_AT_LAYER_ONLY = MODES
NONE = "none"


@dataclass(frozen=True)
class Answer:
    """What a row generated: token ids without the end token, whether it ran out of tokens, first logits [vocabulary]."""

    tokens: list[int]
    truncated: bool
    logits: torch.Tensor


# --- attention ----------------------------------------------------------------------------------


class _Recorded(Exception):
    """Keys and values are at hand, and the rest of this layer is not wanted."""


_attend = None  # the attention of the layer that is being run


def _attention(module, query, key, value, attention_mask, scaling=None, **_):
    return _attend(query, key, value, scaling).transpose(1, 2), None


AttentionInterface.register("frankenstein", _attention)


def _run(layer, hidden, rotary, attend):
    """One decoder layer over hidden [states, tokens, hidden] with an attention of ours."""
    global _attend
    _attend = attend
    try:
        output = layer(hidden, position_embeddings=rotary, attention_mask=None, position_ids=None)
    except _Recorded:
        return None
    finally:
        _attend = None
    return output[0] if isinstance(output, tuple) else output


def _grouped(query, key, value, mask, scaling):
    """Grouped-query attention with the group folded into the queries, so that keys and values are not repeated.

    query [n, heads, t, d]; key, value [n, kv heads, s, d]; mask bool [n or 1, t, s]. -> [n, heads, t, d]
    """
    n, heads, t, d = query.shape
    group = heads // key.shape[1]
    folded = query.reshape(n, key.shape[1], group * t, d)
    mask = mask.repeat(1, group, 1)[:, None]
    return F.scaled_dot_product_attention(folded, key, value, attn_mask=mask, scale=scaling).reshape(n, heads, t, d)


def _causal(query, key, value, scaling):
    if query.shape[1] == key.shape[1]:
        return F.scaled_dot_product_attention(query, key, value, is_causal=True, scale=scaling)
    t = query.shape[2]
    return _grouped(query, key, value, torch.ones(1, t, t, dtype=torch.bool, device=query.device).tril(), scaling)


# --- which rows share a state --------------------------------------------------------------------


@dataclass
class _Layer:
    """What one layer computes, by state: those that enter the layer, those it computes, and those that leave it.

    Those that leave are the computed ones, then those that were carried past the layer.
    """

    parents: torch.Tensor  # computed -> entering
    carried: torch.Tensor  # entering states that skip the layer
    example: torch.Tensor  # computed -> example
    leaving: torch.Tensor  # leaving -> example
    context: torch.Tensor  # computed -> which of the caches before the segment it reads
    slot: torch.Tensor  # ... and its place among the states that read it
    slots: torch.Tensor  # [caches, places]: the reverse; a place that is not taken holds 0
    replaced: list[tuple[int, int]]  # (computed, example) where vision tokens enter as the source's
    rows: np.ndarray  # row -> computed, -1 where the row skips the layer
    first: np.ndarray  # computed -> a row of its
    same: bool  # the computed states are those that enter, in order

    def split(self, hidden):
        """Entering states -> those to compute, those carried past."""
        return (hidden, hidden[:0]) if self.same else (hidden[self.parents], hidden[self.carried])

    def by_context(self, folded):
        """[computed, kv heads, group, x] -> [caches, kv heads, places * group, x]: side by side what reads one cache."""
        return folded[self.slots].transpose(1, 2).reshape(len(self.slots), folded.shape[1], -1, folded.shape[3])

    def by_state(self, gathered):
        """The reverse of by_context."""
        caches, kv_heads, _, x = gathered.shape
        return gathered.reshape(caches, kv_heads, self.slots.shape[1], -1, x)[self.context, :, self.slot]


def _plan(ops, example, row, group, kinds: int, device) -> tuple[list[_Layer], torch.Tensor]:
    """Layer by layer which states there are, and row -> state that leaves the last layer.

    ops int [rows of an example, layers]; example, row, group int [active rows]: rows of a group enter
    layer 0 as one state. kinds: caches before the segment an example has.
    """

    def tensor(values):
        return torch.as_tensor(np.asarray(values, dtype=np.int64), device=device)

    layers, state = [], group
    for j in range(ops.shape[1]):
        op, entering = ops[row, j], int(state.max()) + 1
        runs = np.flatnonzero(op != SKIP)
        # A computed state is an entering one and what is done to it.
        keys, first, inverse = np.unique(state[runs] * 4 + op[runs], return_index=True, return_inverse=True)
        first, parents, done = runs[first], keys // 4, keys % 4
        rows = np.full(len(state), -1)
        rows[runs] = inverse
        carried, place = np.unique(state[rows < 0], return_inverse=True)
        state = rows.copy()
        state[rows < 0] = len(keys) + place
        leaving = np.empty(len(keys) + len(carried), dtype=np.int64)
        leaving[state] = example

        context = example[first] * kinds + ((done == SOURCE) if kinds == 2 else 0)
        order = np.argsort(context, kind="stable")
        counts = np.bincount(context, minlength=1)
        slot = np.empty(len(keys), dtype=np.int64)
        slot[order] = np.arange(len(keys)) - np.repeat(np.cumsum(counts) - counts, counts)
        slots = np.zeros((len(counts), max(counts.max(), 1)), dtype=np.int64)
        slots[context, slot] = np.arange(len(keys))
        layers.append(
            _Layer(
                tensor(parents),
                tensor(carried),
                tensor(example[first]),
                tensor(leaving),
                tensor(context),
                tensor(slot),
                tensor(slots),
                [(int(i), int(example[first[i]])) for i in np.flatnonzero(done == REPLACE)],
                rows,
                first,
                len(carried) == 0 and np.array_equal(parents, np.arange(entering)),
            )
        )
    return layers, tensor(state)


def _stack(parts: list[torch.Tensor]) -> torch.Tensor:
    """Tensors [tokens, ...] of different lengths as one [n, longest, ...], zeros on the right."""
    return torch.nn.utils.rnn.pad_sequence(parts, batch_first=True)


def _of(rotary, examples: torch.Tensor, tokens=slice(None)):
    """Position embeddings of states, by their example."""
    if rotary[0].shape[-3] == 1:
        return tuple(part[..., tokens, :] for part in rotary)
    return tuple(part.index_select(-3, examples)[..., tokens, :] for part in rotary)


# --- one batch -----------------------------------------------------------------------------------


@dataclass
class _SharedPrefix:
    """What stands before the tokens that rows compute for themselves, kept once for all rows.

    caches: layers x (keys, values), each [examples * kinds, kv heads, tokens, d], padded on the right; of
    an example's kinds the first is the target's, the second the source's. lengths: by example.
    """

    caches: list[tuple[torch.Tensor, torch.Tensor]]
    lengths: list[int]
    kinds: int


def _prefill(decoder: Decoder, prompts: list[Embedded], ends: list[int], keep: list[range] | None = None):
    """Each prompt up to its end through all layers: [(keys, values)] and, of tokens keep[i], [i][layer] what enters it.

    Right-padded: what stands in the padding is never read. The last layer yields keys and values only.
    """
    tokens = _Tokens(prompts, [range(end) for end in ends])
    caches, entered = [], [[] for _ in prompts]
    hidden, last = tokens.hidden, len(decoder.layers) - 1

    def attend(query, key, value, scaling):
        caches.append((key.clone(), value.clone()))
        if len(caches) > last:
            raise _Recorded
        return _causal(query, key, value, scaling)

    for j, layer in enumerate(decoder.layers):
        for states, row, span in zip(entered, hidden, keep, strict=True) if keep else ():
            states.append(row[span.start : span.stop].clone())
        hidden = _run(layer, hidden, tokens.rotary, attend)
        if j < min(last, len(tokens.deepstack)):
            hidden = hidden + tokens.deepstack[j]
    return caches, entered


class _Tokens:
    """A stretch of each prompt of a batch, padded on the right."""

    def __init__(self, prompts: list[Embedded], spans: list[range]):
        def stack(of):
            return _stack([of(prompt)[span.start : span.stop] for prompt, span in zip(prompts, spans, strict=True)])

        self.lengths = [len(span) for span in spans]
        self.hidden = stack(lambda prompt: prompt.hidden)
        self.deepstack = [stack(lambda prompt, j=j: prompt.deepstack[j]) for j in range(len(prompts[0].deepstack))]
        width = self.hidden.shape[1]
        self.rotary = tuple(
            torch.cat(
                [
                    F.pad(part[..., span.start : span.stop, :], (0, 0, 0, width - len(span)))
                    for part, span in zip(parts, spans, strict=True)
                ],
                -3,
            )
            for parts in zip(*(prompt.rotary for prompt in prompts), strict=True)
        )


class _BatchedSweep:
    """Rows over one batch of prompts from token `starts` on: one prefill, then greedy decoding together.

    ops int [rows of an example, layers]; row 0 is PLAIN at every layer. replacements: by example, where
    some row says REPLACE: layers x [vision tokens, hidden], which head the segment.
    """

    def __init__(self, decoder, prompts, starts, ops, before: _SharedPrefix | None = None, replacements=None):
        self.decoder, self.ops, self.before, self.replacements = decoder, ops, before, replacements
        self.kinds = before.kinds if before else 0
        spans = [range(start, len(prompt.ids)) for prompt, start in zip(prompts, starts, strict=True)]
        self.tokens = _Tokens(prompts, spans)
        self.width, self.device = self.tokens.hidden.shape[1], self.tokens.hidden.device
        self.next = torch.tensor([prompt.next_position for prompt in prompts], device=self.device)
        self.axes = prompts[0].positions.shape[:-2]
        self.example = np.repeat(np.arange(len(prompts)), len(ops))
        self.row = np.tile(np.arange(len(ops)), len(prompts))
        self.lengths = torch.tensor(self.tokens.lengths, device=self.device)
        # Padding that no row may read: right of a short segment, and right of what stands before it.
        at = torch.arange(self.width, device=self.device)
        self.padding = at >= self.lengths[:, None]
        self.padded = bool(self.padding.any())
        if before:
            at = torch.arange(before.caches[0][0].shape[2], device=self.device)
            self.unseen = at >= torch.tensor(before.lengths, device=self.device)[:, None]
            self.uneven = bool(self.unseen.any())
        self.keys: list[torch.Tensor] = []
        self.values: list[torch.Tensor] = []

    def run(self, max_new_tokens: int, stops: set[int]) -> list[list[Answer]]:
        """Greedy answers [example][row]."""
        logits = self.decoder.finish(self._prefill(max_new_tokens))
        first = logits.float().cpu()
        rows = len(self.example)
        tokens: list[list[int]] = [[] for _ in range(rows)]
        truncated = np.ones(rows, dtype=bool)
        positions = self.next[:, None] + torch.arange(max_new_tokens, device=self.device)
        rotary = self.decoder.rotary(positions.expand(*self.axes, *positions.shape), self.tokens.hidden)
        active, group = np.arange(rows), self.example
        for step in range(max_new_tokens):
            chosen = logits.argmax(-1).cpu().numpy()
            going = ~np.isin(chosen, list(stops))
            truncated[active[~going]] = False
            for row, token in zip(active[going], chosen[going], strict=True):
                tokens[row].append(int(token))
            if step == max_new_tokens - 1 or not going.any():
                break
            # Rows that have generated the same tokens are one state until their interventions part them.
            pairs = np.stack([group[going], chosen[going]], 1)
            fed, now = np.unique(pairs, axis=0, return_inverse=True)
            if not going.all() or not np.array_equal(now, group):
                self._regroup(active[going], now, going)
            active, group = active[going], now
            with self.decoder.decoding():
                hidden = self._step(torch.as_tensor(fed[:, 1], device=self.device), rotary, step)
            logits = self.decoder.finish(hidden)
        answers = [Answer(*fields) for fields in zip(tokens, truncated.tolist(), first, strict=True)]
        return [answers[start : start + len(self.ops)] for start in range(0, rows, len(self.ops))]

    def _prefill(self, max_new_tokens: int) -> torch.Tensor:
        """Final hidden states [rows, hidden] of each prompt's last token."""
        self.layers, self.state = _plan(self.ops, self.example, self.row, self.example, self.kinds, self.device)
        tokens, hidden, last = self.tokens, self.tokens.hidden, len(self.layers) - 1
        for j, (layer, module) in enumerate(zip(self.layers, self.decoder.layers, strict=True)):

            def attend(query, key, value, scaling, j=j, layer=layer):
                room = key.new_empty(2, *key.shape[:2], self.width + max_new_tokens - 1, key.shape[3])
                room[0, :, :, : self.width], room[1, :, :, : self.width] = key, value
                self.keys.append(room[0])
                self.values.append(room[1])
                if j == last:
                    raise _Recorded
                return self._attend_many(j, layer, query, key, value, scaling)

            entering, carried = layer.split(hidden)
            if layer.replaced:
                entering = entering.clone()
                for state, example in layer.replaced:
                    new = self.replacements[example][j]
                    entering[state, : len(new)] = new
            rotary = _of(tokens.rotary, layer.example)
            computed = _run(module, entering, rotary, attend)
            if j == last:
                # All that is read of the last layer is the last token of each prompt.
                def attend_last(query, key, value, scaling, j=j, layer=layer):
                    return self._attend_one(j, layer, query, scaling, self.width)

                ends = self.lengths - 1
                carried = _at(carried, ends[layer.leaving[len(entering) :]])
                rotary = tuple(_at(part, ends[layer.example][: part.shape[-3]]) for part in rotary)
                computed = _run(module, _at(entering, ends[layer.example]), rotary, attend_last)
            hidden = torch.cat([computed, carried])
            if j < len(tokens.deepstack):
                added = tokens.deepstack[j][layer.leaving]
                hidden = hidden + (_at(added, ends[layer.leaving]) if j == last else added)
        return hidden[self.state, 0]

    def _step(self, tokens: torch.Tensor, rotary, step: int) -> torch.Tensor:
        """Final hidden states [active rows, hidden] after one more token; tokens int [groups]."""
        hidden = self.decoder.embeddings(tokens)[:, None]
        end = self.width + step
        for j, (layer, module) in enumerate(zip(self.layers, self.decoder.layers, strict=True)):

            def attend(query, key, value, scaling, j=j, layer=layer):
                self.keys[j][:, :, end], self.values[j][:, :, end] = key[:, :, 0], value[:, :, 0]
                return self._attend_one(j, layer, query, scaling, end + 1)

            entering, carried = layer.split(hidden)
            if len(entering):
                computed = _run(module, entering, _of(rotary, layer.example, slice(step, step + 1)), attend)
                carried = torch.cat([computed, carried]) if len(carried) else computed
            hidden = carried
        return hidden[self.state, 0]

    def _regroup(self, rows: np.ndarray, group: np.ndarray, kept: np.ndarray) -> None:
        """New states where rows have parted or ended; each takes its KV cache along."""
        layers, state = _plan(self.ops, self.example[rows], self.row[rows], group, self.kinds, self.device)
        for j, (layer, old) in enumerate(zip(layers, self.layers, strict=True)):
            parents = old.rows[kept][layer.first]
            if not np.array_equal(parents, np.arange(len(self.keys[j]))):
                parents = torch.as_tensor(parents, device=self.device)
                self.keys[j], self.values[j] = self.keys[j][parents], self.values[j][parents]
        self.layers, self.state = layers, state

    def _attend_many(self, j, layer, query, key, value, scaling):
        """Prefill: every token over what stands before the segment and, causally, over its own."""
        if not self.before:
            return _causal(query, key, value, scaling)
        n, t = query.shape[0], query.shape[2]
        keys, values = (
            torch.cat([cache[layer.context], own], 2)
            for cache, own in zip(self.before.caches[j], (key, value), strict=True)
        )
        causal = torch.ones(t, t, dtype=torch.bool, device=self.device).tril()
        seen = ~self.unseen[layer.example][:, None]
        return _grouped(query, keys, values, torch.cat([seen.expand(n, t, -1), causal.expand(n, t, t)], 2), scaling)

    def _attend_one(self, j, layer, query, scaling, length: int):
        """One token a state, over its own cache of `length` tokens and what stands before, read where it lies.

        query [states, heads, 1, d] -> [states, heads, 1, d]
        """
        keys, values = self.keys[j][:, :, :length], self.values[j][:, :, :length]
        n, kv_heads, _, d = keys.shape
        folded = (query * scaling).reshape(n, kv_heads, -1, d)
        scores = folded @ keys.transpose(2, 3)
        if self.padded:
            scores[..., : self.width].masked_fill_(self.padding[layer.example][:, None, None], -torch.inf)
        if not self.before:
            return (_weights(scores) @ values).reshape(query.shape)
        before_keys, before_values = self.before.caches[j]
        before = layer.by_state(layer.by_context(folded) @ before_keys[: len(layer.slots)].transpose(2, 3))
        if self.uneven:
            before.masked_fill_(self.unseen[layer.example][:, None, None], -torch.inf)
        weights = _weights(torch.cat([before, scores], -1))
        width = before.shape[-1]
        read = layer.by_state(layer.by_context(weights[..., :width]) @ before_values[: len(layer.slots)])
        return (read + weights[..., width:] @ values).reshape(query.shape)


def _at(states, ends):
    """[..., n, tokens, d] -> [..., n, 1, d]: of each the token at its end."""
    index = ends[:, None, None].expand(-1, 1, states.shape[-1])
    return states.gather(-2, index.expand(*states.shape[:-3], *index.shape))


def _weights(scores):
    return torch.softmax(scores, -1, dtype=torch.float32).to(scores.dtype)


# --- sweeps --------------------------------------------------------------------------------------


def _check(max_new_tokens: int) -> None:
    if max_new_tokens < 1:
        raise InputError(f"max_new_tokens: {max_new_tokens}; at least one token has to be generated")


@torch.inference_mode()
def skip(decoder: Decoder, inputs, ranges: list[range], max_new_tokens: int) -> list[list[Answer]]:
    """Answers [example][0: nothing skipped, 1 + i: layers ranges[i] skipped], greedy.

    A skipped layer is an identity, in prefill and in decoding: its attention and MLP are left out of the
    residual stream (paper, Section 3.1). inputs: a processor's batch, padded on either side. Raises
    InputError for a range outside the model or max_new_tokens below 1.
    """
    _check(max_new_tokens)
    count = len(decoder.layers)
    ops = np.full((1 + len(ranges), count), PLAIN)
    for row, layers in enumerate(ranges, 1):
        if not 0 <= layers.start < layers.stop <= count or layers.step != 1:
            raise InputError(f"layers {layers.start} to {layers.stop - 1}: this model has layers 0 to {count - 1}")
        ops[row, layers.start : layers.stop] = SKIP
    prompts = decoder.embed(inputs)
    with decoder.attention("frankenstein"):
        return _BatchedSweep(decoder, prompts, [0] * len(prompts), ops).run(max_new_tokens, stop_tokens(decoder.model))


@torch.inference_mode()
def swap(
    decoder: Decoder,
    targets,
    sources,
    modes: list[str],
    max_new_tokens: int,
    image: int | None = None,
    interpolate: bool = False,
) -> list[dict[tuple[str, int], Answer]]:
    """Answers by example: {("none", -1): nothing swapped, (mode, layer): ...} for every layer, greedy.

    targets, sources: a processor's batches of the same prompts, padded on either side; `image` names the one that
    is swapped where a prompt holds several. Modes (paper, Section 3.1; shared/paper.md, 4a):

    - hidden_state_at_layer: the hidden states of the vision tokens that enter layer l are the source's;
    - kv_from_layer: text reads the source's keys and values of the vision tokens at layers >= l;
    - kv_at_layer_only: at layer l, and the target's everywhere else.

    With an equal prompt before the image and no DeepStack the first two are the same computation, and are made as
    one. Elsewhere hidden states are replaced as they are and the vision tokens run on; keys and values are
    taken as the source's own prompt has them, positions included. With DeepStack the first layers differ
    too: replaced hidden states still receive the target's later features.

    interpolate: hidden states of an unequal grid are interpolated (bilinear) to the target's; better is an
    image resized beforehand. Raises InputError for unequal grids without it, for a prompt without that
    image or with several and none named, and where a kv mode has no text after the image that could read it.
    """
    _check(max_new_tokens)
    for mode in modes:
        if mode not in MODES:
            raise InputError(f"mode {mode!r}: one of {', '.join(MODES)}")
    if len(targets["input_ids"]) != len(sources["input_ids"]):
        raise InputError(f"{len(targets['input_ids'])} targets, {len(sources['input_ids'])} sources: pair them")
    both = zip(decoder.embed(targets), decoder.embed(sources), strict=True)
    pairs = [_Pair.of(decoder, number, *prompts, image) for number, prompts in enumerate(both)]
    kv_modes = any(mode != HIDDEN_STATE_AT_LAYER for mode in modes)
    for number, pair in enumerate(pairs):
        if pair.unequal and (kv_modes or not interpolate):
            raise InputError(
                f"pair {number}: {pair.grids()}; resize the source image to the target's size (or interpolate hidden "
                "states, which keys and values do not allow)"
            )
        if kv_modes and pair.ends:
            raise InputError(f"pair {number}: no text after the image that could read it; only {HIDDEN_STATE_AT_LAYER}")
    with decoder.attention("frankenstein"):
        return _swap(decoder, pairs, modes, max_new_tokens)


@dataclass(frozen=True)
class _Pair:
    """A target and a source, and where their image stands."""

    target: Embedded
    source: Embedded
    image: int
    span: range
    other: range

    @classmethod
    def of(cls, decoder: Decoder, number: int, target: Embedded, source: Embedded, image: int | None) -> _Pair:
        found = []
        for side, prompt in (("target", target), ("source", source)):
            spans = vision_spans(decoder.model, prompt.ids)
            if not spans:
                raise InputError(f"{side} {number}: no vision token in the prompt")
            if image is None and len(spans) > 1:
                raise InputError(f"{side} {number}: {len(spans)} images in the prompt; name the one to swap")
            if not 0 <= (image or 0) < len(spans):
                raise InputError(f"{side} {number}: image {image} asked for, the prompt holds {len(spans)}")
            found.append(spans[image or 0])
        return cls(target, source, image or 0, *found)

    def grid(self, prompt: Embedded) -> tuple[int, int] | None:
        return prompt.grids[self.image] if prompt.grids else None

    @property
    def unequal(self) -> bool:
        return len(self.span) != len(self.other) or self.grid(self.target) != self.grid(self.source)

    def grids(self) -> str:
        target, source = (self.grid(prompt) or "no plain grid" for prompt in (self.target, self.source))
        return f"{len(self.span)} vision tokens in the target ({target}), {len(self.other)} in the source ({source})"

    @property
    def ends(self) -> bool:
        """Whether the prompt ends with the image itself."""
        return self.span.stop == len(self.target.ids)

    @property
    def alike(self) -> bool:
        """Whether the prompts are the same up to the image, earlier images included, and the image has the same place."""
        return (
            not self.unequal
            and torch.equal(self.target.ids[: self.span.stop], self.source.ids[: self.other.stop])
            and all(map(torch.equal, self.target.pixels[: self.image], self.source.pixels[: self.image]))
        )

    @property
    def shared_from(self) -> int | None:
        """The layer from which on hidden states at a layer are the source's cache from that layer on; None: nowhere."""
        return len(self.target.deepstack) if self.alike and not self.ends else None


def _swap(decoder: Decoder, pairs: list[_Pair], modes: list[str], max_new_tokens: int):
    stops, layers = stop_tokens(decoder.model), range(len(decoder.layers))
    hidden = HIDDEN_STATE_AT_LAYER in modes
    wanted = [mode for mode in modes if mode != HIDDEN_STATE_AT_LAYER]
    short = [hidden and pair.shared_from is not None for pair in pairs]
    if any(short) and KV_FROM_LAYER not in wanted:
        wanted.append(KV_FROM_LAYER)

    answers: list[dict[tuple[str, int], Answer]] = [{} for _ in pairs]
    if wanted:
        labels = [(mode, layer) for mode in wanted for layer in layers]
        ops = np.full((1 + len(labels), len(layers)), PLAIN)
        for row, (mode, layer) in enumerate(labels, 1):
            ops[row, layer : layer + 1 if mode == KV_AT_LAYER_ONLY else None] = SOURCE
        chosen = [i for i in range(len(pairs)) if short[i] or set(wanted) & set(modes)]
        for i, made in zip(
            chosen, _from_caches(decoder, [pairs[i] for i in chosen], ops, max_new_tokens, stops), strict=True
        ):
            answers[i][NONE, -1] = made[0]
            for (mode, layer), answer in zip(labels, made[1:], strict=True):
                if mode in modes:
                    answers[i][mode, layer] = answer
                if mode == KV_FROM_LAYER and short[i] and layer >= pairs[i].shared_from:
                    answers[i][HIDDEN_STATE_AT_LAYER, layer] = answer
    # What is left of hidden_state_at_layer: all layers, or those below the last of DeepStack.
    left = [(pair.shared_from if short[i] else len(layers)) if hidden else 0 for i, pair in enumerate(pairs)]
    for upto in sorted(set(left) - {0}):
        chosen = [i for i in range(len(pairs)) if left[i] == upto]
        made = _from_hidden_states(decoder, [pairs[i] for i in chosen], range(upto), max_new_tokens, stops)
        for i, rows in zip(chosen, made, strict=True):
            answers[i].setdefault((NONE, -1), rows[0])
            answers[i] |= {(HIDDEN_STATE_AT_LAYER, layer): answer for layer, answer in enumerate(rows[1:])}
    return answers


def _from_caches(decoder: Decoder, pairs: list[_Pair], ops, max_new_tokens: int, stops) -> list[list[Answer]]:
    """Rows that read the target's or the source's keys and values; vision tokens are computed once an image."""
    prompts = [prompt for pair in pairs for prompt in (pair.target, pair.source)]
    caches, _ = _prefill(decoder, prompts, [span.stop for pair in pairs for span in (pair.span, pair.other)])
    for part in (part for cache in caches for part in cache):
        for i, pair in enumerate(pairs):
            # The target's own text, and earlier images, with the source's vision tokens.
            vision = part[2 * i + 1, :, pair.other.start : pair.other.stop].clone()
            part[2 * i + 1, :, : pair.span.start] = part[2 * i, :, : pair.span.start]
            part[2 * i + 1, :, pair.span.start : pair.span.stop] = vision
    starts = [pair.span.stop for pair in pairs]
    wave = _BatchedSweep(decoder, [pair.target for pair in pairs], starts, ops, _SharedPrefix(caches, starts, 2))
    return wave.run(max_new_tokens, stops)


def _from_hidden_states(decoder: Decoder, pairs: list[_Pair], layers: range, max_new_tokens: int, stops):
    """hidden_state_at_layer the long way: the vision tokens of every row run on after they are replaced."""
    others = [pair.other for pair in pairs]
    _, entered = _prefill(decoder, [pair.source for pair in pairs], [other.stop for other in others], keep=others)
    replacements = [
        [_to_grid(state, pair) for state in states] if pair.unequal else states
        for pair, states in zip(pairs, entered, strict=True)
    ]
    targets, starts = [pair.target for pair in pairs], [pair.span.start for pair in pairs]
    before = _SharedPrefix(_prefill(decoder, targets, starts)[0], starts, 1) if max(starts) else None
    ops = np.full((1 + len(layers), len(decoder.layers)), PLAIN)
    for row, layer in enumerate(layers, 1):
        ops[row, layer] = REPLACE
    return _BatchedSweep(decoder, targets, starts, ops, before, replacements).run(max_new_tokens, stops)


def _to_grid(states: torch.Tensor, pair: _Pair) -> torch.Tensor:
    """Hidden states of the source's vision tokens on the target's grid: [tokens, hidden], bilinear."""
    if not (pair.target.grids and pair.source.grids):
        raise InputError(f"{pair.grids()}: nothing to interpolate on; resize the source image to the target's size")
    image = states.float().T.reshape(1, -1, *pair.grid(pair.source))
    image = F.interpolate(image, size=pair.grid(pair.target), mode="bilinear", align_corners=False)
    return image.flatten(2)[0].T.to(states.dtype)
