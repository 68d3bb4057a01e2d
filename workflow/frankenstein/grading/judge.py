"""An optional judge model for responses the rules leave ungraded. Its verdicts are kept separate from the rules'."""

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
_READ = 4000  # number of trailing characters of a response shown to the judge


def judge(
    engine: Callable,
    graded: pd.DataFrame,
    records: list[dict],
    examples: list[Example],
    store: ResponseCache,
    batch: int,
) -> pd.DataFrame:
    """Judge the responses that the rules left ungraded: id, task, condition, verdict, said (the judge's response).

    engine: see inference.engines; graded: verdicts.grade_all for these records (responses.read_all). If the judge says
    neither right nor wrong, the response stays ungraded; missing responses are not judged.
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
    """The part of a response shown to the judge: the text outside its thinking, or the thinking if there is nothing else."""
    answer = final_answer(response)
    return (answer.body or readable(response))[-_READ:]


def word(response: str) -> str:
    """The verdict given as final answer in a judge's response; ungraded if it is neither right nor wrong."""
    said = re.match(r"\W*(right|wrong)\b", final_answer(response).text or "", re.I)
    return {"right": RIGHT, "wrong": WRONG}[said[1].lower()] if said else UNGRADED
