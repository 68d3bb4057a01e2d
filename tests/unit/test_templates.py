"""What a checkpoint's chat template makes of a prompt must not set the checkpoints of a recipe apart."""

import json
import shutil

import pytest
from PIL import Image
from transformers import AutoProcessor

from frankenstein.core.errors import InputError
from frankenstein.inference import engines, templates
from frankenstein.inference.prompts import Prompt, render
from frankenstein.mini.model import CHAT_TEMPLATE
from frankenstein.training import sft

SYSTEM = "think first."
# The same text, written otherwise: one loop that knows no list of parts but joins what it makes of them.
REWRITTEN = """\
{%- set ns = namespace(text='') -%}
{%- for turn in messages -%}
{%- set ns.text = ns.text + '<|im_start|>' + turn['role'] + '\\n' -%}
{%- for part in turn['content'] -%}
{%- set ns.text = ns.text + ('<|vision_start|><|image_pad|><|vision_end|>' if part['type'] == 'image' else part['text']) -%}
{%- endfor -%}
{%- set ns.text = ns.text + '<|im_end|>\\n' -%}
{%- endfor -%}
{{ ns.text }}{{ '<|im_start|>assistant\\n' if add_generation_prompt }}"""
THINKING = CHAT_TEMPLATE.replace("<|im_start|>assistant\n", "<|im_start|>assistant\n<think>")
TRIMMED = CHAT_TEMPLATE.replace("part.text }}", "part.text | trim }}")


def checkpoint(tiny, path, template):
    """The tiny checkpoint with another chat template."""
    shutil.copytree(tiny, path)
    (path / "chat_template.jinja").write_text(template)
    return path


def recipe(path, directory, settled=False, name="one-in"):
    templates.write(path, directory, "one", name, SYSTEM, settled)
    return path


def test_the_same_prompt_written_otherwise_is_the_same(tiny, tmp_path):
    other = checkpoint(tiny, tmp_path / "rl", REWRITTEN)
    own = recipe(tmp_path / "one.json", tiny)
    assert templates.settle(other, "one-rl", SYSTEM, [own]) == templates.settle(tiny, "one-in", SYSTEM, [own])
    assert templates.named(own) is None


@pytest.mark.parametrize(
    ("template", "says"),
    [
        (THINKING, "<|im_start|>assistant\\n' one-rl has '<think>', one-in has ''. "),
        (TRIMMED, "one-rl has 'Solve step by step."),
    ],
)
def test_another_prompt_is_an_error_that_names_both_and_the_first_difference(tiny, tmp_path, template, says):
    other = checkpoint(tiny, tmp_path / "rl", template)
    with pytest.raises(InputError) as caught:
        templates.settle(other, "one-rl", SYSTEM, [recipe(tmp_path / "one.json", tiny)])
    message = str(caught.value)
    assert message.startswith("recipe one: 'one-rl' and 'one-in' do not get the same prompt: after '")
    assert says in message
    assert "Set recipes.one.chat_template_from to the checkpoint" in message
    assert "\n" not in message


def test_the_switch_settles_it_and_changes_what_is_rendered(tiny, tmp_path):
    thinking = checkpoint(tiny, tmp_path / "rl", THINKING)
    named = recipe(tmp_path / "one.json", thinking, settled=True, name="one-rl")
    template, digest = templates.settle(tiny, "one-in", SYSTEM, [named])
    assert template == THINKING == templates.named(named)
    assert digest == templates.settle(thinking, "one-rl", SYSTEM, [named])[1]
    assert digest != templates.settle(tiny, "one-in", SYSTEM, [])[1]
    prompt = Prompt("how many?", Image.new("RGB", (28, 28)), SYSTEM)
    own, settled = (engines.Transformers(tiny, 4, template=text).loaded[1] for text in (None, template))
    assert render(own, prompt).endswith("assistant\n")
    assert render(settled, prompt) == render(own, prompt) + "<think>"


def test_a_base_has_a_prompt_of_its_own(tiny, tmp_path):
    plain, other = (templates.settle(tiny, "base", system, []) for system in ("", SYSTEM))
    assert plain[0] is None
    assert len(plain[1]) == 16
    assert plain[1] != other[1]
    # Also where its chat template is the one that the recipe takes.
    assert templates.settle(tiny, "one-rl", SYSTEM, [recipe(tmp_path / "one.json", tiny, True, "base")])[1] == other[1]


def test_one_template_and_other_special_tokens_is_still_another_prompt(tiny, tmp_path):
    template = "{{ eos_token }}" + CHAT_TEMPLATE
    other = checkpoint(tiny, tmp_path / "rl", template)
    path = other / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"eos_token": "<|endoftext|>"}))
    named = recipe(tmp_path / "one.json", checkpoint(tiny, tmp_path / "in", template), settled=True)
    with pytest.raises(
        InputError, match="The chat template is one-in's for both: their tokenizers' special tokens differ"
    ):
        templates.settle(other, "one-rl", SYSTEM, [named])


@pytest.mark.parametrize("template", [None, "{{ raise_exception('no system prompt') }}"])
def test_a_checkpoint_whose_template_renders_nothing_is_named(tiny, tmp_path, template):
    other = checkpoint(tiny, tmp_path / "rl", template or "")
    if template is None:
        (other / "chat_template.jinja").unlink()
    with pytest.raises(InputError, match="one-rl: its chat template does not render the prompt"):
        templates.settle(other, "one-rl", SYSTEM, [])


def test_what_is_trained_under_another_template_has_it(tiny, tmp_path):
    samples = [sft.Sample(Prompt("1+1=?"), "2")] * 4
    sft.supervised(tiny, tmp_path / "in", samples, 1, 2, 1e-3, seed=1, template=THINKING)
    saved = AutoProcessor.from_pretrained(tmp_path / "in", local_files_only=True)
    assert render(saved, Prompt("1+1=?")).endswith("assistant\n<think>")


def test_rl_is_rolled_out_under_the_template_that_it_is_given(tiny, tmp_path, monkeypatch):
    from frankenstein.mini import recipe as mini
    from frankenstein.training import grpo

    given = []

    class Spied(grpo.GRPOTrainer):
        def __init__(self, **options):
            given.append(options["processing_class"].chat_template)
            super().__init__(**options)

    monkeypatch.setattr(grpo, "GRPOTrainer", Spied)
    grpo.grpo(
        tiny, tmp_path / "rl", mini.reinforcement(1, 4, {"text_math": 1}, SYSTEM), steps=1, prompts_per_step=1, num_generations=2,
        max_new_tokens=4, learning_rate=1e-3, rewards={"answer": 1.0, "format": 0.2}, seed=1, template=THINKING,
    )  # fmt: skip
    assert given == [THINKING]
    saved = AutoProcessor.from_pretrained(tmp_path / "rl", local_files_only=True)
    assert saved.chat_template == THINKING
