import math

import pytest
import torch

from frankenstein import anatomy, attention
from frankenstein.generation import encode, generate, in_condition
from frankenstein.mini import benchmarks
from frankenstein.tasks import read_examples


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


def test_equation_1_against_the_obvious_loop(loaded, tmp_path):
    model, processor = loaded
    benchmarks.write_examples("math_vqa", tmp_path / "m.jsonl", tmp_path / "m", n=3, seed=1)
    examples = read_examples(tmp_path / "m.jsonl")
    records = {
        (record["id"], record["layer"]): record
        for record in attention.reasoning_to_vision(model, processor, examples, tmp_path, "think first.", 3, 8)
    }
    assert len(records) == 3 * 9
    for example in examples:
        prompt = in_condition(example, "image", tmp_path, "think first.")
        response = generate(model, processor, [prompt], 8)[0]
        inputs = encode(processor, [prompt])
        start = inputs["input_ids"].shape[1]
        inputs["input_ids"] = torch.cat([inputs["input_ids"], torch.tensor([response.tokens])], 1)
        inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
        zeros = torch.zeros(1, len(response.tokens), dtype=torch.long)
        inputs["mm_token_type_ids"] = torch.cat([inputs["mm_token_type_ids"], zeros], 1)
        vision = anatomy.vision_mask(model, inputs["input_ids"])[0].nonzero()[:, 0].tolist()
        with torch.inference_mode():
            weights = model(**inputs, output_attentions=True).attentions
        span = attention.reasoning_span(processor.tokenizer, response.tokens)
        for layer in range(9):
            total = 0.0
            for head in range(4):
                for i in span:
                    assert weights[layer][0, head, start + i].sum().item() == pytest.approx(1, abs=1e-5)
                    total += sum(weights[layer][0, head, start + i, j].item() for j in vision)
            record = records[example.id, layer]
            assert record["attention_mass"] == pytest.approx(total / (4 * len(span)), rel=1e-4)
            assert record["attention_mean"] == pytest.approx(total / (4 * len(span) * len(vision)), rel=1e-4)
            assert (record["reasoning_tokens"], record["vision_tokens"]) == (len(span), len(vision))


def test_a_response_without_reasoning_is_counted_as_failed(loaded, tmp_path, monkeypatch):
    model, processor = loaded
    benchmarks.write_examples("math_vqa", tmp_path / "m.jsonl", tmp_path / "m", n=2, seed=1)
    monkeypatch.setattr(attention, "reasoning_span", lambda tokenizer, tokens: range(0))
    records = list(
        attention.reasoning_to_vision(model, processor, read_examples(tmp_path / "m.jsonl"), tmp_path, "", 2, 4)
    )
    assert len(records) == 2 * 9
    assert all(math.isnan(record["attention_mass"]) and record["error"] for record in records)
