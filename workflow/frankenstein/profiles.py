"""From raw records to what the paper's figures show: one row a layer, with intervals."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd

from . import grading
from .intervals import student, wilson
from .regions import NAMES, Regions
from .tasks import Example, Pair

RANKS = 50  # ranks of the spectrum that the paper's Figure 6 shows


def _rates(frame: pd.DataFrame, by: list[str], hit: str) -> pd.DataFrame:
    """n, failed and the rate of `hit` with its Wilson interval. Failed samples stay in n as no hit."""
    rows = []
    for key, part in frame.groupby(by, sort=False):
        k, n = int(part[hit].sum()), len(part)
        failed = int(part.failed.sum())
        # Where every sample failed there is no rate to show, least of all 0.
        rate = {"rate": k / n, **wilson(k, n)} if failed < n else {"rate": np.nan, "low": np.nan, "high": np.nan}
        rows.append({**dict(zip(by, key, strict=True)), "n": n, "failed": failed, **rate})
    return pd.DataFrame(rows)


def read_records(paths: list[Path]) -> pd.DataFrame:
    """Records of the probes, one JSON object a line. pandas' own reader would turn the answer "3" into a number."""
    return pd.DataFrame([json.loads(line) for path in paths for line in Path(path).read_text().splitlines()])


def changed(before: str, after: str, pair: Pair) -> bool | None:
    """Whether a swap changed the answer, by the paper's rule for the function; None if it can't be told.

    recognition: the answer is "no"; grounding: the box meets the SOURCE's gold box at IoU > 0.5;
    counting: the count differs (None unless both answers are counts); ocr: the text differs.
    """
    before, after = (grading.extract(text) or "" for text in (before, after))
    if pair.task == "recognition":
        return re.match(r"no\b", grading.plain(after)) is not None
    if pair.task == "grounding":
        found = grading.box(after)
        return found is not None and grading.iou(found, grading.box(pair.answer("source"))) > 0.5
    if pair.task == "counting":
        counts = grading.number(before), grading.number(after)
        return None if None in counts else counts[0] != counts[1]
    return grading.plain(before) != grading.plain(after)


def change_rates(records: pd.DataFrame, pairs: list[Pair]) -> pd.DataFrame:
    """Swap records -> checkpoint, function, layer (-1: no swap), n, failed, rate (of change), low, high, ...

    failed: samples without a verdict (a layer that crashed, an answer that is no count). Also
    text_rate: any difference of text, the public script's rule; right_rate: answers equal to the target's gold.
    """
    by_id = {pair.id: pair for pair in pairs}
    frame = records.merge(
        records[records.layer < 0][["checkpoint", "id", "response"]].rename(columns={"response": "before"}),
        on=["checkpoint", "id"],
        validate="many_to_one",
    )
    verdicts, texts, rights = [], [], []
    for row in frame.itertuples():
        pair, made = by_id[row.id], isinstance(row.response, str)
        verdicts.append(changed(row.before, row.response, pair) if made else None)
        texts.append(made and grading.plain(row.before) != grading.plain(row.response))
        rights.append(
            made and grading.grade(row.response, pair.answer("target"), pair.answer_type).verdict == grading.RIGHT
        )
    frame = frame.assign(
        hit=[verdict is True for verdict in verdicts],
        failed=[verdict is None for verdict in verdicts],
        text_rate=texts,
        right_rate=rights,
    )
    by = ["checkpoint", "function", "layer"]
    extra = frame.groupby(by, sort=False)[["text_rate", "right_rate"]].mean().reset_index()
    return _rates(frame, by, "hit").merge(extra, on=by)


def error_rates(records: pd.DataFrame, examples: list[Example]) -> pd.DataFrame:
    """Skip records -> checkpoint, task, layer (-1: none skipped), n, failed, rate (1 - accuracy), low, high."""
    golds = {example.id: example for example in examples}
    verdicts = [
        grading.grade(response if isinstance(response, str) else None, golds[id].answer, golds[id].answer_type).verdict
        for id, response in zip(records.id, records.response, strict=True)
    ]
    frame = records.assign(
        failed=[verdict == grading.UNGRADED for verdict in verdicts],
        hit=[verdict != grading.RIGHT for verdict in verdicts],
    )
    return _rates(frame, ["checkpoint", "task", "layer"], "hit")


def attention(records: pd.DataFrame) -> pd.DataFrame:
    """Attention records -> recipe, stage, layer, n, failed, attention_mass, attention_mean, low, high (of the mass, 95 % t)."""
    rows = []
    for (recipe, stage, layer), part in records.groupby(["recipe", "stage", "layer"], sort=False):
        mass = part.attention_mass.dropna()
        rows.append(
            {
                "recipe": recipe,
                "stage": stage,
                "layer": layer,
                "n": len(part),
                "failed": int(part.attention_mass.isna().sum()),
                "attention_mass": mass.mean(),
                **student(mass),
                "attention_mean": part.attention_mean.mean(),
            }
        )
    return pd.DataFrame(rows)


def attention_differences(records: pd.DataFrame, regions: Regions) -> pd.DataFrame:
    """RL - IN of the attention mass by region, paired by example: recipe, region, n, difference, low, high (95 % t).

    An example that failed in either stage has no difference and is not in n.
    """
    frame = records.assign(region=records.layer.map(regions.of))
    by_example = frame.groupby(["recipe", "region", "id", "stage"])["attention_mass"].agg(
        lambda mass: mass.mean(skipna=False)
    )
    rows = []
    for recipe in dict.fromkeys(records.recipe):
        for region in NAMES:
            table = by_example[recipe, region].unstack("stage")
            gain = (table["RL"] - table["IN"]).dropna()
            row = {"recipe": recipe, "region": region, "n": len(gain), "difference": gain.mean(), **student(gain)}
            rows.append(row)
    return pd.DataFrame(rows)


def energy(records: pd.DataFrame, regions: Regions) -> pd.DataFrame:
    """Update records -> recipe, stage, layer, region, frobenius, frobenius_rms, frobenius_relative, share.

    A layer's Frobenius norm is the root of the sum of its matrices' squares; rms divides it by the
    root of its entries; share is its part of the stage's squared norm over all layers.
    """
    frame = records.assign(square=records.frobenius**2, reference=records.weight_norm**2)
    layers = (
        frame.groupby(["recipe", "stage", "layer"], sort=False)[["square", "reference", "entries"]].sum().reset_index()
    )
    total = layers.groupby(["recipe", "stage"])["square"].transform("sum")
    return pd.DataFrame(
        {
            "recipe": layers.recipe,
            "stage": layers.stage,
            "layer": layers.layer,
            "region": layers.layer.map(regions.of),
            "frobenius": np.sqrt(layers.square),
            "frobenius_rms": np.sqrt(layers.square / layers.entries),
            "frobenius_relative": np.sqrt(layers.square / layers.reference),
            "share": np.where(total > 0, layers.square / total.where(total > 0, 1), 0.0),
        }
    )


def spectra(sigmas: pd.DataFrame) -> pd.DataFrame:
    """recipe, stage, layer, rank (1 to RANKS), log_ratio: log(sigma_i / sigma_1), mean over the layer's weight matrices.

    sigmas: recipe, stage, layer, matrix, rank, sigma. A matrix whose update is exactly zero, or whose
    update has a lower rank, has no ratio there and is left out; `matrices` counts the rest.
    """
    first = sigmas[sigmas["rank"] == 1].rename(columns={"sigma": "first"}).drop(columns="rank")
    frame = sigmas[sigmas["rank"] <= RANKS].merge(first, on=["recipe", "stage", "layer", "matrix"])
    ratio = frame.sigma / frame["first"]
    frame["log_ratio"] = np.log(ratio.where(ratio > 0))
    return (
        frame.groupby(["recipe", "stage", "layer", "rank"], sort=False)
        .agg(log_ratio=("log_ratio", "mean"), matrices=("log_ratio", "count"))
        .reset_index()
    )


def regions_table(
    attention: pd.DataFrame,
    localization: pd.DataFrame,
    energy: pd.DataFrame,
    spectra: pd.DataFrame,
    regions: Regions,
) -> pd.DataFrame:
    """What Figures 3 to 6 show, averaged over each region: quantity, of, early, mid, late.

    attention: mass; localization: change or error rate; energy: the region's share of the update;
    spectra: log(sigma_i / sigma_1), mean over the ranks (lower: steeper).
    """
    share = energy.groupby(["recipe", "stage", "region"]).share.sum().reset_index()
    parts = {
        "attention_mass": _by_region(attention, "attention_mass", ["recipe", "stage"], regions),
        "change or error rate": _by_region(localization, "rate", ["probe", "function"], regions),
        "share of update energy": share.pivot(index=["recipe", "stage"], columns="region", values="share"),
        "log_ratio": _by_region(spectra, "log_ratio", ["recipe", "stage"], regions),
    }
    frames = []
    for quantity, table in parts.items():
        labels = [" / ".join(key) for key in table.index]
        frames.append(table[list(NAMES)].reset_index(drop=True).assign(quantity=quantity, of=labels))
    return pd.concat(frames, ignore_index=True)[["quantity", "of", *NAMES]]


def _by_region(frame: pd.DataFrame, value: str, by: list[str], regions: Regions) -> pd.DataFrame:
    """Mean of a layer profile over each region; layer -1 (nothing swapped or skipped) is no layer."""
    frame = frame[frame.layer >= 0].assign(region=lambda part: part.layer.map(regions.of))
    return frame.groupby([*by, "region"], sort=False)[value].mean().unstack("region")
