"""Which donor gives which part of a hybrid: IN:RL:RL and everything more particular (paper, Section 3.3, Appendix E)."""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass

from ..core.errors import InputError
from ..models.architecture import Part

# The paper's six, in the order of its Table 2: the donor of Early, Mid and Late.
HYBRIDS = ("IN:RL:RL", "IN:IN:RL", "RL:RL:IN", "RL:IN:IN", "IN:RL:IN", "RL:IN:RL")
# Hybrids as copies of their parents' tensors, or as hard links to files that are made once per parent.
LAYOUTS = ("copy", "link")
BLOCKS = ("attention", "mlp")
# What lies in no decoder layer.
REST = ("vision_tower", "projector", "embeddings", "final_norm", "head")
EARLY = "early"

_NUMBER = re.compile(r"(?:0|1|0?\.\d+|1\.0+)")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_TARGET = re.compile(r"(?:(\d+)(?:-(\d+))?)?\.?(attention|mlp)?")


@dataclass(frozen=True)
class Choice:
    """Where a tensor comes from: one donor's copy, or between two: donor + alpha (towards - donor)."""

    donor: str
    towards: str = ""
    alpha: float = 0.0

    def __str__(self) -> str:
        return f"{self.donor} + {self.alpha:g} ({self.towards} - {self.donor})" if self.towards else self.donor


def _choice(text: str, spec: str) -> Choice:
    """A donor's name, or a number alpha for IN + alpha (RL - IN); 0 and 1 are the copies."""
    if _NUMBER.fullmatch(text):
        alpha = float(text)
        return Choice("RL" if alpha == 1 else "IN") if alpha in (0, 1) else Choice("IN", "RL", alpha)
    if _NAME.fullmatch(text):
        return Choice(text)
    raise InputError(f"hybrid {spec!r}: {text!r} is neither a donor's name nor a number between 0 and 1")


def even_cuts(layers: int, regions: int) -> tuple[int, ...]:
    """Cut points of regions as equal as can be, the first ones larger: 10 and 19 of 28 layers, as in the paper."""
    return tuple(-(-layers * region // regions) for region in range(1, regions))


@dataclass(frozen=True)
class Assignment:
    """The choice for each part of a model.

    regions: a choice a region of decoder layers, cut at `cuts`; overlays: (choice, layers, block or ""), the last one
    that covers a tensor wins; rest: a choice for each of REST; layers: of the decoder.
    """

    spec: str
    layers: int
    cuts: tuple[int, ...]
    regions: tuple[Choice, ...]
    overlays: tuple[tuple[Choice, range, str], ...]
    rest: dict[str, Choice]

    @classmethod
    def parse(cls, spec: str, layers: int, cuts: tuple[int, ...] | None = None, rest_from: str | dict = EARLY):
        """From IN:RL:RL (regions from the first layer to the last), IN, IN:0.5:RL, IN+RL@14-17, IN+RL@attention, IN+RL@3.mlp.

        A number alpha stands for IN + alpha (RL - IN). +DONOR@LAYERS.BLOCK puts a donor's layers, or of all
        layers or these the attention or the MLP (norms stay), over what stands before it. cuts: first layers
        of the second, third ... region; without them regions are even (even_cuts). rest_from: early (what the first
        region is), a donor or a number, or a dict of these by part (REST; what it leaves out is early's).
        Raises InputError for what does not parse, and for layers that are not there.
        """
        head, *overlays = spec.split("+")
        regions = tuple(_choice(text, spec) for text in head.split(":"))
        cuts = even_cuts(layers, len(regions)) if cuts is None else tuple(cuts)
        if len(regions) == 1:
            cuts = ()
        bounds = (0, *cuts, layers)
        if len(cuts) != len(regions) - 1:
            raise InputError(
                f"hybrid {spec!r}: {len(regions)} regions need {len(regions) - 1} cut points, not {list(cuts)}"
            )
        if any(low >= high for low, high in itertools.pairwise(bounds)):
            raise InputError(f"hybrid {spec!r}: cuts {list(cuts)} leave a region of the {layers} decoder layers empty")
        return cls(
            spec, layers, cuts, regions, tuple(_overlay(text, spec, layers) for text in overlays),
            _rest(rest_from, regions[0], spec),
        )  # fmt: skip

    def choice(self, part: Part) -> Choice:
        if part.layer is None:
            return self.rest[part.component]
        for choice, layers, block in reversed(self.overlays):
            if part.layer in layers and block in ("", part.block):
                return choice
        return self.regions[sum(part.layer >= cut for cut in self.cuts)]

    @property
    def donors(self) -> list[str]:
        """Names of all donors, in order of appearance."""
        choices = [*self.regions, *(choice for choice, *_ in self.overlays), *self.rest.values()]
        return list(dict.fromkeys(name for c in choices for name in (c.donor, c.towards) if name))


def _overlay(text: str, spec: str, layers: int) -> tuple[Choice, range, str]:
    source, at, target = text.partition("@")
    match = _TARGET.fullmatch(target)
    if not at or not target or not match:
        raise InputError(
            f"hybrid {spec!r}: {'+' + text!r} is not like +RL@14-17, +RL@3, +RL@attention or +RL@14-17.mlp"
        )
    first, last, block = match.groups()
    chosen = range(layers) if first is None else range(int(first), int(last or first) + 1)
    if not chosen or chosen.stop > layers:
        raise InputError(f"hybrid {spec!r}: layers {target!r}, but the decoder has layers 0 to {layers - 1}")
    return _choice(source, spec), chosen, block or ""


def _rest(rest_from: str | dict, early: Choice, spec: str) -> dict[str, Choice]:
    named = rest_from if isinstance(rest_from, dict) else dict.fromkeys(REST, rest_from)
    if unknown := sorted(set(named) - set(REST)):
        raise InputError(f"rest_from: {unknown[0]!r} is none of {', '.join(REST)}")
    # in and rl are written small in config.
    return {
        part: early if (text := str(named.get(part, EARLY))) == EARLY
        else _choice(text.upper() if text in ("in", "rl", "base") else text, spec)
        for part in REST
    }  # fmt: skip
