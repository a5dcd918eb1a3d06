"""One function per figure: a tidy table goes in, a matplotlib Figure comes out.

Every function names the figure of the paper it redraws.  What a table does not hold is drawn as
missing (a hatched ``n/a`` at the axis), never as 0.  This module holds the figures that compare
protocols and metrics; those in the paper's own shape stand in `figures_bars` and `figures_scaling`, units
and nulls in `figures_units`, claims and comparisons in `figures_claims`, data in `figures_data`,
pretraining in `figures_pretraining`, cells in two dimensions in `figures_maps`, drawings in
`figures_methods`.  All of them can be had from here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import InputError
from .figure_rows import fullest_size, main_fidelity, paper_rows, shown_columns
from .figure_style import (
    COLOURS,
    CONSERVING,
    GREY,
    MARKERS,
    PAGE_WIDTH,
    POOLED,
    PROTOCOL_COLOURS,
    PROTOCOL_MARKERS,
    PROTOCOLS,
    PageFigure,
    below_chance,
    chance_and_ceiling,
    figure_bytes,
    legend_row,
    mark_simulated,
    spread,
    styled,
)
from .figures_bars import leaf_figure, note_size, root_figure, task_figure
from .figures_claims import claim_figure, comparison_figure
from .figures_data import hvg_overlap_figure, qc_figure, vocabulary_figure
from .figures_maps import map_figure
from .figures_methods import architecture_figure, protocol_schematic
from .figures_pretraining import accuracy_figure, bins_figure, loss_figure, ones_figure
from .figures_scaling import scaling_figure
from .figures_units import heldout_figure, null_figure
from .figures_worlds import likeness_figure, worlds_figure
from .words import number_text

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "accuracy_figure",
    "architecture_figure",
    "bins_figure",
    "claim_figure",
    "comparison_figure",
    "figure_bytes",
    "heldout_figure",
    "hvg_overlap_figure",
    "leaf_figure",
    "likeness_figure",
    "loss_figure",
    "map_figure",
    "metric_figure",
    "null_figure",
    "ones_figure",
    "protocol_gradient",
    "protocol_schematic",
    "qc_figure",
    "root_figure",
    "scaling_figure",
    "task_figure",
    "vocabulary_figure",
    "worlds_figure",
]

#: The two families of the paper's message: members, offset from the protocol's place, colour, hatch.
FAMILIES = {
    "gene identity preserved": (CONSERVING, -0.2, "#D55E00", ""),
    "pooled": (POOLED, 0.2, "#CC79A7", "////"),
}

POINT = {"linestyle": "none", "markersize": 5, "markeredgecolor": "#2B2B2B", "markeredgewidth": 0.4}


def _violin(ax, x: float, values: pd.Series, colour: str, hatch: str) -> None:
    if values.nunique() < 3:
        return
    body = ax.violinplot([values], positions=[x], widths=0.34, showextrema=False)["bodies"][0]
    body.set(facecolor=colour, edgecolor=colour, alpha=0.28, linewidth=0.8, hatch=hatch)


def _draw_family(ax, rows: pd.DataFrame, family: str) -> None:
    """Violins of one family through the protocols, every run a point, a dashed line through the means."""
    members, offset, colour, hatch = FAMILIES[family]
    mine = rows[rows["representation"].isin(members) & rows["auroc"].notna()]
    means = {}
    for i, protocol in enumerate(PROTOCOLS):
        here = mine[mine["protocol"] == protocol].sort_values(["representation", "head"])
        x = i + offset
        if here.empty:
            ax.text(x, 0.04, "n/a", transform=ax.get_xaxis_transform(), ha="center", fontsize=8, color=GREY)
            continue
        _violin(ax, x, here["auroc"], colour, hatch)
        for dx, (_, row) in zip(spread(len(here), 0.2), here.iterrows(), strict=True):
            name = row["representation"]
            ax.plot(x + dx, row["auroc"], color=COLOURS[name], marker=MARKERS[name], **POINT)
        means[x] = here["auroc"].mean()
    style = {"color": colour, "linestyle": "--", "linewidth": 1.6, "zorder": 1, "gid": f"trend|{family}"}
    ax.plot(list(means), list(means.values()), **style)


def _gradient_handles() -> list:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    families = [
        Patch(facecolor=colour, alpha=0.4, hatch=hatch, label=name)
        for name, (_, _, colour, hatch) in FAMILIES.items()
    ]
    members = (*CONSERVING, *POOLED)
    points = [Line2D([], [], color=COLOURS[n], marker=MARKERS[n], label=n, **POINT) for n in members]
    return [*families, *points]


@styled
def protocol_gradient(
    results: pd.DataFrame, *, dataset: str, n_train: str | int | None = None, simulated: bool = False
) -> PageFigure:
    """One data set through the three protocols: methods that keep gene identity against pooled ones.

    The further panel of the released code for Figure 2 (it follows GSE273033): ENS, PCA and CNN against
    WM and CLS, as paired violins with a dashed line through the means.  A violin describes heads and
    representations, not repeated experiments; its points are drawn, and under three values only they are.

    Parameters
    ----------
    results
        Tidy results.
    dataset
        Training data set; with `cross` it is the source.  A protocol without a run of it shows n/a.
    """
    rows = paper_rows(results, n_train=None)
    rows = rows[rows["train_dataset"] == dataset]
    if len(rows):
        rows = rows[rows["n_train"] == fullest_size(rows, n_train)]
    figure = PageFigure(PAGE_WIDTH, 3.9)
    figure.data = shown_columns(rows[rows["representation"].isin([*CONSERVING, *POOLED])])
    others = ", ".join(dict.fromkeys(rows.loc[rows["protocol"] == "cross", "test_dataset"]))
    tested = f"The cross-experiment split tests on {others}." if others else ""
    figure.remark = " ".join(filter(None, [tested, below_chance(figure.data["auroc"])]))
    ax = figure.panel(0.65, 0.75, PAGE_WIDTH - 0.8, 2.55)
    for family in FAMILIES:
        _draw_family(ax, rows, family)
    chance_and_ceiling(ax)
    low = min([0.45, *(rows["auroc"].dropna() - 0.03)])
    ax.set(xlim=(-0.55, 2.55), ylim=(low, 1.04), ylabel="AUROC")
    ax.set_xticks(range(3), PROTOCOLS.values())
    ax.set_title(f"trained on {dataset}", loc="left", fontweight="bold")
    legend_row(figure, _gradient_handles(), columns=5)
    note_size(figure, rows["n_train"].iloc[0] if len(rows) else "all")
    return mark_simulated(figure, simulated)


def _metric_label(protocol: str, rows: pd.DataFrame) -> str:
    loss = 100 * (rows["auroc"] - rows["auroc_hard"]).mean()
    return f"{PROTOCOLS[protocol]} (n = {len(rows):,}, mean loss {number_text(loss, 1)} points)"


@styled
def metric_figure(results: pd.DataFrame, *, simulated: bool = False) -> PageFigure:
    """AUROC from scores against the same quantity from hard labels, one point per row of the table.

    The released figures use hard labels, where a moved threshold counts as lost ranking; the text says
    AUROC.  Points on the line lose nothing.  Rows without both values and rows of another `fidelity` than
    the table's main one are left out; controls and all training sizes count.

    Raises
    ------
    InputError
        If no row has both values.
    """
    rows = main_fidelity(results)
    rows = rows[rows["auroc"].notna() & rows["auroc_hard"].notna()]
    if rows.empty:
        raise InputError("metric_figure: no row has both auroc and auroc_hard. Run some tasks first.")
    figure = PageFigure(5.6, 5.9)
    figure.data, figure.remark = shown_columns(rows), below_chance(rows["auroc"])
    ax = figure.panel(0.75, 0.8, 4.5, 4.5)
    low = min(0.45, float(rows[["auroc", "auroc_hard"]].min().min()) - 0.03)
    ax.plot([low, 1.02], [low, 1.02], color="black", linewidth=0.9, linestyle=":", gid="identity")
    for protocol, colour in PROTOCOL_COLOURS.items():
        mine = rows[rows["protocol"] == protocol]
        if len(mine):
            style = POINT | {"markeredgecolor": "white", "marker": PROTOCOL_MARKERS[protocol], "alpha": 0.75}
            style |= {"color": colour, "label": _metric_label(protocol, mine), "gid": f"points|{protocol}"}
            ax.plot(mine["auroc"], mine["auroc_hard"], **style)
    ax.set(xlim=(low, 1.02), ylim=(low, 1.02), xlabel="AUROC from scores", ylabel="AUROC from hard labels")
    ax.set_aspect("equal")
    ax.grid(color="#E4E4E4", linewidth=0.6)
    legend_row(figure, ax.get_legend_handles_labels()[0], columns=1)
    return mark_simulated(figure, simulated)
