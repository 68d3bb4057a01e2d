"""Which jobs a study has, from its configuration alone: no Snakemake is started."""

import pytest
import yaml
from conftest import ROOT, one_run_each

from frankenstein.core.errors import InputError
from frankenstein.study.config import load
from frankenstein.study.jobs import PARTS, Jobs
from frankenstein.study.layout import _PATHS, Layout


def jobs_of(name: str, **changes) -> Jobs:
    return Jobs(load(yaml.safe_load((ROOT / "config" / f"{name}.yaml").read_text()) | changes))


def test_every_path_lies_in_the_studys_folder():
    paths = Layout("mine")
    assert all(getattr(paths, name).startswith("results/mine/") for name in _PATHS)
    assert len(set(_PATHS.values())) == len(_PATHS)
    assert paths.grades == "results/mine/grades/{checkpoint}.csv"
    with pytest.raises(AttributeError, match="no path 'grade'; there are report, "):
        _ = paths.grade


def test_who_plays_what_in_the_micro_study():
    roles = jobs_of("micro").roles()
    assert roles["base"] == [("one", "Base"), ("one-2", "Base")]
    assert roles["one.IN-RL-RL"] == [("one", "IN:RL:RL")]
    assert roles["one-2.IN-SEED-SEED"] == [("one-2", "IN:SEED:SEED")]
    assert roles["other-in"] == [("one", "IN, retrained"), ("one-2", "IN")]  # each is the other's
    assert [role for played in roles.values() for role in played if "frozen" in role[1]] == [
        ("one", "RL, Early frozen"), ("one", "RL, Mid frozen"), ("one", "RL, Late frozen"),
    ]  # fmt: skip


def test_a_number_of_runs_trains_copies_with_seeds_of_their_own():
    config = one_run_each()
    config["recipes"]["one"] |= {"runs": 3, "chat_template_from": "one-rl"}
    del config["recipes"]["one"]["retrained"], config["recipes"]["two"]
    jobs = Jobs(load(config))
    study = jobs.study
    assert [name for name, run in study.runs.items() if run.recipe == "one"] == ["one", "one-2", "one-3"]
    third = study.recipes["one-3"]
    assert (third.instruct, third.rl, third.frozen["late"]) == ("one-in-3", "one-rl-3", "one-rl-late-3")
    assert third.retrained == "one-in"  # the last run's is the first's
    assert third.chat_template_from == "one-rl"  # one template for all runs
    original, copy = study.checkpoints["one-rl"], study.checkpoints["one-rl-3"]
    assert copy == original.model_copy(update={"seed": original.seed + 2000, "start": "one-in-3"})
    assert study.checkpoints["one-in-3"].start == "base"  # which all runs share
    assert {"one-in-2", "one-rl-2", "one-rl-mid-3"} <= set(jobs.trained())
    # The first run is as it was: its results stay valid.
    alone = Jobs(load(one_run_each()))
    assert study.recipes["one"].rl == alone.study.recipes["one"].rl
    assert study.checkpoints["one-rl"] == alone.study.checkpoints["one-rl"]


def test_one_in_with_two_independent_rls():
    """MiMo-VL: one SFT checkpoint, RL by its authors and by Vero, in a few lines."""
    config = yaml.safe_load((ROOT / "config" / "micro.yaml").read_text())
    trained = {name: {"path": name} for name in ("sft", "rl", "vero")}
    mimo = {"in": "sft", "runs": [{"rl": "rl"}, {"rl": "vero"}], "system_prompt": "think first."}
    jobs = Jobs(load(config | {"checkpoints": trained, "recipes": {"mimo": mimo}, "merging": {}}))
    assert [(run.instruct, run.rl, run.retrained) for run in jobs.study.recipes.values()] == [
        ("sft", "rl", None), ("sft", "vero", None),
    ]  # fmt: skip
    assert jobs.roles()["sft"] == [("mimo", "IN"), ("mimo-2", "IN")]
    assert jobs.settings()["runs"] == {"mimo": ["mimo", 1, "sft", "rl"], "mimo-2": ["mimo", 2, "sft", "vero"]}
    assert "mimo.IN-SEED-SEED" not in jobs.roles()


def test_what_is_trained_is_what_the_chapters_need():
    assert set(jobs_of("micro").trained().values()) == {"pretrain", "sft", "grpo"}
    assert next(iter(jobs_of("micro").trained())) == "base"
    only = jobs_of("micro", chapters=["localization"])
    assert only.trained() == {"base": "pretrain"}  # neither IN nor RL is probed
    assert only.roles() == {}
    assert jobs_of("paper").trained() == {}


@pytest.mark.parametrize("name", ["micro", "config", "paper"])
def test_files_are_named_for_what_is_read_from_them(name):
    jobs = jobs_of(name)
    files = jobs.files(*PARTS, "scores", "spectra", "subspaces", "training")
    assert {f"grades.{checkpoint}" for checkpoint in jobs.roles()} <= set(files)
    study = jobs.study
    for recipe in study.of("attention"):
        assert len(files[f"attention.{recipe}.rl"]) == study.probes.shards
    for recipe in study.of("updates"):
        assert len(files[f"updates.{recipe}"]) == len(files[f"spectra.{recipe}"]) == study.updates.shards
    assert files["regions"] == jobs.paths.regions
    assert "regions" not in jobs.files("grades", "scores")  # accuracies have no layers


def test_a_setting_reaches_only_what_it_is_for():
    """What is no setting of a figure does not redraw it."""
    one, other = jobs_of("micro"), jobs_of("micro")
    object.__setattr__(other.study.evaluation, "benchmarks", ["recognition"])
    assert one.settings("updates") == other.settings("updates")
    assert one.settings("grades") != other.settings("grades")


def test_hybrids_in_memory_are_those_that_all_runs_have():
    """And none if they are kept."""
    jobs = jobs_of("config")
    assert set(jobs.in_memory) == set(jobs.hybrids)
    assert "IN-SEED-SEED" in jobs.in_memory
    files = jobs.of_hybrids(jobs.paths.responses)
    assert "results/mini/responses/{recipe}.IN-RL-RL.{shard}.jsonl" in files
    assert len(files) == len(jobs.hybrids)
    assert jobs.donors_in_memory("one") == {
        "donor.IN": jobs.manifest("one-in"), "donor.RL": jobs.manifest("one-rl"), "donor.SEED": jobs.manifest("other-in"),
    }  # fmt: skip
    config = one_run_each() | {"study": "mixed"}
    del config["recipes"]["two"]["retrained"]  # recipe two has no merge with another seed
    mixed = Jobs(load(config))
    assert set(mixed.hybrids) - set(mixed.in_memory) == {"IN-SEED-SEED"}
    assert not jobs_of("micro", merging={"keep": True}).in_memory


def test_a_server_answers_for_the_checkpoints_that_name_one():
    def micro(servers, **merging):
        evaluation = yaml.safe_load((ROOT / "config" / "micro.yaml").read_text())["evaluation"] | {"servers": servers}
        return jobs_of("micro", evaluation=evaluation, merging=merging)

    at = {"url": "http://localhost:8000/v1", "model": "served"}
    jobs = micro({"one-rl": at, "one.IN-RL-RL": at}, keep=True)
    assert jobs.server("one-rl") == at | {"key_env": None, "parallel": 32}
    assert jobs.server("one-in") is None
    with pytest.raises(InputError, match=r"evaluation\.servers\.one-r: no such checkpoint; did you mean 'one-rl'"):
        micro({"one-r": at})
    with pytest.raises(InputError, match=r"must be on disk: set merging\.keep"):
        micro({"one.IN-RL-RL": at}, keep=False)
    with pytest.raises(InputError, match="must contain no user, password or query"):
        micro({"one-rl": at | {"url": "http://me:secret@localhost/v1"}})


def test_donors_and_their_shards():
    jobs = jobs_of("micro")
    recipe = jobs.study.recipes["one"]
    assert jobs.donors("one", "IN-RL-RL") == {"IN": jobs.manifest(recipe.instruct), "RL": jobs.manifest(recipe.rl)}
    linked = jobs_of("micro", merging={"layout": "link"})
    assert linked.donor_shards("one", "IN-RL-RL") == {
        "shards.IN": f"results/micro/shards/{recipe.instruct}", "shards.RL": f"results/micro/shards/{recipe.rl}",
    }  # fmt: skip


def test_a_recipe_without_a_base_is_not_probed():
    config = yaml.safe_load((ROOT / "config" / "micro.yaml").read_text())
    trained = {name: {"path": name} for name in ("in", "rl")}
    mine = {"in": "in", "rl": "rl", "system_prompt": "think first."}
    jobs = Jobs(load(config | {"checkpoints": trained, "recipes": {"mine": mine}, "merging": {}}))
    assert jobs.base is None
    assert not {"swaps", "skips", "updates.mine"} & set(jobs.files(*PARTS))
    assert jobs.depth() == jobs.manifest("in")


def test_hybrids_are_asked_what_their_tables_need_and_benchmarks_where_the_config_says_so():
    jobs = jobs_of("micro")
    study = jobs.study
    assert study.tasks_of("one-in") == study.tasks() == ["easy_vqa", "math_vqa", "text_math", "recognition", "counting"]
    assert study.tasks_of("one.IN-RL-RL") == ["easy_vqa", "math_vqa", "text_math"]
    assert set(study.asked("one.IN-RL-RL")) == {"easy_vqa", "math_vqa", "text_math"}
    assert not any("counting" in path for path in [*jobs.asked("one.half").values(), *jobs.examples("one.half")])
    merging = {"keep": False, "benchmarks": ["counting"]}
    assert jobs_of("micro", merging=merging).study.tasks_of("one.IN-RL-RL")[-1] == "counting"
    with pytest.raises(
        InputError, match=r"merging\.benchmarks: 'ocr' is not in evaluation\.benchmarks: recognition, counting"
    ):
        jobs_of("micro", merging={"benchmarks": ["ocr"]})


def test_attention_alone_asks_for_what_it_reads():
    jobs = jobs_of("micro", chapters=["attention"])
    assert jobs.study.asked("one-in") == jobs.study.asked("one-rl") == {"math_vqa": ["image"]}
    assert {path.rpartition("/")[2] for path in jobs.asked("one-in").values()} == {"math_vqa.jsonl", "math_vqa"}
    evaluated = jobs_of("micro").study
    assert "counting" in evaluated.asked("other-in")
    assert evaluated.asked("one-rl-mid")["math_vqa"] == ["image", "described"]
    assert set(jobs_of("micro", chapters=["merging"]).study.asked("one.half")) == {"easy_vqa", "math_vqa", "text_math"}
