"""Resources grow with what they are for, and profiles name the rules that want a GPU."""

import re

import pandas as pd
import pytest
import yaml
from conftest import ROOT

from frankenstein.study import costs, measure, plan
from frankenstein.study.config import load, read


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
    cache = 9692 * 57344 / 1e6
    in_batches = study(engine="transformers")
    assert costs.generate_gpu_mb(in_batches, "qwen-7b") == pytest.approx(1.25 * 16580 + 32 * cache, rel=1e-3)
    assert costs.generate_gpu_mb(paper, "qwen-7b") == pytest.approx(
        1.25 * 16580 + cache, rel=1e-3
    )  # vLLM needs room for one
    mini = study("config")
    assert costs.parameters(mini, "one-rl") == pytest.approx(2.53e6, rel=0.15)
    assert costs.host_mb(mini, "one-rl") < 4000


def large(engine, gpus, batch=1):
    config = read(ROOT / "config" / "studies" / "mmr1-32b.yaml")
    config["evaluation"] |= {"engine": engine, "gpus": gpus, "batch": batch}
    config["probes"] |= {"gpus": gpus}
    jobs = [("generate", "in"), ("generate", "rl"), ("swap_vision_tokens", "base"), ("attention", "in")]
    return plan._too_large(load(config), pd.DataFrame(jobs, columns=["rule", "checkpoint"]), 80_000)


def test_the_plan_says_how_many_gpus_a_large_checkpoint_needs():
    """67 GB of weights, a quarter more for what is computed, and a request's cache: more than 80 GB."""
    assert large("vllm", 2) == large("transformers", 2, batch=4) == []
    assert large("vllm", 1) == [
        "! in, rl: generation takes about 86 GB of GPU memory, 84 of them for weights, and evaluation.gpus: 1 gives 80 GB: "
        "set evaluation.gpus to 2",
        "! base, in: a probe takes about 92 GB of GPU memory, 84 of them for weights, and probes.gpus: 1 gives 80 GB: "
        "set probes.gpus to 2",
    ]
    [of_batch] = large("transformers", 2, batch=64)  # the weights fit, and the batch does not
    assert of_batch.endswith("lower evaluation.batch or evaluation.max_new_tokens, or set evaluation.gpus to 4")


def test_minutes_grow_with_what_is_asked():
    paper = study(engine="transformers")
    abilities = 2 * 100 + 2 * 100 + 100
    assert costs.requests(paper, "openmm-in") == abilities + 1000 + 3940 + 304 + 448
    assert costs.requests(paper, "openmm.IN-RL-RL") == abilities
    base = costs.generate_minutes(paper, "qwen-7b")
    assert costs.generate_minutes(study(engine="transformers", shards=4), "qwen-7b") < base / 3
    assert costs.generate_minutes(study(engine="transformers", max_new_tokens=1024), "qwen-7b") < base / 3
    assert costs.generate_minutes(study(engine="transformers", batch=8), "qwen-7b") > 2 * base
    # Bound by launches, and so by depth: the 3B model has 36 layers, the 7B model 28.
    assert costs.layers(paper, "small-in") == 36 > costs.layers(paper, "openmm.IN-RL-RL") == 28
    assert costs.generate_minutes(paper, "small-in") > base
    assert costs.generate_minutes(study("config"), "one-in") <= 15
    assert costs.update_minutes(paper, "openmm") >= 15
    assert costs.attention_minutes(study(max_new_tokens=2**18), "qwen-7b") > 20


def test_rl_keeps_its_state_on_every_gpu_unless_accelerate_shards_it(tmp_path):
    config = yaml.safe_load((ROOT / "config" / "paper.yaml").read_text())
    rl = {"train": "grpo", "from": "small-in", "seed": 1, "learning_rate": 1e-6, "rewards": {"answer": 1, "format": 0}}
    rl |= {"prompt_file": "p.jsonl", "num_generations": 8}

    def need(**changes):
        config["checkpoints"]["small-rl"] = rl | changes
        return costs.reinforce_gpu_mb(load(config), "small-rl")

    assert need() == 16 * 3750  # 3.75e9 parameters: 60 GB
    assert need(vllm_gpu_memory_utilization=0.25) == 16 * 3750 / 0.75  # on what vLLM leaves of each GPU
    assert need(frozen_components=["vision_tower"]) == pytest.approx((16 - 12 * 0.08) * 3750, abs=1)
    plain, sharded = tmp_path / "ddp.yaml", tmp_path / "fsdp.yaml"
    plain.write_text("distributed_type: MULTI_GPU\n")
    sharded.write_text("distributed_type: FSDP\n")
    assert need(gpus=8, accelerate=str(plain)) == 16 * 3750
    assert need(gpus=8, accelerate=str(sharded)) == 16 * 3750 / 8
    ready = ROOT / "docs" / "accelerate"
    assert need(gpus=8, accelerate=str(ready / "fsdp2.yaml")) == 16 * 3750 / 8
    assert need(gpus=8, accelerate=str(ready / "zero2.yaml")) == (4 + 12 / 8) * 3750
    config["recipes"]["small"]["frozen"] = {"mid": "small-rl-mid"}
    config["checkpoints"]["small-rl-mid"] = rl | {"frozen": "mid"}
    # The cuts of 28 layers, in a model of 36: nine of its layers are Mid.
    assert costs.reinforce_gpu_mb(load(config), "small-rl-mid") == pytest.approx(
        (16 - 12 * 0.78 * 9 / 36) * 3750, abs=1
    )


def test_batches_are_counted_as_they_are_made():
    """Of a single task and condition: 100 examples in batches of 32 are four, in each of a hybrid's five conditions."""
    paper = study(engine="transformers", max_new_tokens=1000)
    seconds = 60 * costs._answering(paper, "openmm.IN-RL-RL", 1000)
    prefill = 500 * 1500 * 2 * 8.29e9 / costs.basis.flops
    assert seconds == pytest.approx(5 * 4 * 1000 * 30e-3 + prefill, rel=1e-6)


def test_vllm_is_expected_to_generate_what_responses_have_and_limited_by_what_they_may_have():
    paper = study()
    expected = costs.expected_minutes(paper, "generate", {"checkpoint": "qwen-7b"})
    prefill = 6192 * 1500 * 2 * 8.29e9 / costs.basis.flops / 60
    assert expected == pytest.approx(4 + prefill + 6192 * 1500 / 10_000 / 60, rel=1e-6)
    assert costs.generate_minutes(paper, "qwen-7b") > 2 * expected
    two = study(gpus=2)
    assert costs.expected_minutes(two, "generate", {"checkpoint": "qwen-7b"}) < expected
    six = costs.expected_minutes(paper, "generate_hybrids", {"recipe": "openmm"}, 6)
    assert 6 < six < expected  # one start, and a twelfth of the requests each
    assert costs.expected_minutes(paper, "figure2", {}) is None
    assert costs.expected_minutes(paper, "attention_on_text", {"checkpoint": "qwen-7b"}) < costs.attention_minutes(
        paper, "qwen-7b"
    )


@pytest.mark.parametrize("profile", ["slurm", "cluster-generic", "kubernetes"])
def test_profiles_name_every_rule_that_may_want_a_gpu(profile):
    text = "\n".join(path.read_text() for path in (ROOT / "rules").glob("*.smk"))
    bodies = re.findall(r"^rule (\w+):(.*?)(?=^rule |^use rule |\Z)", text, re.M | re.S)
    rules = {name for name, body in bodies if re.search(r"^\s+gpu=", body, re.M)}
    rules |= {name for of, name in re.findall(r"^use rule (\w+) as (\w+) with:", text, re.M) if of in rules}
    settings = yaml.safe_load((ROOT / "profiles" / profile / "config.yaml").read_text())
    assert set(settings["set-resources"]) == rules
    assert (ROOT / "profiles" / profile / "README.md").exists()


def test_rules_name_no_site():
    for path in [ROOT / "Snakefile", *(ROOT / "rules").glob("*.smk")]:
        assert not re.search(r"partition\s*[:=]|qos|slurm", path.read_text()), path


def test_a_plan_can_rest_on_what_this_machine_does():
    widths = {"hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4, "num_key_value_heads": 2}
    measured = measure.measure(batch=2, prompt=16, steps=3, widths=widths)
    assert 1e-6 < measured.layer < 1
    assert 1e6 < measured.flops < 1e14
    assert 1e8 < measured.bandwidth < 1e13
    assert "measured on" in measured.where
    assert (measured.vllm, measured.answer) == (costs.basis.vllm, costs.basis.answer)
