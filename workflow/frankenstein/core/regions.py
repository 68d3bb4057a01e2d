"""Early, Mid and Late as cut points, and the paper's hybrids of them (Appendix E)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from .errors import InputError

NAMES = ("early", "mid", "late")
# Hybrids as copies of their parents' tensors, or as hard links to files that are made once a parent.
LAYOUTS = ("copy", "link")


@dataclass(frozen=True)
class Regions:
    """Three contiguous regions of the decoder: layers [0, cuts[0]), [cuts[0], cuts[1]), [cuts[1], layers).

    Raises InputError where a region would be empty.
    """

    cuts: tuple[int, int]
    layers: int

    def __post_init__(self):
        first, second = self.cuts
        if not 0 < first < second < self.layers:
            raise InputError(
                f"regions.cuts {list(self.cuts)} leave a region of the {self.layers} decoder layers empty: "
                f"need 0 < first < second < {self.layers}"
            )

    @classmethod
    def of_manifest(cls, manifest: str, cuts: tuple[int, int]) -> Regions:
        """The regions of the checkpoint that a manifest speaks of."""
        return cls(tuple(cuts), json.loads(Path(manifest).read_text())["layers"])

    def range(self, name: str) -> range:
        """The layers of a region."""
        bounds = (0, *self.cuts, self.layers)
        i = NAMES.index(name)
        return range(bounds[i], bounds[i + 1])

    def of(self, layer: int) -> str:
        """The region of a decoder layer (0-based)."""
        return NAMES[(layer >= self.cuts[0]) + (layer >= self.cuts[1])]


# The order of the paper's Table 2: the donor of Early, Mid and Late.
HYBRIDS = ("IN:RL:RL", "IN:IN:RL", "RL:RL:IN", "RL:IN:IN", "IN:RL:IN", "RL:IN:RL")
# IN trained once more with another seed: what RL changes is set beside what a seed changes.
RETRAINED = "IN, retrained"
