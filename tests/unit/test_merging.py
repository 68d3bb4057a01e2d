import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from frankenstein import anatomy, checkpoints, merging
from frankenstein.errors import InputError
from frankenstein.generation import Prompt, encode
from frankenstein.regions import HYBRIDS, Hybrid, Regions

REGIONS = Regions((3, 6), 9)


@pytest.mark.parametrize("hybrid", HYBRIDS, ids=str)
@pytest.mark.parametrize("rest_from", ["early", "in", "rl"])
def test_every_tensor_is_its_donors(tiny, moved, tmp_path, hybrid, rest_from):
    """Against the plain twin: walk the names by hand and compare bytes."""
    out = tmp_path / "hybrid"
    merging.merge(tiny, moved, out, hybrid, REGIONS, rest_from)
    merging.verify(out)
    parents = {"IN": load_file(tiny / "model.safetensors"), "RL": load_file(moved / "model.safetensors")}
    merged = load_file(out / "model.safetensors")
    account = json.loads((out / "merge_manifest.json").read_text())["tensors"]
    assert set(merged) == set(parents["IN"]) == set(account)
    early, mid, late = hybrid.donors
    for name, tensor in merged.items():
        if ".layers." in name:
            layer = int(name.split(".layers.")[1].split(".")[0])
            donor = early if layer < 3 else mid if layer < 6 else late
        else:
            donor = {"early": early, "in": "IN", "rl": "RL"}[rest_from]
        assert torch.equal(tensor, parents[donor][name]), name
        assert not torch.equal(tensor, parents["RL" if donor == "IN" else "IN"][name]), name
        assert account[name]["donor"] == donor


def test_a_hybrid_loads_and_differs_from_both_parents(tiny, moved, tmp_path):
    merging.merge(tiny, moved, tmp_path / "hybrid", Hybrid.parse("IN:RL:RL"), REGIONS, "early")
    logits = {}
    for name, path in {"IN": tiny, "RL": moved, "hybrid": tmp_path / "hybrid"}.items():
        model, processor = checkpoints.load_model(path)
        logits[name] = model(**encode(processor, [Prompt("how many shapes are there?")])).logits
    assert not torch.allclose(logits["hybrid"], logits["IN"])
    assert not torch.allclose(logits["hybrid"], logits["RL"])


def test_the_hybrid_of_one_donor_is_that_donor(tiny, moved, tmp_path):
    merging.merge(tiny, moved, tmp_path / "hybrid", Hybrid(("RL", "RL", "RL")), REGIONS, "early")
    merged, donor = (load_file(path / "model.safetensors") for path in (tmp_path / "hybrid", moved))
    assert all(torch.equal(merged[name], donor[name]) for name in donor)


def test_verify_finds_a_tensor_that_is_not_its_donors(tiny, moved, tmp_path):
    out = tmp_path / "hybrid"
    merging.merge(tiny, moved, out, Hybrid.parse("IN:RL:RL"), REGIONS, "early")
    tensors = load_file(out / "model.safetensors")
    name = "model.layers.7.mlp.up_proj.weight"
    tensors[name][0, 0] += 1e-6
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"layers\.7\.mlp\.up_proj\.weight' differs from its donor RL"):
        merging.verify(out)
    del tensors[name]
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match="but not in both"):
        merging.verify(out)


def test_parents_of_another_depth_are_refused(tiny, moved, tmp_path):
    with pytest.raises(InputError, match="9 decoder layers, but the regions were cut for 12"):
        merging.merge(tiny, moved, tmp_path / "x", HYBRIDS[0], Regions((3, 6), 12), "early")
    assert not (tmp_path / "x").exists()


def test_bf16_parents_are_copied_byte_for_byte(tiny, moved, tmp_path):
    halves = []
    for name, path in (("a", tiny), ("b", moved)):
        tensors = {key: value.bfloat16() for key, value in load_file(path / "model.safetensors").items()}
        (tmp_path / name).mkdir()
        save_file(tensors, tmp_path / name / "model.safetensors", metadata={"format": "pt"})
        (tmp_path / name / "config.json").write_text((path / "config.json").read_text())
        halves.append(tmp_path / name)
    merging.merge(*halves, tmp_path / "hybrid", HYBRIDS[0], REGIONS, "early")
    merging.verify(tmp_path / "hybrid")
    assert {t.dtype for t in load_file(tmp_path / "hybrid" / "model.safetensors").values()} == {torch.bfloat16}


def test_donors_cover_every_tensor_once(tiny):
    names = sorted(checkpoints.Weights(tiny))
    plan = merging.donors(names, Hybrid.parse("RL:IN:RL"), REGIONS, "in")
    assert list(plan) == names
    assert {plan[name] for name in names if anatomy.part_of(name).layer is None} == {"IN"}
