"""Figures of units: replicates held out in turn, and contrasts in which there is nothing to find."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import InputError
from .figure_style import (
    GREY,
    PAGE_WIDTH,
    PROTOCOL_COLOURS,
    PROTOCOL_MARKERS,
    PROTOCOLS,
    PageFigure,
    chance_and_ceiling,
    legend_row,
    mark_simulated,
    spread,
    styled,
)
from .figures_bars import TaskLabel, blank

if TYPE_CHECKING:
    import pandas as pd


def _heldout_rows(results: pd.DataFrame) -> pd.DataFrame:
    """Raw values and LR on all training cells: runs with a named held-out replicate, and random splits.

    The first seed stands.  Where no run names what it held out, the replicate task itself stands in.
    """
    rows = results.assign(n_train=results["n_train"].astype(str))
    rows["label"] = rows["label"].fillna("").astype(str) if "label" in rows else "stress"
    rows["held_out"] = rows["held_out"].where(~blank(rows["held_out"]), "").astype(str)
    wanted = {"representation": "raw", "head": "LR", "n_train": "all", "fidelity": "paper"}
    for column, value in wanted.items():
        rows = rows[rows[column] == value] if column in rows else rows
    rows = rows.sort_values("seed", kind="stable") if "seed" in rows else rows
    rows = rows.drop_duplicates(["task", "label", "held_out"])
    named = rows["held_out"].ne("").groupby([rows["task"], rows["label"]]).transform("any")
    shown = rows["protocol"].isin(["random", "replicate"]) & (rows["held_out"].ne("") | ~named)
    return rows[shown]


def _dot(ax, row, y: float, *, protocol: str) -> None:
    """A value with its interval; a hollow diamond for the random split, 'n/a' where there is none."""
    value = float(row["auroc"])
    if value != value:
        ax.text(0.51, y, "n/a", ha="left", va="center", fontsize=8, color=GREY, gid="missing")
        return
    low, high = float(row.get("auroc_low", float("nan"))), float(row.get("auroc_high", float("nan")))
    colour = PROTOCOL_COLOURS[protocol]
    if low == low and high == high:
        ax.plot([low, high], [y, y], color=colour, linewidth=1.2)
    face = colour if protocol == "replicate" else "white"
    marker = "s" if protocol == "replicate" else "D"
    style = {"markerfacecolor": face, "markeredgecolor": colour, "markeredgewidth": 1.3, "markersize": 6.5}
    ax.plot(value, y, marker=marker, gid=f"dot|{protocol}", linestyle="none", **style)


def _heldout_lines(rows: pd.DataFrame) -> list[tuple[str, str, str, object]]:
    """(group, line, protocol, row) from top to bottom: each data set's random split, then each replicate."""
    lines = []
    held = rows[rows["protocol"] == "replicate"]
    for dataset, label in dict.fromkeys(map(tuple, held[["train_dataset", "label"]].to_numpy())):
        group = TaskLabel(f"replicate:{dataset}", label).title.replace("\n", ", ")
        same = rows[(rows["train_dataset"] == dataset) & (rows["label"] == label)]
        for _, row in same[same["protocol"] == "random"].iterrows():
            lines.append((group, "random split", "random", row))
        for _, row in same[same["protocol"] == "replicate"].iterrows():
            lines.append((group, f"{row['held_out'] or 'first replicate'} held out", "replicate", row))
    return lines


@styled
def heldout_figure(results: pd.DataFrame, *, simulated: bool = False) -> PageFigure:
    """AUROC of LR on raw values with each replicate held out in turn, beside the random split.

    The paper holds out the first replicate only.  The unit is the replicate: whiskers are bootstrap
    intervals over cells, conditional on this model and these libraries, and much narrower than what
    another library would show.

    Raises
    ------
    InputError
        If no replicate was held out.
    """
    lines = _heldout_lines(_heldout_rows(results))
    if not lines:
        raise InputError(
            "heldout_figure: no replicate was held out with raw values and LR. Run a replicate task."
        )
    groups = list(dict.fromkeys(group for group, *_ in lines))
    height = 0.27 * len(lines) + 0.35 * len(groups)
    figure = PageFigure(PAGE_WIDTH, height + 1.0)
    ax = figure.panel(2.0, 0.25, PAGE_WIDTH - 2.2, height)
    y, ticks = 0.0, {}
    for i, (group, line, protocol, row) in enumerate(lines):
        if i == 0 or group != lines[i - 1][0]:
            ax.text(-0.01, y + 0.35, group, ha="right", fontweight="bold", transform=ax.get_yaxis_transform())
            y += 1.3
        _dot(ax, row, y, protocol=protocol)
        ticks[y] = line
        y += 1
    chance_and_ceiling(ax, vertical=True)
    ax.set_yticks(list(ticks), list(ticks.values()))
    ax.set(ylim=(y - 0.4, -0.5), xlabel="AUROC (raw values, LR, all training cells)")
    ax.set_xlim(right=1.02)
    ax.grid(axis="x", color="#E4E4E4", linewidth=0.6)
    return mark_simulated(figure, simulated)


@styled
def null_figure(nulls: pd.DataFrame, *, simulated: bool = False) -> PageFigure:
    """AUROC of contrasts in which there is no stress to find; what exceeds 0.5 is carried by the libraries.

    Parameters
    ----------
    nulls
        One row per contrast: `auroc`, `null` (what was contrasted, the line of the figure), optional
        `protocol` (random or replicate; colour and marker).

    Raises
    ------
    InputError
        If a column is missing or no contrast has a value.
    """
    missing = [c for c in ("null", "auroc") if c not in nulls]
    if missing or not nulls["auroc"].notna().any():
        raise InputError(f"null_figure: the table needs {missing[0] if missing else 'values of auroc'}.")
    protocols = nulls["protocol"] if "protocol" in nulls else nulls["null"].map(lambda _: "random")
    table = nulls.assign(protocol=protocols)[nulls["auroc"].notna()]
    kinds = list(dict.fromkeys(table["null"]))
    height = 0.75 * len(kinds) + 0.1
    figure = PageFigure(PAGE_WIDTH, height + 1.15)
    ax = figure.panel(2.6, 0.4, PAGE_WIDTH - 2.8, height)
    for i, kind in enumerate(kinds):
        _draw_nulls(ax, table[table["null"] == kind], i)
    chance_and_ceiling(ax, vertical=True)
    ax.set_yticks(range(len(kinds)), [str(k).replace("_", " ") for k in kinds])
    ax.set(ylim=(len(kinds) - 0.5, -0.5), xlabel="AUROC without any stress to find")
    ax.set_xlim(right=1.02)
    legend_row(figure, _null_handles(set(table["protocol"])))
    return mark_simulated(figure, simulated)


def _draw_nulls(ax, table: pd.DataFrame, y: float) -> None:
    """All contrasts of one kind, a lane per protocol, each with a tick at its mean."""
    present = [p for p in PROTOCOLS if p in set(table["protocol"])]
    for lane, protocol in zip(spread(len(present), 0.44), present, strict=True):
        values = table.loc[table["protocol"] == protocol, "auroc"]
        style = {"color": PROTOCOL_COLOURS[protocol], "marker": PROTOCOL_MARKERS[protocol], "alpha": 0.7}
        heights = [y + lane + d for d in spread(len(values), 0.14)]
        ax.plot(values, heights, linestyle="none", markersize=5, gid=f"nulls|{protocol}", **style)
        ax.plot([values.mean()] * 2, [y + lane - 0.14, y + lane + 0.14], color="black", linewidth=1.8)


def _null_handles(protocols: set[str]) -> list:
    from matplotlib.lines import Line2D

    looks = {
        p: {"marker": PROTOCOL_MARKERS[p], "color": PROTOCOL_COLOURS[p]} for p in PROTOCOLS if p in protocols
    }
    handles = [Line2D([], [], linestyle="none", label=PROTOCOLS[p], **look) for p, look in looks.items()]
    return [*handles, Line2D([], [], color="black", linewidth=1.8, label="mean")]
