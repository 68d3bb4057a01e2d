"""Commands on studies: init, plan, pin, run, status, view."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Callable
from pathlib import Path

from ..core.errors import InputError
from ..core.terminal import paint
from .command import command


def add(commands: argparse._SubParsersAction) -> None:
    """Add the commands of this module."""
    made = command(
        commands,
        "init",
        _init,
        "write a study of your own Base, IN and RL",
        """
        Write a study file for three stages of one model: Base, IN (after supervised fine-tuning) and RL. Each is a
        local checkpoint directory or a Hub id. Family, depth and width are read from config.json, and the regions
        Early, Mid and Late are cut accordingly. On a terminal, what is not given is asked for.
        """,
        """
        frankenstein init
        frankenstein init --name mine --base Qwen/Qwen2.5-VL-7B-Instruct --in /models/sft --rl /models/rl
        """,
    )
    made.add_argument("--name", help="name of the study: results go to results/NAME (default: mine)")
    made.add_argument("--base", metavar="DIR_OR_ID", help="the Base; leave it out if you have none")
    made.add_argument("--in", dest="instruct", metavar="DIR_OR_ID", help="after supervised fine-tuning")
    made.add_argument("--rl", metavar="DIR_OR_ID", help="after reinforcement learning")
    made.add_argument("--system-prompt", metavar="TEXT", help="the system prompt that IN and RL were trained with")
    made.add_argument("--layers", type=int, metavar="N", help="decoder layers, if no config.json can be read here")
    made.add_argument("-o", "--out", type=Path, metavar="FILE", help="the file to write (default: config/NAME.yaml)")

    made = command(
        commands,
        "plan",
        _plan,
        "what a study will cost: jobs, GPU-hours, downloads, disk, memory",
        """
        Estimate a study before running it, from a dry run: jobs and hours by rule, downloads, disk, and what will
        not fit. The estimate prints the speeds that it assumes; --measure replaces them by this GPU's.
        """,
        """
        frankenstein plan config/paper.yaml
        frankenstein plan config/mine.yaml --gpu-memory 24 --measure
        """,
    )
    made.add_argument("config", type=Path, help="the study file")
    _add_snakefile(made)
    made.add_argument("--gpu-memory", type=int, default=80, metavar="GB", help="memory of each GPU (default: 80)")
    made.add_argument(
        "--measure", action="store_true", help="measure decoding and forward passes on the GPU at hand (under a minute)"
    )

    made = command(
        commands,
        "pin",
        _pin,
        "pin a study's Hub checkpoints and datasets to today's revisions",
        """
        Write the current commit of every checkpoint and dataset that a study takes from the Hub into its file,
        where none is given, and the checkpoints' parameter counts. Comments and layout are kept.
        """,
        "frankenstein pin config/mine.yaml",
    )
    made.add_argument("config", type=Path, help="the study file, which is edited in place")

    made = command(
        commands,
        "run",
        _run,
        "run a study, with readable progress",
        """
        Run a study with Snakemake: a line per finished job, the time left, and the end of the log of a job that
        failed. Arguments after CONFIG go to Snakemake as they are. Finished results are kept: after a failure or
        an edit, run the same command again. It is `snakemake --logger frankenstein --configfile CONFIG`.
        """,
        """
        frankenstein run config/mine.yaml
        frankenstein run config/mine.yaml --dry-run
        frankenstein run config/paper.yaml --profile profiles/slurm
        """,
    )
    _add_snakefile(made)
    made.add_argument("config", type=Path, help="the study file")
    made.add_argument("snakemake", nargs=argparse.REMAINDER, metavar="...", help="arguments for Snakemake")

    made = command(
        commands,
        "status",
        _status,
        "what of a study is done, what is to be done, and what failed last",
        """
        Jobs done and to be done by stage, the jobs that failed last with the end of their logs, and the report. Done
        again is what rests on something that has changed: the study file, an input, or the code. Works during a run.
        """,
        """
        frankenstein status config/mine.yaml
        frankenstein status results/mini
        """,
    )
    _add_snakefile(made)
    made.add_argument("study", type=Path, help="the study file, or its results folder (results/NAME)")

    made = command(
        commands,
        "view",
        _view,
        "look at a study's examples in the browser",
        """
        Serve the browser of examples, swaps and attention maps of a study of any size, read from its files. Only this
        machine can reach it (127.0.0.1), and it only reads. Ctrl-C ends it.
        """,
        "frankenstein view results/mini",
    )
    made.add_argument("results", type=Path, help="the study's folder, results/STUDY")
    made.add_argument("--port", type=int, default=0, help="port on 127.0.0.1 (default: any free one)")


def _add_snakefile(made: argparse.ArgumentParser) -> None:
    made.add_argument("--snakefile", type=Path, metavar="FILE", help="the workflow (default: ./Snakefile)")


def _ask(question: str, default: str, check: Callable | None = None):
    """An answer from the terminal, asked again until `check` takes it; what `check` returns."""
    while True:
        answer = input(f"{question}{f' [{default}]' if default else ''}: ").strip() or default
        try:
            return check(answer) if check else answer
        except InputError as error:
            print(f"{paint('error:', 'bad')} {error}")


def _init(parsed) -> None:
    import yaml

    from ..study import config, new

    asking = sys.stdin.isatty() and not (parsed.instruct and parsed.rl)
    if not asking and not (parsed.instruct and parsed.rl):
        raise InputError("init: --in and --rl are missing (or run it on a terminal, to be asked)")
    name = parsed.name or (_ask("Name of the study", "mine") if asking else "mine")
    out = parsed.out or Path("config" if Path("config").is_dir() else "") / f"{name}.yaml"
    if out.exists():
        raise InputError(f"{out}: exists; choose another --name, or another file by -o")
    if asking:
        print("Checkpoints: directories, or Hub ids such as Qwen/Qwen2.5-VL-7B-Instruct.")

    def stage(given: str | None, question: str, needed: bool = True):
        if given or not asking:
            return new.look(given) if given else None
        return _ask(question, "", lambda answer: new.look(answer) if answer or needed else None)

    base = stage(parsed.base, "Base (empty for none)", needed=False)
    instruct = stage(parsed.instruct, "IN, after supervised fine-tuning")
    rl = stage(parsed.rl, "RL, after reinforcement learning")
    prompt, layers = parsed.system_prompt or new.SYSTEM_PROMPT, parsed.layers
    known = any(facts and facts.layers for facts in (base, instruct, rl))
    if asking and not parsed.system_prompt:
        prompt = _ask("System prompt they were trained with", new.SYSTEM_PROMPT)
    if asking and not known and layers is None:
        layers = _ask("Number of decoder layers (num_hidden_layers in its config.json)", "28", _count)
    text = new.compose(name, base, instruct, rl, prompt, layers)
    study = config.load(yaml.safe_load(text))
    out.write_text(text)
    for facts in filter(None, (base, instruct, rl)):
        print(f"  {facts}")
    if not known and layers is None:
        print(f"{paint('!', 'note')} no config.json could be read: check regions.cuts in {out}")
    print(f"{out}: written. Look at its system_prompt, then:")
    if study.sources("hub"):
        print(f"  frankenstein pin {out}")
    print(f"  frankenstein plan {out}\n  frankenstein run {out}")


def _count(text: str) -> int:
    if not text.isdigit():
        raise InputError(f"{text!r} is not a number")
    return int(text)


def _pin(parsed) -> None:
    from ..study import pin

    print("\n".join(pin.pin(parsed.config)) or f"{parsed.config}: everything is pinned already")


def _plan(parsed) -> None:
    from ..study import plan, workflow

    snakefile = workflow.snakefile(parsed.snakefile)
    print(plan.plan(parsed.config, snakefile, 1000 * parsed.gpu_memory, parsed.measure))


def _run(parsed) -> None:
    from ..study import config, workflow

    config.load(config.read(parsed.config))  # a mistake in it is one line here
    snakefile = workflow.snakefile(parsed.snakefile)
    command = [sys.executable, "-m", "snakemake", "--logger", "frankenstein", "--configfile", str(parsed.config)]
    # Last, as the options before take any number of values, which targets are not.
    command += ["--snakefile", str(snakefile)]
    os.execv(sys.executable, [*command, *parsed.snakemake])


def _status(parsed) -> None:
    from ..study import status, workflow

    print(status.status(parsed.study, workflow.snakefile(parsed.snakefile)))


def _view(parsed) -> None:
    from ..report.server import Viewer
    from ..study import config
    from ..study.jobs import PARTS, Jobs

    results = parsed.results.resolve()
    root = results.parent.parent
    jobs = Jobs(config.of_results(results, root))
    swaps = root / jobs.paths.swaps.format(checkpoint=jobs.base) if jobs.base else None
    with Viewer(results, jobs.settings(*PARTS), swaps, parsed.port) as viewer:
        print(f"http://127.0.0.1:{viewer.server_port}/ (Ctrl-C ends it)", flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            viewer.serve_forever()
