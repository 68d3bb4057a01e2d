"""What a checkpoint is in a recipe, as tables and claims name it: Base, IN, RL, a hybrid by its donors, and these."""

# IN trained once more with another seed: what RL changes is set beside what a seed changes.
RETRAINED = "IN, retrained"


def frozen(region: str) -> str:
    """RL that was trained with a region ("early") frozen."""
    return f"RL, {region.capitalize()} frozen"
