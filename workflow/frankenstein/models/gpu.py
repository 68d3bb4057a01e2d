"""GPU allocation without a scheduler: a job claims free GPUs, which the OS releases however the job ends."""

from __future__ import annotations

import fcntl
import os
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
    return sorted((path.removeprefix("/dev/nvidia") for path in glob("/dev/nvidia[0-9]*")), key=int)


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
        raise InputError(f"a job wants {count} GPUs, and there are {len(devices)}: {', '.join(devices)}")
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
