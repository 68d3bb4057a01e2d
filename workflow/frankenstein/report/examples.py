"""The examples behind a study's numbers: questions, images, answers and verdicts, as the report's browser of examples reads them."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import groupby
from operator import itemgetter
from pathlib import Path

from ..core import jsonl
from ..data.metrics import METRICS, SHUFFLED
from ..data.tasks import Example, described, read_examples
from ..grading.outcome import VERDICTS
from ..inference.prompts import with_other_images

# A verdict in the index: its first letter, in upper case if the response has the format <think>…</think><answer>…</answer>.
CODES = {verdict: verdict[0] for verdict in VERDICTS}
NOT_ASKED = "-"
# How a response's line begins; a line that begins otherwise, or with escapes, is parsed as a whole.
_KEY = re.compile(rb'\{"id": "([^"]*)", "task": "([^"]*)", "condition": "([^"]*)"')


class _Task:
    """A task and the verdicts on it. graded: (checkpoint, condition) -> example id -> (code, extracted answer, reason)."""

    def __init__(self, data: Path, name: str, seed: int):
        self.path, self._data, self._name, self._seed = data / f"{name}.jsonl", data, name, seed
        self.graded: dict[tuple[str, str], dict[str, tuple[str, str, str]]] = {}

    def asked_in(self, condition: str) -> bool:
        return any(condition == other for _, other in self.graded)

    @cached_property
    def examples(self) -> list[Example]:
        return read_examples(self.path)

    @cached_property
    def others(self) -> dict[str, str]:
        """id -> the image shown in its place in the condition "shuffled"."""
        if not self.asked_in(SHUFFLED):
            return {}
        examples = with_other_images(self.examples, self._data, self._seed)
        return {example.id: example.meta["other_image"] for example in examples if "other_image" in example.meta}

    @cached_property
    def described(self) -> dict[str, str]:
        """id -> the text of the condition "described"."""
        if not self.asked_in("described"):
            return {}
        path = self._data / f"{self._name}.descriptions.jsonl"
        made = {record["id"]: record["description"] for _, record in jsonl.read(path)} if path.exists() else {}
        examples = [
            replace(example, description=made.get(example.id, example.description)) for example in self.examples
        ]
        return {example.id: described(example) for example in examples if example.description}


class Examples:
    """The examples that some checkpoint of a study was asked, as far as their files are there.

    results: the study's folder; roles, runs, abilities, seed: see study.jobs.Jobs.settings. Verdicts are read at once; a task's
    questions, and responses (by byte offset), when they are asked for. An example is addressed by its position in its task, an
    image by its path below `results`.
    """

    def __init__(
        self,
        results: str | Path,
        *,
        roles: Mapping[str, Sequence[tuple[str, str]]],
        runs: Mapping[str, Sequence],
        abilities: Mapping[str, str],
        seed: int,
        **_,
    ):
        self.results, self._roles, self._runs, self._abilities = Path(results), roles, runs, abilities
        self._tasks: dict[str, _Task] = {}
        self._places: dict[str, dict] = {}
        for checkpoint in roles:
            path = self.results / "grades" / f"{checkpoint}.csv"
            if path.exists():
                self._read_grades(path, checkpoint, seed)
        reasoned = abilities["vision_to_reasoning"]  # whose attention maps are shown, graded or not
        self._tasks.setdefault(reasoned, _Task(self.results / "data", reasoned, seed))
        self._tasks = {name: task for name, task in self._tasks.items() if task.path.exists()}

    def _read_grades(self, path: Path, checkpoint: str, seed: int) -> None:
        with open(path, newline="") as file:
            rows = csv.reader(file)
            names = next(rows)
            columns = ("task", "condition", "id", "verdict", "well_formed", "extracted", "reason")
            of_row = itemgetter(*map(names.index, columns))
            graded: dict[tuple[str, str], dict] = {}
            for name, condition, id, verdict, well_formed, extracted, reason in map(of_row, rows):
                code = CODES[verdict].upper() if well_formed == "True" else CODES[verdict]
                if (name, condition) not in graded:
                    task = self._tasks.setdefault(name, _Task(self.results / "data", name, seed))
                    graded[name, condition] = task.graded[checkpoint, condition] = {}
                graded[name, condition][id] = (code, extracted, reason)

    def index(self) -> dict:
        """All that filters need: runs (name, recipe, number, roles: role -> checkpoint), metrics (name -> task, rule), and
        tasks: name -> ids, categories, asked ([checkpoint, condition], in the order of `answers`), verdicts (for each of asked, a
        text with one code per example: CODES, NOT_ASKED)."""
        runs: dict[str, dict] = {
            name: {"name": name, "recipe": recipe, "number": number, "roles": {}}
            for name, (recipe, number, *_) in self._runs.items()
        }
        for checkpoint, played in self._roles.items():
            for run, role in played:
                runs[run]["roles"][role] = checkpoint
        tasks = {}
        for name, task in self._tasks.items():
            if not task.graded:
                continue
            ids, categories = zip(*((example.id, example.category or "") for example in task.examples), strict=True)
            verdicts = [
                "".join(graded[id][0] if id in graded else NOT_ASKED for id in ids) for graded in task.graded.values()
            ]
            tasks[name] = {"ids": ids, "categories": categories if any(categories) else []}
            tasks[name] |= {"asked": list(task.graded), "verdicts": verdicts}
        metrics = {
            metric: {"task": self._abilities[ability], "rule": rule}
            for metric, (ability, rule) in METRICS.items()
            if self._abilities[ability] in tasks
        }
        return {"runs": [run for run in runs.values() if run["roles"]], "metrics": metrics, "tasks": tasks}

    def ids(self, name: str) -> dict[str, int]:
        """Example id -> position in its task; empty if its file is not there."""
        return {example.id: i for i, example in enumerate(self._tasks[name].examples)} if name in self._tasks else {}

    def questions(self, name: str, at: Iterable[int]) -> list[dict]:
        """Of each example: prompt, gold, choices, image, other (image shown if shuffled), described (text of that condition)."""
        task, rows = self._tasks[name], []
        for example in map(task.examples.__getitem__, at):
            row = {"prompt": example.prompt, "gold": example.answer, "choices": example.choices}
            for key, image in (("image", example.image), ("other", task.others.get(example.id))):
                row[key] = f"data/{image}" if image else None
            rows.append(row | {"described": task.described.get(example.id)})
        return rows

    def answers(self, name: str, at: Sequence[int], run: str | None = None) -> list[list]:
        """Of each example, for each of the index's `asked`: [response, extracted answer, reason for a missing verdict]; None if the
        checkpoint was not asked it, or is not of the run."""
        task, rows = self._tasks[name], [[] for _ in at]
        ids = [task.examples[i].id for i in at]
        members = self._members(run) if run else set(self._roles)
        for (checkpoint, condition), graded in task.graded.items():
            asked = {id for id in ids if id in graded} if checkpoint in members else set()
            said = self.said(checkpoint, name, condition, asked) if asked else {}
            for row, id in zip(rows, ids, strict=True):
                row.append([said.get(id), *graded[id][1:]] if id in asked else None)
        return rows

    def _members(self, run: str) -> set[str]:
        """The checkpoints that play a role in a run."""
        return {checkpoint for checkpoint, played in self._roles.items() if run in dict(played)}

    def search(self, name: str, text: str, run: str) -> list[int]:
        """Positions of the examples whose id, prompt, gold answer, or response of a checkpoint of the run contains the text, in
        any case."""
        task, text = self._tasks[name], text.casefold()
        found = {
            i
            for i, example in enumerate(task.examples)
            if any(text in part.casefold() for part in (example.id, example.prompt, example.answer))
        }
        rest = {example.id: i for i, example in enumerate(task.examples) if i not in found}
        members = self._members(run)
        for checkpoint, condition in task.graded:
            if checkpoint in members:
                said = self.said(checkpoint, name, condition, list(rest))
                found.update(rest.pop(id) for id, response in said.items() if text in (response or "").casefold())
        return sorted(found)

    def said(self, checkpoint: str, task: str, condition: str, ids: Iterable[str]) -> dict[str, str | None]:
        """Example id -> a checkpoint's response to a task under a condition, as far as its files are there."""
        if checkpoint not in self._places:
            self._places[checkpoint] = _places(self.results, checkpoint)
        places = self._places[checkpoint].get((task, condition), {})
        found = {}
        for path, of_file in groupby(sorted((*places[id], id) for id in ids if id in places), key=itemgetter(0)):
            with open(path, "rb") as file:
                for _, offset, id in of_file:
                    file.seek(offset)
                    found[id] = json.loads(file.readline())["response"]
        return found


def _places(results: Path, checkpoint: str) -> dict[tuple[str, str], dict[str, tuple[Path, int]]]:
    """(task, condition) -> id -> (file, byte offset of its line), of a checkpoint's responses."""
    places: dict = {}
    for path in sorted(results.glob(f"responses/{checkpoint}.*.jsonl")):
        if not path.name.removeprefix(f"{checkpoint}.").removesuffix(".jsonl").isdecimal():
            continue  # of a hybrid whose name begins with this one's
        for offset, line in _lines(path):
            id, *asked = _key(line)
            of_asked = places.setdefault(tuple(asked), {})
            if (
                id not in of_asked
            ):  # where files of an earlier, larger number of shards lie about, the first shards have all
                of_asked[id] = (path, offset)
    return places


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """(byte offset, line) of every line of a response file but its header."""
    offset = 0
    with open(path, "rb") as file:
        for line in file:
            if offset:
                yield offset, line
            offset += len(line)


def _key(line: bytes) -> tuple[str, str, str]:
    """id, task and condition of a response, without parsing the rest of its line."""
    match = _KEY.match(line)
    if match and b"\\" not in match[0]:
        return tuple(part.decode() for part in match.groups())
    record = json.loads(line)
    return record["id"], record["task"], record["condition"]
