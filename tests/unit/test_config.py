import copy

import pytest
import yaml
from conftest import ROOT, one_run_each

from frankenstein.core.errors import InputError
from frankenstein.data import paper_tasks
from frankenstein.study.config import load, read

MINI = one_run_each()


@pytest.mark.parametrize("path", sorted((ROOT / "config").rglob("*.yaml")), ids=lambda path: path.name)
def test_shipped_configs_load(path):
    assert load(read(path)).recipes


def test_a_file_without_checkpoints_changes_the_mini_study(tmp_path):
    study, mini = (load(read(ROOT / "config" / f"{name}.yaml")) for name in ("replicates", "config"))
    assert study.study == "replicates"
    assert [run.number for run in study.runs.values()] == [*range(1, 9)] * 2
    assert [run.number for run in mini.runs.values()] == [1, 2] * 2
    same = set(type(mini).model_fields) - {"study", "recipes", "checkpoints"}
    assert {name: getattr(study, name) for name in same} == {name: getattr(mini, name) for name in same}
    assert study.checkpoints["base"] == mini.checkpoints["base"]
    assert study.checkpoints["one-rl"] == mini.checkpoints["one-rl"]
    seeds = [source.seed for name, source in study.checkpoints.items() if name not in ("other-in", "other-rl")]
    in_use = {name for recipe in study.recipes.values() for name in (recipe.instruct, recipe.rl)}
    assert len({study.checkpoints[name].seed for name in in_use}) == len(in_use) == 32 <= len(seeds)
    (tmp_path / "mine.yaml").write_text("study: mine\nregoins: {cuts: [1, 2]}\n")
    with pytest.raises(
        InputError, match=r"mine.yaml: no key 'checkpoints', nor a .*config.yaml whose keys it could change"
    ):
        read(tmp_path / "mine.yaml")
    (tmp_path / "empty.yaml").write_text("")
    with pytest.raises(InputError, match=r"empty\.yaml: no keys; .* `frankenstein init` writes one"):
        read(tmp_path / "empty.yaml")
    (tmp_path / "torn.yaml").write_text("study: [\n")
    with pytest.raises(InputError, match=r"torn\.yaml: not YAML: .*line 2"):
        read(tmp_path / "torn.yaml")
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(MINI))
    with pytest.raises(InputError, match="regoins: unknown key; did you mean 'regions'"):
        load(read(tmp_path / "mine.yaml"))


def set_key(*path_and_value):
    *path, last, value = path_and_value

    def edit(config):
        at = config
        for key in path:
            at = at[key]
        at[last] = value

    return edit


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (set_key("regoins", 1), "config: regoins: unknown key; did you mean 'regions'?"),
        (set_key("checkpoints", "base", "stpes", 9), "config: checkpoints.base.stpes: unknown key; did you mean 'steps'?"),
        (set_key("checkpoints", "one-rl", "rewards", "anser", 1), "checkpoints.one-rl.rewards.anser: unknown key; did you"),
        (set_key("checkpoints", "base", "curriculum", 0, "shre", 1), "checkpoints.base.curriculum.0.shre: unknown key"),
        (set_key("checkpoints", "base", "steps", "many"), "config: checkpoints.base.steps: Input should be a valid integer"),
        (set_key("checkpoints", "base", "train", "magic"), "config: checkpoints.base: neither 'path' nor 'hub' nor one of train"),
        (set_key("checkpoints", "one-rl", "questions", "poetry", 1), "checkpoints.one-rl.questions.poetry: Input should be"),
        (set_key("checkpoints", "one-rl", "from", "nobody"), "checkpoints.one-rl.from: no checkpoint 'nobody'; there are base"),
        (set_key("checkpoints", "one-in", "from", "one-rl"), "is circular"),
        (set_key("checkpoints", "one-rl", "frozen", "earyl"), "checkpoints.one-rl.frozen: Input should be 'early'"),
        (set_key("recipes", "one", "retrained", "one-rl"), "recipes.one.retrained: 'one-rl' was trained from 'one-in', not from 'base'"),
        (set_key("recipes", "one", "retrained", "two-rl"), "recipes.one.retrained: 'two-rl' was trained from 'two-in', not from 'base'"),
        (set_key("checkpoints", "two-in", "seed", 11), "recipes.one.retrained: 'two-in' has the same seed as 'one-in', 11"),
        (set_key("checkpoints", "two-in", "steps", 5), "recipes.one.retrained: 'two-in' differs from 'one-in' in steps, but should differ only in its seed"),
        (set_key("recipes", "one", "runs", 0), "config: recipes.one.runs: "),
        (set_key("recipes", "one", "runs", [{"rl": "one-rl", "rll": "one-in"}]), "config: recipes.one.runs.0.rll: unknown key; did you mean 'rl'?"),
        (set_key("recipes", "one", "runs", [{"in": "one-in", "rl": "one-rl"}, {"in": "two-in", "rl": "two-rl"}]), "recipes.one.frozen: with several runs, list them under each of recipes.one.runs"),
        (lambda config: config["recipes"]["one"].update(frozen={}, runs=[{}, {"rl": "nobody"}]), "config: recipes.one.runs.1.rl: no checkpoint 'nobody'; there are base"),
        (set_key("recipes", "one", "runs", [{"rl": "nobody"}]), "recipes.one.rl: no checkpoint 'nobody'; there are base"),
        (lambda config: config["checkpoints"].update({"one-in": {"path": "in"}, "one-rl": {"path": "rl"}}) or config["recipes"]["one"].update(runs=2, frozen={}, retrained=None), "recipes.one.runs: 'one-rl' (rl) is not trained by this study, so it has one run; list the checkpoints of each run"),
        (lambda config: config["recipes"]["one"].pop("rl") and None, "config: recipes.one.rl: missing: the checkpoint name of this run's RL"),
        (lambda config: config["recipes"].update({"one-2": config["recipes"]["two"]}) or config["recipes"]["one"].update(runs=2), "recipes.one-2: is also the name of run 2 of one: rename one"),
        (lambda config: config["checkpoints"].update({"one-in-2": config["checkpoints"]["two-in"]}) or config["recipes"]["one"].update(runs=2), "checkpoints.one-in-2: is also the name of run 2 of one-in: rename it"),
        (set_key("recipes", "one", "chat_template_from", "two-rl"), "recipes.one.chat_template_from: 'two-rl' is not in the recipe, which has base, one-in"),
        (set_key("judge", {"endpoint": {"url": "https://me:secret@host/v1", "model": "m"}}), "judge.endpoint.url: must contain no user, password or query"),
        (set_key("regions", "cuts", [6, 3]), "config: regions.cuts: [6, 3] are out of order"),
        (set_key("regions", "cuts", [3, 9]), "regions.cuts [3, 9] leave a region of the 9 decoder layers empty"),
        (set_key("regions", "cuts", "3,6"), "config: regions.cuts: "),
        (set_key("recipes", {}), "config: recipes: "),
        (set_key("recipes", "one", "rl", "one-lr"), "recipes.one.rl: no checkpoint 'one-lr'"),
        (set_key("recipes", "one", "frozen", "early", "one-rl-mid"), "recipes.one.frozen.early: 'one-rl-mid' has frozen: mid"),
        (set_key("recipes", "two", "in", "one-in"), "recipes.two.retrained: 'one-in' is also recipes.two.in"),
        (set_key("recipes", "one", "in", "two-in"), "recipes.one.retrained: 'two-in' is also recipes.one.in"),
        (set_key("recipes", "one", "rl", "two-rl"), "recipes.one.rl: 'two-rl' was trained from 'two-in', not from 'one-in'"),
        (set_key("checkpoints", "two-rl", "from", "one-in"), "recipes.two.rl: 'two-rl' was trained from 'one-in', not from"),
        (set_key("recipes", "one", "rl", "one-rl-late"), "recipes.one.rl: 'one-rl-late' has frozen: late"),
        (set_key("recipes", "two", "base", "one-in"), "recipes.two.in: 'two-in' was trained from 'base', not from 'one-in'"),
        (set_key("checkpoints", "base", "curriculum", 0, "share", 0.5), "base.curriculum: the stages' shares sum to 1.3 instead of 1"),
        (set_key("abilities", "vision", "text_math"), "abilities.vision: text_math has no image"),
        (set_key("probes", "skip_examples", 9999), "probes.skip_examples: 9999 examples of text_math, which has only 320"),
        (set_key("evaluation", "examples", 1), "evaluation.examples: Input should be greater than or equal to 2"),
        (set_key("merging", "rest_from", "late"), "config: merging.rest_from: unknown donor 'late'; known: early, in, rl, base"),
        (set_key("merging", "rest_from", {"haed": "rl"}), "config: merging.rest_from.haed: unknown part"),
        (set_key("merging", "layout", "links"), "config: merging.layout: Input should be 'copy' or 'link'"),
        (set_key("merging", "hybrids", {"w": "IN+XX@1"}), "config: merging.hybrids.w: no donor 'XX'"),
        (set_key("merging", "hybrids", {"w": "IN+RL"}), "config: merging.hybrids.w: hybrid 'IN+RL': '+RL' is not like"),
        (set_key("merging", "hybrids", {"RL": "IN:0.5:RL"}), "config: merging.hybrids.RL: is a reserved name"),
        (set_key("merging", "hybrids", {"IN-RL-RL": "IN"}), "config: merging.hybrids.IN-RL-RL: is one of the paper's six"),
        (lambda config: config["recipes"]["one"].pop("in"), "config: recipes.one.in: missing"),
        (lambda config: config.pop("recipes"), "config: recipes: missing"),
    ],
)  # fmt: skip
def test_a_bad_config_is_one_line_that_names_the_key(edit, says):
    config = copy.deepcopy(MINI)
    edit(config)
    with pytest.raises(InputError) as caught:
        load(config)
    message = str(caught.value)
    assert says in message
    assert "\n" not in message


def test_prompts_belong_to_the_recipe():
    study = load(MINI)
    parents = {study.system_prompt(name) for name in ("one-in", "one-rl", "one-rl-late")}
    hybrids = {study.system_prompt(name) for name in study.hybrids("one").values()}
    assert parents == hybrids == {MINI["recipes"]["one"]["system_prompt"]}
    assert study.system_prompt("base") == MINI["base_system_prompt"]


def test_what_is_trained_here_has_the_chat_template_of_what_it_began_with():
    study = load(MINI)
    assert study.prompted_by("one-in") == ["one", "two"]  # of two as the retrained IN
    assert study.prompted_by("two.IN-RL-RL") == ["two"]
    assert study.prompted_by("base") == []
    assert {study.untrained(name) for name in MINI["checkpoints"]} == {"base"}
    assert study.template_from("two") == "two-in"
    config = copy.deepcopy(MINI)
    for recipe in config["recipes"].values():
        recipe["chat_template_from"] = "base"
    assert load(config).template_from("two") == "base"
    config["recipes"]["two"]["chat_template_from"] = "two-rl"
    with pytest.raises(
        InputError, match=r"'two-in' is also in recipe one, which has another chat_template_from"
    ) as caught:
        load(config)
    assert "recipes.two.in" in str(caught.value)


def test_another_examples_image_is_asked_of_the_vision_task_alone():
    study = load(MINI)
    assert study.conditions("easy_vqa") == ["image", "black", "shuffled"]
    assert study.conditions("math_vqa") == ["image", "described"]
    config = copy.deepcopy(MINI)
    del config["evaluation"]["shuffled_images"]
    assert load(config).conditions("easy_vqa") == ["image", "black"]


def test_every_key_is_explained_and_the_reference_is_the_schemas():
    from pydantic import BaseModel

    from frankenstein.study import reference_docs, schema

    models = [m for m in vars(schema).values() if isinstance(m, type) and issubclass(m, BaseModel)]
    models = [model for model in models if model.__module__ == schema.__name__ and model.model_fields]
    assert set(reference_docs._SECTIONS) == set(models)
    for model in models:
        assert all(field.description for field in model.model_fields.values()), model
    for document in reference_docs.DOCUMENTS:
        text = (ROOT / document).read_text()
        assert reference_docs.insert(text) == text, "run python -m frankenstein.study.reference_docs"


def readme_study() -> dict:
    text = (ROOT / "config" / "README.md").read_text()
    return yaml.safe_load(text.split("```yaml")[1].split("```")[0])


def public_study() -> dict:
    """The README's study with tasks of its own."""
    return readme_study() | {
        "datasets": {
            "general": {"benchmark": "mathvista", "category": "general-vqa"},
            "math": {"benchmark": "mathvista", "category": "math-targeted-vqa"},
            "text": {"benchmark": "math500"},
        },
        "abilities": {"vision": "general", "vision_to_reasoning": "math", "reasoning": "text"},
        "evaluation": {"benchmarks": ["general", "math"]},
    }


def test_the_readmes_own_study_is_one():
    study = load(readme_study())
    assert study.evaluated() == ["mine"]
    assert study.described() == ["math_vista"]


def test_every_study_has_the_papers_tasks_and_may_redefine_them():
    study = load(readme_study())
    assert set(study.datasets_needed()) == set(paper_tasks.TASKS) - {"gsm8k"}
    assert all(study.from_hub(task)["revision"] for task in study.datasets)  # nothing for `pin` to write
    all_rows = {"benchmark": "math500"}
    study = load(readme_study() | {"datasets": {"math500": all_rows, "mine": all_rows}})
    assert study.datasets["math500"].sample is None
    assert set(study.datasets) == {*paper_tasks.TASKS, "mine"}
    assert load(MINI).datasets_needed() == load(MINI).tasks()  # and the mini study asks none of them
    assert not set(load(MINI).tasks()) & set(paper_tasks.TASKS)


def test_two_rl_runs_may_share_an_in_and_a_base_may_be_missing():
    config = readme_study()
    config["checkpoints"]["rl2"] = {"path": "/models/other"}
    config["recipes"]["second"] = {**config["recipes"]["mine"], "rl": "rl2"}
    study = load(config)
    assert study.of("merging") == ["mine", "second"]
    del config["recipes"]["second"]["base"]
    study = load(config)
    assert study.of("updates") == study.of("localization") == ["mine"]
    assert study.of("attention") == ["mine", "second"]
    config["recipes"]["second"]["chapters"] = ["updates"]
    with pytest.raises(InputError, match=r"recipes.second.chapters: updates needs recipes.second.base"):
        load(config)
    config["recipes"]["second"] = {**config["recipes"]["mine"], "rl": "rl2", "system_prompt": "other"}
    with pytest.raises(
        InputError, match=r"recipes.second.in: 'in' is also in recipe mine, which has another system_prompt"
    ):
        load(config)


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (
            lambda c: c["abilities"].update(vision="generel"),
            "abilities.vision: no task 'generel'; did you mean 'general'?",
        ),
        (lambda c: c["abilities"].update(vision="text"), "abilities.vision: text has no image"),
        (
            lambda c: c["datasets"].update(counting={"benchmark": "gsm8k"}),
            "datasets.counting: is a task of the mini study",
        ),
        (lambda c: c["datasets"]["text"].update(split="dev"), "datasets.text.split: math500 has test"),
        (lambda c: c["datasets"]["text"].update(path="a", revision="b"), "give either path, or repo and revision"),
        (lambda c: c.pop("descriptions"), "descriptions: math needs image descriptions for M_v2r"),
        (lambda c: c.update(descriptions={}), "descriptions: exactly one of file, checkpoint, endpoint"),
        (lambda c: c.update(judge={"checkpoint": "bose"}), "judge.checkpoint: no checkpoint 'bose'"),
        (
            lambda c: c["evaluation"]["benchmarks"].append("counting"),
            "evaluation.examples: missing: the number of examples per task (needed for counting)",
        ),
        (lambda c: c["probes"].update(skip_tasks=["math"]), "probes.skip_tasks: math has images"),
        (lambda c: c["checkpoints"]["base"].update(revision="main"), "checkpoints.base.hub.revision"),
    ],
)
def test_a_bad_study_of_public_benchmarks_is_one_line(edit, says):
    config = public_study()
    edit(config)
    with pytest.raises(InputError) as caught:
        load(config)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("edit", "says"),
    [
        (lambda c: (c["recipes"]["mine"].pop("base"), c.update(merging={"rest_from": "base"})), "merging.rest_from: base, but recipes.mine has no base"),
        (lambda c: (c["recipes"]["mine"].pop("base"), c.update(chapters=["updates"])), "chapters: updates: no recipe has a base"),
        (lambda c: c.update(chapters=["freezing"]), "chapters: freezing: no recipe has frozen"),
        (lambda c: c["checkpoints"].update(rl={"train": "grpo", "from": "in", "seed": 1, "learning_rate": 1e-6, "rewards": {"answer": 1, "format": 0}}), "give exactly one of questions and prompt_file"),
        (lambda c: c["checkpoints"].update(rl={"train": "grpo", "from": "in", "seed": 1, "learning_rate": 1e-6, "rewards": {"answer": 1, "format": 0}, "prompt_file": "r", "gpus": 2}), "more than one GPU needs an accelerate"),
        (lambda c: c["checkpoints"].update(rl={"train": "grpo", "from": "in", "seed": 1, "learning_rate": 1e-6, "rewards": {"answer": 1, "format": 0}, "prompt_file": "r", "gpus": 8}), "4 rollouts per step (prompts_per_step 1 x num_generations 4) must be a multiple of micro_batch 1 x gpus 8"),
    ],
)  # fmt: skip
def test_what_a_recipe_lacks_is_said_before_anything_runs(edit, says):
    config = readme_study()
    edit(config)
    with pytest.raises(InputError) as caught:
        load(config)
    assert says in str(caught.value)


def test_weights_alone_need_no_descriptions():
    config = readme_study() | {"chapters": ["updates"]}
    del config["descriptions"]
    assert load(config).of("updates") == ["mine"]


@pytest.mark.parametrize(
    ("hybrids", "rest", "families"),
    [
        ({"a": "IN:0.5:0.5", "b": "IN:0.25:0.250"}, "early", {"IN:RL:RL": {"IN": 0, "b": 0.25, "a": 0.5, "IN:RL:RL": 1}}),
        ({"a": "0.5:0.5:0.5"}, "early", {"RL:RL:RL": {"IN": 0, "a": 0.5, "RL": 1}}),
        # What lies in no layer does not go the same way: an end that differs in more than the dose is none.
        ({"a": "0.5:0.5:0.5"}, "in", {"RL:RL:RL": {"IN": 0, "a": 0.5}}),
        ({"a": "IN:0.5:0.5"}, "rl", {"IN:RL:RL": {"a": 0.5, "IN:RL:RL": 1}}),
        ({"a": "IN:0.5:IN", "b": "IN:IN:0.5"}, "early", {"IN:RL:IN": {"IN": 0, "a": 0.5, "IN:RL:IN": 1}, "IN:IN:RL": {"IN": 0, "b": 0.5, "IN:IN:RL": 1}}),
        ({"a": "IN:0.5:0.25", "b": "IN+RL@3-5", "c": "RL:0.5:RL", "d": "IN:0.5"}, "early", {}),
    ],
)  # fmt: skip
def test_hybrids_on_one_way_are_doses(hybrids, rest, families):
    config = copy.deepcopy(MINI)
    config["merging"] = {"rest_from": rest, "hybrids": hybrids}
    assert load(config).doses() == families


@pytest.mark.parametrize(
    ("old", "new"), [("prompts", "prompts_per_step"), ("generations", "num_generations"), ("rollouts", "prompt_file")]
)
def test_a_key_that_was_renamed_says_its_new_name(old, new):
    config = yaml.safe_load((ROOT / "config" / "micro.yaml").read_text())
    config["checkpoints"]["one-rl"][old] = 2
    with pytest.raises(InputError, match=rf"config: checkpoints.one-rl.{old}: is called {new} now"):
        load(config)
