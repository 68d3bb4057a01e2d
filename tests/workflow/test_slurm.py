"""A study through a real Slurm: by the slurm executor, and by cluster-generic while things go wrong. Tables as on this machine."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
import pytest
import yaml
from slurmcluster import Cluster
from study import snakemake

pytestmark = [
    pytest.mark.skipif(
        not all(map(shutil.which, ("slurmctld", "slurmd", "munged"))),
        reason="no Slurm: apt-get install slurm-wlm munge",
    ),
    pytest.mark.skipif(os.geteuid() != 0, reason="Slurm's daemons want root"),
]
TABLES = ("scores", "differences", "paired")


@pytest.fixture(scope="module")
def cluster():
    # munge wants folders that all can pass through, which pytest's are not.
    with tempfile.TemporaryDirectory() as folder:
        made = Cluster(Path(folder))
        made.start()
        yield made
        made.stop()


@pytest.fixture(scope="module")
def expected(micro):
    """The tables of the study, made on this machine."""
    return run_study(micro, "here")


def write_study(micro: Path, name: str) -> str:
    config = yaml.safe_load((micro / "config" / "micro.yaml").read_text())
    trained = micro / "results/micro/checkpoints"
    config["study"], config["chapters"] = name, ["evaluation"]
    config["checkpoints"] = {key: {"path": str(trained / key)} for key in ("base", "one-in", "one-rl")}
    config["recipes"]["one"]["runs"] = [{"in": "one-in", "rl": "one-rl"}]
    config["evaluation"] |= {"examples": 4, "benchmarks": ["easy_vqa"], "shards": 1}
    path = micro / "config" / f"{name}.yaml"
    path.write_text(yaml.safe_dump(config))
    return f"config/{name}.yaml"


def targets(name: str) -> list[str]:
    return [f"results/{name}/tables/{table}.csv" for table in TABLES]


def tables(micro: Path, name: str) -> dict:
    return {table: pd.read_csv(micro / path) for table, path in zip(TABLES, targets(name), strict=True)}


def run_study(micro: Path, name: str, *arguments: str) -> dict:
    snakemake(micro, *targets(name), *arguments, config=write_study(micro, name))
    return tables(micro, name)


def same(one: dict, other: dict) -> None:
    for name in TABLES:
        pd.testing.assert_frame_equal(one[name], other[name])


def profile(micro: Path, name: str, **changes) -> str:
    """A shipped profile with what a test has to change, as a folder."""
    settings = yaml.safe_load((micro / "profiles" / name / "config.yaml").read_text())
    del settings["set-threads"]  # more than the one node here has
    folder = micro / "profiles" / f"test-{name}"
    folder.mkdir(exist_ok=True)
    (folder / "config.yaml").write_text(yaml.safe_dump({**settings, "latency-wait": 10, **changes}))
    return str(folder.relative_to(micro))


def start(micro: Path, cluster: Cluster, name: str, used: str) -> subprocess.Popen:
    # The cluster's GPU is one in name alone.
    environment = {
        **os.environ,
        **cluster.environment,
        "FRANKENSTEIN_CPU": "1",
        "PYTHONPATH": str(micro / "workflow"),
        "HF_HUB_OFFLINE": "1",
    }
    command = [sys.executable, "-m", "snakemake", "--configfile", write_study(micro, name), "--profile", used]
    with open(micro / f"{name}.log", "a") as log:
        return subprocess.Popen([*command, *targets(name)], cwd=micro, env=environment, stdout=log, stderr=log)


def finish(micro: Path, name: str, process: subprocess.Popen, seconds: int = 400) -> str:
    try:
        code = process.wait(seconds)
    finally:
        process.kill()
    printed = (micro / f"{name}.log").read_text()
    assert code == 0, printed[-6000:]
    return printed


def test_the_slurm_profile_runs_a_study(micro, cluster, expected):
    used = profile(
        micro, "slurm", **{"slurm-status-command": "squeue", "slurm-init-seconds-before-status-checks": 4},
    )  # fmt: skip
    finish(micro, "slurm", start(micro, cluster, "slurm", used))
    same(tables(micro, "slurm"), expected)
    history = cluster.run("squeue", "-h", "--states=all", "-O", "Partition:8,State:12,tres-per-job:20")
    used_gpus = [line.split() for line in history.splitlines() if line.startswith("gpu")]
    assert len(used_gpus) == 3  # one a checkpoint
    assert all(line[1] == "COMPLETED" and line[2].endswith("gpu:1") for line in used_gpus), history


def test_what_goes_wrong_costs_a_retry(micro, cluster, expected):
    """A job cancelled, one over its memory, the node down, the controller away, and Snakemake killed: all in one study."""
    used = profile(micro, "cluster-generic", retries=3)
    settings = yaml.safe_load((micro / used / "config.yaml").read_text())
    # The first try of score has not the memory that pandas takes; the next has more.
    settings["set-resources"]["score"] = {"mem_mb": "200 * attempt ** 2"}
    (micro / used / "config.yaml").write_text(yaml.safe_dump(settings))
    process = start(micro, cluster, "trouble", used)
    cancelled = cluster.until(lambda: cluster.running("generate"), 120)[0]
    cluster.run("scancel", cancelled)
    second = cluster.until(lambda: [job for job in cluster.running("generate") if job != cancelled], 120)[0]
    cluster.run("scontrol", "update", "nodename=localhost", "state=down", "reason=test")
    cluster.until(lambda: second not in cluster.running("generate"))
    cluster.run("scontrol", "update", "nodename=localhost", "state=resume", check=False)
    cluster.until(lambda: cluster.running("generate"), 120)
    cluster.stop_daemon("slurmctld")
    time.sleep(10)
    cluster.run("slurmctld", "-f", str(cluster.conf))
    cluster.until(lambda: cluster.running("score"), 300)
    process.send_signal(signal.SIGKILL)
    process.wait()
    cluster.run("scancel", "--state=PENDING,RUNNING", "--user=root", check=False)
    results = micro / "results/trouble"
    made = {path: path.stat().st_mtime_ns for part in ("data", "responses") for path in results.glob(f"{part}/*.jsonl")}
    snakemake(micro, "--unlock", config=write_study(micro, "trouble"))
    printed = finish(micro, "trouble", start(micro, cluster, "trouble", used))
    states = cluster.run("squeue", "-h", "--states=all", "-o", "%j %T")
    assert "smk-generate CANCELLED" in states
    assert "smk-generate NODE_FAIL" in states
    assert "smk-score OUT_OF_MEMORY" in states or "smk-score FAILED" in states, states
    assert "Trying to restart job" in printed
    # What was made before the kill was not made again.
    assert len(made) > 3
    assert {path: path.stat().st_mtime_ns for path in made} == made
    same(tables(micro, "trouble"), expected)
