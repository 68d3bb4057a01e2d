"""Early, Mid and Late as cut points, and hybrids such as IN:RL:RL (paper, Appendix E)."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from pathlib import Path

from .errors import InputError

NAMES = ("early", "mid", "late")
# Where a hybrid takes what is in no decoder layer from: the donor of its Early region, IN, or RL.
REST_FROM = ("early", "in", "rl")


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


@dataclass(frozen=True)
class Hybrid:
    """Which donor, IN or RL, gives the layers of each region."""

    donors: tuple[str, str, str]

    @classmethod
    def parse(cls, text: str) -> Hybrid:
        """From "IN:RL:RL", or "IN-RL-RL" as it stands in file names."""
        donors = tuple(text.replace("-", ":").split(":"))
        if len(donors) != len(NAMES) or set(donors) - {"IN", "RL"}:
            raise InputError(f"hybrid {text!r}: need one of IN and RL for each of {', '.join(NAMES)}, like IN:RL:RL")
        return cls(donors)

    def __str__(self) -> str:
        return ":".join(self.donors)

    @property
    def stem(self) -> str:
        """The name without characters that a file system may refuse."""
        return "-".join(self.donors)

    def donor(self, region: str) -> str:
        return self.donors[NAMES.index(region)]


# The order of the paper's Table 2.
HYBRIDS = tuple(Hybrid.parse(text) for text in ("IN:RL:RL", "IN:IN:RL", "RL:RL:IN", "RL:IN:IN", "IN:RL:IN", "RL:IN:RL"))
assert set(HYBRIDS) == {Hybrid(donors) for donors in itertools.product(("IN", "RL"), repeat=3) if len(set(donors)) > 1}
