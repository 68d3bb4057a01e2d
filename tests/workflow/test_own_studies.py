"""Studies of one's own: given checkpoints, public benchmarks, RL on one's own prompts."""

import json
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file
from study import copy_repository, snakemake, study_of, weights


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


def test_rl_on_ones_own_prompts_through_the_rules(micro):
    """A checkpoint that is there already, RL on JSON lines of prompts with Mid frozen, and its manifest."""
    trained = micro / "results/micro/checkpoints"
    rows = [
        {"id": str(n), "task": "own", "prompt": f"what is {n} + 1?", "answer": str(n + 1), "grading": "latex"}
        for n in range(8)
    ]
    (micro / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = study_of(str(trained / "base"), micro) | {"study": "own", "chapters": ["evaluation"]}
    config["checkpoints"]["one-rl"] = {
        "train": "grpo", "from": "one-in", "prompt_file": "prompts.jsonl", "frozen": "mid", "frozen_components": ["vision_tower"],
        "steps": 2, "prompts_per_step": 2, "num_generations": 2, "max_new_tokens": 4, "learning_rate": 0.01, "seed": 1, "save_steps": 1,
        "rewards": {"answer": 1.0, "format": 0.5},
    }  # fmt: skip
    config["recipes"]["one"]["runs"] = [{"in": "one-in", "rl": "one-rl-plain", "frozen": {"mid": "one-rl"}}]
    config["checkpoints"]["one-rl-plain"] = {"path": str(trained / "one-rl")}
    (micro / "config" / "own.yaml").write_text(yaml.safe_dump(config))
    target = "results/own/checkpoints/one-rl/manifest.json"
    snakemake(micro, target, config="config/own.yaml")
    made = micro / "results/own/checkpoints/one-rl/model"
    before, after = weights(micro / "results" / "micro", "one-in"), load_file(made / "model.safetensors")
    assert all(
        torch.equal(before[name], after[name]) for name in before if ".layers.4." in name or "visual.blocks" in name
    )
    assert len(pd.read_csv(micro / "results/own/training/one-rl.csv")) == 2
    assert not (micro / "results/own/training/one-rl.state").exists()


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
    assert found.get("reinforce", 2) == 2  # of both runs, and none with a frozen region
    # Attention reads responses: those of IN and RL of both runs, to the one task that it is measured on.
    assert found.get("generate", 0) == (4 if chapter == "attention" else 0)
