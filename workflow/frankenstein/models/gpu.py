"""One GPU a job where no scheduler hands them out: a job takes a free one, and the system gives it back however the job ends."""

from __future__ import annotations

import fcntl
import os
import tempfile
import time
from glob import glob
from pathlib import Path

from ..core.errors import InputError

# Where one of these is set, a scheduler has chosen the devices already.
_SCHEDULERS = ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "JOB_ID", "KUBERNETES_SERVICE_HOST")


def _devices() -> list[str]:
    """Devices this process may use, as CUDA_VISIBLE_DEVICES names them."""
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        names = [name.strip() for name in os.environ["CUDA_VISIBLE_DEVICES"].split(",")]
        return [name for name in names if name and not name.startswith("-")]
    return sorted((path.removeprefix("/dev/nvidia") for path in glob("/dev/nvidia[0-9]*")), key=int)


def claim(count: int = 1, poll: float = 1.0) -> str | None:
    """Take so many GPUs for this process, waiting for free ones, and make them all that CUDA sees; None without GPUs.

    Returns them as CUDA_VISIBLE_DEVICES has them. Raises InputError for more than there are.

    To be called before CUDA is used. The claim is a lock on a file of the user's in the temporary folder, which
    ends with the process (and with those that it starts with close_fds=False): two jobs never share a device, and a job
    that is killed keeps none. Under a scheduler that has given the job no more than it wants nothing is done.
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
        # Too few: let others have them, or two jobs that want two each would wait forever.
        for lock in held.values():
            os.close(lock)
        if not waiting:
            print(f"{count} of {len(devices)} GPUs are wanted, {len(held)} are free; waiting", flush=True)
        waiting = True
        time.sleep(poll)
