"""Qwen3.5, three of four layers of which are gated DeltaNets."""

from ..family import PROBES, THOUSANDTHS, Family

_NO_KEYS = "linear_attention layers have no keys and values per token: swapping and attention are not defined there"

FAMILY = Family("Qwen3.5", boxes=THOUSANDTHS, refused=dict.fromkeys(PROBES, _NO_KEYS))
