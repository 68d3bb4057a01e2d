"""What the report's explorers show beside the examples: swaps pair by pair, and attention on the image."""

from __future__ import annotations

import base64
import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ..data.tasks import read_pairs
from .examples import Examples

_EXAMPLES, _CELLS = 12, 2_000_000  # attention maps that are shown: examples per run, and vision tokens of all maps


def swaps(results: Path, table: Path) -> dict:
    """Probe pairs with the Base's answers by layer, from the table of judged swaps (localization/{base}.swap.csv).

    texts: the different answers; layers: number of decoder layers; functions: function -> pairs (id, prompt; target, source: image,
    gold; answers: mode -> said: position in texts by layer, and codes: c changed, s the same, f failed; the first of each is of
    nothing swapped), and rates: mode -> [layer, rate, low, high] of Figure 4, if it is there. Functions without pairs are left out.
    """
    texts: dict[str, int] = {}
    found: dict[str, dict[str, dict[str, dict[int, tuple[int, str]]]]] = {}
    with open(table, newline="") as file:
        for row in csv.DictReader(file):
            code = "f" if row["failed"] == "True" else "c" if row["changed"] == "True" else "s"
            answer = texts.setdefault(row["response"], len(texts)), code
            by_mode = found.setdefault(row["function"], {}).setdefault(row["id"], {})
            by_mode.setdefault(row["mode"], {})[int(row["layer"])] = answer
    rates = _rates(results / "figures" / "figure4.csv")
    functions, layers = {}, 0
    for function, of_pairs in found.items():
        path = results / "pairs" / f"{function}.jsonl"
        if not path.exists():
            continue
        pairs = []
        for pair in read_pairs(path):
            if pair.id not in of_pairs:
                continue
            by_mode = dict(of_pairs[pair.id])
            unswapped = by_mode.pop("none")
            answers = {}
            for mode, by_layer in by_mode.items():
                layers = max(layers, len(by_layer))
                said, codes = zip(*(value for _, value in sorted((unswapped | by_layer).items())), strict=True)
                answers[mode] = {"said": said, "codes": "".join(codes)}
            sides = {
                side: {"image": f"pairs/{image}", "gold": pair.answer(side)}
                for side, image in (("target", pair.target_image), ("source", pair.source_image))
            }
            pairs.append({"id": pair.id, "prompt": pair.prompt, **sides, "answers": answers})
        functions[function] = {"pairs": pairs, "rates": rates.get(function, {})}
    return {"texts": list(texts), "layers": layers, "functions": functions}


def _rates(path: Path) -> dict[str, dict[str, list[list[float | None]]]]:
    """function -> mode -> [layer, rate, low, high], from the table of Figure 4; empty if it is not there."""
    found: dict = {}
    if path.exists():
        with open(path, newline="") as file:
            for row in csv.DictReader(file):
                values = [float(row[name]) if row[name] else None for name in ("rate", "low", "high")]
                found.setdefault(row["function"], {}).setdefault(row["probe"], []).append([int(row["layer"]), *values])
    return found


def attention(results: Path, examples: Examples, task: str, runs: Mapping[str, Sequence]) -> dict:
    """Maps of reasoning-to-vision attention of a sample of examples of a task: the first that IN and RL both read in both texts.

    runs: name -> (recipe, number, IN, RL). Returns cuts (of the regions; None without regions.json) and runs: name -> recipe, number,
    examples (id, prompt, image; rows, columns of vision tokens; texts: stage -> response; maps: text's stage -> model's stage -> top:
    highest weight by layer, values: uint8 [layers x rows x columns] in base64, 255 being the layer's top).
    """
    regions = results / "regions.json"
    found: dict = {"cuts": json.loads(regions.read_text())["cuts"] if regions.exists() else None, "runs": {}}
    for name, (recipe, number, instruct, rl) in runs.items():
        stages = {"IN": instruct, "RL": rl}
        read = {(text, model): _maps(results, stages[model], stages[text]) for text in stages for model in stages}
        shared = [id for id in read["IN", "IN"] if all(id in maps for maps in read.values())]
        cells = 4 * len(runs) * max((read["IN", "IN"][id][2].size for id in shared), default=1)
        shared = shared[: min(_EXAMPLES, max(1, _CELLS // cells))]
        said = {stage: examples.said(checkpoint, task, "image", shared) for stage, checkpoint in stages.items()}
        known = examples.ids(task)
        shown = []
        for id in (id for id in shared if id in known):
            rows, columns, _ = read["IN", "IN"][id]
            question = examples.questions(task, [known[id]])[0]
            maps = {text: {model: _packed(read[text, model][id][2]) for model in stages} for text in stages}
            one = {"id": id, "prompt": question["prompt"], "image": question["image"], "rows": rows, "columns": columns}
            shown.append(one | {"texts": {stage: of.get(id) for stage, of in said.items()}, "maps": maps})
        if shown:
            found["runs"][name] = {"recipe": recipe, "number": number, "examples": shown}
    return found


def _maps(results: Path, model: str, text: str) -> dict[str, tuple[int, int, np.ndarray]]:
    """Example id -> (rows, columns, weights: float32 [layers, rows x columns]) of a checkpoint that reads a checkpoint's responses."""
    reader = model if model == text else f"{model}.on.{text}"
    import pandas as pd  # takes most of a second, which the viewer starts without

    found = {}
    for path in sorted(results.glob(f"attention/{reader}.*.maps.parquet")):
        if not path.name.removeprefix(f"{reader}.").removesuffix(".maps.parquet").isdecimal():
            continue  # over another's responses
        frame = pd.read_parquet(path)
        for (id, rows, columns), part in frame.groupby(["id", "rows", "columns"], sort=False):
            found[id] = (
                int(rows),
                int(columns),
                np.stack(part.sort_values("layer").attention.to_list()).astype(np.float32),
            )
    return found


def _packed(weights: np.ndarray) -> dict:
    top = weights.max(-1, keepdims=True)
    values = np.rint(255 * weights / np.where(top > 0, top, 1)).astype(np.uint8)
    return {"top": [float(f"{value:.4g}") for value in top[:, 0]], "values": base64.b64encode(values).decode()}
