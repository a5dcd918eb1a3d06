"""Figures of cells in two dimensions: each representation in a row, each colouring in a column."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from .figure_style import GREY, PAGE_WIDTH, PageFigure, mark_simulated, styled
from .figures_data import require_columns
from .figures_methods import CONTROL, STRESS
from .maps import COLOURINGS, REPRESENTATIONS
from .words import class_words

if TYPE_CHECKING:
    import pandas as pd

    from .maps import CellMap

#: Colours of groups in order; what goes beyond is grey and named together.
GROUPS = ("#332288", "#DDCC77", "#117733", "#CC6677", "#88CCEE", "#882255", "#44AA99", "#999933", "#AA4499",
          "#E69F00", "#6699CC", "#661100")  # fmt: skip
#: Libraries of two data sets: shades of blue for the one, of orange for the other.
TWO_DATASETS = (("#08306B", "#2171B5", "#6BAED6", "#B9D6EA"), ("#7F2704", "#D94801", "#FD8D3C", "#FDC38D"))
OTHERS, UNKNOWN = "#B5B5B5", "not known"
WIDTH, HEIGHT = 2.62, 2.15


def _colours(points: pd.DataFrame, colouring: str) -> dict[str, str]:
    """A colour for each group, the largest palette first; groups without one are drawn as others."""
    values = points[colouring].dropna()
    names = sorted(values.unique(), key=lambda name: (name not in ("control", "stress"), name))
    if colouring == "condition" and names[:1] == ["control"]:
        return dict(zip(names, (CONTROL, STRESS, *GROUPS[2:]), strict=False))
    owners = list(points["dataset"].unique())
    if colouring != "library" or len(owners) != 2:
        return dict(zip(names, GROUPS, strict=False))
    owner = points.drop_duplicates("library").set_index("library")["dataset"]
    shades = {name: iter(colours) for name, colours in zip(owners, TWO_DATASETS, strict=True)}
    return {name: next(shades[owner[name]], OTHERS) for name in names}


def _legend(figure: PageFigure, left: float, top: float, points: pd.DataFrame, colouring: str) -> None:
    from matplotlib.lines import Line2D

    colours = _colours(points, colouring)
    values = points[colouring]
    more = values.dropna().nunique() - len(colours)
    entries = dict(colours)
    if more:
        entries[f"{more} others"] = OTHERS
    if values.isna().any():
        entries[UNKNOWN] = OTHERS
    style = {"linestyle": "none", "marker": "o", "markersize": 4.5}
    handles = [
        Line2D([], [], color=colour, label=textwrap.shorten(class_words(name), 24), **style)
        for name, colour in entries.items()
    ]
    width, height = figure.get_size_inches()
    place = {"loc": "upper left", "bbox_to_anchor": (left / width, 1 - top / height), "borderaxespad": 0}
    columns = {"ncols": 2 if len(handles) > 3 else 1, "columnspacing": 0.8, "handletextpad": 0.1, "fontsize": 7}
    figure.legend(handles=handles, **place, **columns)


def _legend_rows(points: pd.DataFrame) -> int:
    counts = [points[c].nunique() + int(points[c].isna().any()) for c in COLOURINGS]
    return max(-(-min(n, len(GROUPS) + 2) // 2) if n > 3 else n for n in counts)


def _draw_points(ax, points: pd.DataFrame, representation: str, colouring: str) -> None:
    """Cells in a fixed random order, so that no group lies above the others."""
    import numpy as np

    shuffled = points.iloc[np.random.default_rng(0).permutation(len(points))]
    colours = shuffled[colouring].map(_colours(points, colouring)).fillna(OTHERS)
    place = shuffled[f"{representation}_1"], shuffled[f"{representation}_2"]
    style = {"s": 5, "linewidths": 0, "rasterized": True}  # as shapes, the SVG would hold megabytes
    ax.scatter(*place, c=colours, gid=f"cells|{representation}|{colouring}", **style)


def _number(purity: pd.DataFrame, representation: str, colouring: str) -> str:
    row = purity[(purity["representation"] == representation) & (purity["colouring"] == colouring)].iloc[0]
    if row["purity"] != row["purity"]:
        return row["reason"]
    return f"neighbours alike {row['purity']:.2f}, by chance {row['permuted']:.2f}"


@styled
def map_figure(cells: CellMap, *, simulated: bool = False) -> PageFigure:
    """UMAP of raw values, CLS and WM (rows) coloured by condition, library and cell type (columns).

    Below each panel stands how often the nearest neighbours in the representation itself share the
    label, and how often labels dealt out over cells at random do.  A representation that could not be
    had is drawn as missing, with the reason.  No figure of the paper.
    """
    points, purity = cells.points, cells.purity
    require_columns(points, ("dataset", *COLOURINGS), "map_figure")
    bottom = 0.62 + len(REPRESENTATIONS) * (HEIGHT + 0.32)
    figure = PageFigure(PAGE_WIDTH, bottom + 0.3 + 0.17 * _legend_rows(points))
    figure.data = points
    figure.note(0.32, 0.2, " + ".join(points["dataset"].unique()), va="bottom", fontsize=9.5)
    for i, representation in enumerate(REPRESENTATIONS):
        for j, colouring in enumerate(COLOURINGS):
            left = 0.32 + j * (WIDTH + 0.14)
            ax = figure.panel(left, 0.57 + i * (HEIGHT + 0.32), WIDTH, HEIGHT)
            ax.set(xticks=[], yticks=[])
            ax.spines[:].set(visible=True, color="#C8C8C8")
            if i == 0:
                ax.set_title(colouring.replace("_", " "), loc="left", fontweight="bold")
            if j == 0:
                ax.set_ylabel(representation, fontweight="bold")
            if f"{representation}_1" in points:
                _draw_points(ax, points, representation, colouring)
                ax.set_xlabel(_number(purity, representation, colouring), fontsize=7.5, labelpad=3)
            else:
                _draw_missing(ax, purity, representation, j)
    for j, colouring in enumerate(COLOURINGS):
        _legend(figure, 0.32 + j * (WIDTH + 0.14), bottom, points, colouring)
    return mark_simulated(figure, simulated)


def _draw_missing(ax, purity: pd.DataFrame, representation: str, column: int) -> None:
    reason = purity.loc[purity["representation"] == representation, "reason"].iloc[0]
    words = textwrap.fill(f"n/a: {reason}", 34) if column == 0 else "n/a"
    ax.text(0.5, 0.5, words, transform=ax.transAxes, ha="center", va="center", fontsize=7.5, color=GREY,
            gid=f"missing|{representation}")  # fmt: skip
