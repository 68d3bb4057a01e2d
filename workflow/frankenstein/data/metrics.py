"""The paper's fine-grained metrics (Table 1) as data: which conditions decide them."""

from __future__ import annotations

from collections.abc import Iterable

# metric -> (ability, what must hold of an example: condition -> right or not right)   (paper, Table 1)
METRICS = {
    "M_vis": ("vision", {"image": True, "black": False}),
    "M_v2r": ("vision_to_reasoning", {"image": True, "described": True}),
    "M_rea": ("reasoning", {"text": True}),
}
# A control that no metric needs: the question about another example's image.
SHUFFLED = "shuffled"


def conditions(task: str, abilities: dict[str, str], has_image: bool = True) -> list[str]:
    """The conditions that a task must be answered in: those of its metrics, or just as it is published."""
    needed = [c for ability, rule in METRICS.values() if abilities[ability] == task for c in rule]
    return list(dict.fromkeys(needed)) or ["image" if has_image else "text"]


def as_published(asked: Iterable[str]) -> str:
    """Of the conditions that a task was answered in, that in which it is published: with its image, if it has one."""
    return "image" if "image" in set(asked) else "text"
