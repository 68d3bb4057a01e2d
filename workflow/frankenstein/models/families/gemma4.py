"""Gemma 4, whose last layers read the keys and values of earlier ones."""

from ..family import PROBES, Family

_SHARED = "layers read the keys and values of other layers: no layer can be swapped or skipped alone"

FAMILY = Family("Gemma 4", refused=dict.fromkeys(PROBES, _SHARED))
