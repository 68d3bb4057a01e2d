"""An optional judge for what the rules leave ungraded. Its verdicts stand apart from the rules', and beside them."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from ..data.tasks import Example
from ..inference.cache import ResponseCache
from ..inference.respond import respond
from .extraction import final_answer, readable
from .outcome import RIGHT, UNGRADED, WRONG

_QUESTION = """A response to a question is to be judged against the reference answer.

Question: {question}

Reference answer: {gold}

Response: {response}

Does the response's final answer mean the same as the reference answer? Say one word: right or wrong."""
_READ = 4000  # characters of a response that the judge sees, its last


def judge(
    engine: Callable,
    graded: pd.DataFrame,
    records: list[dict],
    examples: list[Example],
    store: ResponseCache,
    batch: int,
) -> pd.DataFrame:
    """Verdicts on responses that the rules left ungraded: id, task, condition, verdict, said.

    engine: an engine (engines); graded: verdicts.grade_all of records (responses.read_all). A judge that says neither right
    nor wrong leaves ungraded; a response that was never made is not put to it.
    """
    golds = {(example.task, example.id): example for example in examples}
    columns = ["id", "task", "condition"]
    open_ones = {tuple(row) for row in graded[graded.verdict == UNGRADED][columns].itertuples(index=False)}
    questions, keys = [], {}
    for record in records:
        key = tuple(record[column] for column in columns)
        if key not in open_ones or record["response"] is None:
            continue
        example = golds[record["task"], record["id"]]
        text = _QUESTION.format(question=example.prompt, gold=example.answer, response=_seen(record["response"]))
        keys[name := str(len(keys))] = key
        questions.append((Example(name, "judge", text, ""), "text"))
    rows = []
    for made in respond(engine, questions, Path(), "", batch, store):
        told = made["response"] if made["error"] is None else made["error"]
        verdict = word(made["response"] or "")
        rows.append({**dict(zip(columns, keys[made["id"]], strict=True)), "verdict": verdict, "said": told})
    return pd.DataFrame(rows, columns=[*columns, "verdict", "said"])


def _seen(response: str) -> str:
    """What the judge sees of a response: what stands outside its thinking, or of a response that only thinks, that."""
    answer = final_answer(response)
    return (answer.body or readable(response))[-_READ:]


def word(response: str) -> str:
    """The verdict that a judge's response gives as its final answer; ungraded where it is neither right nor wrong."""
    said = re.match(r"\W*(right|wrong)\b", final_answer(response).text or "", re.I)
    return {"right": RIGHT, "wrong": WRONG}[said[1].lower()] if said else UNGRADED
