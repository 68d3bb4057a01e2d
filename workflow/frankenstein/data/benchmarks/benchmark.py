"""What there is to say of a public benchmark."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ..tasks import Example


@dataclass(frozen=True)
class Benchmark:
    """Where a benchmark is published, how a row of it becomes an example, and which rule grades it.

    repo, revision: on the Hub; files: split -> pattern in the repository, the first split being the one that papers report;
    rows: how many a split has, and of a category where papers use it alone; example: (row, whether in the benchmark's own
    wording) -> Example, whose `image` is what the row holds, yet to be written out; grading: (a row's gold fields) -> the name of
    the rule (grading.rules.RULES); has_image: of all its rows, or none.
    """

    repo: str
    revision: str | None
    files: dict[str, str]
    rows: dict[str, int]
    example: Callable[[dict, bool], Example]
    grading: Callable[[dict], str]
    has_image: bool = True

    def size(self, split: str | None = None, category: str | None = None) -> int:
        """How many rows a split is published with; of a category where that is known, else of them all."""
        return self.rows.get(category or "") or self.rows[split or next(iter(self.files))]


def has_choices(record: dict) -> bool:
    """Whether one of several choices is asked for, as far as a gold record says so."""
    kind = str(record.get("question_type", "")).replace("-", "_")
    return bool(record.get("choices") or record.get("options")) or kind in ("multi_choice", "multiple_choice")
