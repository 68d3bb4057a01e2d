"""The baseline accuracy a Base needs on a function for vision-token swapping to be informative."""

from __future__ import annotations

import pandas as pd

# Minimum unswapped accuracy on a function's pairs for the Base to count as having mastered it.
ABLE = 0.5
UNABLE = " (not mastered)"


def able(table: pd.DataFrame) -> pd.Series:
    """swap_table -> the Base's unswapped accuracy on the pairs of each function, indexed by function."""
    unswapped = table[(table["mode"] == "none") & ~table.unchangeable.astype(bool)]
    return unswapped.groupby("function").right.mean()
