"""The training data of the mini study's stages: Base, IN and RL."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator

from ..inference.prompts import Prompt
from ..training.sft import RLPrompt, Sample
from . import questions


def pretraining(seed: int, steps: int, batch: int, curriculum: list[dict]) -> Iterator[Sample]:
    """Short answers, and steps where the prompt asks for them; no system prompt.

    curriculum: stages with `share` (of the steps), `questions` (shares of the kinds), and
    `explained` (share of the samples that ask for steps).
    """
    for number, stage in enumerate(curriculum):
        rng = random.Random(f"{seed}-{number}-explained")
        # One batch more than the share, so that rounding never ends the stream early.
        count = round(stage["share"] * steps) * batch + batch
        for question in itertools.islice(questions.stream(f"{seed}-{number}", "train", stage["questions"]), count):
            if question.kind != "describe" and rng.random() < stage["explained"]:
                prompt = Prompt(question.prompt + questions.EXPLAIN, question.image)
                yield Sample(prompt, f"{question.chain}. {question.answer}")
            else:
                yield Sample(Prompt(question.prompt, question.image), question.answer)


def chain(question: questions.Question) -> str:
    """What IN is taught to say."""
    return f"<think>{question.chain}</think><answer>{question.answer}</answer>"


def instruction(seed: int, steps: int, batch: int, weights: dict[str, float], system: str) -> Iterator[Sample]:
    """Chains of thought under the recipe's system prompt."""
    # Of 184 easy-VQA images no question tells colour or shape: there is nothing to think, and IN would learn an empty chain.
    told = (question for question in questions.stream(f"{seed}-in", "train", weights) if question.chain)
    for question in itertools.islice(told, steps * batch + batch):
        yield Sample(Prompt(question.prompt, question.image, system), chain(question))


def reinforcement(seed: int, count: int, weights: dict[str, float], system: str) -> list[RLPrompt]:
    """Prompts with gold answers, no chains."""
    return [
        RLPrompt(Prompt(question.prompt, question.image, system), question.answer, question.answer_type)
        for question in itertools.islice(questions.stream(f"{seed}-rl", "train", weights), count)
    ]
