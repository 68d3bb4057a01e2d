"""The paper's fine-grained metrics (Table 1) as data: the conditions each one depends on."""

from __future__ import annotations

from collections.abc import Iterable

# metric -> (ability, required outcome of an example per condition: True for right, False for not right)
METRICS = {
    "M_vis": ("vision", {"image": True, "black": False}),
    "M_v2r": ("vision_to_reasoning", {"image": True, "described": True}),
    "M_rea": ("reasoning", {"text": True}),
}
# A control condition used by no metric: the question with another example's image.
SHUFFLED = "shuffled"


def conditions(task: str, abilities: dict[str, str], has_image: bool = True) -> list[str]:
    """The conditions a task must be evaluated under: those of its metrics, or only the published one."""
    needed = [c for ability, rule in METRICS.values() if abilities[ability] == task for c in rule]
    return list(dict.fromkeys(needed)) or ["image" if has_image else "text"]


def as_published(asked: Iterable[str]) -> str:
    """Among the conditions a task was evaluated under, the published one: with its image, if it has one."""
    return "image" if "image" in set(asked) else "text"
