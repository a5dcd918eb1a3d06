"""Figures of units: replicates held out in turn, and contrasts in which there is nothing to find."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import InputError
from .figure_rows import TaskLabel, main_fidelity, shown_columns, task_words, with_text_keys
from .figure_style import (
    GREY,
    NARROW_WIDTH,
    NO_WAY_ROUND,
    PAGE_WIDTH,
    PROTOCOL_COLOURS,
    PROTOCOL_MARKERS,
    PageFigure,
    below_chance,
    chance_and_ceiling,
    empty_figure,
    legend_row,
    mark_simulated,
    readable_ticks,
    spread,
    styled,
)

if TYPE_CHECKING:
    import pandas as pd


#: What a mark of `heldout_figure` says: its text, the protocol that gives colour and marker, filled.
KINDS = {
    "random": ("random split", "random", True),
    "replicate": ("held out", "replicate", True),
    "cross": ("another study", "cross", True),
    "matched random": ("random split, matched", "random", False),
    "matched replicate": ("held out, matched", "replicate", False),
}
#: Kinds of one line lie in lanes of their own, lest whiskers lie over each other; a line is 1 high.
LANE = 0.2
HOLLOW = (
    "Hollow circles and squares of one line are tested on the same cells of that unit after training on equally "
    "many: circles with other cells of the unit among them, squares with none."
)
#: Inches that a letter of a line's name is wide.
LETTER = 0.075


def _one_model(results: pd.DataFrame) -> pd.DataFrame:
    """Rows of raw values with LR on all training cells, or else of the first model of the table."""
    rows = with_text_keys(results)
    rows = rows.assign(kind=rows["protocol"])
    if "fidelity" in rows:
        rows["kind"] = rows["kind"].mask(rows["fidelity"] == "matched", "matched " + rows["protocol"])
        main = main_fidelity(rows[rows["fidelity"] != "matched"])["fidelity"].iloc[:1]
        rows = rows[rows["fidelity"].isin(["matched", *main])]
    raw = rows[(rows["representation"] == "raw") & (rows["head"] == "LR")]
    rows = raw if len(raw) else rows
    for column in ("representation", "head"):
        rows = rows[rows[column] == rows[column].iloc[0]] if len(rows) else rows
    sizes = set(rows["n_train"])
    largest = "all" if "all" in sizes else max(sizes, key=int, default="all")
    return rows[rows["n_train"] == largest].sort_values("seed", kind="stable")


def _line_name(row) -> str:
    if row["protocol"] == "cross":
        return f"tested on {row['test_dataset']}"
    if row["held_out"]:
        return f"{row['held_out']} held out"
    return "random split" if row["protocol"] == "random" else "first replicate held out"


def _heldout_lines(rows: pd.DataFrame) -> pd.DataFrame:
    """Add `group` (training data set and label) and `line` (what was tested); sort for drawing."""
    named = rows["held_out"].ne("").groupby([rows["task"], rows["label"]]).transform("any")
    rows = rows[(rows["protocol"] != "replicate") | rows["held_out"].ne("") | ~named]
    labels = zip(rows["train_dataset"], rows["label"], strict=True)
    rows = rows.assign(
        group=[TaskLabel(f"random:{name}", label).title.replace("\n", ", ") for name, label in labels],
        line=[_line_name(row) for _, row in rows.iterrows()],
    )
    rows = rows.assign(place=rows["kind"].map(list(KINDS).index))
    return rows.sort_values(["group", "place"], kind="stable")


def _draw_unit(ax, rows: pd.DataFrame, y: float) -> None:
    """All runs on one line, a lane for each kind: a mark per seed, the interval of the first one."""
    if rows["auroc"].isna().all():
        where = {"transform": ax.get_yaxis_transform(), "ha": "left", "va": "center", "gid": "missing"}
        ax.text(0.01, y, "n/a", fontsize=8, color=GREY, **where)
    parts = rows[rows["auroc"].notna()].groupby("kind", sort=False)
    lanes = spread(parts.ngroups, LANE * (parts.ngroups - 1))
    for lane, (kind, part) in zip(lanes, parts, strict=True):
        _, protocol, filled = KINDS[kind]
        colour, at = PROTOCOL_COLOURS[protocol], y + lane
        if {"auroc_low", "auroc_high"} <= set(part):
            low, high = part["auroc_low"].iloc[0], part["auroc_high"].iloc[0]
            ax.hlines(at, low, high, color=colour, linewidth=1.2, zorder=1.5, gid=f"whisker|{kind}")
        style = {"markerfacecolor": colour if filled else "white", "markeredgecolor": colour}
        marks = {"marker": PROTOCOL_MARKERS[protocol], "markersize": 6, "markeredgewidth": 1.3, "alpha": 0.85}
        ax.plot(part["auroc"], [at] * len(part), linestyle="none", gid=f"dot|{kind}", **style, **marks)


def _unit_handles(kinds: set[str]) -> list:
    from matplotlib.lines import Line2D

    handles = []
    for text, protocol, filled in (KINDS[kind] for kind in KINDS if kind in kinds):
        colour = PROTOCOL_COLOURS[protocol]
        face = {
            "markerfacecolor": colour if filled else "white",
            "markeredgecolor": colour,
            "markersize": 6.5,
        }
        marker = PROTOCOL_MARKERS[protocol]
        handles.append(Line2D([], [], linestyle="none", marker=marker, label=text, **face))
    return handles


def _draw_groups(ax, rows: pd.DataFrame) -> None:
    """Lines from top to bottom under the name of their group; ticks name the lines."""
    y, ticks = 0.0, {}
    for group, members in rows.groupby("group", sort=False):
        where = {"ha": "right", "fontweight": "bold", "transform": ax.get_yaxis_transform()}
        ax.text(-0.01, y + 0.35, group, gid="task", **where)
        y += 1.3
        for line, runs in members.groupby("line", sort=False):
            _draw_unit(ax, runs, y)
            ticks[y] = line
            y += 1
    ax.set_yticks(list(ticks), list(ticks.values()))
    ax.set_ylim(y - 0.4, -0.5)


@styled
def heldout_figure(results: pd.DataFrame, *, simulated: bool = False) -> PageFigure:
    """AUROC of LR on raw values for each held-out unit and seed, beside the random split.

    The paper holds out the first replicate only and has one seed.  The unit is the replicate: whiskers
    are bootstrap intervals over cells of the first seed, conditional on this model and these libraries,
    and much narrower than what another library would show.  Hollow marks are rows of ``fidelity: matched``:
    both protocols tested on the same cells of that unit after training on equally many cells.  A table
    without LR on raw values shows its first model instead.  A table of one training data set gives a figure
    narrow enough for a phone.

    Raises
    ------
    InputError
        If the table has no row.
    """
    rows = _heldout_lines(_one_model(results))
    if rows.empty:
        raise InputError("heldout_figure: the table has no row. Run a task first.")
    figure, ax = _heldout_panel(rows)
    figure.data = shown_columns(rows)
    _draw_groups(ax, rows)
    chance_and_ceiling(ax, vertical=True)
    first = rows.iloc[0]
    model = f"{first['representation']}, {first['head']}"
    cells = "all training cells" if first["n_train"] == "all" else f"{first['n_train']} training cells"
    hollow = HOLLOW if rows["kind"].str.startswith("matched").any() else ""
    equal = "; hollow: equally many" if hollow else ""
    ax.set_xlabel(f"AUROC ({model}, {cells}{equal})", loc="right" if hollow else "center")
    ax.set_xlim(right=1.02)
    ax.grid(axis="x", color="#E4E4E4", linewidth=0.6)
    figure.remark = " ".join(filter(None, [task_words(rows), hollow, below_chance(rows["auroc"])]))
    readable_ticks(ax)
    return mark_simulated(figure, simulated)


def _heldout_panel(rows: pd.DataFrame):
    """The figure and its axes: narrow for one group, with a legend where there is more than one kind of mark."""
    lines = rows[["group", "line"]].drop_duplicates()
    handles = _unit_handles(set(rows["kind"]))
    columns = 2 if len(handles) > 3 else len(handles)
    top = 0.2 + 0.2 * -(-len(handles) // columns) if len(handles) > 1 else 0.12
    pitch = 0.34 if rows.groupby(["group", "line"])["kind"].nunique().max() < 3 else 0.42
    height = pitch * (len(lines) + 1.3 * lines["group"].nunique())
    width = PAGE_WIDTH if lines["group"].nunique() > 1 else NARROW_WIDTH
    figure = PageFigure(width, height + top + 0.75)
    if len(handles) > 1:
        legend_row(figure, handles, columns=columns)
    left = 0.25 + LETTER * max(len(text) for text in (*rows["line"], *rows["group"]))
    return figure, figure.panel(left, top, width - left - 0.2, height)


#: Lines of `null_figure` and what stands beside a mark.
CONTRASTS = {
    "library": "one library against another\nof one condition, where known",
    "permuted": "a made-up condition\nover the libraries",
}
NULL_SPLITS = {
    "random": ("random split", "random"),
    "held-out pair": ("one library of each side held out", "replicate"),
}


@styled
def null_figure(nulls: pd.DataFrame, *, simulated: bool = False) -> PageFigure:
    """AUROC of contrasts in which there is no stress to find; what exceeds 0.5 is carried by the libraries.

    Parameters
    ----------
    nulls
        ``tables/nulls.csv``: one row per contrast with `contrast`, `protocol` and `auroc`.  Rows marked
        `is_true` (the partition that is the condition itself) are drawn hollow and left out of the mean.
        Without any value the figure says so.

    Raises
    ------
    InputError
        If a column is missing.
    """
    missing = [c for c in ("contrast", "protocol", "auroc") if c not in nulls]
    if missing:
        raise InputError(f"null_figure: the table needs {missing[0]}.")
    if not nulls["auroc"].notna().any():
        return empty_figure("a null contrast needs two libraries of one condition", simulated=simulated)
    table = nulls[nulls["auroc"].notna()]
    true = table["is_true"].astype(bool) if "is_true" in table else table["auroc"].isna()
    table = table.assign(is_true=true)
    kinds = list(dict.fromkeys(table["contrast"]))
    height = 0.85 * len(kinds) + 0.1
    figure = PageFigure(PAGE_WIDTH, height + 1.15)
    figure.data = table
    ax = figure.panel(2.2, 0.4, PAGE_WIDTH - 2.4, height)
    for i, kind in enumerate(kinds):
        _draw_nulls(ax, table[table["contrast"] == kind], i)
    chance_and_ceiling(ax, vertical=True)
    ax.set_yticks(range(len(kinds)), [CONTRASTS.get(kind, str(kind)) for kind in kinds])
    ax.set(ylim=(len(kinds) - 0.5, -0.5), xlabel="AUROC")
    ax.set_xlim(right=1.02)
    legend_row(figure, _null_handles(table))
    hollow = "Hollow marks are the condition itself, and are left out of the mean." if true.any() else ""
    below = below_chance(table.loc[~true, "auroc"], "null contrasts", why=NO_WAY_ROUND)
    figure.remark = " ".join(filter(None, [hollow, below]))
    readable_ticks(ax)
    return mark_simulated(figure, simulated)


def _draw_nulls(ax, table: pd.DataFrame, y: float) -> None:
    """All contrasts of one kind, a lane for each way to split, each with a bar at its mean."""
    present = [split for split in NULL_SPLITS if split in set(table["protocol"])]
    for lane, split in zip(spread(len(present), 0.44), present, strict=True):
        rows = table[table["protocol"] == split].reset_index(drop=True)
        protocol = NULL_SPLITS[split][1]
        style = {"marker": PROTOCOL_MARKERS[protocol], "markeredgecolor": PROTOCOL_COLOURS[protocol]}
        heights = [y + lane + offset for offset in spread(len(rows), 0.16)]
        for true, face in ((False, PROTOCOL_COLOURS[protocol]), (True, "white")):
            shown = rows[rows["is_true"] == true]
            where = [heights[i] for i in shown.index]
            marks = {"linestyle": "none", "markersize": 5, "markerfacecolor": face, "alpha": 0.75}
            ax.plot(shown["auroc"], where, gid=f"nulls|{split}|{true}", **style, **marks)
        mean = rows.loc[~rows["is_true"], "auroc"].mean()
        ax.plot([mean, mean], [y + lane - 0.16, y + lane + 0.16], color="black", linewidth=1.8, gid="mean")


def _null_handles(table: pd.DataFrame) -> list:
    from matplotlib.lines import Line2D

    handles = []
    for split, (text, protocol) in NULL_SPLITS.items():
        if split in set(table["protocol"]):
            look = {"marker": PROTOCOL_MARKERS[protocol], "color": PROTOCOL_COLOURS[protocol]}
            handles.append(Line2D([], [], linestyle="none", label=text, **look))
    if table["is_true"].any():
        hollow = {"markerfacecolor": "white", "markeredgecolor": GREY, "marker": "o"}
        handles.append(Line2D([], [], linestyle="none", label="the condition itself", **hollow))
    return [*handles, Line2D([], [], color="black", linewidth=1.8, label="mean")]
