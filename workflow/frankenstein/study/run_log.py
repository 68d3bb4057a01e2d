"""What `frankenstein run` shows of a run: a line per finished job, failures with the end of their logs, and a summary.

Snakemake loads it as its logger plugin "frankenstein" (workflow/snakemake_logger_plugin_frankenstein).
"""

from __future__ import annotations

import logging
import sys
import time
from dataclasses import dataclass
from typing import TextIO

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

from ..core.progress import spelled
from ..core.terminal import columns, paint
from .workflow import last_lines, stages


@dataclass
class Job:
    """A job that was started: its rule, name (rule and wildcards) and start."""

    rule: str
    name: str
    began: float


class Run:
    """The state of a run, from Snakemake's events; `show` prints a line."""

    def __init__(self, stream: TextIO | None = None):
        self.stream = stream or sys.stderr
        self.began = time.monotonic()
        self.of: dict[str, str] = {}  # rule -> stage
        self.jobs: dict[str, int] = {}  # rule -> number of jobs
        self.running: dict[int, Job] = {}
        self.failed: dict[str, list[str]] = {}  # job -> its logs
        self.seconds: dict[str, list[float]] = {}  # rule -> of each finished job
        self.dry = self.ended = False
        self.report = ""  # path
        self.said: set[str] = set()

    def show(self, text: str) -> None:
        print(text, file=self.stream, flush=True)

    @property
    def done(self) -> int:
        return sum(map(len, self.seconds.values()))

    @property
    def total(self) -> int:
        return sum(self.jobs.values())

    def begin(self, stats: dict[str, int]) -> None:
        """stats: number of jobs by rule."""
        if self.jobs:  # a dry run says it twice
            return
        self.jobs = {rule: count for rule, count in stats.items() if rule not in ("total", "all")}
        by_stage: dict[str, int] = {}
        for rule in sorted(self.jobs, key=lambda rule: list(self.of).index(rule) if rule in self.of else 0):
            stage = self.of.get(rule, "other")
            by_stage[stage] = by_stage.get(stage, 0) + self.jobs[rule]
        self.show(
            f"{'would run ' if self.dry else ''}{_jobs(self.total)}: "
            + ", ".join(f"{count} {stage}" for stage, count in by_stage.items())
        )

    def finish(self, number: int) -> None:
        """A job is done."""
        job = self.running.pop(number, None)
        if job is None or job.rule == "all":
            return
        self.failed.pop(job.name, None)  # a retry
        took = time.monotonic() - job.began
        self.seconds.setdefault(job.rule, []).append(took)
        count = f"{self.done:>{len(str(self.total))}}/{self.total}"
        rest = self.left()
        left = f"  about {spelled(rest)} left" if rest is not None else ""
        self.show(f"{count}  {self.of.get(job.rule, ''):12}  {job.name:40}  {spelled(took):>7}{left}")

    def left(self) -> float | None:
        """Seconds that the remaining jobs should take, at the mean of their rule's finished ones and as many at a time as until
        now; None until at least half of them are of rules with a finished job."""
        waiting = {rule: count - len(self.seconds.get(rule, ())) for rule, count in self.jobs.items()}
        known = {rule: sum(self.seconds[rule]) / len(self.seconds[rule]) for rule in self.seconds}
        rest = sum(waiting.values())
        timed = sum(count for rule, count in waiting.items() if rule in known)
        if not rest or timed < rest / 2:
            return None
        busy, elapsed = sum(map(sum, self.seconds.values())), time.monotonic() - self.began
        overall = busy / self.done
        needed = sum(count * known.get(rule, overall) for rule, count in waiting.items())
        return needed / max(1.0, busy / elapsed)

    def fail(self, name: str, logs: list[str]) -> None:
        """A job failed: show the end of its log."""
        self.failed[name] = logs
        self.show(f"{paint('failed', 'bad', self.stream)}  {name}")
        for log in logs:
            for line in last_lines(log):
                self.show(f"        {line}")
            self.show(f"        log: {log}")

    def end(self) -> None:
        """The summary, with the way on after a failure; once, though a handler may be closed several times."""
        if not self.jobs or self.dry or self.ended:
            return
        self.ended = True
        took = spelled(time.monotonic() - self.began)
        if not self.failed and self.done >= self.total:
            self.show(f"{paint('done', 'good', self.stream)}: {_jobs(self.done)} in {took}")
            if self.report:
                self.show(f"The report: {self.report}")
            return
        self.show(f"{self.done} of {_jobs(self.total)} done in {took}, {len(self.failed)} failed")
        if len(self.failed) > 1:
            for line in columns([[name, " ".join(logs)] for name, logs in self.failed.items()], left=2):
                self.show(f"  {line}")
        mend = "mend what failed, and " if self.failed else ""
        self.show(f"Finished results are kept: {mend}run the same command again.")


def _jobs(count: int) -> str:
    return f"{count} job{'s' * (count != 1)}"


class LogHandler(LogHandlerBase):
    """Snakemake's events and messages, as `Run` shows them."""

    writes_to_stream = True
    writes_to_file = False
    has_filter = True
    has_formatter = True
    needs_rulegraph = False

    def __post_init__(self) -> None:
        self.run = Run()
        self.run.dry = self.common_settings.dryrun

    def emit(self, record: logging.LogRecord) -> None:
        """An event becomes a line of `Run`; of other messages, warnings and errors are shown, each once."""
        event, run = getattr(record, "event", None), self.run
        if event == LogEvent.WORKFLOW_STARTED:
            run.of = stages(record.snakefile_main)
        elif event == LogEvent.RUN_INFO:
            run.begin(record.stats)
        elif event == LogEvent.JOB_INFO:
            name = " ".join([record.rule_name, *map(str, record.wildcards.values())])
            run.running[record.jobid] = Job(record.rule_name, name, time.monotonic())
            if record.rule_name == "write_report":
                run.report = record.output[0]
        elif event == LogEvent.JOB_FINISHED:
            run.finish(record.job_id)
        elif event == LogEvent.JOB_ERROR:
            job = run.running.pop(record.jobid, None)
            run.fail(job.name if job else record.rule_name, record.log)
        elif record.levelno >= logging.WARNING or record.getMessage().startswith("Nothing to be done"):
            text = record.getMessage().strip()
            # That a job failed, and why, is shown once: by its event.
            again = getattr(record, "exception", "") == "RuleException" or text.startswith("Exiting because")
            if text and text not in run.said and not again and not (run.failed and event == LogEvent.ERROR):
                run.said.add(text)
                run.show(text)

    def close(self) -> None:
        self.run.end()
        super().close()
