"""The claims' statements tested on the paper's own table cells."""

from __future__ import annotations

from math import ceil, inf

import pandas as pd
from scipy import stats

from .estimates import LEVEL, POWER
from .reference import paper_cells
from .statements import judged


def of_paper(claims: list[dict], reference: dict) -> pd.DataFrame:
    """Test the same statements on the paper's table cells, unpaired: differences of two rates, each with N = 100.

    Columns as in `statements`; table and recipe identify the cells. p: Boschloo's exact test; interval: Newcombe's; needed: N per cell.
    """
    from statsmodels.stats.proportion import confint_proportions_2indep, samplesize_proportions_2indep_onetail

    cells, rows = paper_cells(reference), []
    for claim in claims:
        for statement in claim["statements"]:
            if statement["statistic"] != "gain":
                continue
            of = statement["of"]
            for (table, recipe), part in cells[cells.metric == of["metric"]].groupby(["table", "recipe"], sort=False):
                by_role = part.set_index("role")
                if not {of["from"], of["to"]} <= set(by_role.index):
                    continue
                n = int(part.n.iloc[0])
                before, after = (round(by_role.value[of[step]] * n) for step in ("from", "to"))
                counts = [[after, before], [n - after, n - before]]
                greater, less = (stats.boschloo_exact(counts, alternative=side).pvalue for side in ("greater", "less"))
                low, high = confint_proportions_2indep(after, n, before, n, method="newcomb")
                change = (after - before) / n
                needed = inf
                if change:
                    side = "larger" if change > 0 else "smaller"
                    needed = ceil(
                        samplesize_proportions_2indep_onetail(
                            change, before / n, POWER, alpha=LEVEL / 2, alternative=side
                        )
                    )
                rows.append(
                    {"claim": claim["claim"], "statement": statement["name"], "recipe": recipe, "table": table, "expect": statement["expect"],
                     "estimate": change, "low": low, "high": high, "p_greater": greater, "p_less": less, "n": n, "needed": needed}
                )  # fmt: skip
    columns = ["claim", "statement", "recipe", "table", "expect", "estimate", "low", "high", "p_greater", "p_less", "n", "needed"]  # fmt: skip
    frame = pd.DataFrame(rows, columns=columns)
    verdicts = [judged(part) for _, part in frame.groupby(["claim", "table"], sort=False)]
    empty = pd.DataFrame(columns=["p", "p_holm", "verdict"])
    return frame.drop(columns=["p_greater", "p_less"]).join(pd.concat(verdicts) if verdicts else empty)
