"""The `frankenstein` command: individual analyses without running the workflow."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from pathlib import Path

from .core import jsonl
from .core.errors import InputError

# Each command imports its own dependencies: a merge needs neither torch nor pandas.


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="frankenstein", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    command = commands.add_parser("updates", help="measure weight updates per matrix, norm and bias; writes one table")
    command.add_argument("--base", type=Path, required=True, help="checkpoint directory (safetensors)")
    command.add_argument(
        "--in", type=Path, required=True, dest="instruct", help="checkpoint after supervised fine-tuning"
    )
    command.add_argument("--rl", type=Path, help="checkpoint after reinforcement learning")
    command.add_argument("-o", "--out", type=Path, required=True, help="output table (.parquet or .csv)")
    command.add_argument(
        "--jobs",
        type=int,
        default=os.cpu_count(),
        help="number of single-threaded worker processes (default: all cores)",
    )
    command.set_defaults(run=_updates)

    command = commands.add_parser(
        "merge", help="merge checkpoints into a hybrid, byte-exact, recording the source of every tensor"
    )
    command.add_argument(
        "--in", type=Path, dest="instruct", help="donor IN: the checkpoint after supervised fine-tuning"
    )
    command.add_argument("--rl", type=Path, help="donor RL: the checkpoint after reinforcement learning")
    command.add_argument("--base", type=Path, help="donor BASE: the checkpoint before both")
    command.add_argument(
        "--donor",
        action="append",
        default=[],
        metavar="NAME=DIR",
        help="an additional donor, a VLM or its decoder's language model; may be repeated",
    )
    command.add_argument(
        "--cuts", help="first layer of the second, third, ... region, e.g. 10,19 (default: regions of equal size)"
    )
    command.add_argument(
        "--rest",
        default="early",
        help="source of everything outside the decoder layers: early (default), a donor, or part=donor,part=donor",
    )
    command.add_argument(
        "--config-from",
        metavar="NAME",
        help="donor of config, tokenizer and processor (default: the embeddings' donor)",
    )
    command.add_argument(
        "--link",
        type=Path,
        metavar="DIR",
        help="hard-link files stored in DIR (written once per parent) instead of copying",
    )
    command.add_argument("--dry-run", action="store_true", help="check the donors and print what would be written")
    command.add_argument(
        "spec", help="hybrid, e.g. IN:RL:RL, IN+RL@14-17, IN+RL@attention, IN:0.5:RL (see config/README.md)"
    )
    command.add_argument("out", type=Path, help="output directory")
    command.set_defaults(run=_merge)

    command = commands.add_parser(
        "verify", help="check every tensor of a hybrid against its merge manifest and its parents"
    )
    command.add_argument("directory", type=Path)
    command.set_defaults(run=_verify)

    command = commands.add_parser(
        "inspect", help="summarize a checkpoint; for a hybrid, also list which donor supplied each part"
    )
    command.add_argument("directory", type=Path)
    command.set_defaults(run=_inspect)

    command = commands.add_parser("grade", help="grade responses to a benchmark with rules (no judge model)")
    command.add_argument(
        "--task", metavar="BENCHMARK", help="benchmark whose rules grade the responses, e.g. mathvista"
    )
    command.add_argument(
        "responses",
        type=Path,
        nargs="?",
        help="JSON lines with id, response and the gold fields (inline, or from --examples)",
    )
    command.add_argument(
        "--check",
        type=Path,
        metavar="CASES",
        help="test the graders instead: JSON lines with task, response, gold fields and the verdict a careful human would give",
    )
    command.add_argument(
        "--examples", type=Path, help="gold records, matched by id (.jsonl, or MathVista's testmini.json)"
    )
    command.add_argument(
        "--use-extraction", action="store_true", help="grade the answer already extracted in each record"
    )
    command.add_argument("-o", "--out", type=Path, help="output JSON lines: id, extracted, verdict, reason")
    command.add_argument(
        "--jobs", type=int, default=os.cpu_count(), help="number of sympy worker processes (default: all cores)"
    )
    command.add_argument("--time-limit", type=float, default=5.0, help="seconds per answer in sympy (default: 5)")
    command.set_defaults(run=_grade)

    command = commands.add_parser("import", help="convert another harness's responses to records for grading")
    command.add_argument("--from", required=True, dest="harness", choices=("lmms-eval", "vlmevalkit"))
    command.add_argument("file", type=Path, help="lmms-eval samples (.jsonl) or VLMEvalKit predictions (.xlsx, .tsv)")
    command.add_argument(
        "--examples",
        type=Path,
        help="the benchmark rows behind lmms-eval logs that do not contain them, e.g. a study's data/TASK.jsonl",
    )
    command.add_argument(
        "--benchmark",
        metavar="NAME",
        help="--examples is this benchmark's published file (mathvista, ...; .parquet or .jsonl)",
    )
    command.add_argument("-o", "--out", type=Path, required=True, help="output JSON lines: id, response, gold fields")
    command.set_defaults(run=_import)

    command = commands.add_parser(
        "export", help="write a study's responses to a task in lmms-eval's logged-samples format"
    )
    command.add_argument("--examples", type=Path, required=True, help="results/STUDY/data/TASK.jsonl")
    command.add_argument("--condition", default="image", choices=("image", "black", "shuffled", "described", "text"))
    command.add_argument(
        "responses", type=Path, nargs="+", help="all shards: results/STUDY/responses/CHECKPOINT.*.jsonl"
    )
    command.add_argument("-o", "--out", type=Path, required=True, help="output JSON lines")
    command.set_defaults(run=_export)

    command = commands.add_parser("compare", help="paired comparison of two systems' verdicts on the same examples")
    command.add_argument("a", type=Path, help="verdicts from `frankenstein grade`")
    command.add_argument("b", type=Path, help="verdicts of the other system on the same examples")
    command.set_defaults(run=_compare)

    command = commands.add_parser(
        "pin", help="pin unpinned Hub revisions in a study's configuration to today's commits"
    )
    command.add_argument("config", type=Path)
    command.set_defaults(run=_pin)

    command = commands.add_parser("plan", help="estimate the cost of a study: jobs, GPU-hours, downloads, disk, memory")
    command.add_argument("config", type=Path)
    command.add_argument("--snakefile", type=Path, default=Path("Snakefile"))
    command.add_argument("--gpu-memory", type=int, default=80, help="memory per available GPU in GB (default: 80)")
    command.add_argument(
        "--measure", action="store_true", help="measure decoding and forward passes on the GPU at hand (under a minute)"
    )
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
        raise InputError(f"{parsed.out}: must end in .parquet or .csv")
    if parsed.jobs < 1:
        raise InputError(f"--jobs {parsed.jobs}: must be at least 1")
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
        raise InputError("--examples goes with --from lmms-eval: VLMEvalKit tables already contain the gold answers")
    if parsed.benchmark is not None:
        if parsed.benchmark not in BENCHMARKS:
            raise InputError(f"--benchmark {parsed.benchmark}: unknown; known: {', '.join(BENCHMARKS)}")
        if parsed.examples is None:
            source = BENCHMARKS[parsed.benchmark]
            at = f" at {source.revision}" if source.revision else ""
            files = " or ".join(source.files.values())
            raise InputError(f"--benchmark needs --examples FILE: {files} of {source.repo}{at} on the Hub")
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
            raise InputError(f"{path}: not verdicts of `frankenstein grade`: field {error} is missing") from None
        if not rows or len({key for key, _ in rows}) < len(rows):
            raise InputError(f"{path}: {'duplicate id' if rows else 'empty'}")
        side = pd.DataFrame(rows, columns=["id", "correct"])
        sides.append(side.assign(metric="accuracy", cluster=side.id))  # versions of one problem are not known here
    row = scoring.paired(*sides).iloc[0]
    gain = scoring.difference(*sides).iloc[0]
    print(f"n = {row.n}: both right {row.n11}, only {parsed.a} {row.n10}, only {parsed.b} {row.n01}, neither {row.n00}")
    print(
        f"{parsed.b} - {parsed.a}: {gain.difference:+.1%} [{gain.low:+.1%}, {gain.high:+.1%}] "
        f"(95 % paired interval), McNemar's exact p = {row.p_mcnemar:.3g}"
    )


def _pin(parsed) -> None:
    from .study import pin

    print("\n".join(pin.pin(parsed.config)) or f"{parsed.config}: everything is pinned already")


def _plan(parsed) -> None:
    from .study import plan

    if not parsed.snakefile.exists():
        raise InputError(f"{parsed.snakefile}: no such file; run from the repository root, or give --snakefile")
    print(plan.plan(parsed.config, parsed.snakefile, 1000 * parsed.gpu_memory, parsed.measure))


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
        raise InputError(f"--rest {text}: {odd[0]!r} should be part=donor")
    return {part: donor for part, _, donor in parts}


def _merge(parsed) -> None:
    from .merging import hybrids, links, plan

    donors = _donors(parsed)
    try:
        cuts = tuple(map(int, parsed.cuts.split(","))) if parsed.cuts else None
    except ValueError:
        raise InputError(f"--cuts {parsed.cuts}: not comma-separated layers, e.g. 10,19") from None
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
