"""The paper's Tables 2 and 3, and the numbers behind the figures: one function of the measurements per table."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd

from ..claims import layer_samples
from ..claims.measurements import Measurements, own_text
from ..claims.reference import paper_cells
from ..core.intervals import over_runs, paired, standard_error, student
from ..core.regions import NAMES, Regions
from ..core.roles import Run
from ..merging.hybrid_spec import HYBRIDS
from ..updates import matrices
from .drawing import percent
from .figures import figure3, figure4, figure5, figure6
from .figures.figure2 import ABILITIES


def make(name: str, measured: Measurements) -> pd.DataFrame:
    """Compute the table of a given name, with the function of that name in this module."""
    return {
        "table2": table2,
        "table3": table3,
        "rewarded": rewarded,
        "attention": attention,
        "energy": energy,
        "overlaps": overlaps,
        "regions": regions,
    }[name](measured)


def table2(measured: Measurements) -> pd.DataFrame:
    """source (study or paper), recipe, run, ability, n, and one column per model in the order of the paper's Table 2, each followed
    by low and high. For a recipe without a Base, the Base columns are empty. Of several runs, the mean comes first."""
    rows, parts = [], _with_paper(measured, measured.merged, "table2")
    for (source, recipe, run), part in parts.groupby(["source", "recipe", "run"], sort=False):
        models = [model for model in ("Base", "IN", *HYBRIDS, "RL") if model in set(part.role)]
        for metric, ability in ABILITIES.items():
            by_role = part[part.metric == metric].set_index("role")
            row = {"source": source, "recipe": recipe, "run": run, "ability": ability, "n": by_role.n.iloc[0]}
            for model in models:
                cell = by_role.loc[model]
                row |= {model: cell.value, f"{model} low": cell.low, f"{model} high": cell.high}
            rows.append(row)
    frame = pd.DataFrame(rows)
    order = [f"{model}{end}" for model in ("Base", "IN", *HYBRIDS, "RL") for end in ("", " low", " high")]
    return percent(frame[[*frame.columns[:5], *(column for column in order if column in frame)]], frame.columns[5:])


def table3(measured: Measurements) -> pd.DataFrame:
    """source (study or paper), recipe, run, model (IN, RL, RL with each region frozen), n, then M_vis, M_v2r, M_rea and each
    benchmark, with low and high. The paper reports no N for its benchmark columns, so they are omitted. Of several runs, the
    mean comes first."""
    models = ["IN", "RL", *(f"RL, {name.capitalize()} frozen" for name in NAMES)]
    rows, parts = [], _with_paper(measured, measured.frozen, "table3")
    for (source, recipe, run), part in parts.groupby(["source", "recipe", "run"], sort=False):
        for model in [name for name in models if name in set(part.role)]:
            by_metric = part[part.role == model].set_index("metric")
            label = {"source": source, "recipe": recipe, "run": run, "model": model}
            row = label | {"n": by_metric.loc["M_vis"].n}
            for metric in [*ABILITIES, *(measured.benchmarks if source == "study" else [])]:
                cell = by_metric.loc[metric]
                row |= {metric: cell.value, f"{metric} low": cell.low, f"{metric} high": cell.high}
            rows.append(row)
    frame = pd.DataFrame(rows)
    return percent(frame, frame.columns[5:])


def _with_paper(measured: Measurements, runs: tuple[Run, ...], table: str) -> pd.DataFrame:
    """Scores of the runs (source: study), after those of a recipe's several runs their mean (run: mean) with a 95 % t interval over
    them, followed by the paper's cells of a table (source: paper, run 1)."""
    parts, scores = [], measured.scores
    for recipe, part in scores[[Run(*key) in runs for key in zip(scores.recipe, scores.run, strict=True)]].groupby(
        "recipe", sort=False
    ):
        if part.run.nunique() > 1:
            by = part.groupby(["role", "metric"], sort=False)
            mean = by.agg(n=("n", "first"), value=("value", "mean")).reset_index()
            parts.append(mean.join(pd.DataFrame([_bounds(of) for _, of in by])).assign(recipe=recipe, run="mean"))
        parts.append(part)
    cells = paper_cells(measured.reference)
    cells = cells[cells.table == table].assign(source="paper", run=1)
    return pd.concat([*(part.assign(source="study") for part in parts), cells], ignore_index=True)


def _bounds(scores: pd.DataFrame) -> dict[str, float]:
    """95 % interval of the mean of a role's scores over runs: t, cut to rates that there are, or that of the one checkpoint where
    the runs share it (Base)."""
    if scores.checkpoint.nunique() == 1:
        return scores.iloc[0][["low", "high"]].to_dict()
    return {end: min(max(bound, 0.0), 1.0) for end, bound in over_runs(scores.value, standard_error(scores)).items()}


def rewarded(measured: Measurements) -> pd.DataFrame:
    """Whether RL did anything: recipe, run, tasks (that its RL was rewarded for), n (their examples, pooled), IN, RL, difference,
    low, high (95 %, paired by example; intervals.paired), all in percent."""
    rows = []
    for run, tasks in measured.rewarded.items():
        before, after = (
            pd.concat([measured.answers[(*run, role, task)].correct for task in tasks]) for role in ("IN", "RL")
        )
        n10, n01, n = int((after & ~before).sum()), int((before & ~after).sum()), len(before)
        row = {"recipe": run.recipe, "run": run.number, "tasks": ", ".join(tasks), "n": n}
        row |= {"IN": before.mean(), "RL": after.mean(), "difference": (n10 - n01) / n, **paired(n10, n01, n)}
        rows.append(row)
    frame = pd.DataFrame(rows)
    return percent(frame, frame.columns[4:])


def attention(measured: Measurements) -> pd.DataFrame:
    """Change in attention mass from IN to RL by region and part (layer_samples.attention_change), paired by example: recipe, run,
    region, part, n, difference, low, high (95 % t), tokens_in, tokens_rl.

    Examples that failed in anything that a part compares are excluded from its n. tokens_in, tokens_rl: mean length of the stage's
    own responses in tokens, over the examples that did not fail; the same in all rows of a recipe.
    """
    own, regions = own_text(measured.attention), measured.regions
    responses = own[own.attention_mass.notna()].drop_duplicates(["recipe", "run", "stage", "id"])
    tokens = responses.groupby(["recipe", "run", "stage"]).tokens.mean()
    rows, runs = [], dict.fromkeys(Run(*run) for run in zip(own.recipe, own.run, strict=True))
    for run, region, part in itertools.product(runs, NAMES, layer_samples.PARTS):
        try:
            change = layer_samples.attention_change(measured, run, part)
        except LookupError:  # all failed: a row that says so
            change = pd.DataFrame(columns=["layer", "unit", "value"], dtype=float)
        by_layer = change.pivot(index="unit", columns="layer", values="value").reindex(columns=regions.range(region))
        means = by_layer.mean(axis=1, skipna=False).dropna()
        row = {"recipe": run.recipe, "run": run.number, "region": region, "part": part}
        row |= {"n": len(means), "difference": means.mean(), **student(means)}
        rows.append(row | {f"tokens_{stage.lower()}": tokens.get((*run, stage)) for stage in ("IN", "RL")})
    return pd.DataFrame(rows)


def energy(measured: Measurements) -> pd.DataFrame:
    """Update records -> recipe, run, stage, by, part, frobenius, share (of the stage's squared norm over all its matrices).

    by: component (decoder layers, vision tower, projector, embeddings, head), region, block (attention, MLP) and
    matrix (q_proj ... down_proj); the last three cover decoder layers only. by kind (matrix, norm, bias, vector), the share is
    that of the whole update, norms and biases included.
    """
    records, regions = measured.updates, measured.regions
    frame = records.assign(square=records.frobenius**2)
    of_stage = ["recipe", "run", "stage"]
    decoder = frame[frame.component == "layer"]
    decoder = decoder.assign(region=decoder.layer.map(regions.of))
    groups = [("component", frame, frame), *((by, decoder, frame) for by in ("region", "block", "matrix"))]
    if measured.vectors is not None:
        everything = pd.concat([frame, measured.vectors.assign(square=measured.vectors.frobenius**2)])
        groups.append(("kind", everything, everything))
    parts = []
    for by, of, whole in groups:
        sums = of.groupby([*of_stage, by], sort=False).square.sum().reset_index().rename(columns={by: "part"})
        total = whole.groupby(of_stage).square.sum()
        parts.append(sums.assign(by=by, whole=sums.set_index(of_stage).index.map(total).to_numpy()))
    result = pd.concat(parts, ignore_index=True)
    whole = result.whole.to_numpy()
    result["frobenius"] = np.sqrt(result.square)
    result["share"] = np.where(whole > 0, result.square / np.where(whole > 0, whole, 1), 0.0)
    return result[[*of_stage, "by", "part", "frobenius", "share"]]


def overlaps(measured: Measurements) -> pd.DataFrame:
    """matrices.overlaps for every pair of runs: recipe, run, other, other_run, stage, component, layer, matrix, side, overlap, by_chance."""
    spaces = measured.subspaces
    return pd.DataFrame(
        {"recipe": one.recipe, "run": one.number, "other": other.recipe, "other_run": other.number, **record}
        for one, other in itertools.combinations(spaces, 2)
        for record in matrices.overlaps(spaces[one], spaces[other])
    )


def regions(measured: Measurements) -> pd.DataFrame:
    """The quantities of Figures 3 to 6, as far as measured, averaged over each region: quantity, of, early, mid, late.

    Quantities: attention_mass; change or error rate; share of update energy; log_ratio (mean over ranks of
    log(sigma_i / sigma_1); lower is steeper).
    """
    parts = {}
    if measured.attention is not None:
        parts["attention_mass"] = _by_region(
            figure3.data(measured), "attention_mass", ["recipe", "run", "stage"], measured.regions
        )
    if measured.swaps is not None:
        parts["change or error rate"] = _by_region(
            figure4.data(measured), "rate", ["probe", "function"], measured.regions
        )
    if measured.updates is not None:
        share = figure5.data(measured).groupby(["recipe", "run", "stage", "region"]).share.sum().reset_index()
        parts["share of update energy"] = share.pivot(
            index=["recipe", "run", "stage"], columns="region", values="share"
        )
    if measured.spectra is not None:
        parts["log_ratio"] = _by_region(
            figure6.data(measured), "log_ratio", ["recipe", "run", "stage"], measured.regions
        )
    frames = []
    for quantity, table in parts.items():
        labels = [" / ".join(map(str, key)) for key in table.index]
        frames.append(table[list(NAMES)].reset_index(drop=True).assign(quantity=quantity, of=labels))
    return pd.concat(frames, ignore_index=True)[["quantity", "of", *NAMES]]


def _by_region(frame: pd.DataFrame, value: str, by: list[str], regions: Regions) -> pd.DataFrame:
    """Mean of a layer profile over each region, excluding layer -1 (nothing swapped or skipped)."""
    frame = frame[frame.layer >= 0].assign(region=lambda part: part.layer.map(regions.of))
    return frame.groupby([*by, "region"], sort=False)[value].mean().unstack("region")
