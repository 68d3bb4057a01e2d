"""The study as one HTML file that can be sent to a co-author: nothing is fetched, nothing that was not measured is filled in."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from math import comb
from pathlib import Path
from types import SimpleNamespace

import docutils.core
import jinja2
import numpy as np
import pandas as pd
import yaml

from ..claims import claims, measurements
from ..claims.estimates import LEVEL
from ..claims.layer_samples import EXAMPLES, LAYERS, MATRICES
from ..claims.measurements import Measurements
from ..core.intervals import paired as paired_interval
from ..core.regions import NAMES
from . import data_dictionary, run_record
from .figures import alt_text

_ROWS = 2000  # a table of more is left to its file


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
    """Write the report of what there is to the file `out`, and return the paths that should be there and are not.

    results: the study's folder; names: its checkpoints, as another study of its name may have left some; figures, tables:
    names of what it makes; files, settings: arguments of measurements.read; captions: folder with the template and a caption a figure
    and table (.rst). began: when a run that failed began (seconds since 1970): what is older is marked, and the claims are
    tested again on what there is. None: the study is whole, and its report takes the place of the partial one beside it.
    """
    results, captions = Path(results), Path(captions)
    measured = measurements.read(files, **settings)
    stated = claims.read([Path(path) for path in claim_files])
    if began is None:
        tested = _read(results / "figures" / "claims.csv")
        verdicts = _read(results / "tables" / "verdicts.csv")
    else:
        tested = claims.statements(stated, measured, partial=True)
        verdicts = claims.summarize_claims(stated, tested, partial=True)
    wanted = [results / "figures" / f"{name}.png" for name in figures]
    wanted += [results / "tables" / f"{name}.csv" for name in tables]
    config = json.loads(json.dumps(config))  # as plain data, whatever the file was read with
    missing = [*measured.missing, *(str(path) for path in wanted if not path.exists())]
    grades, origins = run_record.grades(results, names), run_record.checkpoints(results, names)
    of_vision = [results / "tables" / f"{name}.csv" for name in ("vision", "paired")]
    shown: dict[str, list] = {"figures": [], "tables": []}
    for kind, make, made_of in (("figures", _figure, figures), ("tables", _table, tables)):
        for name in made_of:
            path = results / kind / f"{name}.{'png' if kind == 'figures' else 'csv'}"
            if not path.exists():
                continue
            try:
                shown[kind].append(make(path, captions, name, config, began))
            except (KeyError, ValueError, OSError) as error:
                if began is None:
                    raise
                missing.append(f"{path} (cannot be shown: {type(error).__name__} {error})")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(captions), autoescape=True, trim_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters |= {"number": _number}
    script = (captions / "report.js").read_text()
    page = environment.get_template("report.html.jinja").render(
        study=config["study"],
        infinity=np.inf,
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        whole=began is None,
        missing=missing,
        limits=limits(measured, config, tested),
        moves=moves(*(_read(path) for path in of_vision)) if all(path.exists() for path in of_vision) else [],
        verdicts=[_answer(row, tested) for row in verdicts.to_dict("records")],
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
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )
    Path(out).write_text(page)
    if began is None:
        Path(out).with_suffix(".partial.html").unlink(missing_ok=True)
    return missing


def _read(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, keep_default_na=False, na_values=[""])


def _number(value) -> str:
    """Three or more significant digits of a number; nothing for none; any other thing as text."""
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return ""
    if isinstance(value, bool | np.bool_) or not isinstance(value, int | float | np.integer | np.floating):
        return str(value)
    if np.isinf(value):
        return "∞"
    return f"{value:,.0f}" if float(value).is_integer() and abs(value) < 1e12 else f"{value:.3g}"


def _page(frame: pd.DataFrame) -> SimpleNamespace:
    """A table as the template wants it: columns, what each is, rows of (text, sort key)."""
    rows = [
        [(_number(value), value if isinstance(value, int | float) else str(value)) for value in row]
        for row in frame.itertuples(index=False, name=None)
    ]
    return SimpleNamespace(columns=[(str(name), "") for name in frame.columns], rows=rows, total=len(frame), path="")


def _with_intervals(shown: SimpleNamespace, columns: list[str]) -> None:
    """Where a column X has X low and X high beside it, as Tables 2 and 3 have: X [low, high] in one cell."""
    bounds = {at: [columns.index(f"{name} {end}") for end in ("low", "high")] for at, name in enumerate(columns) if f"{name} low" in columns}  # fmt: skip
    gone = {at for pair in bounds.values() for at in pair}
    for row in shown.rows:
        for at, (low, high) in bounds.items():
            if row[at][0]:
                row[at] = (f"{row[at][0]} [{row[low][0]}, {row[high][0]}]", row[at][1])
        row[:] = [cell for at, cell in enumerate(row) if at not in gone]
    shown.columns = [column for at, column in enumerate(shown.columns) if at not in gone]


def _caption(captions: Path, name: str, config: dict) -> str:
    """A caption's HTML. It is a template of Snakemake's report too, which knows the configuration as snakemake.config."""
    text = jinja2.Template((captions / f"{name}.rst").read_text()).render(snakemake=SimpleNamespace(config=config))
    settings = {"raw_enabled": False, "file_insertion_enabled": False, "report_level": 5}
    return docutils.core.publish_parts(text, writer="html5", settings_overrides=settings)["body"]


def _older(path: Path, began: float | None) -> str:
    """When a file was made, if that was before the run that failed."""
    made = path.stat().st_mtime
    return "" if began is None or made >= began else datetime.fromtimestamp(made, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _words(settings: dict, config: dict) -> list[tuple[str, str]]:
    """What the report's own words mean in this study."""
    first, second = config["regions"]["cuts"]
    abilities = settings["abilities"]
    words = [
        (
            "Base, IN, RL",
            "the model before post-training, after supervised fine-tuning (instruction), and after reinforcement learning from there",
        ),
        ("recipe", f"one way of post-training with its checkpoints: {', '.join(config['recipes'])}"),
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
        words.append(("benchmarks", f"{', '.join(settings['benchmarks'])}, every example weighing alike"))
    return words


def _scale(checkpoints: pd.DataFrame, config: dict, measured: Measurements) -> str:
    """How large what was looked at is."""
    instruct = [recipe.get("in") for recipe in config["recipes"].values()]
    sizes = checkpoints[checkpoints.checkpoint.isin(instruct)].drop_duplicates(["layers", "parameters"])
    models = " and ".join(
        f"{row.layers:,.0f} layers with {row.parameters:,.0f} parameters" for row in sizes.itertuples()
    )
    examples = None
    if measured.outcomes is not None:
        asked = measured.outcomes[~measured.outcomes.metric.str.startswith("format, ")]  # counts responses
        examples = asked.groupby("metric").id.nunique().max()
    parts = [
        models,
        f"{len(instruct)} recipe{'s' * (len(instruct) > 1)}",
        f"{examples:,} examples a metric at most" if examples else "",
    ]
    return "; ".join(filter(None, parts))


def _figure(png: Path, captions: Path, name: str, config: dict, began: float | None) -> SimpleNamespace:
    table = png.with_suffix(".csv")
    return SimpleNamespace(
        name=name,
        image=base64.b64encode(png.read_bytes()).decode(),
        alt=alt_text(name, _read(table)),
        caption=_caption(captions, name, config),
        older=_older(png, began),
        table=_table(table, captions, name, config, began),
    )


def _table(path: Path, captions: Path, name: str, config: dict, began: float | None) -> SimpleNamespace:
    frame = _read(path)
    meaning = data_dictionary.columns(f"{path.parent.name}/{path.name}")
    shown = _page(frame if len(frame) <= _ROWS else frame.head(0))
    shown.columns = [(column, data_dictionary.of(meaning, column)) for column in frame.columns]
    _with_intervals(shown, list(frame.columns))
    shown.total, shown.path, shown.name = len(frame), str(path), name
    shown.caption, shown.older = _caption(captions, name, config), _older(path, began)
    return shown


def _answer(row: dict, tested: pd.DataFrame) -> dict:
    """A claim with its statements, and in a sentence what decides it."""
    part = tested[tested.claim.astype(str) == str(row["claim"])]
    undecided = part[part.verdict == claims.UNDECIDED]
    sentence = f"{row['supported']} of {len(part) - row['missing']} tests support the claim"
    if row["contradicted"]:
        sentence += f", {row['contradicted']} find the opposite effect"
    if row["undecided"]:
        sentence += f", {row['undecided']} are undecided"
        finite = undecided[(undecided.unit == EXAMPLES) & np.isfinite(undecided.needed.astype(float))]
        finite = finite.sort_values("needed").iloc[sorted({0, len(finite) - 1})] if len(finite) else finite
        needed = " to ".join(f"{test.needed:,.0f}" for test in finite.itertuples())
        available = " to ".join(dict.fromkeys(f"{test.n:,.0f}" for test in finite.itertuples()))
        zero = int((undecided.estimate == 0).sum())
        if needed:
            sentence += f"; at the observed effect sizes, {needed} examples would be needed ({available} available)"
        sentence += f"; {zero} estimate{' is' if zero == 1 else 's are'} exactly zero" if zero else ""
    if row["verdict"] == claims.MISSING:
        sentence = "This study measured none of the quantities in this claim"
    elif row["missing"]:
        without = [
            recipe for recipe, tests in part.groupby("recipe") if (tests.verdict == claims.MISSING).all() and recipe
        ]
        where = f"for {', '.join(without)}" if without else "there"
        further = "further test" if row["missing"] == 1 else "further tests"
        sentence += f"; {row['missing']} {further} could not be run, so no conclusion is drawn {where}"
    decided = part[part.verdict.isin([claims.SUPPORTED, claims.CONTRADICTED])]
    moved = decided[["null_low", "null_high"]].astype(float).abs().max(axis=1) >= decided.estimate.abs()
    if moved.any():
        verb = "effects is" if moved.sum() == 1 else "effects are"
        sentence += f". {moved.sum()} of the decided {verb} no larger than IN's seed-to-seed variation"
    anywhere = decided[decided.verdict == claims.SUPPORTED].p_layers.astype(float) > LEVEL
    if anywhere.any():
        verb = "effects is" if anywhere.sum() == 1 else "effects are"
        sentence += f". {anywhere.sum()} of the supported {verb} matched by more than 5 % of random sets of layers"
    tests = [_shown(test) for test in part.to_dict("records")]
    made = [test for test in tests if test["verdict"] != claims.MISSING]
    # What all tests of a claim have in common is said once, in the table's head.
    common = {
        key: only.pop() if len(only := {test[key] for test in made}) == 1 else "" for key in ("unit_shown", "unit")
    }
    return row | {"sentence": sentence + ".", "statements": tests, "common": common}


def _shown(test: dict) -> dict:
    """A test with its numbers as they are printed: rates in points, anything else to two digits."""
    points = str(test["axis"]).endswith(" rate")

    def text(value) -> str:
        return "none" if np.isnan(value) else f"{100 * value:+.1f}" if points else f"{value:+.2g}"

    def with_interval(*names: str) -> str:
        value, low, high = (float(test[name]) for name in names)
        return "" if np.isnan(value) else f"{text(value)} [{text(low)}, {text(high)}]"

    detectable = float(test["detectable"])
    return test | {
        "shown": with_interval("estimate", "low", "high"),
        "null_shown": with_interval("null", "null_low", "null_high"),
        "needed_shown": "no N" if float(test["needed"]) == np.inf else _number(test["needed"]),
        "detectable_shown": "" if np.isnan(detectable) else text(detectable).lstrip("+"),
        "unit_shown": "points" if points else str(test["axis"]).removeprefix("difference of "),
    }


def moves(vision: pd.DataFrame, paired: pd.DataFrame) -> list[str]:
    """A sentence a recipe and step (Base to IN, IN to RL): whether M_vis moved by seeing, or by what is said to a black image.

    vision, paired: those tables. M_vis is accuracy with the image less the share that is right on a black image too (and
    less what is right with the image where the response to the black one is ungraded); so is its change. One part moves it
    "mostly" if it is twice the other; nothing is said of that where the 95 % interval of the change (intervals.paired)
    includes zero.
    """

    def points(value: float) -> str:
        return f"{round(100 * value, 1) + 0.0:+.1f}"  # no "-0.0"

    said, roles = [], vision.set_index(["recipe", "role"])
    for step in paired[paired.metric == "M_vis"].to_dict("records"):
        if (step["a"], step["b"]) not in (("Base", "IN"), ("IN", "RL")):
            continue
        old, new = (roles.loc[(step["recipe"], step[role])] for role in ("a", "b"))
        change = (step["n01"] - step["n10"]) / step["n"]
        interval = paired_interval(step["n01"], step["n10"], step["n"])
        seeing = new.accuracy - old.accuracy
        both = new.image_right_black_right / new.n - old.image_right_black_right / old.n
        lost = seeing - both - change
        if interval["low"] <= 0 <= interval["high"]:
            mostly = "the interval includes zero"
        elif abs(lost) >= 2 * max(abs(both), abs(seeing)):
            mostly = "the change is mostly in responses that were not graded"
        elif abs(both) >= 2 * abs(seeing):
            mostly = "the change is mostly in what the model answers without seeing"
        elif abs(seeing) >= 2 * abs(both):
            mostly = "the change is mostly in what the model sees"
        else:
            mostly = "both move it"
        ungraded = f", ungraded answers to a black image by {points(lost)}" if abs(lost) >= 5e-4 else ""
        said.append(
            f"From {step['a']} to {step['b']} (recipe {step['recipe']}), M_vis changed by {points(change)} points "
            f"[{points(interval['low'])}, {points(interval['high'])}]: accuracy with the image by {points(seeing)}, answers that "
            f"are also right on a black image by {points(both)}{ungraded}; {mostly}."
        )
    return said


def limits(measured: Measurements, config: dict, tested: pd.DataFrame) -> list[str]:
    """What the study does not have, and what it therefore does not claim."""
    found, recipes = [], config["recipes"]
    if len(recipes) == 1:
        found.append("One recipe: nothing says whether another recipe would do the same.")
    without = [name for name, recipe in recipes.items() if not recipe.get("base")]
    if without:
        found.append(f"No Base in {', '.join(without)}: no weight updates, no localization, no step from Base to IN.")
    unfrozen = [name for name, recipe in recipes.items() if not recipe.get("frozen")]
    if unfrozen:
        found.append(
            f"No runs with a region frozen in {', '.join(unfrozen)}: whether a region was necessary is not asked."
        )
    beside = tested[tested.null.notna()]
    alone = [name for name in recipes if name not in set(beside.recipe)]
    if alone:
        found.append(
            f"No IN of another seed (`retrained`) beside RL in {', '.join(alone)}: what RL changed is not told from what a "
            "seed changes."
        )
    found.append("Each checkpoint is one training run: intervals are over examples, layers or matrices, not over runs.")
    moved = beside[(beside.null_low.astype(float) > 0) | (beside.null_high.astype(float) < 0)]
    if len(moved):
        named = "; ".join(
            f"{row['statement']} ({row['recipe']}) {row['null_shown']} {row['unit_shown']}, where RL makes {row['shown']}"
            for row in map(_shown, moved.to_dict("records"))
        )
        found.append(f"Another seed of IN, without RL, moves by itself (95 % intervals, not corrected): {named}.")
    units = [unit for unit in (LAYERS, MATRICES) if (tested.unit == unit).any()]
    if units:
        found.append(
            f"Tests over {' and '.join(units)} take these as independent. Neighbouring layers are alike, and matrices of one "
            "kind may be: their p is then too small."
        )
    coarse = tested[
        (tested.unit == EXAMPLES) & (tested.detectable.astype(float) > 0.1) & tested.axis.str.contains("rate")
    ]
    if len(coarse):
        worst = coarse.loc[coarse.detectable.astype(float).idxmax()]
        found.append(
            f"Few examples: {len(coarse)} tests of rates would miss, more often than one time in five, differences of up to "
            f"{100 * worst.detectable:.0f} points (N = {worst.n:.0f})."
        )
    for name, part in tested[tested.verdict != claims.MISSING].groupby("claim", sort=False):
        layers = measured.regions.layers if (part.unit == LAYERS).all() else 0
        # Half of the partitions into a region and the rest lie on the other side.
        least = 2 / max(comb(layers, len(measured.regions.range(region))) for region in NAMES) if layers else 0
        if least * len(part) >= LEVEL:
            found.append(
                f"Claim {name} cannot be decided in this study: with {layers} layers a permutation of layers has no p below "
                f"{least:.2g}, and Holm's correction for {len(part)} tests wants {LEVEL / len(part):.2g}."
            )
    for why, part in tested[tested.verdict == claims.MISSING].groupby("why", sort=False):
        names = [
            f"{row.claim} ({row.statement}{'; ' + row.recipe if row.recipe else ''})"
            for row in part.assign(recipe=part.recipe.fillna("")).itertuples()
        ]
        found.append(f"Not tested, {why}: {'; '.join(names)}.")
    return found
