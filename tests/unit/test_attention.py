import math

import families
import naive_sweep
import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from conftest import ROOT

from frankenstein import api
from frankenstein.claims import layer_samples, measurements
from frankenstein.core.regions import Regions
from frankenstein.core.roles import RETRAINED, Run
from frankenstein.data.tasks import open_image, read_examples
from frankenstein.inference.generation import generate, text_of
from frankenstein.inference.prompts import build_prompt, encode
from frankenstein.mini import benchmarks
from frankenstein.models.loading import load_model
from frankenstein.probes import attention
from frankenstein.probes.decoder import Decoder, vision_mask
from frankenstein.study.config import load
from frankenstein.study.jobs import Jobs


@pytest.mark.parametrize(
    ("text", "reasoning"),
    [
        ("<think>red circle 1. 1+2=3</think><answer>3</answer>", "red circle 1. 1+2=3"),
        ("<think>red circle 1. 1+2=3", "red circle 1. 1+2=3"),
        ("yes it is", "yes it is"),
        ("<think></think><answer>3</answer>", ""),
    ],
)
def test_reasoning_span(loaded, text, reasoning):
    tokenizer = loaded[1].tokenizer
    tokens = tokenizer(text)["input_ids"]
    span = attention.reasoning_span(tokenizer, tokens)
    assert tokenizer.decode(tokens[span.start : span.stop]) == reasoning


def said(loaded, examples, folder, system="") -> dict[str, dict]:
    """id -> the record of a model's response, one example at a time."""
    found = {}
    for example in examples:
        made = generate(*loaded, [build_prompt(example, "image", folder, system)], 8)[0]
        found[example.id] = {"response": made.text, "token_ids": made.tokens, "error": None}
    return found


def reasoning_to_vision(loaded, examples, folder, system="", memory_mb=1000, given=None):
    """Over the model's own responses, unless others are given."""
    given = given or said(loaded, examples, folder, system)
    return list(attention.reasoning_to_vision(*loaded, examples, folder, given, system=system, memory_mb=memory_mb))


def test_equation_1_against_the_obvious_loop(loaded, tmp_path):
    model, processor = loaded
    benchmarks.write_examples("math_vqa", tmp_path / "m.jsonl", tmp_path / "m", n=3, seed=1)
    examples = read_examples(tmp_path / "m.jsonl")
    records = {
        (record["id"], record["layer"]): record
        for record in reasoning_to_vision(loaded, examples, tmp_path, "think first.")
    }
    assert len(records) == 3 * 9
    for example in examples:
        prompt = build_prompt(example, "image", tmp_path, "think first.")
        response = generate(model, processor, [prompt], 8)[0]
        inputs = encode(processor, [prompt])
        start = inputs["input_ids"].shape[1]
        inputs["input_ids"] = torch.cat([inputs["input_ids"], torch.tensor([response.tokens])], 1)
        inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
        zeros = torch.zeros(1, len(response.tokens), dtype=torch.long)
        inputs["mm_token_type_ids"] = torch.cat([inputs["mm_token_type_ids"], zeros], 1)
        vision = vision_mask(model, inputs["input_ids"])[0].nonzero()[:, 0].tolist()
        with torch.inference_mode():
            weights = model(**inputs, output_attentions=True).attentions
        span = attention.reasoning_span(processor.tokenizer, response.tokens)
        for layer in range(9):
            total = 0.0
            record = records[example.id, layer]
            for head in range(4):
                before = total
                for i in span:
                    assert weights[layer][0, head, start + i].sum().item() == pytest.approx(1, abs=1e-5)
                    total += sum(weights[layer][0, head, start + i, j].item() for j in vision)
                assert record["heads"][head] == pytest.approx((total - before) / len(span), rel=1e-4)
            assert record["attention_mass"] == pytest.approx(total / (4 * len(span)), rel=1e-4)
            assert record["attention_mean"] == pytest.approx(total / (4 * len(span) * len(vision)), rel=1e-4)
            assert (record["reasoning_tokens"], record["vision_tokens"]) == (len(span), len(vision))


def test_maps_are_the_masses_by_vision_token(loaded, tmp_path):
    benchmarks.write_examples("math_vqa", tmp_path / "m.jsonl", tmp_path / "m", n=3, seed=1)
    examples = read_examples(tmp_path / "m.jsonl")
    given = said(loaded, examples, tmp_path)
    given[examples[1].id] |= {"response": None, "error": "no image"}
    records = pd.DataFrame(reasoning_to_vision(loaded, examples, tmp_path, given=given))
    table = attention.maps(records)
    assert [(row.id, row.layer) for row in table.itertuples()] == [
        (row.id, row.layer) for row in records.itertuples() if row.id != examples[1].id
    ]
    table.to_parquet(tmp_path / "maps.parquet", index=False)
    read = pd.read_parquet(tmp_path / "maps.parquet").merge(records, on=["id", "layer"])
    assert len(read) == 2 * 9
    for row in read.itertuples():
        assert row.attention.dtype == np.float16
        assert (row.rows, row.columns) == tuple(row.grid)
        assert len(row.attention) == row.rows * row.columns == row.vision_tokens
        assert row.attention.astype(float).sum() == pytest.approx(row.attention_mass, rel=2e-3)
    model, processor = loaded
    image = open_image(tmp_path / examples[0].image)
    text = given[examples[0].id]["response"]
    whole = api.attention_map(model, processor, examples[0].prompt, image, text)
    masses = api.attention(model, processor, examples[0].prompt, image, text).attention_mass
    assert whole.sum((1, 2)) == pytest.approx(masses.to_numpy(), rel=1e-5)
    first = table[table.id == examples[0].id].attention
    np.testing.assert_allclose(whole.reshape(9, -1), np.stack(first.to_list()).astype(np.float32), rtol=2e-3, atol=1e-6)


def test_a_response_without_reasoning_is_counted_as_failed(loaded, tmp_path, monkeypatch):
    benchmarks.write_examples("math_vqa", tmp_path / "m.jsonl", tmp_path / "m", n=2, seed=1)
    monkeypatch.setattr(attention, "reasoning_span", lambda tokenizer, tokens: range(0))
    records = reasoning_to_vision(loaded, read_examples(tmp_path / "m.jsonl"), tmp_path)
    assert len(records) == 2 * 9
    assert all(math.isnan(record["attention_mass"]) and record["error"] for record in records)


def test_an_image_that_does_not_open_is_a_failed_sample(loaded, tmp_path):
    benchmarks.write_examples("math_vqa", tmp_path / "m.jsonl", tmp_path / "m", n=3, seed=1)
    examples = read_examples(tmp_path / "m.jsonl")
    given = said(loaded, examples, tmp_path)
    (tmp_path / examples[1].image).write_bytes(b"no image")
    records = reasoning_to_vision(loaded, examples, tmp_path, given=given)
    assert len(records) == 3 * 9
    failed = [record for record in records if record["error"]]
    assert {record["id"] for record in failed} == {examples[1].id}
    assert all(math.isnan(record["attention_mass"]) for record in failed)


def test_attention_does_not_depend_on_the_batch(loaded, tmp_path):
    benchmarks.write_examples("math_vqa", tmp_path / "m.jsonl", tmp_path / "m", n=5, seed=1)
    examples = read_examples(tmp_path / "m.jsonl")
    large, small = (
        {(r["id"], r["layer"]): r["attention_mass"] for r in reasoning_to_vision(loaded, examples, tmp_path, "", mb)}
        for mb in (1000, 1)
    )
    assert large == pytest.approx(small, rel=1e-4)


@pytest.mark.parametrize("family", families.FAMILIES)
@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_masses_of_a_padded_batch_against_output_attentions(family, implementation):
    """Under grouped-query attention (4 heads, 2 of keys), however the model attends, by head and layer."""
    model = families.build(family)
    prompts = [[*families.text(n, n), families.image(n), *families.text(9 - n, n)] for n in (2, 5)]
    inputs = families.batch(model, prompts)
    keys = vision_mask(model, inputs["input_ids"])
    width = inputs["input_ids"].shape[1]
    asked = [torch.arange(width - n, width) for n in (4, 1)]
    model.set_attn_implementation(implementation)
    found = attention.masses(Decoder(model), inputs, asked, keys)
    assert model.model.language_model.config._attn_implementation == implementation
    twins = naive_sweep.attention_weights(model, inputs, asked, keys)
    for by_example, expected in zip(found, twins, strict=True):
        for one, weights in zip(by_example, expected, strict=True):  # heads, asked tokens, keys
            torch.testing.assert_close(one.heads, weights.sum(-1).mean(-1), rtol=1e-4, atol=1e-6)
            torch.testing.assert_close(one.keys, weights.mean((0, 1)), rtol=1e-4, atol=1e-6)


def test_chunks_of_queries_change_nothing():
    torch.manual_seed(0)
    query, key = torch.randn(6, 40, 8), torch.randn(2, 40, 8)
    keys, seen = torch.arange(40) % 3 == 0, torch.arange(40) > 2
    asked = torch.arange(10, 37)
    visible = (torch.arange(40) <= asked[:, None]) & seen
    whole, cut = (attention.weights_on(query, key, asked, keys, visible, 0.3, size) for size in (1 << 30, 1))
    torch.testing.assert_close(whole, cut)
    assert whole.shape == (6, 14)
    for head in range(6):
        expected = dict.fromkeys(range(0, 40, 3), 0.0)
        for token in asked.tolist():
            scores = {k: math.exp(0.3 * float(query[head, token] @ key[head // 3, k])) for k in range(3, token + 1)}
            for k in expected.keys() & scores.keys():
                expected[k] += scores[k] / sum(scores.values()) / len(asked)
        assert whole[head].tolist() == pytest.approx(list(expected.values()), rel=1e-4)


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    """(examples, their folder): four questions about an image."""
    folder = tmp_path_factory.mktemp("asked")
    benchmarks.write_examples("math_vqa", folder / "m.jsonl", folder / "m", n=4, seed=1)
    return read_examples(folder / "m.jsonl"), folder


@pytest.fixture(scope="module")
def two_texts(loaded, moved, asked):
    """{role: {id: response}}: what two models answer to the same questions; RL's is half as long."""
    own, other = (said(model, *asked) for model in (loaded, load_model(moved)))
    for record in other.values():
        record["token_ids"] = record["token_ids"][:4]
        record["response"] = text_of(loaded[1], record["token_ids"])
    assert all(own[key]["token_ids"] != other[key]["token_ids"] for key in own)
    return {"IN": own, "RL": other}


def crossed(models, texts, asked):
    """Measurements of every model over every text: {stage: model}, {role: responses}."""
    frames = [
        pd.DataFrame(reasoning_to_vision(model, *asked, given=given)).assign(
            recipe="one", run=1, stage=stage, text=text, own=text == stage
        )
        for stage, model in models.items()
        for text, given in texts.items()
    ]
    return measurements.Measurements(Regions((3, 6), 9), (Run("one"),), attention=pd.concat(frames))


def parts_of(measured):
    """part -> value by (layer, example)."""
    found = (layer_samples.attention_change(measured, Run("one"), part) for part in layer_samples.PARTS)
    return {
        part: frame.set_index(["layer", "unit"]).value for part, frame in zip(layer_samples.PARTS, found, strict=True)
    }


def test_a_response_of_a_server_is_read_by_its_text(loaded, asked):
    """Which is all that there is of it: no token ids."""
    text = "<think>red circle 1, nothing 1. 1+2=3</think><answer>3</answer>"
    tokens = loaded[1].tokenizer(text)["input_ids"]
    found = {}
    for token_ids in (tokens, None):
        given = {example.id: {"response": text, "token_ids": token_ids, "error": None} for example in asked[0]}
        found[token_ids is None] = reasoning_to_vision(loaded, *asked, given=given)
    assert found[True] == found[False]
    assert len(found[True]) == 4 * 9
    for record in found[True]:
        assert record["tokens"] == len(tokens) > record["reasoning_tokens"] > 0


def test_a_response_that_cannot_be_read_is_a_failed_sample(loaded, asked, two_texts):
    missing, garbled, unasked, *_ = two_texts["IN"]
    given = dict(two_texts["IN"])
    given[missing] = given[missing] | {"token_ids": None, "response": None, "error": "no image"}
    given[garbled] = given[garbled] | {"response": "another tokenizer's text"}
    del given[unasked]
    failed = {
        record["id"]: record["error"] for record in reasoning_to_vision(loaded, *asked, given=given) if record["error"]
    }
    assert failed.keys() == {missing, garbled, unasked}
    assert failed[unasked] == "no response to read: it was not asked"
    assert failed[missing] == "no response to read: no image"
    assert "decodes the response's tokens to a different text" in failed[garbled]


def test_equal_weights_leave_all_of_a_change_to_the_text(loaded, asked, two_texts):
    parts = parts_of(crossed({"IN": loaded, "RL": loaded}, two_texts, asked))
    assert (parts["weights"] == 0).all()
    assert parts["total"].abs().min() > 0
    assert (parts["text"] == parts["total"]).all()


def test_equal_texts_leave_all_of_a_change_to_the_weights(loaded, moved, asked, two_texts):
    same = {"IN": two_texts["IN"], "RL": two_texts["IN"]}
    parts = parts_of(crossed({"IN": loaded, "RL": load_model(moved)}, same, asked))
    assert (parts["text"] == 0).all()
    assert parts["total"].abs().min() > 0
    assert (parts["weights"] == parts["total"]).all()


@pytest.fixture
def crossings():
    """Random masses of each of the three models over the texts that a study lets it read; one sample failed."""
    rng = np.random.default_rng(0)
    read = [("IN", "IN"), ("RL", "RL"), (RETRAINED, RETRAINED)]
    read += [pair for other in ("RL", RETRAINED) for pair in (("IN", other), (other, "IN"))]
    rows = [
        {"recipe": "one", "run": 1, "stage": stage, "text": text, "own": stage == text, "layer": layer, "id": f"e{i}"}
        | {"attention_mass": np.nan if (stage, text, i) == ("RL", "IN", 3) else rng.uniform()}
        for stage, text in read
        for layer in range(9)
        for i in range(5)
    ]
    return pd.DataFrame(rows)


def test_the_parts_of_a_change_add_up_to_it(crossings):
    measured = measurements.Measurements(Regions((3, 6), 9), (Run("one"),), attention=crossings)
    parts = parts_of(measured)
    mass = crossings.set_index(["stage", "text", "layer", "id"]).attention_mass
    assert [len(parts[part]) for part in ("total", "weights", "text")] == [45, 36, 36]
    for (layer, unit), total in parts["total"].items():
        old, new, rl_over_in, in_over_rl = (
            mass[stage, text, layer, unit] for stage, text in (("IN", "IN"), ("RL", "RL"), ("RL", "IN"), ("IN", "RL"))
        )
        assert total == new - old
        if unit != "e3":
            weights, text = parts["weights"][layer, unit], parts["text"][layer, unit]
            assert weights == pytest.approx(((rl_over_in - old) + (new - in_over_rl)) / 2, abs=1e-15)
            assert text == pytest.approx(((in_over_rl - old) + (new - rl_over_in)) / 2, abs=1e-15)
            assert weights + text == pytest.approx(total, abs=1e-15)


def test_a_retrained_in_stands_in_for_rl_with_its_own_text(crossings):
    """The null of each part: its stage is then named RL, but not the text that it wrote."""
    null = crossings[crossings.stage != "RL"].replace({"stage": {RETRAINED: "RL"}})
    found = parts_of(measurements.Measurements(Regions((3, 6), 9), (Run("one"),), attention=null))
    alone = crossings[(crossings.stage != "RL") & (crossings.text != "RL")]
    renamed = alone.replace({"stage": {RETRAINED: "RL"}, "text": {RETRAINED: "RL"}})
    expected = parts_of(measurements.Measurements(Regions((3, 6), 9), (Run("one"),), attention=renamed))
    for part in layer_samples.PARTS:
        pd.testing.assert_series_equal(found[part], expected[part])


def test_without_the_other_text_there_are_no_parts(crossings):
    own = measurements.Measurements(None, (Run("one"),), attention=crossings[crossings.own])
    assert len(layer_samples.attention_change(own, Run("one"))) == 45
    for frame in (own.attention, own.attention.drop(columns=["text", "own"])):
        with pytest.raises(LookupError, match=r"over (IN's|the other's) response"):
            layer_samples.attention_change(
                measurements.Measurements(None, (Run("one"),), attention=frame), Run("one"), "text"
            )


def test_files_say_whose_weights_attend_to_whose_text(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    jobs = Jobs(load(yaml.safe_load((ROOT / "config" / "micro.yaml").read_text())))
    files = {name: paths for name, paths in jobs.files("attention").items() if name.startswith("attention")}
    assert len(files) == 14  # of two runs, each of which has the other's IN as its retrained one
    assert files["attention_on.one.rl.instruct"] == [
        f"results/micro/attention/one-rl.on.one-in.{shard}.csv" for shard in (0, 1)
    ]
    (tmp_path / "results" / "micro" / "attention").mkdir(parents=True)
    for paths in files.values():
        for path in paths:
            pd.DataFrame({"id": ["e"], "layer": [0], "attention_mass": [0.5], "error": [path]}).to_csv(
                path, index=False
            )
    regions = tmp_path / "regions.json"
    Regions((3, 6), 9).write(regions)
    frame = measurements.read({**files, "regions": str(regions)}, runs=jobs.settings()["runs"]).attention
    names = {
        1: {"IN": "one-in", "RL": "one-rl", RETRAINED: "other-in"},
        2: {"IN": "other-in", "RL": "other-rl", RETRAINED: "one-in"},
    }
    for row in frame.itertuples():
        on = "" if row.own else f".on.{names[row.run][row.text]}"
        assert row.error.startswith(f"results/micro/attention/{names[row.run][row.stage]}{on}.")
    assert len(frame) == 28
    assert (frame.own == (frame.text == frame.stage)).all()
    assert set(measurements.own_text(frame).stage) == set(names[1])
    assert len(measurements.own_text(frame)) == 12
