"""Real runs of the workflow: the micro study whole, then what reruns, and what a user's mistake costs."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from conftest import ROOT
from PIL import Image
from safetensors.torch import load_file
from study import copy_repository, planned, snakemake

HYBRIDS = ("IN-RL-RL", "IN-IN-RL", "RL-RL-IN", "RL-IN-IN", "IN-RL-IN", "RL-IN-RL")


@pytest.mark.parametrize("config", sorted(path.name for path in (ROOT / "config").glob("*.yaml")))
def test_every_shipped_config_dry_runs(tmp_path, config):
    repository = copy_repository(tmp_path / "repository")
    output = snakemake(repository, "-n", config=f"config/{config}")
    assert "generate" in output


def test_every_figure_and_table_is_there(results):
    figures = {path.stem for path in (results / "figures").glob("*.png")}
    assert figures >= {"figure2", "figure3", "figure4", "figure5", "figure6", "claims", "doses", "heatmap", "controls"}
    for figure in figures:
        assert (results / "figures" / f"{figure}.pdf").read_bytes().startswith(b"%PDF")
        with Image.open(results / "figures" / f"{figure}.png") as image:
            assert 500 < image.width <= 1360  # a column, or two, at 200 dots an inch
            assert len(image.convert("L").getcolors(256)) > 20
        assert len(pd.read_csv(results / "figures" / f"{figure}.csv")) > 0
    for table in ("table2", "table3", "scores", "vision", "differences", "paired", "attention", "regions", "energy"):
        assert len(pd.read_csv(results / "tables" / f"{table}.csv")) > 0


def test_scores_hold_every_checkpoint_at_full_n(results):
    scores = pd.read_csv(results / "tables" / "scores.csv")
    roles = ["Base", "IN", "IN, retrained", *(h.replace("-", ":") for h in HYBRIDS), "half", "RL"]
    roles += [f"RL, {region} frozen" for region in ("Early", "Mid", "Late")]
    assert sorted(scores.role.unique()) == sorted(roles)
    metrics = {"M_vis", "M_v2r", "M_rea", "easy_vqa", "math_vqa", "text_math", "recognition", "counting"}
    formats = {f"format, {condition}" for condition in ("image", "black", "shuffled", "described", "text")}
    for _, part in scores.groupby("role"):
        assert set(part.metric) == metrics | formats
    # 8 examples a task; "format" counts responses, and four tasks are asked with their image.
    assert (scores[scores.metric == "format, image"].n == 8 * 4).all()
    assert (scores[scores.metric != "format, image"].n == 8).all()
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
    assert scores[(scores.role == "Base") & (scores.metric == "M_vis")].value.item() == pytest.approx(expected)
    vision = pd.read_csv(results / "tables" / "vision.csv").set_index("role")
    assert vision.loc["Base", "image_right_black_wrong"] == sum(
        right[i, "image"] and not right[i, "black"] for i in golds
    )
    assert vision.loc["Base", "accuracy_shuffled"] == pytest.approx(
        sum(right[i, "shuffled"] for i in golds) / len(golds)
    )


def test_table2_and_table3_are_the_scores(results):
    scores = pd.read_csv(results / "tables" / "scores.csv").set_index(["role", "metric"]).value
    table2 = pd.read_csv(results / "tables" / "table2.csv")
    assert table2[(table2.source == "paper") & (table2.recipe == "MMR1")]["IN:RL:RL"].tolist() == [37, 51, 61]
    table2 = table2[table2.source == "study"]
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
    assert len(figure3) == 2 * 9
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
    assert len(figure5) == 2 * 9
    assert (figure5[figure5.stage == "IN"].frobenius > 0).all()
    assert figure5[figure5.stage == "IN"].share.sum() == pytest.approx(1)
    figure6 = pd.read_csv(results / "figures" / "figure6.csv")
    first = figure6[(figure6["rank"] == 1) & (figure6.stage == "IN")]
    assert len(first) == 9
    assert (first.log_ratio == 0).all()
    assert (figure6.log_ratio.dropna() <= 0).all()


def weights(results: Path, checkpoint: str) -> dict:
    return load_file(results / "checkpoints" / checkpoint / "model.safetensors")


@pytest.mark.parametrize("region", ["early", "mid", "late", None])
def test_rl_moves_every_layer_but_the_frozen_ones(results, region):
    before = weights(results, "one-in")
    after = weights(results, f"one-rl-{region}" if region else "one-rl")
    frozen = {"early": range(3), "mid": range(3, 6), "late": range(6, 9), None: range(0)}[region]
    for layer in range(9):
        names = [name for name in before if f".layers.{layer}." in name]
        moved = [name for name in names if not torch.equal(before[name], after[name])]
        assert bool(moved) == (layer not in frozen), layer


def test_hybrids_differ_from_both_parents(results):
    digests = set()
    for checkpoint in ("one-in", "one-rl", *(f"one.{donors}" for donors in HYBRIDS)):
        manifest = json.loads((results / "checkpoints" / checkpoint / "manifest.json").read_text())
        digests.add(manifest["files"]["model.safetensors"]["sha256"])
    assert len(digests) == 8


def test_hybrids_are_checkpoints_of_known_donors(results):
    for donors in HYBRIDS:
        directory = results / "checkpoints" / f"one.{donors}"
        account = json.loads((directory / "model" / "merge_manifest.json").read_text())
        assert account["hybrid"] == donors.replace("-", ":")
        early, mid, late = donors.split("-")
        for name, entry in account["tensors"].items():
            layer = int(name.split(".layers.")[1].split(".")[0]) if ".layers." in name else 0
            assert entry["donor"] == (early if layer < 3 else mid if layer < 6 else late)
        assert json.loads((directory / "manifest.json").read_text())["layers"] == 9


def test_linked_and_temporary_hybrids_score_like_copies(micro, results):
    """Layout link, hybrids of the study's own, and hybrids that go once their responses are made."""
    trained = micro / "results/micro/checkpoints"
    config = study_of(str(trained / "base"), micro) | {"study": "linked"}
    config["merging"] = {"layout": "link", "keep": False, "hybrids": {"window": "IN+RL@3-5", "half": "IN:0.5:IN"}}
    (micro / "config" / "linked.yaml").write_text(yaml.safe_dump(config))
    copied = pd.read_csv(results / "grades" / "one.IN-RL-IN.csv")
    hybrids = ("one.IN-RL-IN", "one.window", "one.half")
    targets = [f"results/linked/grades/{hybrid}.csv" for hybrid in hybrids]
    output = snakemake(micro, "-n", *targets, config="config/linked.yaml")
    assert "shard_for_links" in output
    snakemake(micro, *targets, config="config/linked.yaml")
    grades = [pd.read_csv(micro / target) for target in targets]
    pd.testing.assert_frame_equal(grades[0], copied)
    pd.testing.assert_frame_equal(grades[1], copied)  # IN:RL:IN in other words
    checkpoints = micro / "results/linked/checkpoints"
    assert not list(checkpoints.glob("one.*/model"))
    assert not (micro / "results/linked/shards/one-in").exists()
    assert "Nothing to be done" in snakemake(micro, *targets, config="config/linked.yaml")


def test_training_is_logged_as_a_table(results):
    assert {"step", "loss"} <= set(pd.read_csv(results / "training" / "base.csv"))
    rl = pd.read_csv(results / "training" / "one-rl.csv")
    assert {"step", "loss", "reward", "reward_answer", "reward_format", "completion_length"} <= set(rl)
    assert rl.reward_format.between(0, 1).all()


def test_a_rerun_does_nothing_and_says_so_at_once(micro):
    start = time.monotonic()
    output = snakemake(micro)
    assert "Nothing to be done" in output
    assert time.monotonic() - start < 15


def test_results_carried_to_a_fresh_clone_are_up_to_date(micro, tmp_path):
    """All its scripts are younger than the results, and so is a comment that was pulled."""
    clone = tmp_path / "clone"
    shutil.copytree(
        micro, clone, ignore=shutil.ignore_patterns("results", ".snakemake", "__pycache__"), copy_function=shutil.copy
    )
    for folder in ("results", ".snakemake"):
        subprocess.run(["cp", "-a", micro / folder, clone / folder], check=True)
    module = clone / "workflow" / "frankenstein" / "inference" / "prompts.py"
    module.write_text(module.read_text() + "\n# A comment that was pulled.\n")
    script = clone / "workflow" / "scripts" / "generate.py"
    script.write_text("# Another.\n" + script.read_text())
    assert "Nothing to be done" in snakemake(clone)
    script.write_text(script.read_text() + "\nprint()\n")
    assert "generate" in planned(clone)


CLAIMED = {"test_claims", "write_report"}
FIGURES_BY_LAYER = {
    "figure3",
    "figure4",
    "heatmap",
    "figure5",
    "figure6",
    "spectra",
    "region_means",
    "controls",
} | CLAIMED
SCORED = {"grade", "score", "figure2", "table2", "table3", "doses"} | CLAIMED
OF_UPDATES = {"weight_updates", "figure5", "figure6", "spectra", "region_means", "controls"} | CLAIMED


@pytest.mark.parametrize(
    ("path", "edit", "rules"),
    [
        ("workflow/frankenstein/report/papertables.py", "EDITED = 1", {"figure2", "table2", "table3", "write_report"}),
        (
            "workflow/frankenstein/report/figures.py",
            "EDITED = 1",
            FIGURES_BY_LAYER | {"figure2", "doses", "training_curves"},
        ),
        ("workflow/frankenstein/updates/matrices.py", "EDITED = 1", OF_UPDATES),
        ("workflow/frankenstein/claims/scoring.py", "EDITED = 1", SCORED - {"grade"} | {"controls"}),
        ("workflow/frankenstein/report/page.py", "EDITED = 1", {"write_report"}),
        ("workflow/report/figure5.rst", "More.", {"write_report"}),
        # Rules for the public benchmarks grade the skipped layers' answers too.
        (
            "workflow/frankenstein/grading/rules.py",
            "EDITED = 1",
            SCORED | {"judge_skips", "judge_swaps", "figure4", "heatmap", "region_means", "controls"} | CLAIMED,
        ),
        (
            "workflow/frankenstein/probes/sweep.py",
            "EDITED = 1",
            {
                "swap_vision_tokens",
                "skip_layers",
                "judge_skips",
                "judge_swaps",
                "figure4",
                "heatmap",
                "region_means",
                "controls",
            }
            | CLAIMED,
        ),
        # Nothing that is made depends on these.
        ("workflow/frankenstein/probes/sweep.py", "# A comment.", set()),
        ("workflow/frankenstein/training/sft.py", "\n\n\n# Two.\n", set()),
        ("README.md", "More.", set()),
        ("config/README.md", "More.", set()),
        ("profiles/default/config.yaml", "printshellcmds: true", set()),
        ("envs/frankenstein.yaml", "# A comment.", set()),
    ],
)
def test_what_an_edited_file_reruns(micro, path, edit, rules):
    path = micro / path
    saved = path.read_text() if path.exists() else None
    try:
        path.write_text((saved or "") + f"\n{edit}\n")
        assert planned(micro) == rules
    finally:
        path.write_text(saved) if saved is not None else path.unlink()
    assert planned(micro) == set()


@pytest.mark.parametrize(
    ("keys", "value", "rules"),
    [
        # Hybrids are other hybrids, a frozen region is another region; nothing else is trained or probed again.
        (
            ("regions", "cuts"), [3, 5],
            FIGURES_BY_LAYER | SCORED | {"reinforce", "merge", "generate", "training_curves"},
        ),
        (
            ("evaluation", "max_new_tokens"), 13,
            SCORED | {"generate", "attention", "figure3", "region_means", "controls"},
        ),
        (
            ("probes", "max_new_tokens"), 13,
            {"swap_vision_tokens", "skip_layers", "judge_swaps", "judge_skips", "figure4", "heatmap", "region_means", "controls"} | CLAIMED,
        ),
        (("evaluation", "benchmarks"), ["recognition"], SCORED | {"generate"}),
        (("updates", "shards"), 1, OF_UPDATES),
        (("chapters",), ["evaluation", "merging", "freezing"], CLAIMED),
    ],
    ids=lambda value: ".".join(value) if isinstance(value, tuple) else "",
)  # fmt: skip
def test_what_a_changed_key_reruns(micro, keys, value, rules):
    config = yaml.safe_load((micro / "config" / "micro.yaml").read_text())
    at = config
    for key in keys[:-1]:
        at = at[key]
    at[keys[-1]] = value
    (micro / "config" / "changed.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    assert planned(micro, config="config/changed.yaml") == rules
    if keys == ("regions", "cuts"):
        output = snakemake(micro, "-n", "--quiet", "host", config="config/changed.yaml")
        trained = set(re.findall(r"checkpoints/(one-rl[a-z-]*)/model.safetensors", output))
        assert trained == {"one-rl-mid", "one-rl-late"} | {"one-rl-early"}


def test_another_rl_costs_only_itself(micro):
    """One RL made otherwise: itself, its hybrids, their answers; neither Base, IN nor a frozen run is trained, asked or probed again."""
    config = yaml.safe_load((micro / "config" / "micro.yaml").read_text())
    config["checkpoints"]["one-rl"] = {**config["checkpoints"]["one-rl"], "seed": 99}
    (micro / "config" / "changed.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    output = snakemake(micro, "-n", config="config/changed.yaml")
    outputs = " ".join(re.findall(r"^    output: (.*)$", output, re.M))
    assert set(re.findall(r"checkpoints/([\w-]+)/model.safetensors", outputs)) == {"one-rl"}
    answered = set(re.findall(r"responses/([\w.-]+)\.\d\.jsonl", outputs))
    assert answered == {"one-rl", "one.half", *(f"one.{hybrid}" for hybrid in HYBRIDS)}
    assert set(re.findall(r"attention/([\w-]+)\.\d\.csv", outputs)) == {"one-rl"}
    stats = output.split("Job stats:")[1].split("total")[0]
    assert not re.search(r"^(dataset|probe_pairs|swap_vision_tokens|skip_layers|pretrain|finetune) ", stats, re.M)


def test_touched_files_and_another_place_rerun_nothing(micro, results, tmp_path):
    for path in (
        "data/easy_vqa.jsonl",
        "checkpoints/base/model.safetensors",
        "checkpoints/base/manifest.json",
        "tables/scores.csv",
    ):
        (results / path).touch()
    assert planned(micro) == set()
    elsewhere = shutil.copytree(micro, tmp_path / "elsewhere", symlinks=True)
    assert planned(elsewhere) == set()


def test_a_change_of_the_sample_size_reruns_no_training(micro):
    config = yaml.safe_load((micro / "config" / "micro.yaml").read_text())
    config["evaluation"]["examples"] = 9
    (micro / "config" / "nine.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    output = snakemake(micro, "-n", config="config/nine.yaml")
    stats = output.split("Job stats:")[1].split("total")[0]
    assert "generate" in stats
    assert not re.search(r"pretrain|finetune|reinforce|merge|weight_updates", stats)


def test_the_report_is_one_page_with_every_figure(micro):
    snakemake(micro, "--report", "report.html")
    text = (micro / "report.html").read_text()
    for name in ("figure2.png", "figure6.png", "table2.csv", "table3.csv", "scores.csv", "differences.csv"):
        assert name in text


def study_of(path: str, micro: Path) -> dict:
    """The micro study with its Base given as a directory."""
    config = yaml.safe_load((micro / "config" / "micro.yaml").read_text())
    config["study"] = "given"
    config["checkpoints"] = {
        "base": {"path": path},
        "one-in": {"path": str(micro / "results/micro/checkpoints/one-in")},
        "one-rl": {"path": str(micro / "results/micro/checkpoints/one-rl")},
    }
    config["recipes"]["one"] |= {"frozen": {}, "retrained": None}
    return config


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda path: shutil.rmtree(path), "not a Hugging Face checkpoint directory"),
        (
            lambda path: (path / "model.safetensors").write_bytes((path / "model.safetensors").read_bytes()[:100_000]),
            "half-written or damaged",
        ),
    ],
    ids=["missing", "half-written"],
)
def test_a_bad_checkpoint_directory_is_one_clear_error(micro, tmp_path, damage, says):
    given = shutil.copytree(micro / "results/micro/checkpoints/base", tmp_path / "base")
    damage(given)
    (micro / "config" / "given.yaml").write_text(yaml.safe_dump(study_of(str(given), micro)))
    target = "results/given/checkpoints/base/manifest.json"
    output = snakemake(micro, target, config="config/given.yaml", ok=False)
    lines = [line for line in output.splitlines() if line.startswith("error: ")]
    assert len(set(lines)) == 1
    assert says in lines[0]
    assert str(given) in lines[0]
    assert not (micro / target).exists()


def test_checkpoints_given_as_directories_are_probed_like_trained_ones(micro):
    config = study_of(str(micro / "results/micro/checkpoints/base"), micro)
    (micro / "config" / "given.yaml").write_text(yaml.safe_dump(config))
    target = "results/given/updates/one.0.csv"
    snakemake(micro, target, config="config/given.yaml")
    ours = pd.read_csv(micro / target)
    trained = pd.read_csv(micro / "results/micro/updates/one.0.csv")
    pd.testing.assert_frame_equal(ours, trained)
    assert not list((micro / "results/given/checkpoints/base").glob("*.safetensors"))


def test_checkpoints_of_a_recipe_whose_prompts_differ_stop_and_the_config_settles_it(micro, tmp_path):
    trained = micro / "results/micro/checkpoints"
    config = study_of(str(trained / "base"), micro) | {"study": "templates"}
    config["checkpoints"]["one-rl"] = {"path": str(shutil.copytree(trained / "one-rl", tmp_path / "rl"))}
    (tmp_path / "rl" / "manifest.json").unlink()  # or the change would be taken for damage
    template = tmp_path / "rl" / "chat_template.jinja"
    template.write_text(template.read_text().replace("assistant\n", "assistant\n<think>"))
    path = micro / "config" / "templates.yaml"
    path.write_text(yaml.safe_dump(config))
    answers, attention = (
        f"results/templates/{name}" for name in ("responses/one-rl.0.jsonl", "attention/one-rl.0.csv")
    )
    output = snakemake(micro, "--keep-going", answers, attention, config="config/templates.yaml", ok=False)
    errors = {line for line in output.splitlines() if line.startswith("error: ")}
    assert len(errors) == 1  # the same of both jobs
    assert "recipe one: 'one-rl' and 'one-in' do not get the same prompt" in (error := errors.pop())
    assert "one-rl has '<think>', one-in has ''. Set recipes.one.chat_template_from" in error
    for named, ends in (("one-in", "assistant\n"), ("one-rl", "assistant\n<think>")):
        config["recipes"]["one"]["chat_template_from"] = named
        path.write_text(yaml.safe_dump(config))
        answered = [f"results/templates/responses/{name}.0.jsonl" for name in ("one-in", "one-rl", "one.IN-RL-RL")]
        snakemake(micro, *answered, config="config/templates.yaml")
        headers = [json.loads((micro / name).read_text().splitlines()[0])["header"] for name in answered]
        assert len({header["prompt"] for header in headers}) == 1
        recipe = json.loads((micro / "results/templates/prompts/one.json").read_text())
        assert all(text.endswith(ends) for text in recipe["rendered"])
        said = [
            [json.loads(line)["response"] for line in (micro / name).read_text().splitlines()[1:]] for name in answered
        ]
        original = (micro / "results/micro/responses/one-in.0.jsonl").read_text().splitlines()[1:]
        assert (said[0] == [json.loads(line)["response"] for line in original]) == (named == "one-in")


def test_two_recipes_updates_are_compared(micro):
    trained = micro / "results/micro/checkpoints"
    config = study_of(str(trained / "base"), micro) | {"study": "two"}
    # The second recipe's IN is the first one's RL: a little further on the same way.
    config["checkpoints"] |= {
        "two-in": {"path": str(trained / "one-rl")},
        "two-rl": {"path": str(trained / "one-rl-late")},
    }
    config["recipes"]["two"] = config["recipes"]["one"] | {"in": "two-in", "rl": "two-rl"}
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


def public_study(micro: Path) -> dict:
    """Public benchmarks as published, a few rows each, in place of the mini study's tasks; descriptions from a file; a judge."""
    root = micro / "published"
    (root / "images").mkdir(parents=True, exist_ok=True)
    rows = {}
    for number in range(12):
        kind = "general-vqa" if number % 2 else "math-targeted-vqa"
        Image.new("RGB", (40 + number, 40), "red").save(root / "images" / f"{number}.png")
        rows[str(number)] = {
            "pid": str(number), "question": f"how many shapes are there? {number}", "image": f"images/{number}.png",
            "choices": None, "unit": None, "precision": None, "answer": "3", "question_type": "free_form",
            "answer_type": "integer", "metadata": {"category": kind},
        }  # fmt: skip
    (root / "testmini.json").write_text(json.dumps(rows))
    texts = {pid: "a red wall" for pid in rows if pid != "4"}
    (root / "captions.json").write_text(json.dumps({"model": "ours", "texts": texts}))
    math = [
        {"unique_id": f"m{i}", "problem": f"what is {i} + 1?", "answer": str(i + 1), "subject": "Algebra" if i < 4 else "Geometry", "level": 1}
        for i in range(6)
    ]  # fmt: skip
    (root / "math.jsonl").write_text("".join(json.dumps(row) + "\n" for row in math))
    vista = {"benchmark": "mathvista", "path": str(root / "testmini.json")}
    config = study_of(str(micro / "results/micro/checkpoints/base"), micro) | {"study": "public"}
    config["chapters"] = ["evaluation", "localization"]
    config["datasets"] = {
        "general": {**vista, "category": "general-vqa", "sample": 4},
        "math": {**vista, "category": "math-targeted-vqa", "instruction": "think first. "},
        "vista": vista,
        "math500": {"benchmark": "math500", "path": str(root / "math.jsonl")},
    }
    config["abilities"] = {"vision": "general", "vision_to_reasoning": "math", "reasoning": "math500"}
    config["descriptions"] = {"file": str(root / "captions.json")}
    config["judge"] = {"checkpoint": "base"}
    config["evaluation"] = {
        "shards": 2,
        "batch": 4,
        "max_new_tokens": 8,
        "benchmarks": ["vista", "counting"],
        "examples": 5,
    }
    return config


def test_public_benchmarks_go_through_the_same_rules(micro):
    (micro / "config" / "public.yaml").write_text(yaml.safe_dump(public_study(micro)))
    tables = [f"results/public/tables/{name}.csv" for name in ("scores", "categories", "paired")]
    targets = [*tables, "results/public/localization/base.skip.csv"]
    snakemake(micro, *targets, config="config/public.yaml")
    results = micro / "results" / "public"
    scores = pd.read_csv(results / "tables" / "scores.csv").set_index(["role", "metric"])
    assert list(scores.loc[("Base", ["M_vis", "M_v2r", "M_rea", "vista", "counting"]), "n"]) == [4, 6, 6, 12, 5]
    # One image of six has no description: it stays in N, and is counted.
    assert scores.loc[("Base", "M_v2r")].ungraded == 1
    assert "value_judged" in scores
    graded = pd.read_csv(results / "grades" / "base.csv", keep_default_na=False, dtype={"id": str})
    missing = graded[graded.verdict == "ungraded"]
    assert list(missing.id) == ["4"]
    assert missing.reason.item() == "4: no description"
    categories = pd.read_csv(results / "tables" / "categories.csv")
    base = categories[categories.role == "Base"].set_index(["task", "category"])
    assert base.n.to_dict()["math500", "Geometry"] == 2
    assert (base.n == base.right + base.wrong + base.abstained + base.ungraded).all()
    paired = pd.read_csv(results / "tables" / "paired.csv")
    assert (paired.n == paired.n11 + paired.n10 + paired.n01 + paired.n00).all()
    assert len(pd.read_csv(results / "localization" / "base.skip.csv")) == 6 * (1 + 9)


def test_a_new_task_asks_only_itself_and_a_grader_asks_nothing(micro):
    """After the public study has run: one more benchmark, and then an edited grader."""
    config = public_study(micro)
    config["evaluation"]["benchmarks"].append("recognition")
    (micro / "config" / "public.yaml").write_text(yaml.safe_dump(config))
    answers = micro / "results/public/answers/base/0.jsonl"
    before = answers.read_text()
    target = "results/public/grades/base.csv"
    snakemake(micro, target, config="config/public.yaml")
    after = answers.read_text()
    assert after.startswith(before)
    assert len(after.splitlines()) - len(before.splitlines()) == 3
    graders = micro / "workflow" / "frankenstein" / "grading" / "rules.py"
    saved = graders.read_text()
    try:
        graders.write_text(saved + "\nEDITED = 1\n")
        output = snakemake(micro, "-n", target, config="config/public.yaml")
    finally:
        graders.write_text(saved)
    stats = output.split("Job stats:")[1].split("total")[0]
    assert re.search(r"^grade ", stats, re.M)
    assert "generate" not in stats


def test_a_bad_config_stops_before_anything_runs(micro):
    config = yaml.safe_load((micro / "config" / "micro.yaml").read_text())
    config["regions"]["cust"] = [1, 2]
    (micro / "config" / "bad.yaml").write_text(yaml.safe_dump(config))
    output = snakemake(micro, config="config/bad.yaml", ok=False)
    assert "config: regions.cust: unknown key; did you mean 'cuts'?" in output
    assert "Traceback" not in output


def test_an_image_that_does_not_open_is_named_and_costs_nothing_made(micro, results):
    """Broken on purpose: one image of the dataset is cut short; another checkpoint's responses stay."""
    image = results / "data" / "math_vqa" / "math_vqa-0003.png"
    saved, times = image.read_bytes(), image.stat()
    kept = (results / "responses" / "one-in.0.jsonl").read_bytes()
    target = results / "responses" / "base.0.jsonl"
    before = target.read_bytes()
    try:
        image.write_bytes(saved[:40])
        output = snakemake(micro, "--forcerun", "generate", "--", str(target.relative_to(micro)), ok=False)
    finally:
        image.write_bytes(saved)
        os.utime(image, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert f"{image.relative_to(micro)}: image does not open" in output
    assert (results / "responses" / "one-in.0.jsonl").read_bytes() == kept
    snakemake(micro, "--", str(target.relative_to(micro)))
    assert target.read_bytes() == before


def test_rl_on_ones_own_prompts_through_the_rules(micro):
    """A checkpoint that is there already, RL on JSON lines of prompts with Mid frozen, and its manifest."""
    trained = micro / "results/micro/checkpoints"
    rows = [
        {"id": str(n), "task": "own", "prompt": f"what is {n} + 1?", "answer": str(n + 1), "benchmark": "math500"}
        for n in range(8)
    ]
    (micro / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = study_of(str(trained / "base"), micro) | {"study": "own", "chapters": ["evaluation"]}
    config["checkpoints"]["one-rl"] = {
        "train": "grpo", "from": "one-in", "prompt_file": "prompts.jsonl", "frozen": "mid", "frozen_components": ["vision_tower"],
        "steps": 2, "prompts_per_step": 2, "num_generations": 2, "max_new_tokens": 4, "learning_rate": 0.01, "seed": 1, "save_steps": 1,
        "rewards": {"answer": 1.0, "format": 0.5},
    }  # fmt: skip
    config["recipes"]["one"] |= {"rl": "one-rl-plain", "frozen": {"mid": "one-rl"}}
    config["checkpoints"]["one-rl-plain"] = {"path": str(trained / "one-rl")}
    (micro / "config" / "own.yaml").write_text(yaml.safe_dump(config))
    target = "results/own/checkpoints/one-rl/manifest.json"
    snakemake(micro, target, config="config/own.yaml")
    made = micro / "results/own/checkpoints/one-rl/model"
    before, after = weights(results_of(micro), "one-in"), load_file(made / "model.safetensors")
    assert all(
        torch.equal(before[name], after[name]) for name in before if ".layers.4." in name or "visual.blocks" in name
    )
    assert len(pd.read_csv(micro / "results/own/training/one-rl.csv")) == 2
    assert not (micro / "results/own/training/one-rl.state").exists()


def results_of(micro: Path) -> Path:
    return micro / "results" / "micro"


@pytest.mark.parametrize(
    ("chapter", "trains"),
    [("localization", {"pretrain"}), ("updates", {"pretrain", "finetune", "reinforce"}), ("attention", {"pretrain", "finetune", "reinforce"})],
)  # fmt: skip
def test_a_chapter_alone_trains_what_it_needs(tmp_path, chapter, trains):
    repository = copy_repository(tmp_path / "repository")
    config = yaml.safe_load((repository / "config" / "micro.yaml").read_text()) | {"chapters": [chapter]}
    (repository / "config" / "micro.yaml").write_text(yaml.safe_dump(config))
    output = snakemake(repository, "-n")
    stats = output.split("Job stats:")[1].split("total")[0]
    found = {rule: int(n) for rule, n in re.findall(r"^(\w+) +(\d+)$", stats, re.M)}
    assert {rule for rule in ("pretrain", "finetune", "reinforce") if rule in found} == trains
    assert found.get("reinforce", 1) == 1  # no frozen run
    assert "generate" not in found


def test_two_files_of_one_study_are_not_mixed(micro):
    shutil.copy(micro / "config" / "micro.yaml", micro / "config" / "other.yaml")
    output = snakemake(
        micro, "--forcerun", "table2", "--", "results/micro/tables/table2.csv", config="config/other.yaml", ok=False
    )
    assert "results/micro holds the study of" in output
    assert "give the one of" in output


def test_results_that_cannot_be_written_are_named(micro, tmp_path):
    repository = copy_repository(tmp_path / "repository")
    (repository / "results").mkdir()
    if os.geteuid() == 0:
        mount = ["mount", "-t", "tmpfs", "-o", "ro,size=64k", "none", str(repository / "results")]
        if subprocess.run(mount, check=False, capture_output=True).returncode:
            pytest.skip("root may write anywhere, and a read-only mount is not allowed")
    else:
        (repository / "results").chmod(0o500)
    try:
        output = snakemake(repository, ok=False)
    finally:
        if os.geteuid() == 0:
            subprocess.run(["umount", str(repository / "results")], check=True)
    assert "results can not be written to: run from a folder of your own" in output


@pytest.mark.parametrize("profile", ["workstation", "slurm", "cluster-generic"])
def test_shipped_profiles_dry_run_the_paper(tmp_path, profile):
    repository = copy_repository(tmp_path / "repository")
    output = snakemake(repository, "-n", "--profile", f"profiles/{profile}", config="config/paper.yaml")
    assert "generate" in output


def test_a_workflow_profile_that_is_not_there_is_refused(tmp_path):
    repository = copy_repository(tmp_path / "repository")
    output = snakemake(repository, "-n", "--workflow-profile", "profiles/slrm", ok=False)
    assert "--workflow-profile profiles/slrm: no such folder; there are profiles/cluster-generic" in output


def test_the_plan_of_the_paper(tmp_path):
    repository = copy_repository(tmp_path / "repository")
    made = subprocess.run(
        [sys.executable, "-m", "frankenstein.cli", "plan", "config/paper.yaml", "--gpu-memory", "24"],
        cwd=repository, env={**os.environ, "PYTHONPATH": str(repository / "workflow")}, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert re.search(r"^generate +248 ", made, re.M)
    assert "downloads: 13 checkpoints, 161 GB" in made
    assert "disk for 18 hybrids: 298 GB as copies, 99 GB as links; merging.layout is link" in made
    assert "! openmm-in: generation takes about 39 GB of GPU memory, and there are 24" in made
    assert "! not pinned: mmr1-in" in made
