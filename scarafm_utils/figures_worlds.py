"""Figures of the simulated compendium: one cause at a time, and likeness to real nuclei."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .figure_style import (
    GREY,
    PAGE_WIDTH,
    PROTOCOL_COLOURS,
    PROTOCOL_MARKERS,
    PROTOCOLS,
    PageFigure,
    chance_and_ceiling,
    empty_figure,
    legend_row,
    mark_simulated,
    styled,
)
from .words import shown_cell

if TYPE_CHECKING:
    import pandas as pd

REAL, SIMULATED = "#3A3A3A", "#D55E00"
#: Panels of the comparison: property, axis label, groups are quantiles or ranges of a mean count.
PANELS = [
    ("library_size", "counts per cell / median", "quantile over cells"),
    ("genes_per_cell", "share of genes detected", "quantile over cells"),
    ("zero_share_at_mean", "share of zeros", "mean count of a gene"),
    ("dispersion_at_mean", "dispersion", "mean count of a gene"),
]


@styled
def worlds_figure(table: pd.DataFrame, *, simulated: bool = True) -> PageFigure:
    """AUROC under the three protocols in worlds with one cause switched on at a time.

    `table` has one row for each `world` and `seed` and a column for each protocol.  A hollow mark is
    a seed, a full one the mean over seeds.
    """
    if table.empty:
        return empty_figure("the cells of this profile are real, no cause can be switched on or off")
    worlds = list(dict.fromkeys(table["world"]))
    height = 0.62 * len(worlds)
    figure = PageFigure(PAGE_WIDTH, height + 1.05)
    ax = figure.panel(1.35, 0.42, PAGE_WIDTH - 1.5, height)
    for y, world in enumerate(worlds):
        rows = table[table["world"] == world]
        for offset, protocol in zip((-0.24, 0, 0.24), PROTOCOLS, strict=True):
            style = {"marker": PROTOCOL_MARKERS[protocol], "linestyle": "none", "gid": f"{world}|{protocol}"}
            colour, at = PROTOCOL_COLOURS[protocol], [y + offset] * len(rows)
            hollow = {"markersize": 4, "markerfacecolor": "none", "markeredgecolor": colour, "alpha": 0.6}
            ax.plot(rows[protocol], at, **style, **hollow)
            ax.plot(rows[protocol].mean(), y + offset, **style, markersize=8, color=colour, markeredgecolor="black")
    chance_and_ceiling(ax, vertical=True)
    ax.set_yticks(range(len(worlds)), worlds)
    lowest = min(0.4, table[list(PROTOCOLS)].min().min() - 0.02)
    ax.set(ylim=(len(worlds) - 0.5, -0.5), xlim=(lowest, 1.02), xlabel="AUROC")
    ax.hlines([y - 0.5 for y in range(1, len(worlds))], 0, 1.02, color="#E4E4E4", linewidth=0.6)
    legend_row(figure, _protocol_handles())
    return mark_simulated(figure, simulated)


def _protocol_handles() -> list:
    from matplotlib.lines import Line2D

    style = {"linestyle": "none", "markersize": 8, "markeredgecolor": "black"}
    return [
        Line2D([], [], marker=PROTOCOL_MARKERS[p], color=PROTOCOL_COLOURS[p], label=text, **style)
        for p, text in PROTOCOLS.items()
    ]


@styled
def likeness_figure(table: pd.DataFrame) -> PageFigure:
    """Real and simulated counts side by side: library sizes, genes detected, zeros and dispersions.

    `table` is what `compare_counts` returns.  The real side is the committed description of real
    nuclei, the simulated side is drawn anew.
    """
    figure = PageFigure(PAGE_WIDTH, 5.3)
    width = (PAGE_WIDTH - 1.75) / 2
    for i, (prop, label, groups) in enumerate(PANELS):
        ax = figure.panel(0.75 + (i % 2) * (width + 0.9), 0.45 + (i // 2) * 2.4, width, 1.6)
        rows = table[table["property"] == prop]
        style = {"marker": "o", "markersize": 5, "color": REAL, "label": "real nuclei"}
        at = [shown_cell("group", group) for group in rows["group"]]
        ax.plot(at, rows["real"], **style, gid=f"{prop}|real")
        style = {"marker": "s", "markersize": 5, "color": SIMULATED, "linestyle": "--", "label": "simulated cells"}
        ax.plot(at, rows["simulated"], **style, gid=f"{prop}|simulated")
        ax.set(ylabel=label, xlabel=groups, ylim=(0, None))
        ax.tick_params(axis="x", labelsize=7.5, rotation=25 if prop.endswith("mean") else 0)
        ax.grid(axis="y", color="#E4E4E4", linewidth=0.6)
    legend_row(figure, ax.get_legend_handles_labels()[0])
    figure.note(PAGE_WIDTH - 0.06, 5.26, "squares: simulated cells", ha="right", va="bottom", fontsize=8, color=GREY)
    return figure
