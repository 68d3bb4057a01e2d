import re
import shutil
import tomllib
from pathlib import Path

import pytest
import yaml
from conftest import ROOT

import frankenstein
from frankenstein import provenance

SCRIPTS = ROOT / "workflow" / "scripts"


def names(script):
    """Modules of the library that a script uses, and the packages that they are in."""
    root = Path(frankenstein.__file__).parent
    paths = [path.relative_to(root).with_suffix("") for path in provenance.modules(SCRIPTS / script)]
    return {part for path in paths for part in path.parts}


def test_what_costs_does_not_depend_on_what_changes():
    """A new grader or a new colour never trains or generates again; RL does, for its reward is the grader."""
    for script in (
        "pretrain.py",
        "finetune.py",
        "generate.py",
        "swap_vision_tokens.py",
        "skip_layers.py",
        "attention.py",
    ):
        assert not names(script) & {"extraction", "rules", "short", "scoring", "plots", "profiles", "papertables"}, (
            script
        )
    assert {"extraction", "short"} <= names("reinforce.py")
    assert "plots" not in names("reinforce.py")
    assert {"plots", "profiles"} <= names("figure4.py")
    assert not {"extraction", "rules"} & names("figure4.py")  # a new grader regrades, and draws what it has changed
    assert {"extraction", "rules", "probes"} <= names("judge_swaps.py")
    assert {"updates", "checkpoints", "anatomy"} <= names("weight_updates.py")


def test_the_hash_follows_the_code(tmp_path, monkeypatch):
    root = shutil.copytree(Path(frankenstein.__file__).parent, tmp_path / "frankenstein")
    monkeypatch.setattr(provenance, "_ROOT", root)

    def hashes():
        provenance.modules.cache_clear()
        provenance._imports.cache_clear()
        provenance._meaning.cache_clear()
        return {script: provenance.code_hash(SCRIPTS / script) for script in ("merge.py", "score.py", "figure5.py")}

    before = hashes()
    assert hashes() == before
    saved = (root / "merging.py").read_text()
    cosmetic = (
        saved.replace('"""', '"""Said otherwise. ', 1)
        .replace("\ndef ", "\n\n# A comment.\n\ndef ")
        .replace("return made", "return made  # so")
    )
    assert cosmetic != saved
    (root / "merging.py").write_text(cosmetic)
    assert hashes() == before
    asked = root / "grading" / "judge.py"
    asked.write_text(asked.read_text().replace("Reference answer:", "\nReference answer:"))
    provenance._meaning.cache_clear()
    assert b"\n\n\nReference answer" in provenance._meaning(asked)  # a blank line of a prompt is no layout
    (root / "merging.py").write_text(saved + "\nEDITED = True\n")
    after = hashes()
    assert {script for script in before if before[script] != after[script]} == {"merge.py"}


@pytest.mark.parametrize("script", sorted(path.name for path in SCRIPTS.glob("*.py")))
def test_scripts_are_thin_and_belong_to_a_rule(script):
    rules = "".join(path.read_text() for path in (ROOT / "rules").glob("*.smk"))
    assert f"workflow/scripts/{script}" in rules
    assert f'code=code("{script}")' in rules
    assert len((SCRIPTS / script).read_text().splitlines()) <= 45
    assert "snakemake.config" not in (SCRIPTS / script).read_text()


def test_every_rule_has_a_log_a_benchmark_and_resources():
    for path in (ROOT / "rules").glob("*.smk"):
        for rule in re.split(r"^rule ", path.read_text(), flags=re.M)[1:]:
            for directive in ("log:", "benchmark:", "resources:", "mem_mb=", "runtime=", "conda:", "script:"):
                assert directive in rule, f"{path.name}: rule {rule.split(':')[0]} has no {directive}"


def test_the_conda_environment_agrees_with_pyproject():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    environment = yaml.safe_load((ROOT / "envs" / "frankenstein.yaml").read_text())
    pip = next(entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict))
    assert sorted(pip) == sorted(project["dependencies"])


def test_the_lock_file_meets_the_bounds():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [
        *project["dependencies"],
        *extras["api"],
        *extras["slurm"],
        *extras["cluster-generic"],
        *extras["xlsx"],
        *extras["test"][1:],
    ]
    assert extras["test"][0] == "frankenstein-vlm[api,cluster-generic,slurm,xlsx]"
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line]
    locked = dict(line.split("==") for line in lines)
    for requirement in wanted:
        name, bound = requirement.split(">=")
        version = [int(part) for part in re.findall(r"\d+", locked[name.lower()])]
        assert version >= [int(part) for part in re.findall(r"\d+", bound)], requirement
