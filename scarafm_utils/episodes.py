"""Episodes of the workshop: from one source to a page, a learner's and an instructor's notebook.

An episode is a MyST notebook in ``workshop/``.  Its page is executed like a chapter, solutions
included; its learner's notebook has no solution, and an empty cell in the place of each.
"""

from __future__ import annotations

import re
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import InputError, suggest
from .execution import execute_notebook, store_notebook
from .files import hash_of
from .run_facts import cost_and_place, data_checksums, now
from .tidy import SIMULATED, check_executed, tidy
from .workshop import CLASS, FOLDERS, class_workspace
from .workspace import PROJECT

if TYPE_CHECKING:
    from nbformat import NotebookNode

    from .workspace import Workspace

SOURCES = PROJECT / "workshop"
EPISODES = ("1_splits", "2_vocabulary", "3_masked_model", "4_identity_and_pooling", "5_transfer")
#: A notebook that says whether an environment is fit; handed out, no page of the book.
CHECK = "0_check"
#: What a class folder holds besides notebooks, package and data.
FILES = ("data_manifest.yaml", "profiles/workshop.yaml", "LICENSE", "LICENSE-text")

_SOLUTION = re.compile(r"^```\{solution-start\}.*?^```$\n?", re.MULTILINE | re.DOTALL)
_SOLUTION_END = re.compile(r"^```\{solution-end\}\n```$\n?", re.MULTILINE)
_DIRECTIVE = re.compile(r"^(`{3,}|:{3,})\{([\w-]+)\} *(.*)$")
_ROLE = re.compile(r"\{(?:term|doc|ref)\}`([^`<]+?)(?: <[^>]*>)?`")
_SHOWN = {"exercise-start": "### Exercise {}", "solution-start": "#### Solution", "admonition": "**{}**"}


def episode_path(name: str) -> Path:
    """Source of an episode; an unknown name is an error with a suggestion."""
    if name not in (CHECK, *EPISODES):
        raise InputError(f"unknown episode '{name}': {suggest(name, EPISODES)}")
    return SOURCES / f"{name}.md"


def episode_run(name: str) -> Path:
    """Where the executed page of an episode is kept, whatever profile the book is built with."""
    return CLASS / "runs" / f"{name}.ipynb"


def read_episode(name: str) -> NotebookNode:
    """The source of an episode as a notebook, solutions included."""
    import jupytext

    notebook = jupytext.read(episode_path(name), fmt="md:myst")
    for cell in notebook.cells:
        cell.metadata.setdefault("tags", [])
    return notebook


def run_episode(name: str, *, out: Path) -> Path:
    """Execute an episode with its solutions and keep the page.

    The page says how long it took.  A failed answer fails the run, and nothing is kept.
    """
    workspace, started = class_workspace(), time.monotonic()
    notebook = read_episode(name)
    executed = execute_notebook(notebook, {}, name=f"episode {name}")
    check_executed(executed, name=f"episode {name}")
    slowest = max(c.metadata.papermill.get("duration") or 0 for c in executed.cells if c.cell_type == "code")
    facts = {"chapter": f"workshop-{name}", "run": "index", "parameters": {}, "date": now()}
    facts |= {"notebook": f"workshop/{name}.md", "slowest_cell": round(slowest, 1)}
    facts |= {"seconds": round(time.monotonic() - started, 1), **cost_and_place()}
    facts["data"] = episode_data(notebook, workspace)
    page = tidy(executed, facts=facts, workspace=workspace)
    top, rest = page.cells[0].source.split("## Timing\n", 1)
    table, after = rest.split("\n## ", 1)
    page.cells[0].source = f"{top}## Timing\n{table}\n{_note(name, facts)}\n\n## {after}"
    store_notebook(page, out)
    return out


def episode_data(notebook: NotebookNode, workspace: Workspace) -> dict[str, str]:
    """SHA-256 of the cells behind an episode, by data set: the studies that its code names, or the corpus."""
    code = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "code")
    corpus = {d.id for d in workspace.datasets("leaf", role="pretraining")} if "training_run(" in code else set()
    checksums = data_checksums(workspace, "leaf", "leaf")
    return {name: digest for name, digest in checksums.items() if name in corpus or f'"{name}"' in code}


def _note(name: str, facts: dict) -> str:
    """What running the page took, and where its notebooks are."""
    files = "/book/_static/generated/workshop"
    return (
        f"*Measured:* all cells of this page, solutions included, ran in {facts['seconds']:.0f} s, the slowest in "
        f"{facts['slowest_cell']:.1f} s, with {facts['peak_mb']:,} MB at most ({facts['device']}).\n\n"
        f"*Notebooks:* {{download}}`for learners <{files}/{name}.ipynb>`, "
        f"{{download}}`with solutions <{files}/{name}_solutions.ipynb>`; "
        "all of them with their data are on {doc}`the setup page </book/workshop/setup>`."
    )


def class_notebook(name: str, *, solutions: bool) -> NotebookNode:
    """The notebook that is handed out: plain Markdown, unexecuted, with or without solutions."""
    import nbformat

    notebook = read_episode(name)
    cells = notebook.cells if solutions else _without_solutions(notebook.cells)
    kept = []
    for cell in cells:
        text = cell.source if cell.cell_type == "code" else plain_markdown(cell.source)
        if not text.strip() and cell.cell_type == "markdown":
            continue
        new = nbformat.v4.new_code_cell if cell.cell_type == "code" else nbformat.v4.new_markdown_cell
        kept.append(new(text, id=hash_of([name, len(kept), text])[:12]))
    kept[0].source = kept[0].source.replace("\n", f"\n\n> {SIMULATED}\n", 1)
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return nbformat.v4.new_notebook(cells=kept, metadata={"kernelspec": kernel})


def _without_solutions(cells: list[NotebookNode]) -> list[NotebookNode]:
    """Drop everything between the start and the end of each solution; leave an empty cell there."""
    import nbformat

    kept, inside = [], False
    for cell in cells:
        if cell.cell_type == "code":
            kept += [] if inside else [cell]
            continue
        text = cell.source
        while text:
            found = (_SOLUTION_END if inside else _SOLUTION).search(text)
            before = text[: found.start()] if found else text
            if not inside and before.strip():
                kept.append(nbformat.v4.new_markdown_cell(before))
            if found and not inside:
                kept.append(nbformat.v4.new_code_cell("# your answer\n"))
            inside, text = inside ^ bool(found), text[found.end() :] if found else ""
    if inside:
        raise InputError("a solution is not ended: write a solution-end after it.")
    return kept


def plain_markdown(text: str) -> str:
    """Markdown that any notebook program shows, from the MyST of an episode.

    >>> plain_markdown("```{exercise-start} 1: break it\\n:label: ex-1\\n```\\nHold out a {term}`replicate`.")
    '### Exercise 1: break it\\nHold out a replicate.'
    """
    lines, fence = [], ""
    for line in re.sub(r"^\([\w-]+\)=\n", "", text, flags=re.MULTILINE).split("\n"):
        found = _DIRECTIVE.match(line)
        if found:
            fence = found[1]
            shown = _SHOWN[found[2]].format(found[3]) if found[2] in _SHOWN else None
            lines += [shown.replace("Exercise Spare:", "Spare exercise:")] if shown else []
        elif fence and line.strip() == fence:
            fence = ""
        elif not (fence and re.match(r":[\w-]+:", line)):
            lines.append(line)
    return _ROLE.sub(r"\1", "\n".join(lines)).strip()


def write_notebooks(folder: Path, *, solutions: bool) -> list[Path]:
    """Write the notebook of every episode: ``<name>.ipynb``, with solutions ``<name>_solutions.ipynb``."""
    ending = "_solutions" if solutions else ""
    paths = [folder / f"{name}{ending}.ipynb" for name in EPISODES]
    for name, path in zip(EPISODES, paths, strict=True):
        store_notebook(class_notebook(name, solutions=solutions), path)
    return paths


def write_class_folder(folder: Path, *, solutions: bool) -> Path:
    """Everything a class needs in one folder: notebooks, data, the package, and what to install.

    It runs where it is unpacked: on a laptop, under JupyterHub, on Colab, and on Binder once it is
    pushed to a repository.

    Raises
    ------
    InputError
        The folder exists and is not empty, or the data were not made yet.
    """
    data = next((place for place in FOLDERS if (place / "facts.json").exists()), None)
    if data is None:
        raise InputError("the data of the workshop were not made yet: run `scarafm workshop-data` first.")
    if folder.exists() and any(folder.iterdir()):
        raise InputError(f"{folder} is not empty: name a new folder.")
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copytree(data, folder / "class_data", ignore=shutil.ignore_patterns(".tmp-*"))
    shutil.copytree(PROJECT / "scarafm_utils", folder / "scarafm_utils", ignore=shutil.ignore_patterns("__pycache__"))
    for name in FILES:
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copyfile(PROJECT / name, folder / name)
    for path in sorted((SOURCES / "folder").iterdir()):
        shutil.copyfile(path, folder / path.name)
    store_notebook(class_notebook(CHECK, solutions=False), folder / f"{CHECK}.ipynb")
    write_notebooks(folder, solutions=False)
    if solutions:
        write_notebooks(folder, solutions=True)
    return folder


def write_downloads(folder: Path) -> None:
    """What the pages offer: every notebook, and the class folder as two archives, without and with solutions."""
    for solutions in (False, True):
        write_notebooks(folder, solutions=solutions)
        name = "workshop_instructor" if solutions else "workshop"
        with tempfile.TemporaryDirectory() as scratch:
            packed = write_class_folder(Path(scratch) / name, solutions=solutions)
            archive = shutil.make_archive(str(Path(scratch) / "packed"), "zip", packed.parent, packed.name)
            shutil.copyfile(archive, folder / f"{name}.zip")
