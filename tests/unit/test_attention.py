import math

import families
import pytest
import torch

from frankenstein.data.tasks import read_examples
from frankenstein.inference.generation import generate
from frankenstein.inference.prompts import build_prompt, encode
from frankenstein.mini import benchmarks
from frankenstein.probes import attention
from frankenstein.probes.decoder import Decoder, vision_mask


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


def reasoning_to_vision(loaded, examples, folder, system="", memory_mb=1000):
    return list(
        attention.reasoning_to_vision(*loaded, examples, folder, system=system, memory_mb=memory_mb, max_new_tokens=8)
    )


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


def test_a_response_without_reasoning_is_counted_as_failed(loaded, tmp_path, monkeypatch):
    benchmarks.write_examples("math_vqa", tmp_path / "m.jsonl", tmp_path / "m", n=2, seed=1)
    monkeypatch.setattr(attention, "reasoning_span", lambda tokenizer, tokens: range(0))
    records = reasoning_to_vision(loaded, read_examples(tmp_path / "m.jsonl"), tmp_path)
    assert len(records) == 2 * 9
    assert all(math.isnan(record["attention_mass"]) and record["error"] for record in records)


def test_an_image_that_does_not_open_is_a_failed_sample(loaded, tmp_path):
    benchmarks.write_examples("math_vqa", tmp_path / "m.jsonl", tmp_path / "m", n=3, seed=1)
    examples = read_examples(tmp_path / "m.jsonl")
    (tmp_path / examples[1].image).write_bytes(b"no image")
    records = reasoning_to_vision(loaded, examples, tmp_path)
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
    model.set_attn_implementation("eager")
    with torch.inference_mode():
        weights = model(**inputs, output_attentions=True).attentions
    for layer, by_example in enumerate(found):
        for row, heads in enumerate(by_example):
            expected = weights[layer][row][:, asked[row]][..., keys[row]].sum(-1).mean(-1)
            torch.testing.assert_close(heads, expected, rtol=1e-4, atol=1e-6)


def test_chunks_of_queries_change_nothing():
    torch.manual_seed(0)
    query, key = torch.randn(6, 40, 8), torch.randn(2, 40, 8)
    keys, seen = torch.arange(40) % 3 == 0, torch.arange(40) > 2
    asked = torch.arange(10, 37)
    whole, cut = (attention.mass_on(query, key, asked, keys, seen, 0.3, size) for size in (1 << 30, 1))
    torch.testing.assert_close(whole, cut)
    assert whole.shape == (6, 27)
    for head in range(6):
        for i, token in enumerate(asked.tolist()):
            scores = [0.3 * float(query[head, token] @ key[head // 3, k]) for k in range(3, token + 1)]
            total = sum(math.exp(x) for x in scores)
            of_keys = sum(math.exp(x) for k, x in enumerate(scores, 3) if k % 3 == 0)
            assert whole[head, i] == pytest.approx(of_keys / total, rel=1e-4)
