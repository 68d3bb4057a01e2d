"""Which of transformers' classes a checkpoint's model is of."""

from __future__ import annotations

from pathlib import Path

from ..core.errors import InputError


def model_class(config, directory: Path) -> type:
    """The vision-language model, or else the language model, of a config. Raises InputError if transformers has neither."""
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING

    for classes in (MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING, MODEL_FOR_CAUSAL_LM_MAPPING):
        if type(config) in classes:
            return classes[type(config)]
    raise InputError(
        f"{directory}/config.json: model_type {config.model_type!r} is neither a vision-language nor a language model in transformers"
    )
