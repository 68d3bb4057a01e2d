"""What did reinforcement learning change in a vision-language model, where, and was it necessary?

The library behind the workflow. It knows nothing of Snakemake. What a notebook wants is here (`import frankenstein as fk`); all
else is internal and may change.
"""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

__all__ = [
    "Measurements",
    "Regions",
    "attention",
    "attention_map",
    "final_answer",
    "generate",
    "grade",
    "load",
    "merge",
    "read_study",
    "skip",
    "swap",
    "verify",
    "weight_updates",
]

try:
    __version__ = version("frankenstein-vlm")
except PackageNotFoundError:  # run from a checkout that is not installed
    __version__ = "0+unknown"


def __getattr__(name: str):
    """What is public, from where it lives: torch and pandas are imported once they are needed."""
    if name in __all__:
        return getattr(import_module(".api", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
