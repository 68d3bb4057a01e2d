"""Links from the cells of tables to the examples that they count, as addresses of the browser of examples."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from urllib.parse import urlencode

from ..data.metrics import METRICS
from ..grading.outcome import ABSTAINED, RIGHT, UNGRADED, VERDICTS
from .figures.figure2 import ABILITIES

_AVERAGE = "benchmarks"  # all tasks of the benchmark average
_METRIC = {ability: metric for metric, ability in ABILITIES.items()}


class Links:
    """runs: name -> (recipe, number, ...); abilities: ability -> task, benchmarks: tasks of the benchmark average
    (study.jobs.Jobs.settings); roles: those of any run."""

    def __init__(self, runs: Mapping, abilities: Mapping[str, str], benchmarks: Sequence[str], roles: set[str]):
        self._runs = {(recipe, str(number)): name for name, (recipe, number, *_) in runs.items()}
        self._abilities, self._benchmarks, self._roles = abilities, benchmarks, roles

    def of(self, table: str, row: dict) -> dict[str, str]:
        """Column -> address, for the cells of a table's row that count examples; empty for other tables and the paper's rows."""
        run = self._runs.get((row.get("recipe"), str(row.get("run"))))
        if run is None or row.get("source") == "paper" or table not in _CELLS:
            return {}
        return {column: self._address(run, **terms) for column, terms in _CELLS[table](row, self._roles).items()}

    def _address(self, run: str, metric: str, **terms: str) -> str:
        """The address of the examples of a metric, format, task or tasks joined by commas that meet the terms (keys as in
        report/examples.js)."""
        task = ",".join(self._benchmarks) if metric == _AVERAGE else metric
        if metric in METRICS or metric.startswith("format, "):
            task = (
                self._abilities[METRICS[metric][0]] if metric in METRICS else ""
            )  # formats are counted over all tasks
            terms["of"] = metric
            if "role2" in terms:
                terms["of2"] = metric
        return "#examples?" + urlencode({"run": run, **({"task": task} if task else {}), **terms})


def _scores(row: dict, roles: set[str]) -> dict[str, dict]:
    one = {"metric": row["metric"], "role": row["role"]}
    cells = {"value": one | {"is": RIGHT}, "n": one}
    if row["metric"] not in METRICS and not row["metric"].startswith("format, "):  # of a metric, these count responses
        cells |= {verdict: one | {"is": verdict} for verdict in (ABSTAINED, UNGRADED)}
    return cells


def _vision(row: dict, roles: set[str]) -> dict[str, dict]:
    one = {"metric": row["task"], "role": row["role"]}
    cells = {"accuracy": one | {"is": RIGHT}, "abstained": one | {"is": ABSTAINED}, "n": one}
    cells |= {f"accuracy_{other}": one | {"of": other, "is": RIGHT} for other in ("black", "shuffled")}
    cells["abstained_black"] = one | {"of": "black", "is": ABSTAINED}
    cells["image_right_black_right"] = one | {"is": RIGHT, "role2": row["role"], "of2": "black", "is2": RIGHT}
    cells["image_right_black_wrong"] = one | {"of": "M_vis", "is": RIGHT}
    return cells


def _differences(row: dict, roles: set[str]) -> dict[str, dict]:
    return {"difference": {"metric": row["metric"], "role": row["from"], "role2": row["to"], "is2": "differs"}}


def _paired(row: dict, roles: set[str]) -> dict[str, dict]:
    both = {"metric": row["metric"], "role": row["a"], "role2": row["b"]}
    outcomes = {"1": RIGHT, "0": "not"}
    return {f"n{a}{b}": both | {"is": outcomes[a], "is2": outcomes[b]} for a in "10" for b in "10"}


def _categories(row: dict, roles: set[str]) -> dict[str, dict]:
    one = {"metric": row["task"], "category": row["category"], "role": row["role"]}
    return {"value": one | {"is": RIGHT}, "n": one} | {verdict: one | {"is": verdict} for verdict in VERDICTS}


def _table2(row: dict, roles: set[str]) -> dict[str, dict]:
    metric = _METRIC[row["ability"]]
    return {role: {"metric": metric, "role": role, "is": RIGHT} for role in row if role in roles}


def _table3(row: dict, roles: set[str]) -> dict[str, dict]:
    metrics = [column for column in list(row)[5:] if not column.endswith((" low", " high"))]
    return {metric: {"metric": metric, "role": row["model"], "is": RIGHT} for metric in metrics}


def _figure2(row: dict, roles: set[str]) -> dict[str, dict]:
    return {"value": {"metric": _METRIC.get(row["ability"], _AVERAGE), "role": row["stage"], "is": RIGHT}}


def _rewarded(row: dict, roles: set[str]) -> dict[str, dict]:
    tasks = row["tasks"].replace(", ", ",")
    rates = {role: {"metric": tasks, "role": role, "is": RIGHT} for role in ("IN", "RL")}
    return rates | {"difference": {"metric": tasks, "role": "IN", "role2": "RL", "is2": "differs"}}


_CELLS: dict[str, Callable[[dict, set[str]], dict[str, dict]]] = {
    "scores": _scores,
    "doses": lambda row, roles: {"value": _scores(row, roles)["value"]},
    "vision": _vision,
    "differences": _differences,
    "paired": _paired,
    "categories": _categories,
    "table2": _table2,
    "table3": _table3,
    "figure2": _figure2,
    "rewarded": _rewarded,
}
