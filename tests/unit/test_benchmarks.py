"""The benchmarks run, at a size where their ratios mean nothing, and their last line is what they promise."""

import json
import subprocess
import sys

import pytest
import torch
from conftest import ROOT

pytestmark = pytest.mark.slow


def last_line(script: str, *arguments: str) -> dict:
    command = [sys.executable, str(ROOT / "benchmarks" / script), *arguments]
    output = subprocess.run(command, check=True, capture_output=True, text=True, timeout=900).stdout
    return json.loads(output.splitlines()[-1])


def test_sweep():
    size = ["--layers", "4", "--hidden", "64", "--vision-tokens", "16", "--suffix", "4", "--new-tokens", "3"]
    made = last_line("sweep.py", *size, "--repeats", "1")
    assert made["tokens_equal"] is True
    assert made["max_logit_diff"] < 1e-4
    assert made["layers"] == 4
    assert made["swap_speedup"] > 0
    assert made["skip_speedup"] > 0
    assert made["swap_speedup_over_rows"] > 0
    assert made["skip_speedup_over_rows"] > 0


def test_updates():
    made = last_line("updates.py", "--hidden", "96", "--kv", "32", "--intermediate", "256")
    assert made["max_rel_error_top50"] < 1e-8
    assert made["max_rel_error_all"] < 1e-5
    assert made["speedup"] > 0


def test_evaluation():
    made = last_line("evaluation.py", "--samples", "4", "--new-tokens", "3", "--repeats", "1", "--answers", "100")
    assert made["batch_speedup"] > 0
    assert made["answers_per_second"] > 0


def test_generation():
    made = last_line("generation.py", "--examples", "4", "--hybrids", "1")
    assert made["answers_equal"] is True
    assert made["one_process_speedup"] > 1
    assert made.keys() == {"one_process_speedup", "answers_equal", "vllm_agreement"}


def test_merging(tmp_path):
    size = ["--layers", "4", "--blocks", "2", "--vocabulary", "500", "--scale", "8", "--repeats", "1"]
    made = last_line("merging.py", *size, "--directory", str(tmp_path))
    assert made["peak_rss_mb"] < 100
    assert made["link_gb_written"] < 0.001
    assert made["vs_mergekit"] is None
    assert made["copy_vs_cp"] > 0


def test_attention():
    made = last_line("attention.py", "--layers", "4", "--hidden", "64", "--tokens", "300", "--vision-tokens", "64")
    assert made["max_difference"] == pytest.approx(0, abs=1e-6)


def test_sevenb():
    size = ["--layers", "2", "--blocks", "1", "--vocabulary", "1000", "--scale", "4"]
    made = last_line("sevenb.py", *size, "--vision-tokens", "16", "--suffix", "8", "--new-tokens", "2")
    assert all(made[f"{way}_seconds"] > 0 for way in ("generate", "swap", "skip", "attention"))


def test_gpu_suite():
    """On this machine's CPU, in small: what it says of exactness holds here, too."""
    made = last_line("gpu.py", "--small")
    assert made["failed"] == 0
    assert made["swap in float32: tokens as with hooks, and as generate"] is True
    assert made["bfloat16: error over transformers' own"] <= 1.5


@pytest.mark.gpu
def test_gpu_suite_in_full():
    if not torch.cuda.is_available():
        pytest.skip("no GPU: benchmarks/gpu.py checks exactness, memory and speed on one")
    assert last_line("gpu.py")["failed"] == 0
