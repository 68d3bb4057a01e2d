"""RL on user-provided prompts: records with images and gold answers, rewarded by the benchmarks' grading rules.

Runs in one process, or in several (data parallel, FSDP, DeepSpeed) started by `accelerate launch` with an accelerate
configuration file.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from ..core.errors import InputError
from ..data.tasks import open_image, read_examples
from ..grading import rules
from ..grading.outcome import RIGHT
from ..inference.prompts import Prompt
from .grpo import grpo
from .sft import RLPrompt

_WORKER = ["-m", "frankenstein.training.grpo_worker"]


def read(path: Path, system: str) -> list[RLPrompt]:
    """GRPO prompts from JSON lines of tasks.Example, with images beside the file.

    Raises InputError for an example without a valid `grading`, or an image that cannot be opened.
    """
    prompts = []
    for example in read_examples(path):
        if example.grading not in rules.RULES:
            raise InputError(
                f"{path}, id {example.id!r}: grading is one of {', '.join(rules.RULES)}, not {example.grading!r}"
            )
        image = None
        if example.image:
            image = str((Path(path).parent / example.image).resolve())
            open_image(Path(image))
        record = json.dumps(asdict(example))
        prompts.append(
            RLPrompt(Prompt(example.prompt, None, system), example.answer, example.answer_type, image, record)
        )
    return prompts


def reward(completions, example, **_) -> list[float]:
    """1 for an answer graded right by its prompt's rule (rules.grade_all), 0 otherwise, including ungraded answers."""
    records = [
        {**json.loads(record), "response": completion[0]["content"]}
        for record, completion in zip(example, completions, strict=True)
    ]
    return [float(grade.verdict == RIGHT) for grade in rules.grade_all(records)]


def run(spec: dict) -> pd.DataFrame:
    """Run GRPO from a plain-data specification: start, out, prompt_file, system, and grpo.grpo's other arguments."""
    options = {
        key: value for key, value in spec.items() if key not in ("start", "out", "prompt_file", "system", "history")
    }
    options["frozen"] = range(*options["frozen"])
    options["components"] = tuple(options["components"])
    options["scratch"] = Path(options["scratch"])
    found = read(Path(spec["prompt_file"]), spec["system"])
    # Within a step, all prompts have an image or none has, so more prompts are needed than are used.
    needed = (spec["steps"] + 2) * spec["prompts_per_step"]
    found = [found[at % len(found)] for at in range(needed)]
    return grpo(Path(spec["start"]), Path(spec["out"]), found, answer=reward, **options)


def launched(spec: dict, accelerate: Path | None) -> pd.DataFrame:
    """Call `run` in this process or, given an accelerate configuration file, in as many processes as it specifies."""
    if accelerate is None:
        return run(spec)
    if not Path(accelerate).is_file():
        raise InputError(
            f"{accelerate}: no such file: accelerate's configuration (`accelerate config --config_file FILE`)"
        )
    file, history = Path(spec["out"]).with_suffix(".spec.json"), Path(spec["out"]).with_suffix(".history.csv")
    file.write_text(json.dumps(spec | {"history": str(history)}))
    # Port 0: any free one, for runs on one node at a time.
    command = ["launch", "--config_file", str(accelerate), "--main_process_port", "0", *_WORKER, str(file)]
    try:
        # close_fds=False: these processes share the claim on the GPUs (models.gpu).
        subprocess.run(
            [sys.executable, "-m", "accelerate.commands.accelerate_cli", *command], check=True, close_fds=False
        )
        return pd.read_csv(history)
    finally:
        file.unlink()
        history.unlink(missing_ok=True)
