import io
import os
import pty
import subprocess
import sys

import pytest

from frankenstein.core import progress


@pytest.mark.parametrize(
    ("done", "total", "seconds", "says"),
    [
        (40, 100, 120, "40 %, 3 min left"),
        (1, 3, 20, "33 %, 40 s left"),
        (99, 100, 5, "99 %, 0 s left"),
        (100, 100, 45, "done in 45 s"),
        (7, 7, 600, "done in 10 min"),
    ],
)
def test_how_far_and_how_long(done, total, seconds, says):
    assert progress.described(done, total, seconds) == says


def test_a_line_now_and_then(monkeypatch):
    now, terminal = [0.0], io.StringIO()
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(progress, "_terminal", terminal)
    monkeypatch.setattr(progress, "_job", "pretrain base")
    tell = progress.Progress(50, "vision encoder")
    for done in range(1, 51):
        now[0] += 1
        tell(done)
    assert terminal.getvalue().splitlines() == [
        "pretrain base, vision encoder: 40 %, 30 s left",
        "pretrain base, vision encoder: 80 %, 10 s left",
        "pretrain base, vision encoder: done in 50 s",
    ]


def test_what_takes_a_moment_is_no_news(monkeypatch):
    terminal = io.StringIO()
    monkeypatch.setattr(progress, "_terminal", terminal)
    tell = progress.Progress(3)
    for done in range(4):
        tell(done)
    assert not terminal.getvalue()


JOB = """
import sys
from frankenstein.core import logs, progress
progress.EVERY = 0
logs.redirect(sys.argv[1])
tell = progress.Progress(2)
tell(1)
print("in the log")
tell(2)
"""


def test_progress_goes_to_the_terminal_and_the_log_stays_as_it_is(tmp_path):
    log = tmp_path / "pretrain" / "base.log"
    log.parent.mkdir()
    ours, theirs = pty.openpty()
    subprocess.run([sys.executable, "-c", JOB, log], stdout=theirs, stderr=theirs, check=True)
    shown = os.read(ours, 10_000).decode()
    assert shown.startswith("pretrain base: 50 %, ")
    assert "in the log" not in shown
    assert log.read_text().splitlines()[1:] == ["in the log"]

    piped = subprocess.run([sys.executable, "-c", JOB, log], capture_output=True, text=True, check=True)
    assert piped.stdout + piped.stderr == ""
    assert log.read_text().splitlines()[1:] == ["in the log"]
