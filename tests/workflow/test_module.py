"""The workflow as a Snakemake module of another one: elsewhere, under another name, fetched from a repository, deployed."""

import platform
import re
import shutil
import subprocess

import pytest
from conftest import ROOT
from study import copy_repository, snakemake

MODULE = """\
from pathlib import Path


configfile: "study.yaml"


module frankenstein:
    snakefile:
        {snakefile}
    config:
        config["vlm"]
    {prefix}


use rule * from frankenstein as vlm_*


assert frankenstein.on_disk.answers.startswith("{before}results/micro/answers/")
captions = Path(frankenstein.report_arguments()["captions"])
assert {{"figure2.rst", "columns.yaml", *(Path(file).name for file in frankenstein.PAGE)}} <= {{path.name for path in captions.iterdir()}}


rule of_mine:
    input:
        "{before}results/micro/data/counting.jsonl",
    output:
        "mine.txt",
    shell:
        "wc -l {{input}} > {{output}} && python -c 'import torch; print(torch.backends.cpu.get_cpu_capability())' >> {{output}}"
"""


def elsewhere(tmp_path, snakefile: str, prefix: str = ""):
    """A workflow of another project that has the micro study as a part of its configuration."""
    project = tmp_path / "project"
    project.mkdir()
    whole = (ROOT / "config" / "micro.yaml").read_text()
    (project / "study.yaml").write_text("mine: 1\nvlm:\n" + re.sub("^(?=.)", "  ", whole, flags=re.M))
    text = MODULE.format(
        snakefile=snakefile,
        prefix=f'prefix:\n        "{prefix}"' if prefix else "",
        before=f"{prefix}/" if prefix else "",
    )
    (project / "Snakefile").write_text(text)
    return project


@pytest.mark.parametrize("prefix", ["", "analysis"])
def test_a_module_from_another_directory(tmp_path, prefix):
    repository = copy_repository(tmp_path / "repository")
    project = elsewhere(tmp_path, f'"{repository}/Snakefile"', prefix)
    shutil.rmtree(repository / "results", ignore_errors=True)
    options = {"config": "study.yaml", "library": repository}
    place = f"{prefix}/" if prefix else ""
    output = snakemake(project, "-n", "vlm_all", **options)
    for rule in ("vlm_pretrain", "vlm_generate_hybrids", "vlm_test_claims", "vlm_write_report"):
        assert f"rule {rule}:" in output
    assert f"{repository}/workflow/claims/paper.yaml" in output
    assert f"output: {place}results/micro/report.html" in output
    snakemake(project, "mine.txt", f"{place}results/micro/pairs/counting.jsonl", **options)
    _, file, capability = (project / "mine.txt").read_text().split()
    assert file == f"{place}results/micro/data/counting.jsonl"
    if platform.machine() == "x86_64":  # the same kernels on every CPU
        assert capability == "AVX2"
    assert (project / place / "results/micro/logs/dataset/counting.log").exists()
    assert not (repository / "results").exists()
    assert not [path for path in project.iterdir() if path.name == "results" and prefix]


@pytest.fixture
def hosted(tmp_path, monkeypatch):
    """A repository of the workflow, tagged v1, that git takes for https://github.com/lab/frankenstein; Snakemake's cache is empty."""
    repository = copy_repository(tmp_path / "host" / "lab" / "frankenstein")
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    for command in (["init", "-q"], ["add", "-A"], [*who, "commit", "-qm", "a"], ["tag", "v1"]):
        subprocess.run(["git", *command], cwd=repository, check=True)
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", f"url.file://{tmp_path}/host/.insteadOf")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "https://github.com/")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return repository


def test_a_module_fetched_from_github(tmp_path, hosted):
    project = elsewhere(tmp_path, 'github("lab/frankenstein", path="Snakefile", tag="v1")')
    options = {"config": "study.yaml", "library": hosted}
    output = snakemake(project, "-n", "vlm_all", **options)
    assert "rule vlm_write_report:" in output
    assert "https://raw.githubusercontent.com/lab/frankenstein/v1/workflow/claims/paper.yaml" in output
    snakemake(project, "mine.txt", **options)
    assert (project / "mine.txt").exists()


def test_a_deployment_by_snakedeploy(tmp_path, hosted):
    deploy = pytest.importorskip("snakedeploy.deploy", reason="snakedeploy is not installed")
    project = tmp_path / "deployed"
    deploy.deploy("https://github.com/lab/frankenstein", name=None, tag="v1", branch=None, dest_path=project)
    assert 'github("lab/frankenstein", path="Snakefile", tag="v1")' in (project / "workflow" / "Snakefile").read_text()
    output = snakemake(project, "-n", library=hosted)
    assert "rule write_report:" in output
    snakemake(project, "results/micro/data/counting.jsonl", library=hosted)
    assert (project / "results/micro/data/counting.jsonl").exists()
