import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from frankenstein.core.errors import InputError
from frankenstein.models import architecture, checkpoints, loading, manifests
from frankenstein.models.weights import Weights, check_same_shapes


@pytest.fixture
def copy(tiny, tmp_path):
    return shutil.copytree(tiny, tmp_path / "copy")


def rewrite(directory, edit):
    path = directory / "model.safetensors"
    tensors = load_file(path)
    edit(tensors)
    save_file(tensors, path, metadata={"format": "pt"})


def shard(directory):
    """The same checkpoint in two files with an index."""
    tensors = load_file(directory / "model.safetensors")
    names = sorted(tensors)
    parts = {
        "model-00001-of-00002.safetensors": names[: len(names) // 2],
        "model-00002-of-00002.safetensors": names[len(names) // 2 :],
    }
    for file, part in parts.items():
        save_file({name: tensors[name] for name in part}, directory / file, metadata={"format": "pt"})
    index = {name: file for file, part in parts.items() for name in part}
    (directory / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    (directory / "model.safetensors").unlink()


def test_a_whole_checkpoint_gets_a_manifest(copy):
    manifest = copy / "manifest.json"
    checkpoints.write_manifest(manifest, copy, {"train": "test"})
    record = json.loads(manifest.read_text())
    assert record["layers"] == 9
    assert record["family"] == "qwen2_5_vl"
    assert record["files"]["model.safetensors"]["sha256"] == manifests.sha256(copy / "model.safetensors")
    assert record["parameters"] == sum(tensor.numel() for tensor in load_file(copy / "model.safetensors").values())
    assert manifests.directory_of(manifest) == copy


def test_a_manifest_can_lie_elsewhere(copy, tmp_path):
    manifest = tmp_path / "manifest.json"
    checkpoints.write_manifest(manifest, copy, {})
    assert manifests.directory_of(manifest) == copy


def test_a_changed_file_is_named(copy):
    checkpoints.write_manifest(copy / "manifest.json", copy, {})
    with open(copy / "model.safetensors", "ab") as file:
        file.write(b"x")
    with pytest.raises(InputError, match=r"model\.safetensors: missing or changed"):
        manifests.directory_of(copy / "manifest.json")


def test_shards_read_as_one_file_does(copy, tiny):
    shard(copy)
    whole, parts = Weights(tiny), Weights(copy)
    assert set(whole) == set(parts)
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


def damage_truncate(directory):
    data = (directory / "model.safetensors").read_bytes()
    (directory / "model.safetensors").write_bytes(data[: len(data) // 2])


def damage_shard(directory):
    shard(directory)
    (directory / "model-00002-of-00002.safetensors").unlink()


def damage_index(directory):
    """One shard was saved without a tensor that the index promises."""
    shard(directory)
    path = directory / "model-00001-of-00002.safetensors"
    tensors = load_file(path)
    tensors.pop(next(iter(tensors)))
    save_file(tensors, path, metadata={"format": "pt"})


def damage_cut_index(directory):
    shard(directory)
    path = directory / "model.safetensors.index.json"
    path.write_text(path.read_text()[:100])


def damage_no_index(directory):
    """The first shard alone, with part of the layers."""
    shard(directory)
    (directory / "model.safetensors.index.json").unlink()
    (directory / "model-00002-of-00002.safetensors").unlink()


def damage_pickle(directory):
    (directory / "model.safetensors").rename(directory / "pytorch_model.bin")


def damage_nan(directory):
    def edit(tensors):
        tensors["model.layers.4.mlp.up_proj.weight"][3, 3] = float("nan")

    rewrite(directory, edit)


def damage_config(directory):
    (directory / "config.json").write_text('{"model_type": "qwen2_5')


def damage_family(directory):
    (directory / "config.json").write_text('{"model_type": "llama"}')


def damage_name(directory):
    rewrite(directory, lambda tensors: tensors.update({"model.adapter.weight": torch.zeros(1)}))


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (shutil.rmtree, "no config.json"),
        (damage_truncate, r"model\.safetensors: incomplete or damaged"),
        (damage_shard, r"model-00002-of-00002\.safetensors: missing shard"),
        (damage_index, r"index\.json: 'model\..*' is not in model-00001-of-00002\.safetensors"),
        (damage_cut_index, r"index\.json: incomplete or damaged"),
        (damage_no_index, r"config\.json declares 9 decoder layers"),
        (damage_pickle, r"no \.safetensors file \(pickled weights are not read\)"),
        (damage_nan, r"layers\.4\.mlp\.up_proj\.weight' holds NaN"),
        (damage_config, r"config\.json: not JSON"),
        (damage_family, r"no num_hidden_layers"),
        (damage_name, r"'model\.adapter\.weight' is no tensor of a qwen2_5_vl model"),
    ],
)
def test_a_damaged_checkpoint_is_one_clear_error_and_no_manifest(copy, damage, says, tmp_path):
    damage(copy)
    with pytest.raises(InputError, match=says):
        checkpoints.write_manifest(tmp_path / "manifest.json", copy, {})
    assert not (tmp_path / "manifest.json").exists()


def test_every_parameter_has_a_part(tiny):
    weights = Weights(tiny)
    parts = {name: weights.part(name) for name in weights}
    layers = {part.layer for part in parts.values() if part.component == "layer"}
    assert layers == set(range(9))
    seven = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}
    assert [part.matrix for part in parts.values() if part.component == "layer" and part.matrix].count("q_proj") == 9
    assert {part.matrix for part in parts.values() if part.component == "layer"} == {*seven, ""}
    vision = {
        (part.block, part.matrix) for part in parts.values() if part.component == "vision_tower" and part.depth == 1
    }
    assert vision == {("attention", m) for m in ("qkv", "proj")} | {
        ("mlp", m) for m in ("gate_proj", "up_proj", "down_proj")
    } | {("norm", ""), ("attention", ""), ("mlp", "")}
    assert {part.matrix for part in parts.values() if part.component == "projector"} == {
        "merger.mlp.0",
        "merger.mlp.2",
        "",
    }
    assert {part.component for part in parts.values()} >= {
        "embeddings",
        "layer",
        "final_norm",
        "vision_tower",
        "projector",
    }


@pytest.mark.parametrize("prefix", ["model.language_model.", "model."])
def test_prefix_conventions_name_the_same_part(tiny, prefix):
    """Files of newer and older transformers."""
    own = ["layers.3.self_attn.q_proj.weight", "layers.3.self_attn.q_proj.bias", "norm.weight"]
    (matrix, part), (_, of_bias), (_, of_norm) = architecture.canonical_parts(tiny, [prefix + o for o in own]).values()
    assert matrix == "layers.3.self_attn.q_proj.weight"
    assert part == architecture.Part("layer", 3, "attention", "q_proj", 3)
    assert (of_bias.block, of_bias.matrix, of_norm.component) == ("attention", "", "final_norm")


def test_vision_by_either_name(tiny):
    names = ["model.visual.merger.mlp.0.weight", "visual.blocks.0.attn.qkv.weight"]
    (_, merger), (_, qkv) = architecture.canonical_parts(tiny, names).values()
    assert (merger.component, merger.matrix) == ("projector", "merger.mlp.0")
    assert qkv == architecture.Part("vision_tower", None, "attention", "qkv", 0)


def test_parts_are_remembered(tiny, monkeypatch, tmp_path):
    """What was found once is read from the user's cache; a cache that cannot be written to costs time only."""
    names = ["model.layers.0.mlp.up_proj.weight", "lm_head.weight", "other"]
    with monkeypatch.context() as patched:
        patched.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        first = architecture.canonical_parts(tiny, names)
        patched.setattr(architecture, "empty_model", lambda directory: pytest.fail("looked again"))
        assert architecture.canonical_parts(tiny, names) == first
    assert first["other"] == ("other", None)
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert architecture.canonical_parts(tiny, names) == first


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"model_type": "kimi_vl", "auto_map": {"AutoModel": "modeling.K"}}, "kimi_vl.*repository, which is not run"),
        ({"model_type": "gpt7"}, "'gpt7' is unknown to transformers"),
        ({"model_type": "t5"}, "neither a vision-language nor a language model"),
        ({}, "no model_type"),
    ],
)
def test_other_models_are_refused_before_weights_are_read(copy, config, says):
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=says):
        Weights(copy)


def test_another_size_is_named(tiny, copy):
    def edit(tensors):
        name = "model.layers.0.mlp.up_proj.weight"
        tensors[name] = tensors[name][:-1].clone()

    rewrite(copy, edit)
    with pytest.raises(InputError, match="not the same model size"):
        check_same_shapes({"IN": Weights(tiny), "RL": Weights(copy)})


def test_a_checkpoint_that_lacks_a_tensor_does_not_load(copy):
    """transformers would fill the gap with random numbers and a warning."""
    rewrite(copy, lambda tensors: tensors.pop("model.layers.3.mlp.up_proj.weight"))
    with pytest.raises(InputError, match="missing keys"):
        loading.load_model(copy)


def test_strips_are_the_tensors_rows_and_columns(tiny, tmp_path):
    shutil.copy(tiny / "config.json", tmp_path)
    tensors = {
        "model.norm.weight": torch.randn(3).half(),
        "model.layers.0.mlp.up_proj.weight": torch.randn(7, 11).bfloat16(),
        "visual.patch_embed.proj.weight": torch.randn(5, 2, 3, 4),
    }
    save_file(tensors, tmp_path / "model.safetensors")
    weights = Weights(tmp_path)
    for name, tensor in tensors.items():
        if tensor.ndim > 1:
            whole = tensor.flatten(1).float()
            for start, stop in ((0, 4), (3, 6), (4, 100)):
                assert np.array_equal(weights.strip(name.removeprefix("model."), 0, start, stop), whole[start:stop])
                assert np.array_equal(weights.strip(name.removeprefix("model."), 1, start, stop), whole[:, start:stop])
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-600])
    with pytest.raises(InputError, match=r"model\.safetensors: ends within 'visual"):
        weights.strip("visual.patch_embed.proj.weight", 0, 0, 9)
