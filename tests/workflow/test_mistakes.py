"""A user's mistakes, and what each of them costs."""

import os
import re
import shutil
import subprocess
import sys

import pytest
import yaml
from study import copy_repository, snakemake, study_of


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda path: shutil.rmtree(path), "not a Hugging Face checkpoint directory"),
        (
            lambda path: (path / "model.safetensors").write_bytes((path / "model.safetensors").read_bytes()[:100_000]),
            "incomplete or damaged",
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
    assert f"{image.relative_to(micro)}: image cannot be opened" in output
    assert (results / "responses" / "one-in.0.jsonl").read_bytes() == kept
    snakemake(micro, "--", str(target.relative_to(micro)))
    assert target.read_bytes() == before


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
        [sys.executable, "-m", "frankenstein", "plan", "config/paper.yaml", "--gpu-memory", "24"],
        cwd=repository, env={**os.environ, "PYTHONPATH": str(repository / "workflow")}, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert re.search(r"^generate +13 ", made, re.M)
    assert re.search(r"^generate_hybrids +3 ", made, re.M)
    hours = float(
        re.search(r"GPU-hours to be expected: ([\d.]+) with vllm \(as configured\), ([\d.]+) with transformers", made)[
            1
        ]
    )
    assert 3 < hours < 10
    assert "Basis, assumed for one H100" in made
    assert "downloads: 13 checkpoints, 161 GB" in made
    assert "disk for 18 hybrids: none, merged in memory" in made
    assert "qwen-7b, revisual-in, revisual-rl: a probe takes about 41 GB of GPU memory, 21 of them for weights" in made
    assert "probes.gpus: 1 gives 24 GB: lower probes.memory_mb, or set probes.gpus to 2" in made
    assert "! not pinned: mmr1-in" in made
