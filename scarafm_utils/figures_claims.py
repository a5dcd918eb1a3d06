"""Figures of evidence: every unit behind a claim or a comparison is a dot, and what moves a score."""

from __future__ import annotations

from math import isinf
from typing import TYPE_CHECKING

from .claims import units_table
from .comparisons import unit_differences
from .figure_style import (
    COLOURS,
    EDGES,
    GREY,
    NARROW_WIDTH,
    PAGE_WIDTH,
    PROTOCOL_COLOURS,
    PROTOCOL_MARKERS,
    PROTOCOLS,
    PageFigure,
    below_chance,
    empty_figure,
    legend_row,
    mark_simulated,
    spread,
    styled,
)
from .statements import STATEMENTS, Statement

if TYPE_CHECKING:
    import pandas as pd

    from .claims import Claim

#: Where a figure of a claim draws a line: no difference, or a coin.
NOTHING = {"points of AUROC": 0.0, "AUROC": 0.5, "correlation": 0.0}


@styled
def claim_figure(claim: Claim, *, simulated: bool = False) -> PageFigure:
    """Every unit of one claim as a dot, a line for each data set, and the range that the paper's words mean.

    The diamond is the estimate, the mean over data sets.  There is no interval: units of one data set are
    not independent, and what counts is how many data sets lie on which side.  A claim without results
    says so.
    """
    says = STATEMENTS[claim.name]
    if not claim.units:
        figure = empty_figure(claim.verdict, simulated=simulated)
        figure.data = units_table([claim])
        return figure
    datasets = list(dict.fromkeys(unit.dataset for unit in claim.units))
    height, handles = 0.3 * (len(datasets) + 1) + 0.1, _claim_handles(claim)
    columns = 1 if len(handles) < 3 else 2
    top = 0.22 + 0.2 * -(-len(handles) // columns)
    figure = PageFigure(NARROW_WIDTH, height + top + 0.63)
    figure.data = units_table([claim])
    ax = figure.panel(1.65, top, NARROW_WIDTH - 1.85, height)
    _draw_claimed(ax, says, [unit.value for unit in claim.units])
    for y, dataset in enumerate(datasets):
        _draw_units(ax, [unit for unit in claim.units if unit.dataset == dataset], y)
    ax.plot([claim.estimate], [len(datasets)], marker="D", color="black", markersize=6, gid="estimate")
    names = [*datasets, "mean of data sets"]
    if says.scale == "correlation":  # each line is what remains without one data set
        names = [*(f"without {name}" for name in datasets), "mean"]
    ax.set_yticks(range(len(datasets) + 1), names)
    ax.set(ylim=(len(datasets) + 0.6, -0.6), xlabel=says.scale)
    if says.scale == "AUROC":
        figure.remark = below_chance((unit.value for unit in claim.units), "units")
    ax.grid(axis="x", color="#E4E4E4", linewidth=0.6)
    legend_row(figure, handles, columns=columns)
    return mark_simulated(figure, simulated)


def _draw_claimed(ax, says: Statement, values: list[float]) -> None:
    """A line where nothing is gained, and shading from there to where the paper's words lead."""
    nothing = NOTHING[says.scale]
    low, high = says.said
    ends = [*values, nothing, *(edge for edge in (low, high) if not isinf(edge))]
    margin = 0.06 * (max(ends) - min(ends))
    ax.set_xlim(min(ends) - margin, max(ends) + margin)
    ax.axvspan(low, min(high, max(ends) + margin), color="#DCE6F2", zorder=0.5, gid="claimed")
    ax.axvline(nothing, color=GREY, linewidth=0.9, linestyle=(0, (5, 3)), zorder=0.9, gid="nothing")


def _draw_units(ax, units: list, y: float) -> None:
    for unit, offset in zip(units, spread(len(units), 0.4), strict=True):
        protocol = _protocol(unit.unit)
        style = {"color": PROTOCOL_COLOURS.get(protocol, "#444444"), "marker": PROTOCOL_MARKERS.get(protocol, "o")}
        ax.plot([unit.value], [y + offset], linestyle="none", markersize=5, alpha=0.85, gid="unit", **style)


def _protocol(unit: str) -> str:
    """The protocol of a unit that names its task; empty where it names none."""
    return next((protocol for protocol in PROTOCOLS if f"{protocol}:" in unit), "")


def _claim_handles(claim: Claim) -> list:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    found = dict.fromkeys(_protocol(unit.unit) for unit in claim.units)
    handles = []
    for protocol in [name for name in (*PROTOCOLS, "") if name in found]:
        look = {"color": PROTOCOL_COLOURS.get(protocol, "#444444"), "marker": PROTOCOL_MARKERS.get(protocol, "o")}
        text = PROTOCOLS[protocol] if protocol and len(found) > 1 else claim.unit
        handles.append(Line2D([], [], linestyle="none", label=text, markersize=6, **look))
    return [*handles, Patch(color="#DCE6F2", label="what the words say")]


@styled
def comparison_figure(pairs: pd.DataFrame, *, simulated: bool = False) -> PageFigure:
    """Every representation against raw values: one dot for each unit, a panel for each protocol.

    A unit is a data set, the library held out in it and the direction of a pair; its dot is the mean over
    heads.  Filled dots are leaf, hollow ones root; a bar stands at the median.

    Parameters
    ----------
    pairs
        From `comparisons.paired_models`.
    """
    units = unit_differences(pairs)
    order = [name for name in COLOURS if name in set(units["representation"])]
    height = 0.34 * len(order) + 0.1
    figure = PageFigure(PAGE_WIDTH, height + 1.3)
    figure.data = units
    span = units["difference"].abs().max() * 0.06
    limits = (min(0, units["difference"].min()) - span, max(0, units["difference"].max()) + span)
    width = (PAGE_WIDTH - 1.25) / len(PROTOCOLS)
    for i, (protocol, title) in enumerate(PROTOCOLS.items()):
        ax = figure.panel(0.95 + i * width, 0.65, width - 0.15, height)
        ax.axvline(0, color=GREY, linewidth=0.9, linestyle=(0, (5, 3)), zorder=0.9, gid="nothing")
        _draw_representations(ax, units[units["protocol"] == protocol], order)
        ax.set_yticks(range(len(order)), order if i == 0 else [""] * len(order))
        ax.set(xlim=limits, ylim=(len(order) - 0.4, -0.6), title=title)
        ax.grid(axis="x", color="#E4E4E4", linewidth=0.6)
    figure.axes[1].set_xlabel("points of AUROC above raw values, same head and test cells")
    legend_row(figure, _tissue_handles(units))
    return mark_simulated(figure, simulated)


def _draw_representations(ax, units: pd.DataFrame, order: list[str]) -> None:
    if units.empty:
        ax.text(0.5, 0.5, "n/a", transform=ax.transAxes, ha="center", va="center", color=GREY, gid="missing")
    for y, name in enumerate(order):
        mine = units[units["representation"] == name]
        for (_, row), offset in zip(mine.iterrows(), spread(len(mine), 0.4) if len(mine) else [], strict=True):
            face = COLOURS[name] if row["tissue"] == "leaf" else "white"
            look = {"markerfacecolor": face, "markeredgecolor": EDGES[name], "markersize": 5}
            ax.plot([row["difference"]], [y + offset], marker="o", linestyle="none", gid=f"unit|{name}", **look)
        if len(mine):
            median = mine["difference"].median()
            ax.plot([median, median], [y - 0.3, y + 0.3], color="black", linewidth=1.8, gid=f"median|{name}")


def _tissue_handles(units: pd.DataFrame) -> list:
    from matplotlib.lines import Line2D

    handles = []
    for tissue, face in (("leaf", GREY), ("root", "white")):
        if tissue in set(units["tissue"]):
            look = {"markerfacecolor": face, "markeredgecolor": GREY, "marker": "o", "linestyle": "none"}
            handles.append(Line2D([], [], label=f"one unit, {tissue}", **look))
    return [*handles, Line2D([], [], color="black", linewidth=1.8, label="median")]
