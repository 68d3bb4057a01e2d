"""The paper's tasks on public benchmarks, which every study has by name: the keys of `datasets.NAME` in a study's file."""

from __future__ import annotations

INSTRUCTION = "Solve the problem step by step, and put the answer in one \\boxed{}.\n"
# Rows sampled for an ability or for layer skipping (paper, Section 2.2).
SAMPLE = 100


def _task(benchmark: str, **keys) -> dict:
    return {"benchmark": benchmark, "instruction": INSTRUCTION, **keys}


# All at the pinned revisions of data.benchmarks. LogicVista, the fourth of Figure 2's benchmarks, has none, so a study names it.
TASKS = {
    "general_vista": _task("mathvista", category="general-vqa", sample=SAMPLE),
    "math_vista": _task("mathvista", category="math-targeted-vqa", sample=SAMPLE),
    "math500": _task("math500", sample=SAMPLE),
    "gsm8k": _task("gsm8k", sample=SAMPLE),
    "mathvista": _task("mathvista"),
    "mathverse": _task("mathverse"),
    "mathvision": _task("mathvision", split="testmini"),
}
ABILITIES = {"vision": "general_vista", "vision_to_reasoning": "math_vista", "reasoning": "math500"}
BENCHMARKS = ["mathvista", "mathverse", "mathvision"]
