"""`frankenstein run` and `frankenstein status` on a real study, and a study that `frankenstein init` wrote."""

import os
import re
import subprocess
import sys

from conftest import ROOT
from PIL import Image
from study import snakemake


def frankenstein(repository, *arguments: str, ok: bool = True) -> str:
    """Run the command in a copy of the repository, with that copy's library; what it printed."""
    result = subprocess.run(
        [sys.executable, "-m", "frankenstein", *arguments], cwd=repository, capture_output=True, text=True, timeout=600,
        env={**os.environ, "PYTHONPATH": str(repository / "workflow"), "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    output = result.stdout + result.stderr
    assert (result.returncode == 0) == ok, output[-6000:]
    return output


def test_a_failure_is_shown_by_run_and_status_and_the_same_command_goes_on(micro, results):
    image = results / "data" / "math_vqa" / "math_vqa-0003.png"
    target = results / "responses" / "one-in.0.jsonl"
    saved, times = image.read_bytes(), image.stat()
    # What rests on the responses has to be missing too, or Snakemake would not ask for them.
    gone = [target, results / "grades" / "one-in.csv", results / "report.html"]
    kept = [path.rename(path.with_suffix(".kept")) for path in gone]
    command = ["run", "config/micro.yaml", "--cores", "1", "--", str(target.relative_to(micro))]
    try:
        image.write_bytes(saved[:40])
        said = frankenstein(micro, *command, ok=False)
        told = frankenstein(micro, "status", "config/micro.yaml")
    finally:
        image.write_bytes(saved)
        os.utime(image, ns=(times.st_atime_ns, times.st_mtime_ns))
    shown = said.splitlines()
    at = shown.index("failed  generate one-in 0")
    assert "image cannot be opened" in shown[at + 1]
    assert shown[at + 2] == "        log: results/micro/logs/generate/one-in.0.log"
    assert "0 of 1 job done" in said
    assert "run the same command again" in said
    assert "Traceback" not in said
    assert re.search(
        r"^failed, or interrupted:\n  generate one-in 0, .*\n.*cannot be opened.*\n +log: .*one-in", told, re.M
    )
    assert "1/1  evaluation    generate one-in 0" in frankenstein(micro, *command)
    for path, was in zip(gone, kept, strict=True):  # with their times, or all that rests on them would be made again
        was.rename(path)
    told = frankenstein(micro, "status", "results/micro")
    assert re.search(r"^results/micro: (\d+) of \1 jobs are done and up to date$", told, re.M)
    assert re.search(r"^evaluation +\d+ +0$", told, re.M)
    assert "failed" not in told
    assert "report: results/micro/report.html, of 20" in told


def test_a_study_from_init_dry_runs(micro, results):
    given = [
        f"--{role}=results/micro/checkpoints/{name}"
        for role, name in (("base", "base"), ("in", "one-in"), ("rl", "one-rl"))
    ]
    frankenstein(micro, "init", *given, "--name", "fromhere")
    said = frankenstein(micro, "run", "config/fromhere.yaml", "-n")
    assert re.search(r"would run \d+ jobs: \d+ checkpoints, \d+ datasets, ", said)
    said = snakemake(micro, "-n", config="config/fromhere.yaml")
    for rule in ("swap_vision_tokens", "generate_hybrids", "weight_updates", "write_report"):
        assert f"rule {rule}:" in said


def test_the_example_of_the_readme_runs_as_it_stands(micro, results, tmp_path):
    """After the mini study, in whose place stands the micro study: the same names of checkpoints and pairs."""
    code = re.search(r"```python\n(import frankenstein as fk\n.*?)```", (ROOT / "README.md").read_text(), re.S)[1]
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "mini").symlink_to(results)
    (tmp_path / "config").symlink_to(micro / "config")
    subprocess.run(
        [sys.executable, "-c", f"{code}\nassert fk.verify('hybrid') == []"], cwd=tmp_path, check=True, timeout=300,
        env={**os.environ, "PYTHONPATH": str(micro / "workflow")},
    )  # fmt: skip


def test_the_picture_of_the_readme_is_drawn_from_a_studys_tables(results, tmp_path):
    command = [sys.executable, str(ROOT / "docs" / "overview.py"), str(results), str(tmp_path / "overview.png")]
    subprocess.run(command, check=True)
    with Image.open(tmp_path / "overview.png") as picture:
        assert picture.width > 1500
    command[2] = str(tmp_path)
    made = subprocess.run(command, capture_output=True, text=True)
    assert made.returncode == 1
    assert made.stderr.startswith(f"error: {tmp_path}/tables/rewarded.csv: missing; run the study first")
