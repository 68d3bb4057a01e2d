"""Names of a checkpoint's role in tables and claims: Base, IN, RL, a hybrid named by its donors, and those below."""

# IN retrained with another seed: the seed-to-seed baseline for RL's effects.
RETRAINED = "IN, retrained"
# Checkpoints of a recipe whose attention is measured: configuration key -> role.
ATTENDED = {"instruct": "IN", "rl": "RL", "retrained": RETRAINED}


def frozen(region: str) -> str:
    """RL trained with a region (e.g. "early") frozen."""
    return f"RL, {region.capitalize()} frozen"
