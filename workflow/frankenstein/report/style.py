"""Common style of the figures: a colour-blind-safe palette, and sizes legible at a journal's column width."""

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

# The Okabe-Ito palette.
BLUE, ORANGE, GREEN, PINK, SKY, GREY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#7F7F7F"
PALETTE = (BLUE, ORANGE, GREEN, PINK, SKY, GREY)
STAGES = {"Base": GREY, "IN": BLUE, "RL": ORANGE}
FUNCTIONS = {"recognition": BLUE, "ocr": ORANGE, "grounding": GREEN, "counting": PINK}
MARKERS = {"recognition": "o", "ocr": "s", "grounding": "^", "counting": "D"}
TINTS = ("#FFFFFF", "#EFEFEF", "#FFFFFF")  # of Early, Mid and Late
SEQUENTIAL, DIVERGING = "cividis", "PuOr_r"

# Widths in inches: a figure spans one or two columns, with no text below SMALL points at that width.
COLUMN, PAGE = 3.4, 6.8
SMALL = 6

plt.rcParams.update(
    {
        "font.size": 8,
        "axes.titlesize": 8,
        "legend.fontsize": 7,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "figure.constrained_layout.use": True,
        "legend.frameon": False,
        "pdf.fonttype": 42,
        "savefig.dpi": 200,
    }
)
