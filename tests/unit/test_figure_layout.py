"""Figures of three recipes and 28 layers, as large as a study gets: no wider than a page, nothing too small to read."""

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from matplotlib.text import Text

from frankenstein.claims import controls, reference, statements
from frankenstein.claims.measurements import Measurements
from frankenstein.core.regions import Regions
from frankenstein.core.roles import Run
from frankenstein.report import drawing
from frankenstein.report.figures import claims as claims_chart
from frankenstein.report.figures import controls as controls_chart
from frankenstein.report.figures import figure2, figure3, figure5, heatmap
from frankenstein.report.style import PAGE, SMALL

REGIONS = Regions((10, 19), 28)
RECIPES = ("OpenMMReasoner", "MMR1", "Revisual")
RUNS = tuple(Run(recipe, number) for recipe in RECIPES for number in (1, 2, 3))
PUBLISHED = reference.read(ROOT / "workflow" / "claims" / "reference.yaml")


def by_layer(**columns) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = [{"run": run, "layer": layer, "n": 100, "failed": 0} for run in (1, 2, 3) for layer in range(28)]
    frame = pd.DataFrame(rows).assign(**columns)
    value = rng.random(len(frame))
    return frame.assign(value=value, low=value - 0.1, high=value + 0.1)


def scores() -> pd.DataFrame:
    roles = ("Base", "IN", "RL")
    rows = [(*run, role, metric) for run in RUNS for role in roles for metric in ("M_vis", "M_v2r", "M_rea", "task")]
    frame = pd.DataFrame(rows, columns=["recipe", "run", "role", "metric"])
    return frame.assign(n=100, value=0.5, low=0.4, high=0.6)


def measured() -> Measurements:
    rng = np.random.default_rng(0)
    mass = [
        {"recipe": run.recipe, "run": run.number, "stage": stage, "id": i, "layer": layer, "attention_mass": rng.random()}
        for run in RUNS for stage in ("IN", "RL") for i in range(5) for layer in range(28)
    ]  # fmt: skip
    return Measurements(REGIONS, RUNS, attention=pd.DataFrame(mass), seed=1)


def of_scores(table: pd.DataFrame) -> Measurements:
    return Measurements(REGIONS, RUNS, ("task",), scores=table, reference=PUBLISHED)


def figure_of(name: str):
    if name == "figure2":
        return figure2.draw(figure2.data(of_scores(scores())), measured())
    if name == "figure3":
        frames = [by_layer(recipe=recipe, stage=stage) for recipe in RECIPES for stage in ("IN", "RL")]
        return figure3.draw(pd.concat(frames).rename(columns={"value": "attention_mass"}), measured())
    if name == "figure5":
        frames = [by_layer(recipe=recipe, stage=stage) for recipe in RECIPES for stage in ("IN", "RL")]
        return figure5.draw(pd.concat(frames).rename(columns={"value": "frobenius_rms"}), measured())
    if name == "heatmap":
        frames = [
            by_layer(of=of).query("run == 1").rename(columns={"value": "rate"})
            for of in ("ocr", "counting", "skip: math500")
        ]
        none = pd.DataFrame([{"of": of, "layer": -1, "n": 100, "failed": 0, "rate": 0, "low": 0, "high": 0.04} for of in ("ocr", "counting", "skip: math500")])  # fmt: skip
        return heatmap.draw(pd.concat([none, *frames]), measured())
    if name == "controls":
        return controls_chart.draw(controls.windows(measured()), measured())
    stated = statements.read([ROOT / "workflow" / "claims" / "paper.yaml"])
    return claims_chart.draw(*claims_chart.tables(measured(), stated))


@pytest.mark.parametrize("name", ["figure2", "figure3", "figure5", "heatmap", "controls", "claims"])
def test_a_figure_fits_a_page_and_is_legible(name, tmp_path):
    figure = figure_of(name)
    assert figure.get_figwidth() <= PAGE
    figure.savefig(tmp_path / "figure.png")
    shown = [text for text in figure.findobj(Text) if text.get_text().strip() and text.get_visible()]
    assert len(shown) > 10
    assert min(text.get_fontsize() for text in shown) >= SMALL
    drawn = figure.get_tightbbox()  # inches
    assert drawn.x0 > -0.03
    assert drawn.y0 > -0.03
    assert drawn.x1 < figure.get_figwidth() + 0.03
    assert drawn.y1 < figure.get_figheight() + 0.03
    drawing.save(figure, tmp_path / "figure.pdf")


def test_the_papers_values_stand_beside_ours():
    bars = figure2.data(of_scores(scores()))
    bars = bars[bars.run == 1]
    ours = bars[(bars.recipe == "Revisual") & (bars.ability == "Reasoning")].set_index("stage")
    assert ours.paper.to_dict() == {"Base": 63, "IN": 81, "RL": 88}
    average = bars[(bars.recipe == "MMR1") & (bars.ability == "Average benchmark")].set_index("stage").paper
    assert average["Base"] == 45.9
    assert average[["IN", "RL"]].isna().all()
    other = figure2.data(of_scores(scores().assign(recipe="mine")))
    assert other.paper.isna().all()
