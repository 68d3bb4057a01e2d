"""Answering for all checkpoints of a run: one process each, hybrids from disk, against one process for all, hybrids from memory.

    OMP_NUM_THREADS=1 python benchmarks/generation.py [--examples 320]

A run of the mini study in its default shape: IN, RL and ten hybrids, asked the tasks of the three abilities in all conditions. Prints
where the time of a process goes. The last line is a JSON object: the ratio of the wall times, whether every answer is equal, and the
share of IN's answers that vLLM gives token for token (null where it is not installed).
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

BEGAN = time.monotonic()
SYSTEM = "think first."
CONDITIONS = {"easy_vqa": ["image", "black"], "math_vqa": ["image", "described"], "text_math": ["text"]}
SPECS = ["IN:RL:RL", "IN:IN:RL", "RL:RL:IN", "RL:IN:IN", "IN:RL:IN", "RL:IN:RL", "IN:0.25:0.25", "IN:0.5:0.5", "IN:0.75:0.75", "0.5:RL:RL"]  # fmt: skip
ROOT = Path(__file__).parents[1]


def name_of(spec: str) -> str:
    return spec.replace(":", "-")


def build(folder: Path, examples: int) -> None:
    """IN and RL that have learned a little, and what they are asked."""
    from frankenstein.mini import benchmarks, model, questions
    from frankenstein.training import sft

    shape = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())["checkpoints"]["base"]["model"]
    model.build(folder / "base", seed=1, shape=shape, system_prompts=[SYSTEM])
    for name, start, seed, steps in (("IN", "base", 1, 150), ("RL", "IN", 2, 30)):
        asked = itertools.islice(questions.stream(seed, "train", dict.fromkeys(CONDITIONS, 1)), 16 * steps)
        samples = [sft.Sample(sft.Prompt(q.prompt, q.image, SYSTEM), f"{q.chain}. {q.answer}") for q in asked]
        sft.supervised(folder / start, folder / name, samples, steps=steps, batch=16, learning_rate=2e-3, seed=seed)
    for task in CONDITIONS:
        benchmarks.write_examples(task, folder / f"{task}.jsonl", folder / "images", examples, seed=3)


def answer(folder: Path, checkpoints: list[str], way: str, engine: str = "transformers") -> None:
    """Answer for checkpoints in this process, in a folder per way; prints the seconds until the first batch and in batches."""
    from frankenstein.data import tasks
    from frankenstein.inference import cache, engines, respond
    from frankenstein.merging.memory import Hybrid

    requests = [
        (example, condition)
        for task, conditions in CONDITIONS.items()
        for example in tasks.read_examples(folder / f"{task}.jsonl")
        for condition in conditions
    ]
    made, started = None, None
    for name in checkpoints:
        disk = folder / name_of(name)
        hybrid = None if disk.exists() else Hybrid(dict.fromkeys(("IN", "RL")) | parents(folder), name, (3, 6), "early")
        made = made or engines.LOCAL[engine](disk if hybrid is None else hybrid.directory, 48)
        made.turn_to(disk if hybrid is None else hybrid.directory, None, hybrid)
        if started is None and engine == "transformers":
            made.prepare()
        started = started or time.monotonic() - BEGAN
        store = cache.ResponseCache(folder / way / name_of(name) / "0.jsonl", {})
        records = list(respond.respond(made, requests, folder, SYSTEM, 320, store))
        (folder / way / f"{name_of(name)}.json").write_text(json.dumps(records))
    print(json.dumps({"start": started, "answers": time.monotonic() - BEGAN - started}))


def parents(folder: Path) -> dict[str, str]:
    return {label: str(folder / label) for label in ("IN", "RL")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=320)
    parser.add_argument("--hybrids", type=int, default=len(SPECS), help="how many of the ten")
    parser.add_argument("--answer", nargs="+", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--way", help=argparse.SUPPRESS)
    parser.add_argument("--engine", default="transformers", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.answer:
        answer(arguments.folder, arguments.answer, arguments.way, arguments.engine)
        return
    with tempfile.TemporaryDirectory() as place:
        compare(Path(place), arguments.examples, SPECS[: arguments.hybrids])


def compare(folder: Path, examples: int, specs: list[str]) -> None:
    from frankenstein.merging import hybrids

    build(folder, examples)
    checkpoints = ["IN", "RL", *specs]

    def run(way: str, names: list[str], engine: str = "transformers") -> dict:
        command = [
            sys.executable,
            __file__,
            "--folder",
            str(folder),
            "--way",
            way,
            "--engine",
            engine,
            "--answer",
            *names,
        ]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        return json.loads(said.splitlines()[-1])

    def read(way: str, name: str) -> list[dict]:
        return json.loads((folder / way / f"{name_of(name)}.json").read_text())

    began = time.monotonic()
    one = run("one", checkpoints)
    together = time.monotonic() - began
    began, starts = time.monotonic(), 0.0
    for spec in specs:
        hybrids.merge(
            {label: Path(path) for label, path in parents(folder).items()}, spec, folder / name_of(spec), cuts=(3, 6)
        )
    merging = time.monotonic() - began
    for name in checkpoints:
        starts += run("each", [name])["start"]
    apart = time.monotonic() - began
    equal = all(read("one", name) == read("each", name) for name in checkpoints)
    print(
        f"one process for {len(checkpoints)} checkpoints: {together:.1f} s, of which {one['start']:.1f} s until the first batch"
    )
    print(
        f"one process each: {apart:.1f} s, of which {starts:.1f} s until the first batches, {merging:.1f} s writing hybrids"
    )
    agreement = None
    if importlib.util.find_spec("vllm"):
        run("vllm", ["IN"], "vllm")
        same = [a["token_ids"] == b["token_ids"] for a, b in zip(read("vllm", "IN"), read("one", "IN"), strict=True)]
        agreement = sum(same) / len(same)
    print(
        json.dumps(
            {"one_process_speedup": round(apart / together, 2), "answers_equal": equal, "vllm_agreement": agreement}
        )
    )


if __name__ == "__main__":
    main()
