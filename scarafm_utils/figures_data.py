"""Figures of the data: quality control, and what data sets agree on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import InputError
from .figure_style import PAGE_WIDTH, PageFigure, legend_row, mark_simulated, styled

if TYPE_CHECKING:
    import pandas as pd

ROLE_COLOURS = {"downstream": "#E69F00", "pretraining": "#56B4E9"}


def require_columns(table: pd.DataFrame, columns: tuple[str, ...], what: str) -> None:
    """Refuse a table without rows or without one of `columns`; `what` is the figure."""
    missing = [c for c in columns if c not in table]
    if missing or table.empty:
        found = ", ".join(map(str, table.columns)) or "nothing"
        needed = f"column '{missing[0]}'" if missing else "rows"
        raise InputError(f"{what}: the table lacks {needed} (found: {found}).")


def _violins(ax, groups: dict[str, pd.Series], colours: list[str]) -> None:
    """Horizontal violins with a tick at the median; a group of one value is a dot."""
    for i, values in enumerate(groups.values()):
        if values.nunique() > 1:
            lying = {"orientation": "horizontal", "widths": 0.85, "showextrema": False}
            body = ax.violinplot([values], positions=[i], **lying)["bodies"][0]
            body.set(facecolor=colours[i], edgecolor="#3A3A3A", alpha=0.85, linewidth=0.5)
        style = {"marker": "|", "color": "black", "markersize": 9, "markeredgewidth": 1.6}
        ax.plot(values.median(), i, gid="median", **style)


def _log_ticks(ax, values: pd.Series) -> None:
    """Powers of ten, with threes and more between where there are few, on an axis that holds log10 values."""
    import numpy as np
    from matplotlib.ticker import MaxNLocator

    low, high = float(values.min()), float(values.max())
    powers = [10.0**p for p in range(int(np.floor(low)), int(np.ceil(high)) + 1)]
    for factors in ((1,), (1, 3), (1, 2, 5), (1, 2, 3, 5), range(1, 10)):
        ticks = [f * p for p in powers for f in factors if low - 0.05 <= np.log10(f * p) <= high + 0.05]
        if len(ticks) >= 3:
            break
    else:
        ticks = [t for t in MaxNLocator(4).tick_values(10**low, 10**high) if 10**low <= t <= 10**high]
    ax.set_xticks([np.log10(t) for t in ticks], [f"{t:,.0f}" for t in ticks])


@styled
def qc_figure(obs: pd.DataFrame, *, simulated: bool = False) -> PageFigure:
    """Total counts and genes detected per cell, one violin per data set, on logarithmic axes.

    Parameters
    ----------
    obs
        One row per cell: `dataset`, `total_counts`, `n_genes`; optional `role` (colours).  Cells
        without counts or genes are left out of the violins.
    """
    import numpy as np

    require_columns(obs, ("dataset", "total_counts", "n_genes"), "qc_figure")
    names = list(dict.fromkeys(obs["dataset"].astype(str)))
    roles = obs.groupby(obs["dataset"].astype(str))["role"].first() if "role" in obs else {}
    colours = [ROLE_COLOURS.get(str(roles.get(n, "")), "#B8C4CE") for n in names]
    height = 0.3 * len(names) + 0.2
    figure = PageFigure(PAGE_WIDTH, height + 1.1)
    figure.data = obs[[c for c in ("dataset", "role", "total_counts", "n_genes") if c in obs]].rename_axis("cell")
    for i, (column, title) in enumerate((("total_counts", "total counts"), ("n_genes", "genes detected"))):
        ax = figure.panel(1.15 + i * 3.72, 0.45, 3.55, height)
        shown = obs[obs[column] > 0]
        logs = np.log10(shown[column].astype(float)).groupby(shown["dataset"].astype(str))
        groups = {n: logs.get_group(n) if n in logs.groups else shown[column].iloc[:0] for n in names}
        _violins(ax, groups, colours)
        _log_ticks(ax, np.log10(shown[column].astype(float)))
        ax.set_yticks(range(len(names)), names if i == 0 else [])
        ax.set(ylim=(len(names) - 0.4, -0.6), xlabel=f"{title} per cell")
        ax.grid(axis="x", color="#E4E4E4", linewidth=0.6)
    _role_legend(figure, set(map(str, dict(roles).values())))
    return mark_simulated(figure, simulated)


def _role_legend(figure: PageFigure, roles: set[str]) -> None:
    from matplotlib.patches import Patch

    shown = {role: colour for role, colour in ROLE_COLOURS.items() if role in roles}
    handles = [Patch(facecolor=colour, edgecolor="#3A3A3A", label=role) for role, colour in shown.items()]
    if handles:
        legend_row(figure, handles)


@styled
def hvg_overlap_figure(matrix: pd.DataFrame, *, simulated: bool = False) -> PageFigure:
    """How many highly variable genes each pair of data sets shares, as a heat map with its numbers.

    `matrix` is square with data sets as index and columns; whole numbers are counts, others are shares.
    """
    names = [str(n) for n in matrix.index]
    if names != [str(n) for n in matrix.columns] or not names:
        raise InputError("hvg_overlap_figure: the matrix needs the same data sets on both sides.")
    side = min(6.2, 1.0 + 0.42 * len(names))
    figure = PageFigure(side + 2.6, side + 1.2)
    ax = figure.panel(1.15, 0.15, side, side)
    values = matrix.to_numpy(dtype=float)
    least = values[values == values].min(initial=values[0, 0]) // 10 * 10
    image = ax.imshow(values, cmap="cividis", vmin=least)
    ax.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
    ax.set_yticks(range(len(names)), names)
    ax.spines[:].set_visible(False)
    _write_values(ax, values, size=8.5 if len(names) <= 8 else 6.5, least=least)
    bar = figure.panel(1.15 + side + 0.2, 0.15, 0.16, side)
    figure.colorbar(image, cax=bar, label=f"genes shared (colours from {least:.0f})" if least else "genes shared")
    return mark_simulated(figure, simulated)


def _write_values(ax, values, *, size: float, least: float) -> None:
    """Each value in its field, in black or white, whichever can be read."""
    import numpy as np

    whole = bool(((values == values.round()) | (values != values)).all())
    known = values[values == values]
    middle = least + 0.47 * (known.max() - least) if len(known) else least
    for (i, j), value in np.ndenumerate(values):
        text = "n/a" if value != value else f"{value:.0f}" if whole else f"{value:.2f}"
        colour = "black" if value > middle or value != value else "white"
        ax.text(j, i, text, ha="center", va="center", fontsize=size, color=colour)


@styled
def vocabulary_figure(table: pd.DataFrame, *, simulated: bool = False) -> PageFigure:
    """In how many data sets the genes of the vocabulary are highly variable.

    `table` is a vocabulary (``vocabulary/<tissue>.csv``): one row per gene with `n_datasets`.  The paper
    ranks genes by this number and keeps the first N; ties are what the rule has to break.
    """
    require_columns(table, ("n_datasets",), "vocabulary_figure")
    counts = table["n_datasets"].value_counts().sort_index()
    figure = PageFigure(PAGE_WIDTH, 2.9)
    ax = figure.panel(0.8, 0.3, PAGE_WIDTH - 0.95, 1.95)
    ax.bar(counts.index, counts.to_numpy(), width=0.8, color="#56B4E9", edgecolor="#2B2B2B", linewidth=0.5)
    for x, n in counts.items():
        ax.text(x, n, f"{n:,}", ha="center", va="bottom", fontsize=8)
    ax.set_xticks(range(int(counts.index.min()), int(counts.index.max()) + 1))
    ax.set(xlabel="data sets in which the gene is highly variable", ylabel="genes in the vocabulary")
    ax.margins(y=0.12)
    return mark_simulated(figure, simulated)
