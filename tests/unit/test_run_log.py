"""What `frankenstein run` prints of Snakemake's events, and where it finds rules and logs."""

import io
import logging
from types import SimpleNamespace

import pytest
from conftest import ROOT
from snakemake_interface_logger_plugins.common import LogEvent

from frankenstein.core.errors import InputError
from frankenstein.study import run_log, workflow


@pytest.fixture
def log(monkeypatch):
    """A handler, its clock (`at`), and what it has printed."""
    now, stream = [0.0], io.StringIO()
    monkeypatch.setattr(run_log.time, "monotonic", lambda: now[0])
    handler = run_log.LogHandler(SimpleNamespace(dryrun=False), None)
    handler.run.stream = stream

    def say(event=None, text="", level=logging.INFO, **fields):
        record = logging.LogRecord("snakemake", level, "", 0, text, (), None)
        record.__dict__ |= {"event": event, **fields}
        handler.emit(record)

    def job(number, rule, **wildcards):
        say(LogEvent.JOB_INFO, jobid=number, rule_name=rule, wildcards=wildcards, log=[f"{rule}.log"], output=["out"])

    def at(seconds):
        now[0] = seconds

    say(LogEvent.WORKFLOW_STARTED, snakefile_main=str(ROOT / "Snakefile"))
    return SimpleNamespace(
        say=say, job=job, at=at, handler=handler, lines=lambda: stream.getvalue().splitlines(), run=handler.run
    )


def test_every_rule_has_a_stage():
    of = workflow.stages(ROOT / "Snakefile")
    assert of["generate"] == "evaluation"
    assert of["figure3"] == "reporting"
    assert of["attention_on_text"] == "attention"
    written = "".join(path.read_text() for path in (ROOT / "rules").glob("*.smk"))
    assert len(of) == written.count("\nrule ") + written.count("\nuse rule ")


def test_a_run_from_start_to_end(log):
    log.say(LogEvent.RUN_INFO, stats={"generate": 3, "pretrain": 1, "write_report": 1, "all": 1, "total": 6})
    assert log.lines() == ["5 jobs: 1 training, 3 evaluation, 1 reporting"]
    log.job(1, "pretrain", checkpoint="base")
    log.at(100)
    log.say(LogEvent.JOB_FINISHED, job_id=1)
    log.job(2, "generate", checkpoint="base", shard="0")
    log.at(160)
    log.say(LogEvent.JOB_FINISHED, job_id=2)
    first, second = log.lines()[1:]
    assert first.split() == ["1/5", "training", "pretrain", "base", "2", "min"]  # nothing known of the others yet
    # 2 x 60 s, and write_report at the mean of all jobs, 80 s
    assert second.split() == ["2/5", "evaluation", "generate", "base", "0", "60", "s", "about", "3", "min", "left"]
    for number, rule in ((3, "generate"), (4, "generate"), (5, "write_report"), (6, "all")):
        log.job(number, rule)
        log.say(LogEvent.JOB_FINISHED, job_id=number)
    log.handler.close()
    log.handler.close()
    assert log.lines()[-2:] == ["done: 5 jobs in 3 min", "The report: out"]


def test_a_failure_is_on_the_screen_with_the_way_on(log, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "generate.log").write_text("ran on: x\nTraceback\n  File\nerror: model: out of disk; free some\n")
    (tmp_path / "score.log").write_text("".join(f"line {number}\n" for number in range(30)))
    log.say(LogEvent.RUN_INFO, stats={"generate": 2, "score": 1, "total": 3})
    for number, rule, wildcards in ((1, "generate", {"checkpoint": "base"}), (2, "score", {})):
        log.job(number, rule, **wildcards)
        log.say(LogEvent.ERROR, "RuleException: CalledProcessError", logging.ERROR, exception="RuleException")
        log.say(LogEvent.JOB_ERROR, level=logging.ERROR, jobid=number, rule_name=rule, log=[f"{rule}.log"])
    log.say(None, "Exiting because a job execution failed. Look above for error messages", logging.ERROR)
    log.say(LogEvent.ERROR, "WorkflowError: at least one job failed", logging.ERROR, exception="WorkflowError")
    log.handler.close()
    lines = log.lines()[1:]
    assert lines[:3] == [
        "failed  generate base",
        "        error: model: out of disk; free some",
        "        log: generate.log",
    ]
    assert lines[3] == "failed  score"
    assert [line.strip() for line in lines[4:16]] == [f"line {number}" for number in range(18, 30)]
    assert lines[17:] == [
        "0 of 3 jobs done in 0 s, 2 failed",
        "  generate base  generate.log",
        "  score          score.log",
        "Finished results are kept: mend what failed, and run the same command again.",
    ]


def test_a_retry_that_works_is_no_failure(log):
    log.say(LogEvent.RUN_INFO, stats={"generate": 1, "total": 1})
    log.job(1, "generate", checkpoint="base")
    log.say(LogEvent.JOB_ERROR, level=logging.ERROR, jobid=1, rule_name="generate", log=["none.log"])
    log.job(1, "generate", checkpoint="base")
    log.say(LogEvent.JOB_FINISHED, job_id=1)
    log.handler.close()
    assert log.lines()[-1] == "done: 1 job in 0 s"


def test_of_other_messages_warnings_are_shown_once(log):
    log.say(None, "Select jobs to execute...")
    log.say(None, "Nothing to be done (all requested files are present and up to date).")
    for _ in range(2):
        log.say(LogEvent.ERROR, "config: stpes: unknown key", logging.ERROR)
    log.handler.close()
    assert log.lines() == [
        "Nothing to be done (all requested files are present and up to date).",
        "config: stpes: unknown key",
    ]


def test_where_the_workflow_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert workflow.snakefile() == ROOT / "Snakefile"
    with pytest.raises(InputError, match="nix: no such Snakefile"):
        workflow.snakefile(tmp_path / "nix")
    (tmp_path / "Snakefile").touch()  # another workflow's
    assert workflow.snakefile() == ROOT / "Snakefile"
    monkeypatch.setattr(workflow, "__file__", str(tmp_path / "site-packages/frankenstein/study/workflow.py"))
    with pytest.raises(InputError, match="run in a clone of the repository, or give --snakefile"):
        workflow.snakefile()
