"""The library interface for notebooks: `import frankenstein as fk`. The tests run these examples on a tiny model.

In the examples, `checkpoint`, `IN`, `RL` and `base` are checkpoint directories, `study` is a results folder such as results/mini,
and `picture` and `other` are PIL images.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from .claims.measurements import Measurements
from .claims.measurements import read as _read_measurements
from .core.errors import InputError
from .core.regions import Regions as Regions  # public here
from .grading import graders
from .grading.extraction import final_answer as _final_answer
from .grading.outcome import Grade
from .merging import hybrids, verification
from .study import config
from .study.jobs import PARTS, Jobs
from .updates.table import updates_table

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

    from .inference.generation import Response


def load(checkpoint: str | Path, max_pixels: int | None = None, gpus: int = 1):
    """Load (model in eval mode, processor) from a local checkpoint: safetensors only, no remote code, on the GPU if available.

    max_pixels: the processor downsizes images with more pixels; gpus: number of GPUs to spread the layers of a large model over.
    Raises InputError for missing or unexpected weights, and where they do not fit.

    >>> model, processor = fk.load(checkpoint)
    >>> model.training
    False
    """
    from .models.loading import load_model

    return load_model(Path(checkpoint), max_pixels=max_pixels, gpus=gpus)


def _prompts(questions: Sequence[str], images: Sequence[Image | None] | None, system: str) -> list:
    from .inference.prompts import Prompt

    images = images or [None] * len(questions)
    return [Prompt(text, image, system) for text, image in zip(questions, images, strict=True)]


def generate(
    model, processor, questions: Sequence[str], images: Sequence[Image | None] | None = None, *, system: str = "",
    max_new_tokens: int = 512,
) -> list[Response]:  # fmt: skip
    """Greedy responses to one batch of questions with optional images; each response has `text`, `tokens` and `truncated`.

    >>> responses = fk.generate(model, processor, ["how many?", "how many?"], [picture, other], max_new_tokens=4)
    >>> len(responses), len(responses[0].tokens) <= 4
    (2, True)
    """
    from .inference.generation import generate as run

    return run(model, processor, _prompts(questions, images, system), max_new_tokens)


def swap(
    model, processor, question: str, target: Image, source: Image, *, modes: Sequence[str] = ("hidden_state_at_layer",),
    system: str = "", max_new_tokens: int = 64,
) -> pd.DataFrame:  # fmt: skip
    """Vision-token swapping (paper, Section 3.1): the answer about `target` when its vision tokens are
    replaced by those of `source`, for each layer.

    One row per mode and decoder layer: mode, layer (-1: nothing swapped), response, truncated. All layers share one prefill.
    `source` is resized to the size of `target`. modes: hidden_state_at_layer, kv_from_layer, kv_at_layer_only.

    >>> answers = fk.swap(model, processor, "what is this?", picture, other, max_new_tokens=3)
    >>> list(answers.columns), int(answers.layer.min())
    (['mode', 'layer', 'response', 'truncated'], -1)
    """
    from .inference.generation import text_of
    from .inference.prompts import encode
    from .probes import sweep
    from .probes.decoder import Decoder

    prompts = _prompts([question] * 2, [target, source.resize(target.size)], system)
    inputs = [encode(processor, [prompt], model.device) for prompt in prompts]
    answers = sweep.swap(Decoder(model), *inputs, list(modes), max_new_tokens)[0]
    return pd.DataFrame(
        {"mode": mode, "layer": layer, "response": text_of(processor, answer.tokens), "truncated": answer.truncated}
        for (mode, layer), answer in answers.items()
    )


def skip(
    model, processor, question: str, image: Image | None = None, *, system: str = "", max_new_tokens: int = 256
) -> pd.DataFrame:
    """Layer skipping (paper, Section 3.1): the answer with each decoder layer skipped in turn.

    One row per layer: layer (-1: none skipped), response, truncated.

    >>> answers = fk.skip(model, processor, "what is 1 + 2?", max_new_tokens=3)
    >>> len(answers) == 1 + model.config.text_config.num_hidden_layers
    True
    """
    from .inference.generation import text_of
    from .inference.prompts import encode
    from .probes import sweep
    from .probes.decoder import Decoder

    decoder = Decoder(model)
    layers = [range(layer, layer + 1) for layer in range(len(decoder.layers))]
    inputs = encode(processor, _prompts([question], [image], system), model.device)
    answers = sweep.skip(decoder, inputs, layers, max_new_tokens)[0]
    return pd.DataFrame(
        {"layer": at - 1, "response": text_of(processor, answer.tokens), "truncated": answer.truncated}
        for at, answer in enumerate(answers)
    )


def attention(
    model, processor, question: str, image: Image, response: str | None = None, *, system: str = "", max_new_tokens: int = 512
) -> pd.DataFrame:  # fmt: skip
    """Attention from reasoning tokens to vision tokens (paper, Section 2.3, Eq. 1), by decoder layer.

    response: text containing the reasoning, from any model; None: generate it with this model. Columns: layer, attention_mass
    (sum over vision tokens, mean over heads and reasoning tokens; 0 to 1; NaN if there is no reasoning), attention_mean (mass /
    vision tokens), heads (mass per head), reasoning_tokens, vision_tokens.

    >>> text = "<think>red circle 1. 1+2=3</think><answer>3</answer>"
    >>> masses = fk.attention(model, processor, "what is this?", picture, text)
    >>> bool(masses.attention_mass.between(0, 1).all())
    True
    """
    by_layer, reasoning, vision, _ = _attend(model, processor, question, image, response, system, max_new_tokens)
    return pd.DataFrame(
        {
            "layer": layer,
            "attention_mass": float(heads.mean()),
            "attention_mean": float(heads.mean()) / vision,
            "heads": heads.tolist(),
            "reasoning_tokens": reasoning,
            "vision_tokens": vision,
        }
        for layer, (heads, _) in enumerate(by_layer)
    )


def attention_map(
    model, processor, question: str, image: Image, response: str | None = None, *, system: str = "", max_new_tokens: int = 512
) -> np.ndarray:  # fmt: skip
    """Where on the image the reasoning attends, by decoder layer: float32 [layers, rows, columns] of attention weight on each vision
    token, averaged over heads and reasoning tokens. A layer's sum is its attention_mass (see attention, also for response).

    Rows and columns are those of the model's vision tokens; NaN if there is no reasoning. Raises InputError for a model whose
    vision tokens form no plain grid over the image.

    >>> text = "<think>red circle 1. 1+2=3</think><answer>3</answer>"
    >>> fk.attention_map(model, processor, "what is this?", picture, text).shape
    (9, 2, 2)
    """
    import numpy as np

    by_layer, _, _, grid = _attend(model, processor, question, image, response, system, max_new_tokens)
    if grid is None:
        raise InputError(
            f"{model.config.model_type}: its vision tokens form no plain grid over the image; use attention"
        )
    return np.stack([keys.numpy().reshape(grid) for _, keys in by_layer])


def _attend(model, processor, question, image, response, system, max_new_tokens):
    """What probes.attention.attend finds of one question and response, which is generated if there is none."""
    from .inference.generation import generate as run
    from .probes.attention import attend
    from .probes.decoder import Decoder

    prompts = _prompts([question], [image], system)
    if response is None:
        tokens = run(model, processor, prompts, max_new_tokens)[0].tokens
    else:
        tokens = processor.tokenizer(response, add_special_tokens=False)["input_ids"]
    return attend(Decoder(model), processor, prompts, [tokens])[0]


def weight_updates(
    base: str | Path, instruct: str | Path, rl: str | Path | None = None, jobs: int | None = None
) -> pd.DataFrame:
    """Weight updates due to training (paper, Section 3.2): one row per weight matrix and stage (IN - Base, RL - IN), then one per
    norm or bias and stage (column kind), without what only a spectrum has.

    Norms, rank, slope of the log singular value spectrum, effective and stable rank, direction (columns as in
    results/README.md). Weights are streamed: only a few matrices are in memory at a time. jobs: number of processes (default:
    all cores).

    >>> table = fk.weight_updates(base, IN, RL, jobs=1)
    >>> sorted(set(table.stage))
    ['IN', 'RL']
    """
    import os

    return updates_table(Path(base), Path(instruct), Path(rl) if rl else None, jobs or os.cpu_count() or 1)


def merge(
    donors: dict[str, str | Path], spec: str, out: str | Path, cuts: tuple[int, int] | None = None, rest_from: str = "early"
) -> Path:  # fmt: skip
    """Merge checkpoints into a hybrid (paper, Section 3.3), bit-exactly: "IN:RL:RL" takes Early from IN, Mid and Late from RL.

    donors: name -> directory; cuts: first layer (0-based) of Mid and of Late (default: even thirds); rest_from: donor of the
    weights outside the decoder layers. The full notation is in config/README.md. Raises InputError for incompatible donors,
    before writing anything.

    >>> hybrid = fk.merge({"IN": IN, "RL": RL}, "IN:RL:RL", "hybrid")
    >>> fk.verify(hybrid)
    []
    """
    hybrids.merge({name: Path(path) for name, path in donors.items()}, spec, Path(out), cuts=cuts, rest_from=rest_from)
    return Path(out)


def verify(hybrid: str | Path) -> list[str]:
    """Verify a hybrid against its manifest and donors; returns warnings. Raises InputError for a tensor that differs from its donor's.

    >>> fk.verify("hybrid")
    []
    """
    return verification.verify(Path(hybrid))


def final_answer(response: str) -> str | None:
    """The final answer of a response, outside its reasoning and stripped of tags, boxes and markup; None if there is none.

    >>> fk.final_answer(r"<think>2 + 3</think><answer>\\boxed{5}</answer>")
    '5'
    """
    return _final_answer(response).text


def grade(benchmark: str, records: Sequence[dict], jobs: int | None = None) -> list[Grade]:
    """Grade responses by a public benchmark's rules: right, wrong, abstained or ungraded, with the extracted answer and the reason.

    records: dicts of response, answer and the benchmark's own gold fields (question_type, answer_type, choices, precision,
    unit). jobs: number of processes for sympy (default: all cores).

    >>> [grade.verdict for grade in fk.grade("gsm8k", [{"response": "So it is 18.", "answer": "18"}])]
    ['right']
    """
    return graders.grade_all(benchmark, [dict(record) for record in records], jobs=jobs)


def read_study(study: str | Path, root: str | Path = ".") -> Measurements:
    """A study's measurements as data frames: outcomes (per example and metric), attention, swaps, skips, updates; and its regions.

    study: the study's results folder, results/NAME; root: the directory in which the workflow ran. Frames of chapters that the
    study does not include are None; expected but missing files are listed in `missing`. The finished tables and the numbers
    behind the figures are CSV files in the folder.

    >>> measured = fk.read_study(study, root)
    >>> sorted(set(measured.outcomes.role))[:2]
    ['Base', 'IN']
    """
    root = Path(root)
    jobs = Jobs(config.of_results(root / study, root))
    files = {
        name: [str(root / path) for path in ([paths] if isinstance(paths, str) else paths)]
        for name, paths in jobs.files(*PARTS).items()
    }
    return _read_measurements(files, **jobs.settings(*PARTS))
