"""A study's measurements, as the data frames from which figures, tables and claims are computed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ..core.errors import InputError
from ..core.regions import Regions
from ..core.roles import ATTENDED
from . import reference
from .outcomes import of_grades


@dataclass(frozen=True)
class Measurements:
    """A study's measurements. A frame is None if the study does not include its chapter.

    outcomes: recipe, role, metric, id, correct (outcomes.of_grades for every role); scores: the scores table; benchmarks: tasks in
    the benchmark average; attention: recipe, stage, text, own, id, layer, attention_mass, tokens (text: the role whose response the
    stage reads; own: whether it is the stage's own, see own_text); swaps: id, function, mode, layer, changed, failed (one
    Base); skips: task, id, layer, wrong, failed; updates: recipe, stage, component, layer, matrix, frobenius, entries, slope
    (weight matrices only); vectors: the same of norms and biases, with kind and no slope;
    spectra: recipe, stage, component, layer, matrix, rank, log_ratio; subspaces: recipe -> name -> array; training: the
    training logs with checkpoint and kind; reference: the paper's tables. merged, frozen: recipes with hybrids and with
    region-frozen runs; doses: Study.doses. files: files read; missing: expected files that do not exist.
    """

    regions: Regions | None
    recipes: tuple[str, ...]
    benchmarks: tuple[str, ...] = ()
    outcomes: pd.DataFrame | None = None
    attention: pd.DataFrame | None = None
    swaps: pd.DataFrame | None = None
    skips: pd.DataFrame | None = None
    updates: pd.DataFrame | None = None
    vectors: pd.DataFrame | None = None
    spectra: pd.DataFrame | None = None
    subspaces: dict[str, dict] | None = None
    training: pd.DataFrame | None = None
    scores: pd.DataFrame | None = None
    reference: dict | None = None
    merged: tuple[str, ...] = ()
    frozen: tuple[str, ...] = ()
    doses: dict[str, dict[str, float]] | None = None
    seed: int = 0
    files: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()


class _Files:
    """Named files, some of which may be missing."""

    def __init__(self, files: Mapping[str, str | Sequence[str]]):
        self._files = files
        self.read: list[str] = []
        self.missing: list[str] = []

    def paths(self, name: str) -> list[str]:
        """The files of a name; empty if the study has no such name or any of its files is missing."""
        given = self._files.get(name, [])
        paths = [given] if isinstance(given, str | Path) else list(given)
        lost = [str(path) for path in paths if not Path(path).exists()]
        self.missing += lost
        self.read += [] if lost else map(str, paths)
        return [] if lost else paths

    def labelled(self, kind: str) -> Iterator[tuple[str, list[str]]]:
        """(label, paths) for every name "KIND.LABEL" with a complete set of files."""
        for name in self._files:
            if name.startswith(f"{kind}.") and (paths := self.paths(name)):
                yield name.removeprefix(f"{kind}."), paths


def read(
    files: Mapping[str, str | Sequence[str]],
    *,
    recipes: Sequence[str] = (),
    seed: int = 0,
    roles: Mapping[str, Sequence[tuple[str, str]]] | None = None,
    abilities: Mapping[str, str] | None = None,
    benchmarks: Sequence[str] = (),
    kinds: Mapping[str, str] | None = None,
    merged: Sequence[str] = (),
    frozen: Sequence[str] = (),
    doses: dict[str, dict[str, float]] | None = None,
) -> Measurements:
    """Read a study's measurements from its files (arguments: study.jobs.Jobs.files and .settings).

    files: name -> path or paths: grades.CHECKPOINT, attention.RECIPE.STAGE, attention_on.RECIPE.STAGE.TEXT, updates.RECIPE, spectra.RECIPE and
    subspaces.RECIPE (one path per shard), training.CHECKPOINT, scores, swaps, skips, reference, regions; other names are
    ignored. A name with a missing shard is dropped entirely and listed in `missing`: no statement rests on a subset of shards.
    roles: checkpoint -> [(recipe, role)]; kinds: checkpoint -> kind of training.
    """
    found = _Files(files)

    def joined(frames) -> pd.DataFrame | None:
        return pd.concat(parts, ignore_index=True) if (parts := list(frames)) else None

    def one(name: str) -> pd.DataFrame | None:
        return joined(map(pd.read_csv, found.paths(name)))

    outcomes = (
        of_grades(pd.read_csv(paths[0], keep_default_na=False, dtype={"id": str}), dict(abilities or {})).assign(
            recipe=recipe, role=role
        )
        for checkpoint, paths in found.labelled("grades")
        for recipe, role in (roles or {})[checkpoint]
    )
    attention = (
        _attention(label, path)
        for kind in ("attention", "attention_on")
        for label, paths in found.labelled(kind)
        for path in paths
    )
    updates = joined(pd.read_csv(path) for _, paths in found.labelled("updates") for path in paths)
    # The paper's quantities are those of weight matrices: norms and biases are kept apart from them.
    is_matrix = None if updates is None else updates.kind == "matrix"
    spectra = (pd.read_parquet(path) for _, paths in found.labelled("spectra") for path in paths)
    training = (
        pd.read_csv(path).assign(checkpoint=checkpoint, kind=(kinds or {})[checkpoint])
        for checkpoint, paths in found.labelled("training")
        for path in paths
    )
    regions = found.paths("regions")
    layered = {
        "attention": joined(attention),
        "swaps": one("swaps"),
        "skips": one("skips"),
        "updates": None if updates is None else updates[is_matrix].reset_index(drop=True),
        "vectors": None if updates is None else updates[~is_matrix].reset_index(drop=True),
        "spectra": joined(spectra),
    }
    measured_regions = Regions.read(regions[0]) if regions else None
    for what, frame in layered.items():
        if frame is None:
            continue
        layers = measured_regions.layers if measured_regions else 0
        # A vision tower may be deeper than the decoder (Qwen2.5-VL-7B: 32 blocks, 28 layers).
        deepest = (frame[frame.component == "layer"] if "component" in frame else frame).layer.max()
        if deepest >= layers:
            raise InputError(
                f"{what}: layers up to {int(deepest)}, but {files.get('regions')} has {layers}: "
                "recipes whose layers are looked at together need one depth; give the other one its own study"
            )
    paper = found.paths("reference")
    return Measurements(
        measured_regions,
        tuple(recipes),
        tuple(benchmarks),
        joined(outcomes),
        **layered,
        subspaces=_subspaces(found),
        training=joined(training),
        scores=one("scores"),
        reference=reference.read(paper[0]) if paper else None,
        merged=tuple(merged),
        frozen=tuple(frozen),
        doses=doses,
        seed=seed,
        files=tuple(dict.fromkeys(found.read)),
        missing=tuple(dict.fromkeys(found.missing)),
    )


def _attention(label: str, path: str) -> pd.DataFrame:
    """A file of attention records; label: RECIPE.STAGE for a stage's own responses, RECIPE.STAGE.TEXT for those of stage TEXT."""
    recipe, stage, *read = label.split(".")
    text = read[0] if read else stage
    return pd.read_csv(path).assign(recipe=recipe, stage=ATTENDED[stage], text=ATTENDED[text], own=text == stage)


def own_text(attention: pd.DataFrame) -> pd.DataFrame:
    """Attention records of stages that read their own response, the paper's measure: all of a frame without the column own."""
    return attention[attention.own] if "own" in attention else attention


def _subspaces(found: _Files) -> dict[str, dict]:
    spaces: dict[str, dict] = {}
    for recipe, paths in found.labelled("subspaces"):
        from safetensors.numpy import load_file

        spaces[recipe] = {name: array for path in paths for name, array in load_file(path).items()}
    return spaces
