r"""Bounding boxes in the notations of vision-language models: "x1,y1,x2,y2" in any brackets, (x1,y1),(x2,y2), Qwen's and GLM's JSON and tags."""

from __future__ import annotations

import re

_NUMBER = r"[-+]?(?:\d+(?:\.\d+)?|\.\d+)"
_GAP = r"[\s,;()\[\]<>|]{1,10}"
_FOUR = re.compile(rf"(?<![\d.\w])({_NUMBER}){_GAP}({_NUMBER}){_GAP}({_NUMBER}){_GAP}({_NUMBER})(?![\d\w]|\.\d)")

Box = tuple[float, float, float, float]


def box(text: str) -> Box | None:
    """The single box x1,y1,x2,y2 in a text, in the text's own coordinates, with x1 < x2 and y1 < y2; None if none or several."""
    text = re.sub(
        r"bbox_2d|<\|?/?[a-z_]+\|?>|\b[xy]\s?_?\{?(?:[12]|min|max)\}?\s*[=:]|\\(?:left|right|[,;! ])", " ", text
    )
    text = re.sub(r"[\"']label[\"']\s*:\s*[\"'][^\"']*[\"']", " ", text)
    found = {tuple(map(float, match)) for match in _FOUR.findall(text)}
    if len(found) != 1 or len(re.findall(_NUMBER, text)) != 4:
        found = {values for values in found if len(found) == 1 and _bracketed(text)}
    for x1, y1, x2, y2 in found:
        return (x1, y1, x2, y2) if x1 < x2 and y1 < y2 else None
    return None


def _bracketed(text: str) -> bool:
    """Whether exactly one bracketed group of four numbers occurs: "object 1 is at [20, 20, 40, 40]"."""
    return len(re.findall(r"[\[(]\s*(?:" + _NUMBER + r"[\s,]+){3}" + _NUMBER + r"\s*[\])]", text)) == 1


def iou(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    """Intersection over union of two boxes x1,y1,x2,y2."""
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    shared = width * height
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)
