"""Response files of a checkpoint: a header line, then one line per response."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ..core import jsonl
from ..core.errors import InputError
from ..data.tasks import Example, fingerprint


def write(path: Path, header: dict, records: Iterable[dict]) -> None:
    """Write a response file, with its header as the first line."""
    with open(path, "w") as file:
        file.write(jsonl.line({"header": header}))
        file.writelines(map(jsonl.line, records))


def read(path: Path) -> tuple[dict, list[dict]]:
    """(header, records). Raises InputError for a missing header, an invalid record, or a request answered twice."""
    lines = jsonl.read(path)
    _, first = next(lines, (0, {}))
    if "header" not in first:
        raise InputError(f"{path}: no header naming the checkpoint; delete the file and run again")
    records, seen = [], set()
    for number, record in lines:
        key = (record.get("id"), record.get("task"), record.get("condition"))
        if None in key or key in seen:
            what = "is answered twice" if key in seen else "lacks id, task or condition"
            raise InputError(f"{path}, line {number}: {key} {what}; delete the file and run again")
        seen.add(key)
        records.append(record)
    return first["header"], records


def by_id(paths: list[Path], task: str, condition: str) -> dict[str, dict]:
    """Example id -> the record of a checkpoint's response to a task's example under a condition, from all its shards."""
    records = [record for path in paths for record in read(path)[1]]
    return {record["id"]: record for record in records if (record["task"], record["condition"]) == (task, condition)}


def read_all(paths: list[Path], checkpoint: str, examples: list[Example]) -> list[dict]:
    """All records from a checkpoint's shards.

    Raises InputError unless all come from this checkpoint, were generated under the same settings, and answer exactly
    these examples in this wording.
    """
    by_task: dict[str, list[Example]] = {}
    for example in examples:
        by_task.setdefault(example.task, []).append(example)
    asked = {task: fingerprint(part) for task, part in by_task.items()}
    known = {(example.task, example.id) for example in examples}
    records, seen, common = [], set(), None
    for path in paths:
        header, part = read(path)
        if header["checkpoint"] != checkpoint:
            raise InputError(f"{path}: responses of {header['checkpoint']!r}, not of {checkpoint!r}")
        if odd := [task for task in asked if header["examples"].get(task) != asked[task]]:
            raise InputError(
                f"{path}: {odd[0]} was asked with another version of the dataset; delete the file and run again"
            )
        settings = {key: value for key, value in header.items() if key != "examples"}
        common = common or settings
        if odd := [key for key in common | settings if common.get(key) != settings.get(key)]:
            raise InputError(
                f"{path}: {odd[0]} is {settings.get(odd[0])!r}, but {common.get(odd[0])!r} in {paths[0]}: "
                "responses generated under different settings are not graded together; delete one and run again"
            )
        if odd := [r for r in part if r["task"] in asked and (r["task"], r["id"]) not in known]:
            raise InputError(
                f"{path}: response to {odd[0]['id']!r}, which is not in the dataset; delete the file and run again"
            )
        for record in part:
            if (key := (record["task"], record["id"], record["condition"])) in seen:
                raise InputError(
                    f"{path}: {key} is also answered in another of these files; are they shards of two runs?"
                )
            seen.add(key)
        records += [record for record in part if record["task"] in asked]
    if missing := sorted(known - {(record["task"], record["id"]) for record in records}):
        raise InputError(
            f"{', '.join(map(str, paths))}: no response to {missing[0][1]!r} ({len(missing)} such): "
            "delete the files and run again"
        )
    return records
