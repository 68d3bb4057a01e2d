"""InternVL3 and InternVL3.5 in the layout of transformers (-HF)."""

from ..family import THOUSANDTHS, Family

FAMILY = Family("InternVL3, InternVL3.5", boxes=THOUSANDTHS)
