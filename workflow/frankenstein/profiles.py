"""From raw records to what the paper's figures show: one row a layer, with intervals."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import t

from .estimates import interval
from .grading import mini as grading
from .grading.verdicts import grades
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


def _on_canvas(response: str, pair: Pair, factors) -> str:
    """A box in the model's own coordinates as one in pixels of the original image; any other answer as it is."""
    found = grading.box(grading.extract(response) or "") if pair.task == "grounding" else None
    if found is None:
        return response
    return ",".join(f"{value * factors[i % 2]:.3f}" for i, value in enumerate(found))


def changed(before: str, after: str, pair: Pair) -> bool | None:
    """Whether a swap changed the answer, by the paper's rule for the function; None if it can't be told.

    recognition: the answer is "no"; grounding: the box meets the SOURCE's gold box at IoU above the pair's
    own threshold (0.5); counting: the count differs (None unless both answers are counts); ocr: the text differs.
    """
    before, after = (grading.extract(text) or "" for text in (before, after))
    if pair.task == "recognition":
        return re.match(r"no\b", grading.plain(after)) is not None
    if pair.task == "grounding":
        found, threshold = grading.box(after), pair.meta.get("iou_threshold", 0.5)
        return found is not None and grading.iou(found, grading.box(pair.answer("source"))) > threshold
    if pair.task == "counting":
        counts = grading.number(before), grading.number(after)
        return None if None in counts else counts[0] != counts[1]
    return grading.plain(before) != grading.plain(after)


def changed_as_published(before: str, after: str) -> bool:
    """The public script's rule, for comparison: any difference of text, except that of two texts of which one is long
    (20 characters or more) and one holds the other. Case and closing punctuation are no matter."""
    one, other = (text.lower().strip().rstrip(".,!?;:") for text in (before, after))
    if max(len(one), len(other)) >= 20 and (one in other or other in one):
        return False
    return one != other


def swap_table(records: pd.DataFrame, pairs: list[Pair]) -> pd.DataFrame:
    """Swap records with their verdicts: id, function, mode, layer, response, changed, text_changed, right, failed, error, ...

    changed: by the paper's rules; text_changed: by the public script's (changed_as_published); right: the
    answer is the target's gold one; failed: no verdict (a sample that crashed, an answer that is no count).
    """
    by_id = {pair.id: pair for pair in pairs}
    before = records[records["mode"] == "none"].set_index("id").response
    verdicts = []
    for row in records.itertuples():
        pair, first = by_id[row.id], before[row.id]
        if not isinstance(row.response, str) or not isinstance(first, str):
            verdicts.append((False, False, False, True))
            continue
        boxes = [_on_canvas(text, pair, row.to_canvas) for text in (first, row.response)]
        verdict = changed(*boxes, pair)
        right = grading.grade(boxes[1], pair.answer("target"), pair.answer_type).verdict == grading.RIGHT
        text = changed_as_published(first, row.response)
        verdicts.append((verdict is True, text, right, verdict is None))
    return records.assign(
        **dict(zip(("changed", "text_changed", "right", "failed"), zip(*verdicts, strict=True), strict=True))
    )


def change_rates(table: pd.DataFrame) -> pd.DataFrame:
    """swap_table -> function, mode, layer (-1: no swap), n, failed, rate (of change), low, high, text_rate, right_rate."""
    modes = [mode for mode in dict.fromkeys(table["mode"]) if mode != "none"]
    unswapped = table[table["mode"] == "none"]
    frame = pd.concat([pd.concat([unswapped.assign(mode=mode), table[table["mode"] == mode]]) for mode in modes])
    by = ["function", "mode", "layer"]
    extra = frame.groupby(by, sort=False)[["text_changed", "right"]].mean().reset_index()
    extra = extra.rename(columns={"text_changed": "text_rate", "right": "right_rate"})
    return _rates(frame, by, "changed").merge(extra, on=by)


def skip_table(records: pd.DataFrame, examples: list[Example], jobs: int | None = None) -> pd.DataFrame:
    """Skip records with their verdicts: id, task, layer, response, wrong, failed, error. jobs: of verdicts.grades."""
    golds = {(example.task, example.id): example for example in examples}
    answered = [
        (golds[task, id], response if isinstance(response, str) else None)
        for task, id, response in zip(records.task, records.id, records.response, strict=True)
    ]
    verdicts = [grade.verdict for grade in grades(answered, jobs)]
    return records.assign(
        wrong=[verdict != grading.RIGHT for verdict in verdicts],
        failed=[verdict == grading.UNGRADED for verdict in verdicts],
    )


def error_rates(table: pd.DataFrame) -> pd.DataFrame:
    """skip_table -> task, layer (-1: none skipped), n, failed, rate (1 - accuracy), low, high."""
    return _rates(table, ["task", "layer"], "wrong")


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


def by_function(rates: pd.DataFrame) -> pd.DataFrame:
    """Figure 4's table -> of (function, or "skip: TASK"), layer, n, failed, rate, low, high: one mode (the paper's, if it is there)."""
    probes = list(dict.fromkeys(rates.probe))
    mode = "hidden_state_at_layer" if "hidden_state_at_layer" in probes else probes[0]
    found = rates[rates.probe.isin([mode, "skip"])]
    skipped = found.probe == "skip"
    found = found.assign(of=np.where(skipped, "skip: " + found.function, found.function))
    return found[["of", "layer", "n", "failed", "rate", "low", "high"]]


def energy(records: pd.DataFrame, regions: Regions, seed: int) -> pd.DataFrame:
    """Update records -> recipe, stage, layer, region, frobenius, frobenius_rms, low, high, frobenius_relative, share.

    Of the decoder layers. A layer's Frobenius norm is the root of the sum of its matrices' squares; rms divides it by the
    root of its entries (low and high: of rms, 95 % bootstrap over the layer's matrices); share is its part of the stage's
    squared norm over all decoder layers.
    """

    def rms(squares, entries, axis=-1):
        return np.sqrt(squares.sum(axis) / entries.sum(axis))

    records = records[records.component == "layer"]
    frame = records.assign(square=records.frobenius**2, reference=records.weight_norm**2)
    layers = (
        frame.groupby(["recipe", "stage", "layer"], sort=False)[["square", "reference", "entries"]]
        .sum()
        .reset_index()
        .sort_values(["recipe", "stage", "layer"], ignore_index=True)
    )
    total = layers.groupby(["recipe", "stage"])["square"].transform("sum")
    matrices = frame.groupby(["recipe", "stage", "layer"])
    bounds = []
    for key in layers[["recipe", "stage", "layer"]].itertuples(index=False, name=None):
        part = matrices.get_group(key)
        samples = part.square.to_numpy(float), part.entries.to_numpy(float)
        value = rms(*samples)
        bounds.append(interval(samples, rms, seed, paired=True) if len(part) > 1 and value else (value, value))
    low, high = np.array(bounds).T if bounds else (None, None)
    return pd.DataFrame(
        {
            "recipe": layers.recipe,
            "stage": layers.stage,
            "layer": layers.layer,
            "region": layers.layer.map(regions.of),
            "frobenius": np.sqrt(layers.square),
            "frobenius_rms": np.sqrt(layers.square / layers.entries),
            "low": low,
            "high": high,
            "frobenius_relative": np.sqrt(layers.square / layers.reference),
            "share": np.where(total > 0, layers.square / total.where(total > 0, 1), 0.0),
        }
    )


def energy_shares(records: pd.DataFrame, regions: Regions) -> pd.DataFrame:
    """Update records -> recipe, stage, by, part, frobenius, share of the stage's squared norm over all its matrices.

    by: component (decoder layers, vision tower, projector, embeddings, head), region, block (attention, MLP) and
    matrix (q_proj ... down_proj); the last three of the decoder layers.
    """
    frame = records.assign(square=records.frobenius**2)
    total = frame.groupby(["recipe", "stage"]).square.sum()
    decoder = frame[frame.component == "layer"]
    decoder = decoder.assign(region=decoder.layer.map(regions.of))
    parts = []
    for by, of in (("component", frame), ("region", decoder), ("block", decoder), ("matrix", decoder)):
        sums = of.groupby(["recipe", "stage", by], sort=False).square.sum().reset_index().rename(columns={by: "part"})
        parts.append(sums.assign(by=by))
    result = pd.concat(parts, ignore_index=True)
    whole = result.set_index(["recipe", "stage"]).index.map(total).to_numpy()
    result["frobenius"] = np.sqrt(result.square)
    result["share"] = np.where(whole > 0, result.square / np.where(whole > 0, whole, 1), 0.0)
    return result[["recipe", "stage", "by", "part", "frobenius", "share"]]


def slopes(records: pd.DataFrame, regions: Regions) -> pd.DataFrame:
    """Update records -> recipe, stage, layer, region, slope, low, high, floor, matrices: of the log spectrum (lower: steeper).

    Mean over a decoder layer's weight matrices with its 95 % t interval over them; a zero update has no slope.
    floor: mean log(rounding_floor / sigma_1): lower values of log(sigma_i / sigma_1) can be rounding of the weights alone.
    """
    frame = records[(records.component == "layer") & (records.spectral > 0)]
    rows = []
    for (recipe, stage, layer), part in frame.groupby(["recipe", "stage", "layer"]):
        label = {"recipe": recipe, "stage": stage, "layer": layer, "region": regions.of(layer)}
        rows.append(
            {**label, "slope": part.slope.mean(), **student(part.slope)}
            | {"floor": np.log(part.rounding_floor / part.spectral).mean(), "matrices": len(part)}
        )
    return pd.DataFrame(rows)


def spectra(sigmas: pd.DataFrame) -> pd.DataFrame:
    """recipe, stage, layer, rank (1 to RANKS), log_ratio, low, high, matrices: log(sigma_i / sigma_1), mean over the decoder
    layer's matrices with its 95 % t interval over them.

    sigmas: recipe, stage, component, layer, matrix, rank, log_ratio. A matrix whose update is exactly zero, or
    whose update has a lower rank, has no ratio there and is left out; `matrices` counts the rest.
    """
    frame = sigmas[(sigmas.component == "layer") & (sigmas["rank"] <= RANKS)]
    by = frame.groupby(["recipe", "stage", "layer", "rank"]).log_ratio
    found = by.agg(log_ratio="mean", deviation="std", matrices="count").reset_index()
    half = t.ppf(0.975, found.matrices - 1) * found.deviation / np.sqrt(found.matrices)
    found = found.assign(low=found.log_ratio - half, high=found.log_ratio + half)
    return found[["recipe", "stage", "layer", "rank", "log_ratio", "low", "high", "matrices"]]


def regions_table(
    regions: Regions,
    attention: pd.DataFrame | None = None,
    localization: pd.DataFrame | None = None,
    energy: pd.DataFrame | None = None,
    spectra: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """What Figures 3 to 6 show, those that there are, averaged over each region: quantity, of, early, mid, late.

    attention: mass; localization: change or error rate; energy: the region's share of the update;
    spectra: log(sigma_i / sigma_1), mean over the ranks (lower: steeper).
    """
    parts = {}
    if attention is not None:
        parts["attention_mass"] = _by_region(attention, "attention_mass", ["recipe", "stage"], regions)
    if localization is not None:
        parts["change or error rate"] = _by_region(localization, "rate", ["probe", "function"], regions)
    if energy is not None:
        share = energy.groupby(["recipe", "stage", "region"]).share.sum().reset_index()
        by_region = share.pivot(index=["recipe", "stage"], columns="region", values="share")
        parts["share of update energy"] = by_region
    if spectra is not None:
        parts["log_ratio"] = _by_region(spectra, "log_ratio", ["recipe", "stage"], regions)
    frames = []
    for quantity, table in parts.items():
        labels = [" / ".join(key) for key in table.index]
        frames.append(table[list(NAMES)].reset_index(drop=True).assign(quantity=quantity, of=labels))
    return pd.concat(frames, ignore_index=True)[["quantity", "of", *NAMES]]


def _by_region(frame: pd.DataFrame, value: str, by: list[str], regions: Regions) -> pd.DataFrame:
    """Mean of a layer profile over each region; layer -1 (nothing swapped or skipped) is no layer."""
    frame = frame[frame.layer >= 0].assign(region=lambda part: part.layer.map(regions.of))
    return frame.groupby([*by, "region"], sort=False)[value].mean().unstack("region")
