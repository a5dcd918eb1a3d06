"""Figures of the audit and of rigor: moved thresholds, planted stress, leaking libraries, calibration."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .errors import InputError
from .figure_style import (
    COLOURS,
    EDGES,
    GREY,
    NARROW_WIDTH,
    PAGE_WIDTH,
    PROTOCOL_COLOURS,
    PROTOCOL_MARKERS,
    PageFigure,
    below_chance,
    chance_and_ceiling,
    corner_mark,
    empty_figure,
    legend_row,
    mark_simulated,
    readable_ticks,
    spread,
    styled,
)
from .figures_units import NULL_SPLITS
from .words import label_words

if TYPE_CHECKING:
    import pandas as pd

#: How a drop is measured: column, text, colour, marker, filled.
DROPS = {
    "drop": ("AUROC from scores", "#0072B2", "o", True),
    "drop_recentred": ("hard labels, threshold put back", "#009E73", "D", False),
    "drop_hard": ("hard labels", "#D55E00", "s", True),
}
VARIANTS = {"as it stands": "as the protocols stand", "same test cells": "same test cells, equal training"}


def mark_real(figure: PageFigure, note: str) -> PageFigure:
    """Write into the lower left corner that the cells are real, and whose; nothing where `note` is empty."""
    return corner_mark(figure, note, color="#00543D", gid="real")


def _need(table: pd.DataFrame, figure: str, columns: Sequence[str]) -> None:
    missing = [name for name in columns if name not in table]
    if missing:
        raise InputError(f"{figure}: the table needs the column {missing[0]}.")


def _handle(text: str, colour: str, marker: str, filled: bool = True):
    from matplotlib.lines import Line2D

    face = {"markerfacecolor": colour if filled else "white", "markeredgecolor": colour, "markersize": 6}
    return Line2D([], [], linestyle="none", marker=marker, label=text, **face)


@styled
def threshold_figure(drops: pd.DataFrame, *, note: str = "", simulated: bool = False) -> PageFigure:
    """Points lost from a random split to each held-out library: by ranking, by hard labels, and between.

    Parameters
    ----------
    drops
        From `audit.shift_drops`: `label`, `variant`, `held_out` and the columns of `DROPS`, in points.

    Raises
    ------
    InputError
        A column is missing.
    """
    _need(drops, "threshold_figure", ["label", "variant", "held_out", *DROPS])
    if drops.empty:
        return empty_figure("no library was held out", simulated=simulated)
    variants = [v for v in VARIANTS if v in set(drops["variant"])]
    lines = list(drops[["label", "held_out"]].drop_duplicates().itertuples(index=False, name=None))
    places = _places(lines)
    height, width = 0.24 * (max(places.values()) + 1), (PAGE_WIDTH - 1.9) / len(variants) - 0.2
    figure = PageFigure(PAGE_WIDTH, height + 1.35)
    low, high = drops[list(DROPS)].min().min() - 2, drops[list(DROPS)].max().max() + 2
    for i, variant in enumerate(variants):
        ax = figure.panel(1.75 + i * (width + 0.2), 0.75, width, height)
        _draw_drops(ax, drops[drops["variant"] == variant], places)
        ax.set(xlim=(low, high), ylim=(max(places.values()) + 0.7, -1.3), xlabel="drop (points)")
        ax.set_title(VARIANTS[variant], loc="left")
        ax.set_yticks([y for k, y in places.items() if k[1]], [k[1] for k in places if k[1]] if i == 0 else [])
        for (label, unit), y in places.items():
            if not unit and i == 0:
                words = {"ha": "right", "va": "center", "fontweight": "bold", "gid": "group"}
                ax.text(-0.02, y, label_words(label), transform=ax.get_yaxis_transform(), **words)
    legend_row(figure, [_handle(*style) for style in DROPS.values()])
    return mark_real(mark_simulated(figure, simulated), note)


def _places(lines: list[tuple[str, str]]) -> dict[tuple[str, str], float]:
    """Heights of the lines under the name of their label, top to bottom; the name has no unit."""
    places: dict[tuple[str, str], float] = {}
    y = -0.6
    for label in dict.fromkeys(label for label, _ in lines):
        places[label, ""] = y
        y += 0.9
        for _, unit in (line for line in lines if line[0] == label):
            places[label, unit] = y
            y += 1
        y += 0.5
    return places


def _draw_drops(ax, rows: pd.DataFrame, places: dict) -> None:
    ax.axvline(0, color=GREY, linewidth=0.9, zorder=0.9)
    for row in rows.to_dict("records"):
        y = places[row["label"], row["held_out"]]
        values = [row[name] for name in DROPS]
        ax.plot([min(values), max(values)], [y, y], color="#B9B9B9", linewidth=1.3, zorder=1)
        for name, (_, colour, marker, filled) in DROPS.items():
            face = colour if filled else "white"
            style = {"marker": marker, "markerfacecolor": face, "markeredgecolor": colour, "markersize": 5.5}
            ax.plot(row[name], y, linestyle="none", gid=f"{name}|{row['label']}|{row['held_out']}", **style)
    ax.grid(axis="x", color="#E4E4E4", linewidth=0.6)


@styled
def planted_figure(ladder: pd.DataFrame, *, note: str = "", simulated: bool = False) -> PageFigure:
    """AUROC for a stress of known size planted on libraries: under a random split, and on a held-out pair.

    At size 0 nothing is planted: what a random split shows there is carried by the libraries.

    Parameters
    ----------
    ladder
        `log_fold_change`, `protocol` and `auroc`, one row per fit.
    """
    _need(ladder, "planted_figure", ["log_fold_change", "protocol", "auroc"])
    rows = ladder[ladder["auroc"].notna()]
    if rows.empty:
        return empty_figure("a planted stress needs counts of four libraries", simulated=simulated)
    figure = PageFigure(PAGE_WIDTH, 4.3)
    ax = figure.panel(0.75, 0.5, PAGE_WIDTH - 1.0, 3.1)
    sizes = sorted(rows["log_fold_change"].unique())
    for k, (split, (text, protocol)) in enumerate(NULL_SPLITS.items()):
        mine = rows[rows["protocol"] == split]
        colour, marker = PROTOCOL_COLOURS[protocol], PROTOCOL_MARKERS[protocol]
        means = mine.groupby("log_fold_change")["auroc"].mean().reindex(sizes)
        at = [i + (k - 0.5) * 0.22 for i in range(len(sizes))]
        ax.plot(at, means, color=colour, linewidth=1.4, label=text, gid=f"mean|{split}")
        ax.plot(at, means, color=colour, marker="_", markersize=18, linestyle="none", markeredgewidth=2.2)
        for x, size in zip(at, sizes, strict=True):
            values = mine.loc[mine["log_fold_change"] == size, "auroc"]
            where = [x + offset for offset in spread(len(values), 0.14)] if len(values) else []
            style = {"markersize": 4, "alpha": 0.55, "linestyle": "none", "color": colour, "marker": marker}
            ax.plot(where, values, gid=f"fits|{split}|{size}", **style)
    chance_and_ceiling(ax)
    ax.set_xticks(range(len(sizes)), [f"{size:g}" for size in sizes])
    ax.set(xlabel="planted log fold change (natural logarithm); 0 = nothing planted", ylabel="AUROC")
    ax.set_ylim(top=1.03)
    figure.remark = below_chance(rows.loc[rows["log_fold_change"] > 0, "auroc"], "fits of a planted programme")
    legend_row(figure, [_handle(t, PROTOCOL_COLOURS[p], PROTOCOL_MARKERS[p]) for t, p in NULL_SPLITS.values()])
    return mark_real(mark_simulated(figure, simulated), note)


@styled
def leakage_figure(table: pd.DataFrame, *, note: str = "", simulated: bool = False) -> PageFigure:
    """How well each representation tells libraries of one condition apart, beside the label itself.

    Parameters
    ----------
    table
        `representation`, `within` and `auroc`; rows whose `within` is ``the label itself`` are hollow.
    """
    _need(table, "leakage_figure", ["representation", "within", "auroc"])
    if table.empty:
        return empty_figure("no class has two libraries", simulated=simulated)
    names = list(dict.fromkeys(table["representation"]))
    height = 0.42 * len(names) + 0.1
    figure = PageFigure(PAGE_WIDTH, height + 1.15)
    ax = figure.panel(1.3, 0.45, PAGE_WIDTH - 1.5, height)
    itself = table["within"] == "the label itself"
    for y, name in enumerate(names):
        colour = COLOURS.get(name, GREY)
        mine = table["representation"] == name
        for rows, marker, face, lane in ((mine & ~itself, "o", colour, -0.12), (mine & itself, "D", "white", 0.18)):
            values = table.loc[rows, "auroc"]
            offsets = [y + lane + o for o in spread(len(values), 0.16)] if len(values) else []
            edge = EDGES.get(name, GREY)
            style = {"marker": marker, "markerfacecolor": face, "markeredgecolor": edge, "markersize": 5.5}
            ax.plot(values, offsets, linestyle="none", alpha=0.85, gid=f"{name}|{marker}", **style)
        middle = table.loc[mine & ~itself, "auroc"].median()
        ax.plot([middle] * 2, [y - 0.3, y + 0.06], color="black", linewidth=1.8, gid=f"median|{name}")
    chance_and_ceiling(ax, vertical=True)
    ax.set_yticks(range(len(names)), names)
    ax.set(ylim=(len(names) - 0.5, -0.5), xlabel="AUROC")
    ax.set_xlim(right=1.02)
    readable_ticks(ax)
    figure.remark = below_chance(table.loc[itself, "auroc"], "results for the label itself")
    handles = [_handle("one library against another (bar: median)", GREY, "o")]
    handles += [_handle("the label itself", GREY, "D", False)] if itself.any() else []
    legend_row(figure, handles)
    return mark_real(mark_simulated(figure, simulated), note)


@styled
def reliability_figure(curves: pd.DataFrame, *, note: str = "", simulated: bool = False) -> PageFigure:
    """Share of positive cells against the probability that the model states, by protocol.

    Parameters
    ----------
    curves
        `protocol`, `stated`, `observed` and, where there are several, `panel`; one row per bin.
    """
    _need(curves, "reliability_figure", ["protocol", "stated", "observed"])
    if curves.empty:
        return empty_figure("no task has two classes", simulated=simulated)
    panels = list(dict.fromkeys(curves["panel"])) if "panel" in curves else [""]
    page = PAGE_WIDTH if len(panels) > 1 else NARROW_WIDTH
    side = min(3.4, (page - 0.5) / len(panels) - 0.35)
    figure = PageFigure(page, side + 1.35)
    start = (page - len(panels) * (side + 0.35)) / 2 + 0.35
    for i, panel in enumerate(panels):
        ax = figure.panel(start + i * (side + 0.35), 0.7, side, side)
        ax.plot([0, 1], [0, 1], color="black", linewidth=0.9, linestyle=":", gid="ideal")
        rows = curves[curves["panel"] == panel] if panel else curves
        for protocol, colour in PROTOCOL_COLOURS.items():
            mine = rows[rows["protocol"] == protocol]
            style = {"marker": PROTOCOL_MARKERS[protocol], "markersize": 5, "linewidth": 1.3, "color": colour}
            if len(mine):
                ax.plot(mine["stated"], mine["observed"], gid=f"curve|{protocol}|{panel}", **style)
        ax.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xlabel="stated probability", aspect="equal")
        ax.set_ylabel("share of positive cells" if i == 0 else "")
        ax.set_title(label_words(str(panel)), loc="left")
    words = {"random": "random split", "replicate": "held out", "cross": "another study"}
    shown = [p for p in PROTOCOL_COLOURS if p in set(curves["protocol"])]
    legend_row(figure, [_handle(words[p], PROTOCOL_COLOURS[p], PROTOCOL_MARKERS[p]) for p in shown])
    return mark_real(mark_simulated(figure, simulated), note)
