"""`frankenstein updates -o FILE.html`: the table, a chart by layer, and the findings, in one file."""

from __future__ import annotations

import io
from html import escape

import pandas as pd
from matplotlib import pyplot as plt

from ..report import style
from ..updates import summary

_ALT = "Share of each stage's update energy by decoder layer, as in the table below"
_PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>Weight updates</title>
<style>
body {{ font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }}
svg {{ max-width: 100%; height: auto; }} table {{ border-collapse: collapse; font-size: .85rem; }}
th, td {{ padding: .2rem .6rem; text-align: right; border-bottom: 1px solid #ddd; font-variant-numeric: tabular-nums; }}
th:first-child, td:first-child {{ text-align: left; }}
</style>
</head>
<body>
<h1>What training changed in the weights</h1>
<p>Checkpoints, in order of training: {names}. Energy is the squared Frobenius norm of an update, as a share of its stage's.
Changed is the share of entries that differ.</p>
<ul>{findings}</ul>
{chart}
<table><thead>{head}</thead><tbody>{body}</tbody></table>
<p>Made by <code>frankenstein updates</code>.</p>
</body>
</html>
"""


def page(table: pd.DataFrame, names: list[str]) -> str:
    """A self-contained page of updates_table's table; names: the checkpoints as they were given."""
    head, *body = summary.rows(table)
    return _PAGE.format(
        names=" → ".join(f"<code>{escape(name)}</code>" for name in names),
        findings="".join(f"<li>{escape(text)}</li>" for text in summary.findings(table)),
        chart=_chart(summary.by_part(table)),
        head=_row("th", head),
        body="".join(_row("td", row) for row in body),
    )


def _row(tag: str, cells: list[str]) -> str:
    return f"<tr>{''.join(f'<{tag}>{escape(cell)}</{tag}>' for cell in cells)}</tr>"


def _chart(parts: pd.DataFrame) -> str:
    """Share of each stage's energy by decoder layer, as inline SVG."""
    layers = parts[parts.layer >= 0]
    figure, axis = plt.subplots(figsize=(style.PAGE, 2.6))
    for stage, of in layers.groupby("stage"):
        axis.plot(
            of.layer, 100 * of.share, color=style.STAGES[stage], marker="o", ms=3, lw=1.2, label=f"{stage} update"
        )
    axis.set_xlabel("decoder layer")
    axis.set_ylabel("share of the update's energy, %")
    axis.set_ylim(bottom=0)
    axis.legend()
    drawn = io.StringIO()
    figure.savefig(drawn, format="svg", metadata={"Date": None})
    plt.close(figure)
    return drawn.getvalue()[drawn.getvalue().index("<svg") :].replace("<svg", f'<svg role="img" aria-label="{_ALT}"', 1)
