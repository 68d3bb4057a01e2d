"""Resources grow with what they are for, and profiles name the rules that want a GPU."""

import re

import pytest
import yaml
from conftest import ROOT

from frankenstein.study import costs
from frankenstein.study.config import load


def study(name="paper", **evaluation):
    config = yaml.safe_load((ROOT / "config" / f"{name}.yaml").read_text())
    config["evaluation"] |= evaluation
    return load(config)


def test_memory_grows_with_the_model():
    paper = study()
    assert costs.weights_mb(paper, "qwen-7b") == 16580
    assert costs.weights_mb(paper, "openmm.IN-RL-RL") == 16580
    assert costs.weights_mb(paper, "small-rl") == 7500
    assert 16580 < costs.host_mb(paper, "qwen-7b") < 30000
    assert costs.host_mb(paper, "small-rl") < costs.host_mb(paper, "qwen-7b")
    # Weights and 32 KV caches of 9,692 tokens, 57,344 bytes each.
    assert costs.generate_gpu_mb(paper, "qwen-7b") == pytest.approx(1.25 * 16580 + 32 * 9692 * 57344 / 1e6, rel=1e-3)
    mini = study("config")
    assert costs.parameters(mini, "one-rl") == pytest.approx(2.53e6, rel=0.15)
    assert costs.host_mb(mini, "one-rl") < 4000


def test_minutes_grow_with_what_is_asked():
    paper = study()
    abilities = 2 * 100 + 2 * 100 + 100
    assert costs.requests(paper, "openmm-in") == abilities + 1000 + 3940 + 304 + 448
    assert costs.requests(paper, "openmm.IN-RL-RL") == abilities
    base = costs.generate_minutes(paper, "qwen-7b")
    assert costs.generate_minutes(study(shards=16), "qwen-7b") < base
    assert costs.generate_minutes(study(max_new_tokens=1024), "qwen-7b") < base / 3
    assert costs.generate_minutes(study(batch=8), "qwen-7b") > 2 * base
    assert costs.generate_minutes(paper, "small-in") < base
    assert costs.generate_minutes(study("config"), "one-in") <= 15
    assert costs.update_minutes(paper, "openmm") >= 15
    # A forward pass: 25 examples of 9,692 tokens in 40 s, whatever the batch of the generation that it does without.
    assert costs.attention_on_text_minutes(paper, "qwen-7b") == 11 < costs.attention_minutes(paper, "qwen-7b")
    assert costs.attention_on_text_minutes(study(max_new_tokens=2**18), "qwen-7b") > 20


@pytest.mark.parametrize("profile", ["slurm", "cluster-generic", "kubernetes"])
def test_profiles_name_every_rule_that_may_want_a_gpu(profile):
    rules = set()
    for path in (ROOT / "rules").glob("*.smk"):
        for name, body in re.findall(r"^rule (\w+):(.*?)(?=^rule |\Z)", path.read_text(), re.M | re.S):
            if re.search(r"^\s+gpu=", body, re.M):
                rules.add(name)
    settings = yaml.safe_load((ROOT / "profiles" / profile / "config.yaml").read_text())
    assert set(settings["set-resources"]) == rules
    assert (ROOT / "profiles" / profile / "README.md").exists()


def test_rules_name_no_site():
    for path in [ROOT / "Snakefile", *(ROOT / "rules").glob("*.smk")]:
        assert not re.search(r"partition\s*[:=]|qos|slurm", path.read_text()), path
