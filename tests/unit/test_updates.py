import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from frankenstein import profiles, updates
from frankenstein.regions import Regions


def plant(source, target, edit):
    tensors = load_file(source / "model.safetensors")
    edit(tensors)
    target.mkdir(exist_ok=True)
    save_file(tensors, target / "model.safetensors", metadata={"format": "pt"})
    (target / "config.json").write_text((source / "config.json").read_text())
    return target


def name_of(layer, matrix="mlp.up_proj"):
    return f"model.layers.{layer}.{matrix}.weight"


def test_norms_and_spectra_equal_numpys(tiny, moved):
    a, b = (load_file(path / "model.safetensors") for path in (tiny, moved))
    found = list(updates.updates(tiny, moved))
    assert len(found) == 9 * 7
    for record, sigma in found:
        stored = "model." + record["parameter"]
        delta = b[stored].numpy().astype(np.float32) - a[stored].numpy().astype(np.float32)
        expected = np.linalg.svd(delta.astype(np.float64), compute_uv=False)
        np.testing.assert_allclose(sigma, expected, rtol=1e-8, atol=1e-12)
        assert record["frobenius"] == pytest.approx(np.linalg.norm(delta.astype(np.float64)), rel=1e-10)
        assert record["frobenius_rms"] == pytest.approx(record["frobenius"] / delta.size**0.5)
        assert record["stable_rank"] == pytest.approx((expected**2).sum() / expected[0] ** 2)
        assert 1 <= record["stable_rank"] <= record["effective_rank"] ** 2


def test_a_zero_update_gives_zeros(tiny):
    for record, sigma in updates.updates(tiny, tiny):
        assert not sigma.any()
        numbers = [value for value in record.values() if isinstance(value, float)]
        assert all(np.isfinite(numbers))
        assert record["frobenius"] == record["stable_rank"] == record["effective_rank"] == 0


def test_a_planted_low_rank_update_is_found_where_it_is(tiny, tmp_path):
    torch.manual_seed(0)

    def edit(tensors):
        weight = tensors[name_of(4)]
        weight += 0.1 * torch.outer(torch.randn(weight.shape[0]), torch.randn(weight.shape[1]))

    after = plant(tiny, tmp_path / "after", edit)
    records = {(r["layer"], r["matrix"]): (r, sigma) for r, sigma in updates.updates(tiny, after)}
    record, sigma = records.pop((4, "up_proj"))
    assert record["stable_rank"] == pytest.approx(1, abs=1e-6)
    assert sigma[1] / sigma[0] < 1e-6
    assert all(other["frobenius"] == 0 for other, _ in records.values())


def test_small_updates_of_float32_checkpoints_are_not_lost(tiny, tmp_path):
    """In float16 a delta of 1e-8 is zero: defect 8 of the public scripts."""

    def edit(tensors):
        tensors[name_of(0)] += 1e-8

    before = plant(tiny, tmp_path / "before", lambda tensors: tensors[name_of(0)].zero_())
    after = plant(before, tmp_path / "after", edit)
    record = next(r for r, _ in updates.updates(before, after) if (r["layer"], r["matrix"]) == (0, "up_proj"))
    assert record["frobenius_rms"] == pytest.approx(1e-8, rel=1e-5)


def test_stages_of_different_dtype_are_subtracted_in_float32(tiny, tmp_path):
    def halve(tensors):
        for name in tensors:
            tensors[name] = tensors[name].bfloat16()

    half = plant(tiny, tmp_path / "half", halve)
    record, _ = next(updates.updates(half, tiny))
    assert 0 < record["frobenius"] / record["weight_norm"] < 2**-8


def test_layer_energy_is_the_root_of_the_sum_of_squares(tiny, moved):
    import pandas as pd

    records = pd.DataFrame([{"recipe": "one", "stage": "RL", **record} for record, _ in updates.updates(tiny, moved)])
    energy = profiles.energy(records, Regions((3, 6), 9))
    layer2 = records[records.layer == 2]
    row = energy[energy.layer == 2].iloc[0]
    assert row.frobenius == pytest.approx((layer2.frobenius**2).sum() ** 0.5)
    assert row.frobenius_rms == pytest.approx(row.frobenius / layer2.entries.sum() ** 0.5)
    assert energy.share.sum() == pytest.approx(1)
    assert list(energy.region) == ["early"] * 3 + ["mid"] * 3 + ["late"] * 3
