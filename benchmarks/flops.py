"""FLOPs of a layer-by-layer sweep: one generate call per layer versus the sweep engine. A multiply-add counts as two.

For the engine, each row is counted from the layer where it splits from the others; during decoding, all rows are
assumed to be separate from the first token on, which is the worst case.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Shape:
    """hidden, intermediate and kv widths of the decoder and the vision tower; vision tokens are four patches."""

    layers: int
    hidden: int
    intermediate: int
    kv: int
    vocabulary: int
    vision_layers: int
    vision_hidden: int
    vision_intermediate: int
    vision_full: int  # number of vision layers with full attention; the others use windows of 64 patches

    @classmethod
    def small(cls, layers: int, hidden: int, vocabulary: int) -> Shape:
        """The model built by benchmarks/sweep.py."""
        heads = max(hidden // 64, 1)
        kv = max(heads // 4, 1) * (hidden // heads)
        return cls(layers, hidden, 4 * hidden, kv, vocabulary, 4, max(hidden // 2, 32), hidden, 1)

    def layer(self, tokens: int, before: int) -> float:
        """One decoder layer over tokens that follow `before` others."""
        linear = 2 * (2 * self.hidden**2 + 2 * self.hidden * self.kv + 3 * self.hidden * self.intermediate)
        return tokens * linear + 4 * self.hidden * (tokens * before + tokens * (tokens + 1) // 2)

    def keys(self, tokens: int) -> float:
        """Only the keys and values of one layer."""
        return 4 * tokens * self.hidden * self.kv

    def head(self) -> float:
        return 2 * self.hidden * self.vocabulary

    def vision(self, tokens: int) -> float:
        """Vision tower and projector for one image."""
        patches, h = 4 * tokens, self.vision_hidden
        linear = patches * 2 * (4 * h * h + 3 * h * self.vision_intermediate)
        attention = 4 * h * patches * (self.vision_full * patches + (self.vision_layers - self.vision_full) * 64)
        merger = tokens * 2 * ((4 * h) ** 2 + 4 * h * self.hidden)
        return self.vision_layers * linear + attention + patches * 2 * 1176 * h + merger

    def decode(self, before: int, new_tokens: int) -> float:
        """Decoding one row after its first token."""
        return (new_tokens - 1) * self.head() + self.layers * self.layer(new_tokens - 1, before)


QWEN2_5_VL_7B = Shape(28, 3584, 18944, 512, 152064, 32, 1280, 3420, 4)


def ratio(shape: Shape, probe: str, prefix: int, vision: int, suffix: int, new_tokens: int) -> float:
    """FLOPs of one generate call per layer plus an unmodified one, relative to the sweep engine, for one pair or prompt."""
    n, length = shape.layers, prefix + vision + suffix
    run = shape.vision(vision) + n * shape.layer(length, 0) + shape.head() + shape.decode(length, new_tokens)
    decode = (n + 1) * (shape.head() + shape.decode(length, new_tokens))
    if probe == "swap":
        naive = (n + 1) * run + shape.vision(vision) + n * shape.layer(length, 0)
        images = 2 * (shape.vision(vision) + (n - 1) * shape.layer(prefix + vision, 0) + shape.keys(prefix + vision))
        # Layer j computes the unmodified row and the rows that have split off at layers 0 to j.
        text = sum((j + 2) * shape.layer(suffix, prefix + vision) for j in range(n - 1))
        text += (n + 1) * (shape.keys(suffix) + shape.layer(1, length - 1))
        return naive / (images + text + decode)
    text = sum((j + 1) * shape.layer(length, 0) for j in range(n - 1))
    text += n * (shape.keys(length) + shape.layer(1, length - 1))
    return (n + 1) * run / (shape.vision(vision) + text + decode)
