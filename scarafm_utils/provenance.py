"""Under each figure: how it was made, and its files; one helper for every page of the book.

An executed notebook keeps each figure's SVG and table inside the figure's output (`figure_style`).
Here they become files beside the page, and a cell below the figure says where it comes from.
The PNG is the picture that the page shows, which the build stores under its checksum.
"""

from __future__ import annotations

import base64
import hashlib
import math
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .chapters import get_chapter
from .figure_style import FIGURE_TYPE
from .files import atomic_path
from .run_facts import code_version
from .tidy import escape_markup
from .workspace import PROJECT

if TYPE_CHECKING:
    from nbformat import NotebookNode

_FIGURE = """{caption}<p class="figure-files">Download: {links}</p>

:::{{dropdown}} How this figure was made
:class-container: figure-facts

{facts}
:::"""

#: What is said of simulated cells; the files of their figures say so in their names.
SIMULATED = "**simulated**, no result of the paper"

_PAGE = """:::{dropdown} How this page was made
:class-container: figure-facts

%s
:::"""


def write_page(source: Path, page: Path, *, project: Path, files: Path, largest_svg: float = math.inf) -> list[Path]:
    """Copy an executed notebook to a page of the book, with details and downloads under each figure.

    Parameters
    ----------
    source, page
        The executed notebook, and where its page goes.
    project
        The root of the book's sources; links start there.
    files
        Folder for the figures' files: CSV and SVG.
    largest_svg
        Bytes above which a figure has no SVG file.

    Returns
    -------
    The files written beside the page.
    """
    import nbformat

    notebook = nbformat.read(source, as_version=4)
    facts = dict(notebook.metadata.get("scarafm", {}))
    here = page.relative_to(project)
    written, cells = [], []
    for cell in notebook.cells:
        cells.append(cell)
        for figure in _take_figures(cell):
            number, function = len(written) + 1, figure["function"].rpartition(".")[2]
            mark = "simulated-" if _cells(cell, facts) == SIMULATED else ""
            figure["name"] = f"{mark}{facts['chapter']}-{facts['run']}-{number}-{function}"
            if len(figure["svg"]) > largest_svg:
                figure |= {"svg": "", "left_out": len(figure["svg"])}
            paths = _write_files(figure, files)
            cells.append(_figure_cell(cell, figure, paths, facts, here, project))
            written.append(paths)
    if facts:
        cells.append(nbformat.v4.new_markdown_cell(_PAGE % _listed({**run_lines(facts), **_notebook_line(here)})))
    notebook.cells = cells
    for number, cell in enumerate(cells):
        cell["id"] = f"cell-{number}"
    with atomic_path(page) as temporary:
        nbformat.write(notebook, temporary)
    return [path for paths in written for path in paths.values()]


def _take_figures(cell: NotebookNode) -> list[dict[str, str]]:
    """Remove what figures left in the outputs of a cell, and return it with their pictures."""
    data = [output.data for output in cell.get("outputs", []) if FIGURE_TYPE in output.get("data", {})]
    return [dict(d.pop(FIGURE_TYPE)) | {"png": d["image/png"]} for d in data]


def _write_files(figure: dict[str, str], folder: Path) -> dict[str, Path]:
    """Write what there is of CSV and SVG."""
    contents = {"CSV": figure["csv"].encode(), "SVG": figure["svg"].encode()}
    paths = {kind: folder / f"{figure['name']}.{kind.lower()}" for kind, content in contents.items() if content}
    for kind, path in paths.items():
        with atomic_path(path) as temporary:
            temporary.write_bytes(contents[kind])
    return paths


def _figure_cell(
    cell: NotebookNode, figure: dict, paths: dict[str, Path], facts: dict[str, Any], here: Path, project: Path
) -> NotebookNode:
    import nbformat

    caption = cell.metadata.get("caption", "")
    up = "../" * (len(here.parts) - 1)
    png = base64.b64decode(figure["png"])
    links = [
        _link(f"{up}{path.relative_to(project).as_posix()}", kind, path.name, path.stat().st_size)
        for kind, path in paths.items()
    ]
    address = f"{up}_images/{hashlib.sha256(png).hexdigest()}.png"
    links.append(_link(address, "PNG", f"{figure['name']}.png", len(png)))
    name = f"{facts['chapter']}-{facts['run']}.ipynb"
    links.append(f'<a href="{notebook_address(here)}" download="{name}">executed notebook</a>')
    lines = {
        "Cells": _cells(cell, facts),
        **_source_lines(cell.source, figure["function"], facts),
        **run_lines(_facts_of_cells(cell, facts)),
    }
    if "CSV" in paths:
        digest = hashlib.sha256(paths["CSV"].read_bytes()).hexdigest()
        lines["The table behind it"] = f"{figure['csv'].count(chr(10)) - 1:,} rows, SHA-256 `{digest}`"
    if "left_out" in figure:
        size = f"{-(-figure['left_out'] // 1000):,} kB"
        lines["As SVG"] = f"{size}, left out lest the site grow too large; a run of the notebook makes it"
    shown = {"caption": f"{caption}\n\n" if caption else "", "links": ", ".join(links), "facts": _listed(lines)}
    return nbformat.v4.new_markdown_cell(_FIGURE.format(**shown))


def drawing_details(function: str, paths: list[Path], folder: str) -> str:
    """Details of a drawing that the build makes without a notebook: no cells, no run, its files to download.

    Parameters
    ----------
    paths, folder
        The files, and where a page finds them.
    """
    links = [_link(f"{folder}/{p.name}", p.suffix[1:].upper(), p.name, p.stat().st_size) for p in paths]
    lines = {"Cells": "none, a drawing", "Drawn by": f"`{function}`, as part of the build: it has no notebook"}
    lines |= run_lines({"code": code_version()})
    return _FIGURE.format(caption="", links=", ".join(links), facts=_listed(lines)) + "\n"


def _link(address: str, kind: str, name: str, size: int) -> str:
    what = {"CSV": "table (CSV", "SVG": "figure (SVG", "PNG": "figure (PNG"}[kind]
    return f'<a href="{address}" download="{name}">{what}, {-(-size // 1000):,} kB)</a>'


def notebook_address(page: Path) -> str:
    """Where the site keeps the notebook of a page, relative to that page.

    >>> notebook_address(Path("book/executed/claims/index.ipynb"))
    '../../../_sources/book/executed/claims/index.ipynb'
    """
    return "../" * (len(page.parts) - 1) + f"_sources/{page.as_posix()}"


def _cells(cell: NotebookNode, facts: dict[str, Any]) -> str:
    tags = cell.metadata.get("tags", [])
    if "drawing" in tags:
        return "none, a drawing"
    if "real-cells" in tags:
        from .real_numbers import read_real_numbers

        return f"real cells, from numbers kept in the repository: {origin_markdown(read_real_numbers()[1])}"
    return SIMULATED if facts.get("source") == "simulated" else "real"


def origin_markdown(facts: dict[str, Any]) -> str:
    """Where the numbers come from that the repository keeps, with the command that made them."""
    from .real_numbers import origin

    return f"{escape_markup(origin(facts))}; made with `{facts['command']}`"


def _facts_of_cells(cell: NotebookNode, facts: dict[str, Any]) -> dict[str, Any]:
    """The facts of a run that hold for what a cell shows: none of the run's data where it shows none of them."""
    if {"drawing", "real-cells"} & set(cell.metadata.get("tags", [])):
        return {name: fact for name, fact in facts.items() if name not in ("data", "profile", "source")}
    return facts


def _source_lines(source: str, function: str, facts: dict[str, Any]) -> dict[str, str]:
    notebook = facts.get("notebook") or f"notebooks/{get_chapter(facts['chapter']).notebook}"
    cells = _code_cells(notebook)
    where = f", code cell {cells.index(source) + 1} of {len(cells)} in the source" if source in cells else ""
    return {"Source": f"`{notebook}`{where}", "Drawn by": f"`{function}`"}


@lru_cache
def _code_cells(notebook: str) -> tuple[str, ...]:
    import jupytext

    return tuple(c.source for c in jupytext.read(PROJECT / notebook, fmt="md:myst").cells if c.cell_type == "code")


def run_lines(facts: dict[str, Any]) -> dict[str, str]:
    """What a run keeps about itself, for a reader; a fact that an older run lacks is left out."""
    code, values = facts.get("code", {}), facts.get("parameters", {})
    parameters = ", ".join(f"{k} = {_shown(v)}" for k, v in values.items())
    cells = [f"{escape_markup(name)} `{digest[:16]}…`" for name, digest in facts.get("data", {}).items()]
    commit = f", commit `{code['commit'][:12]}`" if "commit" in code else ""
    lines = {
        "Parameters": f"{parameters}; all others as the notebook and the profile say" if parameters else "",
        "Profile": f"`{facts['profile']}`, source `{facts['source']}`" if "profile" in facts else "",
        "Data (SHA-256 of source files, else of processed cells)": ", ".join(cells),
        "Code": f"scarafm_utils {code['version']}, digest `{code['digest']}`{commit}" if code else "",
        "Run": run_cost(facts),
        "Versions": ", ".join(f"{k} {v}" for k, v in facts.get("versions", {}).items()).replace("python ", "Python "),
    }
    return {name: text for name, text in lines.items() if text}


def _shown(value: Any) -> str:
    return escape_markup(",".join(map(str, value)) if isinstance(value, list) else str(value))


def run_cost(facts: dict[str, Any]) -> str:
    """Date, seconds, memory and machine of the run of a whole notebook."""
    parts = [facts.get("date", "")]
    stored = "" if facts.get("profile") == "workshop" else ", stored scores read"
    parts += [f"{facts['seconds']:,} s for the whole notebook{stored}"] if "seconds" in facts else []
    parts += [f"peak memory {facts['peak_mb']:,} MB"] if facts.get("peak_mb") else []
    return ", ".join(filter(None, [*parts, facts.get("device", "")]))


def _notebook_line(page: Path) -> dict[str, str]:
    return {"Executed notebook": f'<a href="{notebook_address(page)}" download>{page.name}</a>'}


def _listed(lines: dict[str, str]) -> str:
    return "\n".join(f"- {name}: {text}" for name, text in lines.items())
