"""`frankenstein init`: a file from what the checkpoints' config.json says."""

import json
import os
import pty
import subprocess
import sys

import pytest
import yaml
from conftest import ROOT
from hubserver import HubServer

from frankenstein import cli
from frankenstein.core.errors import InputError
from frankenstein.study import config, new


def checkpoint(path, **changes):
    """A directory that says what it is: a Qwen2.5-VL of 36 layers."""
    path.mkdir(parents=True)
    config = {"model_type": "qwen2_5_vl", "num_hidden_layers": 36, "hidden_size": 2048, "vision_config": {}} | changes
    (path / "config.json").write_text(json.dumps({key: value for key, value in config.items() if value is not None}))
    (path / "model.safetensors").touch()
    return str(path)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config").mkdir()
    return {name: checkpoint(tmp_path / "models" / name) for name in ("base", "sft", "rl")}


def test_a_study_of_three_directories(here, tmp_path, capsys):
    cli.main(["init", "--base", here["base"], "--in", here["sft"], "--rl", here["rl"], "--name", "own"])
    made = tmp_path / "config" / "own.yaml"
    study = config.load(yaml.safe_load(made.read_text()))
    assert study.study == "own"
    assert study.regions.cuts == (12, 24)
    assert {name: source.path for name, source in study.checkpoints.items()} == {
        "base": here["base"], "in": here["sft"], "rl": here["rl"],
    }  # fmt: skip
    said = capsys.readouterr().out
    assert f"{here['rl']} (qwen2_5_vl, 36 decoder layers, width 2048)" in said
    assert "frankenstein run config/own.yaml" in said
    assert "pin" not in said
    with pytest.raises(SystemExit, match=r"config/own\.yaml: exists; choose another --name"):
        cli.main(["init", "--in", here["sft"], "--rl", here["rl"], "--name", "own"])


def test_without_a_base_the_in_describes(here, tmp_path):
    cli.main(["init", "--in", here["sft"], "--rl", here["rl"], "-o", "mine.yaml"])
    study = config.load(yaml.safe_load((tmp_path / "mine.yaml").read_text()))
    assert study.recipes["mine"].base is None
    assert study.descriptions.checkpoint == "in"
    assert not study.of("localization", "updates")


def test_hub_ids_whose_config_is_not_at_hand_are_written_and_flagged(here, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(new, "_from_hub", lambda repo: None)
    cli.main(["init", "--in", "lab/sft", "--rl", "lab/rl", "--name", "hub"])
    text = (tmp_path / "config" / "hub.yaml").read_text()
    assert "cuts: [10, 19] # first layers of Mid and of Late, IF IT HAS 28" in text
    said = capsys.readouterr().out
    assert "! no config.json could be read: check regions.cuts in config/hub.yaml" in said
    assert "frankenstein pin config/hub.yaml" in said
    cli.main(["init", "--in", "lab/sft", "--rl", "lab/rl", "--name", "told", "--layers", "36"])
    assert "cuts: [12, 24]" in (tmp_path / "config" / "told.yaml").read_text()
    cli.main(["init", "--in", "lab/sft", "--rl", here["rl"], "--name", "half"])  # one stage tells for all
    assert "cuts: [12, 24]" in (tmp_path / "config" / "half.yaml").read_text()


def test_a_config_in_the_hubs_cache_is_found(tmp_path, monkeypatch):
    import huggingface_hub

    checkpoint(tmp_path / "snapshot", num_hidden_layers=28)
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda repo, file: str(tmp_path / "snapshot" / file))
    assert new.look("lab/rl") == new.Facts("lab/rl", False, "qwen2_5_vl", 28, 2048)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"in": "nowhere"}, "error: 'nowhere': neither a directory nor a Hub id"),
        ({"in": "empty"}, "error: empty: no .safetensors file"),
        ({"in": "deep"}, "deep and models/rl are not stages of one model: layers is 40 and 36"),
        ({"in": "other"}, "error: other and models/rl are not stages of one model: family is glm4v and qwen2_5_vl"),
        ({"in": "text"}, "error: text: llama is a language model, and this is about vision-language models"),
        ({"layers": "40"}, "error: --layers 40: models/sft has 36"),
        ({"name": "my study"}, "error: config: study: String should match pattern"),
    ],
)
def test_what_can_not_be_a_study_is_said_and_nothing_is_written(here, tmp_path, given, says):
    (tmp_path / "empty").mkdir()
    checkpoint(tmp_path / "deep", num_hidden_layers=40)
    checkpoint(tmp_path / "other", model_type="glm4v")
    checkpoint(tmp_path / "text", model_type="llama", vision_config=None)
    options = {"in": "models/sft", "rl": "models/rl", **given}
    with pytest.raises(SystemExit, match=says):
        cli.main(["init", *(part for key, value in options.items() for part in (f"--{key}", value))])
    assert not list((tmp_path / "config").iterdir())


def test_too_few_layers_for_three_regions():
    facts = new.Facts("x", True, "qwen2_5_vl", 2, 64)
    with pytest.raises(InputError, match="2 decoder layers: too few"):
        new.compose("x", None, facts, facts)


def test_on_a_terminal_it_asks_and_asks_again(here, tmp_path):
    ours, theirs = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "workflow"), "NO_COLOR": "1"}
    asked = subprocess.Popen(
        [sys.executable, "-m", "frankenstein", "init"], stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        cwd=tmp_path, env=environment, text=True,
    )  # fmt: skip
    os.write(ours, f"asked\n\nnowhere\n{here['sft']}\n{here['rl']}\n\n".encode())
    said, _ = asked.communicate(timeout=120)
    assert asked.returncode == 0, said
    assert "error: 'nowhere': neither a directory nor a Hub id" in said
    study = config.load(yaml.safe_load((tmp_path / "config" / "asked.yaml").read_text()))
    assert study.recipes["asked"].system_prompt == new.SYSTEM_PROMPT
    assert study.checkpoints["in"].path == here["sft"]


def test_without_a_terminal_it_does_not_wait(here, monkeypatch):
    monkeypatch.setattr(sys.stdin, "isatty", lambda: False, raising=False)
    with pytest.raises(SystemExit, match="error: init: --in and --rl are missing"):
        cli.main(["init"])


@pytest.mark.slow
def test_hub_ids_are_looked_up_on_the_hub(tmp_path):
    """On localhost, in processes of their own, for the Hub's address is read at import."""
    config = {"model_type": "qwen2_5_vl", "num_hidden_layers": 36, "hidden_size": 2048, "vision_config": {}}
    files = {"main": {"config.json": json.dumps(config).encode()}}
    server = HubServer({"lab/sft": files, "lab/rl": files, "lab/gated": files}, gated=["lab/gated"])
    environment = {
        "PYTHONPATH": str(ROOT / "workflow"), "HF_ENDPOINT": server.url, "HF_HOME": str(tmp_path / "home"),
        "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "NO_COLOR": "1",
    }  # fmt: skip

    def init(instruct: str, rl: str, name: str) -> str:
        made = subprocess.run(
            [sys.executable, "-m", "frankenstein", "init", "--in", instruct, "--rl", rl, "--name", name],
            cwd=tmp_path, env={**os.environ, **environment}, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        return made.stdout + made.stderr

    try:
        assert "lab/rl (qwen2_5_vl, 36 decoder layers, width 2048)" in init("lab/sft", "lab/rl", "found")
        assert "cuts: [12, 24]" in (tmp_path / "found.yaml").read_text()
        assert "error: lab/none: no such directory, and no such repository on the Hub" in init(
            "lab/none", "lab/rl", "no"
        )
        assert "lab/gated (its config.json could not be read here)" in init("lab/gated", "lab/rl", "gated")
    finally:
        server.close()
