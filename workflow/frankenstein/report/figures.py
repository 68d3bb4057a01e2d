"""One function a figure of the paper: a data frame in, a matplotlib Figure out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ..core.regions import NAMES, Regions
from .style import (
    BLUE,
    COLUMN,
    DIVERGING,
    FUNCTIONS,
    GREEN,
    GREY,
    MARKERS,
    ORANGE,
    PAGE,
    PALETTE,
    PINK,
    SEQUENTIAL,
    SMALL,
    STAGES,
    TINTS,
)


def save(figure: Figure, *paths: str | Path) -> None:
    """Write a figure to each path (.pdf, .png), without dates, so that the same data gives the same file."""
    for path in paths:
        figure.savefig(path, metadata={"CreationDate": None} if str(path).endswith(".pdf") else {"Software": None})
    plt.close(figure)


def _panels(n: int, height: float, **options):
    """(figure, n axes) in at most two columns, each a column wide."""
    columns = min(n, 2)
    rows = -(-n // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(COLUMN * columns, height * rows), squeeze=False, **options)
    for axis in axes.flat[n:]:
        axis.set_visible(False)
    return figure, axes.flat[:n]


def _shade(axis, regions: Regions) -> None:
    for name, tint in zip(NAMES, TINTS, strict=True):
        layers = regions.range(name)
        axis.axvspan(layers.start - 0.5, layers.stop - 0.5, color=tint, zorder=0, lw=0)
        axis.text(
            (layers.start + layers.stop - 1) / 2, 0.99, name.capitalize(), transform=axis.get_xaxis_transform(),
            ha="center", va="top", color="#555555", fontsize=7,
        )  # fmt: skip
    axis.set_xlim(-0.5, regions.layers - 0.5)
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set_xlabel("layer")


def _band(axis, frame: pd.DataFrame, value: str, colour: str, label: str, marker: str = "o", style: str = "-") -> None:
    axis.plot(frame.layer, frame[value], color=colour, marker=marker, ms=3, lw=1.2, ls=style, label=label)
    axis.fill_between(frame.layer, frame.low, frame.high, color=colour, alpha=0.15, lw=0)


def _sizes(frame: pd.DataFrame) -> str:
    """ "N = 100", with the samples that failed or ran out of tokens where there are any."""
    sizes = sorted(set(frame.n))
    text = f"N = {sizes[0]}" if len(sizes) == 1 else f"N = {sizes[0]} to {sizes[-1]}"
    for column, what in (("failed", "samples failed"), ("truncated", "answers cut off")):
        if column in frame and (count := int(frame[column].sum())):
            text += f"; {count} of {int(frame.n.sum())} {what}"
    return text


def figure2(bars: pd.DataFrame) -> Figure:
    """Figure 2: accuracy by ability and stage. bars: recipe, ability, stage, n, value, low, high, paper (percent).

    A diamond: the paper's value for a recipe of this name.
    """
    recipes = list(dict.fromkeys(bars.recipe))
    figure, axes = _panels(len(recipes), 2.6, sharey=True)
    abilities = list(dict.fromkeys(bars.ability))
    for axis, recipe in zip(axes, recipes, strict=True):
        part = bars[bars.recipe == recipe]
        for i, (stage, colour) in enumerate(STAGES.items()):
            rows = part[part.stage == stage].set_index("ability").reindex(abilities)
            x = np.arange(len(abilities)) + (i - 1) * 0.27
            axis.bar(x, rows.value, 0.25, color=colour, label=stage)
            # A Wilson interval need not hold a rate of exactly 0 or 1 by more than rounding.
            error = [(rows.value - rows.low).clip(lower=0), (rows.high - rows.value).clip(lower=0)]
            axis.errorbar(x, rows.value, error, fmt="none", ecolor="black", elinewidth=0.7, capsize=1.5)
            if rows.paper.notna().any():
                axis.plot(x, rows.paper, "D", ms=3, mfc="white", mec="black", mew=0.7)
            for at, value, high in zip(x, rows.value, rows.high, strict=True):
                if np.isnan(value):  # a recipe without a Base
                    continue
                axis.text(at, high + 1, f"{value:.0f}", ha="center", va="bottom", fontsize=SMALL)
        axis.set_xticks(
            range(len(abilities)), [ability.replace(" ", "\n").replace("-to-", "-to-\n") for ability in abilities]
        )
        axis.set_title(f"recipe {recipe} ({_sizes(part)})")
        axis.set(ylabel="accuracy (%)", ylim=(0, 112))
    handles, labels = axes[0].get_legend_handles_labels()
    if bars.paper.notna().any():
        handles.append(plt.Line2D([], [], marker="D", ms=3, mfc="white", mec="black", ls=""))
        labels.append("the paper (Table 2)")
    figure.legend(handles, labels, loc="outside lower center", ncols=4)
    return figure


def figure3(profile: pd.DataFrame, regions: Regions) -> Figure:
    """Figure 3: attention mass from reasoning to vision tokens by layer (curves.attention)."""
    recipes = list(dict.fromkeys(profile.recipe))
    figure, axes = _panels(len(recipes), 2.5, sharey=True)
    for axis, recipe in zip(axes, recipes, strict=True):
        part = profile[profile.recipe == recipe]
        _shade(axis, regions)
        for stage, marker in (("IN", "o"), ("RL", "s")):
            _band(axis, part[part.stage == stage], "attention_mass", STAGES[stage], stage, marker)
        axis.set_title(f"recipe {recipe} ({_sizes(part)})")
        axis.set_ylim(0, max(0.01, profile.high.max()) * 1.15)
        axis.set_ylabel("aggregated attention\n(mass on vision tokens)")
    axes[0].legend()
    return figure


_MODES = {
    "hidden_state_at_layer": "hidden states swapped at a layer",
    "kv_from_layer": "keys and values swapped from a layer on",
    "kv_at_layer_only": "keys and values swapped at one layer",
}


def figure4(changes: pd.DataFrame, errors: pd.DataFrame, regions: Regions) -> Figure:
    """Figure 4: change rate under vision-token swapping, a panel a mode; error rate under layer skipping.

    changes: curves.change_rates, errors: curves.error_rates, each of one Base. Dotted: nothing swapped or skipped. A
    function that the Base can't do is grey, and says how many pairs it gets right; dashed: errors that ran out of tokens.
    """
    modes = list(dict.fromkeys(changes["mode"]))
    figure, axes = _panels(len(modes) + 1, 2.7)
    for axis in axes:
        _shade(axis, regions)
        axis.set(ylim=(-0.02, 1.12))
    for axis, mode in zip(axes[:-1], modes, strict=True):
        of_mode = changes[changes["mode"] == mode]
        for function, part in of_mode.groupby("function", sort=False):
            able, right = part[["able", "base_right"]].iloc[0]
            colour = FUNCTIONS[function] if able else GREY
            label = function if able else f"{function}: not mastered, {right:.0%} right"
            _band(axis, part[part.layer >= 0], "rate", colour, label, MARKERS[function])
            axis.axhline(part[part.layer < 0].rate.item(), color=colour, ls=":", lw=0.8)
        axis.set(ylabel="change rate")
        axis.set_title(f"{_MODES[mode]}\n({_sizes(of_mode)})")
        columns = 2 if of_mode.able.all() else 1  # what the Base can't do has a longer label
        axis.legend(ncols=columns, columnspacing=1, loc="upper center", bbox_to_anchor=(0.5, -0.22))
    for (task, part), colour in zip(errors.groupby("task", sort=False), (BLUE, ORANGE, GREEN, PINK), strict=False):
        skipped = part[part.layer >= 0]
        _band(axes[-1], skipped, "rate", colour, task)
        none = part[part.layer < 0].rate.item()
        axes[-1].axhline(none, color=colour, ls=":", lw=0.8, label=f"{task}, no layer skipped")
        if skipped.truncated.any():
            axes[-1].plot(
                skipped.layer, skipped.truncated / skipped.n, color=colour, ls="--", lw=0.9, label=f"{task}, cut off"
            )
    axes[-1].set(ylabel="error rate")
    axes[-1].set_title(f"layer skipping\n({_sizes(errors)})")
    axes[-1].legend(ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.22))
    return figure


def figure5(energy: pd.DataFrame, regions: Regions) -> Figure:
    """Figure 5: Frobenius norm of the updates by layer, IN on the left axis and RL on the right (curves.energy)."""
    recipes = list(dict.fromkeys(energy.recipe))
    figure, axes = _panels(len(recipes), 2.5)
    for axis, recipe in zip(axes, recipes, strict=True):
        _shade(axis, regions)
        twin = axis.twinx()
        twin.spines["right"].set_visible(True)
        for side, stage, marker in ((axis, "IN", "o"), (twin, "RL", "s")):
            part = energy[(energy.recipe == recipe) & (energy.stage == stage)]
            _band(side, part, "frobenius_rms", STAGES[stage], stage, marker)
            side.set_ylabel(f"{stage} update: ‖ΔW‖ / √entries", color=STAGES[stage])
            side.tick_params(axis="y", colors=STAGES[stage])
            side.set_ylim(0, (part.high.max() or 1) * 1.15)
        axis.set_title(f"recipe {recipe}")
    return figure


def figure6(spectra: pd.DataFrame, regions: Regions) -> Figure:
    """Figure 6: log(sigma_i / sigma_1) over layer and rank, trend lines at ranks 10, 20, 30, 40 (curves.spectra)."""
    recipes = list(dict.fromkeys(spectra.recipe))
    figure = plt.figure(figsize=(PAGE, 3.0 * len(recipes)))
    low = spectra.log_ratio.min()
    for row, recipe in enumerate(recipes):
        for column, stage in enumerate(("IN", "RL")):
            part = spectra[(spectra.recipe == recipe) & (spectra.stage == stage)]
            table = part.pivot(index="rank", columns="layer", values="log_ratio")
            axis = figure.add_subplot(len(recipes), 2, 2 * row + column + 1, projection="3d")
            layers, ranks = np.meshgrid(table.columns, table.index)
            axis.plot_surface(layers, ranks, table.to_numpy(), cmap=SEQUENTIAL, alpha=0.75, lw=0, vmin=low, vmax=0)
            for rank in (10, 20, 30, 40):
                if rank in table.index:
                    axis.plot(
                        table.columns, [rank] * len(table.columns), table.loc[rank], color="black", lw=1, zorder=9
                    )
            mid = regions.range("mid")
            edges = np.meshgrid([mid.start - 0.5, mid.stop - 0.5], [1, table.index.max()])
            axis.plot_surface(*edges, np.full((2, 2), low), color=GREY, alpha=0.35)
            axis.set(xlabel="layer", ylabel="rank", zlim=(low, 0))
            axis.set_title(f"recipe {recipe}, {stage} update: log(σᵢ/σ₁)", fontsize=8)
            axis.view_init(elev=25, azim=50)
            axis.invert_xaxis()
            axis.tick_params(labelsize=SMALL, pad=0)
    return figure


def spectra(spectra: pd.DataFrame, slopes: pd.DataFrame, regions: Regions) -> Figure:
    """Figure 6 to be read: where RL's log spectrum lies below IN's, and each layer's slope.

    spectra: curves.spectra; slopes: curves.slopes. A row a recipe. Ranks above a stage's line, if there is one,
    can be rounding of the stored weights alone.
    """
    recipes = list(dict.fromkeys(spectra.recipe))
    figure, axes = plt.subplots(len(recipes), 2, figsize=(PAGE, 2.5 * len(recipes)), squeeze=False)
    tables = {
        recipe: spectra[spectra.recipe == recipe].pivot(index="rank", columns=["stage", "layer"], values="log_ratio")
        for recipe in recipes
    }
    differences = {recipe: table["RL"] - table["IN"] for recipe, table in tables.items()}
    limit = max(float(np.nanmax(np.abs(part.to_numpy()), initial=0.0)) for part in differences.values()) or 1.0
    for (left, right), recipe in zip(axes, recipes, strict=True):
        part = differences[recipe]
        image = left.imshow(
            part.to_numpy(), cmap=DIVERGING, vmin=-limit, vmax=limit, aspect="auto", origin="lower",
            extent=(-0.5, regions.layers - 0.5, 0.5, part.index.max() + 0.5),
        )  # fmt: skip
        for cut in regions.cuts:
            left.axvline(cut - 0.5, color="black", lw=0.8)
        left.set(xlabel="layer", ylabel="rank")
        left.xaxis.set_major_locator(MaxNLocator(integer=True))
        left.set_title(f"recipe {recipe}: log(σᵢ/σ₁), RL − IN")
        for stage in ("IN", "RL"):
            floor = slopes[(slopes.recipe == recipe) & (slopes.stage == stage)].set_index("layer").floor
            meant = (tables[recipe][stage][floor.index] >= floor).sum()
            if (meant < len(part)).any():
                left.step(meant.index, meant + 0.5, where="mid", color=STAGES[stage], label=f"{stage}: rounding above")
                left.legend(fontsize=SMALL)
        figure.colorbar(image, ax=left, label="← RL steeper   IN steeper →")
        _shade(right, regions)
        for stage, marker in (("IN", "o"), ("RL", "s")):
            of_stage = slopes[(slopes.recipe == recipe) & (slopes.stage == stage)]
            _band(right, of_stage, "slope", STAGES[stage], stage, marker)
        right.set(ylabel="slope of log(σᵢ/σ₁) a rank")
        right.set_title("mean of the matrices, 95 %")
        right.legend()
    return figure


def training(history: pd.DataFrame) -> Figure:
    """Training curves: loss of the supervised stages, reward of the RL runs. history: checkpoint, kind, step, loss, reward."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(PAGE, 2.6))
    for axis, column, window, part in (
        (left, "loss", 1, history[history.kind != "grpo"]),
        (right, "reward_answer", 9, history[history.kind == "grpo"]),
    ):
        for i, (checkpoint, rows) in enumerate(part.groupby("checkpoint", sort=False)):
            axis.plot(
                rows.step,
                rows[column].rolling(window, min_periods=1).mean(),
                color=PALETTE[i % len(PALETTE)],
                lw=1,
                label=checkpoint,
                ls="-" if i < 6 else "--",
            )
        axis.set_xlabel("step")
        if not part.empty:
            axis.legend(fontsize=SMALL)
    left.set(ylabel="loss (nats a token)", title="supervised stages", yscale="log")
    right.set(ylabel="share of right answers", title="rollouts of GRPO (mean of 9 log rows)", ylim=(0, 1))
    return figure


def claims(tested: pd.DataFrame) -> Figure:
    """The claims chart: every statement's estimate and 95 % interval (claims.statements), a panel a claim, a row a recipe.

    Estimates are of different kinds: each claim's axis is its own. Filled: decided; hollow: undecided; cross: the same with
    IN trained again with another seed in RL's place.
    """
    tested = tested[tested.estimate.notna()]
    names = list(dict.fromkeys(tested.claim))
    heights = [len(tested[tested.claim == name]) for name in names] or [1]
    size = (PAGE, 0.5 + 0.22 * sum(heights) + 0.45 * len(heights))
    figure, axes = plt.subplots(len(heights), 1, figsize=size, squeeze=False, height_ratios=heights)
    colours = {"supported": BLUE, "contradicted": ORANGE, "undecided": GREY}
    for axis, name in zip(axes[:, 0], names, strict=False):
        part = tested[tested.claim == name].reset_index(drop=True)
        for at, row in part.iterrows():
            colour = colours[row.verdict]
            if not np.isnan(row.low):
                axis.plot([row.low, row.high], [at, at], color=colour, lw=1.2)
            axis.plot(row.estimate, at, "o", ms=4, color=colour, mfc="white" if row.verdict == "undecided" else colour)
            axis.plot([row.null_low, row.null_high], [at + 0.3] * 2, color="black", lw=0.6)
            axis.plot(row["null"], at + 0.3, "x", ms=3.5, color="black", mew=0.8)
        labels = [
            f"{row.statement} ({row.recipe + ', ' if row.recipe else ''}{row.n:.0f} {row.unit}) "
            f"{'→' if row.expect == 'greater' else '←'}"
            for row in part.itertuples()
        ]
        axis.set_yticks(range(len(part)), labels, fontsize=SMALL)
        axis.set_ylim(len(part) - 0.5, -0.5)
        axis.axvline(0, color="black", lw=0.6)
        axis.tick_params(axis="x", labelsize=SMALL)
        axis.set_xlabel(", ".join(dict.fromkeys(part.axis)), fontsize=SMALL)
        axis.set_title(f"claim {name}", loc="left")
    if not names:
        axes[0, 0].set_title("this study has nothing that a claim is about")
    handles = [
        plt.Line2D([], [], color=colour, marker="o", ms=4, lw=1.2, label=label, mfc=fill)
        for (label, colour), fill in zip(colours.items(), (BLUE, ORANGE, "white"), strict=True)
    ]
    if tested["null"].notna().any():
        handles.append(plt.Line2D([], [], color="black", marker="x", ms=4, ls="", label="another seed in RL's place"))
    figure.legend(handles=handles, loc="outside lower center", ncols=4)
    return figure


def heatmap(frame: pd.DataFrame, regions: Regions) -> Figure:
    """Layer by function (curves.by_function): change rate under swapping, error rate under skipping.

    A dot: the interval lies above that with nothing swapped or skipped. A cell where all samples failed is hatched.
    """
    names = list(dict.fromkeys(frame.of))
    figure, axis = plt.subplots(figsize=(PAGE, 0.9 + 0.28 * len(names)))
    rates = frame[frame.layer >= 0].pivot(index="of", columns="layer", values="rate").loc[names]
    axis.set_facecolor("white")
    axis.patch.set(hatch="////", edgecolor=GREY)
    image = axis.imshow(rates.to_numpy(), cmap=SEQUENTIAL, vmin=0, vmax=1, aspect="auto")
    for row, name in enumerate(names):
        part = frame[frame.of == name].set_index("layer")
        above = part.index[(part.low > part.high[-1]) & (part.index >= 0)]
        axis.scatter(above, [row] * len(above), s=9, color="white", edgecolors="black", linewidths=0.6)
    for cut in regions.cuts:
        axis.axvline(cut - 0.5, color="white", lw=1.5)
    axis.set_yticks(range(len(names)), names)
    axis.set_xlabel("layer")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.spines[:].set_visible(False)
    for region in NAMES:
        layers = regions.range(region)
        axis.text(
            (layers.start + layers.stop - 1) / 2, -0.6, region.capitalize(), ha="center", va="bottom", color="#555555"
        )
    figure.colorbar(image, ax=axis, label="change or error rate")
    return figure


def doses(rates: pd.DataFrame) -> Figure:
    """Dose-response of hybrids: rates by the share of RL in the layers that are mixed (doses.response), a panel a recipe and family."""
    panels = list(dict.fromkeys(zip(rates.recipe, rates.family, strict=True)))
    figure, axes = _panels(len(panels), 2.9, sharey=True)
    for axis, (recipe, family) in zip(axes, panels, strict=True):
        part = rates[(rates.recipe == recipe) & (rates.family == family)]
        for (metric, line), colour, marker in zip(
            part.groupby("metric", sort=False), (BLUE, ORANGE, GREEN), "os^", strict=True
        ):
            first = line.iloc[0]
            label = f"{metric}: {first.slope:+.1f} [{first.slope_low:+.1f}, {first.slope_high:+.1f}] from 0 to 1"
            axis.plot(line.dose, line.value, color=colour, marker=marker, ms=3, lw=1.2, label=label)
            axis.fill_between(line.dose, line.low, line.high, color=colour, alpha=0.15, lw=0)
        axis.set_title(f"recipe {recipe} ({_sizes(part)})")
        axis.set(xlabel=f"share of RL, from IN (0) to {family} (1)", ylabel="rate (%)", ylim=(0, 100))
        axis.legend(fontsize=SMALL, loc="upper center", bbox_to_anchor=(0.5, -0.2))
    return figure


def controls(windows: pd.DataFrame, regions: Regions) -> Figure:
    """Sliding windows (controls.windows), a panel a quantity. Dotted: 95 % of random orders of the layers."""
    quantities = list(dict.fromkeys(windows.quantity))
    figure, axes = _panels(max(len(quantities), 1), 2.6)
    if not quantities:
        axes[0].set_title("this study has no layer profile")
    for axis, quantity in zip(axes, quantities, strict=False):
        _shade(axis, regions)
        axis.axhline(0, color="black", lw=0.6)
        for (name, part), colour, marker in zip(
            windows[windows.quantity == quantity].groupby("of", sort=False), PALETTE * 9, "os^Dv<" * 9, strict=False
        ):
            middle = (part["first"] + part["last"]) / 2
            _band(axis, part.assign(layer=middle), "value", colour, name, marker)
            for bound in (part.random_low, part.random_high):
                axis.plot(middle, bound, color=colour, ls=":", lw=0.8)
        size = int(windows["last"].iloc[0] - windows["first"].iloc[0] + 1)
        axis.margins(y=0.15)  # room for the regions' names
        axis.set(xlabel=f"middle of {size} layers", ylabel="less the mean of all layers")
        axis.set_title(quantity)
        axis.legend(ncols=4, columnspacing=1, loc="upper center", bbox_to_anchor=(0.5, -0.22))
    return figure
