"""Qwen3-VL, whose DeepStack projects vision several times."""

from ..family import THOUSANDTHS, Family

FAMILY = Family(vision=("visual.",), projector=("visual.merger.", "visual.deepstack_merger_list."), boxes=THOUSANDTHS)
