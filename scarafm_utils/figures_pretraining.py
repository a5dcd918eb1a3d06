"""Figures of pretraining: loss, masked accuracy, what a count of one becomes, each bin's guesses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .figure_style import GREY, PAGE_WIDTH, PageFigure, empty_figure, legend_row, mark_simulated, styled
from .figures_data import require_columns

if TYPE_CHECKING:
    import pandas as pd

TRAIN, VALIDATION = "#0072B2", "#D55E00"
#: Colour, dashes and marker of the baselines, in the order of the columns.
BASELINES = [("#5A5A5A", ":", "D"), ("#009E73", "--", "v"), ("#CC79A7", "-.", "^"), ("#8A6D00", ":", "P")]


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
    require_columns(history, ("epoch", "train_loss", "val_loss"), "loss_figure")
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
            "label": "encoder, where the cell's commonest visible bin is wrong",
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
    require_columns(history, ("epoch", "val_accuracy"), "accuracy_figure")
    parts = _by_tissue(history)
    rows = -(-len(_accuracy_lines(history)) // 2)
    figure = PageFigure(PAGE_WIDTH, 3.0 + 0.2 * rows)
    axes = _panels(figure, list(parts), top=0.35 + 0.2 * rows, height=2.0)
    for ax, part in zip(axes, parts.values(), strict=True):
        _draw_accuracy(ax, part)
    legend_row(figure, ax.get_legend_handles_labels()[0], columns=2)
    return mark_simulated(figure, simulated)


NOT_TRAINED = "no encoder was trained in this build: its weights were fetched"
#: Colours of bins 0 to 5, dark to light; further bins take the last one.
BIN_COLOURS = ("#00204D", "#31446B", "#666970", "#958F78", "#CBBA69", "#FFEA46")


def _bin_colour(number: int) -> str:
    return BIN_COLOURS[min(int(number), len(BIN_COLOURS) - 1)]


def _draw_steps(ax, low: float, high: float, n_bins: int) -> None:
    """The bin of one, two and five counts as a function of the cell's total."""
    import numpy as np

    from .corpus_report import bin_of_count

    totals = np.geomspace(low, high, 2000)
    for count, colour, dashes in ((1, "black", "-"), (2, "#009E73", "--"), (5, "#CC79A7", ":")):
        words = f"{count} count{'s' * (count > 1)}"
        bins = bin_of_count(totals, count=count, n_bins=n_bins)
        ax.plot(totals, bins, color=colour, linestyle=dashes, label=words, linewidth=1.8, gid=f"count|{count}")
    ax.set(ylim=(-0.3, n_bins - 0.7), ylabel="bin of the token")
    ax.set_yticks(range(n_bins))


def _draw_totals(ax, ones: pd.DataFrame) -> None:
    """Histogram of totals, stacked by the bin that a count of one has in these cells."""
    import numpy as np

    from .corpus_report import PER_DECADE

    ratio = 10 ** (1 / PER_DECADE)
    lows = np.sort(ones["low"].unique())
    floor = np.zeros(len(lows))
    for number, part in ones.groupby("bin_of_one"):
        share = part.groupby("low")["cells"].sum().reindex(lows, fill_value=0) / ones["cells"].sum()
        style = {"width": lows * (ratio - 1), "align": "edge", "edgecolor": "white", "linewidth": 0.3}
        ax.bar(lows, share, bottom=floor, color=_bin_colour(number), gid=f"bin|{number}", **style)
        floor += share.to_numpy()
    ax.set(xlabel="total counts of the cell", ylabel="share of cells")


@styled
def ones_figure(ones: pd.DataFrame, *, n_bins: int = 6, simulated: bool = False) -> PageFigure:
    """What a count of one becomes: its bin against the cell's total, above how deep the cells are.

    Parameters
    ----------
    ones
        From :func:`~scarafm_utils.corpus_report.ones_table`; optional `tissue` (one panel each).  No
        figure of the paper; it shows why the commonest visible bin of a cell is a strong guess.
    """
    from matplotlib.patches import Patch

    if ones.empty:
        return empty_figure(NOT_TRAINED, simulated=simulated)
    require_columns(ones, ("low", "bin_of_one", "cells"), "ones_figure")
    parts, found = _by_tissue(ones), sorted(ones["bin_of_one"].unique())
    top = 0.32 + 0.2 * -(-(3 + len(found)) // 4)  # below a legend of four columns
    figure = PageFigure(PAGE_WIDTH, top + 3.85)
    above = _panels(figure, list(parts), top=top, height=1.6)
    below = _panels(figure, ["" for _ in parts], top=top + 1.75, height=1.4)
    low, high = ones["low"].min() * 0.8, ones["low"].max() * 1.4
    for upper, lower, part in zip(above, below, parts.values(), strict=True):
        _draw_steps(upper, low, high, n_bins)
        _draw_totals(lower, part)
        upper.set(xlabel="")
        for ax in (upper, lower):
            ax.set(xscale="log", xlim=(low, high))
            ax.grid(axis="y", color="#E4E4E4", linewidth=0.6)
        upper.tick_params(labelbottom=False)
    lines = upper.get_legend_handles_labels()[0]
    bars = [Patch(facecolor=_bin_colour(b), label=f"one count is bin {int(b)}") for b in found]
    legend_row(figure, [*lines, *bars], columns=4)
    return mark_simulated(figure, simulated)


def _draw_confusion(ax, guesses: pd.DataFrame) -> None:
    """Of the hidden tokens of each bin (rows), the share that the encoder takes for each bin."""
    table = guesses.pivot_table(index="bin", columns="guess", values="tokens", aggfunc="sum", sort=False)
    possible = set(map(str, table.index))  # of what is never hidden, only what the encoder guessed is shown
    table = table[[c for c in table if c in possible or table[c].any()]]
    shares = table.div(table.sum(axis=1).where(lambda n: n > 0), axis=0)
    ax.imshow(shares, cmap="cividis", vmin=0, vmax=1, aspect="auto")
    for (i, j), value in _cells_of(shares):
        colour = "black" if value > 0.47 else "white"
        ax.text(j, i, f"{value:.2f}", ha="center", va="center", fontsize=8, color=colour, gid="share")
    ax.set_xticks(range(len(table.columns)), table.columns)
    ax.set_yticks(range(len(table)), [f"{b}\n({n:,})" for b, n in table.sum(axis=1).items()])
    ax.set(xlabel="guess of the encoder", ylabel="hidden bin (tokens)")
    ax.spines[:].set_visible(False)


def _cells_of(table: pd.DataFrame):
    import numpy as np

    return ((place, value) for place, value in np.ndenumerate(table.to_numpy()) if value == value)


def _draw_bin_accuracy(ax, guesses: pd.DataFrame) -> None:
    from .corpus_report import ENCODER, accuracy_by_bin

    table = accuracy_by_bin(guesses).drop(columns="hidden tokens")
    styles = dict(zip(table.columns.drop(ENCODER), BASELINES, strict=False))
    for name, (colour, dashes, marker) in styles.items():
        words = f"guess: {name}"
        ax.plot(table.index, table[name], color=colour, linestyle=dashes, marker=marker, label=words, gid=name)
    own = {"color": VALIDATION, "marker": "s", "linewidth": 2, "label": ENCODER, "gid": ENCODER}
    ax.plot(table.index, table[ENCODER], **own)
    ax.set(ylim=(-0.03, 1.03), xlabel="hidden bin", ylabel="share guessed right")
    ax.set_xticks(table.index)
    ax.grid(axis="y", color="#E4E4E4", linewidth=0.6)


@styled
def bins_figure(guesses: pd.DataFrame, *, simulated: bool = False) -> PageFigure:
    """How well each bin is guessed: the encoder's confusion, and its accuracy beside the three guesses.

    Parameters
    ----------
    guesses
        From :func:`~scarafm_utils.corpus_report.guess_table`; optional `tissue` (one row of panels
        each).  A bin that is never hidden is left empty.  No figure of the paper.
    """
    from .corpus_report import ENCODER

    if guesses.empty:
        return empty_figure(NOT_TRAINED, simulated=simulated)
    require_columns(guesses, ("predictor", "bin", "guess", "tokens"), "bins_figure")
    parts = _by_tissue(guesses.astype({"guess": str}))
    figure = PageFigure(PAGE_WIDTH, 0.55 + 2.75 * len(parts))
    for i, (name, part) in enumerate(parts.items()):
        top = 0.8 + 2.75 * i
        left = figure.panel(0.95, top, 3.3, 1.9)
        left.set_title(name, loc="left", fontweight="bold")
        _draw_confusion(left, part[part["predictor"] == ENCODER])
        right = figure.panel(4.95, top, 3.55, 1.9)
        _draw_bin_accuracy(right, part)
    legend_row(figure, right.get_legend_handles_labels()[0][::-1], columns=2)
    return mark_simulated(figure, simulated)
