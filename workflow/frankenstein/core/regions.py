"""The Early, Mid and Late regions, defined by cut points."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from .errors import InputError

NAMES = ("early", "mid", "late")


@dataclass(frozen=True)
class Regions:
    """Three contiguous regions of the decoder: layers [0, cuts[0]), [cuts[0], cuts[1]), [cuts[1], layers).

    Raises InputError if a region would be empty.
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
        """Regions for the checkpoint described by a manifest."""
        return cls(tuple(cuts), json.loads(Path(manifest).read_text())["layers"])

    @classmethod
    def read(cls, path: str | Path) -> Regions:
        """Read regions written by `write`."""
        found = json.loads(Path(path).read_text())
        return cls(tuple(found["cuts"]), found["layers"])

    def write(self, path: str | Path) -> None:
        """Write the cuts and the number of layers as JSON."""
        Path(path).write_text(json.dumps({"cuts": list(self.cuts), "layers": self.layers}) + "\n")

    def range(self, name: str) -> range:
        """The layers of a region."""
        bounds = (0, *self.cuts, self.layers)
        i = NAMES.index(name)
        return range(bounds[i], bounds[i + 1])

    def of(self, layer: int) -> str:
        """The region of a decoder layer (0-based)."""
        return NAMES[(layer >= self.cuts[0]) + (layer >= self.cuts[1])]
