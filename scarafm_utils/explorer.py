"""The explorer: every result of a profile's grid on one page, to filter, draw, and follow to its run.

The page carries its data and its chart inside itself and needs no network; without JavaScript the
table stands, and nothing else is shown.  Vega-Altair makes the chart, Vega draws it.
"""

from __future__ import annotations

import math
from html import escape
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from .explorer_data import NUMBERS, data_element, decimals_of, explorer_data, text_of, with_pages
from .figure_rows import main_fidelity
from .files import write_csv, write_text
from .result_tables import read_results
from .tidy import caption_notice, page_notice
from .words import FIDELITIES, number_text
from .workspace import Workspace

if TYPE_CHECKING:
    import pandas as pd

#: Metrics as the page calls them, and the value that guessing has where it is the same for every test set.
METRIC_NAMES = {
    "auroc": "AUROC, from scores",
    "auroc_hard": "AUROC of hard labels",
    "auprc": "AUPRC (average precision)",
    "balanced_accuracy": "balanced accuracy",
    "mcc": "Matthews correlation",
    "f1_macro": "macro F1",
    "brier": "Brier score (lower is better)",
    "ece": "calibration error, ECE (lower is better)",
}
CHANCE = {"auroc": 0.5, "auroc_hard": 0.5, "mcc": 0.0}

#: Columns of the page's table, with their headings; the address of a run's page stands under its task.  What
#: is the same in most rows comes last, where a narrow screen has to slide for it.
TABLE = {
    "task": "run", "representation": "representation", "head": "head", "n_train": "training cells",
    "auroc": "AUROC (95 % interval)", "protocol": "protocol", "auroc_hard": "AUROC, hard labels", "auprc": "AUPRC",
    "balanced_accuracy": "balanced accuracy", "mcc": "MCC", "f1_macro": "macro F1", "brier": "Brier", "ece": "ECE",
    "n_test": "test cells", "held_out": "held out", "seed": "seed", "label": "label", "fidelity": "fidelity",
    "tuning": "tuning", "vote": "vote of ENS", "fit_seconds": "fit (s)", "peak_memory_mb": "peak (MB)",
}  # fmt: skip

#: What can be filtered by; a row is of a data set that it trains or tests on.  The last four need a choice to exist.
FILTERS = {
    "tissue": "Tissue", "protocol": "Protocol", "dataset": "Data set", "task": "Run",
    "representation": "Representation", "head": "Head", "n_train": "Training cells", "label": "Label",
    "fidelity": "Fidelity", "tuning": "Tuning", "vote": "Vote of ENS",
}  # fmt: skip
OPTIONAL = ("label", "fidelity", "tuning", "vote")
#: What tells two results of a run apart where it differs, and is not said where it is always the same.
RARE = ("label", "tuning", "vote")
ROWS = {"representation": "representation", "protocol": "protocol", "test_dataset": "tested on",
        "head": "head", "n_train": "training cells", "tissue": "tissue"}  # fmt: skip
COLOURS = {"protocol": "protocol", "head": "head", "n_train": "training cells", "tissue": "tissue"}
#: What pointing at a dot shows.
HOVER = {
    "task": "run", "representation": "representation", "head": "head", "n_train": "training cells",
    "seed": "seed", "held_out": "held out", "fidelity": "fidelity", "protocol": "protocol",
    "metric": "metric", "shown": "value", "interval": "AUROC, 95 % interval",
    "n_test": "test cells", "cost": "cost of the fit",
}  # fmt: skip
#: Hues that stand out from white and from the dark page; each comes with a shape of its own.
HUES = ["#2F8FCC", "#B38B00", "#C2509A", "#1A9E6C", "#D55E00", "#808080"]
SHAPES = ["circle", "square", "triangle-up", "diamond", "cross", "triangle-down"]

#: Labels of the value axis: one for each so many pixels, whatever the screen.
TICKS = "max(2, floor(width / 110))"
#: Rows of the table without JavaScript, so that a page stays below 3 MB.
MAX_ROWS = 2000
#: Where results by other rules than the profile's own, which a run's page only counts, are compared with these.
AUDIT = "../audit/index.html#every-difference-one-switch-at-a-time"
_STATIC = "../../../_static/"
_SCRIPTS = ("vega/vega.min.js", "vega/vega-lite.min.js", "vega/vega-embed.min.js", "explorer.js")

_PAGE = """(sec-explorer)=
# Explorer

{notice}Every result of the grid of profile `{profile}`, one dot for each.
Choose what is shown, point at a dot for its value, interval and cost, and choose it for a link to the run that made it.
The address of this page keeps the choice, so that it can be sent to somebody.

The page draws and does not judge: many results of one data set are no independent units.
What follows from them is said by the {{doc}}`chapter of claims </book/executed/claims/index>`.
The {{term}}`fidelity` says by which rules a result was made; those chosen at first are the rules of figures and claims.
What other rules change is shown by the {{doc}}`audit </book/executed/audit/index>`.
Two results that are `matched` bear the name of one run; their protocols tell them apart.
An interval resamples the test cells (or libraries, where it says so) of one fitted model.
It knows nothing about another replicate.

```{{raw}} html
:file: explorer.html
```

All columns in full precision: {{download}}`{table} <{table}>`.
"""
_EMPTY = """(sec-explorer)=
# Explorer

{notice}The profile `{profile}` has no results yet, so there is nothing to explore.
{{doc}}`/book/how_to_rerun` says how to make some.
"""


def write_explorer(workspace: Workspace, executed: Path) -> Path:
    """Write the explorer's page, its body and its table in full to ``explorer/`` below `executed`.

    Parameters
    ----------
    executed
        The folder that `site.fill_executed` has filled: a result is linked to its run's page
        only where that page is there.
    """
    folder = executed / "explorer"
    notice = page_notice(workspace)
    words = {
        "table": "simulated-results.csv" if workspace.simulated else "results.csv",
        "profile": workspace.profile.name,
        "notice": f":::{{admonition}} Read this first\n:class: warning\n{notice}\n:::\n\n" if notice else "",
    }
    if not (workspace.tables_dir / "results.csv").exists():
        return write_text(folder / "index.md", _EMPTY.format(**words))
    results = read_results(workspace)
    write_csv(folder / words["table"], results)
    write_text(folder / "explorer.html", explorer_html(workspace, with_pages(workspace, results, executed)))
    return write_text(folder / "index.md", _PAGE.format(**words))


def results_chart(*, title: str, subtitle: list[str], hover: dict[str, str]) -> dict[str, Any]:
    """The chart as a Vega-Lite specification, made with Altair, whose words in braces the page fills in.

    Parameters
    ----------
    title, subtitle
        Stand above the chart; the subtitle carries the mark of simulated cells, or of a label
        that is not stress, in lines that fit a phone.
    hover
        What pointing at a dot shows: names of values, with their headings.

    Returns
    -------
    A specification without data: the page gives ``results`` (value, low, high, row, colour,
    jitter and what is shown on pointing), ``chance`` (at most one row, ``at``) and ``gaps``
    (row, text: a row of the chart all of whose results are missing).
    """
    import altair as alt

    results = alt.Chart(alt.NamedData("results"))
    place = {
        "y": alt.Y("row:N", title="{rows}", scale=alt.Scale(domain=["{row levels}"]), axis=alt.Axis(labelLimit=130)),
        "yOffset": alt.YOffset("jitter:Q", scale=alt.Scale(domain=[0, 1])),
        "color": alt.Color("colour:N", title="{colour}", scale=alt.Scale(domain=["{colour levels}"], range=HUES)),
    }
    ticks = alt.Axis(tickCount=alt.ExprRef(expr=TICKS))
    size = {"title": "{metric}", "scale": alt.Scale(zero=False, nice=True), "axis": ticks}
    tips = [alt.Tooltip(f"{name}:N", title=heading) for name, heading in hover.items()]
    shape = alt.Shape("colour:N", title="{colour}", scale=alt.Scale(domain=["{colour levels}"], range=SHAPES))
    chance = alt.Chart(alt.NamedData("chance")).mark_rule(strokeDash=[5, 4], color="#808080", aria=False)
    intervals = results.mark_rule(opacity=0.4, aria=False).encode(x=alt.X("low:Q", **size), x2="high:Q", **place)
    dots = results.mark_point(filled=True, size=45, opacity=0.8, cursor="pointer", aria=False)
    dots = dots.encode(x=alt.X("value:Q", **size), shape=shape, tooltip=tips, **place)
    heading = alt.TitleParams(title, subtitle=subtitle, anchor="start", frame="bounds")
    gaps = alt.Chart(alt.NamedData("gaps")).mark_text(x=6, align="left", fontStyle="italic", aria=False)
    gaps = gaps.encode(y=place["y"], text="text:N", color=alt.value("currentColor"))
    chart = alt.layer(chance.encode(x=alt.X("at:Q", **size)), intervals, dots, gaps, title=heading)
    chart = chart.properties(width="container", height=alt.Step(28), description="{description}")
    spec = _themed(chart).to_dict()
    return {key: value for key, value in spec.items() if key != "$schema"}


def _themed(chart):
    """Words and lines in the colour of the page's text, light or dark; legends above, so that a phone has room."""
    ink = {"labelColor": "currentColor", "titleColor": "currentColor"}
    lines = {"domainColor": "currentColor", "tickColor": "currentColor", "gridColor": "currentColor"}
    words = {"color": "currentColor", "subtitleColor": "currentColor"}
    return (
        chart.configure(background="transparent", font="system-ui, sans-serif")
        .configure_view(stroke=None)
        .configure_title(**words, fontSize=14, subtitleFontSize=12, offset=12)
        .configure_axis(
            **ink, **lines, gridOpacity=0.15, labelFlush=False, labelOverlap=True, labelFontSize=11, titleFontSize=12
        )
        .configure_legend(**ink, orient="top", columns=3, symbolOpacity=1, labelFontSize=11)
    )


def explorer_html(workspace: Workspace, results: pd.DataFrame) -> str:
    """The body of the page: controls, chart, missing results, table, data and scripts."""
    data = explorer_data(results)
    mark = caption_notice(workspace).replace("**", "")
    rare = {name: TABLE[name] for name in RARE if len(data["levels"][name]) > 1}
    title = f"Results of profile {workspace.profile.name}"
    chart = results_chart(title=title, subtitle=wrap(mark, 45), hover={**HOVER, **rare})
    page = {
        **data, "table": table_columns(results), "metrics": METRIC_NAMES, "chance": CHANCE,
        "fields": {**ROWS, **COLOURS}, "mark": mark, "rare": rare, "fidelities": FIDELITIES, "audit": AUDIT,
        "audited": [f for f in data["levels"]["fidelity"] if f not in ("matched", _usual_fidelity(results))],
    }  # fmt: skip
    scripts = [f'<script defer src="{_STATIC}{name}"></script>' for name in _SCRIPTS]
    return "\n".join([
        '<div class="explorer">', _controls(results, data["levels"]),
        '<p id="explorer-status" role="status"></p>', '<p id="explorer-undo" hidden></p>',
        '<div id="explorer-chart" hidden></div>',
        '<p id="explorer-chosen" role="status"></p>', _missing(results), _table(results), "</div>",
        data_element("explorer-data", page), data_element("explorer-spec", chart), *scripts, "",
    ])  # fmt: skip


def _controls(results: pd.DataFrame, levels: dict[str, list[str]]) -> str:
    both = dict.fromkeys([*levels["train_dataset"], *levels["test_dataset"]])
    known = {**levels, "dataset": sorted(both)}
    usual = {"fidelity": _usual_fidelity(results)}
    chosen = [name for name in FILTERS if name not in OPTIONAL or len(known[name]) > 1]
    options = {name: {"": "any", **{value: _option(name, value) for value in known[name] if value}} for name in chosen}
    filters = [_select(name, FILTERS[name], options[name], usual.get(name, "")) for name in chosen]
    draw = [
        _select("metric", "Metric", METRIC_NAMES, "auroc"),
        _select("rows", "Rows", ROWS, "representation"),
        _select("colour", "Colour", COLOURS, "protocol"),
    ]
    return (
        '<form id="explorer-controls" autocomplete="off" hidden>\n'
        f"<fieldset><legend>Show</legend>\n{chr(10).join(filters)}\n</fieldset>\n"
        f'<fieldset class="explorer-draw"><legend>Draw</legend>\n{chr(10).join(draw)}\n</fieldset>\n'
        '<button type="reset">Start again</button>\n</form>'
    )


def _usual_fidelity(results: pd.DataFrame) -> str:
    return str(main_fidelity(results)["fidelity"].iloc[0]) if len(results) else ""


def _option(name: str, value: str) -> str:
    """What a filter calls a value: "all" cells are not "any" number of them, and rules have words."""
    if name == "fidelity" and value in FIDELITIES:
        return f"{value} ({FIDELITIES[value]})"
    return "all cells" if (name, value) == ("n_train", "all") else value


def _select(name: str, label: str, options: dict[str, str], chosen: str) -> str:
    items = [
        f'<option value="{escape(value, quote=True)}"{" selected" if value == chosen else ""}>{escape(text)}</option>'
        for value, text in options.items()
    ]
    key = f"explorer-{name}"
    return f'<div><label for="{key}">{label}</label><select id="{key}" name="{name}">{"".join(items)}</select></div>'


def _missing(results: pd.DataFrame) -> str:
    """Results that could not be had, by reason; the page's script narrows the list to what is shown."""
    rows = results[results["reason"] != ""]
    found = [
        f"<li>{escape(reason)} ({len(part)}: {escape(', '.join(dict.fromkeys(part['task'])))})</li>"
        for reason, part in rows.groupby("reason", sort=False)
    ]
    heading = f'<p><strong id="explorer-missing-count">{len(rows)}</strong> missing, and why:</p>'
    return f'<div id="explorer-missing"{"" if found else " hidden"}>{heading}<ul>{"".join(found)}</ul></div>'


def table_columns(results: pd.DataFrame) -> dict[str, str]:
    """Columns of the page's table with their headings: tuning and vote only where results differ in them."""
    same = [name for name in ("tuning", "vote") if results[name].nunique() < 2]
    return {name: heading for name, heading in TABLE.items() if name not in same}


def _table(results: pd.DataFrame) -> str:
    """The first `MAX_ROWS` results; the page's script shows those chosen in their place."""
    columns = table_columns(results)
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in columns.values())
    shown = results.head(MAX_ROWS)
    body = "\n".join(_table_row(row, columns) for row in shown.to_dict("records"))
    first = "" if len(shown) == len(results) else f"The first {len(shown):,} of "
    caption = f"{first}{len(results):,} results"
    return (
        '<div class="data-box" role="region" tabindex="0" aria-label="Results as a table">\n'
        f'<table class="data-table" id="explorer-table">\n<caption>{caption}</caption>\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>\n</div>"
    )


def _table_row(row: dict[str, Any], columns: dict[str, str]) -> str:
    task = escape(row["task"])
    link = f'<a href="{escape(row["page"], quote=True)}">{task}</a>' if row["page"] else task
    cells = [_cell(row, name) for name in list(columns)[1:]]
    return f'<tr><th scope="row">{link}</th>{"".join(f"<td>{escape(cell)}</td>" for cell in cells)}</tr>'


def _cell(row: dict[str, Any], name: str) -> str:
    """A value to three decimals, AUROC with its interval, a missing one with its reason."""
    value = row[name]
    if name == "auroc" and row["reason"]:
        return f"missing: {row['reason']}"
    if name not in NUMBERS:
        return text_of(value)
    if math.isnan(value):
        return "–"
    if name == "auroc" and not math.isnan(row["auroc_low"]):
        low, high = (number_text(row[end], 3) for end in ("auroc_low", "auroc_high"))
        return f"{number_text(value, 3)} ({low} to {high})"
    return number_text(value, decimals_of(name))
