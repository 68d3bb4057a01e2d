"""A copy of the repository to run the workflow in, and the commands that do."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import yaml
from conftest import ROOT
from safetensors.torch import load_file

HYBRIDS = ("IN-RL-RL", "IN-IN-RL", "RL-RL-IN", "RL-IN-IN", "IN-RL-IN", "RL-IN-RL")


def copy_repository(target: Path) -> Path:
    parts = ("Snakefile", "rules", "workflow", "config", "docs", "profiles", "envs", "pyproject.toml")
    for part in parts:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, target / part, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        else:
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target / part)
    return target


def snakemake(
    repository: Path, *arguments: str, config: str = "config/micro.yaml", ok: bool = True, library: Path | None = None
) -> str:
    """Run the workflow of a copy of the repository, with that copy's library (or another's); what it printed."""
    result = subprocess.run(
        # Snakemake lists every job, which the profile leaves out.
        [sys.executable, "-m", "snakemake", "--quiet", "host", "--configfile", config, "--cores", "2", *arguments],
        cwd=repository,
        env={**os.environ, "PYTHONPATH": str((library or repository) / "workflow"), "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=1200,
    )
    output = result.stdout + result.stderr
    assert (result.returncode == 0) == ok, output[-6000:]
    return output


def planned(repository: Path, *arguments: str, config: str = "config/micro.yaml") -> set[str]:
    """Names of the rules that a dry run would run."""
    return rules_of(snakemake(repository, "-n", *arguments, config=config))


def rules_of(output: str) -> set[str]:
    """Names of the rules that a run or dry run has jobs of, from what it printed."""
    if "Nothing to be done" in output:
        return set()
    table = output.split("Job stats:")[1].split("total")[0]
    return {line.split()[0] for line in table.splitlines()[3:] if line.strip()} - {"all"}


def study_of(path: str, micro: Path) -> dict:
    """The micro study with its Base given as a directory."""
    config = yaml.safe_load((micro / "config" / "micro.yaml").read_text())
    config["study"] = "given"
    config["checkpoints"] = {
        "base": {"path": path},
        "one-in": {"path": str(micro / "results/micro/checkpoints/one-in")},
        "one-rl": {"path": str(micro / "results/micro/checkpoints/one-rl")},
    }
    config["recipes"]["one"]["runs"] = [{"in": "one-in", "rl": "one-rl"}]
    return config


def weights(results: Path, checkpoint: str) -> dict:
    return load_file(results / "checkpoints" / checkpoint / "model.safetensors")
