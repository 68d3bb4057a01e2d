"""Figure 2 and Tables 2 and 3 of the paper as data frames, from scoring.score's scores, beside the paper's own. Percent throughout."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ..claims.reference import paper_cells
from ..core.regions import HYBRIDS, NAMES

ABILITIES = {"M_vis": "Vision", "M_v2r": "Vision-to-Reasoning", "M_rea": "Reasoning"}


def figure2(scores: pd.DataFrame, benchmarks: list[str], reference: dict) -> pd.DataFrame:
    """recipe, ability, stage, n, value, low, high, paper. The benchmark average weighs tasks alike; its interval is the
    normal one of a mean of independent rates. paper: its value for a recipe of the same name."""
    cells = paper_cells(reference).set_index(["table", "recipe", "role", "metric"]).value
    averages = reference["benchmark_average"]
    rows = []
    for (recipe, stage), part in scores[scores.role.isin(["Base", "IN", "RL"])].groupby(["recipe", "role"], sort=False):
        tasks = part[part.metric.isin(benchmarks)]
        mean = tasks.value.mean()
        half = 1.96 * np.sqrt((tasks.value * (1 - tasks.value) / tasks.n).sum()) / len(tasks)
        label = {"recipe": recipe, "stage": stage}
        average = {"ability": "Average benchmark", "n": tasks.n.min(), "value": mean}
        paper = averages.get(recipe, {}).get(stage, np.nan) / 100
        rows.append({**label, **average, "low": mean - half, "high": mean + half, "paper": paper})
        for metric, ability in ABILITIES.items():
            row = part[part.metric == metric].iloc[0][["n", "value", "low", "high"]]
            paper = cells.get(("table2", recipe, stage, metric), np.nan)
            rows.append({**label, "ability": ability, **row, "paper": paper})
    frame = pd.DataFrame(rows)[["recipe", "ability", "stage", "n", "value", "low", "high", "paper"]]
    return _percent(frame, ["value", "low", "high", "paper"])


def _with_paper(scores: pd.DataFrame, recipes: list[str], reference: dict, table: str) -> pd.DataFrame:
    """Scores of the recipes (source: study), then the paper's cells of a table (source: paper)."""
    cells = paper_cells(reference)
    cells = cells[cells.table == table].assign(source="paper")
    return pd.concat([scores[scores.recipe.isin(recipes)].assign(source="study"), cells], ignore_index=True)


def table2(scores: pd.DataFrame, recipes: list[str], reference: dict) -> pd.DataFrame:
    """source (study or paper), recipe, ability, n, and a column a model in the order of the paper's Table 2, each followed by
    low and high. A recipe without a Base has none in its row."""
    rows = []
    for (source, recipe), part in _with_paper(scores, recipes, reference, "table2").groupby(
        ["source", "recipe"], sort=False
    ):
        models = [model for model in ("Base", "IN", *HYBRIDS, "RL") if model in set(part.role)]
        for metric, ability in ABILITIES.items():
            by_role = part[part.metric == metric].set_index("role")
            row = {"source": source, "recipe": recipe, "ability": ability, "n": by_role.n.iloc[0]}
            for model in models:
                cell = by_role.loc[model]
                row |= {model: cell.value, f"{model} low": cell.low, f"{model} high": cell.high}
            rows.append(row)
    frame = pd.DataFrame(rows)
    order = [f"{model}{end}" for model in ("Base", "IN", *HYBRIDS, "RL") for end in ("", " low", " high")]
    return _percent(frame[[*frame.columns[:4], *(column for column in order if column in frame)]], frame.columns[4:])


def table3(scores: pd.DataFrame, recipes: list[str], benchmarks: list[str], reference: dict) -> pd.DataFrame:
    """source (study or paper), recipe, model (IN, RL, RL with each region frozen), n, then M_vis, M_v2r, M_rea and each
    benchmark, with low and high. Of the paper's benchmark columns N is not given, and they have no place here."""
    models = ["IN", "RL", *(f"RL, {name.capitalize()} frozen" for name in NAMES)]
    rows = []
    for (source, recipe), part in _with_paper(scores, recipes, reference, "table3").groupby(
        ["source", "recipe"], sort=False
    ):
        for model in [name for name in models if name in set(part.role)]:
            by_metric = part[part.role == model].set_index("metric")
            row = {"source": source, "recipe": recipe, "model": model, "n": by_metric.loc["M_vis"].n}
            for metric in [*ABILITIES, *(benchmarks if source == "study" else [])]:
                cell = by_metric.loc[metric]
                row |= {metric: cell.value, f"{metric} low": cell.low, f"{metric} high": cell.high}
            rows.append(row)
    frame = pd.DataFrame(rows)
    return _percent(frame, frame.columns[4:])


def _percent(frame: pd.DataFrame, columns) -> pd.DataFrame:
    return frame.assign(**{column: (100 * frame[column]).round(1) for column in columns})
