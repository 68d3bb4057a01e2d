"""GPU allocation without a scheduler: a job claims free GPUs, which the OS releases however the job ends."""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
import tempfile
import time
from glob import glob
from pathlib import Path

from ..core.errors import InputError

# If one of these is set, a scheduler has already assigned the devices.
_SCHEDULERS = ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "JOB_ID", "KUBERNETES_SERVICE_HOST")


def _devices() -> list[str]:
    """Devices this process may use, named as in CUDA_VISIBLE_DEVICES."""
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        names = [name.strip() for name in os.environ["CUDA_VISIBLE_DEVICES"].split(",")]
        return [name for name in names if name and not name.startswith("-")]
    return _listed() or [str(number) for number in range(len(glob("/dev/nvidia[0-9]*")))]


def _listed() -> list[str]:
    """UUIDs of the GPUs, or of their MIG slices, that nvidia-smi lists; empty without it.

    Not the numbers in /dev: a container with only /dev/nvidia5 has one GPU, which is number 0 to CUDA.
    """
    try:
        told = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=True, timeout=60).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    return re.findall(r"UUID: (MIG-[\w/-]+)", told) or re.findall(r"UUID: (GPU-[\w-]+)", told)


def device() -> str:
    """ "cuda", or "cpu" where there is no GPU, CUDA_VISIBLE_DEVICES is empty, or FRANKENSTEIN_CPU is set.

    Raises InputError if there is one that torch can not use: a large model would otherwise run on the CPU for days, unnoticed.
    """
    import torch

    if os.environ.get("FRANKENSTEIN_CPU"):
        return "cpu"
    if torch.cuda.is_available():
        return "cuda"
    if devices := _devices():
        built = f"for CUDA {torch.version.cuda}" if torch.version.cuda else "without CUDA"
        raise InputError(
            f"GPU {', '.join(devices)} is there, and torch {torch.__version__}, built {built}, cannot use it (does nvidia-smi work, "
            "and is the driver new enough?). To run on the CPU all the same, set FRANKENSTEIN_CPU=1"
        )
    return "cpu"


def count() -> int:
    """Number of GPUs that this process sees, which in a job are those that it claimed or was allotted; 0 on the CPU."""
    import torch

    return torch.cuda.device_count() if device() == "cuda" else 0


def claim(count: int = 1, poll: float = 1.0) -> str | None:
    """Claim `count` GPUs for this process, waiting until they are free, and hide all others from CUDA.

    Returns the new value of CUDA_VISIBLE_DEVICES, or None without GPUs. Raises InputError if the machine has fewer.

    Call before CUDA is initialized. A claim is a file lock in a per-user temporary folder, held until the process (and
    any it started with close_fds=False) ends: two jobs never share a device, and a killed job keeps none. Does nothing
    under a scheduler that has allotted the job no more GPUs than it wants.
    """
    devices = _devices()
    given = any(name in os.environ for name in _SCHEDULERS) and len(devices) <= count
    if not devices or not count or given:
        return None
    folder = Path(tempfile.gettempdir()) / f"frankenstein-gpus-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if count > len(devices):
        raise InputError(f"the job needs {count} GPUs, but there are only {len(devices)}: {', '.join(devices)}")
    waiting = False
    while True:
        held: dict[str, int] = {}
        for device in devices:
            lock = os.open(folder / device.replace("/", "_"), os.O_WRONLY | os.O_CREAT, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(lock)
                continue
            # Kept open: the lock is held until the process ends.
            os.set_inheritable(lock, True)
            held[device] = lock
            if len(held) == count:
                os.environ["CUDA_VISIBLE_DEVICES"] = visible = ",".join(held)
                print(f"GPU {visible}", flush=True)
                return visible
        # Too few: release them, or two jobs wanting two GPUs each would deadlock.
        for lock in held.values():
            os.close(lock)
        if not waiting:
            print(f"{count} of {len(devices)} GPUs are wanted, {len(held)} are free; waiting", flush=True)
        waiting = True
        time.sleep(poll)
