"""Figures of evidence: every unit behind a claim or a comparison is a dot, and what moves a score."""

from __future__ import annotations

from math import isinf
from typing import TYPE_CHECKING

from .figure_style import (
    GREY,
    PAGE_WIDTH,
    PROTOCOL_COLOURS,
    PROTOCOL_MARKERS,
    PROTOCOLS,
    PageFigure,
    empty_figure,
    legend_row,
    mark_simulated,
    spread,
    styled,
)
from .statements import STATEMENTS, Statement

if TYPE_CHECKING:
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
        return empty_figure(claim.verdict, simulated=simulated)
    datasets = list(dict.fromkeys(unit.dataset for unit in claim.units))
    height = 0.3 * (len(datasets) + 1) + 0.1
    figure = PageFigure(PAGE_WIDTH, height + 1.05)
    ax = figure.panel(1.9, 0.42, PAGE_WIDTH - 2.1, height)
    _draw_claimed(ax, says, [unit.value for unit in claim.units])
    for y, dataset in enumerate(datasets):
        _draw_units(ax, [unit for unit in claim.units if unit.dataset == dataset], y)
    ax.plot([claim.estimate], [len(datasets)], marker="D", color="black", markersize=6, gid="estimate")
    ax.set_yticks(range(len(datasets) + 1), [*datasets, "mean of data sets"])
    ax.set(ylim=(len(datasets) + 0.6, -0.6), xlabel=says.scale)
    ax.grid(axis="x", color="#E4E4E4", linewidth=0.6)
    legend_row(figure, _claim_handles(claim))
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
