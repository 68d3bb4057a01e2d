"""Attention on the image for a sample of examples, as the report's maps read it."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from .examples import Examples

_EXAMPLES, _CELLS = 12, 2_000_000  # that are shown: examples per run, and vision tokens of all maps and layers


def attention(results: Path, examples: Examples, task: str, runs: Mapping[str, Sequence]) -> dict:
    """Maps of reasoning-to-vision attention of a sample of examples of a task: the first that IN and RL both read in both texts.

    runs: name -> (recipe, number, IN, RL). Returns cuts (of the regions; None without regions.json) and runs: name -> recipe, number,
    examples (id, prompt, image; rows, columns of vision tokens; texts: stage -> response; maps: text's stage -> model's stage -> top:
    highest weight by layer, values: uint8 [layers x rows x columns] in base64, 255 being the layer's top).
    """
    regions = results / "regions.json"
    found: dict = {"cuts": json.loads(regions.read_text())["cuts"] if regions.exists() else None, "runs": {}}
    known = examples.ids(task)
    for name, (recipe, number, instruct, rl) in runs.items():
        stages = {"IN": instruct, "RL": rl}
        read = {(text, model): _maps(results, stages[model], stages[text]) for text in stages for model in stages}
        shared = [id for id in known if all(id in maps for maps in read.values())]
        cells = 4 * len(runs) * max((read["IN", "IN"][id][2].size for id in shared), default=1)
        shared = shared[: min(_EXAMPLES, max(1, _CELLS // cells))]
        said = {stage: examples.said(checkpoint, task, "image", shared) for stage, checkpoint in stages.items()}
        shown = []
        for id, question in zip(shared, examples.questions(task, map(known.get, shared)), strict=True):
            rows, columns, _ = read["IN", "IN"][id]
            maps = {text: {model: _packed(read[text, model][id][2]) for model in stages} for text in stages}
            one = {"id": id, "prompt": question["prompt"], "image": question["image"], "rows": rows, "columns": columns}
            shown.append(one | {"texts": {stage: of.get(id) for stage, of in said.items()}, "maps": maps})
        if shown:
            found["runs"][name] = {"recipe": recipe, "number": number, "examples": shown}
    return found


def _maps(results: Path, model: str, text: str) -> dict[str, tuple[int, int, np.ndarray]]:
    """Example id -> (rows, columns, weights: float32 [layers, rows x columns]) of a checkpoint that reads a checkpoint's responses;
    without those of which a weight is no number."""
    reader = model if model == text else f"{model}.on.{text}"
    found = {}
    for path in sorted(results.glob(f"attention/{reader}.*.maps.parquet")):
        if not path.name.removeprefix(f"{reader}.").removesuffix(".maps.parquet").isdecimal():
            continue  # over another's responses
        frame = pd.read_parquet(path)
        for (id, rows, columns), part in frame.groupby(["id", "rows", "columns"], sort=False):
            weights = np.stack(part.sort_values("layer").attention.to_list()).astype(np.float32)
            if np.isfinite(weights).all():
                found[id] = int(rows), int(columns), weights
    return found


def _packed(weights: np.ndarray) -> dict:
    top = weights.max(-1, keepdims=True)
    values = np.rint(255 * weights / np.where(top > 0, top, 1)).astype(np.uint8)
    return {"top": [float(f"{value:.4g}") for value in top[:, 0]], "values": base64.b64encode(values).decode()}
