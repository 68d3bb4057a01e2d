"""A study's results as files, of any size, without a model: what the report's examples and `frankenstein view` read."""

import csv
import json
import random
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from frankenstein.core.regions import Regions
from frankenstein.data import tasks
from frankenstein.grading.outcome import VERDICTS
from frankenstein.inference import responses

ABILITIES = {"vision": "shapes", "vision_to_reasoning": "sums", "reasoning": "words"}
CONDITIONS = {"shapes": ["image", "black", "shuffled"], "sums": ["image", "described"], "words": ["text"]}
ROLES = ("Base", "IN", "IN:RL:RL", "RL")
RUNS = ("one", "one-2")
LAYERS, GRID = 12, (3, 4)
HOSTILE = "<img src=x onerror=alert(1)><script>alert(2)</script>&amp;"


def settings(runs=RUNS) -> dict:
    """As study.jobs.Jobs.settings; the runs share their Base."""
    roles: dict[str, list] = {"base": [(run, "Base") for run in runs]}
    for run in runs:
        roles |= {f"{run}.{role.replace(':', '-')}": [(run, role)] for role in ROLES[1:]}
    numbered = {run: ["one", number, f"{run}.IN", f"{run}.RL"] for number, run in enumerate(runs, 1)}
    return {"roles": roles, "runs": numbered, "abilities": ABILITIES, "seed": 1}


def write(results: Path, examples: int = 12, runs=RUNS, padding: int = 0, shards: int = 2) -> dict:
    """Write the files; returns the settings. examples: per task; padding: characters added to each response."""
    rng, found = random.Random(0), settings(runs)
    for folder in ("data/shapes", "data/sums", "grades", "responses"):
        (results / folder).mkdir(parents=True)
    for number in range(5):
        shown = np.zeros((48, 64, 3), np.uint8) + np.array([40 * number, 200, 255 - 40 * number], np.uint8)
        shown[10:30, 8 * number : 8 * number + 20] = 0
        for task in ("shapes", "sums"):
            Image.fromarray(shown).save(results / "data" / task / f"{number}.png")
    asked = {}
    for task in CONDITIONS:
        asked[task] = [
            tasks.Example(
                id=f"{task}/{i}" if i != 1 else f"{task} #1?&",
                task=task,
                prompt=f"what is {i} + {i % 7}?" if i else f"what is {HOSTILE}?",
                answer=str(i + i % 7),
                image=None if task == "words" else f"{task}/{i % 5}.png",
                description=f"{i} shapes" if task == "sums" else None,
                category=("easy", "hard")[i % 2] if task == "words" else None,
            )
            for i in range(examples)
        ]
        tasks.write(results / "data" / f"{task}.jsonl", asked[task])
    for checkpoint in found["roles"]:
        parts: list[list] = [[] for _ in range(shards)]
        with open(results / "grades" / f"{checkpoint}.csv", "w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(
                [
                    "id",
                    "task",
                    "problem",
                    "condition",
                    "verdict",
                    "extracted",
                    "reason",
                    "well_formed",
                    "truncated",
                    "tokens",
                ]
            )
            for task, of in asked.items():
                for i, example in enumerate(of):
                    for condition in CONDITIONS[task]:
                        verdict = rng.choices(VERDICTS, (6, 5, 1, 1))[0]
                        said = example.answer if verdict == "right" else f"{i + 99}"
                        text = (
                            f"<think>{checkpoint} looks {'x' * padding}</think><answer>{said}</answer>"
                            if i
                            else HOSTILE
                        )
                        record = {"id": example.id, "task": task, "condition": condition, "response": text}
                        parts[i % shards].append(
                            record | {"tokens": 3, "token_ids": [1, 2, 3], "truncated": False, "error": None}
                        )
                        reason = "no rule reads it" if verdict == "ungraded" else ""
                        rows.writerow(
                            [example.id, task, example.id, condition, verdict, said, reason, i % 3 > 0, False, 3]
                        )
        for shard, records in enumerate(parts):
            responses.write(results / "responses" / f"{checkpoint}.{shard}.jsonl", {"checkpoint": checkpoint}, records)
    return found


def write_swaps(results: Path, pairs: int = 3) -> Path:
    """Probe pairs of two functions, the judged swaps of both and the rates of Figure 4; returns the table of swaps."""
    rows, rates = [], []
    for folder in ("pairs", "localization", "figures"):
        (results / folder).mkdir(exist_ok=True)
    for function in ("counting", "ocr"):
        (results / "pairs" / function).mkdir()
        made = []
        for i in range(pairs):
            names = [f"{function}/{i}_{side}.png" for side in "ts"]
            for name, color in zip(names, ("red", "blue"), strict=True):
                Image.new("RGB", (40 + i, 30), color).save(results / "pairs" / name)
            meta = {"target_answer": f"t{i}", "source_answer": f"s{i}"}
            made.append(tasks.Pair(f"{function}{i}", function, *names, f"what is in {i}?", meta))
            for mode in ("none", "hidden_state_at_layer", "kv_at_layer_only"):
                for layer in [-1] if mode == "none" else range(LAYERS):
                    changed = mode != "none" and layer < 4 + i
                    failed = mode == "kv_at_layer_only" and layer == 11
                    said = "" if failed else f"s{i}" if changed else f"t{i}"
                    rows.append(
                        {"id": made[-1].id, "function": function, "mode": mode, "layer": layer, "response": said}
                    )
                    rows[-1] |= {"changed": changed, "failed": failed}
        tasks.write(results / "pairs" / f"{function}.jsonl", made)
        for mode in ("hidden_state_at_layer", "kv_at_layer_only"):
            for layer in range(-1, LAYERS):
                rate = sum(0 <= layer < 4 + i for i in range(pairs)) / pairs
                rates.append(
                    {
                        "function": function,
                        "probe": mode,
                        "layer": layer,
                        "rate": rate,
                        "low": rate * 0.8,
                        "high": min(1, rate + 0.1),
                    }
                )
    pd.DataFrame(rates).to_csv(results / "figures" / "figure4.csv", index=False)
    table = results / "localization" / "base.swap.csv"
    pd.DataFrame(rows).to_csv(table, index=False)
    return table


def write_attention(results: Path, examples: int = 3, runs=RUNS) -> dict:
    """Attention maps of IN and RL over both's responses to `sums`; returns (model, text) -> id -> float16 [layers, rows x columns]."""
    rng, found = np.random.default_rng(0), {}
    (results / "attention").mkdir()
    Regions((4, 8), LAYERS).write(results / "regions.json")
    ids = [json.loads(line)["id"] for line in (results / "data" / "sums.jsonl").read_text().splitlines()[:examples]]
    for run in runs:
        for model in ("IN", "RL"):
            for text in ("IN", "RL"):
                reader = f"{run}.{model}" if model == text else f"{run}.{model}.on.{run}.{text}"
                maps = {id: rng.dirichlet(np.ones(13), LAYERS)[:, :12].astype(np.float16) for id in ids}
                rows = [
                    {"id": id, "layer": layer, "rows": GRID[0], "columns": GRID[1], "attention": weights}
                    for id, of in maps.items()
                    for layer, weights in enumerate(of)
                ]
                for shard in range(2):
                    mine = [row for row in rows if ids.index(row["id"]) % 2 == shard]
                    pd.DataFrame(mine).to_parquet(results / "attention" / f"{reader}.{shard}.maps.parquet", index=False)
                found[f"{run}.{model}", f"{run}.{text}"] = maps
    return found
