"""Names of a checkpoint's role in tables and claims (Base, IN, RL, a hybrid named by its donors, and those below), and runs."""

from __future__ import annotations

from typing import NamedTuple

# IN retrained with another seed: the seed-to-seed baseline for RL's effects.
RETRAINED = "IN, retrained"
# The retrained IN as a donor of hybrids: IN:SEED:SEED is IN:RL:RL with another seed in RL's place.
SEED = "SEED"
NULL_HYBRID = f"IN:{SEED}:{SEED}"
# Checkpoints of a run whose attention is measured: configuration key -> role.
ATTENDED = {"instruct": "IN", "rl": "RL", "retrained": RETRAINED}


class Run(NamedTuple):
    """A training run of a recipe: an IN and the RL from it, with its hybrids and region-frozen runs; numbered from 1."""

    recipe: str
    number: int = 1


def frozen(region: str) -> str:
    """RL trained with a region (e.g. "early") frozen."""
    return f"RL, {region.capitalize()} frozen"
