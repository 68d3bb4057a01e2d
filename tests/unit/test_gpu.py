import itertools
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from frankenstein.core.errors import InputError
from frankenstein.models import gpu

JOB = (
    "import json, os, sys, time\n"
    "from frankenstein.models import gpu as devices\n"
    "device = devices.claim(int(sys.argv[2]), poll=0.02)\n"
    "start = time.time(); time.sleep(float(sys.argv[1])); end = time.time()\n"
    "print(json.dumps([device, os.environ['CUDA_VISIBLE_DEVICES'], start, end]))\n"
)


@pytest.fixture
def job(tmp_path, monkeypatch):
    for name in gpu._SCHEDULERS:
        monkeypatch.delenv(name, raising=False)

    def start(seconds, visible="0,1", count=1):
        environment = {**os.environ, "CUDA_VISIBLE_DEVICES": visible, "TMPDIR": str(tmp_path)}
        return subprocess.Popen(
            [sys.executable, "-c", JOB, str(seconds), str(count)], env=environment, stdout=subprocess.PIPE, text=True
        )

    return start


def test_jobs_that_race_never_share_a_device(job):
    jobs = [job(0.3) for _ in range(8)]
    spans = [json.loads(started.communicate(timeout=60)[0].splitlines()[-1]) for started in jobs]
    assert {span[0] for span in spans} == {"0", "1"}
    assert all(device == visible for device, visible, *_ in spans)
    for device in ("0", "1"):
        mine = sorted(span[2:] for span in spans if span[0] == device)
        assert all(first[1] <= second[0] for first, second in itertools.pairwise(mine))


def test_a_killed_job_keeps_no_device(job):
    first = job(60, "7")
    assert first.stdout.readline() == "GPU 7\n"
    second = job(0, "7")
    time.sleep(0.3)
    assert second.poll() is None
    first.send_signal(signal.SIGKILL)
    assert json.loads(second.communicate(timeout=60)[0].splitlines()[-1])[0] == "7"


def test_without_gpus_and_under_a_scheduler_nothing_is_claimed(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert gpu.claim() is None
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    assert gpu.claim() is None
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "3"
    assert gpu.claim(0) is None
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert gpu.claim() is None


def test_a_scheduler_that_shows_more_than_a_job_wants_is_shared_out(job, monkeypatch):
    """As in `salloc --gpus=2`: jobs of one allocation see both."""
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    spans = [json.loads(started.communicate(timeout=60)[0].splitlines()[-1]) for started in [job(0.3), job(0.3)]]
    assert sorted(span[0] for span in spans) == ["0", "1"]


def test_jobs_that_want_two_devices_do_not_wait_for_each_other_forever(job):
    jobs = [job(0.1, "0,1,2", count) for count in (2, 1, 2, 1, 2)]
    spans = [json.loads(started.communicate(timeout=60)[0].splitlines()[-1]) for started in jobs]
    assert sorted(len(span[0].split(",")) for span in spans) == [1, 1, 2, 2, 2]
    for device in "012":
        mine = sorted(span[2:] for span in spans if device in span[0].split(","))
        assert all(first[1] <= second[0] for first, second in itertools.pairwise(mine))


def test_more_devices_than_there_are_is_an_error(monkeypatch):
    for name in gpu._SCHEDULERS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    with pytest.raises(InputError, match="needs 2 GPUs, but there are only 1"):
        gpu.claim(2)


LISTED = """\
GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-1f0c1e6e-0000-4c1d-8a50-5f5f5f5f5f5f)
"""
SLICED = (
    LISTED
    + """\
  MIG 1g.10gb     Device  0: (UUID: MIG-aaaa1111-2222-5333-8444-555566667777)
  MIG 1g.10gb     Device  1: (UUID: MIG-bbbb1111-2222-5333-8444-555566667777)
"""
)


@pytest.fixture
def smi(tmp_path, monkeypatch):
    """nvidia-smi that prints a text, and no CUDA_VISIBLE_DEVICES."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    for name in gpu._SCHEDULERS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(gpu.tempfile, "gettempdir", lambda: str(tmp_path))

    def prints(text):
        (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\ncat <<'X'\n{text}X\n")
        (tmp_path / "nvidia-smi").chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    return prints


def test_gpus_are_claimed_by_their_uuids(smi, monkeypatch):
    """The number in /dev is not CUDA's: a container may hold /dev/nvidia5 alone."""
    monkeypatch.setattr(gpu, "glob", lambda pattern: ["/dev/nvidia5"])
    assert gpu._devices() == ["0"]
    smi(LISTED)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # which claim() sets, and the end of the test takes back
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert gpu.claim() == "GPU-1f0c1e6e-0000-4c1d-8a50-5f5f5f5f5f5f" == os.environ["CUDA_VISIBLE_DEVICES"]
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    smi(SLICED)
    assert [device[:8] for device in gpu._devices()] == ["MIG-aaaa", "MIG-bbbb"]


def test_a_gpu_that_torch_can_not_use_is_an_error_and_not_the_cpu(smi, monkeypatch, tiny):
    from frankenstein.models import loading

    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    smi(LISTED)
    with pytest.raises(
        InputError, match=r"GPU GPU-1f0c.* is there, and torch .* cannot use it.*set FRANKENSTEIN_CPU=1"
    ):
        loading.load_model(tiny)
    monkeypatch.setenv("FRANKENSTEIN_CPU", "1")
    assert str(loading.load_model(tiny)[0].device) == "cpu"
