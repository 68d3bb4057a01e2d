"""The sweep engine: one intervention per layer, all layers in one exact pass (paper, Section 3.1, Appendix D).

Each intervention is a row. A token's hidden state entering layer j depends only on the row's interventions
below layer j and on the tokens the row has generated so far. Rows that agree up to that point therefore share
one state, which is computed once, and split where they first differ: row l splits from the unmodified row at
layer l. Causal attention keeps vision tokens independent of everything after them, so when an intervention
affects only the text after an image, the image is encoded and prefilled once, and during decoding all rows read
its KV cache in place.

The decoder layers are the model's own, called one at a time; only the attention function is replaced, through
transformers' AttentionInterface. Prompts in a batch are right-padded, where causal attention never looks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from transformers import AttentionInterface

from ..core.errors import InputError
from ..inference.generation import stop_tokens
from ..models.family import families
from .decoder import Decoder, Embedded, vision_tokens
from .modes import MODES

# The operation a row applies at a layer.
PLAIN, SOURCE, REPLACE, SKIP = range(4)
# Vision-token swapping at layer l, in three modes: the source's hidden states enter layer l and propagate; text reads
# the source's keys and values at every layer from l on; text reads them at layer l only (which locates the reading).
HIDDEN_STATE_AT_LAYER, KV_FROM_LAYER, KV_AT_LAYER_ONLY = MODES
NONE = "none"


@dataclass(frozen=True)
class Answer:
    """A row's output: token ids without the end token, whether it was truncated, first logits [vocabulary]."""

    tokens: list[int]
    truncated: bool
    logits: torch.Tensor


# --- attention ----------------------------------------------------------------------------------


class _Recorded(Exception):
    """Aborts a layer once its keys and values are recorded."""


_attend = None  # attention callback of the layer being run


def _attention(module, query, key, value, attention_mask, scaling=None, softcap=None, s_aux=None, **_):
    if softcap is not None or s_aux is not None:
        raise InputError(f"{type(module).__name__}: capped scores or attention sinks, which a sweep does not know")
    return _attend(query, key, value, scaling).transpose(1, 2), None


AttentionInterface.register("frankenstein", _attention)


def _run(layer, hidden, rotary, attend):
    """Run one decoder layer over hidden [states, tokens, hidden] with our own attention function."""
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
    """Grouped-query attention with the group folded into the query axis, so keys and values are not repeated.

    query: [n, heads, t, d]; key, value: [n, kv heads, s, d]; mask: bool [n or 1, t, s]. Returns [n, heads, t, d].
    """
    n, heads, t, d = query.shape
    group = heads // key.shape[1]
    folded = query.reshape(n, key.shape[1], group * t, d)
    mask = mask.repeat(1, group, 1)[:, None]
    return F.scaled_dot_product_attention(folded, key, value, attn_mask=mask, scale=scaling).reshape(n, heads, t, d)


def _causal(query, key, value, scaling):
    """Causal attention of whole segments; without a mask, a GPU has a fused kernel for it."""
    return F.scaled_dot_product_attention(query, key, value, is_causal=True, enable_gqa=True, scale=scaling)


def _lower(tokens: int, device) -> torch.Tensor:
    return torch.ones(tokens, tokens, dtype=torch.bool, device=device).tril()


# --- which rows share a state --------------------------------------------------------------------


@dataclass
class _Layer:
    """Index maps for one layer between the states that enter it, those it computes, and those that leave it.

    Leaving states are the computed ones followed by those carried past the layer (skipped).
    """

    parents: torch.Tensor  # computed -> entering
    carried: torch.Tensor  # entering states that skip the layer
    example: torch.Tensor  # computed -> example
    leaving: torch.Tensor  # leaving -> example
    context: torch.Tensor  # computed -> which of the shared prefix caches it reads
    slot: torch.Tensor  # computed -> its position among the states that read the same cache
    slots: torch.Tensor  # [caches, positions]: the inverse map; unused positions hold 0
    replaced: list[tuple[int, int]]  # (computed, example) where the source's vision tokens are swapped in
    rows: np.ndarray  # row -> computed, -1 where the row skips the layer
    first: np.ndarray  # computed -> one of its rows
    same: bool  # computed and entering states are identical, in the same order

    def split(self, hidden):
        """Split entering states into (those to compute, those carried past)."""
        return (hidden, hidden[:0]) if self.same else (hidden[self.parents], hidden[self.carried])

    def by_context(self, folded):
        """[computed, kv heads, group, x] -> [caches, kv heads, positions * group, x]: grouped by cache."""
        return folded[self.slots].transpose(1, 2).reshape(len(self.slots), folded.shape[1], -1, folded.shape[3])

    def by_state(self, gathered):
        """Inverse of by_context."""
        caches, kv_heads, _, x = gathered.shape
        return gathered.reshape(caches, kv_heads, self.slots.shape[1], -1, x)[self.context, :, self.slot]


def _plan(ops, example, row, group, kinds: int, devices) -> tuple[list[_Layer], torch.Tensor]:
    """The states at each layer, and a map from row to the state leaving the last layer.

    ops: int [rows per example, layers]; example, row, group: int [active rows], where rows of the same group enter
    layer 0 as one state. kinds: number of shared prefix caches per example. devices: of each layer.
    """

    layers, state = [], group
    for j, device in enumerate(devices):

        def tensor(values, device=device):
            return torch.as_tensor(np.asarray(values, dtype=np.int64), device=device)

        op, entering = ops[row, j], int(state.max()) + 1
        runs = np.flatnonzero(op != SKIP)
        # A computed state is identified by its entering state and the operation applied to it.
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
    """Stack tensors [tokens, ...] of different lengths into [n, longest, ...], zero-padded on the right."""
    return torch.nn.utils.rnn.pad_sequence(parts, batch_first=True)


def _of(rotary, examples: torch.Tensor, tokens=slice(None)):
    """Position embeddings of states, selected by their example."""
    rotary = [part.to(examples.device) for part in rotary]
    if rotary[0].shape[-3] == 1:
        return tuple(part[..., tokens, :] for part in rotary)
    return tuple(part.index_select(-3, examples)[..., tokens, :] for part in rotary)


# --- one batch -----------------------------------------------------------------------------------


@dataclass
class _SharedPrefix:
    """KV cache of the prefix before the tokens that each row computes itself, stored once for all rows.

    caches: per layer (keys, values), each [examples * kinds, kv heads, tokens, d], right-padded; of an example's
    kinds, the first is the target's and the second the source's. lengths: prefix length per example.
    """

    caches: list[tuple[torch.Tensor, torch.Tensor]]
    lengths: list[int]
    kinds: int


def _prefill(decoder: Decoder, prompts: list[Embedded], ends: list[int], keep: list[torch.Tensor] | None = None):
    """Prefill each prompt up to its entry in `ends`.

    Returns (per-layer [(keys, values)], [prompt][layer] -> hidden states of tokens keep[prompt] entering that layer).
    Right-padded; the padding is never read. The last layer is run only as far as its keys and values.
    """
    tokens = _Tokens(prompts, [range(end) for end in ends])
    caches, entered = [], [[] for _ in prompts]
    hidden, last = tokens.hidden, len(decoder.layers) - 1

    def attend(query, key, value, scaling):
        visible = tokens.visible[decoder.kinds[len(caches)]]
        caches.append((key.clone(), value.clone()))
        if len(caches) > last:
            raise _Recorded
        if visible is None:
            return _causal(query, key, value, scaling)
        return _grouped(query, key, value, visible.to(query.device), scaling)

    for j, layer in enumerate(decoder.layers):
        for states, row, places in zip(entered, hidden, keep, strict=True) if keep else ():
            states.append(row[places.to(row.device)].clone())
        hidden = hidden.to(decoder.devices[j])
        rotary = tuple(part.to(hidden.device) for part in tokens.rotary[decoder.kinds[j]])
        hidden = _run(layer, hidden, rotary, attend)
        if j < min(last, len(tokens.added)):
            hidden = hidden + tokens.added[j].to(hidden.device)
    return caches, entered


class _Tokens:
    """A span of each prompt in a batch, right-padded.

    rotary and visible are by kind of layer (Decoder.kinds); visible: bool [prompts, tokens, tokens], None where all are causal.
    Padding sees itself, so that no row of attention is empty.
    """

    def __init__(self, prompts: list[Embedded], spans: list[range]):
        def stack(of):
            return _stack([of(prompt)[span.start : span.stop] for prompt, span in zip(prompts, spans, strict=True)])

        self.lengths = [len(span) for span in spans]
        self.hidden = stack(lambda prompt: prompt.hidden)
        # Prompts without an image have nothing added.
        most = max(len(prompt.added) for prompt in prompts)
        self.added = [stack(lambda prompt, j=j: _added(prompt, j)) for j in range(most)]
        width = self.hidden.shape[1]
        self.rotary = [
            tuple(
                torch.cat(
                    [
                        F.pad(part[..., span.start : span.stop, :], (0, 0, 0, width - len(span)))
                        for part, span in zip(parts, spans, strict=True)
                    ],
                    -3,
                )
                for parts in zip(*of_kind, strict=True)
            )
            for of_kind in zip(*(prompt.rotary for prompt in prompts), strict=True)
        ]
        self.visible = [
            _square([_part(prompt, kind, span, span) for prompt, span in zip(prompts, spans, strict=True)], width)
            if any(prompt.visible[kind] is not None for prompt in prompts)
            else None
            for kind in range(len(prompts[0].visible))
        ]


def _added(prompt: Embedded, layer: int) -> torch.Tensor:
    return prompt.added[layer] if layer < len(prompt.added) else torch.zeros_like(prompt.hidden)


def _part(prompt: Embedded, kind: int, readers: range, read: range) -> torch.Tensor:
    """Which of a range of tokens a range of tokens reads in layers of a kind: bool [readers, read]."""
    visible = prompt.visible[kind]
    if visible is None:
        at = torch.arange(max(readers.stop, read.stop), device=prompt.ids.device)
        return at[readers.start : readers.stop, None] >= at[read.start : read.stop]
    return visible[readers.start : readers.stop, read.start : read.stop]


def _square(parts: list[torch.Tensor], width: int) -> torch.Tensor:
    """Masks [tokens, tokens] of different sizes, as one [n, width, width]."""
    full = torch.eye(width, dtype=torch.bool, device=parts[0].device).repeat(len(parts), 1, 1)
    for row, part in zip(full, parts, strict=True):
        row[: len(part), : len(part)] = part
    return full


class _BatchedSweep:
    """All rows over one batch of prompts, from token starts[i] on: one prefill, then joint greedy decoding.

    ops: int [rows per example, layers]; row 0 is PLAIN at every layer. replacements: per example, needed where any row
    has REPLACE: the places of the vision tokens in the segment, int [n], and what replaces them, per layer [n, hidden].
    """

    def __init__(self, decoder, prompts, starts, ops, before: _SharedPrefix | None = None, replacements=None):
        self.prompts, self.starts = prompts, starts
        self.decoder, self.ops, self.before, self.replacements = decoder, ops, before, replacements
        self.kinds = before.kinds if before else 0
        spans = [range(start, len(prompt.ids)) for prompt, start in zip(prompts, starts, strict=True)]
        self.tokens = _Tokens(prompts, spans)
        self.width, self.device = self.tokens.hidden.shape[1], self.tokens.hidden.device
        self.example = np.repeat(np.arange(len(prompts)), len(ops))
        self.row = np.tile(np.arange(len(ops)), len(prompts))
        self.lengths = torch.tensor(self.tokens.lengths, device=self.device)
        # Padding that must be masked: to the right of a short segment, and to the right of a short prefix.
        at = torch.arange(self.width, device=self.device)
        self.padding = at >= self.lengths[:, None]
        self.padded = bool(self.padding.any())
        if before:
            at = torch.arange(before.caches[0][0].shape[2], device=self.device)
            self.unseen = at >= torch.tensor(before.lengths, device=self.device)[:, None]
            self.uneven = bool(self.unseen.any())
            # By kind of layer: which tokens of the prefix the segment's read, where the model has a mask of its own.
            own = enumerate(self.tokens.visible)
            self.seen = [None if visible is None else self._seen(kind) for kind, visible in own]
        self.keys: list[torch.Tensor] = []
        self.values: list[torch.Tensor] = []

    def _after(self, max_new_tokens: int) -> None:
        """Positions and visibility of the generated tokens; in visibility, the prompt's last token comes first."""
        lengths = [len(prompt.ids) for prompt in self.prompts]
        steps = max_new_tokens - 1
        self.rotary = [
            tuple(
                torch.cat([part[..., end : end + steps, :] for part, end in zip(parts, lengths, strict=True)], -3)
                for parts in zip(*of_kind, strict=True)
            )
            for of_kind in zip(*(prompt.rotary for prompt in self.prompts), strict=True)
        ]
        self.hidden_own, self.hidden_before = [], []
        for kind, visible in enumerate(zip(*(prompt.visible for prompt in self.prompts), strict=True)):
            if all(mask is None for mask in visible):
                self.hidden_own.append(None)
                self.hidden_before.append(None)
                continue
            own, before = [], []
            for prompt, start, end in zip(self.prompts, self.starts, lengths, strict=True):
                readers = range(end - 1, end + steps)
                seen = _part(prompt, kind, readers, range(start, end))
                made = _part(prompt, kind, readers, range(end, end + steps))
                own.append(~torch.cat([F.pad(seen, (0, self.width - seen.shape[1]), value=True), made], 1))
                before.append(~_part(prompt, kind, readers, range(start)))
            self.hidden_own.append(torch.stack(own))
            longest = self.unseen.shape[1] if self.before else 0
            self.hidden_before.append(torch.stack([F.pad(part, (0, longest - part.shape[1])) for part in before]))

    def run(self, max_new_tokens: int, stops: set[int]) -> list[list[Answer]]:
        """Greedy answers [example][row]."""
        self._after(max_new_tokens)
        logits = self.decoder.finish(self._prefill(max_new_tokens))
        first = logits.float().cpu()
        rows = len(self.example)
        tokens: list[list[int]] = [[] for _ in range(rows)]
        truncated = np.ones(rows, dtype=bool)
        active, group = np.arange(rows), self.example
        for step in range(max_new_tokens):
            chosen = logits.argmax(-1).cpu().numpy()
            going = ~np.isin(chosen, list(stops))
            truncated[active[~going]] = False
            for row, token in zip(active[going], chosen[going], strict=True):
                tokens[row].append(int(token))
            if step == max_new_tokens - 1 or not going.any():
                break
            # Rows that have generated the same tokens share one state until their interventions split them.
            pairs = np.stack([group[going], chosen[going]], 1)
            fed, now = np.unique(pairs, axis=0, return_inverse=True)
            if not going.all() or not np.array_equal(now, group):
                self._regroup(active[going], now, going)
            active, group = active[going], now
            with self.decoder.decoding():
                hidden = self._step(torch.as_tensor(fed[:, 1], device=self.device), step)
            logits = self.decoder.finish(hidden)
        answers = [Answer(*fields) for fields in zip(tokens, truncated.tolist(), first, strict=True)]
        return [answers[start : start + len(self.ops)] for start in range(0, rows, len(self.ops))]

    def _prefill(self, max_new_tokens: int) -> torch.Tensor:
        """Final hidden states [rows, hidden] at each prompt's last token."""
        self.layers, self.state = _plan(
            self.ops, self.example, self.row, self.example, self.kinds, self.decoder.devices
        )
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

            entering, carried = layer.split(hidden.to(self.decoder.devices[j]))
            if layer.replaced:
                entering = entering.clone()
                for state, example in layer.replaced:
                    places, states = self.replacements[example]
                    entering[state, places.to(entering.device)] = states[j]
            rotary = _of(tokens.rotary[self.decoder.kinds[j]], layer.example)
            computed = _run(module, entering, rotary, attend)
            if j == last:
                # Only each prompt's last token is needed from the last layer.
                def attend_last(query, key, value, scaling, j=j, layer=layer):
                    return self._attend_one(j, layer, query, scaling, self.width, 0)

                ends = self.lengths.to(entering.device) - 1
                carried = _at(carried, ends[layer.leaving[len(entering) :]])
                rotary = tuple(_at(part, ends[layer.example][: part.shape[-3]]) for part in rotary)
                computed = _run(module, _at(entering, ends[layer.example]), rotary, attend_last)
            hidden = torch.cat([computed, carried])
            if j < len(tokens.added):
                added = tokens.added[j].to(hidden.device)[layer.leaving]
                hidden = hidden + (_at(added, ends[layer.leaving]) if j == last else added)
        return hidden[self.state, 0]

    def _step(self, tokens: torch.Tensor, step: int) -> torch.Tensor:
        """Final hidden states [active rows, hidden] after decoding one more token; tokens: int [groups]."""
        hidden = self.decoder.embeddings(tokens)[:, None]
        end = self.width + step
        for j, (layer, module) in enumerate(zip(self.layers, self.decoder.layers, strict=True)):

            def attend(query, key, value, scaling, j=j, layer=layer):
                self.keys[j][:, :, end], self.values[j][:, :, end] = key[:, :, 0], value[:, :, 0]
                return self._attend_one(j, layer, query, scaling, end + 1, step + 1)

            entering, carried = layer.split(hidden.to(self.decoder.devices[j]))
            if len(entering):
                rotary = _of(self.rotary[self.decoder.kinds[j]], layer.example, slice(step, step + 1))
                computed = _run(module, entering, rotary, attend)
                carried = torch.cat([computed, carried]) if len(carried) else computed
            hidden = carried
        return hidden[self.state, 0]

    def _regroup(self, rows: np.ndarray, group: np.ndarray, kept: np.ndarray) -> None:
        """Rebuild the states after rows have diverged or finished; each new state inherits its parent's KV cache."""
        layers, state = _plan(self.ops, self.example[rows], self.row[rows], group, self.kinds, self.decoder.devices)
        for j, (layer, old) in enumerate(zip(layers, self.layers, strict=True)):
            parents = old.rows[kept][layer.first]
            if not np.array_equal(parents, np.arange(len(self.keys[j]))):
                parents = torch.as_tensor(parents, device=self.keys[j].device)
                self.keys[j], self.values[j] = self.keys[j][parents], self.values[j][parents]
        self.layers, self.state = layers, state

    def _attend_many(self, j, layer, query, key, value, scaling):
        """Prefill: every token attends to the shared prefix and, causally or as the model's mask has it, to its own segment."""
        kind = self.decoder.kinds[j]
        visible = self.tokens.visible[kind]
        if not self.before:
            if visible is None:
                return _causal(query, key, value, scaling)
            return _grouped(query, key, value, visible.to(query.device)[layer.example], scaling)
        n, t = query.shape[0], query.shape[2]
        keys, values = (
            torch.cat([cache[layer.context], own], 2)
            for cache, own in zip(self.before.caches[j], (key, value), strict=True)
        )
        if visible is None:
            own = _lower(t, query.device).expand(n, t, t)
            seen = ~self.unseen.to(query.device)[layer.example][:, None].expand(n, t, -1)
        else:
            own, seen = (part.to(query.device)[layer.example] for part in (visible, self.seen[kind]))
        return _grouped(query, keys, values, torch.cat([seen, own], 2), scaling)

    def _seen(self, kind: int) -> torch.Tensor:
        """Which tokens of the shared prefix those of the segment read: bool [examples, segment, prefix], right-padded."""
        full = self.unseen.new_zeros(len(self.prompts), self.width, self.unseen.shape[1])
        for row, prompt, start in zip(full, self.prompts, self.starts, strict=True):
            part = _part(prompt, kind, range(start, len(prompt.ids)), range(start))
            row[: len(part), : part.shape[1]] = part
        return full

    def _attend_one(self, j, layer, query, scaling, length: int, reader: int):
        """One token per state, attending to its own cache of `length` tokens and to the shared prefix, read in place.

        reader: 0 for the prompt's last token, else the number of the generated one.

        query: [states, heads, 1, d]. Returns [states, heads, 1, d]. Scores are float32, as within fused attention: rounded to
        bfloat16, they would be coarser in decoding than in prefill.
        """
        keys, values = self.keys[j][:, :, :length], self.values[j][:, :, :length]
        n, kv_heads, _, d = keys.shape
        folded = query.reshape(n, kv_heads, -1, d)
        scores = folded.float() @ keys.float().transpose(2, 3) * scaling
        if self.padded:
            scores[..., : self.width].masked_fill_(
                self.padding.to(query.device)[layer.example][:, None, None], -torch.inf
            )
        kind = self.decoder.kinds[j]
        if (hidden := self.hidden_own[kind]) is not None:
            scores.masked_fill_(hidden.to(query.device)[layer.example, reader, :length][:, None, None], -torch.inf)
        if not self.before:
            return (torch.softmax(scores, -1).to(values.dtype) @ values).reshape(query.shape)
        before_keys, before_values = self.before.caches[j]
        before = layer.by_context(folded.float()) @ before_keys[: len(layer.slots)].float().transpose(2, 3)
        before = layer.by_state(before) * scaling
        if self.uneven:
            before.masked_fill_(self.unseen.to(query.device)[layer.example][:, None, None], -torch.inf)
        if (hidden := self.hidden_before[kind]) is not None:
            before.masked_fill_(hidden.to(query.device)[layer.example, reader][:, None, None], -torch.inf)
        weights = torch.softmax(torch.cat([before, scores], -1), -1).to(values.dtype)
        width = before.shape[-1]
        read = layer.by_state(layer.by_context(weights[..., :width]) @ before_values[: len(layer.slots)])
        return (read + weights[..., width:] @ values).reshape(query.shape)


def _at(states, ends):
    """[..., n, tokens, d] -> [..., n, 1, d]: select the token at index ends[i] of each."""
    index = ends[:, None, None].expand(-1, 1, states.shape[-1])
    return states.gather(-2, index.expand(*states.shape[:-3], *index.shape))


def _extent(places: torch.Tensor) -> range:
    return range(int(places[0]), int(places[-1]) + 1)


# --- sweeps --------------------------------------------------------------------------------------


def _check(max_new_tokens: int) -> None:
    if max_new_tokens < 1:
        raise InputError(f"max_new_tokens is {max_new_tokens}, but at least one token must be generated")


def _prove(decoder: Decoder, inputs, unmodified: list[Answer]) -> None:
    """Once per model of a family that no test covers: the unmodified rows are the model's own answers, or InputError.

    The largest difference of the first logits, in standard deviations of the logits: 1e-3 in float32, 0.2 in half precision.
    """
    kind = decoder.model.config.model_type
    if decoder.proved or kind in families():
        return
    own = decoder.model(**inputs, logits_to_keep=1).logits[:, -1].float().cpu()
    off = float(((torch.stack([answer.logits for answer in unmodified]) - own).abs() / own.std()).max())
    if off > (1e-3 if decoder.model.dtype == torch.float32 else 0.2):
        raise InputError(
            f"{kind}: without any intervention, the sweep's first logits differ from the model's own by {off:.2g} standard deviations: "
            "this family does something that the sweep does not know, and its results would be wrong"
        )
    decoder.proved = True


@torch.inference_mode()
def skip(decoder: Decoder, inputs, ranges: list[range], max_new_tokens: int) -> list[list[Answer]]:
    """Greedy answers with layers skipped: [example][row]; row 0 skips nothing, row 1 + i skips layers ranges[i].

    A skipped layer is the identity in both prefill and decoding: its attention and MLP contribute nothing to the
    residual stream (paper, Section 3.1). inputs: a processor's batch, padded on either side. Raises InputError for
    a range outside the model, or max_new_tokens below 1.
    """
    _check(max_new_tokens)
    count = len(decoder.layers)
    ops = np.full((1 + len(ranges), count), PLAIN)
    for row, layers in enumerate(ranges, 1):
        if not 0 <= layers.start < layers.stop <= count or layers.step != 1:
            raise InputError(f"layers {layers.start} to {layers.stop - 1}: this model has layers 0 to {count - 1}")
        ops[row, layers.start : layers.stop] = SKIP
    prompts = decoder.embed(inputs, max_new_tokens)
    with decoder.attention("frankenstein"):
        answers = _BatchedSweep(decoder, prompts, [0] * len(prompts), ops).run(
            max_new_tokens, stop_tokens(decoder.model.generation_config)
        )
    _prove(decoder, inputs, [rows[0] for rows in answers])
    return answers


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
    """Greedy answers with vision tokens swapped, per example: {("none", -1): unswapped, (mode, layer): ...}.

    targets, sources: a processor's batches of the same prompts, padded on either side; `image` is the index of the
    image to swap if prompts contain several. Modes (paper, Section 3.1):

    - hidden_state_at_layer: the source's hidden states replace those of the vision tokens entering layer l;
    - kv_from_layer: at layers >= l, text reads the source's keys and values for the vision tokens;
    - kv_at_layer_only: text reads them at layer l only, and the target's at every other layer.

    If the prompts agree up to the image and the model has no DeepStack, the first two modes are the same computation
    and are run once. Otherwise, hidden states are replaced as they are and the vision tokens continue through the
    layers, while keys and values are taken from the source's own prompt, positions included. With DeepStack the modes
    also differ in the first layers: replaced hidden states still receive the target's later features.

    interpolate: bilinearly interpolate hidden states to the target's grid if the grids differ; resizing the image
    beforehand is preferable. Raises InputError for unequal grids without it, for a prompt that lacks the image or has
    several and `image` is None, and for a kv mode when no text follows the image.
    """
    _check(max_new_tokens)
    for mode in modes:
        if mode not in MODES:
            raise InputError(f"mode {mode!r}: one of {', '.join(MODES)}")
    if len(targets["input_ids"]) != len(sources["input_ids"]):
        raise InputError(
            f"{len(targets['input_ids'])} targets but {len(sources['input_ids'])} sources: give one source per target"
        )
    both = zip(decoder.embed(targets, max_new_tokens), decoder.embed(sources, max_new_tokens), strict=True)
    pairs = [_Pair.of(decoder, number, *prompts, image) for number, prompts in enumerate(both)]
    kv_modes = any(mode != HIDDEN_STATE_AT_LAYER for mode in modes)
    for number, pair in enumerate(pairs):
        if pair.unequal and (kv_modes or not interpolate):
            raise InputError(
                f"pair {number}: {pair.grids()}; resize the source image to the target's size (or interpolate hidden "
                "states, which keys and values do not allow)"
            )
        if kv_modes and pair.ends:
            raise InputError(
                f"pair {number}: no text follows the image, so nothing reads it; only {HIDDEN_STATE_AT_LAYER}"
            )
    with decoder.attention("frankenstein"):
        answers = _swap(decoder, pairs, modes, max_new_tokens)
    _prove(decoder, targets, [rows[NONE, -1] for rows in answers])
    return answers


@dataclass(frozen=True)
class _Pair:
    """A target and a source prompt, and where the vision tokens of their images are.

    places, others: int [n]; what stands between an image's vision tokens (row breaks, labels of tiles) is not swapped.
    """

    target: Embedded
    source: Embedded
    image: int
    places: torch.Tensor
    others: torch.Tensor

    @classmethod
    def of(cls, decoder: Decoder, number: int, target: Embedded, source: Embedded, image: int | None) -> _Pair:
        found = []
        for side, prompt in (("target", target), ("source", source)):
            images = vision_tokens(decoder.model, prompt.ids)
            if not images:
                raise InputError(f"{side} {number}: no vision token in the prompt")
            if image is None and len(images) > 1:
                raise InputError(f"{side} {number}: {len(images)} images in the prompt; say which one to swap")
            if not 0 <= (image or 0) < len(images):
                raise InputError(
                    f"{side} {number}: image {image} was requested, but the prompt has {len(images)} images"
                )
            found.append(images[image or 0])
            start, stop = _extent(found[-1]).start, _extent(found[-1]).stop
            for visible in prompt.visible:
                if visible is not None and (visible[:start, start:].any() or visible[:stop, stop:].any()):
                    raise InputError(
                        f"{decoder.model.config.model_type}: tokens see the text or the image after them, so that an image's tokens "
                        "are not computed once for all layers"
                    )
        return cls(target, source, image or 0, *found)

    @property
    def span(self) -> range:
        """From the target image's first to its last vision token."""
        return _extent(self.places)

    @property
    def other(self) -> range:
        """The same in the source."""
        return _extent(self.others)

    def grid(self, prompt: Embedded) -> tuple[int, int] | None:
        return prompt.grids[self.image] if prompt.grids else None

    @property
    def unequal(self) -> bool:
        """Whether the images have other numbers or another arrangement of vision tokens."""
        spans = (self.target.ids, self.span), (self.source.ids, self.other)
        one, other = (ids[span.start : span.stop] for ids, span in spans)
        return not torch.equal(one, other) or self.grid(self.target) != self.grid(self.source)

    def grids(self) -> str:
        target, source = (self.grid(prompt) or "no plain grid" for prompt in (self.target, self.source))
        return f"{len(self.places)} vision tokens in the target ({target}), {len(self.others)} in the source ({source})"

    @property
    def ends(self) -> bool:
        """Whether the prompt ends with the image itself."""
        return self.span.stop == len(self.target.ids)

    @property
    def alike(self) -> bool:
        """Whether the prompts agree up to the image, earlier images included, and the image has the same position."""
        return (
            not self.unequal
            and torch.equal(self.target.ids[: self.span.stop], self.source.ids[: self.other.stop])
            and all(map(torch.equal, self.target.pixels[: self.image], self.source.pixels[: self.image]))
        )

    @property
    def shared_from(self) -> int | None:
        """First layer from which hidden_state_at_layer equals kv_from_layer; None if there is none.

        What stands between vision tokens reads them and is read by them: then the two differ.
        """
        whole = len(self.places) == len(self.span)
        return len(self.target.added) if whole and self.alike and not self.ends else None


def _swap(decoder: Decoder, pairs: list[_Pair], modes: list[str], max_new_tokens: int):
    stops, layers = stop_tokens(decoder.model.generation_config), range(len(decoder.layers))
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
    # Remaining layers of hidden_state_at_layer: all of them, or the ones that DeepStack reaches.
    left = [(pair.shared_from if short[i] else len(layers)) if hidden else 0 for i, pair in enumerate(pairs)]
    for upto in sorted(set(left) - {0}):
        chosen = [i for i in range(len(pairs)) if left[i] == upto]
        made = _from_hidden_states(decoder, [pairs[i] for i in chosen], range(upto), max_new_tokens, stops)
        for i, rows in zip(chosen, made, strict=True):
            answers[i].setdefault((NONE, -1), rows[0])
            answers[i] |= {(HIDDEN_STATE_AT_LAYER, layer): answer for layer, answer in enumerate(rows[1:])}
    return answers


def _from_caches(decoder: Decoder, pairs: list[_Pair], ops, max_new_tokens: int, stops) -> list[list[Answer]]:
    """Rows that read the target's or the source's keys and values; vision tokens are computed once per image."""
    prompts = [prompt for pair in pairs for prompt in (pair.target, pair.source)]
    caches, _ = _prefill(decoder, prompts, [span.stop for pair in pairs for span in (pair.span, pair.other)])
    for part in (part for cache in caches for part in cache):
        for i, pair in enumerate(pairs):
            # The source cache: the target's own text and earlier images, with the source's vision tokens.
            places, others = (at.to(part.device) for at in (pair.places, pair.others))
            vision = part[2 * i + 1, :, others].clone()
            part[2 * i + 1, :, : pair.span.stop] = part[2 * i, :, : pair.span.stop]
            part[2 * i + 1, :, places] = vision
    starts = [pair.span.stop for pair in pairs]
    wave = _BatchedSweep(decoder, [pair.target for pair in pairs], starts, ops, _SharedPrefix(caches, starts, 2))
    return wave.run(max_new_tokens, stops)


def _from_hidden_states(decoder: Decoder, pairs: list[_Pair], layers: range, max_new_tokens: int, stops):
    """hidden_state_at_layer in full: after replacement, each row's vision tokens run through the remaining layers."""
    ends = [pair.other.stop for pair in pairs]
    _, entered = _prefill(decoder, [pair.source for pair in pairs], ends, keep=[pair.others for pair in pairs])
    replacements = [
        (pair.places - pair.span.start, [_to_grid(state, pair) for state in states] if pair.unequal else states)
        for pair, states in zip(pairs, entered, strict=True)
    ]
    targets, starts = [pair.target for pair in pairs], [pair.span.start for pair in pairs]
    before = _SharedPrefix(_prefill(decoder, targets, starts)[0], starts, 1) if max(starts) else None
    ops = np.full((1 + len(layers), len(decoder.layers)), PLAIN)
    for row, layer in enumerate(layers, 1):
        ops[row, layer] = REPLACE
    return _BatchedSweep(decoder, targets, starts, ops, before, replacements).run(max_new_tokens, stops)


def _to_grid(states: torch.Tensor, pair: _Pair) -> torch.Tensor:
    """Interpolate the source's vision-token hidden states bilinearly to the target's grid: [tokens, hidden]."""
    target, source = pair.grid(pair.target), pair.grid(pair.source)
    if not (target and source) or math.prod(target) != len(pair.places) or math.prod(source) != len(pair.others):
        raise InputError(f"{pair.grids()}: no grid to interpolate on; resize the source image to the target's size")
    image = states.float().T.reshape(1, -1, *source)
    image = F.interpolate(image, size=target, mode="bilinear", align_corners=False)
    return image.flatten(2)[0].T.to(states.dtype)
