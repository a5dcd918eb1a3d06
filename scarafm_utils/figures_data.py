"""Figures of the data and of pretraining: quality control, vocabulary, loss and masked accuracy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import InputError
from .figure_style import GREY, PAGE_WIDTH, PageFigure, legend_row, mark_simulated, styled

if TYPE_CHECKING:
    import pandas as pd

TRAIN, VALIDATION = "#0072B2", "#D55E00"
ROLE_COLOURS = {"downstream": "#E69F00", "pretraining": "#56B4E9"}
#: Colour, dashes and marker of the baselines, in the order of the columns.
BASELINES = [("#5A5A5A", ":", "D"), ("#009E73", "--", "v"), ("#CC79A7", "-.", "^"), ("#8A6D00", ":", "P")]


def _require(table: pd.DataFrame, columns: tuple[str, ...], what: str) -> None:
    missing = [c for c in columns if c not in table]
    if missing or table.empty:
        found = ", ".join(map(str, table.columns)) or "nothing"
        needed = f"column '{missing[0]}'" if missing else "rows"
        raise InputError(f"{what}: the table lacks {needed} (found: {found}).")


def _by_tissue(history: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """One history per tissue where the table names tissues, else the whole of it."""
    if "tissue" not in history:
        return {"": history}
    return {str(name): part for name, part in history.groupby("tissue", sort=False)}


def _panels(figure: PageFigure, names: list[str], *, top: float, height: float) -> list:
    """Axes side by side, each with its tissue as title."""
    width = (PAGE_WIDTH - 0.75 - 0.1 - 0.75 * (len(names) - 1)) / len(names)
    axes = []
    for i, name in enumerate(names):
        axes.append(figure.panel(0.75 + i * (width + 0.75), top, width, height))
        axes[-1].set_title(name, loc="left", fontweight="bold")
        axes[-1].set_xlabel("epoch")
    return axes


def _whole_epochs(ax) -> None:
    from matplotlib.ticker import MaxNLocator

    ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    ax.grid(axis="y", color="#E4E4E4", linewidth=0.6)


@styled
def loss_figure(history: pd.DataFrame, *, simulated: bool = False) -> PageFigure:
    """Cross-entropy on masked tokens by epoch, training and validation; a line marks the best epoch.

    `history` has `epoch`, `train_loss`, `val_loss` and, for several panels, `tissue`.  The paper shows none.
    """
    _require(history, ("epoch", "train_loss", "val_loss"), "loss_figure")
    parts = _by_tissue(history)
    figure = PageFigure(PAGE_WIDTH, 3.2)
    for ax, part in zip(_panels(figure, list(parts), top=0.55, height=2.0), parts.values(), strict=True):
        ax.plot(part["epoch"], part["train_loss"], color=TRAIN, marker="o", markersize=4, label="training")
        line = {"color": VALIDATION, "marker": "s", "markersize": 4, "linestyle": "--", "label": "validation"}
        ax.plot(part["epoch"], part["val_loss"], **line)
        if part["val_loss"].notna().any():
            best = part.loc[part["val_loss"].idxmin(), "epoch"]
            ax.axvline(best, color=GREY, linestyle=":", linewidth=1, label="best epoch", gid="best")
        ax.set_ylabel("cross-entropy (nats)")
        _whole_epochs(ax)
    legend_row(figure, ax.get_legend_handles_labels()[0])
    return mark_simulated(figure, simulated)


#: Baselines that `pretrain_tissue` writes, in words.
BASELINE_WORDS = {
    "baseline_commonest": "guess: commonest bin",
    "baseline_gene": "guess: commonest bin of the gene",
    "baseline_cell": "guess: commonest visible bin of the cell",
}


def baseline_columns(history: pd.DataFrame) -> list[str]:
    """Columns of a history that hold the accuracy of a baseline: numeric, named ``baseline…``."""
    numeric = history.select_dtypes("number").columns
    return [c for c in numeric if "baseline" in c and history[c].notna().any()]


def _readable(column: str) -> str:
    words = column.replace("baseline", "").replace("_", " ").replace(":", " ").split()
    return BASELINE_WORDS.get(column, "guess: " + " ".join(words))


def _accuracy_lines(part: pd.DataFrame) -> dict[str, dict]:
    """How each column of accuracies is drawn: the encoder, the encoder on hard tokens, each baseline."""
    lines = {"val_accuracy": {"color": VALIDATION, "marker": "s", "label": "encoder"}}
    if "val_accuracy_hard" in part:
        hollow = {
            "markerfacecolor": "white",
            "linestyle": "--",
            "label": "encoder, where the last guess is wrong",
        }
        lines["val_accuracy_hard"] = {"color": VALIDATION, "marker": "s", **hollow}
    for i, column in enumerate(baseline_columns(part)):
        colour, dashes, marker = BASELINES[i % len(BASELINES)]
        lines[column] = {"color": colour, "linestyle": dashes, "marker": marker, "label": _readable(column)}
    return lines


def _draw_accuracy(ax, part: pd.DataFrame) -> None:
    for column, style in _accuracy_lines(part).items():
        ax.plot(part["epoch"], part[column], markersize=4, gid=column, **style)
    ax.set(ylim=(0, 1.02), ylabel="accuracy on hidden tokens")
    _whole_epochs(ax)


@styled
def accuracy_figure(history: pd.DataFrame, *, simulated: bool = False) -> PageFigure:
    """Accuracy on hidden tokens by epoch, beside every baseline that the history holds.

    `history` has `epoch`, `val_accuracy`, optionally `val_accuracy_hard` (on the tokens that differ from
    the last baseline), `tissue`, and numeric columns named ``baseline…``.  The baselines matter: the
    commonest visible bin of the same cell already guesses most hidden bins.
    """
    _require(history, ("epoch", "val_accuracy"), "accuracy_figure")
    parts = _by_tissue(history)
    rows = -(-len(_accuracy_lines(history)) // 2)
    figure = PageFigure(PAGE_WIDTH, 3.0 + 0.2 * rows)
    axes = _panels(figure, list(parts), top=0.35 + 0.2 * rows, height=2.0)
    for ax, part in zip(axes, parts.values(), strict=True):
        _draw_accuracy(ax, part)
    legend_row(figure, ax.get_legend_handles_labels()[0], columns=2)
    return mark_simulated(figure, simulated)


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
    """Powers of ten (and threes where there are few) on an axis that holds log10 values."""
    import numpy as np

    low, high = float(values.min()), float(values.max())
    ticks = [f * 10.0**p for p in range(int(np.floor(low)), int(np.ceil(high)) + 1) for f in (1, 3)]
    ticks = [t for t in ticks if low - 0.05 <= np.log10(t) <= high + 0.05]
    ticks = [t for t in ticks if len(ticks) <= 6 or f"{t:g}".startswith("1")]
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

    _require(obs, ("dataset", "total_counts", "n_genes"), "qc_figure")
    names = list(dict.fromkeys(obs["dataset"].astype(str)))
    roles = obs.groupby(obs["dataset"].astype(str))["role"].first() if "role" in obs else {}
    colours = [ROLE_COLOURS.get(str(roles.get(n, "")), "#B8C4CE") for n in names]
    height = 0.3 * len(names) + 0.2
    figure = PageFigure(PAGE_WIDTH, height + 1.1)
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
    image = ax.imshow(values, cmap="cividis", vmin=0)
    ax.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
    ax.set_yticks(range(len(names)), names)
    ax.spines[:].set_visible(False)
    _write_values(ax, values, size=8.5 if len(names) <= 8 else 6.5)
    bar = figure.panel(1.15 + side + 0.2, 0.15, 0.16, side)
    figure.colorbar(image, cax=bar, label="genes shared")
    return mark_simulated(figure, simulated)


def _write_values(ax, values, *, size: float) -> None:
    """Each value in its field, in black or white, whichever can be read."""
    import numpy as np

    whole = bool(((values == values.round()) | (values != values)).all())
    middle = values[values == values].max() * 0.55 if (values == values).any() else 0
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
    _require(table, ("n_datasets",), "vocabulary_figure")
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
