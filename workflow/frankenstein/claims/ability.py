"""What a Base must be able to do for a swap of its image to say anything."""

from __future__ import annotations

import pandas as pd

# The Base has mastered a function if it answers at least this share of the pairs correctly without a swap.
ABLE = 0.5
UNABLE = " (not mastered)"


def able(table: pd.DataFrame) -> pd.Series:
    """swap_table -> share of a function's pairs that the Base answers correctly without a swap, by function."""
    unswapped = table[(table["mode"] == "none") & ~table.unchangeable.astype(bool)]
    return unswapped.groupby("function").right.mean()
