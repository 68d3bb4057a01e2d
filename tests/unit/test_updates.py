import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

from frankenstein.claims import layer_samples, measurements
from frankenstein.claims.measurements import Measurements
from frankenstein.core.errors import InputError
from frankenstein.core.regions import Regions
from frankenstein.core.roles import Run
from frankenstein.models.weights import Weights
from frankenstein.report import tables
from frankenstein.report.figures import figure5, spectra
from frankenstein.updates import matrices, vectors


def plant(source, target, edit):
    tensors = load_file(source / "model.safetensors")
    edit(tensors)
    target.mkdir(exist_ok=True)
    save_file(tensors, target / "model.safetensors", metadata={"format": "pt"})
    (target / "config.json").write_text((source / "config.json").read_text())
    return target


NAME = "model.layers.0.mlp.up_proj.weight"


def name_of(layer, matrix="mlp.up_proj"):
    return f"model.layers.{layer}.{matrix}.weight"


def stored(path):
    """Tensors by canonical name."""
    return {name: Weights(path)[name] for name in Weights(path)}


def of(base, instruct, reinforced=None, **where):
    """{(component, layer, matrix): (record, sigma, space)} of one stage: RL where there is one."""
    made = {}
    for stage, record, sigma, space in matrices.updates(base, instruct, reinforced):
        if stage == ("RL" if reinforced else "IN"):
            made[record["component"], record["layer"], record["matrix"]] = record, sigma, space
    return made


def svd(delta):
    left, sigma, right = np.linalg.svd(delta, full_matrices=False)
    return left, sigma, right.T


def check_against_numpy(before, after, base, earlier, made):
    """The slow, obvious twin of one record: whole matrices, numpy's SVD."""
    record, sigma, _ = made
    name = record["parameter"]
    w, a, b = (x[name].double().flatten(1).numpy() for x in (base, before, after))
    delta = b - a
    left, expected, right = svd(delta)
    np.testing.assert_allclose(sigma, expected, rtol=1e-6, atol=1e-7 * expected[0])
    np.testing.assert_allclose(sigma[:5], expected[:5], rtol=1e-8)
    energy = (delta**2).sum()
    k = min(16, len(sigma))
    base_left, _, base_right = (part[:, :k] for part in (svd(w)[0], svd(w)[0], svd(w)[2]))
    share = expected / expected.sum()
    share = share[share > 0]
    cosine_left, cosine_right = left[:, :k].T @ base_left, right[:, :k].T @ base_right
    twin = {
        "entries": delta.size,
        "frobenius": energy**0.5,
        "frobenius_rms": (energy / delta.size) ** 0.5,
        "frobenius_relative": (energy / (a**2).sum()) ** 0.5,
        "weight_norm": (a**2).sum() ** 0.5,
        "spectral": expected[0],
        "nuclear": expected.sum(),
        "stable_rank": energy / expected[0] ** 2,
        "effective_rank": np.exp(-(share * np.log(share)).sum()),
        "participation_ratio": energy**2 / (expected**4).sum(),
        "energy_top_10": (expected[:10] ** 2).sum() / energy,
        "changed": (a != b).mean(),
        "overlap_left": (cosine_left**2).sum() / k,
        "overlap_right": (cosine_right**2).sum() / k,
        "angle_left": np.degrees(np.arccos(np.clip(svd(cosine_left)[1][0], 0, 1))),
        "principal_left": ((base_left.T @ delta) ** 2).sum() / energy,
        "principal_right": ((delta @ base_right) ** 2).sum() / energy,
        "principal": ((base_left.T @ delta @ base_right) ** 2).sum() / energy,
    }
    if earlier is not None:
        other = earlier[1][name].double().flatten(1).numpy() - earlier[0][name].double().flatten(1).numpy()
        twin["cosine_with_in"] = (delta * other).sum() / np.linalg.norm(delta) / np.linalg.norm(other)
    for key, value in twin.items():
        # An angle's cosine near 1 is its own bad measure.
        assert record[key] == pytest.approx(value, rel=1e-5, abs=0.05 if key.startswith("angle") else 1e-7), (name, key)


@pytest.fixture(scope="module")
def again(moved, tmp_path_factory):
    """A third checkpoint: the moved one, moved once more, sparsely."""

    def edit(tensors):
        torch.manual_seed(5)
        for tensor in tensors.values():
            if tensor.is_floating_point():
                tensor += 0.01 * torch.randn_like(tensor) * (torch.rand_like(tensor) < 0.2)

    return plant(moved, tmp_path_factory.mktemp("again"), edit)


@pytest.mark.parametrize("strip", [1024, 17])
def test_every_number_equals_numpys(tiny, moved, again, strip, monkeypatch):
    monkeypatch.setattr(matrices, "STRIP", strip)
    base, instruct, reinforced = map(stored, (tiny, moved, again))
    kinds = set()
    for stage, record, sigma, space in matrices.updates(tiny, moved, again):
        kinds.add(record["component"])
        if stage == "IN":
            check_against_numpy(base, instruct, base, None, (record, sigma, space))
        else:
            check_against_numpy(instruct, reinforced, base, (base, instruct), (record, sigma, space))
    assert kinds == {"layer", "vision_tower", "projector", "embeddings"}  # the head is tied


def test_one_pass_or_one_a_stage_is_no_matter(tiny, moved, again, monkeypatch):
    together = {(s, r["parameter"]): (r, sigma) for s, r, sigma, _ in matrices.updates(tiny, moved, again)}
    monkeypatch.setattr(matrices, "LARGE", 1)
    for stage, record, sigma, _ in matrices.updates(tiny, moved, again):
        assert record == together[stage, record["parameter"]][0]
        assert np.array_equal(sigma, together[stage, record["parameter"]][1])


def test_the_code_for_a_gpu_gives_the_same(tiny, moved, again, monkeypatch):
    """torch's own Gram matrix and eigenvectors, here on the CPU."""
    expected = {(s, r["parameter"]): (r, sigma) for s, r, sigma, _ in matrices.updates(tiny, moved, again)}
    monkeypatch.setattr(matrices, "_gram", lambda matrix: matrices._DeviceGram(min(matrix.rows, matrix.columns), "cpu"))
    for stage, record, sigma, _ in matrices.updates(tiny, moved, again):
        theirs, values = expected[stage, record["parameter"]]
        np.testing.assert_allclose(sigma, values, rtol=1e-6, atol=1e-7 * values[0])
        for key in (*matrices.GEOMETRY, "frobenius", "cosine_with_in"):
            tolerance = 0.05 if key.startswith("angle") else 1e-7
            assert record[key] == pytest.approx(theirs[key], rel=1e-5, abs=tolerance), key


def test_how_matrices_are_cut_into_blocks_changes_nothing(tiny, moved, again):
    whole = {(s, r["parameter"]): (r, sigma) for s, r, sigma, _ in matrices.updates(tiny, moved, again)}
    parts = [
        ((s, r["parameter"]), r, sigma)
        for block in range(3)
        for s, r, sigma, _ in matrices.updates(tiny, moved, again, block, 3)
    ]
    assert len(parts) == len(whole)
    for key, record, sigma in parts:
        assert record == whole[key][0]
        assert np.array_equal(sigma, whole[key][1])


@pytest.mark.parametrize("shape", [(300, 120), (120, 300), (200, 200)])
@pytest.mark.parametrize("kind", ["sparse", "dense", "low rank", "zero"])
def test_spectra_of_the_four_kinds_of_update(tiny, tmp_path, shape, kind):
    """1e-8 over ranks 1 to 50, 1e-5 above the floor, against svdvals in float64 (shared/numerics.md, section 2)."""
    torch.manual_seed(0)
    weight = 0.02 * torch.randn(shape)
    before = weight.bfloat16()
    noise = torch.randn(shape)
    after = {
        "sparse": (weight + 3e-4 * noise * (torch.rand(shape) < 0.17)).bfloat16(),
        "dense": (weight + 1e-3 * torch.randn(shape[0], 8) @ torch.randn(8, shape[1]) + 3e-4 * noise).bfloat16(),
        "low rank": before.float() + 1e-3 * torch.randn(shape[0], 4) @ torch.randn(4, shape[1]),
        "zero": before,
    }[kind]
    stages = {"before": before, "after": after}
    for stage, tensor in stages.items():
        (tmp_path / stage).mkdir()
        shutil.copy(tiny / "config.json", tmp_path / stage)
        save_file({NAME: tensor}, tmp_path / stage / "model.safetensors")
    ((_, record, sigma, _),) = matrices.updates(tmp_path / "before", tmp_path / "after", None)
    exact = torch.linalg.svdvals(after.double() - before.double()).numpy()
    if kind == "zero":
        assert not sigma.any()
        return
    above = exact > matrices.gram_floor(min(shape)) * exact[0]
    error = np.abs(sigma - exact) / exact
    assert error[:50][above[:50]].max() < 1e-8
    assert error[above].max() < 1e-5
    assert record["rank"] == above.sum()


@pytest.mark.parametrize("rank", [1, 8, 16, 32, 64])
@pytest.mark.parametrize("shape", [(96, 64), (300, 200), (64, 1024)])
def test_an_update_of_integers_has_the_rank_that_it_has(tiny, tmp_path, rank, shape):
    """Exact in float32: nothing but the arithmetic of the spectrum can add a rank."""
    rng = np.random.default_rng(rank)
    delta = rng.integers(-3, 4, (shape[0], rank)) @ rng.integers(-3, 4, (rank, shape[1]))
    for name, tensor in (("before", np.zeros(shape)), ("after", delta)):
        (tmp_path / name).mkdir()
        shutil.copy(tiny / "config.json", tmp_path / name)
        save_file({NAME: torch.tensor(tensor, dtype=torch.float32)}, tmp_path / name / "model.safetensors")
    ((_, record, _, _),) = matrices.updates(tmp_path / "before", tmp_path / "after", None)
    assert record["rank"] == np.linalg.matrix_rank(delta.astype(float)) == rank


def test_a_zero_update_gives_zeros(tiny):
    for _, record, sigma, space in matrices.updates(tiny, tiny, tiny):
        assert not sigma.any()
        assert space is None
        numbers = {key: value for key, value in record.items() if isinstance(value, float)}
        assert np.isnan(numbers.pop("slope"))
        assert all(np.isfinite(list(numbers.values())))
        of_weights = {"weight_norm", "rounding_floor"}
        assert not any(value for key, value in numbers.items() if key not in of_weights)


def test_a_planted_low_rank_update_is_found_where_it_is(tiny, tmp_path):
    torch.manual_seed(0)

    def edit(tensors):
        weight = tensors[name_of(4)]
        weight += 0.1 * torch.outer(torch.randn(weight.shape[0]), torch.randn(weight.shape[1]))

    records = of(tiny, plant(tiny, tmp_path / "after", edit))
    record, sigma, _ = records.pop(("layer", 4, "up_proj"))
    assert record["stable_rank"] == pytest.approx(1, abs=1e-6)
    assert sigma[1] / sigma[0] < 1e-6
    assert record["changed"] == 1
    assert all(other["frobenius"] == 0 for other, *_ in records.values())


def test_an_update_inside_the_bases_top_space_is_seen_there(tiny, tmp_path):
    """Planted: along the base weight's own singular vectors, first the top ones, then the bottom ones."""

    def along(which):
        def edit(tensors):
            weight = tensors[name_of(4)].double()
            left, _, right = torch.linalg.svd(weight, full_matrices=False)
            tensors[name_of(4)] = (weight + 0.5 * left[:, which] @ right[which]).float()

        return edit

    inside = of(tiny, plant(tiny, tmp_path / "a", along(slice(0, 16))))["layer", 4, "up_proj"][0]
    outside = of(tiny, plant(tiny, tmp_path / "b", along(slice(-16, None))))["layer", 4, "up_proj"][0]
    for key in ("overlap_left", "overlap_right", "principal_left", "principal_right", "principal"):
        assert inside[key] == pytest.approx(1, abs=1e-4)
        assert outside[key] == pytest.approx(0, abs=1e-4)
    assert inside["angle_left"] < 0.5
    assert outside["angle_left"] > 89


def test_small_updates_of_float32_checkpoints_are_not_lost(tiny, tmp_path):
    """In float16 a delta of 1e-8 is zero: defect 8 of the public scripts."""

    def edit(tensors):
        tensors[name_of(0)] += 1e-8

    before = plant(tiny, tmp_path / "before", lambda tensors: tensors[name_of(0)].zero_())
    after = plant(before, tmp_path / "after", edit)
    record = of(before, after)["layer", 0, "up_proj"][0]
    assert record["frobenius_rms"] == pytest.approx(1e-8, rel=1e-5)


def test_what_bfloat16_cannot_see(tiny, tmp_path):
    """Half the entries moved by a thousandth of a unit in the last place of bfloat16, a quarter by two units."""

    def edit(tensors):
        weight = tensors[name_of(0)].flatten()
        weight.copy_(weight.bfloat16().float())
        ulp = 2.0 ** (torch.floor(torch.log2(weight.abs())) - 7)
        weight[::2] += 1e-3 * ulp[::2]
        weight[1::4] += 2 * ulp[1::4]

    before = plant(tiny, tmp_path / "before", lambda t: t[name_of(0)].copy_(t[name_of(0)].bfloat16().float()))
    record = of(before, plant(before, tmp_path / "after", edit))["layer", 0, "up_proj"][0]
    assert record["changed"] == pytest.approx(0.75, abs=0.01)
    assert record["changed_bf16"] == pytest.approx(0.25, abs=0.01)


def test_stages_of_different_dtype(tiny, tmp_path):
    """What rounding alone does to a checkpoint stays below its own floor."""

    def halve(tensors):
        for name in tensors:
            tensors[name] = tensors[name].bfloat16()

    half = plant(tiny, tmp_path / "half", halve)
    for record, *_ in of(half, tiny).values():
        if record["frobenius"]:
            assert 0 < record["frobenius"] / record["weight_norm"] < 2**-8
            assert record["spectral"] < 1.5 * record["rounding_floor"]


def renamed(source, target, prefix, shards=2):
    """The same checkpoint under another prefix convention, in shards with an index."""
    import json

    tensors = load_file(source / "model.safetensors")
    target.mkdir()
    (target / "config.json").write_text((source / "config.json").read_text())
    new = {
        (name if name.startswith("visual.") else prefix + name.removeprefix("model.")): tensor
        for name, tensor in tensors.items()
    }
    index = {}
    for shard in range(shards):
        file = f"model-{shard}.safetensors"
        part = {name: new[name] for name in sorted(new)[shard::shards]}
        save_file(part, target / file, metadata={"format": "pt"})
        index |= dict.fromkeys(part, file)
    (target / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    return target


@pytest.mark.parametrize("prefix", ["model.language_model.", "model."])
def test_shards_and_prefixes_are_no_matter(tiny, moved, tmp_path, prefix):
    expected = of(tiny, moved)
    found = of(renamed(tiny, tmp_path / "other", prefix), moved)
    assert {key: made[0] for key, made in found.items()} == {key: made[0] for key, made in expected.items()}


def test_bad_input(tiny, moved, tmp_path):
    def adapter(tensors):
        tensors["model.layers.0.self_attn.q_proj.lora_A.weight"] = torch.zeros(2, 2)

    def packed(tensors):
        tensors[name_of(3)] = tensors[name_of(3)].to(torch.int8)

    def smaller(tensors):
        tensors[name_of(3)] = tensors[name_of(3)][:8].contiguous()

    def infinite(tensors):
        tensors[name_of(3)][5, 5] = torch.inf

    for number, (edit, message) in enumerate(
        (
            (adapter, "tensors of an adapter, .*lora_A.* first: merge it"),
            (packed, r"quantized \(.*up_proj.weight' is I8, 1 such tensors\)"),
            (smaller, "up_proj.weight' is .* not the same model size"),
            (lambda tensors: tensors.pop(name_of(3)), "only Base has 'layers.3.mlp.up_proj.weight' \\(1 such"),
            (infinite, "'layers.3.mlp.up_proj.weight' holds NaN or infinity"),
        )
    ):
        with pytest.raises(InputError, match=message):
            list(matrices.updates(tiny, plant(moved, tmp_path / str(number), edit), None))
    (tmp_path / "pickle").mkdir()
    (tmp_path / "pickle" / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(InputError, match=r"no \.safetensors file"):
        list(matrices.updates(tiny, tmp_path / "pickle", None))


def test_a_tied_head_that_one_file_stores_is_no_matter(tiny, moved, tmp_path):
    def head(tensors):
        tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()

    found = of(plant(tiny, tmp_path / "base", head), moved)
    assert found.keys() == of(tiny, moved).keys()


def test_overlaps_of_recipes():
    rng = np.random.default_rng(0)
    basis, _ = np.linalg.qr(rng.standard_normal((40, 8)))
    turned = basis[:, :4] @ np.linalg.qr(rng.standard_normal((4, 4)))[0]
    key = "RL/layer/3/up_proj/layers.3.mlp.up_proj.weight/left"
    same = matrices.overlaps({key: basis[:, :4]}, {key: turned})[0]
    assert same["overlap"] == pytest.approx(1)
    assert same["by_chance"] == pytest.approx(0.1)
    assert (same["stage"], same["layer"], same["matrix"], same["side"]) == ("RL", 3, "up_proj", "left")
    assert matrices.overlaps({key: basis[:, :4]}, {key: basis[:, 4:]})[0]["overlap"] == pytest.approx(0, abs=1e-12)
    assert matrices.overlaps({key: basis}, {}) == []


@pytest.fixture(scope="module")
def records(tiny, moved, again):
    rows = [{"recipe": "one", "run": 1, "stage": s, **record} for s, record, *_ in matrices.updates(tiny, moved, again)]
    return pd.DataFrame(rows)


def test_layer_energy_is_the_root_of_the_sum_of_squares(records):
    energy = figure5.data(Measurements(Regions((3, 6), 9), (), updates=records, seed=1))
    energy = energy[energy.stage == "RL"]
    layer2 = records[(records.component == "layer") & (records.layer == 2) & (records.stage == "RL")]
    row = energy[energy.layer == 2].iloc[0]
    assert row.frobenius == pytest.approx((layer2.frobenius**2).sum() ** 0.5)
    assert row.frobenius_rms == pytest.approx(row.frobenius / layer2.entries.sum() ** 0.5)
    # The interval is the bootstrap's, over the layer's seven matrices.
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, 7, (5000, 7))
    squares, entries = (layer2[name].to_numpy(float)[drawn] for name in ("frobenius", "entries"))
    obvious = np.quantile(np.sqrt((squares**2).sum(1) / entries.sum(1)), [0.025, 0.975])
    assert [row.low, row.high] == pytest.approx(obvious, rel=0.02)
    assert energy.share.sum() == pytest.approx(1)
    assert list(energy.region) == ["early"] * 3 + ["mid"] * 3 + ["late"] * 3


def test_shares_of_energy_add_up(records):
    shares = (
        tables.energy(Measurements(Regions((3, 6), 9), (), updates=records)).set_index(["stage", "by"]).sort_index()
    )
    for stage in ("IN", "RL"):
        assert shares.loc[stage, "component"].share.sum() == pytest.approx(1)
        decoder = shares.loc[stage, "component"].set_index("part").share["layer"]
        for by, count in (("region", 3), ("block", 2), ("matrix", 7)):
            part = shares.loc[[(stage, by)]]
            assert len(part) == count
            assert part.share.sum() == pytest.approx(decoder)


def test_a_steeper_spectrum_has_a_lower_slope():
    def record(layer, matrix, decay):
        sigma = np.exp(-decay * np.arange(60))
        label = {"recipe": "one", "run": 1, "stage": "RL", "component": "layer", "layer": layer, "matrix": matrix}
        return {**label, **matrices.diversity(sigma), "rounding_floor": np.exp(-3.0)}

    rows = [record(layer, m, d + 0.01 * layer) for layer in (0, 1) for m, d in (("q", 0.1), ("k", 0.12), ("v", 0.11))]
    slopes = spectra.data(Measurements(Regions((1, 2), 3), (), updates=pd.DataFrame(rows))).set_index("layer")
    assert slopes.slope[0] == pytest.approx(-0.11)
    assert slopes.slope[1] == pytest.approx(-0.12)
    assert slopes.low[0] < -0.11 < slopes.high[0]
    assert slopes.floor[0] == pytest.approx(-3)
    assert list(slopes.matrices) == [3, 3]


NORM, BIAS = "model.layers.5.input_layernorm.weight", "visual.blocks.1.attn.qkv.bias"


def test_every_number_of_a_vector_equals_numpys(tiny, moved, again):
    """The slow, obvious twin: entry by entry, in Python's own numbers."""
    base, instruct, reinforced = map(stored, (tiny, moved, again))
    found = list(vectors.updates(tiny, moved, again))
    assert {record["component"] for _, record in found} == {"layer", "vision_tower", "projector", "final_norm"}
    assert {record["kind"] for _, record in found} == {"norm", "bias"}
    assert {record["parameter"] for _, record in found} == {name for name in base if base[name].ndim < 2}
    for stage, record in found:
        name = record["parameter"]
        w, a, b = (tensors[name].double().tolist() for tensors in (base, instruct, reinforced))
        before, after = (w, a) if stage == "IN" else (a, b)
        delta = [y - x for x, y in zip(before, after, strict=True)]
        energy, weight = sum(d * d for d in delta), sum(x * x for x in before)
        assert record["entries"] == record["rows"] == len(delta)
        assert record["weight_norm"] == pytest.approx(weight**0.5)
        assert record["frobenius"] == pytest.approx(energy**0.5)
        assert record["frobenius_rms"] == pytest.approx((energy / len(delta)) ** 0.5)
        assert record["frobenius_relative"] == pytest.approx((energy / weight) ** 0.5 if weight else 0)
        assert record["changed"] == sum(d != 0 for d in delta) / len(delta)
        earlier = [y - x for x, y in zip(w, a, strict=True)]
        dot = sum(x * y for x, y in zip(delta, earlier, strict=True)) if stage == "RL" else 0
        expected = dot / (energy * sum(x * x for x in earlier)) ** 0.5 if dot else 0
        assert record["cosine_with_in"] == pytest.approx(expected)
        assert record["kind"] == ("bias" if name.endswith("bias") else "norm")


def test_one_norm_and_one_bias_that_moved_are_found_where_they_are(tiny, tmp_path):
    def edit(tensors):
        tensors[NORM][3] += 0.5
        tensors[BIAS][:2] += 2.0

    def plain(tensors):
        tensors[NORM].fill_(1.0)

    before = plant(tiny, tmp_path / "before", plain)
    after = plant(before, tmp_path / "after", edit)
    found = {record["parameter"]: record for _, record in vectors.updates(before, after, None) if record["frobenius"]}
    norm, bias = found.pop("layers.5.input_layernorm.weight"), found.pop(BIAS)
    assert not found
    size = norm["entries"]
    assert (norm["component"], norm["layer"], norm["block"], norm["kind"]) == ("layer", 5, "norm", "norm")
    assert norm["frobenius"] == pytest.approx(0.5)
    assert norm["frobenius_relative"] == pytest.approx(0.5 / size**0.5)
    assert norm["changed"] == norm["changed_bf16"] == pytest.approx(1 / size)
    assert (bias["component"], bias["layer"], bias["kind"]) == ("vision_tower", 1, "bias")
    assert bias["frobenius"] == pytest.approx(8**0.5)
    assert bias["changed"] == pytest.approx(2 / bias["entries"])


@pytest.mark.parametrize(("dtype", "changed"), [(torch.float32, 1.0), (torch.bfloat16, 0.0)])
def test_a_change_below_the_stored_precision_is_none(tiny, tmp_path, dtype, changed):
    def ones(tensors):
        tensors[NORM] = torch.ones(len(tensors[NORM]), dtype=dtype)

    before = plant(tiny, tmp_path / "before", ones)
    after = plant(before, tmp_path / "after", lambda tensors: tensors[NORM].add_(1e-4))
    records = {record["parameter"]: record for _, record in vectors.updates(before, after, None)}
    norm = records["layers.5.input_layernorm.weight"]
    assert (norm["changed"], norm["changed_bf16"]) == (changed, 0)
    assert norm["frobenius_rms"] == pytest.approx(1e-4 * changed, rel=1e-2)


def test_how_vectors_are_cut_into_blocks_changes_nothing(tiny, moved, again):
    whole = {(stage, record["parameter"]): record for stage, record in vectors.updates(tiny, moved, again)}
    parts = [made for block in range(3) for made in vectors.updates(tiny, moved, again, block, 3)]
    assert len(parts) == len(whole)
    assert all(record == whole[stage, record["parameter"]] for stage, record in parts)


def test_a_bias_that_is_not_finite_is_bad_input(tiny, moved, tmp_path):
    after = plant(moved, tmp_path / "after", lambda tensors: tensors[BIAS].fill_(torch.nan))
    with pytest.raises(InputError, match=r"'visual.blocks.1.attn.qkv.bias' holds NaN or infinity"):
        list(vectors.updates(tiny, moved, after))


@pytest.fixture
def read_back(records, tiny, moved, again, tmp_path):
    """Measurements read from a study's files, written as rule weight_updates writes them: (of all tensors, of matrices alone)."""
    small = pd.DataFrame(
        {"recipe": "one", "stage": stage, **record} for stage, record in vectors.updates(tiny, moved, again)
    )
    Regions((3, 6), 9).write(tmp_path / "regions.json")
    found = []
    for name, frame in (("all", pd.concat([records, small])), ("matrices", records)):
        frame.to_csv(tmp_path / f"{name}.csv", index=False)
        files = {"updates.one": [tmp_path / f"{name}.csv"], "regions": str(tmp_path / "regions.json")}
        found.append(measurements.read(files, runs={"one": ("one", 1)}, seed=1))
    return found


def test_norms_and_biases_reach_nothing_that_the_paper_measures(read_back):
    every, alone = read_back
    assert set(every.updates.kind) == {"matrix"}
    assert set(every.vectors.kind) == {"norm", "bias"}
    assert alone.vectors.empty
    for made in (figure5.data, spectra.data):
        pd.testing.assert_frame_equal(made(every), made(alone))
    for stage in ("IN", "RL"):
        pd.testing.assert_frame_equal(
            layer_samples.energy(every, Run("one"), stage), layer_samples.energy(alone, Run("one"), stage)
        )
    for change in (layer_samples.slope_change, layer_samples.concentration_change):
        pd.testing.assert_frame_equal(change(every, Run("one")), change(alone, Run("one")))
    one, other = (tables.energy(measured).query("by != 'kind'") for measured in (every, alone))
    pd.testing.assert_frame_equal(one, other)


def test_only_a_decoder_can_be_too_deep_for_the_regions(records, tmp_path):
    """Qwen2.5-VL-7B's vision tower has 32 blocks, and its decoder 28 layers."""
    Regions((3, 6), 9).write(tmp_path / "regions.json")
    files = {"updates.one": [str(tmp_path / "updates.csv")], "regions": str(tmp_path / "regions.json")}
    tower, decoder = (records.component == part for part in ("vision_tower", "layer"))
    records.assign(layer=records.layer.where(~tower, 31)).to_csv(tmp_path / "updates.csv", index=False)
    assert measurements.read(files, runs={"one": ("one", 1)}).updates.layer.max() == 31
    records.assign(layer=records.layer.where(~decoder, 9)).to_csv(tmp_path / "updates.csv", index=False)
    with pytest.raises(InputError, match="updates: layers up to 9, but"):
        measurements.read(files, runs={"one": ("one", 1)})


def test_the_energy_table_has_the_share_of_norms_and_biases(read_back):
    measured = read_back[0]
    table = tables.energy(measured)
    shares = table[table.by == "kind"].set_index(["stage", "part"]).share
    for stage in ("IN", "RL"):
        squares = {"matrix": (measured.updates[measured.updates.stage == stage].frobenius ** 2).sum()}
        small = measured.vectors[measured.vectors.stage == stage]
        squares |= {kind: (small[small.kind == kind].frobenius ** 2).sum() for kind in ("norm", "bias")}
        for kind, square in squares.items():
            assert shares[stage, kind] == pytest.approx(square / sum(squares.values()))
            assert shares[stage, kind] > 0
