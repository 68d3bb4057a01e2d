"""The micro study, run whole: every figure, table and number of it."""

import json

import pandas as pd
import pytest
import torch
import yaml
from PIL import Image
from study import HYBRIDS, snakemake, study_of, weights


def test_every_figure_and_table_is_there(results):
    figures = {path.stem for path in (results / "figures").glob("*.png")}
    assert figures >= {"figure2", "figure3", "figure4", "figure5", "figure6", "claims", "doses", "heatmap", "controls"}
    for figure in figures:
        assert (results / "figures" / f"{figure}.pdf").read_bytes().startswith(b"%PDF")
        with Image.open(results / "figures" / f"{figure}.png") as image:
            assert 500 < image.width <= 1360  # a column, or two, at 200 dots an inch
            assert len(image.convert("L").getcolors(256)) > 20
        assert len(pd.read_csv(results / "figures" / f"{figure}.csv")) > 0
    for table in (
        "table2",
        "table3",
        "rewarded",
        "scores",
        "vision",
        "differences",
        "paired",
        "attention",
        "regions",
        "energy",
    ):
        assert len(pd.read_csv(results / "tables" / f"{table}.csv")) > 0


def test_scores_hold_every_checkpoint_at_full_n(results):
    scores = pd.read_csv(results / "tables" / "scores.csv")
    roles = ["Base", "IN", "IN, retrained", *(h.replace("-", ":") for h in HYBRIDS), "IN:SEED:SEED", "half", "RL"]
    assert sorted(scores[scores.run == 2].role.unique()) == sorted(roles)
    roles += [f"RL, {region} frozen" for region in ("Early", "Mid", "Late")]
    assert sorted(scores[scores.run == 1].role.unique()) == sorted(roles)
    metrics = {"M_vis", "M_v2r", "M_rea", "easy_vqa", "math_vqa", "text_math", "recognition", "counting"}
    formats = {f"format, {condition}" for condition in ("image", "black", "shuffled", "described", "text")}
    for (_, role), part in scores.groupby(["run", "role"]):
        # Hybrids are asked the abilities' tasks. 8 examples per task; "format" counts responses, in all tasks with their image.
        hybrid = role.count(":") == 2 or role == "half"
        assert set(part.metric) == (metrics - {"recognition", "counting"} if hybrid else metrics) | formats
        assert (part[part.metric == "format, image"].n == 8 * (2 if hybrid else 4)).all()
        assert (part[part.metric != "format, image"].n == 8).all()
    assert scores.value.between(0, 1).all()
    assert (scores.low <= scores.value + 1e-9).all()
    assert (scores.value <= scores.high + 1e-9).all()
    assert (scores.ungraded == 0).all()


def test_m_vis_follows_from_the_responses(results):
    """The slow, obvious twin, from the raw responses of one checkpoint."""
    golds = {}
    for line in (results / "data" / "easy_vqa.jsonl").read_text().splitlines():
        example = json.loads(line)
        golds[example["id"]] = example["answer"]
    said = {}
    for line in (results / "responses" / "base.0.jsonl").read_text().splitlines()[1:]:
        record = json.loads(line)
        said[record["id"], record["condition"]] = record["response"]
    right = {key: said[key].strip().lower() == golds[key[0]] for key in said if key[0] in golds}
    expected = sum(right[i, "image"] and not right[i, "black"] for i in golds) / len(golds)
    scores = pd.read_csv(results / "tables" / "scores.csv")
    of_base = scores[(scores.role == "Base") & (scores.metric == "M_vis")].value
    assert list(of_base) == pytest.approx([expected] * 2)  # both runs' Base
    vision = pd.read_csv(results / "tables" / "vision.csv").query("run == 1").set_index("role")
    assert vision.loc["Base", "image_right_black_wrong"] == sum(
        right[i, "image"] and not right[i, "black"] for i in golds
    )
    assert vision.loc["Base", "accuracy_shuffled"] == pytest.approx(
        sum(right[i, "shuffled"] for i in golds) / len(golds)
    )


def test_table2_and_table3_are_the_scores(results):
    every = pd.read_csv(results / "tables" / "scores.csv")
    scores = every[every.run == 1].set_index(["role", "metric"]).value
    table2 = pd.read_csv(results / "tables" / "table2.csv")
    assert table2[(table2.source == "paper") & (table2.recipe == "MMR1")]["IN:RL:RL"].tolist() == [37, 51, 61]
    table2 = table2[table2.source == "study"]
    assert list(table2.run.unique()) == ["mean", "1", "2"]
    mean = table2[(table2.run == "mean") & (table2.ability == "Reasoning")]["IN:RL:RL"].item()
    both = every[(every.role == "IN:RL:RL") & (every.metric == "M_rea")].value
    assert mean == pytest.approx(100 * both.mean(), abs=0.05)
    table2 = table2[table2.run == "1"]
    assert list(table2.ability) == ["Vision", "Vision-to-Reasoning", "Reasoning"]
    for metric, row in zip(("M_vis", "M_v2r", "M_rea"), table2.to_dict("records"), strict=True):
        for role in ("Base", "IN", "IN:RL:RL", "RL:IN:RL", "RL"):
            assert row[role] == pytest.approx(100 * scores[role, metric], abs=0.05)
    table3 = pd.read_csv(results / "tables" / "table3.csv")
    assert table3[(table3.source == "paper") & (table3.model == "RL, Late frozen")].M_v2r.tolist() == [27]
    table3 = table3[table3.source == "study"].set_index("model")
    assert list(table3.index) == ["IN", "RL", "RL, Early frozen", "RL, Mid frozen", "RL, Late frozen"]
    for role in table3.index:
        assert table3.loc[role, "M_rea"] == pytest.approx(100 * scores[role, "M_rea"], abs=0.05)


def test_probes_cover_every_layer(results):
    figure4 = pd.read_csv(results / "figures" / "figure4.csv")
    for _, part in figure4.groupby(["probe", "function"]):
        assert list(part.layer) == list(range(-1, 9))
    assert set(figure4.function) == {"recognition", "ocr", "grounding", "counting", "text_math"}
    assert set(figure4.probe) == {"hidden_state_at_layer", "kv_at_layer_only", "skip"}
    assert set(figure4[figure4.probe != "skip"].n) == {4}
    assert set(figure4[figure4.probe == "skip"].n) == {6}
    assert (figure4[figure4.probe == "skip"].failed == 0).all()
    assert figure4[figure4.failed == 0].rate.between(0, 1).all()
    figure3 = pd.read_csv(results / "figures" / "figure3.csv")
    assert len(figure3) == 2 * 2 * 9  # runs, stages, layers
    assert figure3.attention_mass.between(0, 1).all()


def test_probes_are_one_table_a_model(results):
    swaps = pd.read_csv(results / "localization" / "base.swap.csv")
    assert len(swaps) == 4 * 4 * (1 + 2 * 9)  # functions, pairs, nothing and two modes at nine layers
    assert not swaps.duplicated(["id", "mode", "layer"]).any()
    assert {"id", "function", "mode", "layer", "response", "changed", "text_changed", "failed", "error"} <= set(swaps)
    skips = pd.read_csv(results / "localization" / "base.skip.csv")
    assert len(skips) == 6 * (1 + 9)
    heads = pd.concat(pd.read_csv(results / "attention" / f"one-in.{shard}.heads.csv") for shard in (0, 1))
    layers = pd.concat(pd.read_csv(results / "attention" / f"one-in.{shard}.csv") for shard in (0, 1))
    assert len(heads) == 4 * len(layers) == 4 * 4 * 9
    means = heads.groupby(["id", "layer"]).attention_mass.mean()
    expected = layers.set_index(["id", "layer"]).attention_mass
    pd.testing.assert_series_equal(means, expected.sort_index(), check_names=False)


def test_a_lost_shard_costs_that_shard(micro, results):
    lost = results / "localization" / "swap.base.ocr.1.jsonl"
    kept = lost.read_bytes()
    lost.unlink()
    output = snakemake(micro, "--", str(lost.relative_to(micro)))
    assert lost.read_bytes() == kept
    assert output.split("Job stats:")[1].split("total")[0].split("swap_vision_tokens")[1].split()[0] == "1"
    snakemake(micro)


def test_updates_have_energy_and_spectra_in_every_layer(results):
    figure5 = pd.read_csv(results / "figures" / "figure5.csv")
    assert len(figure5) == 2 * 2 * 9
    figure5 = figure5[figure5.run == 1]
    assert (figure5[figure5.stage == "IN"].frobenius > 0).all()
    assert figure5[figure5.stage == "IN"].share.sum() == pytest.approx(1)
    figure6 = pd.read_csv(results / "figures" / "figure6.csv")
    first = figure6[(figure6["rank"] == 1) & (figure6.stage == "IN") & (figure6.run == 1)]
    assert len(first) == 9
    assert (first.log_ratio == 0).all()
    assert (figure6.log_ratio.dropna() <= 0).all()


@pytest.mark.parametrize("region", ["early", "mid", "late", None])
def test_rl_moves_every_layer_but_the_frozen_ones(results, region):
    before = weights(results, "one-in")
    after = weights(results, f"one-rl-{region}" if region else "one-rl")
    frozen = {"early": range(3), "mid": range(3, 6), "late": range(6, 9), None: range(0)}[region]
    for layer in range(9):
        names = [name for name in before if f".layers.{layer}." in name]
        moved = [name for name in names if not torch.equal(before[name], after[name])]
        assert bool(moved) == (layer not in frozen), layer


def test_rewarded_tasks_are_pooled_by_run(results):
    table = pd.read_csv(results / "tables" / "rewarded.csv")
    assert table[["recipe", "run", "tasks", "n"]].values.tolist() == [
        ["one", 1, "easy_vqa, text_math", 16], ["one", 2, "easy_vqa, text_math", 16],
    ]  # fmt: skip
    scores = pd.read_csv(results / "tables" / "scores.csv").set_index(["run", "role", "metric"]).value
    for row in table.itertuples():
        for role in ("IN", "RL"):
            mean = (scores[row.run, role, "easy_vqa"] + scores[row.run, role, "text_math"]) / 2
            assert getattr(row, role) == pytest.approx(100 * mean, abs=0.06)
        assert row.difference == pytest.approx(row.RL - row.IN, abs=0.11)
        assert row.low < row.difference < row.high


@pytest.mark.parametrize("layout", ["copy", "link"])
def test_hybrids_on_disk_are_checkpoints_and_answer_like_those_in_memory(micro, results, layout):
    """Both layouts, and hybrids of the study's own."""
    trained = micro / "results/micro/checkpoints"
    config = study_of(str(trained / "base"), micro) | {"study": layout}
    config["merging"] = {"layout": layout, "keep": True, "hybrids": {"window": "IN+RL@3-5", "half": "IN:0.5:IN"}}
    (micro / "config" / f"{layout}.yaml").write_text(yaml.safe_dump(config))
    hybrids = ("one.IN-RL-IN", "one.window", "one.half")
    targets = [f"results/{layout}/grades/{hybrid}.csv" for hybrid in hybrids]
    output = snakemake(micro, "-n", *targets, config=f"config/{layout}.yaml")
    assert ("shard_for_links" in output) == (layout == "link")
    assert "generate_hybrids" not in output
    snakemake(micro, *targets, config=f"config/{layout}.yaml")
    assert "Nothing to be done" in snakemake(micro, *targets, config=f"config/{layout}.yaml")
    in_memory = pd.read_csv(results / "grades" / "one.IN-RL-IN.csv")
    assert not (results / "checkpoints" / "one.IN-RL-IN").exists()
    grades = [pd.read_csv(micro / target) for target in targets]
    pd.testing.assert_frame_equal(grades[0], in_memory)
    pd.testing.assert_frame_equal(grades[1], in_memory)  # IN:RL:IN in other words
    written = [folder / "responses" / "one.IN-RL-IN.0.jsonl" for folder in (results, micro / "results" / layout)]
    headers, *answers = zip(*(path.read_text().splitlines() for path in written), strict=True)
    assert all(one == other for one, other in answers)
    assert len({json.loads(header)["header"]["prompt"] for header in headers}) == 1

    directory = micro / "results" / layout / "checkpoints" / "one.IN-RL-IN"
    assert json.loads((directory / "manifest.json").read_text())["layers"] == 9
    account = json.loads((directory / "model" / "merge_manifest.json").read_text())
    assert account["hybrid"] == "IN:RL:IN"
    for name, entry in account["tensors"].items():
        layer = int(name.split(".layers.")[1].split(".")[0]) if ".layers." in name else 0
        assert entry["donor"] == ("RL" if 3 <= layer < 6 else "IN")


def test_claims_are_tested_over_the_two_runs(results):
    claims = pd.read_csv(results / "figures" / "claims.csv")
    runs = pd.read_csv(results / "tables" / "runs.csv")
    of_rl = claims[(claims.claim == 6)]
    assert set(of_rl.over) == {"runs"}
    assert set(of_rl.n) == {2}
    for row in of_rl.itertuples():
        part = runs[(runs.claim == 6) & (runs.statement == row.statement)]
        assert list(part.run) == [1, 2]
        assert row.estimate == pytest.approx(part.estimate.mean())
    assert of_rl["null"].notna().all()  # the merge with the other run's IN
    frozen = claims[(claims.claim == 7) & claims.statement.str.contains("frozen")]
    assert set(frozen.over) == {"examples"}  # one run alone has frozen ones: nothing is said of RL
    assert set(frozen.verdict) == {"undecided"}
    assert frozen.in_checkpoint.notna().all()
    of_base = claims[claims.of_base & claims.estimate.notna()]
    assert set(of_base.over) <= {"examples"}


def test_training_is_logged_as_a_table(results):
    assert {"step", "loss"} <= set(pd.read_csv(results / "training" / "base.csv"))
    rl = pd.read_csv(results / "training" / "one-rl.csv")
    assert {"step", "loss", "reward", "reward_answer", "reward_format", "completion_length"} <= set(rl)
    assert rl.reward_format.between(0, 1).all()


def test_the_report_is_one_page_with_every_figure(micro):
    snakemake(micro, "--report", "report.html")
    text = (micro / "report.html").read_text()
    for name in ("figure2.png", "figure6.png", "table2.csv", "table3.csv", "scores.csv", "differences.csv"):
        assert name in text


def test_two_recipes_updates_are_compared(micro):
    trained = micro / "results/micro/checkpoints"
    config = study_of(str(trained / "base"), micro) | {"study": "two"}
    # The second recipe's IN is the first one's RL: a little further on the same way.
    config["checkpoints"] |= {
        "two-in": {"path": str(trained / "one-rl")},
        "two-rl": {"path": str(trained / "one-rl-late")},
    }
    config["recipes"]["two"] = config["recipes"]["one"] | {"runs": [{"in": "two-in", "rl": "two-rl"}]}
    (micro / "config" / "two.yaml").write_text(yaml.safe_dump(config))
    target = "results/two/tables/overlaps.csv"
    snakemake(micro, target, config="config/two.yaml")
    overlaps = pd.read_csv(micro / target)
    assert set(overlaps.stage) == {"IN", "RL"}
    assert set(overlaps.component) == {"layer", "vision_tower", "projector", "embeddings"}
    assert overlaps.overlap.between(0, 1 + 1e-6).all()
    assert (overlaps.recipe + overlaps.other == "onetwo").all()
    by_stage = overlaps[overlaps.component == "layer"].groupby("stage").overlap.mean()
    assert by_stage["IN"] > 0.9
    assert by_stage["RL"] < by_stage["IN"]
