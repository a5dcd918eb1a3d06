"""Run pickers: from any page of a chapter's grid to any other, with and without JavaScript.

The pickers are HTML beside the notebooks, not inside them: a downloaded notebook holds no links
to pages, and the search finds what a page says.  Sphinx loads this module as an extension.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from .chapters import CHAPTERS, Chapter, evaluation_runs, page_runs
from .files import write_json
from .tidy import run_title
from .workspace import Workspace

if TYPE_CHECKING:
    from sphinx.application import Sphinx

#: Where the build keeps the pickers, below the folder of the executed notebooks.
PICKERS = "pickers.json"


@dataclass(frozen=True)
class RunPage:
    """One run of a chapter's grid: its page, what it is called, whether it is there, and its state of the explorer."""

    slug: str
    group: str
    name: str
    title: str
    there: bool
    state: dict[str, str]


def write_pickers(workspace: Workspace, executed: Path) -> Path:
    """Write the picker of every page of the grid to ``pickers.json``.

    Parameters
    ----------
    executed
        The folder that `site.fill_executed` has filled; a run whose page is not in it is listed
        as not run.

    Returns
    -------
    Path of the file: page below `executed`, without its ending → HTML.
    """
    found: dict[str, str] = {}
    for chapter in CHAPTERS.values():
        runs = chapter_runs(workspace, executed, chapter)
        if not runs:
            continue
        for slug in ["index", *(run.slug for run in runs if run.there)]:
            page = f"{chapter.name}/index" if slug == "index" else f"{chapter.name}/runs/{slug}"
            found[page] = picker_html(chapter, runs, current=slug)
    return write_json(executed / PICKERS, found)


def chapter_runs(workspace: Workspace, executed: Path, chapter: Chapter) -> list[RunPage]:
    """The runs that a profile asks of a chapter, in the order of its grid, without the canonical one."""
    tasks = evaluation_runs(workspace)
    found = []
    for name, slug in page_runs(workspace):
        if name != chapter.name or slug == "index":
            continue
        there = (executed / name / "runs" / f"{slug}.ipynb").exists()
        if (name, slug) in tasks:
            task, label = tasks[name, slug]
            title, state = run_title(name, {"task": task, "label": label}), {"task": task, "label": label}
            found.append(RunPage(slug, task.split(":")[0], title.split(": ", 1)[1], title, there, state))
        else:
            found.append(RunPage(slug, "tissue", slug, run_title(name, {"tissue": slug}), there, {}))
    return found


def picker_html(chapter: Chapter, runs: list[RunPage], *, current: str) -> str:
    """A choice of runs for one page, and the same runs as links for readers without JavaScript.

    Parameters
    ----------
    current
        Slug of the run whose page this is, or ``index``.
    """
    up = "" if current == "index" else "../"
    count = f"{len(runs)} run" + ("" if len(runs) == 1 else "s")
    explorer = _explorer_link(chapter, runs, current) if chapter.unit == "task" else ""
    return (
        '<nav class="run-picker" aria-label="Runs of this chapter">\n'
        f"{_form(runs, current, up)}\n"
        f"<details><summary>{count} of this chapter</summary>\n{_table(runs, current, up)}\n</details>\n"
        f"{explorer}</nav>\n"
    )


def _form(runs: list[RunPage], current: str, up: str) -> str:
    """Shown by ``run_picker.js``: choosing alone leads nowhere, so that the keyboard can pass through the list."""
    parts = [_option(f"{up}index.html", "All runs together", chosen=current == "index")]
    for group, members in _grouped(runs).items():
        options = [_option(_address(run, up), run.title, chosen=run.slug == current) for run in members if run.there]
        parts += [f'<optgroup label="{escape(group, quote=True)}">', *options, "</optgroup>"] if options else []
    choices = "\n".join(parts)
    return (
        '<form class="run-choice" autocomplete="off" hidden>\n<label for="run-choice">Go to a run</label>\n'
        f'<select id="run-choice" name="run">\n{choices}\n</select>\n<button type="submit">Open</button>\n</form>'
    )


def _option(address: str, text: str, *, chosen: bool) -> str:
    return f'<option value="{escape(address, quote=True)}"{" selected" if chosen else ""}>{escape(text)}</option>'


def _table(runs: list[RunPage], current: str, up: str) -> str:
    together = "<strong>all runs together</strong>"
    if current != "index":
        together = f'<a href="{up}index.html">all runs together</a>'
    groups = {"chapter": f"<li>{together}</li>"}
    groups |= {name: "".join(_item(run, current, up) for run in members) for name, members in _grouped(runs).items()}
    rows = [f'<tr><th scope="row">{escape(k)}</th><td><ul>{items}</ul></td></tr>' for k, items in groups.items()]
    return "<table><tbody>\n" + "\n".join(rows) + "\n</tbody></table>"


def _item(run: RunPage, current: str, up: str) -> str:
    """The short name is shown; the whole title is what a screen reader says, unique on the page."""
    if run.slug == current:
        return f'<li><strong aria-current="page">{escape(run.name)}</strong></li>'
    if not run.there:
        return f"<li>{escape(run.name)} (not run)</li>"
    label = escape(run.title, quote=True)
    return f'<li><a href="{escape(_address(run, up), quote=True)}" aria-label="{label}">{escape(run.name)}</a></li>'


def _address(run: RunPage, up: str) -> str:
    return f"{run.slug}.html" if up else f"runs/{run.slug}.html"


def _grouped(runs: list[RunPage]) -> dict[str, list[RunPage]]:
    return {group: [run for run in runs if run.group == group] for group in dict.fromkeys(run.group for run in runs)}


def _explorer_link(chapter: Chapter, runs: list[RunPage], current: str) -> str:
    """The explorer, set to the tissue of this chapter or to the task and label of this run."""
    state = next((run.state for run in runs if run.slug == current), {"tissue": chapter.tissue})
    up = "" if current == "index" else "../"
    address = escape(f"{up}../explorer/index.html#{urlencode(state, safe=':')}", quote=True)
    return f'<p><a href="{address}">These results in the explorer</a></p>\n'


def setup(app: Sphinx) -> dict[str, Any]:
    """Put each picker below the heading of its page (Sphinx calls this)."""
    app.connect("html-page-context", _insert)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _insert(app: Sphinx, pagename: str, template: str, context: dict[str, Any], doctree: Any) -> None:
    path = Path(app.srcdir) / "book" / "executed" / PICKERS
    pickers = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    picker = pickers.get(pagename.removeprefix("book/executed/"))
    if picker and context.get("body"):
        context["body"] = context["body"].replace("</h1>", f"</h1>\n{picker}", 1)
        app.add_js_file("run_picker.js", loading_method="defer")
