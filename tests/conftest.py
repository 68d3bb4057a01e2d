import os
from pathlib import Path

import pytest
import torch
import yaml

os.environ.setdefault("HF_HUB_OFFLINE", "1")

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared" / "data"
SHAPE = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "layers": 9,
    "heads": 4,
    "kv_heads": 2,
    "vision_hidden_size": 32,
    "vision_layers": 2,
    "vocab_size": 400,
    "initializer_range": 0.06,
}


def one_run_each() -> dict:
    """The mini study's configuration with one run per recipe, each the other's seed baseline."""
    config = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())
    one, two = config["recipes"]["one"], config["recipes"]["two"]
    one |= {"frozen": one.pop("runs")[0]["frozen"], "retrained": "two-in"}
    del two["runs"]
    two["retrained"] = "one-in"
    return config


def pytest_collection_modifyitems(items):
    """All that runs the workflow is slow."""
    for item in items:
        if "workflow" in Path(item.path).parts[-2:]:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory) -> Path:
    """An untrained checkpoint of nine decoder layers."""
    from frankenstein.mini import model

    directory = tmp_path_factory.mktemp("tiny")
    model.build(directory, seed=1, shape=SHAPE, system_prompts=["think first."])
    return directory


@pytest.fixture(scope="session")
def moved(tiny, tmp_path_factory) -> Path:
    """The tiny checkpoint with every parameter moved a little: an RL to its IN."""
    from frankenstein.training.sft import load, save

    model, processor = load(tiny)
    torch.manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    directory = tmp_path_factory.mktemp("moved")
    save(model, processor, directory)
    return directory


@pytest.fixture(scope="session")
def loaded(tiny):
    """(model, processor) of the tiny checkpoint, with attention weights at hand."""
    from frankenstein.models.loading import load_model

    return load_model(tiny, attention="eager")


@pytest.fixture
def shared() -> Path:
    if not SHARED.is_dir():
        pytest.skip(f"no real data at {SHARED}")
    return SHARED


@pytest.fixture(scope="session")
def micro(tmp_path_factory) -> Path:
    """A copy of the repository in which the micro study has run to its end."""
    from study import copy_repository, snakemake

    repository = copy_repository(tmp_path_factory.mktemp("micro") / "repository")
    snakemake(repository)
    return repository


@pytest.fixture(scope="session")
def results(micro) -> Path:
    return micro / "results" / "micro"
