import errno
import hashlib
import json
import os
import shutil

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from frankenstein.core.errors import InputError
from frankenstein.inference.prompts import Prompt, encode
from frankenstein.merging import hybrids, links, memory, plan, tensors, verification
from frankenstein.merging.hybrid_spec import HYBRIDS, REST, Assignment
from frankenstein.models import checkpoints, loading
from frankenstein.models.weights import Weights

NAME = "model.layers.7.mlp.up_proj.weight"


def twin(donors, spec, cuts=None, rest_from="early"):
    """The slow, obvious way: every tensor in memory, chosen by its name."""
    tensors = {label: canonical(path) for label, path in donors.items()}
    assignment = Assignment.parse(spec, 9, cuts, rest_from)
    made, parts = {}, Weights(next(iter(donors.values())))
    for name, tensor in next(iter(tensors.values())).items():
        choice = assignment.choice(parts.part(name))
        made[name] = tensors[choice.donor][name]
        if choice.towards:
            start, end = made[name].double(), tensors[choice.towards][name].double()
            made[name] = (start + choice.alpha * (end - start)).to(tensor.dtype)
    return made


def stored(path):
    tensors = {}
    for file in sorted(path.glob("*.safetensors")):
        tensors |= load_file(file)
    return tensors


def canonical(path):
    """Tensors by canonical name."""
    weights = Weights(path)
    return {name: weights[name] for name in weights}


def check_equal(out, expected):
    found = canonical(out)
    assert set(found) == set(expected)
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name].contiguous().view(torch.uint8), tensor.contiguous().view(torch.uint8)), name


def edited(source, target, edit=None, config=None, shards=1, prefix="model."):
    """A copy of a checkpoint, changed: its tensors, its config, its files, its names."""
    target.mkdir()
    for path in source.iterdir():
        if path.suffix != ".safetensors":
            shutil.copy(path, target / path.name)
    tensors = {
        name if name.startswith("visual.") else prefix + name.removeprefix("model."): tensor
        for name, tensor in stored(source).items()
    }
    if edit:
        edit(tensors)
    if config:
        record = json.loads((target / "config.json").read_text())
        config(record)
        (target / "config.json").write_text(json.dumps(record))
    if shards == 1:
        save_file(tensors, target / "model.safetensors", metadata={"format": "pt"})
        return target
    index = {}
    for shard in range(shards):
        part = {name: tensors[name] for name in sorted(tensors)[shard::shards]}
        save_file(part, target / f"model-{shard}.safetensors", metadata={"format": "pt"})
        index |= dict.fromkeys(part, f"model-{shard}.safetensors")
    (target / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    return target


@pytest.fixture(scope="module")
def donors(tiny, moved):
    return {"IN": tiny, "RL": moved}


@pytest.mark.parametrize("hybrid", HYBRIDS)
@pytest.mark.parametrize("rest_from", ["early", "in", "rl"])
def test_every_tensor_is_its_donors(donors, tmp_path, hybrid, rest_from):
    out = tmp_path / "hybrid"
    hybrids.merge(donors, hybrid, out, rest_from=rest_from)
    assert verification.verify(out) == []
    check_equal(out, twin(donors, hybrid, (3, 6), rest_from))
    account = json.loads((out / "merge_manifest.json").read_text())
    weights = load_file(out / "model.safetensors")
    assert set(account["tensors"]) == set(weights)
    for name, entry in account["tensors"].items():
        assert entry["sha256"] == hashlib.sha256(weights[name].contiguous().numpy().tobytes()).hexdigest()


SPECS = ["RL", "IN+RL@4", "IN+RL@2-5.attention", "IN:RL+IN@mlp", "0.3:RL:IN", "IN:0.5:IN+RL@4.mlp", "IN:IN:RL:RL:0.9"]


@pytest.mark.parametrize("layout", ["copy", "link"])
@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_against_the_twin(donors, tmp_path, spec, layout, dtype):
    def convert(tensors):
        tensors |= {name: tensor.to(dtype) for name, tensor in tensors.items()}

    parents = {label: edited(path, tmp_path / label, convert) for label, path in donors.items()}
    stores = {label: tmp_path / f"{label}-shards" for label in parents}
    for label, path in stores.items() if layout == "link" else ():
        links.store(parents[label], path)
    hybrids.merge(parents, spec, tmp_path / "hybrid", layout=layout, stores=stores)
    check_equal(tmp_path / "hybrid", twin(parents, spec))
    assert verification.verify(tmp_path / "hybrid") == []


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_any_assignment_against_the_twin(donors, tmp_path_factory, data):
    source = st.sampled_from(["IN", "RL", "0.25"])
    cuts = tuple(sorted(data.draw(st.sets(st.integers(1, 8), max_size=4))))
    spec = ":".join(data.draw(source) for _ in range(len(cuts) + 1))
    for _ in range(data.draw(st.integers(0, 2))):
        first = data.draw(st.integers(0, 8))
        last = data.draw(st.integers(first, 8))
        spec += f"+{data.draw(source)}@{first}-{last}{data.draw(st.sampled_from(['', '.mlp', '.attention']))}"
    rest = {part: data.draw(st.sampled_from(["IN", "RL", "early"])) for part in REST}
    out = tmp_path_factory.mktemp("any") / "hybrid"
    hybrids.merge(donors, spec, out, cuts=cuts, rest_from=rest)
    check_equal(out, twin(donors, spec, cuts, rest))


def test_shards_and_prefixes_are_no_matter(tiny, moved, tmp_path):
    other = edited(moved, tmp_path / "other", shards=3, prefix="model.language_model.")
    expected = twin({"IN": tiny, "RL": moved}, "IN:RL:RL")
    for donors in ({"IN": tiny, "RL": other}, {"IN": other, "RL": tiny}):
        out = tmp_path / f"hybrid-{len(list(tmp_path.iterdir()))}"
        hybrids.merge(donors, "IN:RL:RL" if donors["IN"] == tiny else "RL:IN:IN", out)
        check_equal(out, expected)
        # One convention within a hybrid: the first donor's.
        names = set(stored(donors["IN"])) if len(donors) else set()
        assert set(stored(out)) <= names | set(stored(donors["RL"]))
        assert len({name.split("layers.")[0] for name in stored(out) if "layers." in name}) == 1


def test_links_across_naming_conventions_are_written_instead(tiny, moved, tmp_path):
    other = edited(moved, tmp_path / "other", prefix="model.language_model.")
    stores = {"IN": tmp_path / "a", "RL": tmp_path / "b"}
    links.store(tiny, stores["IN"])
    links.store(other, stores["RL"])
    hybrids.merge({"IN": tiny, "RL": other}, "IN:RL:RL", tmp_path / "hybrid", layout="link", stores=stores)
    check_equal(tmp_path / "hybrid", twin({"IN": tiny, "RL": moved}, "IN:RL:RL"))
    assert set(stored(tmp_path / "hybrid")) == set(stored(tiny))


def test_large_hybrids_are_sharded(donors, tmp_path, monkeypatch):
    monkeypatch.setattr(hybrids, "SHARD_BYTES", 300_000)
    hybrids.merge(donors, "IN:RL:RL", tmp_path / "hybrid")
    files = sorted(tmp_path.glob("hybrid/*.safetensors"))
    assert len(files) > 3
    assert files[0].name == f"model-00001-of-{len(files):05}.safetensors"
    check_equal(tmp_path / "hybrid", twin(donors, "IN:RL:RL"))
    assert verification.verify(tmp_path / "hybrid") == []
    loading.load_model(tmp_path / "hybrid")


def test_bytes_that_are_written_a_few_at_a_time(donors, tmp_path, monkeypatch):
    pwrite = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda file, data, at: pwrite(file, data[:777], at))
    monkeypatch.setattr(tensors, "_CHUNK", 1000)
    hybrids.merge(donors, "IN:0.5:RL", tmp_path / "hybrid")
    check_equal(tmp_path / "hybrid", twin(donors, "IN:0.5:RL"))


@pytest.mark.parametrize("layout", ["copy", "link"])
def test_a_hybrid_loads_and_differs_from_both_parents(donors, tmp_path, layout):
    stores = {label: tmp_path / label for label in donors}
    for label, path in donors.items() if layout == "link" else ():
        links.store(path, stores[label])
    hybrids.merge(donors, "IN:RL:RL", tmp_path / "hybrid", layout=layout, stores=stores)
    logits = {}
    for name, path in {**donors, "hybrid": tmp_path / "hybrid"}.items():
        model, processor = loading.load_model(path)  # refuses missing and unexpected tensors
        logits[name] = model(**encode(processor, [Prompt("how many shapes are there?")])).logits
    assert not torch.allclose(logits["hybrid"], logits["IN"])
    assert not torch.allclose(logits["hybrid"], logits["RL"])


def test_the_hybrid_of_one_donor_is_that_donor_in_outputs(donors, tmp_path):
    hybrids.merge(donors, "RL:1:RL", tmp_path / "hybrid")
    made = []
    for path in (tmp_path / "hybrid", donors["RL"]):
        model, processor = loading.load_model(path)
        made.append(model(**encode(processor, [Prompt("how many shapes are there?")])).logits)
    assert torch.equal(*made)


@pytest.mark.parametrize("spec", ["IN:RL:RL", "IN:0.5:RL", "IN+RL@3-5.mlp"])
def test_a_hybrid_in_memory_is_the_one_on_disk(donors, tmp_path, spec):
    manifests = {}
    for label, directory in donors.items():
        manifests[label] = tmp_path / label / "manifest.json"
        manifests[label].parent.mkdir()
        checkpoints.write_manifest(manifests[label], directory, {})
    cuts = (3, 6) if ":" in spec else None
    made = hybrids.merge(donors, spec, tmp_path / "hybrid", cuts=cuts)
    written, _ = loading.load_model(tmp_path / "hybrid")
    hybrid = memory.Hybrid({label: str(path) for label, path in donors.items()}, spec, cuts, "early")
    assert hybrid.directory == donors[made.config_from]
    merged, _ = loading.load_model(hybrid.directory, state_dict=hybrid.state_dict())
    expected, found = written.state_dict(), merged.state_dict()
    assert expected.keys() == found.keys()
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert all(expected[name].dtype == found[name].dtype for name in expected)
    assert merged.generation_config.to_dict() == written.generation_config.to_dict()
    assert not merged.training
    again = memory.Hybrid(**json.loads(json.dumps(hybrid.plain())))  # as a worker of vLLM gets it
    others = [memory.Hybrid(hybrid.donors, one, None, "early") for one in ("IN", "RL")]
    assert len({one.model_digest(manifests) for one in (hybrid, again, *others)}) == 3


def test_links_are_the_stores_own_files(donors, tmp_path):
    stores = {label: tmp_path / f"store-{label}" for label in donors}
    for label, path in donors.items():
        links.store(path, stores[label])
    hybrids.merge(donors, "IN:RL:RL+RL@1.mlp", tmp_path / "hybrid", layout="link", stores=stores)
    files = {path.name: path for path in tmp_path.glob("hybrid/*.safetensors")}
    assert [name for name in files if name.startswith("mixed")] == ["mixed-layer-001.safetensors"]
    assert files["IN-layer-000.safetensors"].samefile(stores["IN"] / "layer-000.safetensors")
    assert files["RL-layer-008.safetensors"].samefile(stores["RL"] / "layer-008.safetensors")
    assert files["IN-vision_tower.safetensors"].samefile(stores["IN"] / "vision_tower.safetensors")
    with pytest.raises(PermissionError) if os.getuid() else pytest.raises(AssertionError):
        open(files["IN-layer-000.safetensors"], "r+b").close()
        assert os.getuid()
    shutil.rmtree(stores["IN"])  # a hybrid stands without its store
    assert verification.verify(tmp_path / "hybrid") == []


def test_a_parent_that_changed_after_its_store_was_made(donors, tmp_path):
    parents = {label: edited(path, tmp_path / label) for label, path in donors.items()}
    stores = {label: tmp_path / f"store-{label}" for label in donors}
    for label, path in parents.items():
        links.store(path, stores[label])
    edited_file = parents["RL"] / "model.safetensors"
    os.utime(edited_file, ns=(1, 1))
    with pytest.raises(InputError, match="has changed since; make the store again"):
        hybrids.merge(parents, "IN:RL:RL", tmp_path / "hybrid", layout="link", stores=stores)
    with pytest.raises(InputError, match="no store of RL"):
        hybrids.merge(parents, "IN:RL:RL", tmp_path / "hybrid", layout="link", stores={"IN": stores["IN"]})
    assert not (tmp_path / "hybrid").exists()


def test_a_parent_that_changed_after_its_manifest_was_made(donors, tmp_path):
    parents = {label: edited(path, tmp_path / label) for label, path in donors.items()}
    for path in parents.values():
        checkpoints.write_manifest(path / "manifest.json", path, {"path": str(path)})
    hybrids.merge(parents, "IN:RL:RL", tmp_path / "good")
    os.utime(parents["RL"] / "model.safetensors")  # touched, not changed
    hybrids.merge(parents, "IN:RL:RL", tmp_path / "touched")
    with open(parents["RL"] / "model.safetensors", "r+b") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read(1)[0]
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last ^ 1]))
    with pytest.raises(InputError, match=r"RL/model\.safetensors: missing or changed since"):
        hybrids.merge(parents, "IN:RL:RL", tmp_path / "bad")


def test_tied_heads_are_dropped_and_said(tiny, moved, tmp_path):
    def head(tensors):
        tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()

    config = json.loads((tiny / "config.json").read_text())
    assert config.get("tie_word_embeddings") or config["text_config"].get("tie_word_embeddings")
    hybrids.merge({"IN": edited(tiny, tmp_path / "in", head), "RL": moved}, "IN:RL:RL", tmp_path / "hybrid")
    assert json.loads((tmp_path / "hybrid" / "merge_manifest.json").read_text())["dropped"] == ["lm_head.weight"]
    check_equal(tmp_path / "hybrid", twin({"IN": tiny, "RL": moved}, "IN:RL:RL"))
    assert verification.verify(tmp_path / "hybrid") == []
    loading.load_model(tmp_path / "hybrid")


def test_verify_finds_what_is_not_as_it_was_made(donors, tmp_path):
    out = tmp_path / "hybrid"
    hybrids.merge(donors, "IN:RL:RL", out)
    tensors = load_file(out / "model.safetensors")
    tensors[NAME][0, 0] += 1e-6
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"layers\.7\.mlp\.up_proj\.weight' is not what merge_manifest"):
        verification.verify(out)
    record = json.loads((out / "merge_manifest.json").read_text())
    record["tensors"][NAME]["sha256"] = hashlib.sha256(tensors[NAME].numpy().tobytes()).hexdigest()
    (out / "merge_manifest.json").write_text(json.dumps(record))
    with pytest.raises(InputError, match=r"layers\.7\.mlp\.up_proj\.weight' differs from its donor RL"):
        verification.verify(out)
    del tensors[NAME]
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match="but not in both"):
        verification.verify(out)
    (out / "merge_manifest.json").unlink()
    with pytest.raises(InputError, match="not a hybrid made here"):
        verification.verify(out)


def test_verify_without_a_parent_says_so(donors, tmp_path):
    parents = {label: edited(path, tmp_path / label) for label, path in donors.items()}
    hybrids.merge(parents, "IN:RL:RL", tmp_path / "hybrid")
    shutil.rmtree(parents["RL"])
    assert "RL" in verification.verify(tmp_path / "hybrid")[0]


def change(section, key, value):
    def edit(config):
        (config[section] if section else config)[key] = value

    return edit


@pytest.mark.parametrize(
    ("edit", "config", "says"),
    [
        (lambda t: t.pop(NAME), None, r"only IN has 'layers\.7\.mlp\.up_proj\.weight'"),
        (lambda t: t.update({NAME: t[NAME][:8].contiguous()}), None, "not the same model size"),
        (lambda t: t.update({NAME: t[NAME].half()}), None, r"is F32 in IN .* but F16 in RL"),
        (None, change("text_config", "rms_norm_eps", 0.1), r"rms_norm_eps is .* but 0\.1 in RL .*\(1 such"),
        (lambda t: t.update({"visual.extra.weight": torch.zeros(2)}), None, "only RL has"),
    ],
)
def test_donors_that_do_not_fit(tiny, moved, tmp_path, edit, config, says):
    bad = edited(moved, tmp_path / "bad", edit, config)
    before = hashlib.sha256((bad / "model.safetensors").read_bytes()).digest()
    with pytest.raises(InputError, match=says):
        hybrids.merge({"IN": tiny, "RL": bad}, "IN:RL:RL", tmp_path / "hybrid")
    assert not (tmp_path / "hybrid").exists()
    assert before == hashlib.sha256((bad / "model.safetensors").read_bytes()).digest()


def test_donors_of_another_depth_are_refused(tiny, moved, tmp_path):
    def shorter(tensors):
        for name in [name for name in tensors if ".layers.8." in name]:
            del tensors[name]

    bad = edited(moved, tmp_path / "bad", shorter, change("text_config", "num_hidden_layers", 8))
    with pytest.raises(InputError, match=r"IN \(.*\) has 9 decoder layers, RL \(.*\) 8"):
        hybrids.merge({"IN": tiny, "RL": bad}, "IN:RL:RL", tmp_path / "hybrid")


def test_harmless_differences_are_warned_of(tiny, moved, tmp_path, capsys):
    other = edited(moved, tmp_path / "other", None, change(None, "transformers_version", "4.49.0"))
    assert plan.plan({"IN": tiny, "RL": other}, "IN:RL:RL").warnings == []
    (other / "chat_template.jinja").write_text("{{ messages }}")
    made = hybrids.merge({"IN": tiny, "RL": other}, "IN:RL:RL", tmp_path / "hybrid")
    assert len(made.warnings) == 1
    assert "chat templates of IN" in capsys.readouterr().err
    record = json.loads((other / "tokenizer.json").read_text())
    record["added_tokens"] = record["added_tokens"][:-1]
    (other / "tokenizer.json").write_text(json.dumps(record))
    assert len(plan.plan({"IN": tiny, "RL": other}, "IN:RL:RL").warnings) == 2
    assert "Warning: the chat templates" in (tmp_path / "hybrid" / "README.md").read_text()


def test_texts_come_from_the_stated_donor(tiny, moved, tmp_path):
    other = edited(moved, tmp_path / "other")
    (other / "chat_template.jinja").write_text("{{ messages }}")
    for number, (spec, options, theirs) in enumerate(
        [("IN:RL:RL", {}, False), ("RL:IN:IN", {}, True), ("IN:RL:RL", {"config_from": "RL"}, True)]
    ):
        out = tmp_path / str(number)
        hybrids.merge({"IN": tiny, "RL": other}, spec, out, **options)
        assert ((out / "chat_template.jinja").read_text() == "{{ messages }}") == theirs


def test_a_full_disk_is_known_before_the_first_byte_and_cleaned_up_after(donors, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(100, 99, 1))
        with pytest.raises(InputError, match=r"0\.0 GB free on its disk; nothing written"):
            hybrids.merge(donors, "IN:RL:RL", tmp_path / "a" / "hybrid")
        assert list((tmp_path / "a").iterdir()) == []

    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(InputError, match="the disk is full; what was written is removed"):
        hybrids.merge(donors, "IN:RL:RL", tmp_path / "b" / "hybrid")
    assert list((tmp_path / "b").iterdir()) == []


def test_what_a_killed_merge_left_is_cleared(donors, tmp_path):
    left, living = tmp_path / ".hybrid.999999999.partial", tmp_path / ".hybrid.1.partial"
    left.mkdir()
    living.mkdir()
    hybrids.merge(donors, "IN:RL:RL", tmp_path / "hybrid")
    assert sorted(path.name for path in tmp_path.iterdir()) == [living.name, "hybrid"]


def test_configs_as_older_transformers_write_them_are_the_same(tiny, moved, tmp_path):
    def old(config):
        config |= config["text_config"] | {"attention_dropout": 0.1}
        config["model_type"] = "qwen2_5_vl"

    other = edited(moved, tmp_path / "old", None, old)
    made = plan.plan({"IN": tiny, "RL": other}, "IN:RL:RL")
    assert made.warnings == ["config.json differs between the donors, but not in what it says of the model"]


def test_a_directory_that_is_not_empty_is_left_alone(donors, tmp_path):
    (tmp_path / "hybrid").mkdir()
    (tmp_path / "hybrid" / "mine").write_text("x")
    with pytest.raises(InputError, match="not empty"):
        hybrids.merge(donors, "IN:RL:RL", tmp_path / "hybrid")
    assert [path.name for path in (tmp_path / "hybrid").iterdir()] == ["mine"]


def test_the_card_names_parts_and_parents(donors, tmp_path):
    hybrids.merge(donors, "IN:RL:RL+IN@7.mlp", tmp_path / "hybrid", command="frankenstein merge …")
    card = (tmp_path / "hybrid" / "README.md").read_text()
    for text in (
        "| decoder layers 0 to 2 | IN |",
        "layers 7 to 7, mlp | IN |",
        "| vision tower | IN |",
        "    frankenstein merge …",
    ):
        assert text in card
    assert str(donors["RL"].resolve()) in card
    text = verification.describe(tmp_path / "hybrid")
    assert "layer-007     IN, RL" in text
    assert "qwen2_5_vl, 9 decoder layers" in text
    assert np.char.count(text, "hybrid IN:RL:RL+IN@7.mlp") == 1


def test_equals_mergekit_on_what_it_merges_rightly(donors, tmp_path):
    """mergekit's modules: form with every module named; IN:RL:RL, the rest from IN."""
    pytest.importorskip("mergekit", reason="mergekit (pip install -e '.[mergekit]') is not installed")
    from mergekit.config import MergeConfiguration
    from mergekit.merge import run_merge
    from mergekit.options import MergeOptions

    def head(tensors):  # mergekit takes the head from the last slice's donor: untied parents would differ there
        assert "lm_head.weight" not in tensors

    parents = {label: edited(path, tmp_path / label, head) for label, path in donors.items()}
    instruct, reinforced = ({"model": str(path)} for path in parents.values())
    slices = [
        {"sources": [{**instruct, "layer_range": [0, 3]}]},
        {"sources": [{**reinforced, "layer_range": [3, 9]}]},
    ]
    modules = {
        "text_decoder": {"slices": slices},
        "vision_tower": {"models": [instruct]},
        "multi_modal_projector": {"models": [instruct]},
    }
    configuration = {"merge_method": "passthrough", "modules": modules, "dtype": "float32"}
    options = MergeOptions(copy_tokenizer=False, write_model_card=False, quiet=True)
    run_merge(MergeConfiguration.model_validate(configuration), str(tmp_path / "theirs"), options)
    hybrids.merge(parents, "IN:RL:RL", tmp_path / "ours")
    theirs = canonical(tmp_path / "theirs")
    # It takes what lies behind the layers from the last slice's donor, not from the first's.
    theirs["norm.weight"] = stored(tmp_path / "ours")["model.norm.weight"]
    check_equal(tmp_path / "ours", theirs)
