"""Merging a VLM with a language model of its decoder's size, which has neither vision tower nor projector."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Qwen2Config, Qwen2ForCausalLM

from frankenstein import cli
from frankenstein.core.errors import InputError
from frankenstein.inference.prompts import Prompt, encode
from frankenstein.merging import hybrids, links, memory, plan, summary, verification
from frankenstein.models import checkpoints, loading
from frankenstein.models.weights import Weights

WORDS = ("embeddings", "head")


@pytest.fixture(scope="module")
def vlm(tiny, tmp_path_factory):
    """The tiny Qwen2.5-VL with a head of its own, as those of 7B and more have."""
    directory = tmp_path_factory.mktemp("vlm") / "vlm"
    shutil.copytree(tiny, directory)
    config = json.loads((tiny / "config.json").read_text())
    config["tie_word_embeddings"] = config["text_config"]["tie_word_embeddings"] = False
    (directory / "config.json").write_text(json.dumps(config))
    tensors = load_file(tiny / "model.safetensors")
    torch.manual_seed(4)
    tensors["lm_head.weight"] = 0.06 * torch.randn_like(tensors["model.embed_tokens.weight"])
    save_file(tensors, directory / "model.safetensors", metadata={"format": "pt"})
    return directory


def language_model(vlm, directory, **changes):
    """A Qwen2 of the same decoder, with random weights."""
    text = json.loads((vlm / "config.json").read_text())["text_config"]
    same = (
        "vocab_size",
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
    )
    kept = {key: text[key] for key in (*same, "rms_norm_eps", "max_position_embeddings", "max_window_layers")}
    torch.manual_seed(3)
    Qwen2ForCausalLM(Qwen2Config(**kept | {"tie_word_embeddings": False} | changes)).save_pretrained(directory)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(vlm / name, directory)
    return directory


@pytest.fixture(scope="module")
def text(vlm, tmp_path_factory):
    return language_model(vlm, tmp_path_factory.mktemp("text") / "r1")


def tensors(directory):
    """By canonical name."""
    weights = Weights(directory)
    return {name: weights[name] for name in weights}


def twin(vlm, text, choose):
    """The slow, obvious way. choose: a part -> the share of the language model in it; of vision, there is none."""
    ours, theirs, parts = tensors(vlm), tensors(text), Weights(vlm)
    made = {}
    for name, tensor in ours.items():
        share = choose(parts.part(name)) if parts.part(name).component not in ("vision_tower", "projector") else 0
        if share == 1:
            made[name] = theirs[name]
        else:
            made[name] = (
                (tensor.double() + share * (theirs[name].double() - tensor.double())).float() if share else tensor
            )
    return made


def check_equal(out, expected):
    found = tensors(out)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


SPECS = {
    "R1": lambda part: 1,
    "IN:R1:IN": lambda part: part.layer in (3, 4, 5),
    "R1:IN:IN": lambda part: part.layer is None or part.layer < 3,
    "IN+R1@7.mlp": lambda part: part.layer == 7 and part.block == "mlp",
    "RL:IN:IN": lambda part: part.layer is None or part.layer < 3,
    "0.5": lambda part: 0.5,
    "IN:0.25:RL": lambda part: {None: 0, 0: 0, 1: 0.25, 2: 1}[None if part.layer is None else part.layer // 3],
}


@pytest.mark.parametrize("layout", ["copy", "link"])
@pytest.mark.parametrize("spec", SPECS)
def test_what_a_language_model_gives_and_what_stays(vlm, text, tmp_path, spec, layout):
    """R1 by name, and as RL, between which and IN numbers interpolate."""
    donors = {"IN": vlm, "R1": text, "RL": text}
    stores = {label: tmp_path / label for label in donors} if layout == "link" else {}
    for label, path in stores.items():
        links.store(donors[label], path)
    made = hybrids.merge(donors, spec, tmp_path / "hybrid", layout=layout, stores=stores)
    if layout == "copy":
        check_equal(tmp_path / "hybrid", twin(vlm, text, SPECS[spec]))
    assert verification.verify(tmp_path / "hybrid") == []
    record = json.loads((tmp_path / "hybrid" / "merge_manifest.json").read_text())
    [given] = {name for name in ("R1", "RL") if name in spec or (name == "RL" and "0." in spec)}
    assert record["language_models"] == made.language_models == [given]
    assert record["rest"]["vision_tower"] == record["rest"]["projector"] == record["config_from"] == "IN"
    note = f"{given} ({text}) is a language model: vision tower from IN, projector from IN; config, tokenizer and processor from IN"
    assert record["notes"] == [note]
    assert note in (tmp_path / "hybrid" / "README.md").read_text()
    assert note in verification.describe(tmp_path / "hybrid")
    assert note in summary.summary(made, layout)


def test_the_hybrid_answers_about_images_as_what_it_is_made_of(vlm, text, tmp_path):
    """With all of the decoder from the language model, text has its logits; and it is the same in memory."""
    hybrids.merge({"IN": vlm, "R1": text}, "R1", tmp_path / "hybrid")
    model, processor = loading.load_model(tmp_path / "hybrid")  # refuses missing and unexpected tensors
    inputs = encode(processor, [Prompt("how many shapes are there?")])
    ids = {"input_ids": inputs["input_ids"]}
    alone = Qwen2ForCausalLM.from_pretrained(text, dtype=torch.float32).eval()
    with torch.inference_mode():
        torch.testing.assert_close(model(**ids).logits, alone(**ids).logits)
    hybrid = memory.Hybrid({"IN": str(vlm), "R1": str(text)}, "R1", None, "early")
    assert hybrid.directory == vlm
    stored, state = Weights(tmp_path / "hybrid").stored, hybrid.state_dict()
    found = {name: state[where.name] for name, where in stored.items()}
    assert all(torch.equal(found[name], tensor) for name, tensor in tensors(tmp_path / "hybrid").items())


def test_parts_named_one_by_one(vlm, text):
    """A VLM may give more of the rest than it must, and a language model cannot be asked for what it lacks."""
    donors = {"IN": vlm, "R1": text}
    made = plan.plan(donors, "R1", rest_from={"embeddings": "IN", "head": "IN"})
    assert {part: str(choice) for part, choice in made.assignment.rest.items()} == {
        "vision_tower": "IN", "projector": "IN", "embeddings": "IN", "final_norm": "R1", "head": "IN"
    }  # fmt: skip
    with pytest.raises(
        InputError, match=r"rest_from: projector=R1: R1 is a language model and has none; name one of IN"
    ):
        plan.plan(donors, "R1", rest_from={"projector": "R1"})
    with pytest.raises(InputError, match=r"config_from: R1 .* is a language model; name a VLM"):
        plan.plan(donors, "R1", config_from="R1")
    assert plan.plan(donors, "IN").language_models == []  # it gives nothing


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"num_hidden_layers": 8}, r"IN .* has 9 decoder layers, R1 .* 8: donors must have the same depth"),
        ({"vocab_size": 500}, r"'embed_tokens.weight' is \(\d+, 64\) in IN .* but \(500, 64\) in R1 .*: another vocabulary; take IN's with --rest embeddings=IN,head=IN"),
        ({"hidden_size": 32}, r"'embed_tokens.weight' is \(\d+, 64\) in IN .* but \(\d+, 32\) in R1 .* a donor must be of the VLM decoder's own size"),
        ({"intermediate_size": 64}, r"'layers.0.mlp.down_proj.weight' is \(64, 96\) in IN .* but \(64, 64\) in R1"),
        ({"num_key_value_heads": 4}, "num_key_value_heads is 2 in IN .* but 4 in R1 .*: not the same decoder"),
        ({"tie_word_embeddings": True}, r"only IN .* has 'lm_head.weight', of .*: take IN's with --rest embeddings=IN,head=IN"),
        ({"dtype": "bfloat16"}, r"is F32 in IN .* but BF16 in R1 .*: save both in one dtype"),
    ],
)  # fmt: skip
def test_a_language_model_that_does_not_fit(vlm, tmp_path, changes, says):
    donors = {"IN": vlm, "R1": language_model(vlm, tmp_path / "r1", **changes)}
    if "dtype" in changes:
        halved = {name: tensor.bfloat16() for name, tensor in load_file(donors["R1"] / "model.safetensors").items()}
        save_file(halved, donors["R1"] / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=says):
        plan.plan(donors, "R1")


def test_another_vocabulary_matters_only_where_it_is_taken(vlm, tmp_path):
    donors = {
        "IN": vlm,
        "R1": language_model(
            vlm, tmp_path / "r1", vocab_size=500, rope_parameters={"rope_type": "default", "rope_theta": 1e6}
        ),
    }
    rest = {"embeddings": "IN", "head": "IN"}
    made = hybrids.merge(donors, "R1", tmp_path / "hybrid", rest_from=rest)
    check_equal(tmp_path / "hybrid", twin(vlm, donors["R1"], lambda part: part.component not in WORDS))
    assert verification.verify(tmp_path / "hybrid") == []
    assert made.warnings[0].startswith("the decoders' configs differ, and the hybrid has IN's: ")
    assert "rope_theta is 10000.0 in IN but 1000000.0 in R1" in made.warnings[0]


def test_verify_finds_what_a_language_model_no_longer_has(vlm, text, tmp_path):
    donors = {"IN": vlm, "R1": shutil.copytree(text, tmp_path / "r1")}
    hybrids.merge(donors, "IN:R1:IN", tmp_path / "hybrid")
    kept = load_file(donors["R1"] / "model.safetensors")
    path = donors["R1"] / "model.safetensors"
    name = "model.layers.4.mlp.up_proj.weight"
    save_file(kept | {name: kept[name] + 1}, path, metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"layers\.4\.mlp\.up_proj\.weight' differs from its donor R1"):
        verification.verify(tmp_path / "hybrid")
    save_file({key: tensor for key, tensor in kept.items() if key != name}, path, metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"'layers\.4\.mlp\.up_proj\.weight' is not in both the hybrid and R1"):
        verification.verify(tmp_path / "hybrid")


def test_the_command_says_what_stays(vlm, text, tmp_path, capsys):
    out = tmp_path / "out"
    arguments = ["merge", "--in", str(vlm), "--donor", f"R1={text}", "IN:R1:R1", str(out)]
    cli.main([*arguments, "--dry-run"])
    assert f"R1 ({text}) is a language model: vision tower from IN, projector from IN;" in capsys.readouterr().out
    cli.main(arguments)
    cli.main(["verify", str(out)])
    cli.main(["inspect", str(out)])
    cli.main(["inspect", str(text)])
    said = capsys.readouterr().out
    assert "vision_tower  IN" in said
    assert f"{text}: qwen2, 9 decoder layers" in said


def test_a_language_model_is_no_checkpoint_of_a_study(text, tmp_path):
    with pytest.raises(InputError, match="a qwen2 language model, which sees nothing"):
        checkpoints.write_manifest(tmp_path / "manifest.json", text, {})
