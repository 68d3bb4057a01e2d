"""A merge plan in words, for the terminal."""

from __future__ import annotations

from ..core.terminal import columns, size
from .links import mixed
from .plan import Plan


def summary(made: Plan, layout: str) -> str:
    """A plan as a table of what each donor gives, and the disk space that it takes."""
    given: dict[str, list[str]] = {}
    for name, choice in made.choices.items():
        given.setdefault(str(choice), []).append(name)
    rows = [["from", "tensors", "size"]]
    rows += [[choice, str(len(names)), size(made.nbytes(names))] for choice, names in sorted(given.items())]
    links = f"{size(made.nbytes(mixed(made)))}, and each parent once"
    return "\n".join(
        [
            *columns(rows),
            f"config, tokenizer and processor: {made.config_from}",
            *made.notes,
            f"disk: {size(made.nbytes(made.choices)) if layout == 'copy' else links}",
            *(f"left out, as the embeddings are tied: {name}" for name in made.dropped),
        ]
    )
