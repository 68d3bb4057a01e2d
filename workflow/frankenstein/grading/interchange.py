"""Interchange with other harnesses: lmms-eval logged samples (import, export), VLMEvalKit prediction tables (import)."""

from __future__ import annotations

import ast
import hashlib
import json
import re
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import pandas as pd

from ..core import jsonl
from ..core.errors import InputError
from ..data import published, tasks
from ..data.benchmarks import BENCHMARKS
from ..data.tasks import Example, text_in
from .outcome import ABSTAINED, RIGHT, WRONG

_GOLD = ("answer", "question_type", "answer_type", "choices", "options", "precision", "unit")
_FAILED = "Failed to obtain answer via API"  # what VLMEvalKit writes if no response was generated
_IDS = ("pid", "unique_id", "sample_index", "question_id", "id")


@dataclass(frozen=True)
class _Sample:
    """One line of an lmms-eval log without the document itself; own: ids under which the line refers to the document."""

    line: int
    doc_id: int
    prompt: str
    target: str
    response: str | None
    own: tuple[str, ...]


def from_lmms_eval(path: Path, examples: list[Example] | None = None) -> Iterator[dict]:
    """Records of id, response and gold fields from a samples file written by lmms-eval with --log_samples.

    Uses the model's raw response if it is logged: lmms-eval 0.7 omits it if its filters left the response unchanged,
    and logs the output of the first filter if the task has filters and it strips reasoning.

    examples: all rows of the evaluated benchmark split (benchmark_rows). lmms-eval 0.7 does not log documents (doc), so
    each sample is joined to the row whose question occurs in its prompt and whose answer is its target: by the id under
    which the sample refers to the document, by its position (doc_id), or by the text alone. Without examples, documents
    are taken from the log, with the document's own id or else doc_id.

    Raises InputError for a line that is not a sample, for a sample without a document if no examples are given, and if
    the row a sample belongs to is ambiguous.
    """
    if examples is not None:
        yield from _joined(path, examples)
        return
    for line, sample in jsonl.read(path):
        if "doc" not in sample and {"doc_id", "filtered_resps"} <= set(sample):
            raise InputError(
                f"{path}, line {line}: no document (doc) is logged, as by lmms-eval 0.7; give all rows of the split that "
                "was asked: --examples FILE, and with --benchmark NAME where FILE is as the benchmark is published"
            )
        try:
            doc = sample.get("doc") or {}
            identity = next((doc[name] for name in _IDS if doc.get(name) is not None), sample["doc_id"])
            answer = doc.get("answer", sample.get("target"))
            record = {"id": _id(identity), "response": _said(sample)}
        except (KeyError, IndexError, AttributeError) as error:
            raise _no_sample(path, line, error) from None
        yield {**record, **_gold({**doc, "answer": answer})}


def _no_sample(path: Path, line: int, error: Exception) -> InputError:
    return InputError(f"{path}, line {line}: not a logged sample of lmms-eval ({type(error).__name__}: {error})")


def _said(sample: dict) -> str | None:
    said = sample.get("resps") or sample["filtered_resps"]
    while isinstance(said, list):
        said = said[0]
    return said


def benchmark_rows(path: Path, benchmark: str | None = None) -> list[Example]:
    """The rows to join lmms-eval samples to, in order, from a study's data/TASK.jsonl or a benchmark's published file.

    Raises InputError for a row that is not from the benchmark, and for a line that is not an example.
    """
    if benchmark is None:
        return tasks.read_examples(path)
    # Images are not needed here and would take hundreds of megabytes.
    return [replace(example, image=None) for example in published.read(benchmark, [path], as_published=False)]


def _joined(path: Path, examples: list[Example]) -> Iterator[dict]:
    samples = _samples(path)
    documents = max([_documents(path) or 0, *(sample.doc_id + 1 for sample in samples)])
    if documents > len(examples):
        # A sample's row may be missing, and another row with the same question would be mistaken for it.
        raise InputError(
            f"{path}: its task has {documents} documents or more, and there are {len(examples)} rows; give all of them"
        )
    found = _candidates(path, samples, examples)
    place_of = {example.id: place for place, example in enumerate(examples)}
    named = [{place_of[name] for name in sample.own if name in place_of} for sample in samples]
    numbered = [{sample.doc_id} for sample in samples]
    # Ids and positions are trusted only if they agree with the text for every sample; otherwise they may mean something else.
    for told in (named, numbered) if _whole(path, examples) else (named,):
        if all(len(places & rows) == 1 for places, rows in zip(told, found, strict=True)):
            found = [places & rows for places, rows in zip(told, found, strict=True)]
            break
    taken: dict[int, _Sample] = {}
    for sample, rows in zip(samples, found, strict=True):
        where = f"{path}, line {sample.line}: doc_id {sample.doc_id}"
        row, *others = sorted(rows)
        if others:
            raise InputError(
                f"{where}, {_short(sample.prompt)}, may be of row {row} or row {others[0]}: both ask "
                f"{_short(published.question(examples[row]))} with the answer {_short(examples[row].answer)}; "
                "give the rows of the split, all and in their order, with lmms-eval's ..._results.json beside its "
                "samples, or log the rows' ids (as a metric named id)"
            )
        if row in taken:
            other = taken[row]
            raise InputError(f"{where} and on line {other.line} doc_id {other.doc_id} are both of row {row}")
        taken[row] = sample
        yield {"id": examples[row].id, "response": sample.response, **_gold(asdict(examples[row]))}


def _samples(path: Path) -> list[_Sample]:
    """The samples of a log, one per document. Tasks with several filters log each document once per filter."""
    by_document: dict[int, _Sample] = {}
    for line, logged in jsonl.read(path):
        try:
            # Metrics are top-level fields, and some benchmarks' metrics contain row fields (MathVista, MathVerse).
            fields = [logged, *(value for value in logged.values() if isinstance(value, dict))]
            sample = _Sample(
                line,
                int(logged["doc_id"]),
                "\n".join(_texts(logged.get("input", logged.get("arguments")))),
                str(logged.get("target", "")),
                _said(logged),
                tuple(_id(some[name]) for some in fields for name in _IDS if name in some),
            )
        except (KeyError, IndexError, AttributeError, TypeError, ValueError) as error:
            raise _no_sample(path, line, error) from None
        first = by_document.setdefault(sample.doc_id, sample)
        if (first.prompt, first.response) != (sample.prompt, sample.response):
            raise InputError(
                f"{path}, line {line}: doc_id {sample.doc_id} stands on line {first.line} already, with "
                f"{_short(first.response)} and not {_short(sample.response)}; log it with one filter, take_first"
            )
    return list(by_document.values())


def _texts(value) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for part in value:
            yield from _texts(part)


def _documents(path: Path) -> int | None:
    """Number of documents in the logged task, from the results file that lmms-eval writes beside the log; None if absent."""
    date, _, task = Path(path).stem.partition("_samples_")
    results = Path(path).with_name(f"{date}_results.json")
    if not task or not results.exists():
        return None
    try:
        return int(json.loads(results.read_text())["n-samples"][task]["original"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{results}: no results of lmms-eval's task {task} ({type(error).__name__}: {error})"
        ) from None


def _whole(path: Path, examples: list[Example]) -> bool:
    """Whether the rows are known to be a complete split, so that a document's number is its row's position."""
    if (documents := _documents(path)) is not None:
        return documents == len(examples)
    source = BENCHMARKS.get(examples[0].benchmark)
    return source is not None and len(examples) in {source.rows[split] for split in source.files}


def _candidates(path: Path, samples: list[_Sample], examples: list[Example]) -> list[set[int]]:
    """Per sample, the rows whose question occurs in its prompt and whose answer is its target. InputError if none."""
    rows_of: dict[str, list[int]] = {}
    for place, example in enumerate(examples):
        if question := _plain(published.question(example)):
            rows_of.setdefault(question, []).append(place)
    found = []
    for sample in samples:
        prompt = _plain(sample.prompt)
        asked = [question for question in rows_of if question in prompt and _stands_in(question, prompt)]
        # A question contained in another matching row's question was not the one asked.
        asked = [q for q in asked if not any(q != other and _stands_in(q, other) for other in asked)]
        rows = [place for question in asked for place in rows_of[question]]
        agreeing = {place for place in rows if _agrees(sample.target, examples[place])}
        if not agreeing:
            at = sample.doc_id if sample.doc_id in rows or not rows else rows[0]
            what = (
                f"has the target {_short(sample.target)}, and row {at} the answer {_short(examples[at].answer)}"
                if rows
                else f"asks the question of no row; row {at} asks {_short(published.question(examples[at]))}"
            )
            raise InputError(
                f"{path}, line {sample.line}: doc_id {sample.doc_id}, {_short(sample.prompt)}, {what}; "
                "give the rows of the split that was asked, in the wording that was asked"
            )
        found.append(agreeing)
    return found


def _plain(text: str) -> str:
    """Text without image markers, which harnesses treat differently, and with whitespace collapsed."""
    return " ".join(re.sub(r"<image ?\d*>|\bimage \d+\b", " ", text).split())


def _stands_in(question: str, prompt: str) -> bool:
    """Whether a question occurs in a prompt at word boundaries: 1+1 does not occur in 11+12."""
    edges = [r"\b" if re.match(r"\w", end) else "" for end in (question[0], question[-1])]
    return re.search(edges[0] + re.escape(question) + edges[1], prompt) is not None


def _agrees(target: str, example: Example) -> bool:
    """Whether a logged target matches an example's answer, by letter or choice; a missing target always matches."""
    if target in ("", "None"):
        return True
    answer, choices = example.answer, [str(choice) for choice in example.choices or []]
    lettered = [(chr(ord("A") + at), choice) for at, choice in enumerate(choices)]
    same = {answer}
    for letter, choice in lettered:
        if answer == (choice if answer in choices else letter):
            same |= {letter, choice}
    said = target.rpartition("####")[2] if example.benchmark == "gsm8k" else target
    return _bare(said) in map(_bare, same)


def _bare(text: str) -> str:
    return _plain(text).strip("()").casefold()


def _short(text: str | None) -> str:
    """A text abbreviated to one line."""
    text = " ".join(str(text).split())
    return repr(text if len(text) <= 80 else f"{text[:40]} ... {text[-35:]}")


def to_lmms_eval(
    examples: Iterable[Example], records: Iterable[dict], verdicts: dict[str, str] | None = None
) -> Iterator[dict]:
    """Samples in lmms-eval's log format, for one task under one condition; verdicts: id -> one of outcome.VERDICTS.

    records: from responses.read_all. Each sample includes its document (which lmms-eval itself omits since 0.7) without
    the image. acc is 1 for right, 0 for wrong and abstained, and null for ungraded.
    """
    by_id = {record["id"]: record for record in records}
    for number, example in enumerate(examples):
        record = by_id[example.id]
        doc = {key: value for key, value in asdict(example).items() if key != "image"}
        prompt = text_in(example, record["condition"])
        sample = {
            "doc_id": number,
            "doc": doc,
            "target": example.answer,
            "input": prompt,
            "arguments": [prompt],
            "resps": [[record["response"]]],
            "filtered_resps": [record["response"]],
            "doc_hash": _hash(json.dumps(doc, indent=2, ensure_ascii=False)),
            "prompt_hash": _hash(prompt),
            "target_hash": _hash(example.answer),
        }
        if verdicts is not None:
            sample["acc"] = {RIGHT: 1.0, WRONG: 0.0, ABSTAINED: 0.0}.get(verdicts[example.id])
        yield sample


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def from_vlmevalkit(path: Path) -> Iterator[dict]:
    """Records of id, response and gold fields from a VLMEvalKit prediction table: .xlsx, .tsv or .csv.

    The id is taken from a pid or id column, or else VLMEvalKit's index; choices from its columns A, B, C, ... if
    present. Raises InputError for a table without predictions or a file of another type.
    """
    path = Path(path)
    as_written = {"dtype": object, "keep_default_na": False, "na_values": [""]}  # None, NA and null are valid answers
    try:
        if path.suffix == ".xlsx":
            table = pd.read_excel(path, **as_written)
        elif path.suffix in (".tsv", ".csv"):
            table = pd.read_csv(path, sep="\t" if path.suffix == ".tsv" else ",", **as_written)
        else:
            raise InputError(f"{path}: must be an .xlsx, .tsv or .csv file")
    except ImportError:
        raise InputError('.xlsx needs the package openpyxl: pip install "frankenstein-vlm[xlsx]"') from None
    except (ValueError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: not a table ({error})") from None
    if "prediction" not in table or not {"index", *_IDS} & set(table):
        raise InputError(
            f"{path}: not a table of VLMEvalKit's predictions; its columns are {', '.join(map(str, table.columns))}"
        )
    for row in table.astype(object).where(table.notna(), None).to_dict("records"):
        identity = next((row[name] for name in _IDS if row.get(name) is not None), row.get("index"))
        letters = [str(row.get(letter, "")) for letter in "ABCDEFGHI" if row.get(letter) is not None]
        lettered = all(row.get(letter) is not None for letter in "ABCDEFGHI"[: len(letters)])
        choices = {"choices": letters, "question_type": "multi_choice"} if letters and lettered else {}
        said = None if row["prediction"] is None else str(row["prediction"])
        failed = {"error": said} if said and _FAILED in said else {}
        yield {"id": _id(identity), "response": None if failed else said, **failed, **choices, **_gold(row)}


def _id(value) -> str:
    """An id as text; 7.0 from a table becomes 7."""
    return re.sub(r"\.0$", "", str(value))


def _gold(row: dict) -> dict:
    """The gold fields present in a row; lists may have been serialized as text."""
    gold = {key: row[key] for key in _GOLD if row.get(key) not in (None, "")}
    for key in ("choices", "options"):
        if isinstance(gold.get(key), str):
            try:
                gold[key] = ast.literal_eval(gold[key])  # a literal, never code
            except (ValueError, SyntaxError):
                del gold[key]
    if "answer" in gold:
        gold["answer"] = str(gold["answer"])
    return gold


READERS = {"lmms-eval": from_lmms_eval, "vlmevalkit": from_vlmevalkit}
