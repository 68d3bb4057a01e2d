"""Grading the probes: whether a swap changed the answer, and whether it is right with a layer skipped (paper, Appendix D).

Answers are extracted as everywhere else (extraction). An unreadable answer counts as failed, never as unchanged.
"""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import pandas as pd

from ..data.tasks import Example, Pair
from . import abstention, short
from .boxes import box, iou
from .extraction import PROSE, final_answer, same_text
from .numbers import number
from .outcome import RIGHT, UNGRADED
from .verdicts import grades

_NAMES_NO = {"recognition": "yes or no", "grounding": "box", "counting": "number", "ocr": "text"}


def read_records(paths: list[Path]) -> pd.DataFrame:
    """Probe records, one JSON object per line. (pandas' own reader would turn the answer "3" into a number.)"""
    return pd.DataFrame([json.loads(line) for path in paths for line in Path(path).read_text().splitlines()])


def read(
    response: str, pair: Pair, to_canvas: tuple[float, float] = (1.0, 1.0), truncated: bool = False
) -> tuple[str | Fraction | tuple | None, str]:
    """(answer read from a response to a pair's prompt, reason if there is none).

    recognition: "yes" or "no"; counting: a number; grounding: x1,y1,x2,y2 in pixels of the original image, using the x
    and y factors in to_canvas from the model family's box coordinates; ocr: the text, normalized for comparison.
    """
    answer = final_answer(response, truncated)
    if answer.text is None:
        return None, answer.reason
    if abstention.abstains(answer.text) if answer.mark != PROSE else abstention.unable(answer.text):
        return None, "abstained"
    gold = "yes" if pair.task == "recognition" else ""
    said = short.text_of(answer, pair.answer_type, gold)
    if said is None:
        return None, f"names no {_NAMES_NO[pair.task]}"
    if pair.task == "grounding":
        return tuple(value * to_canvas[at % 2] for at, value in enumerate(box(said))), ""
    if pair.task == "counting":
        return number(said), ""
    return same_text(said) or None, "" if same_text(said) else "names no text"


def changed(before, after, pair: Pair) -> bool | None:
    """Whether a swap changed the answer (both from `read`), by the paper's rule for the function; None if undecidable.

    recognition: the answer is "no"; grounding: the box meets the SOURCE's gold box at IoU above the pair's own
    threshold (0.5); counting: the count differs; ocr: the text differs.
    """
    if after is None or (before is None and pair.task in ("counting", "ocr")):
        return None
    if pair.task == "recognition":
        return after == "no"
    if pair.task == "grounding":
        return iou(after, _gold(pair, "source")) > pair.meta.get("iou_threshold", 0.5)
    return before != after


def _gold(pair: Pair, side: str):
    """The gold answer for side "target" or "source", in the form returned by `read`."""
    text = pair.answer(side)
    return {"grounding": box, "counting": number}.get(pair.task, same_text)(text)


def unchangeable(pair: Pair) -> bool:
    """Whether both images have the same answer, so that no swap can change it (e.g. the same word printed twice)."""
    target, source = _gold(pair, "target"), _gold(pair, "source")
    if pair.task == "grounding":
        return iou(target, source) > pair.meta.get("iou_threshold", 0.5)
    return target == source


def changed_as_published(before: str, after: str) -> bool:
    """The public script's rule, for comparison: any textual difference counts, unless one text is long (20 characters
    or more) and one contains the other. Case and closing punctuation are ignored."""
    one, other = (text.lower().strip().rstrip(".,!?;:") for text in (before, after))
    if max(len(one), len(other)) >= 20 and (one in other or other in one):
        return False
    return one != other


def swap_table(records: pd.DataFrame, pairs: list[Pair]) -> pd.DataFrame:
    """Swap records with their verdicts: id, function, mode, layer, response, truncated, changed, text_changed, right, failed, reason, unchangeable, ...

    changed: by the paper's rules; text_changed: by the public script's (changed_as_published); right: whether the answer
    is the target's gold answer; failed: no verdict, for `reason` (the sample crashed, or the answer is unreadable);
    unchangeable: both images have the same answer.
    """
    by_id = {pair.id: pair for pair in pairs}
    unswapped = records[records["mode"] == "none"].set_index("id")
    columns = ("changed", "text_changed", "right", "failed", "reason", "unchangeable")
    said: dict[tuple, tuple] = {}  # many rows share one answer

    def understood(row, pair: Pair):
        key = (pair.id, row.response, row.truncated)
        if key not in said:
            said[key] = read(row.response, pair, tuple(row.to_canvas), bool(row.truncated))
        return said[key]

    verdicts = []
    for row in records.itertuples():
        pair, first = by_id[row.id], unswapped.loc[row.id]
        same = unchangeable(pair)
        if not isinstance(row.response, str) or not isinstance(first.response, str):
            verdicts.append((False, False, False, True, row.error or first.error or "no response", same))
            continue
        (before, why_first), (after, why) = understood(first, pair), understood(row, pair)
        verdict = changed(before, after, pair)
        gold = _gold(pair, "target")
        right = after is not None and (iou(after, gold) > 0.5 if pair.task == "grounding" else after == gold)
        text = changed_as_published(first.response, row.response)
        verdicts.append(
            (verdict is True, text, right, verdict is None, (why or why_first) if verdict is None else "", same)
        )
    return records.assign(**dict(zip(columns, zip(*verdicts, strict=True), strict=True)))


def skip_table(records: pd.DataFrame, examples: list[Example], jobs: int | None = None) -> pd.DataFrame:
    """Skip records with their verdicts: id, task, layer, response, truncated, verdict, wrong, failed, error.

    wrong: not right, including abstentions and truncated answers; failed: ungraded. jobs: see verdicts.grades.
    """
    golds = {(example.task, example.id): example for example in examples}
    answered = [
        (golds[task, id], response if isinstance(response, str) else None)
        for task, id, response in zip(records.task, records.id, records.response, strict=True)
    ]
    verdicts = [grade.verdict for grade in grades(answered, jobs, records.truncated.astype(bool).to_list())]
    return records.assign(
        verdict=verdicts,
        wrong=[verdict != RIGHT for verdict in verdicts],
        failed=[verdict == UNGRADED for verdict in verdicts],
    )
