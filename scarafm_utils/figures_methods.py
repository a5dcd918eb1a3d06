"""Drawings of methods: the three protocols (Figure 1) and the encoder."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .figure_style import GREY, PAGE_WIDTH, PROTOCOLS, PageFigure, styled

CONTROL, STRESS = "#56B4E9", "#D55E00"
EXPERIMENT_FILL, REPLICATE_FILL = "#F4F4F4", "#FFFFFF"


@dataclass(frozen=True)
class Cell:
    """One cell of the schematic: where it lies (inches), its class and its side of the split."""

    x: float
    y: float
    stressed: bool
    test: bool


def _rounded(ax, x: float, y: float, width: float, height: float, **settings):
    from matplotlib.patches import FancyBboxPatch

    defaults = {"facecolor": "white", "edgecolor": "#8A8A8A", "linewidth": 0.9}
    box = FancyBboxPatch(
        (x, y), width, height, boxstyle="round,pad=0,rounding_size=0.07", **(defaults | settings)
    )
    return ax.add_patch(box)


def _arrow(ax, start: tuple[float, float], end: tuple[float, float], **settings):
    defaults = {"arrowstyle": "-|>", "color": GREY, "linewidth": 1.2, "shrinkA": 0, "shrinkB": 0}
    return ax.annotate("", xy=end, xytext=start, arrowprops=defaults | settings)


def _canvas(width: float, height: float) -> tuple[PageFigure, object]:
    """A figure and one axes without frame that covers it, in inches from the lower left corner."""
    figure = PageFigure(width, height)
    ax = figure.panel(0, 0, width, height)
    ax.set(xlim=(0, width), ylim=(0, height))
    ax.axis("off")
    return figure, ax


def _draw_cell(ax, cell: Cell) -> None:
    """Circle = control, triangle = stressed; filled = training, hollow = test."""
    colour = STRESS if cell.stressed else CONTROL
    face = "white" if cell.test else colour
    marker = "^" if cell.stressed else "o"
    side = "test" if cell.test else "train"
    style = {"markersize": 6.5, "markeredgewidth": 1.4, "markeredgecolor": colour, "markerfacecolor": face}
    ax.plot(cell.x, cell.y, marker=marker, linestyle="none", gid=f"cell|{side}", **style)


def _replicate(ax, x: float, y: float, name: str, test: list[bool], *, size: tuple[float, float]) -> None:
    """A replicate with two rows of controls and two of stressed cells; `test` has one entry per cell."""
    width, height = size
    _rounded(ax, x, y, width, height, facecolor=REPLICATE_FILL, linewidth=0.7)
    ax.text(x + width / 2, y + height - 0.05, name, ha="center", va="top", fontsize=8, color=GREY)
    columns = len(test) // 4
    for i, held in enumerate(test):
        row, column = divmod(i, columns)
        place = x + width * (column + 0.5) / columns, y + 0.13 + 0.19 * (3 - row)
        _draw_cell(ax, Cell(*place, stressed=row >= 2, test=held))


def _experiment(ax, x: float, y: float, name: str, replicates: dict, *, width: float) -> None:
    """An experiment: a rounded box with its replicates (name: which cells are test cells) side by side."""
    height, margin = 1.33, 0.08
    _rounded(ax, x, y, width, height, facecolor=EXPERIMENT_FILL)
    ax.text(x + width / 2, y + height - 0.05, name, ha="center", va="top", fontsize=8.5, fontweight="bold")
    each = (width - margin * (len(replicates) + 1)) / len(replicates)
    for i, (label, test) in enumerate(replicates.items()):
        left = x + margin + i * (each + margin)
        _replicate(ax, left, y + margin, label, test, size=(each, 1.0))


def _scattered(n: int, share: float, seed: int) -> list[bool]:
    """Test cells drawn at random, equally many of each class (the first half are controls)."""
    import numpy as np

    rng = np.random.default_rng(seed)
    test = np.zeros(n, dtype=bool)
    for start in (0, n // 2):
        test[start + rng.permutation(n // 2)[: round(share * n / 2)]] = True
    return test.tolist()


def _draw_random(ax, left: float, y: float, width: float) -> None:
    halves = {f"replicate {i + 1}": _scattered(12, 1 / 3, seed=i) for i in range(2)}
    _experiment(ax, left, y, "experiment A", halves, width=width)


def _draw_replicate(ax, left: float, y: float, width: float) -> None:
    halves = {"replicate 1": [True] * 12, "replicate 2": [False] * 12}
    _experiment(ax, left, y, "experiment A", halves, width=width)


def _draw_cross(ax, left: float, y: float, width: float) -> None:
    half = (width - 0.14) / 2
    _experiment(ax, left, y, "experiment A", {"all cells": [False] * 12}, width=half)
    _experiment(ax, left + half + 0.14, y, "experiment B", {"all cells": [True] * 12}, width=half)


#: What training and test cells still share, protocol by protocol.
SHARED = {
    "random": "train and test share\nlibrary, replicate and experiment",
    "replicate": "train and test share\nthe experiment only",
    "cross": "train and test share\nonly the name of the stress",
}


def _legend(figure: PageFigure) -> None:
    from matplotlib.lines import Line2D

    def entry(stressed: bool, test: bool, label: str):
        colour = STRESS if stressed else CONTROL
        style = {"markeredgecolor": colour, "markerfacecolor": "white" if test else colour}
        marker = "^" if stressed else "o"
        return Line2D([], [], linestyle="none", marker=marker, markersize=7, label=label, **style)

    handles = [
        entry(False, False, "control, training"),
        entry(False, True, "control, test"),
        entry(True, False, "stressed, training"),
        entry(True, True, "stressed, test"),
    ]
    figure.legend(handles=handles, loc="lower center", ncols=4, columnspacing=2, handletextpad=0.3)


@styled
def protocol_schematic() -> PageFigure:
    """Figure 1: the three evaluation protocols, with increasing resistance to study-specific confounders.

    Circles are control cells, triangles stressed ones; filled cells train, hollow cells test.  Under each
    protocol stands what the two sides share.  Drawn from the caption; nothing in it comes from data.
    """
    figure, ax = _canvas(PAGE_WIDTH, 3.15)
    draw = {"random": _draw_random, "replicate": _draw_replicate, "cross": _draw_cross}
    width, gap = 2.66, 0.21
    for i, (protocol, title) in enumerate(PROTOCOLS.items()):
        left = 0.1 + i * (width + gap)
        middle = left + width / 2
        ax.text(middle, 2.98, title, ha="center", va="top", fontsize=10.5, fontweight="bold", gid="protocol")
        draw[protocol](ax, left, 1.37, width)
        ax.text(middle, 1.28, SHARED[protocol], ha="center", va="top", fontsize=8.5, linespacing=1.35)
    _arrow(ax, (0.2, 0.66), (PAGE_WIDTH - 0.2, 0.66), linewidth=1.6)
    text = "increasing resistance to study-specific confounders"
    box = {"facecolor": "white", "edgecolor": "none", "pad": 3}
    ax.text(PAGE_WIDTH / 2, 0.66, text, ha="center", va="center", fontsize=9, style="italic", bbox=box)
    _legend(figure)
    return figure


def _block(ax, x: float, y: float, width: float, text: str, *, fill: str = "white", height: float = 0.42):
    _rounded(ax, x, y, width, height, facecolor=fill)
    ax.text(x + width / 2, y + height / 2, text, ha="center", va="center", fontsize=8.5, linespacing=1.25)


def _attention_name(config: dict) -> str:
    if config.get("attention", "performer") == "softmax":
        return "softmax attention"
    features = config.get("nb_features") or int(config["dim_head"] * math.log(config["dim_head"]))
    return f"FAVOR+ attention\n{features} random features"


def _draw_inputs(ax, config: dict) -> None:
    genes = f"{config['n_genes']:,} genes" if config.get("n_genes") else "G genes"
    bins = config.get("n_bins", 6)
    _block(ax, 0.1, 2.05, 1.75, f"expression bins\n{bins} bins, MASK, extra token", fill="#DCEBF7")
    _block(ax, 0.1, 0.75, 1.75, f"{genes} in order\n+ 1 extra token", fill="#DCEBF7")
    dim = config["dim"]
    _block(ax, 2.15, 2.05, 1.45, f"token embedding\n{dim} numbers", fill="#FCE8D5")
    frozen = "frozen" if config.get("gene_emb", "frozen") == "frozen" else "learned"
    _block(ax, 2.15, 0.75, 1.45, f"gene embedding\n{dim} numbers, {frozen}", fill="#FCE8D5")
    for y in (2.26, 0.96):
        _arrow(ax, (1.85, y), (2.15, y))
    line = {"color": GREY, "linewidth": 1.2}
    ax.plot([2.875, 2.875], [1.17, 1.45], **line)
    ax.plot([2.875, 2.875], [1.77, 2.05], **line)
    ax.text(2.875, 1.6, "+", ha="center", va="center", fontsize=16)


def _draw_block_stack(ax, config: dict) -> None:
    """The encoder block, drawn once, with the number of repetitions beside it."""
    _rounded(ax, 4.0, 0.17, 2.15, 2.68, facecolor="#F4F4F4")
    inner = f"{config['heads']} heads of {config['dim_head']}"
    _block(ax, 4.15, 2.25, 1.85, "LayerNorm", height=0.3)
    _block(ax, 4.15, 1.6, 1.85, f"{_attention_name(config)}\n{inner}", fill="#E3F3EC", height=0.55)
    _block(ax, 4.15, 1.05, 1.85, "LayerNorm", height=0.3)
    feed = f"feed-forward, GELU\n{config['dim']} to {4 * config['dim']} and back"
    _block(ax, 4.15, 0.45, 1.85, feed, fill="#E3F3EC")
    note = "each half is added to what entered it"
    ax.text(5.075, 0.4, note, ha="center", va="top", fontsize=7.5, color=GREY, style="italic")
    where = {"ha": "center", "va": "top", "fontsize": 9, "fontweight": "bold"}
    ax.text(5.075, 2.8, f"encoder block \N{MULTIPLICATION SIGN} {config['depth']}", gid="depth", **where)
    for start, end in ((2.25, 2.15), (1.6, 1.35), (1.05, 0.87)):
        _arrow(ax, (5.075, start), (5.075, end))
    _arrow(ax, (3.05, 1.61), (4.0, 1.61))


def _draw_outputs(ax, config: dict) -> None:
    _arrow(ax, (6.15, 1.61), (6.45, 1.61))
    n_ids = config.get("n_bins", 6) + 2
    guess = f"pretraining: linear to {n_ids} ids,\nguess the masked bins"
    _block(ax, 6.45, 2.05, 2.05, guess, fill="#F7E3EF")
    hidden = f"LayerNorm, then {config['dim']} numbers\nper gene and extra token"
    _block(ax, 6.45, 1.38, 2.05, hidden, fill="#FFF9D9", height=0.46)
    readout = "extra token: CLS\nweighted mean over genes: WM\nall genes: ENS, PCA, CNN"
    _block(ax, 6.45, 0.42, 2.05, readout, fill="#F7E3EF", height=0.64)
    _arrow(ax, (7.475, 1.84), (7.475, 2.05))
    _arrow(ax, (7.475, 1.38), (7.475, 1.06))


@styled
def architecture_figure(config: dict) -> PageFigure:
    """The encoder of section 2 as this run used it: numbers come from its own configuration.

    Parameters
    ----------
    config
        `dim`, `depth`, `heads`, `dim_head`; optional `n_bins`, `attention`, `gene_emb`, `n_genes`
        (vocabulary size) and `nb_features` (without it the model's own default is shown).  The paper
        draws no such figure; scBERT's shape is described in its text.
    """
    import pandas as pd

    figure, ax = _canvas(PAGE_WIDTH, 3.1)
    figure.data = pd.DataFrame(list(config.items()), columns=["setting", "value"])
    _draw_inputs(ax, config)
    _draw_block_stack(ax, config)
    _draw_outputs(ax, config)
    return figure
