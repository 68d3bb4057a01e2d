"""Hybrid specifications: which donor supplies which part of the model (paper, Section 3.3, Appendix E)."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..core.errors import InputError
from ..models.architecture import Part

# The paper's six hybrids, in the order of its Table 2: the donors of Early, Mid and Late.
HYBRIDS = ("IN:RL:RL", "IN:IN:RL", "RL:RL:IN", "RL:IN:IN", "IN:RL:IN", "RL:IN:RL")
# Hybrids copy their parents' tensors, or hard-link files that are written once per parent.
LAYOUTS = ("copy", "link")
BLOCKS = ("attention", "mlp")
# Parts outside the decoder layers, and among them those that a language model lacks.
REST = ("vision_tower", "projector", "embeddings", "final_norm", "head")
SEEING = ("vision_tower", "projector")
EARLY = "early"

_NUMBER = re.compile(r"(?:0|1|0?\.\d+|1\.0+)")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_TARGET = re.compile(r"(?:(\d+)(?:-(\d+))?)?\.?(attention|mlp)?")


@dataclass(frozen=True)
class Choice:
    """The source of a tensor: a copy from one donor, or an interpolation: donor + alpha (towards - donor)."""

    donor: str
    towards: str = ""
    alpha: float = 0.0

    def __str__(self) -> str:
        return f"{self.donor} + {self.alpha:g} ({self.towards} - {self.donor})" if self.towards else self.donor


def _choice(text: str, spec: str) -> Choice:
    """Parse a donor's name, or a number alpha meaning IN + alpha (RL - IN); 0 and 1 are plain copies."""
    if _NUMBER.fullmatch(text):
        alpha = float(text)
        return Choice("RL" if alpha == 1 else "IN") if alpha in (0, 1) else Choice("IN", "RL", alpha)
    if _NAME.fullmatch(text):
        return Choice(text)
    raise InputError(f"hybrid {spec!r}: {text!r} is neither a donor's name nor a number between 0 and 1")


def even_cuts(layers: int, regions: int) -> tuple[int, ...]:
    """Cut points of near-equal regions, any larger ones first: 10 and 19 for 28 layers, as in the paper."""
    return tuple(-(-layers * region // regions) for region in range(1, regions))


@dataclass(frozen=True)
class Assignment:
    """The source (Choice) of each part of a model.

    regions: one choice per region of decoder layers, which are split at `cuts`; overlays: (choice, layers, block or
    ""), where the last overlay covering a tensor wins; rest: one choice per part in REST; layers: number of decoder
    layers.
    """

    spec: str
    layers: int
    cuts: tuple[int, ...]
    regions: tuple[Choice, ...]
    overlays: tuple[tuple[Choice, range, str], ...]
    rest: dict[str, Choice]

    @classmethod
    def parse(cls, spec: str, layers: int, cuts: tuple[int, ...] | None = None, rest_from: str | dict = EARLY):
        """Parse IN:RL:RL (regions in layer order), IN, IN:0.5:RL, IN+RL@14-17, IN+RL@attention, IN+RL@3.mlp.

        A number alpha means IN + alpha (RL - IN). +DONOR@LAYERS.BLOCK overrides everything before it: with a donor's
        layers, or with only their attention or MLP (norms stay as they were); without LAYERS, in every layer. cuts:
        first layers of the second, third, ... region; by default regions are of equal size (even_cuts). rest_from:
        "early" (same source as the first region), a donor or a number, or a dict of these per part in REST, where
        omitted parts follow "early". Raises InputError for an invalid specification or nonexistent layers.
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

    def seeing_from(self, language_models: Sequence[str], others: Sequence[str], named: Sequence[str]) -> Assignment:
        """The assignment with vision tower and projector from a donor that has them.

        language_models: donors that lack them; others: all other donors; named: parts whose donor was named one by one. The other
        end of an interpolation gives them, else IN, else the first donor that can. Raises InputError if a language model was named.
        """
        rest = dict(self.rest)
        for part in SEEING:
            choice = rest[part]
            if lacking := {choice.donor, choice.towards} & set(language_models):
                if part in named:
                    raise InputError(
                        f"rest_from: {part}={choice}: {min(lacking)} is a language model and has none; name one of {', '.join(others)}"
                    )
                able = [label for label in (choice.donor, choice.towards, "IN", *others) if label in others]
                rest[part] = Choice(able[0])
        return replace(self, rest=rest)

    def choice(self, part: Part) -> Choice:
        if part.layer is None:
            return self.rest[part.component]
        for choice, layers, block in reversed(self.overlays):
            if part.layer in layers and block in ("", part.block):
                return choice
        return self.regions[sum(part.layer >= cut for cut in self.cuts)]

    @property
    def donors(self) -> list[str]:
        """Names of all donors, in order of first appearance."""
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
        raise InputError(f"rest_from: unknown part {unknown[0]!r}; known: {', '.join(REST)}")
    # Donors are lowercase in the configuration.
    return {
        part: early if (text := str(named.get(part, EARLY))) == EARLY
        else _choice(text.upper() if text in ("in", "rl", "base") else text, spec)
        for part in REST
    }  # fmt: skip
