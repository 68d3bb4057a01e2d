"""Commands on responses: grade, import, export, compare."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from ..core.errors import InputError
from ..core.terminal import columns
from .command import command


def add(commands: argparse._SubParsersAction) -> None:
    """Add the commands of this module."""
    made = command(
        commands,
        "grade",
        _grade,
        "grade responses to a benchmark by rules, without a judge model",
        """
        Grade responses to mathvista, mathverse, mathvision, logicvista, math500 or gsm8k by rules. A verdict is
        right, wrong, abstained (the model says that it cannot tell) or ungraded (no rule can read the answer),
        with the reason. RESPONSES is JSON lines: id, response, and the benchmark's own gold fields (answer,
        question_type, answer_type, choices, precision, unit), inline or from --examples.
        """,
        """
        frankenstein grade --task mathvista responses.jsonl -o verdicts.jsonl
        frankenstein grade --task gsm8k responses.jsonl --examples test.jsonl -o verdicts.jsonl
        frankenstein grade --check cases.jsonl
        """,
    )
    made.add_argument("--task", metavar="BENCHMARK", help="the benchmark whose rules apply, e.g. mathvista")
    made.add_argument("responses", type=Path, nargs="?", help="JSON lines: id, response, gold fields")
    made.add_argument(
        "--check", type=Path, metavar="CASES",
        help="test the graders instead, on JSON lines of task, response, gold fields and `expected`, a human's verdict",
    )  # fmt: skip
    made.add_argument(
        "--examples", type=Path, metavar="FILE", help="gold fields by id (.jsonl, or MathVista's testmini.json)"
    )
    made.add_argument("--use-extraction", action="store_true", help="grade the field `extraction`, not the response")
    made.add_argument("-o", "--out", type=Path, metavar="FILE", help="JSON lines: id, extracted, verdict, reason")
    made.add_argument(
        "--jobs", type=int, default=os.cpu_count(), metavar="N", help="processes for sympy (default: all cores)"
    )
    made.add_argument(
        "--time-limit", type=float, default=5.0, metavar="S", help="seconds per answer in sympy (default: 5)"
    )

    made = command(
        commands,
        "import",
        _import,
        "convert another harness's responses to records for `grade`",
        """
        Convert lmms-eval's logged samples or VLMEvalKit's predictions to JSON lines of id, response and gold
        fields. lmms-eval 0.7.3 logs no questions: give the rows behind them by --examples, and each sample is
        matched with its row by position, id or text, and checked; what matches ambiguously is refused.
        """,
        """
        frankenstein import --from vlmevalkit predictions.xlsx -o responses.jsonl
        frankenstein import --from lmms-eval samples.jsonl --examples test.parquet --benchmark mathvista -o r.jsonl
        """,
    )
    made.add_argument("--from", required=True, dest="harness", choices=("lmms-eval", "vlmevalkit"))
    made.add_argument("file", type=Path, help="lmms-eval samples (.jsonl) or VLMEvalKit predictions (.xlsx, .tsv)")
    made.add_argument("--examples", type=Path, metavar="FILE", help="the rows behind lmms-eval's samples")
    made.add_argument(
        "--benchmark", metavar="NAME", help="--examples is this benchmark's published file (.parquet or .jsonl)"
    )
    made.add_argument(
        "-o", "--out", type=Path, required=True, metavar="FILE", help="JSON lines: id, response, gold fields"
    )

    made = command(
        commands,
        "export",
        _export,
        "write a study's responses to a task as lmms-eval's logged samples",
        """
        Write one checkpoint's responses to one task of a study in the format of lmms-eval's logged samples, with
        our verdicts as its metric. Give all shards of the checkpoint.
        """,
        """
        frankenstein export --examples results/mini/data/ocr.jsonl results/mini/responses/one-rl.*.jsonl -o samples.jsonl
        """,
    )
    made.add_argument("--examples", type=Path, required=True, metavar="FILE", help="results/STUDY/data/TASK.jsonl")
    made.add_argument(
        "--condition", default="image", choices=("image", "black", "shuffled", "described", "text"),
        help="how the task was asked (default: image)",
    )  # fmt: skip
    made.add_argument("responses", type=Path, nargs="+", help="all shards: results/STUDY/responses/CHECKPOINT.*.jsonl")
    made.add_argument("-o", "--out", type=Path, required=True, metavar="FILE", help="JSON lines")

    made = command(
        commands,
        "compare",
        _compare,
        "compare two systems' verdicts on the same examples, paired",
        """
        Compare the verdicts of `frankenstein grade` for two systems on the same examples: who is right where the
        other is not, the difference in accuracy with a paired 95 % interval, and McNemar's exact test.
        """,
        "frankenstein compare in.verdicts.jsonl rl.verdicts.jsonl",
    )
    made.add_argument("a", type=Path, help="verdicts of `frankenstein grade`")
    made.add_argument("b", type=Path, help="verdicts of the other system on the same examples")


def _grade(parsed) -> None:
    from ..core import jsonl
    from ..data.benchmarks import BENCHMARKS
    from ..grading import graders, records

    if parsed.check:
        lines, kept = records.check(parsed.check, parsed.jobs, parsed.time_limit)
        print("\n".join(lines))
        sys.exit(not kept)
    for option, given in (("--task", parsed.task), ("RESPONSES", parsed.responses), ("--out", parsed.out)):
        if given is None:
            raise InputError(f"grade: {option} is missing (or give --check CASES)")
    if parsed.task not in BENCHMARKS:
        raise InputError(f"--task {parsed.task}: unknown; known: {', '.join(BENCHMARKS)}")
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
    print("\n".join([*records.summary(grades), f"{parsed.out}: {len(grades)} verdicts"]))


def _import(parsed) -> None:
    from ..core import jsonl
    from ..data.benchmarks import BENCHMARKS
    from ..grading import interchange

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
    from ..core import jsonl
    from ..data import tasks
    from ..grading import interchange, verdicts
    from ..inference import responses

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

    from ..claims import scoring
    from ..core import jsonl
    from ..grading.outcome import RIGHT

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
    table = [
        [f"{row.n} examples", "right", "alone", "accuracy"],
        [str(parsed.a), str(row.n11 + row.n10), str(row.n10), f"{(row.n11 + row.n10) / row.n:.1%}"],
        [str(parsed.b), str(row.n11 + row.n01), str(row.n01), f"{(row.n11 + row.n01) / row.n:.1%}"],
    ]
    print("\n".join(columns(table)))
    print(f"both right: {row.n11}, neither: {row.n00}")
    interval = f"[{100 * gain.low:+.1f}, {100 * gain.high:+.1f}] (95 % paired interval)"
    if pd.isna(gain.low):
        interval = "(too few examples for an interval)"
    print(
        f"second minus first: {100 * gain.difference:+.1f} points {interval}, McNemar's exact p = {row.p_mcnemar:.3g}"
    )
