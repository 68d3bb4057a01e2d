"""What reruns after a change, and that nothing else does."""

import re
import shutil
import subprocess

import pytest
import yaml
from study import HYBRIDS, planned, rules_of, snakemake


def test_a_rerun_does_nothing_and_says_so(micro):
    assert "Nothing to be done" in snakemake(micro)


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
TABLES = {"table2", "table3", "rewarded", "attention_differences", "energy", "regions"}
OF_SWEEPS = {
    "swap_vision_tokens",
    "skip_layers",
    "judge_skips",
    "judge_swaps",
    "figure4",
    "heatmap",
    "regions",
    "controls",
} | CLAIMED


FIGURES_BY_LAYER = {
    "figure3",
    "figure4",
    "heatmap",
    "figure5",
    "figure6",
    "spectra",
    "regions",
    "controls",
} | CLAIMED


SCORED = {"grade", "grade_hybrids", "score", "figure2", "table2", "table3", "rewarded", "doses"} | CLAIMED


OF_UPDATES = {"weight_updates", "overlaps", "energy", "figure5", "figure6", "spectra", "regions", "controls"} | CLAIMED


OF_ATTENTION = {"attention", "attention_on_text", "figure3", "attention_differences", "regions", "controls"} | CLAIMED


# All that knows a checkpoint of the one family, and what comes of it; the Base is pretrained, and data are made, without.
OF_FAMILY = FIGURES_BY_LAYER | OF_SWEEPS | OF_UPDATES | SCORED | TABLES
OF_FAMILY |= {"finetune", "reinforce", "attention", "attention_on_text", "generate", "generate_hybrids"}
OF_FAMILY |= {"cut_regions", "training"}

LIBRARY = "workflow/frankenstein"


# What every module's edit touches is in tests/unit/test_provenance.py.
@pytest.mark.parametrize(
    ("edits", "rules"),
    [
        ({f"{LIBRARY}/report/figures/figure3.py": "EDITED = 1"}, {"figure3", "write_report", "overlaps"} | TABLES),
        ({f"{LIBRARY}/probes/sweep.py": "EDITED = 1"}, OF_SWEEPS),
        ({f"{LIBRARY}/models/families/qwen2_5_vl.py": "EDITED = 1"}, OF_FAMILY),
        ({"workflow/report/figure5.rst": "More."}, {"write_report"}),
        # Nothing that is made depends on a comment, another family or a text beside the library.
        (
            {
                f"{LIBRARY}/training/sft.py": "\n\n\n# Two.\n",
                f"{LIBRARY}/models/families/llava_onevision.py": "EDITED = 1",
                "README.md": "More.",
            },
            set(),
        ),
    ],
    ids=["figure", "sweep", "family", "caption", "nothing"],
)
def test_what_an_edited_file_reruns(micro, edits, rules):
    saved = {path: path.read_text() if path.exists() else None for path in map(micro.joinpath, edits)}
    try:
        for (path, text), edit in zip(saved.items(), edits.values(), strict=True):
            path.write_text((text or "") + f"\n{edit}\n")
        assert planned(micro) == rules
    finally:
        for path, text in saved.items():
            path.write_text(text) if text is not None else path.unlink()


@pytest.mark.parametrize(
    ("keys", "value", "rules"),
    [
        # Hybrids are other hybrids, a frozen region is another region; nothing else is trained or probed again.
        (
            ("regions", "cuts"), [3, 5],
            FIGURES_BY_LAYER | SCORED | TABLES | {"cut_regions", "reinforce", "generate", "generate_hybrids", "training"},
        ),
        (
            ("evaluation", "max_new_tokens"), 13,
            SCORED | OF_ATTENTION | {"generate", "generate_hybrids"},
        ),
        (
            ("probes", "max_new_tokens"), 13,
            OF_SWEEPS,
        ),
        # Hybrids are asked no benchmark; attention is read again over the responses that it has in its store.
        (("evaluation", "benchmarks"), ["recognition"], (SCORED | OF_ATTENTION | {"generate"}) - {"grade_hybrids"}),
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
    output = snakemake(micro, "-n", config="config/changed.yaml")
    assert rules_of(output) == rules
    if keys == ("regions", "cuts"):
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
    # A run's hybrids answer in one job; the one without RL has its answers in the cache.
    assert answered == {"one-rl", "one.half", "one.IN-SEED-SEED", *(f"one.{hybrid}" for hybrid in HYBRIDS)}
    assert set(re.findall(r"attention/([\w-]+)\.\d\.csv", outputs)) == {"one-rl"}
    read = set(re.findall(r"attention/([\w.-]+)\.\d\.csv", outputs)) - {"one-rl"}
    assert read == {"one-rl.on.one-in", "one-in.on.one-rl"}
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
