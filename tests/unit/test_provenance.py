import io
import itertools
import json
import re
import shutil
import tokenize
import tomllib
from pathlib import Path

import pytest
import yaml
from conftest import ROOT

import frankenstein
from frankenstein.core import provenance
from frankenstein.models import hub
from frankenstein.study.config import load
from frankenstein.study.jobs import Jobs

SCRIPTS = ROOT / "workflow" / "scripts"
LIBRARY = Path(frankenstein.__file__).parent


# What may rerun each script that costs hours, module by module. A new module here is a decision, not an accident: editing it
# trains or asks everything again.
EXPENSIVE = {
    "pretrain": "core: errors jsonl logs progress provenance; data: metrics tasks; inference: prompts; mini: model questions recipe vision world; models: architecture checkpoints classes family gpu manifests vision_attention weights; training: sft",
    "finetune": "core: errors jsonl logs progress provenance; data: metrics tasks; inference: cache prompts templates; mini: questions recipe world; models: architecture checkpoints classes family gpu manifests vision_attention weights; training: sft",
    "reinforce": "core: errors jsonl logs progress provenance regions; data: metrics tasks; grading: abstention boxes extraction numbers outcome reading short; inference: cache prompts templates; mini: questions recipe world; models: architecture checkpoints classes family gpu manifests vision_attention weights; training: grpo sft",
    "reinforce_prompts": "core: errors jsonl logs progress provenance regions; data: metrics tasks; grading: abstention boxes choices extraction latex numbers outcome reading rules short; inference: cache prompts templates; models: architecture checkpoints classes family gpu manifests vision_attention weights; training: grpo prompt_files sft",
    "generate": "core: errors jsonl logs progress provenance; data: metrics tasks; inference: cache descriptions engines evaluation failures generation prompts respond responses templates vllm_engine; models: classes gpu loading manifests vision_attention",
    "generate_hybrids": "core: errors jsonl logs progress provenance; data: metrics tasks; inference: cache descriptions engines evaluation failures generation prompts respond responses templates vllm_engine; merging: hybrid_spec memory plan tensors; models: architecture classes family gpu loading manifests vision_attention weights",
    "describe": "core: errors jsonl logs progress provenance; data: metrics tasks; inference: cache descriptions engines failures generation prompts respond vllm_engine; models: classes gpu loading manifests vision_attention",
    "swap_vision_tokens": "core: errors jsonl logs progress provenance; data: metrics tasks; inference: cache failures generation prompts; models: architecture classes family gpu loading manifests vision_attention; probes: batches decoder interventions modes sweep",
    "skip_layers": "core: errors jsonl logs progress provenance; data: metrics tasks; inference: cache failures generation prompts; models: architecture classes family gpu loading manifests vision_attention; probes: batches decoder interventions modes sweep",
    "attention": "core: errors jsonl logs progress provenance; data: metrics tasks; inference: cache failures generation prompts responses templates; models: architecture classes family gpu loading manifests vision_attention; probes: attention batches decoder",
    "weight_updates": "core: errors logs progress; models: architecture classes family manifests weights; updates: matrices vectors",
    "merge": "core: errors logs progress; merging: atomic card hybrid_spec hybrids links plan tensors verification; models: architecture checkpoints classes family manifests weights",
    "fetch_checkpoint": "core: errors logs progress; models: architecture checkpoints classes family hub manifests weights",
}
# Imports run one way: a chapter knows those before it, and no other.
CHAPTERS = ("core", "models", "data", "inference", "merging", "updates", "grading", "probes", "training", "claims", "mini", "report", "study", "api", "cli", "__main__")  # fmt: skip


@pytest.fixture
def forgetful():
    """For tests that edit files: what provenance remembers of them is forgotten, also for the tests behind."""

    def forget():
        for cached in (provenance.modules, provenance._nodes, provenance._imports, provenance._meaning):
            cached.cache_clear()

    forget()
    yield forget
    forget()


def uses(script) -> dict[str, set[str]]:
    """The modules of the library that a script uses, by chapter."""
    found: dict[str, set[str]] = {}
    for path in provenance.modules(SCRIPTS / script):
        chapter, *name = path.relative_to(LIBRARY).with_suffix("").parts
        if name and name != ["__init__"]:
            found.setdefault(chapter, set()).add(name[0])
    return found


@pytest.mark.parametrize("script", EXPENSIVE)
def test_what_may_rerun_a_script_that_costs_hours(script):
    listed = dict(part.split(": ") for part in EXPENSIVE[script].split("; "))
    assert uses(f"{script}.py") == {chapter: set(modules.split()) for chapter, modules in listed.items()}


def test_a_new_grader_or_another_colour_asks_no_model():
    for script in EXPENSIVE.keys() - {"reinforce", "reinforce_prompts"}:  # RL is rewarded by the grader
        assert not {"grading", "claims", "report", "study"} & uses(f"{script}.py").keys(), script
    # A new grader judges the swaps again, and draws what that has changed: figures know the names of verdicts alone.
    assert uses("draw.py")["grading"] == {"outcome"}
    assert "grading" in uses("judge_swaps.py")


def test_imports_run_one_way():
    odd = []
    for path in LIBRARY.rglob("*.py"):
        mine = path.relative_to(LIBRARY).parts[0].removesuffix(".py")
        for other in provenance._imports(path):
            theirs = other.relative_to(LIBRARY).parts[0].removesuffix(".py")
            if "__init__" not in (mine, theirs) and theirs != mine and CHAPTERS.index(theirs) >= CHAPTERS.index(mine):
                odd.append(f"{path.relative_to(LIBRARY)} imports {other.relative_to(LIBRARY)}")
    assert not odd
    assert {path.name.removesuffix(".py") for path in LIBRARY.iterdir()} - {
        "__init__",
        "__pycache__",
        "py.typed",
    } == set(CHAPTERS)


def test_the_hash_forgets_where_a_module_lies(tmp_path, forgetful):
    bodies = {}
    for place in ("one", "two"):
        (tmp_path / place).mkdir()
        bodies[place] = tmp_path / place / f"{place}.py"
        bodies[place].write_text(f"from .{place}_errors import InputError\n\nANSWER = 42\n")
    assert provenance.code_hash(bodies["one"]) == provenance.code_hash(bodies["two"])
    bodies["two"].write_text("from .two_errors import InputError\n\nANSWER = 43\n")
    forgetful()
    assert provenance.code_hash(bodies["one"]) != provenance.code_hash(bodies["two"])


def test_a_script_is_in_its_own_hash(tmp_path, forgetful):
    script = tmp_path / "plot.py"
    script.write_text("print(1)\n")
    before = provenance.code_hash(script)
    script.write_text("print(2)\n")
    forgetful()
    assert provenance.code_hash(script) != before


def test_comments_are_what_the_tokenizer_takes_for_them(tmp_path):
    """Every file of the library without its comments means the same, and a # in a string is none."""
    for path in LIBRARY.rglob("*.py"):
        lines = path.read_text().split("\n")
        for token in tokenize.generate_tokens(io.StringIO(path.read_text()).readline):
            if token.type == tokenize.COMMENT:
                lines[token.start[0] - 1] = lines[token.start[0] - 1][: token.start[1]]
        bare = tmp_path / "bare.py"
        bare.write_text("\n".join(lines))
        provenance._meaning.cache_clear()
        provenance._nodes.cache_clear()
        assert provenance._meaning(bare) == provenance._meaning(path), path
    odd = tmp_path / "odd.py"
    odd.write_text("""x = "é # kept"  # é gone\ny = f"{x}#kept", '#'  #gone\nz = b'#'\n""")
    assert provenance._meaning(odd).decode() == """x = "é # kept"\ny = f"{x}#kept", '#'\nz = b'#'"""


def test_the_hash_follows_the_code(tmp_path, monkeypatch, forgetful):
    root = shutil.copytree(Path(frankenstein.__file__).parent, tmp_path / "frankenstein")
    monkeypatch.setattr(provenance, "_ROOT", root)

    def hashes():
        forgetful()
        return {script: provenance.code_hash(SCRIPTS / script) for script in ("merge.py", "score.py", "draw.py")}

    before = hashes()
    assert hashes() == before
    saved = (root / "merging" / "hybrids.py").read_text()
    cosmetic = (
        saved.replace('"""', '"""Said otherwise. ', 1)
        .replace("\ndef ", "\n\n# A comment.\n\ndef ")
        .replace("return made", "return made  # so")
    )
    assert cosmetic != saved
    (root / "merging" / "hybrids.py").write_text(cosmetic)
    assert hashes() == before
    asked = root / "grading" / "judge.py"
    asked.write_text(asked.read_text().replace("Reference answer:", "\nReference answer:"))
    forgetful()
    assert b"\n\n\nReference answer" in provenance._meaning(asked)  # a blank line of a prompt is no layout
    (root / "merging" / "hybrids.py").write_text(saved + "\nEDITED = True\n")
    after = hashes()
    assert {script for script in before if before[script] != after[script]} == {"merge.py"}


# Rules that an edit of a module runs again; what depends on their files follows as those change.
_FIGURES = "figure2 figure3 figure4 heatmap figure5 figure6 spectra doses controls training"
_TABLES = "table2 table3 rewarded attention_differences energy overlaps regions"
_TRAINED = "pretrain finetune reinforce reinforce_prompts"
EDITS = {
    "probes/sweep.py": "swap_vision_tokens skip_layers",
    "probes/decoder.py": "swap_vision_tokens skip_layers attention attention_on_text",
    "probes/attention.py": "attention attention_on_text",
    "grading/rules.py": "grade grade_hybrids judge_skips judge_swaps reinforce_prompts",
    "grading/numbers.py": "grade grade_hybrids judge_skips judge_swaps reinforce reinforce_prompts score",
    "updates/matrices.py": f"weight_updates {_TABLES}",
    "updates/vectors.py": "weight_updates",
    "merging/hybrids.py": "merge",
    "merging/memory.py": "generate_hybrids",
    "merging/links.py": "merge shard_for_links",
    "models/families/llava_onevision.py": "",  # but see family_hash below
    "inference/engines.py": "generate generate_hybrids describe judge",
    "training/grpo.py": "reinforce reinforce_prompts",
    "claims/scoring.py": "score",
    "claims/verdicts.py": "test_claims write_report",
    "claims/testing.py": "test_claims write_report",
    "claims/statistics.py": "doses test_claims write_report",
    "report/drawing.py": f"{_FIGURES} {_TABLES} test_claims write_report",
    "report/figures/figure3.py": f"figure3 {_TABLES} write_report",
    "report/page.py": "write_report",
    "study/schema.py": "",
    "study/jobs.py": "",
    "cli/studies.py": "",
}


def _hashes_by_rule() -> dict[str, str]:
    text = "".join(path.read_text() for path in sorted((ROOT / "rules").glob("*.smk")))
    found = {}
    for of, name, body in re.findall(
        r"^(?:use rule (\w+) as|rule) (\w+)(.*?)(?=^rule |^use rule |\Z)", text, re.M | re.S
    ):
        if coded := re.search(r"code=code\(([^)]*)\)", body):
            script, *modules = re.findall(r'"([^"]+)"', coded[1])
            found[name] = provenance.code_hash(SCRIPTS / script, *modules)
        elif of:  # a rule made of another may leave its params as they are
            found[name] = found[of]
    return found


@pytest.mark.parametrize("module", EDITS)
def test_what_an_edited_module_runs_again(monkeypatch, module):
    before, unedited = _hashes_by_rule(), provenance._meaning
    edit = {LIBRARY / module: b"EDITED = True"}
    assert (LIBRARY / module).exists()
    monkeypatch.setattr(provenance, "_meaning", lambda path: unedited(path) + edit.get(path, b""))
    after = _hashes_by_rule()
    assert {rule for rule in before if before[rule] != after[rule]} == set(EDITS[module].split())


@pytest.mark.parametrize(
    ("edited", "study"), [("llava_onevision", "given"), ("qwen3_vl", "hub"), ("qwen2_5_vl", "trained")]
)
def test_an_edited_family_runs_again_what_is_of_it(monkeypatch, tmp_path, edited, study):
    """The families of checkpoints that are given, fetched and trained, each known from another file."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(hub, "cache", lambda: tmp_path / "cache")
    config = yaml.safe_load((ROOT / "config" / "micro.yaml").read_text()) | {"chapters": ["updates"]}
    jobs = {"trained": Jobs(load(config))}
    config["checkpoints"] = {name: {"path": f"given/{name}"} for name in ("base", "one-in", "one-rl")}
    config["recipes"]["one"]["runs"] = [{"in": "one-in", "rl": "one-rl"}]
    jobs["given"] = Jobs(load(config))
    config["checkpoints"] = {name: {"hub": f"a/{name}", "revision": "0" * 40} for name in config["checkpoints"]}
    jobs["hub"] = Jobs(load(config))

    def write(path: Path, **record):
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(record))

    def hashes():
        return {name: made.family_hash("one-in") for name, made in jobs.items()}

    write(tmp_path / "given/one-in/config.json", model_type="llava_onevision")
    assert hashes()["hub"] is None
    write(hub.cached("a/one-in", "0" * 40, "config.json"), model_type="qwen3_vl")
    before, unedited = hashes(), provenance._meaning
    assert len(set(before.values()) - {None}) == 3
    write(tmp_path / jobs["hub"].manifest("one-in"), family="qwen3_vl")
    shutil.rmtree(tmp_path / "cache")
    assert hashes() == before
    edit = {LIBRARY / "models" / "families" / f"{edited}.py": b"EDITED = True"}
    monkeypatch.setattr(provenance, "_meaning", lambda path: unedited(path) + edit.get(path, b""))
    assert {name for name, found in hashes().items() if found != before[name]} == {study}


def test_every_rule_that_reads_a_family_has_its_hash():
    """But for those that make or adopt a checkpoint, of which only `model_type` is recorded, and those that read tables."""
    text = "".join(path.read_text() for path in (ROOT / "rules").glob("*.smk"))
    rules = {re.match(r"\w+", part)[0]: part for part in re.split(r"^rule ", text, flags=re.M)[1:]}
    reading = {
        name
        for name in rules
        if (SCRIPTS / f"{name}.py").exists() and "family" in uses(f"{name}.py").get("models", set())
    }
    assert reading - {name for name, rule in rules.items() if "family=family," in rule} == {
        "pretrain",
        "adopt_checkpoint",
        "fetch_checkpoint",
    }


@pytest.mark.parametrize("script", sorted(path.name for path in SCRIPTS.glob("*.py")))
def test_scripts_are_thin_and_belong_to_a_rule(script):
    rules = "".join(path.read_text() for path in (ROOT / "rules").glob("*.smk"))
    assert f"workflow/scripts/{script}" in rules
    assert f'code=code("{script}"' in rules
    assert len((SCRIPTS / script).read_text().splitlines()) <= 45
    assert "snakemake.config" not in (SCRIPTS / script).read_text()


def test_every_rule_has_a_log_a_benchmark_and_resources():
    for path in (ROOT / "rules").glob("*.smk"):
        for rule in re.split(r"^rule ", path.read_text(), flags=re.M)[1:]:
            for directive in ("log:", "benchmark:", "resources:", "mem_mb=", "runtime=", "conda:", "script:"):
                assert directive in rule, f"{path.name}: rule {rule.split(':')[0]} has no {directive}"


@pytest.mark.parametrize(("name", "extra"), [("frankenstein", []), ("vllm", ["vllm"])])
def test_the_conda_environments_agree_with_pyproject(name, extra):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    environment = yaml.safe_load((ROOT / "envs" / f"{name}.yaml").read_text())
    pip = next(entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict))
    of_extra = [requirement for one in extra for requirement in project["optional-dependencies"][one]]
    assert sorted(pip) == sorted([*project["dependencies"], *of_extra])


@pytest.mark.parametrize(("lock", "tests"), [("constraints.txt", True), ("constraints-vllm.txt", False)])
def test_the_lock_files_meet_the_bounds(lock, tests):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    also = [*(extras[name] for name in ("api", "slurm", "cluster-generic", "docs", "xlsx")), extras["test"][1:]]
    wanted = [*project["dependencies"], *itertools.chain(*(also if tests else [extras["vllm"]]))]
    assert extras["test"][0] == "frankenstein-vlm[api,cluster-generic,docs,slurm,xlsx]"
    lines = [line for line in (ROOT / lock).read_text().splitlines() if "==" in line]
    locked = {name.lower().replace("_", "-"): version for name, version in (line.split("==") for line in lines)}
    for requirement in wanted:
        name, bound = requirement.split(">=")
        version = [int(part) for part in re.findall(r"\d+", locked[name.lower().replace("_", "-")])]
        assert version >= [int(part) for part in re.findall(r"\d+", bound)], requirement
