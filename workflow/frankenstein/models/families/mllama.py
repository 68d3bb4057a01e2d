"""Llama 3.2 Vision, which reads images through cross-attention layers."""

from ..family import PROBES, Family

_NO_TOKENS = "images enter by cross-attention layers: there are no vision tokens in the residual stream"

FAMILY = Family(
    "Llama 3.2 Vision",
    refused=dict.fromkeys(PROBES, _NO_TOKENS)
    | {"frozen_rl": "TRL does not pass on the aspect ratios that come with its images"},
)
