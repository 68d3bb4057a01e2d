"""Batched versus one-at-a-time generation on the mini model, and answers graded per second.

    OMP_NUM_THREADS=2 python benchmarks/evaluation.py

The model is the mini study's, untrained: it never stops early, so every response has the maximum length. Plain numbers
are graded from full responses; LaTeX that needs sympy is compared in a pool of two processes, excluding their start-up.
The last line is a JSON object.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import yaml
from transformers.utils import logging

from frankenstein.grading import graders
from frankenstein.grading.outcome import RIGHT
from frankenstein.inference import generation
from frankenstein.inference.prompts import Prompt
from frankenstein.mini import model as mini
from frankenstein.mini import questions
from frankenstein.models import loading


def timed(work) -> tuple[float, list]:
    start = time.perf_counter()
    made = work()
    return time.perf_counter() - start, made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--new-tokens", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--answers", type=int, default=20_000)
    parsed = parser.parse_args()
    logging.set_verbosity_error()
    config = yaml.safe_load((Path(__file__).parents[1] / "config" / "config.yaml").read_text())
    with tempfile.TemporaryDirectory() as folder:
        mini.build(Path(folder), 1, config["checkpoints"]["base"]["model"], [""])
        model, processor = loading.load_model(Path(folder))
    model.generation_config.eos_token_id = None
    asked = questions.sample(1, "eval", "math_vqa", parsed.samples)
    prompts = [Prompt(question.prompt, question.image) for question in asked]

    def generate(batch: int) -> list[str]:
        parts = [prompts[at : at + batch] for at in range(0, len(prompts), batch)]
        return [r.text for part in parts for r in generation.generate(model, processor, part, parsed.new_tokens)]

    generation.generate(model, processor, prompts[:2], 2)
    singly, batched = [], []
    for _ in range(parsed.repeats):
        singly.append(timed(lambda: generate(1)))
        batched.append(timed(lambda: generate(parsed.samples)))
    single, batch = (statistics.median(seconds for seconds, _ in runs) for runs in (singly, batched))
    flips = sum(a != b for a, b in zip(singly[0][1], batched[0][1], strict=True))

    plain = {"question_type": "free_form", "answer_type": "integer"}
    numbers = [
        {"id": n, "response": f"There are {n % 7} red and {n} blue things. So the answer is {n + n % 7}.", "answer": str(n + n % 7), **plain}
        for n in range(parsed.answers)
    ]  # fmt: skip
    seconds, grades = timed(lambda: graders.grade_all("mathvista", numbers))
    assert all(grade.verdict == RIGHT for grade in grades)
    count = max(4, parsed.answers // 40)
    formulas = [
        {"id": n, "response": f"\\boxed{{{n}x + \\sqrt{{2}}}}", "answer": f"\\sqrt{{2}} + {n} x"}
        for n in range(2, count + 2)
    ]
    started, _ = timed(lambda: graders.grade_all("math500", formulas[:2], jobs=2))
    whole, grades = timed(lambda: graders.grade_all("math500", formulas, jobs=2))
    assert all(grade.verdict == RIGHT for grade in grades)
    result = {
        "batch_speedup": single / batch,
        "seconds_singly": single,
        "seconds_batched": batch,
        "responses_that_differ": flips,
        "answers_per_second": len(numbers) / seconds,
        "latex_answers_per_second": len(formulas) / max(whole - started, 1e-9),
    }
    print(
        f"{len(prompts)} responses of {parsed.new_tokens} tokens: one at a time {single:.2f} s, batched {batch:.2f} s"
    )
    print(json.dumps({key: float(f"{value:.3g}") for key, value in result.items()}))


if __name__ == "__main__":
    main()
