"""Pages of single runs: what `scarafm run` made, beside the book and without building it."""

from __future__ import annotations

import shutil
from pathlib import Path

import yaml

from .damage import notebook_fault
from .files import atomic_path, write_text
from .provenance import write_page
from .runs import Run, read_run
from .site import copy_files, read_config, render
from .tidy import escape_markup, own_parameters, page_notice, run_title
from .workspace import PROJECT, Workspace

_INDEX = """# Runs of profile {profile}

{notice}Runs that were made one at a time with `scarafm run`, newest first.
They are no part of the book.

| run | parameters | date | seconds |
|---|---|---|---|
{rows}
"""


def keep_page(workspace: Workspace, path: Path) -> Path:
    """Keep a run of the profile's own grid among the pages of single runs as well."""
    kept = workspace.folder / "custom" / path.parent.name / path.name
    if path.resolve() != kept.resolve():
        with atomic_path(kept) as temporary:
            shutil.copyfile(path, temporary)
    return kept


def render_pages(workspace: Workspace, paths: list[Path]) -> list[Path]:
    """Render runs, and a list of all runs made so, as a small site of its own.

    Parameters
    ----------
    workspace
        The profile that the runs belong to.
    paths
        Executed notebooks; those of the profile's grid are copied to ``custom/`` first.  A damaged
        one of an earlier run gets no page; the list names it.

    Returns
    -------
    The page of each run, below ``artifacts/<profile>/custom``.
    """
    kept = [keep_page(workspace, path) for path in paths]
    folder = workspace.folder / "custom"
    paths = sorted(folder.glob("*/*.ipynb"), key=lambda p: (-p.stat().st_mtime_ns, p.name))
    faults = {path: fault for path in paths if (fault := notebook_fault(path))}
    pages = [path for path in paths if path not in faults]
    written = {path: _page(path, folder) for path in pages}
    write_text(folder / "pages" / "index.md", _index(workspace, [read_run(path) for path in pages], faults))
    html = render(_config(workspace, folder), _toc(folder / "pages", list(written.values())), folder, strict=False)
    copy_files(folder / "pages" / "files", html)
    return [html / written[path].relative_to(PROJECT).with_suffix(".html") for path in kept]


def _page(path: Path, folder: Path) -> Path:
    """The page of a run, with details and downloads; written only where the run is newer."""
    page = folder / "pages" / path.relative_to(folder)
    if not page.exists() or page.stat().st_mtime_ns < path.stat().st_mtime_ns:
        write_page(path, page, project=PROJECT, files=folder / "pages" / "files")
    return page


def _index(workspace: Workspace, runs: list[Run], faults: dict[Path, str]) -> str:
    notice = page_notice(workspace)
    notice = f":::{{warning}}\n{notice}\n:::\n\n" if notice else ""
    rows = [_row(workspace, run) for run in runs]
    rows += [f"| {p.parent.name}/{p.stem} | damaged ({fault}): run it again | | |" for p, fault in faults.items()]
    return _INDEX.format(profile=workspace.profile.name, notice=notice, rows="\n".join(rows))


def _row(workspace: Workspace, run: Run) -> str:
    parameters = run.facts.get("parameters", {})
    shown, title = escape_markup(own_parameters(parameters)), run_title(run.facts["chapter"], parameters)
    link = run.path.relative_to(workspace.folder / "custom").with_suffix("").as_posix()
    cells = [f"[{title}]({link})", shown, run.facts.get("date", ""), run.facts.get("seconds", "")]
    return f"| {' | '.join(map(str, cells))} |"


def _config(workspace: Workspace, folder: Path) -> Path:
    """The book's configuration without its exclusion of ``artifacts``, and without buttons: nobody publishes these."""
    config = read_config()
    for key in ("repository", "launch_buttons"):
        config.pop(key, None)
    config["html"]["use_repository_button"] = False
    config["title"] = f"Runs of profile {workspace.profile.name}"
    config["exclude_patterns"] = [p for p in config["exclude_patterns"] if not p.startswith("artifacts")]
    return write_text(folder / "_config.yml", yaml.safe_dump(config, sort_keys=False))


def _toc(folder: Path, pages: list[Path]) -> Path:
    names = [page.relative_to(PROJECT).with_suffix("").as_posix() for page in pages]
    root = (folder / "index").relative_to(PROJECT).as_posix()
    toc = {"format": "jb-book", "root": root, "chapters": [{"file": name} for name in names]}
    return write_text(folder / "_toc.yml", yaml.safe_dump(toc, sort_keys=False))
