"""From raw records to what the paper's figures show: one row a layer, with intervals."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.stats import t

from ..claims.ability import ABLE, UNABLE, able
from ..claims.estimates import interval
from ..core.intervals import student, wilson
from ..core.regions import NAMES, Regions

RANKS = 50  # ranks of the spectrum that the paper's Figure 6 shows


def _rates(frame: pd.DataFrame, by: list[str], hit: str) -> pd.DataFrame:
    """n, failed and the rate of `hit` over all n, with its 95 % interval.

    Failed samples stay in n. What they would have said is unknown: the interval goes from Wilson's lower bound with all of them
    as no hit to its upper bound with all of them as hits.
    """
    rows = []
    for key, part in frame.groupby(by, sort=False):
        k, n, lost = int(part[hit].sum()), len(part), part.failed.astype(bool)
        failed = int(lost.sum())
        rate = {"rate": np.nan, "low": np.nan, "high": np.nan}
        if failed < n:  # where every sample failed there is no rate to show, least of all 0
            sure, possible = int((part[hit] & ~lost).sum()), int((part[hit] | lost).sum())
            rate = {"rate": k / n, "low": wilson(sure, n)["low"], "high": wilson(possible, n)["high"]}
        rows.append({**dict(zip(by, key, strict=True)), "n": n, "failed": failed, **rate})
    return pd.DataFrame(rows)


def change_rates(table: pd.DataFrame) -> pd.DataFrame:
    """swap_table -> function, mode, layer (-1: no swap), n, failed, rate (of change), low, high, truncated, text_rate, right_rate, base_right, able, unchangeable.

    Pairs that no swap can change are not in n; `unchangeable` counts them. truncated: answers that ran out of tokens;
    base_right: right_rate without a swap; able: it is at least ABLE, or the change rate says nothing about the function.
    """
    modes = [mode for mode in dict.fromkeys(table["mode"]) if mode != "none"]
    fixed = table[table["mode"] == "none"].groupby("function").unchangeable.sum().astype(int)
    right = able(table)
    table = table[~table.unchangeable.astype(bool)]
    unswapped = table[table["mode"] == "none"]
    frame = pd.concat([pd.concat([unswapped.assign(mode=mode), table[table["mode"] == mode]]) for mode in modes])
    by = ["function", "mode", "layer"]
    extra = frame.groupby(by, sort=False).agg(
        truncated=("truncated", "sum"), text_rate=("text_changed", "mean"), right_rate=("right", "mean")
    )
    found = _rates(frame, by, "changed").merge(extra.reset_index().astype({"truncated": int}), on=by)
    base = found.function.map(right)
    return found.assign(base_right=base, able=base >= ABLE, unchangeable=found.function.map(fixed))


def error_rates(table: pd.DataFrame) -> pd.DataFrame:
    """skip_table -> task, layer (-1: none skipped), n, failed, rate (1 - accuracy), low, high, truncated (errors that ran out of tokens)."""
    by = ["task", "layer"]
    cut = table.assign(cut=table.wrong & table.truncated.astype(bool)).groupby(by, sort=False).cut.sum()
    return _rates(table, by, "wrong").merge(cut.astype(int).rename("truncated").reset_index(), on=by)


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
    """Figure 4's table -> of (function, or "skip: TASK"), layer, n, failed, rate, low, high: one mode (the paper's, if it is there).

    A function that the Base can't do is marked in its name.
    """
    probes = list(dict.fromkeys(rates.probe))
    mode = "hidden_state_at_layer" if "hidden_state_at_layer" in probes else probes[0]
    found = rates[rates.probe.isin([mode, "skip"])]
    skipped = found.probe == "skip"
    named = found.function + np.where(found.able.astype("boolean").fillna(True), "", UNABLE)
    found = found.assign(of=np.where(skipped, "skip: " + found.function, named))
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
