"""The study as one HTML file that can be sent to a co-author: nothing is fetched, nothing that was not measured is filled in."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import subprocess
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from math import comb
from pathlib import Path
from types import SimpleNamespace

import docutils.core
import jinja2
import numpy as np
import pandas as pd
import yaml

from . import alttext, claims, dictionary
from .estimates import LEVEL
from .evidence import Evidence
from .evidence import read as read_evidence
from .grading import UNGRADED
from .layerwise import LAYERS, MATRICES
from .logs import RAN_ON, machine
from .regions import NAMES
from .responses import model_digest
from .tasks import fingerprint, read_examples

_ROWS = 2000  # a table of more is left to its file
_PACKAGES = ("frankenstein-vlm", "snakemake", "torch", "transformers", "trl", "numpy", "scipy", "pandas", "statsmodels", "math-verify", "vllm", "openai")  # fmt: skip


def write(
    out: str,
    *,
    results: str,
    config: dict,
    names: list[str],
    figures: list[str],
    tables: list[str],
    evidence: dict,
    claim_files: list[str],
    captions: str,
    began: float | None = None,
) -> list[str]:
    """Write the report of what there is to the file `out`, and return the paths that should be there and are not.

    results: the study's folder; names: its checkpoints, as other studies of this name may have left theirs; figures, tables: names of what the study makes; evidence: arguments of evidence.read;
    captions: folder with the template and a caption a figure and table (.rst). A whole report takes the place of
    the partial one beside it. began: a run that failed, by when it began
    (seconds since 1970): what is older is marked, and the claims are tested again on what there is. None: the study is whole.
    """
    results, captions = Path(results), Path(captions)
    measured = read_evidence(**evidence)
    stated = claims.read([Path(path) for path in claim_files])
    if began is None:
        tested = _read(results / "figures" / "claims.csv")
        verdicts = _read(results / "tables" / "verdicts.csv")
    else:
        tested = claims.statements(stated, measured, partial=True)
        verdicts = claims.verdicts(stated, tested)
    wanted = [results / "figures" / f"{name}.png" for name in figures]
    wanted += [results / "tables" / f"{name}.csv" for name in tables]
    config = json.loads(json.dumps(config))  # as plain data, whatever the file was read with
    missing = [*measured.missing, *(str(path) for path in wanted if not path.exists())]
    grades = _grades(results, names)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(captions), autoescape=True, trim_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters |= {"number": _number}
    script = (captions / "report.js").read_text()
    page = environment.get_template("report.html.jinja").render(
        study=config["study"],
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        whole=began is None,
        missing=missing,
        limits=limits(measured, config, tested),
        verdicts=[_answer(row, tested) for row in verdicts.to_dict("records")],
        figures=[
            _figure(results, captions, name, config, began)
            for name in figures
            if str(results / "figures" / f"{name}.png") not in missing
        ],
        tables=[
            _table(results / "tables" / f"{name}.csv", captions, name, config, began)
            for name in tables
            if str(results / "tables" / f"{name}.csv") not in missing
        ],
        checkpoints=_page(checkpoints(results, names)),
        datasets=_page(datasets(results, config)),
        responses=_page(responses(grades)),
        ungraded=_page(ungraded(grades)),
        probes=_page(probes(results, names)),
        times=_page(times(results)),
        machines=machines(results),
        versions=versions(),
        seed=evidence["seed"],
        stale=sum(Path(path).stat().st_mtime < (began or 0) for path in measured.files),
        commit=commit(),
        config=yaml.safe_dump(config, sort_keys=False, allow_unicode=True),
        configfile=(results / "config").read_text().strip(),
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
        return "no N"  # an effect of exactly zero
    return f"{value:,.0f}" if float(value).is_integer() and abs(value) < 1e12 else f"{value:.3g}"


def _page(frame: pd.DataFrame) -> SimpleNamespace:
    """A table as the template wants it: columns, what each is, rows of (text, sort key)."""
    rows = [
        [(_number(value), value if isinstance(value, int | float) else str(value)) for value in row]
        for row in frame.itertuples(index=False, name=None)
    ]
    return SimpleNamespace(columns=[(str(name), "") for name in frame.columns], rows=rows, total=len(frame), path="")


def _caption(captions: Path, name: str, config: dict) -> str:
    """A caption's HTML. It is a template of Snakemake's report too, which knows the configuration as snakemake.config."""
    text = jinja2.Template((captions / f"{name}.rst").read_text()).render(snakemake=SimpleNamespace(config=config))
    settings = {"raw_enabled": False, "file_insertion_enabled": False, "report_level": 5}
    return docutils.core.publish_parts(text, writer="html5", settings_overrides=settings)["body"]


def _older(path: Path, began: float | None) -> str:
    """When a file was made, if that was before the run that failed."""
    made = path.stat().st_mtime
    return "" if began is None or made >= began else datetime.fromtimestamp(made, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _figure(results: Path, captions: Path, name: str, config: dict, began: float | None) -> SimpleNamespace:
    png, table = results / "figures" / f"{name}.png", results / "figures" / f"{name}.csv"
    return SimpleNamespace(
        name=name,
        image=base64.b64encode(png.read_bytes()).decode(),
        alt=alttext.describe(name, _read(table)),
        caption=_caption(captions, name, config),
        older=_older(png, began),
        table=_table(table, captions, name, config, began),
    )


def _table(path: Path, captions: Path, name: str, config: dict, began: float | None) -> SimpleNamespace:
    frame = _read(path)
    meaning = dictionary.columns(f"{path.parent.name}/{path.name}")
    shown = _page(frame if len(frame) <= _ROWS else frame.head(0))
    shown.columns = [(column, dictionary.of(meaning, column)) for column in frame.columns]
    shown.total, shown.path, shown.name = len(frame), str(path), name
    shown.caption, shown.older = _caption(captions, name, config), _older(path, began)
    return shown


def _answer(row: dict, tested: pd.DataFrame) -> dict:
    """A claim with its statements, and in a sentence what decides it."""
    part = tested[tested.claim.astype(str) == str(row["claim"])]
    undecided = part[part.verdict == claims.UNDECIDED]
    sentence = f"{row['supported']} of {len(part)} tests support it"
    if row["contradicted"]:
        sentence += f", {row['contradicted']} find the opposite"
    if row["undecided"]:
        sentence += f", {row['undecided']} cannot tell"
        finite = undecided[np.isfinite(undecided.needed.astype(float))]
        if len(finite):
            most = finite.loc[finite.needed.idxmax()]
            sentence += (
                f" (to tell the hardest of them takes about {most.needed:,.0f} {most.unit}; there are {most.n:,.0f})"
            )
    if row["missing"]:
        sentence += f"; {row['missing']} could not be made, so that it is not claimed"
    return row | {"sentence": sentence + ".", "statements": [_shown(test) for test in part.to_dict("records")]}


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
        "detectable_shown": "" if np.isnan(detectable) else text(detectable).lstrip("+"),
        "unit_shown": "points" if points else str(test["axis"]).removeprefix("difference of "),
    }


def limits(evidence: Evidence, config: dict, tested: pd.DataFrame) -> list[str]:
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
    if beside.empty:
        found.append(
            "No test has IN of another seed (`retrained`) beside it: what RL changed is not told from what a seed changes."
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
        (tested.unit == "examples") & (tested.detectable.astype(float) > 0.1) & tested.axis.str.contains("rate")
    ]
    if len(coarse):
        worst = coarse.loc[coarse.detectable.astype(float).idxmax()]
        found.append(
            f"Few examples: {len(coarse)} tests of rates would miss, more often than one time in five, differences of up to "
            f"{100 * worst.detectable:.0f} points (N = {worst.n:.0f})."
        )
    for name, part in tested[tested.verdict != claims.MISSING].groupby("claim", sort=False):
        layers = evidence.regions.layers if (part.unit == LAYERS).any() else 0
        # Half of the partitions into a region and the rest lie on the other side.
        least = 2 / max(comb(layers, len(evidence.regions.range(region))) for region in NAMES) if layers else 0
        if least * len(part) >= LEVEL:
            found.append(
                f"Claim {name} cannot be decided in this study: with {layers} layers a permutation of layers has no p below "
                f"{least:.2g}, and Holm's correction for {len(part)} tests wants {LEVEL / len(part):.2g}."
            )
    for why, part in tested[tested.verdict == claims.MISSING].groupby("why", sort=False):
        names = dict.fromkeys(f"{row.claim} ({row.statement})" for row in part.itertuples())
        found.append(f"Not tested, {why}: {'; '.join(names)}.")
    return found


# --- what was run ---------------------------------------------------------------------------------


def checkpoints(results: Path, names: list[str]) -> pd.DataFrame:
    """checkpoint, from, layers, parameters, sha256 (of weights, config, tokenizer and processor; 16 digits)."""
    rows = []
    for path in (results / "checkpoints" / name / "manifest.json" for name in names):
        if not path.exists():
            continue
        manifest = json.loads(path.read_text())
        row = {"checkpoint": path.parent.name, "from": _origin(manifest.get("source") or {})}
        row |= {key: manifest.get(key) for key in ("layers", "parameters")}
        rows.append(row | {"sha256": model_digest(path)})
    return pd.DataFrame(rows, columns=["checkpoint", "from", "layers", "parameters", "sha256"])


def _origin(source: dict) -> str:
    """Where a checkpoint comes from, by its manifest."""
    if "hub" in source:
        return f"Hub: {source['hub']} @ {source.get('revision') or 'not pinned'}"
    if "path" in source:
        return f"directory {source['path']}"
    if "train" not in source:
        return "hybrid"
    start = source.get("start") or source.get("from")
    parts = [f"trained here: {source['train']}", f"from {start}" if start else "", f"seed {source['seed']}"]
    return ", ".join([*filter(None, parts), *([f"{source['frozen']} frozen"] if source.get("frozen") else [])])


def datasets(results: Path, config: dict) -> pd.DataFrame:
    """task, examples, from (the mini study, a file, or the Hub at a revision), fingerprint (tasks.fingerprint)."""
    rows = []
    for path in sorted(results.glob("data/*.jsonl")):
        task = path.stem
        if task.endswith(".descriptions"):
            continue
        public = (config.get("datasets") or {}).get(task)
        account = results / "downloads" / f"{task}.json"
        origin = "the mini study"
        if public and public.get("path"):
            origin = f"{public['benchmark']}: {public['path']}"
        elif public:
            fetched = json.loads(account.read_text()) if account.exists() else {}
            origin = f"{public['benchmark']}: Hub, {fetched.get('repo')} @ {fetched.get('revision')}"
        examples = read_examples(path)
        rows.append({"task": task, "examples": len(examples), "from": origin, "fingerprint": fingerprint(examples)})
    return pd.DataFrame(rows, columns=["task", "examples", "from", "fingerprint"])


def _grades(results: Path, names: list[str]) -> pd.DataFrame:
    parts = [
        pd.read_csv(path, keep_default_na=False, dtype={"id": str}).assign(checkpoint=name)
        for name in names
        if (path := results / "grades" / f"{name}.csv").exists()
    ]
    return pd.concat(parts) if parts else pd.DataFrame()


def responses(grades: pd.DataFrame) -> pd.DataFrame:
    """checkpoint, task, condition, n, right, wrong, ungraded, truncated (ran out of new tokens)."""
    if grades.empty:
        return grades
    by = grades.groupby(["checkpoint", "task", "condition"], sort=False)
    table = by.verdict.value_counts().unstack(fill_value=0).reindex(columns=["right", "wrong", UNGRADED], fill_value=0)
    truncated = by.truncated.agg(lambda part: int((part.astype(str) == "True").sum()))
    return table.assign(truncated=truncated).reset_index().assign(n=lambda t: t.right + t.wrong + t[UNGRADED])[
        ["checkpoint", "task", "condition", "n", "right", "wrong", UNGRADED, "truncated"]
    ]  # fmt: skip


def ungraded(grades: pd.DataFrame) -> pd.DataFrame:
    """Why responses have no verdict: reason, responses."""
    if grades.empty:
        return grades
    reasons = grades[grades.verdict == UNGRADED].reason.value_counts()
    return reasons.rename_axis("reason").rename("responses").reset_index()


def probes(results: Path, names: list[str]) -> pd.DataFrame:
    """checkpoint, probe, of, samples (answers with a layer swapped or skipped, or attention of a layer), failed."""
    rows = []
    for path in sorted(results.glob("localization/*.*.csv")):
        checkpoint, probe, _ = path.name.rsplit(".", 2)
        if checkpoint not in names:
            continue
        frame = pd.read_csv(path)
        for of, part in frame.groupby("function" if probe == "swap" else "task", sort=False):
            rows.append((checkpoint, probe, of, len(part), int(part.failed.sum())))
    for path in sorted(results.glob("attention/*.csv")):
        if not path.name.endswith(".heads.csv") and path.name.rsplit(".", 2)[0] in names:
            frame = pd.read_csv(path)
            failed = int(frame.attention_mass.isna().sum())
            rows.append(
                (path.name.rsplit(".", 2)[0], "attention", f"shard {path.name.split('.')[-2]}", len(frame), failed)
            )
    return pd.DataFrame(rows, columns=["checkpoint", "probe", "of", "samples", "failed"])


def times(results: Path) -> pd.DataFrame:
    """rule, jobs, minutes (of wall time, summed over jobs), longest (minutes of one job), peak_mb: of what ran last."""
    rows = []
    for path in sorted(results.glob("benchmarks/**/*.tsv")):
        rule = path.relative_to(results / "benchmarks").parts[0].removesuffix(".tsv")
        rows.append(pd.read_csv(path, sep="\t", na_values="-").tail(1).assign(rule=rule))
    if not rows:
        return pd.DataFrame(columns=["rule", "jobs", "minutes", "longest", "peak_mb"])
    frame = pd.concat(rows)
    table = frame.groupby("rule").agg(
        jobs=("s", "size"), minutes=("s", "sum"), longest=("s", "max"), peak_mb=("max_rss", "max")
    )
    table[["minutes", "longest"]] /= 60
    table = table.sort_values("minutes", ascending=False).reset_index()
    whole = {"rule": "all", "jobs": table.jobs.sum(), "minutes": table.minutes.sum()}
    whole |= {"longest": table.longest.max(), "peak_mb": table.peak_mb.max()}
    return pd.concat([table, pd.DataFrame([whole])], ignore_index=True)


def machines(results: Path) -> dict[str, int]:
    """What jobs ran on -> how many, from their logs; the machine of the report where there is none."""
    found: dict[str, int] = {}
    for path in results.glob("logs/**/*.log"):
        with open(path, errors="replace") as file:
            first = file.readline().strip()
        if first.startswith(RAN_ON):
            found[first.removeprefix(RAN_ON)] = found.get(first.removeprefix(RAN_ON), 0) + 1
    return found or {machine(): 0}


def commit() -> str:
    """The commit of this code, with "-dirty" where files differ from it; empty where it is in no git repository."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True).stdout.strip()
    except OSError:  # no git here, as on many a compute node
        return ""


def versions() -> dict[str, str]:
    """Versions of what a study's numbers depend on, as far as it is installed where the report is made."""
    found = {}
    for name in _PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found
