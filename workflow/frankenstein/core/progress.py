"""How far a job is, on the terminal it was started from: a line now and then, and nothing in logs or without a terminal."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TextIO

EVERY = 20  # seconds between a job's lines; several jobs write to one terminal, so no bars

_terminal: TextIO | None = None
_job = ""


def show(job: str) -> None:
    """From now on, progress goes to the terminal that stderr is, under this name; nowhere if it is none."""
    global _terminal, _job
    _terminal = os.fdopen(os.dup(sys.stderr.fileno()), "w") if sys.stderr.isatty() else None
    _job = job


def name_of(log: str | Path) -> str:
    """A job's name from its log file, .../RULE/WILDCARDS.log: "pretrain base"."""
    return f"{Path(log).parent.name} {Path(log).stem}"


class Progress:
    """Counts up to `total`; a line every 20 seconds: "pretrain base: 40 %, 3 min left". part: of the job, where it has several."""

    def __init__(self, total: int, part: str = ""):
        self.total, self.part, self.began = total, part, time.monotonic()
        self.last = self.began

    def __call__(self, done: int) -> None:
        now = time.monotonic()
        since = self.began if done >= self.total else self.last  # the end of what took a moment is no news
        if _terminal is None or not done or now - since < EVERY:
            return
        self.last = now
        job = f"{_job}, {self.part}" if self.part else _job
        print(f"{job}: {described(done, self.total, now - self.began)}", file=_terminal, flush=True)


def described(done: int, total: int, seconds: float) -> str:
    """ "40 %, 3 min left", or "done in 45 s"; the rest is taken to go as fast as what is done."""
    if done >= total:
        return f"done in {spelled(seconds)}"
    return f"{100 * done // total} %, {spelled(seconds / done * (total - done))} left"


def spelled(seconds: float) -> str:
    """ "45 s", "12 min"."""
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
