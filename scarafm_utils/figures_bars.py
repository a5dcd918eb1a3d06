"""Bars of AUROC: Figure 2, Supplementary Figure 1, and the same bars for one task."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import InputError
from .figure_rows import SLOTS, TaskLabel, fullest_size, ordered_tasks, paper_rows, shown_columns, task_words
from .figure_style import (
    COLOURS,
    GREY,
    HATCHES,
    HEAD_COLUMNS,
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

TASK_WIDTH = 28.5


def _na_mark(ax, x: float, key: str, *, size: float = 6.0) -> None:
    """A short hatched stump in grey with 'n/a' above it: no result, which is not 0."""
    ax.bar(x, 0.045, width=0.92, facecolor="white", edgecolor="#9A9A9A", hatch="//////", linewidth=0.4)
    ax.patches[-1].set_gid(f"missing|{key}")
    ax.text(x, 0.065, "n/a", rotation=90, ha="center", va="bottom", fontsize=size, color=GREY)


def _draw_bar(ax, x: float, row, name: str, key: str) -> None:
    value, low, high = (float(row.get(c, float("nan"))) for c in ("auroc", "auroc_low", "auroc_high"))
    style = {"facecolor": COLOURS[name], "hatch": HATCHES[name], "edgecolor": "#2B2B2B", "linewidth": 0.4}
    ax.bar(x, value, width=0.92, **style)
    ax.patches[-1].set_gid(f"bar|{key}")
    if low == low and high == high:
        colour = "#8C8C8C" if name == "CNN" else "#2B2B2B"
        ax.plot([x, x], [low, high], color=colour, linewidth=0.9, gid=f"interval|{key}")


def _draw_task(ax, rows: pd.DataFrame, task: TaskLabel, start: float) -> None:
    mine = rows[(rows["task"] == task.task) & (rows["label"] == task.label)]
    found = {(row["head"], row["representation"]): row for _, row in mine.iterrows()}
    for (head, name), offset in SLOTS.items():
        row, key = found.get((head, name)), f"{task.task}|{task.label}|{head}|{name}"
        if row is None or row["auroc"] != row["auroc"]:
            _na_mark(ax, start + offset, key)
        else:
            _draw_bar(ax, start + offset, row, name, key)


def _bracket(ax, left: float, right: float, text: str, *, inch: float) -> None:
    """A bracket under the axis from `left` to `right` with its head's name; `inch` = 1 inch in axes units."""
    grey = {"color": GREY, "linewidth": 0.9, "clip_on": False, "transform": ax.get_xaxis_transform()}
    top, low = -0.04 * inch, -0.09 * inch
    ax.plot([left, left, right, right], [top, low, low, top], gid="bracket", **grey)
    where = {"ha": "center", "va": "top", "transform": ax.get_xaxis_transform()}
    ax.text((left + right) / 2, -0.12 * inch, text, fontsize=8, **where)


def _label_task(ax, task: TaskLabel, start: float, *, inch: float) -> None:
    for head in (*HEAD_COLUMNS, "CNN"):
        places = [offset for (name, _), offset in SLOTS.items() if name == head]
        _bracket(ax, start + min(places) - 0.5, start + max(places) + 0.5, head, inch=inch)
    where = {"ha": "center", "va": "top", "transform": ax.get_xaxis_transform()}
    ax.text(start + 12.5, -0.29 * inch, task.title, fontsize=8.5, fontweight="bold", gid="task", **where)


def _draw_panel(ax, rows: pd.DataFrame, protocol: str, tasks: list[TaskLabel], *, height: float) -> None:
    """All tasks of one protocol side by side."""
    for i, task in enumerate(tasks):
        _draw_task(ax, rows, task, i * TASK_WIDTH)
        _label_task(ax, task, i * TASK_WIDTH, inch=1 / height)
    chance_and_ceiling(ax)
    ax.set(xlim=(-1.6, len(tasks) * TASK_WIDTH - 1.9), ylim=(0, 1.08), ylabel="AUROC")
    ax.set_xticks([])
    ax.set_yticks([0, 0.25, 0.5, 0.75, 1])
    ax.set_title(PROTOCOLS[protocol], loc="left", fontweight="bold")


def _pack(counts: dict[str, int]) -> list[list[str]]:
    """Protocols in rows of at most four tasks, or five where that saves a row or one protocol needs more."""

    def rows_of(capacity: int) -> list[list[str]]:
        rows: list[list[str]] = []
        for protocol, n in counts.items():
            if not rows or sum(counts[p] for p in rows[-1]) + n > capacity:
                rows.append([])
            rows[-1].append(protocol)
        return rows

    capacity = max(4, *counts.values())
    return min(rows_of(capacity), rows_of(max(5, capacity)), key=len)


def _legend_handles() -> list:
    from matplotlib.patches import Patch

    return [
        Patch(facecolor=COLOURS[n], hatch=HATCHES[n], edgecolor="#2B2B2B", linewidth=0.4, label=n)
        for n in COLOURS
    ]


def bars_figure(
    rows: pd.DataFrame, *, simulated: bool = False, height: float = 1.9, least: int = 2
) -> PageFigure:
    """One panel per protocol with the bars of all its tasks, in rows as wide as the page.

    `least`: a row has room for at least so many tasks, lest a single one grow out of proportion.
    """
    tasks = ordered_tasks(rows)
    layout = _pack({protocol: len(names) for protocol, names in tasks.items()})
    lines = max(t.title.count("\n") for names in tasks.values() for t in names)
    pitch = height + 0.77 + 0.15 * lines
    figure = PageFigure(PAGE_WIDTH, 0.42 + pitch * len(layout))
    figure.data = shown_columns(rows)
    widest = max(layout, key=lambda row: sum(len(tasks[p]) for p in row))
    slot = (PAGE_WIDTH - 0.1 - 0.6 * len(widest)) / max(sum(len(tasks[p]) for p in widest), least)
    for r, row in enumerate(layout):
        left = 0.6
        for protocol in row:
            width = slot * len(tasks[protocol])
            ax = figure.panel(left, 0.6 + r * pitch, width, height)
            _draw_panel(ax, rows, protocol, tasks[protocol], height=height)
            left += width + 0.6
    legend_row(figure, _legend_handles())
    note_size(figure, rows["n_train"].iloc[0])
    figure.remark = below_chance(rows["auroc"])
    return mark_simulated(figure, simulated)


def note_size(figure: PageFigure, n_train: str) -> None:
    """Say in the lower right corner how many cells trained, unless it is all of them."""
    if n_train != "all":
        width, height = figure.get_size_inches()
        settings = {"ha": "right", "va": "bottom", "fontsize": 8, "gid": "size"}
        figure.note(width - 0.06, height - 0.04, f"{n_train} training cells", **settings)


def _tissue_figure(
    results: pd.DataFrame, tissue: str, n_train: str | int | None, simulated: bool
) -> PageFigure:
    rows = paper_rows(results, tissue=tissue, n_train=None)
    if rows.empty:
        return empty_figure(f"no results for {tissue} tissue", simulated=simulated)
    return bars_figure(rows[rows["n_train"] == fullest_size(rows, n_train)], simulated=simulated)


@styled
def leaf_figure(
    results: pd.DataFrame, *, n_train: str | int | None = None, simulated: bool = False
) -> PageFigure:
    """Figure 2: stress classification in leaf data sets, one panel per protocol.

    Data sets stand in the order of their mean AUROC, bars are grouped by head over a bracket, within a
    head one bar per representation, the CNN, which is its own head, last.  Whiskers are `auroc_low` and
    `auroc_high`; dashed = chance, dotted = 1.  The paper gives no order within a panel in words.

    Parameters
    ----------
    results
        Tidy results (``tables/results.csv``); rows of other tissues and controls are left out.  Without
        any leaf row the figure is a frame that says so.
    n_train
        Training size shown.  None: all training cells, as in the paper's bars; where fewer than half as
        many results exist for all cells as for another size, that size, and the figure says which.
    simulated
        Write 'simulated cells' into the corner.

    Raises
    ------
    InputError
        If there are leaf results, but none of this training size.
    """
    return _tissue_figure(results, "leaf", n_train, simulated)


@styled
def root_figure(
    results: pd.DataFrame, *, n_train: str | int | None = None, simulated: bool = False
) -> PageFigure:
    """Supplementary Figure 1: the bars of `leaf_figure` for root data sets, random and replicate."""
    return _tissue_figure(results, "root", n_train, simulated)


@styled
def task_figure(
    results: pd.DataFrame, *, n_train: str | int | None = None, simulated: bool = False
) -> PageFigure:
    """One group of bars of Figure 2 or Supplementary Figure 1, drawn large.

    `results` holds one task; `n_train` as in `leaf_figure`.  A run of controls only leaves every bar of
    the paper missing.

    Raises
    ------
    InputError
        If the table is empty or holds more than one task.
    """
    if results["task"].nunique() != 1:
        names = ", ".join(sorted(results["task"].unique())[:3])
        raise InputError(f"task_figure: one task expected, found {results['task'].nunique()} ({names}).")
    rows = paper_rows(results, n_train=None)
    if rows.empty:
        blank = results.head(1).assign(representation="raw", head="LR", auroc=float("nan"), fidelity="paper")
        rows = paper_rows(blank, n_train=None)
    chosen = rows[rows["n_train"] == fullest_size(rows, n_train)]
    figure = bars_figure(chosen, simulated=simulated, height=2.4, least=1)
    figure.remark = " ".join(filter(None, [task_words(chosen), figure.remark]))
    return figure
