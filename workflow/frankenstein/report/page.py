"""The report: one self-contained, shareable HTML file. It fetches nothing and never fills in values that were not measured."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import docutils.core
import jinja2
import numpy as np
import pandas as pd
import yaml

from ..claims import measurements, statements, verdicts
from ..claims.measurements import Measurements
from ..core.errors import InputError
from . import data_dictionary, layer_series, packing, run_record, templates
from .answers import answer, limits, moves, number
from .examples import Examples
from .figures import alt_text
from .figures import claims as chart
from .links import Links

_ROWS = 2000  # longer tables are not embedded, only available as files


def write(
    out: str,
    *,
    results: str,
    config: dict,
    names: list[str],
    figures: list[str],
    tables: list[str],
    files: Mapping[str, str | Sequence[str]],
    settings: dict,
    claim_files: list[str],
    captions: str,
    began: float | None = None,
) -> list[str]:
    """Write the report on the available results to the file `out`; return the paths of expected but missing files.

    results: the study's folder; names: its checkpoints (the folder may hold others from an earlier study of the same name);
    figures, tables: names of those it produces; files, settings: arguments of measurements.read; captions: folder with the
    template and one caption (.rst) per figure and table. began: start of a failed run (seconds since 1970): older outputs are
    marked, and the claims are retested on the available results. None: the study is complete, and its report replaces the
    partial report beside it.
    """
    results, captions = Path(results), Path(captions)
    measured = measurements.read(files, **settings)
    stated = statements.read([Path(path) for path in claim_files])
    if began is None:
        tested = _read(results / "figures" / "claims.csv")
        in_runs = _read(results / "tables" / "runs.csv")
    else:
        tested, in_runs = chart.tables(measured, stated, partial=True)
    summary = verdicts.summarize_claims(
        stated, tested.fillna({"why": "", "in_checkpoint": ""}), partial=began is not None
    )
    wanted = [results / "figures" / f"{name}.png" for name in figures]
    wanted += [results / "tables" / f"{name}.csv" for name in tables]
    config = json.loads(json.dumps(config))  # as plain data, independent of the YAML loader
    missing = [*measured.missing, *(str(path) for path in wanted if not path.exists())]
    grades, origins = run_record.grades(results, names), run_record.checkpoints(results, names)
    of_vision = [results / "tables" / f"{name}.csv" for name in ("vision", "paired")]

    def part(what: str | Path, make: Callable):
        """What a function makes; after a failed run, None if it cannot, which is then listed as missing."""
        try:
            return make()
        except (KeyError, ValueError, OSError, InputError) as error:
            if began is None:
                raise
            missing.append(f"{what} (cannot be shown: {type(error).__name__} {error})")

    parts = packing.Parts(results)
    runs, reasoned = settings["runs"], settings["abilities"]["vision_to_reasoning"]
    if examples := part("examples", lambda: Examples(results, **settings)):
        part("examples", lambda: packing.add_examples(parts, examples))
        part("attention maps", lambda: packing.add_attention(parts, results, examples, reasoned, runs))
    if (swaps := Path(str(files.get("swaps", "")))).is_file():
        part("swaps", lambda: packing.add_swaps(parts, results, swaps))
    roles = {role for played in settings["roles"].values() for _, role in played}
    links = Links(runs if "index" in parts.texts else {}, settings["abilities"], settings["benchmarks"], roles)
    shown: dict[str, list] = {"figures": [], "tables": []}
    for kind, make, made_of in (("figures", _figure, figures), ("tables", _table, tables)):
        for name in made_of:
            path = results / kind / f"{name}.{'png' if kind == 'figures' else 'csv'}"
            if path.exists() and (made := part(path, partial(make, path, captions, name, config, began, links))):
                shown[kind].append(made)
    if layers := {figure.name: figure.layers for figure in shown["figures"] if figure.layers}:
        parts.add("layers", layers)
    template = templates.template(captions, "report.html.jinja", number=number)
    render = partial(
        template.render,
        study=config["study"],
        infinity=np.inf,
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        whole=began is None,
        missing=missing,
        limits=limits(measured, config, tested, in_runs),
        moves=moves(*(_read(path) for path in of_vision)) if all(path.exists() for path in of_vision) else [],
        verdicts=[answer(row, tested, in_runs) for row in summary.to_dict("records")],
        level=float(level.iloc[0]) if len(level := tested.level.dropna()) else None,
        one_run=len(measured.runs) == 1,
        figures=shown["figures"],
        tables=shown["tables"],
        words=_words(settings, config),
        scale=_scale(origins, config, measured),
        checkpoints=_page(origins),
        datasets=_page(run_record.datasets(results, config)),
        responses=_page(run_record.responses(grades)),
        ungraded=_page(run_record.ungraded(grades)),
        probes=_page(run_record.probes(results, names)),
        times=_page(run_record.times(results)),
        machines=run_record.machines(results),
        versions=run_record.versions(),
        seed=measured.seed,
        stale=sum(Path(path).stat().st_mtime < (began or 0) for path in measured.files),
        commit=run_record.commit(),
        config=yaml.safe_dump(config, sort_keys=False, allow_unicode=True),
        configfile=named.read_text().strip()
        if (named := results / "config").exists()
        else f"config/{config['study']}.yaml",
        **templates.assets(captions, templates.REPORT),
    )
    folder = Path(out).with_suffix("")  # beside the page, where it would be too large
    page = render(parts=parts.inside(), folder="") if parts.size < packing.LIMIT else ""
    if 0 < len(page) <= packing.LIMIT:
        shutil.rmtree(folder, ignore_errors=True)
    else:
        page = render(parts=parts.beside(folder), folder=folder.name)
    Path(out).write_text(page)
    if began is None:
        Path(out).with_suffix(".partial.html").unlink(missing_ok=True)
        shutil.rmtree(Path(out).with_suffix(".partial"), ignore_errors=True)
    return missing


def _read(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, keep_default_na=False, na_values=[""])


def _page(frame: pd.DataFrame) -> SimpleNamespace:
    """A table in the template's format: columns, their meanings, and rows of (text, sort key, link)."""
    rows = [
        [(number(value), value if isinstance(value, int | float) else str(value), "") for value in row]
        for row in frame.itertuples(index=False, name=None)
    ]
    return SimpleNamespace(columns=[(str(name), "") for name in frame.columns], rows=rows, total=len(frame), path="")


def _with_intervals(shown: SimpleNamespace, columns: list[str]) -> None:
    """Merge columns X, X low and X high (as in Tables 2 and 3) into one cell: X [low, high]."""
    bounds = {at: [columns.index(f"{name} {end}") for end in ("low", "high")] for at, name in enumerate(columns) if f"{name} low" in columns}  # fmt: skip
    gone = {at for pair in bounds.values() for at in pair}
    for row in shown.rows:
        for at, (low, high) in bounds.items():
            if row[at][0]:
                row[at] = (f"{row[at][0]} [{row[low][0]}, {row[high][0]}]", *row[at][1:])
        row[:] = [cell for at, cell in enumerate(row) if at not in gone]
    shown.columns = [column for at, column in enumerate(shown.columns) if at not in gone]


def _caption(captions: Path, name: str, config: dict) -> str:
    """A caption as HTML. Captions also serve Snakemake's own report, where the configuration is snakemake.config."""
    text = jinja2.Template((captions / f"{name}.rst").read_text()).render(snakemake=SimpleNamespace(config=config))
    settings = {"raw_enabled": False, "file_insertion_enabled": False, "report_level": 5}
    return docutils.core.publish_parts(text, writer="html5", settings_overrides=settings)["body"]


def _older(path: Path, began: float | None) -> str:
    """A file's modification time, if it predates the failed run."""
    made = path.stat().st_mtime
    return "" if began is None or made >= began else datetime.fromtimestamp(made, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _words(settings: dict, config: dict) -> list[tuple[str, str]]:
    """Glossary: what the report's terms mean in this study."""
    first, second = config["regions"]["cuts"]
    abilities = settings["abilities"]
    words = [
        (
            "Base, IN, RL",
            "the model before post-training, after supervised fine-tuning (instruction), and after reinforcement learning from there",
        ),
        ("recipe", f"one way of post-training: {', '.join(config['recipes'])}"),
        (
            "run",
            "one training of a recipe, IN and RL, with seeds of its own; its hybrids and region-frozen RL belong to it",
        ),
        ("Early, Mid, Late", f"decoder layers 0 to {first - 1}, {first} to {second - 1}, and {second} to the last"),
        ("IN:RL:RL", "a hybrid: Early layers of IN, Mid and Late of RL, nothing trained"),
        ("M_vis", f"share of {abilities['vision']} answered correctly with the image and not with a black one"),
        (
            "M_v2r",
            f"share of {abilities['vision_to_reasoning']} answered correctly with the image, and with a description in its place",
        ),
        ("M_rea", f"share of {abilities['reasoning']} answered correctly, from text"),
        ("abstained", "the response says that it cannot answer; it stays in N and is not right"),
    ]
    if settings["benchmarks"]:
        words.append(("benchmarks", f"the mean over {', '.join(settings['benchmarks'])}"))
    return words


def _scale(checkpoints: pd.DataFrame, config: dict, measured: Measurements) -> str:
    """The scale of the study, in a sentence."""
    sizes = checkpoints[checkpoints.layers.notna()].drop_duplicates(["layers", "parameters"])
    models = " and ".join(
        f"{row.layers:,.0f} layers with {row.parameters:,.0f} parameters" for row in sizes.itertuples()
    )
    examples = None
    if measured.outcomes is not None:
        asked = measured.outcomes[~measured.outcomes.metric.str.startswith("format, ")]  # these rows count responses
        examples = asked.groupby("metric").id.nunique().max()
    parts = [
        models,
        f"{len(config['recipes'])} recipe{'s' * (len(config['recipes']) > 1)}",
        f"{len(measured.runs)} training run{'s' * (len(measured.runs) > 1)}",
        f"at most {examples:,} examples per metric" if examples else "",
    ]
    return "; ".join(filter(None, parts))


def _figure(png: Path, captions: Path, name: str, config: dict, began: float | None, links: Links) -> SimpleNamespace:
    table = png.with_suffix(".csv")
    frame = _read(table)
    return SimpleNamespace(
        name=name,
        image=base64.b64encode(png.read_bytes()).decode(),
        alt=alt_text(name, frame),
        layers=layer_series.of(name, frame),
        caption=_caption(captions, name, config),
        older=_older(png, began),
        table=_table(table, captions, name, config, began, links),
    )


def _table(path: Path, captions: Path, name: str, config: dict, began: float | None, links: Links) -> SimpleNamespace:
    frame = _read(path)
    meaning = data_dictionary.columns(f"{path.parent.name}/{path.name}")
    shown = _page(frame if len(frame) <= _ROWS else frame.head(0))
    shown.columns = [(column, data_dictionary.of(meaning, column)) for column in frame.columns]
    for row, record in zip(shown.rows, frame.to_dict("records"), strict=False):
        for column, link in links.of(name, record).items():
            at = frame.columns.get_loc(column)
            row[at] = (*row[at][:2], link)
    _with_intervals(shown, list(frame.columns))
    shown.total, shown.path, shown.name = len(frame), str(path), name
    shown.caption, shown.older = _caption(captions, name, config), _older(path, began)
    return shown
