"""From an executed notebook to a page: nothing failed, nothing private, nothing mistaken.

A page made from simulated cells says so at its top and in every caption.  Only the canonical
run of a chapter keeps labels, names and captions: grid pages would repeat them.
"""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import InputError
from .files import hash_of
from .words import label_words
from .workspace import PROJECT, Workspace

if TYPE_CHECKING:
    from nbformat import NotebookNode

#: Shown first on every page, in every caption and in the banner of a simulated build.
SIMULATED = "Simulated cells: not the paper's data, and no result of the paper."

_LABEL_LINE = re.compile(r"^\([\w-]+\)=\n", re.MULTILINE)
_NAME_OPTION = re.compile(r"^:name:.*\n", re.MULTILINE)


def check_executed(notebook: NotebookNode, *, name: str) -> None:
    """Refuse a notebook with a failed or an unexecuted code cell.

    The book is built with execution off and would show a traceback without a warning.
    """
    for number, cell in enumerate(notebook.cells, start=1):
        if cell.cell_type != "code" or not cell.source.strip():
            continue
        if cell.get("execution_count") is None:
            raise InputError(f"{name}: cell {number} was not executed. Run the chapter again.")
        for output in cell.outputs:
            if output.output_type == "error":
                raise InputError(f"{name}: cell {number} failed with {output.ename}: {output.evalue}")


def tidy(notebook: NotebookNode, *, facts: dict[str, Any], workspace: Workspace) -> NotebookNode:
    """Make an executed notebook a page of the book.

    Parameters
    ----------
    notebook
        Executed by papermill.
    facts
        ``chapter``, ``run``, ``parameters`` and ``seconds``; kept in the metadata.
    workspace
        Says whether the cells are simulated and what a page must say of its label.
    """
    index = facts["run"] == "index"
    notice = page_notice(workspace)
    for cell in notebook.cells:
        if cell.cell_type == "markdown" and not index:
            cell.source = _NAME_OPTION.sub("", _LABEL_LINE.sub("", cell.source))
        if cell.cell_type == "code":
            _tidy_code(cell, index=index, notice=caption_notice(workspace))
        cell.metadata.pop("papermill", None)
        cell.metadata.pop("execution", None)
    _title(notebook, facts, notice)
    _renew_ids(notebook)
    notebook.metadata = _metadata(notebook, facts, workspace)
    return notebook


def page_notice(workspace: Workspace) -> str:
    """What every page of this profile says at its top; empty when there is nothing to say."""
    parts = [SIMULATED] if workspace.simulated else []
    parts += [f"The label is {kind}, not stress." for kind in _other_labels(workspace)]
    parts += [run_sizes(workspace)] if workspace.simulated else []
    if workspace.profile.notice:
        parts.append(" ".join(workspace.profile.notice.split()))
    return " ".join(parts)


def run_sizes(workspace: Workspace) -> str:
    """How small a simulated build is, as its profile says."""
    profile = workspace.profile
    vocabulary = profile.preprocessing.n_vocabulary
    genes = f"a vocabulary of at most {vocabulary:,}" if vocabulary else f"at most {profile.data.simulated_genes:,}"
    return (
        f"{profile.data.simulated_cells.downstream:,} cells for each downstream data set, "
        f"{genes} genes, an encoder of {profile.model.dim} dimensions."
    )


def caption_notice(workspace: Workspace) -> str:
    """The short form for captions: simulated cells, and a label that is not stress."""
    simulated = ["Simulated cells, not the paper's."] if workspace.simulated else []
    other = [f"The label is {kind}, not stress." for kind in _other_labels(workspace)]
    return " ".join(f"**{part}**" for part in simulated + other)


def _other_labels(workspace: Workspace) -> list[str]:
    """What the labels of this profile stand for, where they are not the paper's stress."""
    kinds = {
        dataset.labels[name].column.replace("_", " ")
        for tissue, grid in workspace.profile.tissues.items()
        for dataset in workspace.datasets(tissue, role="downstream")
        for name in grid.labels
        if name != "stress"
    }
    return [f"the {kind}" for kind in sorted(kinds)]


def _tidy_code(cell: NotebookNode, *, index: bool, notice: str) -> None:
    tags = cell.metadata.get("tags", [])
    if "parameters" in tags:  # the defaults; the values of this run follow in a cell of their own
        cell.metadata["tags"] = [*tags, "hide-input"]
    if {"real-cells", "drawing"} & set(tags):  # the caption says whose cells they are, or shows none
        notice = ""
    figure = cell.metadata.get("mystnb", {}).get("figure")
    if figure:
        parts = [figure.get("caption", "").strip(), *_remarks(cell), notice]
        caption = "\n".join(part for part in parts if part)
        if index:
            figure["caption"] = caption
        else:
            cell.metadata["caption"] = caption
            del cell.metadata["mystnb"]["figure"]
    cell.outputs = [_scrub(output) for output in cell.outputs if not _is_noise(output)]


def _remarks(cell: NotebookNode) -> list[str]:
    """What the figures of a cell have to say of this drawing only."""
    from .figure_style import FIGURE_TYPE

    found = [output.get("data", {}).get(FIGURE_TYPE, {}).get("remark", "") for output in cell.outputs]
    return [remark for remark in found if remark]


def _is_noise(output: NotebookNode) -> bool:
    """Warnings of libraries name paths of this machine and teach a reader nothing."""
    return output.output_type == "stream" and output.name == "stderr"


def _scrub(value: Any) -> Any:
    """Replace paths of this machine in any text of an output; pictures are left alone."""
    if isinstance(value, str):
        for folder, shown in ((PROJECT, "."), (Path.home(), "~")):
            if len(folder.parts) > 1:  # a home of "/" names nobody
                value = re.sub(rf"{re.escape(str(folder))}(?![\w.-])", shown, value)
        return re.sub(rf"{re.escape(tempfile.gettempdir())}/ipykernel_\d+/\d+\.py", "<cell>", value)
    if isinstance(value, dict):
        return type(value)({k: v if k.startswith("image/png") else _scrub(v) for k, v in value.items()})
    return [_scrub(item) for item in value] if isinstance(value, list) else value


def _title(notebook: NotebookNode, facts: dict[str, Any], notice: str) -> None:
    """Put the run's parameters into the H1 of a grid page, and the notice below it."""
    first = next(c for c in notebook.cells if c.cell_type == "markdown" and "# " in c.source)
    lines = first.source.split("\n")
    at = next(i for i, line in enumerate(lines) if line.startswith("# "))
    if facts["run"] != "index":
        # The theme prints titles without escaping them, so a title holds nothing that needs it.
        own = re.sub(r"[^\w .,:=+()/-]", "_", own_parameters(facts["parameters"]))
        lines[at] = f"# {run_title(facts['chapter'], facts['parameters'])}" + (f", {own}" if own else "")
    if notice:
        lines[at + 1 : at + 1] = ["", ":::{admonition} Read this first", ":class: warning", notice, ":::"]
    first.source = "\n".join(lines)


def run_title(chapter: str, parameters: dict[str, Any]) -> str:
    """The heading of a grid page: short enough for a side bar, exact enough to find the run.

    >>> run_title("leaf_results", {"task": "cross:GSE273033:ERP132245"})
    'Leaf, cross: GSE273033 → ERP132245'
    >>> run_title("root_results", {"task": "random:SRP169576", "label": "hair"})
    'Root, random: SRP169576 (root hair)'
    """
    words = chapter.removesuffix("_results").replace("_", " ").capitalize()
    if "task" not in parameters:
        return f"{words}: {parameters.get('tissue', 'one run')}"
    protocol, *datasets = parameters["task"].split(":")
    label = parameters.get("label", "stress")
    return f"{words}, {protocol}: {' → '.join(datasets)}" + ("" if label == "stress" else f" ({label_words(label)})")


def own_parameters(parameters: dict[str, Any]) -> str:
    """The parameters by which a run differs from its profile's.

    >>> own_parameters({"task": "random:A", "heads": ["LR", "XGB"], "threads": 1})
    'heads=LR,XGB'
    """
    named = {k: v for k, v in parameters.items() if k not in ("profile", "task", "tissue", "label", "threads")}
    shown = {k: ",".join(map(str, v)) if isinstance(v, list) else str(v) for k, v in named.items()}
    return ", ".join(f"{k}={v}" for k, v in shown.items())


def escape_markup(text: str) -> str:
    """Show text as it is: nothing in it is markup, in MyST or in HTML.

    >>> escape_markup("{{ x }}")
    '&#123;&#123; x &#125;&#125;'
    """
    return "".join(f"&#{ord(c)};" if c in "|<>&`*[]{}$\\\n" else c for c in text)


def _renew_ids(notebook: NotebookNode) -> None:
    for number, cell in enumerate(notebook.cells):
        cell["id"] = hash_of([number, cell.source])[:12]


def _metadata(notebook: NotebookNode, facts: dict[str, Any], workspace: Workspace) -> dict[str, Any]:
    kept = {k: notebook.metadata[k] for k in ("kernelspec", "language_info") if k in notebook.metadata}
    return {**kept, "scarafm": {**facts, "profile": workspace.profile.name, "source": workspace.profile.source}}
