"""AUROC against the number of training cells: Supplementary Figures 2 and 3."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .figure_rows import POOLED, TaskLabel, ordered_tasks, paper_rows, shown_columns
from .figure_style import (
    COLOURS,
    GREY,
    HEAD_COLUMNS,
    MARKERS,
    PAGE_WIDTH,
    PROTOCOLS,
    PageFigure,
    below_chance,
    chance_and_ceiling,
    empty_figure,
    legend_row,
    mark_simulated,
    styled,
)

if TYPE_CHECKING:
    import pandas as pd

ROW_HEIGHT, ROW_GAP, PROTOCOL_GAP = 1.05, 0.28, 0.2
LEFT, TOP, BOTTOM = 1.05, 0.85, 0.42


def _place_sizes(rows: pd.DataFrame) -> pd.DataFrame:
    """Add `x`: training cells, 'all' at its true number where the table tells it (`n_train_cells`).

    Elsewhere 'all' stands on a tick of its own, right of the largest number.
    """
    numbers = [int(n) for n in rows["n_train"] if n != "all"]
    beyond = 2 * max(numbers, default=500)
    true = rows["n_train_cells"] if "n_train_cells" in rows else rows["n_train"].map({})
    fallback = rows["n_train"].map(lambda n: beyond if n == "all" else int(n))
    return rows.assign(x=true.where(rows["n_train"] == "all").fillna(fallback).astype(float), own=true.isna())


def _draw_line(ax, mine: pd.DataFrame, name: str) -> None:
    """One representation: a marked line, and whiskers from `auroc_low` to `auroc_high`."""
    mine = mine[mine["auroc"].notna()].sort_values("x")
    style = {"color": COLOURS[name], "marker": MARKERS[name], "markersize": 4.5, "linewidth": 1.2}
    edge = {"markeredgecolor": "#2B2B2B", "markeredgewidth": 0.4}
    ax.plot(mine["x"], mine["auroc"], gid=f"line|{name}", zorder=3, **style, **edge)
    if {"auroc_low", "auroc_high"} <= set(mine):
        low, high = mine["auroc_low"], mine["auroc_high"]
        ax.vlines(mine["x"], low, high, color=COLOURS[name], linewidth=0.8, alpha=0.6, zorder=2)


def _draw_missing(ax, mine: pd.DataFrame, sizes: dict[str, float], names: tuple[str, ...]) -> None:
    """Say at the axis what is not there: 'n/a' for a whole training size, else a cross per representation."""
    have = mine[mine["auroc"].notna()]
    where = {"transform": ax.get_xaxis_transform(), "clip_on": False, "gid": "missing"}
    for size, x in sizes.items():
        absent = [n for n in names if n not in set(have.loc[have["n_train"] == size, "representation"])]
        if len(absent) == len(names):
            ax.text(x, 0.06, "n/a", ha="center", va="bottom", fontsize=7.5, color=GREY, **where)
            continue
        for i, name in enumerate(absent):
            ax.plot(x, 0.06 + 0.1 * i, marker="x", markersize=4.5, color=COLOURS[name], **where)


def _mark_all(ax, x: float) -> None:
    """A thin line where all training cells of this task stand."""
    ax.axvline(x, color="#B5B5B5", linewidth=0.8, zorder=0.8, gid="all")
    where = {"transform": ax.get_xaxis_transform(), "ha": "right", "va": "bottom", "rotation": 90}
    box = {"facecolor": "white", "edgecolor": "none", "pad": 0.6}
    ax.text(x, 0.04, "all", fontsize=7.5, color=GREY, bbox=box, zorder=1.0, **where)


def _draw_cell(ax, rows: pd.DataFrame, task: TaskLabel, head: str, sizes: dict[str, float]) -> None:
    """One panel: a task and a head (with MLP also the CNN)."""
    heads = (head, "CNN") if head == "MLP" else (head,)
    here = (rows["task"] == task.task) & (rows["label"] == task.label) & rows["head"].isin(heads)
    mine = rows[here]
    names = tuple(COLOURS) if head == "MLP" else POOLED
    for name in names:
        _draw_line(ax, mine[mine["representation"] == name], name)
    full = mine.loc[(mine["n_train"] == "all") & ~mine["own"], "x"]
    if len(full):
        _mark_all(ax, full.iloc[0])
    _draw_missing(ax, mine, sizes | ({"all": full.iloc[0]} if len(full) else {}), names)
    chance_and_ceiling(ax)


def _size_label(size: str) -> str:
    return f"{int(size) // 1000}k" if size != "all" and int(size) % 1000 == 0 else size


def _dress(ax, sizes: dict[str, float], *, limits, low: float, first: bool, last: bool) -> None:
    from matplotlib.ticker import NullLocator

    ax.set_xscale("log")
    ax.set(xlim=limits, ylim=(low, 1.04))
    ax.set_yticks([t for t in (0, 0.25, 0.5, 0.75, 1) if t >= low])
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xticks(list(sizes.values()), [_size_label(s) if last else "" for s in sizes])
    ax.tick_params(labelleft=first)
    ax.grid(axis="y", color="#E4E4E4", linewidth=0.6)


def _further_ticks(sizes: dict[str, float], limit: float) -> dict[str, float]:
    """Round numbers beyond the largest size, on an axis that 'all' makes longer.

    >>> _further_ticks({"100": 100.0, "200": 200.0}, 1100)
    {'500': 500.0, '1000': 1000.0}
    """
    largest = max(sizes.values(), default=1.0)
    numbers = [f * 10**p for p in range(7) for f in (1, 2, 5)]
    return {str(n): float(n) for n in numbers if 1.5 * largest < n < limit}


def _side_bracket(figure: PageFigure, top: float, bottom: float, text: str) -> None:
    """A bracket at the left edge of the figure around the rows of one protocol."""
    from matplotlib.lines import Line2D

    width, height = figure.get_size_inches()
    x = [0.42 / width, 0.34 / width, 0.34 / width, 0.42 / width]
    y = [1 - top / height] * 2 + [1 - bottom / height] * 2
    figure.add_artist(Line2D(x, y, color=GREY, linewidth=1.0, gid="bracket"))
    centre = {"rotation": 90, "ha": "center", "va": "center", "fontweight": "bold"}
    figure.note(0.18, (top + bottom) / 2, text, fontsize=9, **centre)


def _legend(figure: PageFigure) -> None:
    from matplotlib.lines import Line2D

    edge = {"markeredgecolor": "#2B2B2B", "markeredgewidth": 0.4, "markersize": 6}
    handles = [Line2D([], [], color=COLOURS[n], marker=MARKERS[n], label=n, **edge) for n in COLOURS]
    legend_row(figure, handles)


def _heights(tasks: dict[str, list[TaskLabel]]) -> float:
    n_rows = sum(len(names) for names in tasks.values())
    return TOP + n_rows * (ROW_HEIGHT + ROW_GAP) + (len(tasks) - 1) * PROTOCOL_GAP + BOTTOM


def _draw_rows(figure: PageFigure, rows: pd.DataFrame, tasks: dict[str, list[TaskLabel]], sizes) -> list:
    """All panels from top to bottom, with the brackets of the protocols; returns the rows of axes."""
    width = (PAGE_WIDTH - LEFT - 0.1 - 2 * 0.18) / 3
    low = min(0.45, float(rows[["auroc", "auroc_low"]].min().min()) - 0.02)
    limits = (0.75 * rows["x"].min(), 1.35 * rows["x"].max())
    ticks = sizes | _further_ticks(sizes, limits[1])
    top, grid = TOP, []
    final = list(tasks.values())[-1][-1]
    for protocol, names in tasks.items():
        start = top
        for task in names:
            axes = [figure.panel(LEFT + i * (width + 0.18), top, width, ROW_HEIGHT) for i in range(3)]
            for ax, head in zip(axes, HEAD_COLUMNS, strict=True):
                _draw_cell(ax, rows, task, head, sizes)
                last = protocol == list(tasks)[-1] and task == final
                _dress(ax, ticks, limits=limits, low=low, first=ax is axes[0], last=last)
            axes[0].set_title(task.title.replace("\n", " "), loc="left", fontsize=8.5, pad=3)
            axes[0].set_ylabel("AUROC")
            grid.append(axes)
            top += ROW_HEIGHT + ROW_GAP
        _side_bracket(figure, start, top - ROW_GAP, PROTOCOLS[protocol].removesuffix(" split"))
        top += PROTOCOL_GAP
    return grid


@styled
def scaling_figure(results: pd.DataFrame, *, tissue: str, simulated: bool = False) -> PageFigure:
    """Supplementary Figure 2 (leaf) or 3 (root): AUROC against the number of training cells.

    Rows are tasks under the bracket of their protocol, columns are heads (the CNN is drawn with the MLP),
    the horizontal axis is logarithmic, each representation has one marked line with its interval.
    'all' stands at its true number of cells where the table has `n_train_cells`, else on its own tick.
    The released scripts cannot draw Supplementary Figure 3: their root runs exist for all cells only.
    Without any row of this tissue the figure is a frame that says so.
    """
    rows = paper_rows(results, tissue=tissue, n_train=None)
    if rows.empty:
        return empty_figure(f"no results for {tissue} tissue", simulated=simulated)
    rows = _place_sizes(rows)
    given = sorted({n for n in rows["n_train"] if n != "all"}, key=int)
    sizes = {n: float(n) for n in given}
    if (rows["n_train"].eq("all") & rows["own"]).any():
        sizes["all"] = 2 * max((float(n) for n in given), default=500.0)
    tasks = ordered_tasks(rows)
    figure = PageFigure(PAGE_WIDTH, _heights(tasks))
    figure.data, figure.remark = shown_columns(rows), below_chance(rows["auroc"])
    grid = _draw_rows(figure, rows, tasks, sizes)
    for ax, head in zip(grid[0], HEAD_COLUMNS, strict=True):
        centre = PAGE_WIDTH * (ax.get_position().x0 + ax.get_position().x1) / 2
        name = "MLP and CNN" if head == "MLP" else head
        figure.note(centre, TOP - 0.36, name, ha="center", fontsize=10, fontweight="bold", gid="head")
    for ax in grid[-1]:
        ax.set_xlabel("training cells")
    _legend(figure)
    return mark_simulated(figure, simulated)
