"""Models with a known answer, built by hand and put through the pipeline: each planted effect is found where it was put.

The tiny checkpoint is given a mark: residual dimension MARK holds a constant on image tokens and zero on text, and no
layer writes to it. Keys that read the mark, in a rotary dimension that hardly turns, let queries seek or shun the image.
"""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from PIL import Image
from safetensors.torch import load_file, save_file

from frankenstein.claims import controls, statements, testing, verdicts
from frankenstein.claims.measurements import Measurements
from frankenstein.claims.verdicts import CONTRADICTED, MISSING, SUPPORTED, UNDECIDED
from frankenstein.core.regions import Regions
from frankenstein.core.roles import Run
from frankenstein.data import tasks
from frankenstein.grading import probes, short
from frankenstein.grading.outcome import RIGHT
from frankenstein.inference.generation import generate
from frankenstein.inference.prompts import build_prompt
from frankenstein.merging import hybrids
from frankenstein.merging.hybrid_spec import HYBRIDS
from frankenstein.mini import benchmarks
from frankenstein.models.loading import load_model
from frankenstein.probes import attention, interventions
from frankenstein.report.figures import figure4

PAPER = statements.read([ROOT / "workflow" / "claims" / "paper.yaml"])
REGIONS = Regions((3, 6), 9)
LAYERS = range(9)
MARK, CONSTANT, SKILL = 0, 1, 2  # dimensions of the residual stream
HEADS, KV_HEADS, HEAD = 4, 2, 16
STILL = HEAD // 2 - 1  # the first half of the slowest rotary pair


def layer(number: int, name: str) -> str:
    return f"model.layers.{number}.{name}"


def write(tiny, folder, edit):
    """A copy of a checkpoint with its tensors edited in place."""
    tensors = load_file(tiny / "model.safetensors")
    edit(tensors)
    folder.mkdir()
    for path in tiny.glob("*.json"):
        (folder / path.name).write_bytes(path.read_bytes())
    for path in tiny.glob("*.jinja"):
        (folder / path.name).write_bytes(path.read_bytes())
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def mark_images(tensors) -> None:
    tensors["model.embed_tokens.weight"][:, MARK] = 0
    tensors["visual.merger.mlp.2.weight"][MARK] = 0
    tensors["visual.merger.mlp.2.bias"][MARK] = 0.5
    for number in LAYERS:
        for name in ("self_attn.o_proj.weight", "mlp.down_proj.weight"):
            tensors[layer(number, name)][MARK] = 0
        for heads, name in ((HEADS, "q_proj"), (KV_HEADS, "k_proj")):
            rows = [head * HEAD + STILL for head in range(heads)]
            tensors[layer(number, f"self_attn.{name}.weight")][rows] = 0
            tensors[layer(number, f"self_attn.{name}.bias")][rows] = 1.0 if name == "q_proj" else 0.0


def seek(tensors, layers, strength: float) -> None:
    """All queries of these layers seek the image (shun it where strength is negative)."""
    for number in layers:
        for head in range(KV_HEADS):
            tensors[layer(number, "self_attn.k_proj.weight")][head * HEAD + STILL, MARK] = strength


def said(directory, examples, folder) -> dict[str, dict]:
    """id -> the record of a checkpoint's response."""
    made = generate(*load_model(directory), [build_prompt(example, "image", folder, "") for example in examples], 6)
    return {
        example.id: {"response": one.text, "token_ids": one.tokens, "error": None}
        for example, one in zip(examples, made, strict=True)
    }


def attention_of(directory, examples, folder, given) -> pd.DataFrame:
    records = attention.reasoning_to_vision(*load_model(directory), examples, folder, given, system="", memory_mb=500)
    return pd.DataFrame(records)


@pytest.mark.parametrize(("raised", "verdict"), [(range(3, 9), SUPPORTED), (range(3), CONTRADICTED)])
def test_attention_raised_by_scaling_is_found_in_the_layers_where_it_was(tiny, tmp_path, raised, verdict):
    benchmarks.write_examples("math_vqa", tmp_path / "m.jsonl", tmp_path / "m", n=16, seed=1)
    examples = tasks.read_examples(tmp_path / "m.jsonl")
    write(tiny, tmp_path / "in", mark_images)
    write(tmp_path / "in", tmp_path / "rl", lambda tensors: seek(tensors, raised, 3.0))
    frames = []
    own = {name: said(tmp_path / name, examples, tmp_path) for name in ("in", "rl")}
    for text, given in own.items():
        for name in own:
            label = {"recipe": "one", "stage": name.upper(), "text": text.upper(), "own": name == text}
            frames.append(attention_of(tmp_path / name, examples, tmp_path, given).assign(**label))
    frame = pd.concat(frames)
    # The same model in six runs, as alike as runs can be.
    runs = tuple(Run("one", number) for number in range(1, 7))
    frame = pd.concat(
        frame.assign(
            run=run.number, attention_mass=frame.attention_mass * (1 + run.number * 1e-3 * (frame.stage == "RL"))
        )
        for run in runs
    )
    measured = Measurements(REGIONS, runs, attention=frame, seed=1)
    by_layer = frame.groupby(["layer", "stage"]).attention_mass.mean().unstack()
    change = by_layer.RL - by_layer.IN
    assert set(change.nlargest(len(raised)).index) == set(raised)
    assert change[list(raised)].min() > 3 * change.drop(list(raised)).abs().max()
    second = [claim for claim in PAPER if claim["claim"] == 2]
    found = verdicts.decide(testing.check_all(second, measured)[0])
    assert verdicts.summarize_claims(second, found).verdict.item() == verdict
    assert (testing.random_layers(second, measured)[-1] < 0.05) == (verdict == SUPPORTED)
    windows = controls.windows(measured)
    best = windows.loc[windows.value.idxmax()]
    assert set(range(best["first"], best["last"] + 1)) <= set(raised)
    assert best.low > 0


def noise(folder, number) -> tasks.Pair:
    """Two images of other coloured noise: all that an untrained vision tower tells apart."""
    rng = np.random.default_rng(number)
    for side in "ts":
        Image.fromarray(rng.integers(0, 256, (2, 2, 3), dtype=np.uint8)).resize((56, 56), 0).save(
            folder / f"{number}{side}.png"
        )
    names = {"target_image": f"{number}t.png", "source_image": f"{number}s.png"}
    return tasks.Pair(
        id=f"ocr_{number}", task="ocr", prompt="what is it?", meta={"target_text": "a", "source_text": "b"}, **names
    )


@pytest.mark.parametrize("reads", [1, 4, 7])
def test_swapping_peaks_at_the_layer_that_alone_reads_the_image(tiny, tmp_path, reads):
    tokenizer = load_model(tiny)[1].tokenizer
    unspeakable = [token for token in range(len(tokenizer)) if not tokenizer.decode([token]).strip().isalnum()]

    def edit(tensors):
        tensors["model.embed_tokens.weight"][unspeakable] = 0  # two bytes of no character look the same in a text
        mark_images(tensors)
        seek(tensors, set(LAYERS) - {reads}, -2000.0)
        seek(tensors, [reads], 4.0)
        # What is read decides the answer: images differ, and little else is said.
        tensors["visual.merger.mlp.2.weight"] *= 20
        tensors["visual.merger.mlp.2.bias"][MARK] = 2
        for number in LAYERS:
            for name in ("self_attn.o_proj.weight", "mlp.down_proj.weight"):
                tensors[layer(number, name)] *= 30 if number == reads else 0.1

    pairs = [noise(tmp_path, number) for number in range(16)]
    modes = ["hidden_state_at_layer", "kv_at_layer_only"]
    records = interventions.swap_sweep(
        *load_model(write(tiny, tmp_path / "base", edit)),
        pairs,
        tmp_path,
        system="",
        modes=modes,
        unequal="resize",
        memory_mb=500,
        max_new_tokens=6,
    )
    records = pd.DataFrame(records).assign(truncated=False)  # an untrained model never stops: six tokens are its answer
    # What an untrained model says without a swap is its right answer: what it can't do would be claimed nothing of.
    said = records[records["mode"] == "none"].set_index("id").response
    pairs = [replace(pair, meta={"target_text": said[pair.id], "source_text": "?"}) for pair in pairs]
    table = probes.swap_table(records, pairs)
    rates = figure4.change_rates(table).set_index(["mode", "layer"]).rate
    # Of other noise an untrained model does not always say another word; where it does it is by this layer.
    share = rates["kv_at_layer_only", reads]
    assert share > 0.4
    for number in LAYERS:
        assert rates["kv_at_layer_only", number] == (share if number == reads else 0), number
        assert rates["hidden_state_at_layer", number] == (share if number <= reads else 0), number
    statement = {
        "name": "ocr",
        "statistic": "swap_contrast",
        "of": {"function": "ocr", "more": "early", "less": "late"},
        "margin": 0.03,
    }
    claim = [{"claim": 1, "statements": [{**statement, "expect": "greater"}]}]

    def verdict(swaps):
        measured = Measurements(REGIONS, (Run("one"),), swaps=swaps, seed=1)
        return verdicts.decide(testing.check_all(claim, measured)[0]).iloc[0]

    found, unable = verdict(table), verdict(table.assign(right=False))
    assert found.verdict == {1: SUPPORTED, 4: UNDECIDED, 7: CONTRADICTED}[reads]
    assert unable.verdict == MISSING
    assert unable.why == "the Base has only 0% of the ocr pairs right without a swap"
    assert found.estimate == pytest.approx(share * {1: 1, 4: 0, 7: -1}[reads] / 3)


def test_a_skill_of_one_region_is_in_the_hybrids_that_have_it_and_no_other(tiny, tmp_path):
    """IN's layers write nothing, and it repeats its prompt; an MLP of RL's Mid says 7."""
    benchmarks.write_examples("text_math", tmp_path / "t.jsonl", tmp_path / "t", n=160, seed=1)
    examples = [example for example in tasks.read_examples(tmp_path / "t.jsonl") if example.answer == "7"]
    assert len(examples) > 9
    token = load_model(tiny)[1].tokenizer.convert_tokens_to_ids("7")

    def silent(tensors):
        for number in LAYERS:
            for name in ("self_attn.o_proj.weight", "mlp.down_proj.weight"):
                tensors[layer(number, name)].zero_()
        embeddings = tensors["model.embed_tokens.weight"]
        embeddings[:, CONSTANT], embeddings[:, SKILL] = 0.3, 0
        embeddings[token, SKILL] = 1.0

    def skilled(tensors):
        tensors[layer(4, "mlp.gate_proj.weight")][0].zero_()[CONSTANT] = 5.0
        tensors[layer(4, "mlp.up_proj.weight")][0].zero_()[CONSTANT] = 5.0
        tensors[layer(4, "mlp.down_proj.weight")][SKILL, 0] = 5.0

    donors = {"IN": write(tiny, tmp_path / "IN", silent)}
    donors["RL"] = write(donors["IN"], tmp_path / "RL", skilled)
    directories = dict(donors)
    for spec in HYBRIDS:
        directories[spec] = tmp_path / spec.replace(":", "-")
        hybrids.merge(donors, spec, directories[spec], cuts=(3, 6))
    rows = []
    for role, directory in directories.items():
        made = generate(
            *load_model(directory), [build_prompt(example, "text", tmp_path, "") for example in examples], 1
        )
        for example, response in zip(examples, made, strict=True):
            hit = short.grade(response.text, example.answer, example.answer_type).verdict == RIGHT
            rows.append(
                {
                    "recipe": "one",
                    "run": 1,
                    "role": role,
                    "metric": "M_rea",
                    "id": example.id,
                    "correct": hit,
                    "cluster": example.id,
                }
            )
            assert (response.text == "7") == (role == "RL" or (":" in role and role.split(":")[1] == "RL")), role
    listed = [
        {
            "name": role,
            "statistic": "gain",
            "of": {"metric": "M_rea", "from": "IN", "to": role},
            "expect": "greater",
            "margin": 0.03,
        }
        for role in ("RL", *HYBRIDS)
    ]
    measured = Measurements(REGIONS, (Run("one"),), outcomes=pd.DataFrame(rows), seed=1)
    found = testing.check_all([{"claim": 1, "statements": listed}], measured)[0].set_index("statement")
    for role, row in found.iterrows():
        carries = role == "RL" or role.split(":")[1] == "RL"
        assert row.estimate == float(carries)
        assert (row.p_for < 0.025) == carries
