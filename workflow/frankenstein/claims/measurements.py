"""What a study has measured, as the frames that claims and their controls are computed from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ..core.errors import InputError
from ..core.regions import Regions
from . import scoring


@dataclass(frozen=True)
class Evidence:
    """What a study has measured. Frames are None where the study has no such chapter.

    hits: recipe, role, metric, id, hit (scoring.outcomes of every role); benchmarks: metrics that are pooled;
    attention: recipe, stage, id, layer, attention_mass; swaps: id, function, mode, layer, changed, failed (of one Base);
    skips: task, id, layer, wrong, failed; updates: recipe, stage, component, layer, matrix, frobenius, entries, slope.
    files: those that were read; missing: those that should be there and are not.
    """

    regions: Regions | None
    recipes: tuple[str, ...]
    benchmarks: tuple[str, ...] = ()
    hits: pd.DataFrame | None = None
    attention: pd.DataFrame | None = None
    swaps: pd.DataFrame | None = None
    skips: pd.DataFrame | None = None
    updates: pd.DataFrame | None = None
    seed: int = 0
    files: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


def read(
    files: dict, recipes: list[str], abilities: dict[str, str], benchmarks: list[str], cuts: tuple[int, int], seed: int
) -> Evidence:
    """Evidence from a study's files.

    files: grades: [(path, [(recipe, role), ...]), ...]; attention: [(recipe, stage, [path a shard]), ...]; updates:
    [(recipe, [path a shard]), ...]; swaps, skips, manifest: path, or None where there is no such chapter. What lacks a
    shard is left out whole and named in `missing`: no statement rests on some of the shards.
    """
    known: list[str] = []
    missing: list[str] = []

    def there(*paths) -> bool:
        lost = [str(path) for path in paths if not Path(path).exists()]
        missing.extend(lost)
        known.extend([] if lost else map(str, paths))
        return not lost

    def joined(frames) -> pd.DataFrame | None:
        return pd.concat(found, ignore_index=True) if (found := list(frames)) else None

    def one(name: str) -> pd.DataFrame | None:
        return pd.read_csv(files[name]) if files[name] and there(files[name]) else None

    hits = (
        scoring.outcomes(pd.read_csv(path, keep_default_na=False, dtype={"id": str}), abilities).assign(
            recipe=recipe, role=role
        )
        for path, played in files["grades"]
        if there(path)
        for recipe, role in played
    )
    attention = (
        pd.read_csv(path).assign(recipe=recipe, stage=stage)
        for recipe, stage, paths in files["attention"]
        if there(*paths)
        for path in paths
    )
    updates = (pd.read_csv(path) for _, paths in files["updates"] if there(*paths) for path in paths)
    manifest = files["manifest"]
    regions = Regions.of_manifest(manifest, cuts) if manifest and there(manifest) else None
    layered = {"attention": joined(attention), "swaps": one("swaps"), "skips": one("skips"), "updates": joined(updates)}
    for what, frame in layered.items():
        if frame is not None and (regions is None or frame.layer.max() >= regions.layers):
            raise InputError(
                f"{what}: layers up to {int(frame.layer.max())}, but {manifest} has {regions.layers if regions else 'none'}: "
                "recipes whose layers are looked at together need one depth; give the other one its own study"
            )
    return Evidence(
        regions,
        tuple(recipes),
        tuple(benchmarks),
        joined(hits),
        **layered,
        seed=seed,
        files=tuple(known),
        missing=tuple(missing),
    )
