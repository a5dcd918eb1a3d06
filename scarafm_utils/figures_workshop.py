"""Figures that a class draws: a learning curve, and everybody's seeds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import InputError
from .figure_style import (
    GREY,
    NARROW_WIDTH,
    PROTOCOL_COLOURS,
    PROTOCOL_MARKERS,
    PROTOCOLS,
    PageFigure,
    chance_and_ceiling,
    legend_row,
    mark_simulated,
    styled,
)

if TYPE_CHECKING:
    import pandas as pd

MINE = "#D55E00"
STEPS = {"random minus replicate": ("random", "replicate"), "replicate minus cross": ("replicate", "cross")}


@styled
def curve_figure(curve: pd.DataFrame) -> PageFigure:
    """AUROC against the number of training cells, one line for each protocol.

    Parameters
    ----------
    curve
        Columns protocol, n_train, auroc.
    """
    figure = PageFigure(NARROW_WIDTH, 3.5)
    ax = figure.panel(0.7, 0.5, NARROW_WIDTH - 0.9, 2.3)
    for protocol, part in curve.groupby("protocol", sort=False):
        style = {"color": PROTOCOL_COLOURS[protocol], "marker": PROTOCOL_MARKERS[protocol]}
        ax.plot(part["n_train"], part["auroc"], label=PROTOCOLS[protocol], **style)
    chance_and_ceiling(ax)
    ax.set(xlabel="training cells", ylabel="AUROC", ylim=(0.4, 1.03), xlim=(0, None))
    legend_row(figure, ax.get_legend_handles_labels()[0])
    return mark_simulated(figure, True)


@styled
def seeds_figure(
    table: pd.DataFrame, *, room: pd.DataFrame | None = None, own: dict[str, float] | None = None
) -> PageFigure:
    """Histograms over seeds of the two steps of the order, in points of AUROC.

    Parameters
    ----------
    table
        One row per seed that was computed beforehand: random, replicate, cross.
    room
        The seeds of a class (`workshop.pooled_seeds`), drawn on top of the others; the mean is of both.
    own
        A seed to mark, with the same three numbers.

    Raises
    ------
    InputError
        A table without rows, or without one of the protocols.
    """
    import pandas as pd

    parts = {"beforehand": table, **({} if room is None else {"this room": room})}
    for part in parts.values():
        missing = [name for name in PROTOCOLS if name not in part]
        if missing or not len(part):
            raise InputError(f"a histogram over seeds needs rows with random, replicate, cross (missing: {missing}).")
    figure = PageFigure(height=2.9)
    for left, (title, (easy, hard)) in zip((0.7, 5.0), STEPS.items()):
        ax = figure.panel(left, 0.3, 3.4, 1.9)
        points = [100 * (part[easy] - part[hard]) for part in parts.values()]
        every = pd.concat(points)
        colours = ["#9DB8CC", "#3B6E8F"][: len(parts)]
        names = list(parts) if len(parts) > 1 else None
        ax.hist(points, bins=_bins(every), stacked=True, color=colours, edgecolor="white", label=names)
        ax.axvline(0, color=GREY, linewidth=1)
        ax.axvline(every.mean(), color="black", linewidth=1.2, linestyle="--", label="mean")
        if own:
            ax.axvline(100 * (own[easy] - own[hard]), color=MINE, linewidth=2, label=f"seed {own['seed']}")
        ax.set(xlabel="points of AUROC", ylabel="seeds", title=title)
        ax.yaxis.get_major_locator().set_params(integer=True)
        ax.legend()
    figure.data = pd.concat(parts, names=["part"]).reset_index(level="part")
    return mark_simulated(figure, True)


def _bins(points: pd.Series) -> range:
    """Bins of five points from -20 to 65, and further where a seed lies beyond."""
    return range(5 * int(min(-4, points.min() // 5)), 5 * int(max(13, points.max() // 5 + 1)) + 1, 5)
