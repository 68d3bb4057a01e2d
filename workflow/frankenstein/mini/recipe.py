"""Training data for the mini study's stages: Base, IN and RL."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator

from ..inference.prompts import Prompt
from ..training.sft import RLPrompt, Sample
from . import questions


def pretraining(seed: int, steps: int, batch: int, curriculum: list[dict]) -> Iterator[Sample]:
    """Base samples: short answers, or worked steps if the prompt asks for them; no system prompt.

    curriculum: stages with `share` (fraction of the steps), `questions` (weights of the kinds) and `explained`
    (fraction of the samples that ask for steps, one for all kinds or by kind).
    """
    for number, stage in enumerate(curriculum):
        rng = random.Random(f"{seed}-{number}-explained")
        explained = stage["explained"]
        # One extra batch, so that rounding never ends the stream early.
        count = round(stage["share"] * steps) * batch + batch
        for question in itertools.islice(questions.stream(f"{seed}-{number}", "train", stage["questions"]), count):
            share = explained.get(question.kind, 0) if isinstance(explained, dict) else explained
            if question.kind != "describe" and rng.random() < share:
                prompt = Prompt(question.prompt + questions.EXPLAIN, question.image)
                yield Sample(prompt, f"{question.chain}. {question.answer}")
            else:
                yield Sample(Prompt(question.prompt, question.image), question.answer)


def chain(question: questions.Question) -> str:
    """The completion that IN is trained on."""
    return f"<think>{question.chain}</think><answer>{question.answer}</answer>"


def instruction(
    seed: int, steps: int, batch: int, weights: dict[str, float], slips: dict[str, float], system: str
) -> Iterator[Sample]:
    """IN samples: chains of thought under the recipe's system prompt.

    slips: task -> share of its samples that an imperfect teacher gets wrong where it can (questions.slipped).
    """
    rng = random.Random(f"{seed}-slips")
    # For 184 easy-VQA images, no question reveals colour or shape; their chain would be empty, so they are skipped.
    told = (question for question in questions.stream(f"{seed}-in", "train", weights) if question.chain)
    for question in itertools.islice(told, steps * batch + batch):
        if rng.random() < slips.get(question.kind, 0):
            question = questions.slipped(question)
        yield Sample(Prompt(question.prompt, question.image, system), chain(question))


def reinforcement(seed: int, count: int, weights: dict[str, float], system: str) -> list[RLPrompt]:
    """RL prompts with gold answers but no chains."""
    return [
        RLPrompt(Prompt(question.prompt, question.image, system), question.answer, question.answer_type)
        for question in itertools.islice(questions.stream(f"{seed}-rl", "train", weights), count)
    ]
