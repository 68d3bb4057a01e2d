"""One prompt per recipe: its checkpoints' chat templates must render alike, or the configuration names the one to use."""

from __future__ import annotations

import json
from pathlib import Path

from jinja2 import TemplateError
from PIL import Image

from ..core.errors import InputError
from .cache import digest
from .prompts import Prompt, render

# Texts rendered to compare templates, with surrounding spaces, line breaks and an HTML character, which some templates alter.
_TEXTS = ("what is shown?", " Solve step by step.\n\nWhich is larger?\n(A) 1 < 2\n(B) 2\n")
_CONTEXT = 40  # characters shown before and after the first difference in an error message


def _processor(directory: Path, template: str | None = None):
    from transformers import AutoProcessor

    processor = AutoProcessor.from_pretrained(directory, local_files_only=True)
    if template:
        processor.chat_template = template
    return processor


def _conversations(processor, system: str, name: str) -> list[str]:
    """The texts above rendered by a processor, with and without an image, ending with the generation prompt."""
    image = Image.new("RGB", (28, 28))
    try:
        return [render(processor, Prompt(text, shown, system)) for text in _TEXTS for shown in (image, None)]
    except (ValueError, TemplateError) as error:
        raise InputError(f"{name}: its chat template does not render the prompt ({error})") from None


def write(path: Path, directory: Path, recipe: str, name: str, system: str, settled: bool) -> None:
    """Write how a recipe's prompts are rendered, as JSON: recipe, from (name), rendered (texts), template.

    directory: a checkpoint that has the chat template of the checkpoint `name`; template: the template's text, to be
    used by all checkpoints, if the configuration says so (settled), otherwise null. Raises InputError if the
    checkpoint has no template that renders the prompt.
    """
    processor = _processor(directory)
    rendered = _conversations(processor, system, name)
    text = processor.chat_template
    text = text["default"] if isinstance(text, dict) else text
    made = {"recipe": recipe, "from": name, "rendered": rendered, "template": text if settled else None}
    Path(path).write_text(json.dumps(made, indent=1))


def named(path: Path | None) -> str | None:
    """The chat template that a recipe's file (see `write`) sets for all its checkpoints, if any; None without a file."""
    return json.loads(Path(path).read_text())["template"] if path else None


def settle(directory: Path, checkpoint: str, system: str, paths: list[Path]) -> tuple[str | None, str]:
    """(chat template to use instead of the checkpoint's own, or None; digest of the rendered prompts).

    paths: the file (see `write`) of each recipe the checkpoint is evaluated in; empty for a Base. Raises InputError,
    showing the first difference, if the checkpoint renders prompts differently from a recipe.
    """
    recipes = [json.loads(Path(path).read_text()) for path in paths]
    template = next((recipe["template"] for recipe in recipes if recipe["template"]), None)
    own = _conversations(_processor(directory, template), system, checkpoint)
    for recipe in recipes:
        for mine, wanted in zip(own, recipe["rendered"], strict=True):
            if mine != wanted:
                raise InputError(_difference(checkpoint, mine, wanted, recipe))
    return template, digest(own)


def _difference(checkpoint: str, mine: str, wanted: str, recipe: dict) -> str:
    other, pairs = recipe["from"], enumerate(zip(mine, wanted, strict=False))
    at = next((place for place, (one, two) in pairs if one != two), min(len(mine), len(wanted)))
    said = (
        f"recipe {recipe['recipe']}: {checkpoint!r} and {other!r} do not get the same prompt: after "
        f"{mine[max(0, at - _CONTEXT) : at]!r} {checkpoint} has {mine[at : at + _CONTEXT]!r}, "
        f"{other} has {wanted[at : at + _CONTEXT]!r}. "
    )
    if recipe["template"]:
        return said + f"The chat template is {other}'s for both: their tokenizers' special tokens differ"
    return said + (
        f"Set recipes.{recipe['recipe']}.chat_template_from to the checkpoint whose chat template all of the recipe's "
        "checkpoints but the Base are to be asked under"
    )
