"""Description of a public benchmark."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..tasks import Example


@dataclass(frozen=True)
class Benchmark:
    """Where a benchmark is published, how its rows become examples, and which rule grades them.

    repo, revision: on the Hub; files: split -> file pattern in the repository, starting with the split that papers
    report; rows: number of rows per split, and per category where papers use a category on its own; example: (row,
    whether to use the benchmark's own wording) -> Example, whose `image` is the row's raw value, not yet written to a
    file; grading: (a row's gold fields) -> name of the rule (grading.rules.RULES); has_image: whether its rows have
    images (all or none).
    """

    repo: str
    revision: str | None
    files: dict[str, str]
    rows: dict[str, int]
    example: Callable[[dict, bool], Example]
    grading: Callable[[dict], str]
    has_image: bool = True

    def size(self, split: str | None = None, category: str | None = None) -> int:
        """Number of published rows: of the category if that is known, otherwise of the whole split."""
        return self.rows.get(category or "") or self.rows[split or next(iter(self.files))]


def has_choices(record: dict) -> bool:
    """Whether the question is multiple-choice, judging by its gold record."""
    kind = str(record.get("question_type", "")).replace("-", "_")
    return bool(record.get("choices") or record.get("options")) or kind in ("multi_choice", "multiple_choice")


def choice_or(rule: str) -> Callable[[dict], str]:
    """Grading as a choice where a record has choices, and else by another rule."""
    return lambda record: "choice" if has_choices(record) else rule
