"""A study's measurements, as the data frames from which figures, tables and claims are computed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pandas as pd

from ..core.errors import InputError
from ..core.regions import Regions
from ..core.roles import ATTENDED, Run
from . import reference
from .outcomes import of_grades


@dataclass(frozen=True)
class Measurements:
    """A study's measurements. A frame is None if the study does not include its chapter.

    runs: the training runs, recipe by recipe; frames of what was measured in a run have the columns recipe and run (its number).
    outcomes: recipe, run, role, metric, id, correct, cluster (outcomes.of_grades for every role; cluster: examples of one
    problem share it); scores: the scores table; benchmarks: tasks in the benchmark average; attention: recipe, run, stage, text,
    own, id, layer, attention_mass, tokens (text: the role whose response the stage reads; own: whether it is the stage's own, see
    own_text); swaps: id, function, mode, layer, changed, failed (one Base); skips: task, id, layer, wrong, failed; updates:
    recipe, run, stage, component, layer, matrix, frobenius, entries, slope (weight matrices only); vectors: the same of norms
    and biases, with kind and no slope; spectra: recipe, run, stage, component, layer, matrix, rank, log_ratio; subspaces: run ->
    name -> array; training: the training logs with checkpoint and kind; reference: the paper's tables. merged, frozen: runs
    with hybrids and with region-frozen RL; doses: Study.doses. files: files read; missing: expected files that do not exist;
    checkpoints: names of the IN and the RL of each run; rewarded: tasks that a run's RL was rewarded for.
    """

    regions: Regions | None
    runs: tuple[Run, ...]
    benchmarks: tuple[str, ...] = ()
    outcomes: pd.DataFrame | None = None
    attention: pd.DataFrame | None = None
    swaps: pd.DataFrame | None = None
    skips: pd.DataFrame | None = None
    updates: pd.DataFrame | None = None
    vectors: pd.DataFrame | None = None
    spectra: pd.DataFrame | None = None
    subspaces: dict[Run, dict] | None = None
    training: pd.DataFrame | None = None
    scores: pd.DataFrame | None = None
    reference: dict | None = None
    merged: tuple[Run, ...] = ()
    frozen: tuple[Run, ...] = ()
    doses: dict[str, dict[str, float]] | None = None
    seed: int = 0
    files: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    checkpoints: Mapping[Run, frozenset[str]] = field(default_factory=dict)
    rewarded: Mapping[Run, tuple[str, ...]] = field(default_factory=dict)

    @cached_property
    def computed(self) -> dict:
        """What has been computed from these measurements (layer_samples.once)."""
        return {}

    @cached_property
    def answers(self) -> dict[tuple[str, int, str, str], pd.DataFrame]:
        """(recipe, run, role, metric) -> its rows of outcomes, indexed by "METRIC ID"."""
        found, indexes = {}, {}
        named = self.outcomes.set_axis(self.outcomes.metric + " " + self.outcomes.id.astype(str))
        for key, part in named.groupby(["recipe", "run", "role", "metric"], sort=False):
            # Most checkpoints are asked the same examples in the same order: one index then serves all, and is compared once.
            known = indexes.setdefault(key[-1], part.index)
            found[key] = part.set_axis(known) if part.index.equals(known) else part
        return found


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
    runs: Mapping[str, Sequence] = {},
    seed: int = 0,
    roles: Mapping[str, Sequence[tuple[str, str]]] | None = None,
    abilities: Mapping[str, str] | None = None,
    benchmarks: Sequence[str] = (),
    kinds: Mapping[str, str] | None = None,
    merged: Sequence[str] = (),
    frozen: Sequence[str] = (),
    doses: dict[str, dict[str, float]] | None = None,
    rewarded: Mapping[str, Sequence[str]] = {},
) -> Measurements:
    """Read a study's measurements from its files (arguments: study.jobs.Jobs.files and .settings).

    files: name -> path or paths: grades.CHECKPOINT, attention.RECIPE.STAGE, attention_on.RECIPE.STAGE.TEXT, updates.RECIPE, spectra.RECIPE and
    subspaces.RECIPE (one path per shard), training.CHECKPOINT, scores, swaps, skips, reference, regions; other names are
    ignored. A name with a missing shard is dropped entirely and listed in `missing`: no statement rests on a subset of shards.
    runs: name of a run, which stands for RECIPE in the names of files -> (recipe, number, IN, RL); roles: checkpoint -> [(name of a
    run, role)]; kinds: checkpoint -> kind of training.
    """
    found = _Files(files)
    of_run = {name: Run(*run[:2]) for name, run in runs.items()}

    def labelled(frame: pd.DataFrame, name: str) -> pd.DataFrame:
        """The frame of a run, with its columns recipe and run in front."""
        frame = frame.drop(columns=["recipe", "run"], errors="ignore")
        frame.insert(0, "recipe", of_run[name].recipe)
        frame.insert(1, "run", of_run[name].number)
        return frame

    def joined(frames) -> pd.DataFrame | None:
        return pd.concat(parts, ignore_index=True) if (parts := list(frames)) else None

    def one(name: str) -> pd.DataFrame | None:
        return joined(map(pd.read_csv, found.paths(name)))

    outcomes = (
        labelled(outcome.assign(role=role), name)
        for checkpoint, paths in found.labelled("grades")
        for outcome in [
            of_grades(pd.read_csv(paths[0], keep_default_na=False, dtype={"id": str}), dict(abilities or {}))
        ]
        for name, role in (roles or {})[checkpoint]
    )
    attention = (
        labelled(_attention(label, path), label.split(".")[0])
        for kind in ("attention", "attention_on")
        for label, paths in found.labelled(kind)
        for path in paths
    )
    updates = joined(labelled(pd.read_csv(path), name) for name, paths in found.labelled("updates") for path in paths)
    # The paper's quantities are those of weight matrices: norms and biases are kept apart from them.
    is_matrix = None if updates is None else updates.kind == "matrix"
    spectra = (labelled(pd.read_parquet(path), name) for name, paths in found.labelled("spectra") for path in paths)
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
                "recipes in one study must have the same depth; put the other one in a study of its own"
            )
    paper = found.paths("reference")
    return Measurements(
        measured_regions,
        tuple(of_run.values()),
        tuple(benchmarks),
        joined(outcomes),
        **layered,
        subspaces=_subspaces(found, of_run),
        training=joined(training),
        scores=one("scores"),
        reference=reference.read(paper[0]) if paper else None,
        merged=tuple(of_run[name] for name in merged),
        frozen=tuple(of_run[name] for name in frozen),
        doses=doses,
        seed=seed,
        files=tuple(dict.fromkeys(found.read)),
        missing=tuple(dict.fromkeys(found.missing)),
        checkpoints={of_run[name]: frozenset(run[2:]) for name, run in runs.items()},
        rewarded={of_run[name]: tuple(tasks) for name, tasks in rewarded.items()},
    )


def _attention(label: str, path: str) -> pd.DataFrame:
    """A file of attention records; label: RECIPE.STAGE for a stage's own responses, RECIPE.STAGE.TEXT for those of stage TEXT."""
    _, stage, *read = label.split(".")
    text = read[0] if read else stage
    return pd.read_csv(path).assign(stage=ATTENDED[stage], text=ATTENDED[text], own=text == stage)


def own_text(attention: pd.DataFrame) -> pd.DataFrame:
    """Attention records of stages that read their own response, the paper's measure: all of a frame without the column own."""
    return attention[attention.own] if "own" in attention else attention


def _subspaces(found: _Files, of_run: dict[str, Run]) -> dict[Run, dict]:
    spaces: dict[Run, dict] = {}
    for name, paths in found.labelled("subspaces"):
        from safetensors.numpy import load_file

        spaces[of_run[name]] = {name: array for path in paths for name, array in load_file(path).items()}
    return spaces
