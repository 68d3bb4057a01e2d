"""Every configuration that is shipped is linted, dry-run and planned: in one process, for a start of Snakemake takes seconds."""

import re

import pytest
from conftest import ROOT
from snakemake.api import SnakemakeApi
from snakemake.settings.types import ConfigSettings, OutputSettings, Quietness, ResourceSettings
from study import copy_repository

from frankenstein.study import config, plan

CONFIGS = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "config").rglob("*.yaml"))


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    return copy_repository(tmp_path_factory.mktemp("shipped") / "repository")


@pytest.mark.parametrize("path", CONFIGS)
def test_a_shipped_config_is_linted_dry_run_and_planned(repository, path, monkeypatch, capfd):
    monkeypatch.chdir(repository)
    with SnakemakeApi(OutputSettings(dryrun=True, quiet={Quietness.HOST})) as api:
        workflow = api.workflow(
            resource_settings=ResourceSettings(cores=1),
            config_settings=ConfigSettings(configfiles=[repository / path]),
            snakefile=repository / "Snakefile",
        )
        assert not workflow.lint()
        workflow.dag().execute_workflow(executor="dryrun")
    printed = "".join(capfd.readouterr())
    monkeypatch.setattr(plan, "dry_run", lambda *_: printed)
    made = plan.plan(repository / path, repository / "Snakefile")
    study = config.load(config.read(repository / path))
    assert re.search(rf"^all +{len(plan.jobs(printed))} ", made, re.M)
    answering = {checkpoint for checkpoint in plan.jobs(printed).query("rule == 'generate'").checkpoint}
    assert answering >= {study.recipes[run].rl for run in study.evaluated()}
    assert float(re.search(r"to be expected: ([\d.]+) with vllm", made)[1]) > 0


def test_ready_studies_fetch_what_they_do_not_say_how_to_make():
    """From the Hub, but for checkpoints that have to be converted; each file is short, and runs under its own name."""
    names = set()
    for path in sorted((ROOT / "config" / "studies").glob("*.yaml")):
        study = config.load(config.read(path))
        names.add(study.study)
        text = path.read_text()
        assert len(text.splitlines()) <= 25
        assert f"# Run it: F={path.relative_to(ROOT)}; frankenstein pin $F" in text
        given = [study.checkpoints[name].path for name in study.sources("given")]
        assert all(f"`{place}`" in (ROOT / "config" / "README.md").read_text() for place in given)
        assert all(study.checkpoints[name].parameters for name in study.sources("hub"))
        tasks = [name for name in study.datasets_needed() if name in study.datasets]
        assert tasks
        assert all(study.from_hub(name)["revision"] for name in tasks)
    assert len(names) == 9
