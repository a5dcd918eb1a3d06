"""The site: pages of exactly one profile, its banner, and the Jupyter Book build."""

from __future__ import annotations

import math
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from .chapters import CHAPTERS, page_runs
from .data_page import write_data_tables
from .episodes import EPISODES, episode_path, episode_run, write_downloads
from .errors import InputError
from .explorer import write_explorer
from .files import atomic_path, write_text
from .page_fixes import mend_pages
from .provenance import drawing_details, write_page
from .run_picker import write_pickers
from .site_pages import write_pages
from .tasks import PROTOCOLS
from .tidy import page_notice
from .workspace import PROJECT, Workspace

EXECUTED = PROJECT / "book" / "executed"
HTML = PROJECT / "_build" / "html"
#: Bytes of a figure's SVG above which a page of the grid offers its PNG alone: a site holds hundreds of them.
GRID_SVG = 180_000

#: The form of a font that a style sheet offers to browsers without WOFF 2.
_OLD_FONT = re.compile(r',\s*url\([^)]*\.ttf\)\s*format\("truetype"\)')
#: Labels of sections and of figures in a notebook's source.
_LABEL = re.compile(r"^(?:\(([\w-]+)\)=| *name: (fig-[\w-]+))$", re.MULTILINE)
_MISSING_PAGE = """{labels}# {title}

:::{{note}}
The profile `{profile}` has no data for this chapter, so nothing is shown here.
Another profile may have it: {{doc}}`/book/how_to_rerun` lists them.
:::
"""


def fill_executed(workspace: Workspace) -> list[Path]:
    """Copy the profile's executed notebooks into ``book/executed`` and remove all others.

    A chapter without runs becomes a page that says so.

    Returns
    -------
    The pages now in the folder, in no particular order.
    """
    pages = {
        EXECUTED / name / "index.md": _missing_page(workspace, name, PROJECT / "notebooks" / spec.notebook)
        for name, spec in CHAPTERS.items()
    }
    sources: dict[Path, Path] = {}
    for chapter, slug in page_runs(workspace):
        source = workspace.runs_dir / chapter / f"{slug}.ipynb"
        if source.exists() and slug == "index":
            del pages[EXECUTED / chapter / "index.md"]
            sources[EXECUTED / chapter / "index.ipynb"] = source
        elif source.exists():
            sources[EXECUTED / chapter / "runs" / source.name] = source
    for name in EPISODES:
        page, source = EXECUTED / "workshop" / f"{name}.ipynb", episode_run(name)
        if workspace.profile.workshop and source.exists():
            sources[page] = source
        else:
            pages[page.with_suffix(".md")] = _missing_page(workspace, name[2:], episode_path(name))
    _remove_others({*pages, *sources})
    for page, text in pages.items():
        write_text(page, text)
    for page, source in sources.items():
        largest = math.inf if page.stem == "index" else GRID_SVG
        write_page(source, page, project=EXECUTED.parents[1], files=EXECUTED / "files", largest_svg=largest)
    return [*pages, *sources]


def _missing_page(workspace: Workspace, chapter: str, source: Path) -> str:
    """A page in place of a chapter's, where links to its sections and figures still end."""
    found = _LABEL.findall(source.read_text(encoding="utf-8"))
    labels = "".join(f"({section or figure})=\n" for section, figure in found)
    title = chapter.replace("_", " ").capitalize()
    return _MISSING_PAGE.format(labels=labels, title=title, profile=workspace.profile.name)


def _remove_others(wanted: set[Path]) -> None:
    for path in sorted(EXECUTED.rglob("*"), reverse=True):
        if path.is_file() and path not in wanted:
            path.unlink()
        elif path.is_dir() and not any(path.iterdir()):
            path.rmdir()


def read_config() -> dict[str, Any]:
    """The book's configuration; launch buttons only where it names a repository to launch from."""
    config = yaml.safe_load((PROJECT / "_config.yml").read_text(encoding="utf-8"))
    if config["repository"]["url"]:
        config["html"]["use_repository_button"] = True
    else:
        del config["repository"], config["launch_buttons"]
    return config


def write_config(workspace: Workspace) -> Path:
    """Copy ``_config.yml`` with the banner of the profile."""
    config = read_config()
    notice = page_notice(workspace)
    if notice:
        options = config["sphinx"]["config"]["html_theme_options"]
        options["announcement"] = f"Built with profile <code>{workspace.profile.name}</code>. {notice}"
    return write_text(EXECUTED / "_config.yml", yaml.safe_dump(config, sort_keys=False))


def write_toc(workspace: Workspace) -> Path:
    """Copy ``book/_toc.yml`` with the pages of each glob named one by one, in the order of the paper's protocols."""
    toc = yaml.safe_load((PROJECT / "book" / "_toc.yml").read_text(encoding="utf-8"))
    for part in toc["parts"]:
        for chapter in part["chapters"]:
            pages = [p for s in chapter.pop("sections", []) for p in PROJECT.glob(s["glob"] + ".*")]
            if pages:
                names = [p.relative_to(PROJECT).with_suffix("").as_posix() for p in sorted(pages, key=_paper_order)]
                chapter["sections"] = [{"file": name} for name in names]
    return write_text(EXECUTED / "_toc.yml", yaml.safe_dump(toc, sort_keys=False))


def _paper_order(page: Path) -> tuple[int, str]:
    """By protocol as in the paper, then by name; pages of tissues by name."""
    protocol = page.stem.split("-")[0]
    return (PROTOCOLS.index(protocol) if protocol in PROTOCOLS else 0), page.stem


def write_workshop_files(workspace: Workspace) -> None:
    """Put the notebooks and archives of the workshop where its pages offer them, or say that there are none."""
    folder = PROJECT / "book" / "_static" / "generated" / "workshop"
    if workspace.profile.workshop and episode_run(EPISODES[-1]).exists():
        write_downloads(folder)
        names = {"workshop": "for learners", "workshop_instructor": "with solutions, for instructors"}
        links = [f"- {{download}}`{n}.zip </book/_static/generated/workshop/{n}.zip>`, {w}" for n, w in names.items()]
    else:
        links = [f"This build (profile `{workspace.profile.name}`) has left the workshop out: `make book` makes it."]
    write_text(folder / "links.md", "\n".join(links) + "\n")


def write_generated_figures() -> None:
    """Draw the figures of prose pages, which are not executed, and say how they were made."""
    from .figures import figure_bytes, protocol_schematic

    folder = PROJECT / "book" / "_static" / "generated"
    figure = protocol_schematic()
    paths = [folder / f"figure1_protocols.{ending}" for ending in ("svg", "png")]
    for path in paths:
        with atomic_path(path) as temporary:
            temporary.write_bytes(figure_bytes(figure, path.suffix[1:]))
    text = drawing_details(figure.made_by, paths, "../_static/generated")
    write_text(EXECUTED / "pages" / "figure1.md", text)


def build_site(workspace: Workspace) -> Path:
    """Render the book; any warning is an error.

    The new site replaces the old one only when it is whole.

    Returns
    -------
    Path of the first page.
    """
    fill_executed(workspace)
    write_pickers(workspace, EXECUTED)
    write_explorer(workspace, EXECUTED)
    write_data_tables(workspace, EXECUTED / "data")
    write_generated_figures()
    write_workshop_files(workspace)
    fresh = PROJECT / "_build" / "next"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    write_pages(workspace, EXECUTED / "pages")
    html = render(write_config(workspace), write_toc(workspace), fresh, strict=True)
    copy_files(EXECUTED / "files", html)
    shutil.rmtree(HTML, ignore_errors=True)
    html.rename(HTML)
    shutil.rmtree(fresh)
    return HTML / "index.html"


def copy_files(folder: Path, html: Path) -> None:
    """Put the files of figures where the pages' links look for them."""
    if folder.exists():
        shutil.copytree(folder, html / folder.relative_to(PROJECT), dirs_exist_ok=True)


def render(config: Path, toc: Path, folder: Path, *, strict: bool) -> Path:
    """Call Jupyter Book on the pages of `toc`.

    Parameters
    ----------
    config, toc, folder
        Configuration, table of contents, and where ``_build`` goes; all below the project.
    strict
        Read every page anew and refuse any warning; otherwise only what changed is read, and
        a link to a page that is not in `toc` stays plain text.

    Returns
    -------
    The folder of the pages.
    """
    command = [
        str(Path(sys.executable).with_name("jupyter-book")), "build", ".",
        "--path-output", str(folder.relative_to(PROJECT)),
        "--config", str(config.relative_to(PROJECT)), "--toc", str(toc.relative_to(PROJECT)),
        "-n", "-q", *(["-W", "--keep-going", "--all"] if strict else []),
    ]  # fmt: skip
    result = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True)
    html = folder / "_build" / "html"
    if result.returncode != 0 or not (html / "index.html").exists():
        lines = (result.stdout + result.stderr).strip().splitlines()
        raise InputError("the book was not built:\n" + "\n".join(lines[-25:]))
    mend_pages(html)
    _remove_ballast(html / "_static")
    return html


def _remove_ballast(static: Path) -> None:
    """Megabytes that no page of the book asks for: the theme's sources, and its words in other languages."""
    for path in static.rglob("*.map"):
        path.unlink()
    # Fonts a second time, for browsers of 2014 and before: style sheets name the smaller form first.
    for sheet in static.rglob("*.css"):
        text = sheet.read_text(encoding="utf-8")
        if (short := _OLD_FONT.sub("", text)) != text:
            write_text(sheet, short)
    for path in static.rglob("vendor/**/*.ttf"):
        path.unlink()
    shutil.rmtree(static / "locales", ignore_errors=True)
    # Pages offer these from ``_downloads``, where Sphinx has put them once more.
    shutil.rmtree(static / "generated" / "workshop", ignore_errors=True)
