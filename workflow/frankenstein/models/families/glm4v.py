"""GLM-4.1V, whose vision tower ends with a convolution to the language model's width."""

from ..family import THOUSANDTHS, Family

FAMILY = Family("GLM-4.1V", boxes=THOUSANDTHS, projector=("downsample", "merger"))
