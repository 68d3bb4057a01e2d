"""The command `frankenstein`: single analyses for people who want no workflow."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from pathlib import Path

from .core import jsonl
from .core.errors import InputError

# What a command needs it imports itself: a merge needs neither torch nor pandas.


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="frankenstein", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    command = commands.add_parser("updates", help="what changed in the weights, matrix by matrix, as one parquet table")
    command.add_argument("--base", type=Path, required=True, help="checkpoint directory (safetensors)")
    command.add_argument("--in", type=Path, required=True, dest="instruct", help="after supervised training")
    command.add_argument("--rl", type=Path, help="after reinforcement learning")
    command.add_argument("-o", "--out", type=Path, required=True, help="table to write (.parquet or .csv)")
    command.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes of one thread (all cores)")
    command.set_defaults(run=_updates)

    command = commands.add_parser(
        "merge", help="a hybrid of checkpoints, byte for byte, with an account of every tensor"
    )
    command.add_argument("--in", type=Path, dest="instruct", help="donor IN, after supervised training")
    command.add_argument("--rl", type=Path, help="donor RL, after reinforcement learning")
    command.add_argument("--base", type=Path, help="donor BASE")
    command.add_argument("--donor", action="append", default=[], metavar="NAME=DIR", help="any other donor")
    command.add_argument("--cuts", help="first layer of the second, third ... region: 10,19 (even regions)")
    command.add_argument(
        "--rest", default="early", help="early, a donor, or part=donor,part=donor: what is in no layer"
    )
    command.add_argument(
        "--config-from", metavar="NAME", help="donor of config, tokenizer, processor (the embeddings')"
    )
    command.add_argument(
        "--link", type=Path, metavar="DIR", help="hard links to files kept in DIR, written once a parent"
    )
    command.add_argument("--dry-run", action="store_true", help="check the donors, say what would be written")
    command.add_argument("spec", help="IN:RL:RL, IN+RL@14-17, IN+RL@attention, IN:0.5:RL ... (config/README.md)")
    command.add_argument("out", type=Path, help="directory to write")
    command.set_defaults(run=_merge)

    command = commands.add_parser("verify", help="read a hybrid back against its account and its parents")
    command.add_argument("directory", type=Path)
    command.set_defaults(run=_verify)

    command = commands.add_parser("inspect", help="a checkpoint in a few lines; of a hybrid, who gave what")
    command.add_argument("directory", type=Path)
    command.set_defaults(run=_inspect)

    command = commands.add_parser("grade", help="verdicts on responses to a benchmark, by rules, without a judge")
    command.add_argument("--task", choices=("mathvista", "mathverse", "mathvision", "logicvista", "math500", "gsm8k"))
    command.add_argument(
        "responses",
        type=Path,
        nargs="?",
        help="JSON lines: id, response, and the gold fields, inline or by --examples",
    )
    command.add_argument(
        "--check",
        type=Path,
        metavar="CASES",
        help="grade the graders: JSON lines of task, response, gold fields and the verdict expected of a careful person",
    )
    command.add_argument("--examples", type=Path, help="gold records by id (.jsonl, or MathVista's testmini.json)")
    command.add_argument("--use-extraction", action="store_true", help="grade the records' own extraction")
    command.add_argument("-o", "--out", type=Path, help="JSON lines: id, extracted, verdict, reason")
    command.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes for sympy (all cores)")
    command.add_argument("--time-limit", type=float, default=5.0, help="seconds an answer in sympy (5)")
    command.set_defaults(run=_grade)

    command = commands.add_parser("import", help="responses that another harness made, as records to grade")
    command.add_argument("--from", required=True, dest="harness", choices=("lmms-eval", "vlmevalkit"))
    command.add_argument("file", type=Path, help="lmms-eval's samples (.jsonl), VLMEvalKit's predictions (.xlsx, .tsv)")
    command.add_argument(
        "--examples",
        type=Path,
        help="the rows that lmms-eval was asked, whose logs lack them: a study's data/TASK.jsonl",
    )
    command.add_argument(
        "--benchmark",
        metavar="NAME",
        help="these are a benchmark's as it is published (mathvista ..., .parquet or .jsonl)",
    )
    command.add_argument("-o", "--out", type=Path, required=True, help="JSON lines: id, response, gold fields")
    command.set_defaults(run=_import)

    command = commands.add_parser("export", help="a study's responses to a task as lmms-eval's logged samples")
    command.add_argument("--examples", type=Path, required=True, help="results/STUDY/data/TASK.jsonl")
    command.add_argument("--condition", default="image", choices=("image", "black", "shuffled", "described", "text"))
    command.add_argument(
        "responses", type=Path, nargs="+", help="results/STUDY/responses/CHECKPOINT.*.jsonl, all shards"
    )
    command.add_argument("-o", "--out", type=Path, required=True, help="JSON lines")
    command.set_defaults(run=_export)

    command = commands.add_parser("compare", help="two systems' verdicts on the same examples, paired")
    command.add_argument("a", type=Path, help="verdicts of `frankenstein grade`")
    command.add_argument("b", type=Path)
    command.set_defaults(run=_compare)

    command = commands.add_parser(
        "pin", help="write today's revisions on the Hub into a study's file, where it has none"
    )
    command.add_argument("config", type=Path)
    command.set_defaults(run=_pin)

    command = commands.add_parser("plan", help="what a study will cost: jobs, GPU-hours, downloads, disk, memory")
    command.add_argument("config", type=Path)
    command.add_argument("--snakefile", type=Path, default=Path("Snakefile"))
    command.add_argument("--gpu-memory", type=int, default=80, help="GB of the GPUs at hand (80)")
    command.set_defaults(run=_plan)

    arguments = sys.argv[1:] if arguments is None else arguments
    parsed = parser.parse_args(arguments)
    parsed.command = shlex.join(["frankenstein", *arguments])
    try:
        parsed.run(parsed)
    except (InputError, FileNotFoundError) as error:
        sys.exit(f"error: {error}")


def _updates(parsed) -> None:
    if parsed.out.suffix not in (".parquet", ".csv"):
        raise InputError(f"{parsed.out}: ends neither in .parquet nor in .csv")
    if parsed.jobs < 1:
        raise InputError(f"--jobs {parsed.jobs}: at least one")
    from .updates.table import updates_table

    table = updates_table(parsed.base, parsed.instruct, parsed.rl, parsed.jobs)
    if parsed.out.suffix == ".csv":
        table.drop(columns="log_ratio").to_csv(parsed.out, index=False)
    else:
        table.to_parquet(parsed.out, index=False)
    print(f"{parsed.out}: {len(table)} rows")


def _grade(parsed) -> None:
    from .grading import graders, records

    if parsed.check:
        lines, kept = records.check(parsed.check, parsed.jobs, parsed.time_limit)
        print("\n".join(lines))
        sys.exit(not kept)
    for option, given in (("--task", parsed.task), ("RESPONSES", parsed.responses), ("--out", parsed.out)):
        if given is None:
            raise InputError(f"grade: {option} is missing (or give --check CASES)")
    if not parsed.out.parent.is_dir():
        raise InputError(f"{parsed.out}: no directory {parsed.out.parent}")
    answered = records.read_responses(parsed.responses, parsed.examples)
    grades = graders.grade_all(parsed.task, answered, parsed.use_extraction, parsed.jobs, parsed.time_limit)
    with open(parsed.out, "w") as file:
        for record, grade in zip(answered, grades, strict=True):
            verdict = {
                "id": record["id"],
                "extracted": grade.extracted,
                "verdict": grade.verdict,
                "reason": grade.reason,
            }
            file.write(jsonl.line(verdict))
    print(records.summary(grades))


def _import(parsed) -> None:
    from .core import jsonl
    from .data.benchmarks import BENCHMARKS
    from .grading import interchange

    if parsed.examples is not None and parsed.harness != "lmms-eval":
        raise InputError("--examples goes with --from lmms-eval: tables of VLMEvalKit hold the rows' own answers")
    if parsed.benchmark is not None:
        if parsed.benchmark not in BENCHMARKS:
            raise InputError(f"--benchmark {parsed.benchmark}: none of {', '.join(BENCHMARKS)}")
        if parsed.examples is None:
            source = BENCHMARKS[parsed.benchmark]
            at = f" at {source.revision}" if source.revision else ""
            files = " or ".join(source.files.values())
            raise InputError(f"--benchmark goes with --examples FILE, here {files} of {source.repo}{at} on the Hub")
    if parsed.examples is None:
        records = list(interchange.READERS[parsed.harness](parsed.file))
    else:
        rows = interchange.benchmark_rows(parsed.examples, parsed.benchmark)
        records = list(interchange.from_lmms_eval(parsed.file, rows))
    with open(parsed.out, "w") as file:
        file.writelines(map(jsonl.line, records))
    print(f"{parsed.out}: {len(records)} responses")


def _export(parsed) -> None:
    from .core import jsonl
    from .data import tasks
    from .grading import interchange, verdicts
    from .inference import responses

    examples = tasks.read_examples(parsed.examples)
    checkpoint = responses.read(parsed.responses[0])[0]["checkpoint"]
    records = [
        record
        for record in responses.read_all(parsed.responses, checkpoint, examples)
        if record["condition"] == parsed.condition
    ]
    if {record["id"] for record in records} != {example.id for example in examples}:
        raise InputError(f"{parsed.responses[0]}: not every example was asked in the condition {parsed.condition!r}")
    said = {record["id"]: record["response"] for record in records}
    grades = verdicts.grades([(example, said[example.id]) for example in examples])
    found = {example.id: grade.verdict for example, grade in zip(examples, grades, strict=True)}
    with open(parsed.out, "w") as file:
        file.writelines(map(jsonl.line, interchange.to_lmms_eval(examples, records, found)))
    print(f"{parsed.out}: {len(records)} samples of {checkpoint}")


def _compare(parsed) -> None:
    import pandas as pd

    from .claims import scoring
    from .core import jsonl
    from .grading.outcome import RIGHT

    sides = []
    for path in (parsed.a, parsed.b):
        try:
            rows = [(str(record["id"]), record["verdict"] == RIGHT) for _, record in jsonl.read(path)]
        except KeyError as error:
            raise InputError(f"{path}: no verdicts of `frankenstein grade`: no {error}") from None
        if not rows or len({key for key, _ in rows}) < len(rows):
            raise InputError(f"{path}: {'an id stands twice' if rows else 'empty'}")
        sides.append(pd.DataFrame(rows, columns=["id", "correct"]).assign(metric="accuracy"))
    row = scoring.paired(*sides).iloc[0]
    gain = scoring.difference(*sides, seed=0).iloc[0]
    print(f"n = {row.n}: both right {row.n11}, only {parsed.a} {row.n10}, only {parsed.b} {row.n01}, neither {row.n00}")
    print(
        f"{parsed.b} - {parsed.a}: {gain.difference:+.1%} [{gain.low:+.1%}, {gain.high:+.1%}] "
        f"(95 % paired bootstrap), McNemar's exact p = {row.p_mcnemar:.3g}"
    )


def _pin(parsed) -> None:
    from .study import pin

    print("\n".join(pin.pin(parsed.config)) or f"{parsed.config}: everything is pinned already")


def _plan(parsed) -> None:
    from .study import plan

    if not parsed.snakefile.exists():
        raise InputError(f"{parsed.snakefile}: no such file; run this from the repository, or give --snakefile")
    print(plan.plan(parsed.config, parsed.snakefile, 1000 * parsed.gpu_memory))


def _donors(parsed) -> dict[str, Path]:
    given = [("IN", parsed.instruct), ("RL", parsed.rl), ("BASE", parsed.base)]
    for text in parsed.donor:
        name, equals, path = text.partition("=")
        if not equals:
            raise InputError(f"--donor {text}: not NAME=DIR")
        given.append((name, Path(path)))
    donors: dict[str, Path] = {}
    for name, path in given:
        if path is None:
            continue
        if name in donors:
            raise InputError(f"donor {name} is given twice: {donors[name]} and {path}")
        donors[name] = path
    if not donors:
        raise InputError("no donors: give --in and --rl, or --donor NAME=DIR")
    return donors


def _rest_of(text: str) -> str | dict[str, str]:
    if "=" not in text:
        return text
    parts = [part.partition("=") for part in text.split(",")]
    if odd := [part for part, equals, _ in parts if not equals]:
        raise InputError(f"--rest {text}: {odd[0]!r} is not part=donor")
    return {part: donor for part, _, donor in parts}


def _merge(parsed) -> None:
    from .merging import hybrids, links, plan

    donors = _donors(parsed)
    try:
        cuts = tuple(map(int, parsed.cuts.split(","))) if parsed.cuts else None
    except ValueError:
        raise InputError(f"--cuts {parsed.cuts}: not layers parted by commas, like 10,19") from None
    options = {"cuts": cuts, "rest_from": _rest_of(parsed.rest), "config_from": parsed.config_from}
    made = plan.plan(donors, parsed.spec, **options)
    layout = "link" if parsed.link else "copy"
    print(hybrids.summary(made, layout))
    if parsed.dry_run:
        return
    stores = {label: links.stored_in(parsed.link, donors[label]) for label in made.parents} if parsed.link else {}
    hybrids.merge(donors, parsed.spec, parsed.out, **options, layout=layout, stores=stores, command=parsed.command)
    print(f"{parsed.out}: written")


def _verify(parsed) -> None:
    from .merging import verification

    for warning in verification.verify(parsed.directory):
        print(f"warning: {warning}", file=sys.stderr)
    print(f"{parsed.directory}: every tensor is its donor's")


def _inspect(parsed) -> None:
    from .merging import verification

    print(verification.describe(parsed.directory))


if __name__ == "__main__":
    main()
