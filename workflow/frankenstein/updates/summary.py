"""A table of updates by layer and stage, and what it shows in words."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ..core.regions import NAMES, Regions

# Components outside the decoder layers, in the order of a forward pass.
_REST = {
    "vision_tower": "vision tower",
    "projector": "projector",
    "embeddings": "embeddings",
    "final_norm": "final norm",
    "head": "head",
}
_STAGES = {"IN": "IN - Base", "RL": "RL - IN"}


def by_part(table: pd.DataFrame) -> pd.DataFrame:
    """The table of updates_table summed over each decoder layer and each component outside, and over all.

    Columns: stage, part ("layer 0", ..., "vision tower", ..., "all"), layer (-1 outside the layers), frobenius (norm of the
    update), share (of the stage's squared norm, 0 to 1), changed and changed_bf16 (share of entries).
    """
    frame = table.assign(
        square=table.frobenius**2,
        part=[f"layer {row.layer}" if row.component == "layer" else _REST[row.component] for row in table.itertuples()],
        layer=table.layer.where(table.component == "layer", -1),
        changed=table.changed * table.entries,
        changed_bf16=table.changed_bf16 * table.entries,
    )
    kept = ["square", "changed", "changed_bf16", "entries"]
    parts = frame.groupby(["stage", "part", "layer"], as_index=False)[kept].sum()
    whole = frame.groupby("stage", as_index=False)[kept].sum().assign(part="all", layer=-1)
    total = whole.set_index("stage").square
    made = pd.concat([parts, whole], ignore_index=True)
    made["frobenius"] = np.sqrt(made.square)
    made["share"] = np.where(made.square > 0, made.square / made.stage.map(total).replace(0, 1), 0.0)
    for column in ("changed", "changed_bf16"):
        made[column] /= made.entries
    order = ["vision tower", "projector", "embeddings"]
    after = [*_REST.values(), "all"]
    place = [
        (0, order.index(row.part)) if row.part in order else (1, row.layer) if row.layer >= 0 else (2, after.index(row.part))
        for row in made.itertuples()
    ]  # fmt: skip
    made = made.assign(place=place).sort_values(["stage", "place"], ignore_index=True)
    return made[["stage", "part", "layer", "frobenius", "share", "changed", "changed_bf16"]]


def rows(table: pd.DataFrame) -> list[list[str]]:
    """`by_part` as rows of text, the stages side by side: norm, share of the energy, share of entries changed."""
    parts = by_part(table)
    stages = list(dict.fromkeys(parts.stage))
    made = [["", *(text for stage in stages for text in (f"{_STAGES[stage]}: norm", "energy", "changed"))]]
    for part in dict.fromkeys(parts.part):
        of = parts[parts.part == part].set_index("stage")
        made.append([part])
        for stage in stages:
            row = of.loc[stage]
            made[-1] += [f"{row.frobenius:.3g}", f"{row.share:.1%}", f"{row.changed:.1%}"]
    return made


def findings(table: pd.DataFrame) -> list[str]:
    """What the table shows, a sentence each: which stage moved the weights further and how alike their directions are; for each
    stage, where the energy (squared Frobenius norm) lies, how many entries changed, and what was left alone.

    Early, Mid and Late are thirds of the decoder layers.
    """
    parts = by_part(table)
    whole = parts[parts.part == "all"].set_index("stage")
    depth = int(parts.layer.max()) + 1
    said = []
    if {"IN", "RL"} <= set(whole.index):
        said.append(_compared(table, *whole.frobenius[["IN", "RL"]]))
    for stage, of in parts[parts.part != "all"].groupby("stage"):
        if not whole.frobenius[stage]:
            said.append(f"{_STAGES[stage]} is zero: both checkpoints have the same weights.")
            continue
        still = [name for name in of.part if not of.set_index("part").changed[name]]
        left = f" Not one entry changed in: {_listed(still)}." if still else ""
        row = whole.loc[stage]
        said.append(
            f"{_STAGES[stage]}: {_where(of[of.layer >= 0], depth)} {row.changed:.1%} of all entries changed, {row.changed_bf16:.1%} when "
            f"rounded to bfloat16.{left}"
        )
    return said


def _compared(table: pd.DataFrame, first: float, second: float) -> str:
    """Norms of both updates, and the cosine between them over all tensors."""
    if not first or not second:
        return "One of the updates is zero."
    frames = {stage: part.set_index("parameter") for stage, part in table.groupby("stage")}
    dots = frames["RL"].cosine_with_in * frames["RL"].frobenius * frames["IN"].frobenius.reindex(frames["RL"].index)
    larger, ratio = ("IN - Base", first / second) if first >= second else ("RL - IN", second / first)
    return (
        f"{larger} is the larger update, {ratio:.3g} times the other (Frobenius norms {first:.3g} and {second:.3g}); "
        f"the cosine between them is {dots.sum() / first / second:+.2f}."
    )


def _where(layers: pd.DataFrame, depth: int) -> str:
    """Where a stage's energy lies: inside and outside the layers, by third, and the layer with the most."""
    inside = layers.share.sum()
    text = f"{inside:.0%} of the energy lies in the decoder layers"
    if depth < 3 or not inside:
        return f"{text}."
    regions = Regions((-(-depth // 3), -(-2 * depth // 3)), depth)
    shares = layers.groupby(layers.layer.map(regions.of)).share.sum()
    spread = ", ".join(
        f"{shares[name] / inside:.0%} in {name.capitalize()} ({regions.range(name).start}-{regions.range(name).stop - 1})"
        for name in NAMES
    )
    most = layers.loc[layers.share.idxmax()]
    return (
        f"{text}: of this, {spread}; most is in layer {most.layer:.0f} ({most.share / inside:.1%}; an even share would be "
        f"{1 / depth:.1%})."
    )


def _listed(names: list[str]) -> str:
    """Names in order, with consecutive layers as a range: "vision tower, layers 0-8"."""
    layers = sorted(int(name.split()[1]) for name in names if name.startswith("layer "))
    runs: list[list[int]] = []
    for layer in layers:
        if runs and layer == runs[-1][-1] + 1:
            runs[-1].append(layer)
        else:
            runs.append([layer])
    spans = [f"layers {run[0]}-{run[-1]}" if len(run) > 1 else f"layer {run[0]}" for run in runs]
    return ", ".join([*(name for name in names if not name.startswith("layer ")), *spans])
