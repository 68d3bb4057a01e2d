import json
import subprocess
import sys

import pandas as pd
import pytest
import torch
import yaml
from conftest import ROOT
from safetensors.torch import load_file

from frankenstein.core.errors import InputError
from frankenstein.mini import recipe
from frankenstein.training import sft
from frankenstein.training.sft import Sample


def test_only_what_the_assistant_says_is_learned(loaded):
    _, processor = loaded
    samples = list(recipe.instruction(1, 1, 4, {"math_vqa": 1, "text_math": 1}, {}, "think first."))[:4]
    batch = sft._Collate(processor)(samples)
    for row, sample in enumerate(samples):
        learned = batch["labels"][row] != -100
        text = processor.tokenizer.decode(batch["input_ids"][row][learned])
        assert text == sample.completion + "<|im_end|>"
        assert sample.completion.startswith("<think>")
        rendered = processor.tokenizer.decode(batch["input_ids"][row][~learned & batch["attention_mask"][row].bool()])
        assert sample.prompt.text in rendered
        assert sample.completion not in rendered


def test_batches_are_of_like_lengths_and_lose_no_sample(loaded):
    _, processor = loaded
    weights = {"describe": 1, "ocr": 1, "text_math": 1, "recognition": 1}
    samples = list(recipe.instruction(1, 39, 8, weights, {}, "think first."))
    ordered = list(sft._Stream(samples, processor.tokenizer, 8, seed=1))
    assert list(map(id, ordered)) == list(map(id, sft._Stream(samples, processor.tokenizer, 8, seed=1)))
    pool = 8 * sft._Stream.POOL
    for start in range(0, len(samples), pool):  # the curriculum's order is kept
        assert set(map(id, samples[start : start + pool])) == set(map(id, ordered[start : start + pool]))

    def padding(stream):
        batches = [sft._Collate(processor)(stream[i : i + 8])["attention_mask"] for i in range(0, len(stream) - 7, 8)]
        return 1 - sum(int(mask.sum()) for mask in batches) / sum(mask.numel() for mask in batches)

    assert padding(ordered) < 0.6 * padding(samples)


def test_supervised_training_learns(tiny, tmp_path):
    samples = [Sample(sft.Prompt("1+1=?"), "2"), Sample(sft.Prompt("1+2=?"), "3")] * 200
    log = sft.supervised(tiny, tmp_path, samples, steps=30, batch=4, learning_rate=3e-3, seed=1)
    assert log.loss.iloc[-1] < 0.5 * log.loss.iloc[0]


def by_length(completions, **_) -> list[float]:
    """A reward that differs from rollout to rollout, so that there is something to learn."""
    return [len(completion[0]["content"]) / 20 for completion in completions]


def test_grpo_leaves_the_frozen_region_byte_identical(tiny, tmp_path):
    from frankenstein.training import grpo

    rollouts = recipe.reinforcement(1, 12, {"easy_vqa": 1, "text_math": 1}, "think first.")
    out = tmp_path / "rl"
    log = grpo.grpo(
        tiny, out, rollouts, steps=3, prompts_per_step=2, num_generations=4, max_new_tokens=8, learning_rate=1e-3,
        rewards={"answer": 1.0, "format": 0.2}, seed=1, frozen=range(3, 6), answer=by_length,
    )  # fmt: skip
    assert {"step", "loss", "reward", "reward_answer", "reward_format", "completion_length"} <= set(log)
    assert log.reward_answer.notna().all()
    before, after = (load_file(path / "model.safetensors") for path in (tiny, out))
    frozen = [name for name in before if any(f".layers.{layer}." in name for layer in (3, 4, 5))]
    assert len(frozen) == 3 * 12
    assert all(torch.equal(before[name], after[name]) for name in frozen)
    matrices = [name for name in before if name.endswith("up_proj.weight") and ".layers." in name]
    assert sum(not torch.equal(before[name], after[name]) for name in matrices) == 6
    assert sft.check_frozen(tiny, out, range(3, 6)) == len(frozen)


@pytest.mark.slow
def test_a_killed_rl_goes_on_and_ends_like_an_unbroken_one(tiny, tmp_path):
    """Six steps at once, and six of which the fifth is killed: same weights to 1e-6, same log."""
    from frankenstein.training import grpo

    calls = []

    def reward(completions, **_):
        calls.append(len(completions))
        if len(calls) == kill_at:
            raise KeyboardInterrupt
        return by_length(completions)

    rollouts = recipe.reinforcement(1, 20, {"text_math": 1}, "think first.")

    def run(name):
        return grpo.grpo(
            tiny, tmp_path / name, rollouts, steps=6, prompts_per_step=2, num_generations=4, max_new_tokens=8, learning_rate=1e-3,
            rewards={"answer": 1.0, "format": 0.2}, seed=1, save_steps=2, scratch=tmp_path / f"{name}.state", answer=reward,
        )  # fmt: skip

    kill_at = None
    whole = run("whole")
    assert not (tmp_path / "whole.state").exists()
    calls.clear()
    kill_at = 5
    with pytest.raises(KeyboardInterrupt):
        run("broken")
    assert [path.name for path in (tmp_path / "broken.state").glob("checkpoint-*")] == ["checkpoint-4"]
    # A state that was torn is no state.
    (tmp_path / "broken.state" / "checkpoint-6").mkdir()
    calls.clear()
    kill_at = None
    resumed = run("broken")
    assert len(calls) == 2
    one, other = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "broken"))
    assert max((one[name].float() - other[name].float()).abs().max() for name in one) < 1e-6
    pd.testing.assert_frame_equal(whole, resumed, rtol=1e-5)


def test_the_state_of_another_run_is_not_gone_on_with(tiny, tmp_path):
    from pathlib import Path

    from frankenstein.training import grpo

    rollouts = recipe.reinforcement(1, 6, {"text_math": 1}, "")
    state = tmp_path / "state"
    assert grpo._begun(state, tiny, rollouts, [1]) is None
    (state / "checkpoint-2").mkdir()
    (state / "checkpoint-2" / "trainer_state.json").write_text("{}")
    assert grpo._begun(state, Path(tiny), rollouts, [1]) == state / "checkpoint-2"
    for other in ((rollouts[1:], [1]), (rollouts, [2])):
        (state / "checkpoint-2").mkdir(exist_ok=True)
        assert grpo._begun(state, tiny, *other) is None
        assert not (state / "checkpoint-2").exists()


def test_training_is_logged_elsewhere_only_when_asked(monkeypatch, tiny, tmp_path):
    from frankenstein.training import grpo

    assert grpo._reporting("none", tmp_path) == {}
    monkeypatch.setattr(grpo.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"training\.report_to: trackio is not installed here: `pip install trackio`"):
        grpo.grpo(tiny, tmp_path / "rl", [], 1, 1, 2, 4, 1e-4, {"answer": 1, "format": 1}, 1, report_to="trackio")
    monkeypatch.undo()
    monkeypatch.setattr(grpo, "_need", lambda *_: None)  # find_spec itself is asked by accelerate as well
    asked = grpo._reporting("trackio", tmp_path / "checkpoints" / "one-rl")
    assert grpo.GRPOConfig(str(tmp_path), bf16=False, **asked).report_to == ["trackio"]
    assert asked["run_name"] == grpo._reporting("wandb", tmp_path / "one-rl" / "model")["run_name"] == "one-rl"


def test_the_optimiser_does_not_hold_frozen_parameters(tiny):
    model, _ = sft.load(tiny)
    frozen = set(sft.freeze(model, range(6, 9)))
    trainer = sft.Trainer(model, sft.TrainingArguments("/tmp/none", report_to=[]))
    held = {id(p) for group in trainer.create_optimizer().param_groups for p in group["params"]}
    names = dict(model.named_parameters())
    assert len(frozen) == 3 * 12
    assert not any(id(names[name]) in held for name in frozen)
    assert all(id(parameter) in held for name, parameter in names.items() if name not in frozen)


def test_rewards_grade_what_was_said():
    from frankenstein.training.grpo import answer_reward, format_reward

    said = ["<think>1+1=2</think><answer>2</answer>", "2", "<think>1+1=2</think><answer>3</answer>", "<think>2"]
    completions = [[{"role": "assistant", "content": text}] for text in said]
    assert answer_reward(completions, answer=["2"] * 4, answer_type=["number"] * 4) == [1, 1, 0, 0]
    assert format_reward(completions) == [1, 0, 1, 0]


def test_rollouts_of_a_step_are_all_with_or_all_without_an_image():
    from frankenstein.training.grpo import _alike

    rollouts = recipe.reinforcement(1, 40, {"math_vqa": 1, "text_math": 1}, "")
    ordered = _alike(rollouts, 4)
    assert len(ordered) > 30
    for start in range(0, len(ordered), 4):
        assert len({rollout.prompt.image is None for rollout in ordered[start : start + 4]}) == 1


@pytest.fixture
def bfloat16(tiny, tmp_path):
    """The tiny checkpoint as one is published: stored in bfloat16."""
    from transformers import AutoModelForImageTextToText, AutoProcessor

    model = AutoModelForImageTextToText.from_pretrained(tiny, dtype=torch.bfloat16)
    model.save_pretrained(tmp_path / "bf16")
    AutoProcessor.from_pretrained(tiny).save_pretrained(tmp_path / "bf16")
    return tmp_path / "bf16"


@pytest.fixture
def prompts(tmp_path):
    """Prompts of one's own, with and without images, graded by public benchmarks' rules."""
    from frankenstein.data.tasks import Example, write
    from frankenstein.mini import questions

    records = []
    for number, question in enumerate(questions.sample(3, "train", "math_vqa", 6)):
        question.image.save(tmp_path / f"{number}.png")
        records.append(Example(f"i{number}", "own", question.prompt, question.answer, "integer", f"{number}.png",
                               grading="typed", question_type="free_form"))  # fmt: skip
    records += [Example(f"t{n}", "own", f"what is {n} + 1?", str(n + 1), None, grading="latex") for n in range(6)]
    write(tmp_path / "prompts.jsonl", records)
    return tmp_path / "prompts.jsonl"


def specification(start, out, prompts, **changes) -> dict:
    return {
        "start": str(start), "out": str(out), "prompt_file": str(prompts), "system": "think first.", "steps": 2, "prompts_per_step": 2,
        "num_generations": 2, "max_new_tokens": 6, "learning_rate": 1e-2, "rewards": {"answer": 1.0, "format": 0.2}, "seed": 1,
        "frozen": [0, 3], "components": ["vision_tower"], "micro_batch": 2, "scratch": str(out) + ".state", **changes,
    }  # fmt: skip


def test_rl_on_ones_own_prompts_keeps_dtype_and_what_is_frozen(bfloat16, prompts, tmp_path, monkeypatch):
    from frankenstein.training import prompt_files

    monkeypatch.setattr(prompt_files, "reward", by_length)
    log = prompt_files.run(specification(bfloat16, tmp_path / "rl", prompts))
    assert len(log) == 2
    before, after = (load_file(path / "model.safetensors") for path in (bfloat16, tmp_path / "rl"))
    assert {tensor.dtype for tensor in after.values()} == {torch.bfloat16}
    still = [name for name in before if torch.equal(before[name], after[name])]
    frozen = [name for name in before if ".layers.0." in name or "visual.blocks" in name]
    assert frozen
    assert set(frozen) <= set(still)
    assert any(".layers.5." in name for name in set(before) - set(still))


def test_rewards_are_the_graders(prompts):
    from frankenstein.training import prompt_files

    found = prompt_files.read(prompts, "")
    assert [rollout.has_image for rollout in found] == [True] * 6 + [False] * 6
    said = [[{"content": text}] for text in (rf"\boxed{{{found[0].answer}}}", "\\boxed{7}", "9**9**9**9")]
    examples = [found[0].example, found[6].example, found[7].example]
    assert prompt_files.reward(said, examples) == [1.0, 0.0, 0.0]


@pytest.mark.slow
def test_sympys_processes_live_beside_a_large_main_program(tmp_path):
    """A program that has mapped more than a process of sympy may take, and whose main module is imported again by them."""
    program = tmp_path / "program.py"
    program.write_text(
        "import torch, transformers, trl\nfrom frankenstein.grading import verdicts\nfrom frankenstein.data.tasks import Example\n"
        "if __name__ == '__main__':\n"
        "    gold = Example('a', 't', '?', 'x + \\\\sqrt{2}', grading='latex')\n"
        "    print(verdicts.grades([(gold, '\\\\boxed{\\\\sqrt{2} + x}')], jobs=1)[0].verdict)\n"
    )
    made = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, check=True, timeout=200)
    assert made.stdout.split()[-1] == "right", made.stderr[-2000:]


def test_vllm_is_handed_one_token_per_image_and_must_read_what_is_trained_on():
    from types import SimpleNamespace

    from frankenstein.training import grpo

    handed = []

    def generate(prompts, images):
        handed.extend(prompts)
        return [expanded(ids) for ids in prompts], "completions", images

    def expanded(ids):
        return [token for one in ids for token in ([one] * (3 if one == 9 else 1))]

    made = grpo._one_token_per_image(SimpleNamespace(generate=generate), 9)
    prompts = [[1, 9, 9, 9, 2, 9, 9, 9], [9, 9, 9], [4, 5]]
    assert made(prompts=prompts, images="images") == (prompts, "completions", "images")
    assert handed == [[1, 9, 2, 9], [9], [4, 5]]
    with pytest.raises(InputError, match="vLLM reads a prompt of 4 tokens where training has 3"):
        made(prompts=[[9, 9, 1]], images=None)


def test_rollouts_by_a_vllm_that_is_not_there_are_refused_before_training(monkeypatch):
    from frankenstein.training import grpo

    monkeypatch.setattr(grpo.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="vllm_gpu_memory_utilization: vllm is not installed here: `pip install -c "):
        grpo._rollouts(0.3)
    assert grpo._rollouts(None) == {}


# A worker whose processes are sharded on the CPU: accelerate shards on what it takes for an accelerator only.
SHARDED = """
import os
from accelerate.state import DistributedType, PartialState
from frankenstein.training import grpo_worker

os.environ["ACCELERATE_TORCH_DEVICE"] = "cpu"
PartialState._prepare_backend = lambda *_, **__: ("gloo", DistributedType.MULTI_XPU)
grpo_worker.main()
"""


def two_processes(folder, kind: str):
    """An accelerate configuration for two processes on the CPU: data parallel, or sharded with the settings that are shipped."""
    settings = {"compute_environment": "LOCAL_MACHINE", "distributed_type": kind, "main_training_function": "main"}
    if kind == "FSDP":
        settings = yaml.safe_load((ROOT / "docs" / "accelerate" / "fsdp2.yaml").read_text())
    here = {"num_processes": 2, "num_machines": 1, "machine_rank": 0, "mixed_precision": "no", "use_cpu": True}
    (folder / "two.yaml").write_text(yaml.safe_dump(settings | here))
    return folder / "two.yaml"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["MULTI_CPU", "FSDP"])
def test_rl_in_two_processes_by_accelerate(tiny, prompts, tmp_path, kind, monkeypatch, capfd):
    from frankenstein.training import prompt_files

    config = two_processes(tmp_path, kind)
    # Gold answers that only sympy can tell from others: its processes must live beside torch's.
    lines = [json.loads(line) for line in prompts.read_text().splitlines()]
    prompts.write_text(
        "".join(json.dumps(line | {"grading": "latex", "answer": "x + \\sqrt{2}"}) + "\n" for line in lines)
    )
    if kind == "FSDP":
        # As it is, accelerate starts two processes that know nothing of each other.
        with pytest.raises(subprocess.CalledProcessError):
            prompt_files.launched(specification(tiny, tmp_path / "rl", prompts), config)
        assert "2 processes were started, but accelerate does not connect them" in capfd.readouterr().err
        (tmp_path / "worker.py").write_text(SHARDED)
        monkeypatch.setattr(prompt_files, "_WORKER", [str(tmp_path / "worker.py")])
    log = prompt_files.launched(specification(tiny, tmp_path / "rl", prompts, save_steps=1), config)
    assert len(log) == 2
    assert not list((tmp_path / "rl").glob("*.bin"))
    assert {tensor.dtype for tensor in load_file(tmp_path / "rl" / "model.safetensors").values()} == {torch.float32}
    assert sft.check_frozen(tiny, tmp_path / "rl", range(3), ("vision_tower",)) > 30
    with pytest.raises(InputError, match=r"none\.yaml: no such file: accelerate's configuration"):
        prompt_files.launched(specification(tiny, tmp_path / "rl", prompts), tmp_path / "none.yaml")


# The same worker, killed once after its first state.
DYING = """
from frankenstein.training import grpo, prompt_files

prompt_files.reward = lambda completions, **_: [len(completion[0]["content"]) / 20 for completion in completions]

class Dying(grpo.Told):
    def on_save(self, args, state, control, **_):
        if {dies}:
            grpo.PartialState().wait_for_everyone()
            os._exit(1)

grpo.Told = Dying
"""


@pytest.mark.slow
def test_a_sharded_rl_that_was_killed_ends_like_an_unbroken_one(tiny, prompts, tmp_path, monkeypatch):
    from frankenstein.training import prompt_files

    config = two_processes(tmp_path, "FSDP")

    def run(name: str, dies: bool):
        worker = tmp_path / f"{name}-{dies}.py"
        worker.write_text(SHARDED.replace("grpo_worker.main()", DYING.format(dies=dies) + "grpo_worker.main()"))
        monkeypatch.setattr(prompt_files, "_WORKER", [str(worker)])
        return prompt_files.launched(specification(tiny, tmp_path / name, prompts, save_steps=1), config)

    whole = run("whole", dies=False)
    with pytest.raises(subprocess.CalledProcessError):
        run("broken", dies=True)
    states = tmp_path / "broken.state"
    assert [path.name for path in states.glob("checkpoint-*")] == ["checkpoint-1"]
    assert not list((states / "checkpoint-1").glob("*.safetensors"))
    resumed = run("broken", dies=False)
    assert not states.exists()
    pd.testing.assert_frame_equal(whole, resumed, rtol=1e-5)
    one, other, start = (
        load_file(path / "model.safetensors") for path in (tmp_path / "whole", tmp_path / "broken", tiny)
    )
    assert max((one[name] - other[name]).abs().max() for name in one) < 1e-6
    assert max((one[name] - start[name].float()).abs().max() for name in one) > 1e-3


def test_rollouts_that_cannot_be_shared_out_are_named(tiny, prompts, tmp_path):
    from frankenstein.training import prompt_files

    with pytest.raises(
        InputError, match=r"4 rollouts per step \(2 prompts x 2\) are not a multiple of micro_batch 3 x 1"
    ):
        prompt_files.run(specification(tiny, tmp_path / "rl", prompts, micro_batch=3))
