"""The commands about a finished site: pdf, pack and unpack"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .run_commands import ProfileOption

app = typer.Typer()


@app.command()
def pdf(
    optional: Annotated[bool, typer.Option("--optional", help="Only where it can be done and is not yet.")] = False,
) -> None:
    """Print the built book into book.pdf with Chromium, and link it from every page."""
    from .browser import why_no_browser
    from .printing import PDF, print_book
    from .workspace import PROJECT

    html = PROJECT / "_build" / "html"
    if optional and why_no_browser():
        return typer.echo(f"The book is not printed as a PDF: {why_no_browser()}.")
    if optional and (html / PDF).exists():
        return
    path = print_book(html)
    typer.echo(f"done: {path.relative_to(PROJECT)}, {path.stat().st_size / 1e6:.1f} MB")


@app.command()
def pack(
    profile: ProfileOption = "demo",
    out: Annotated[Path | None, typer.Option(help="The archive; default PROFILE.tar.gz.")] = None,
    scores: Annotated[bool, typer.Option("--scores", help="Also the scores of each test cell.")] = False,
) -> None:
    """Pack a profile's results into one file, to be rendered elsewhere without computing."""
    from .results_archive import pack_results
    from .workspace import open_workspace

    workspace = open_workspace(profile)
    out = out or Path(f"{workspace.profile.name}.tar.gz")
    names = pack_results(workspace, out, scores=scores)
    typer.echo(f"done: {len(names)} files in {out}, {out.stat().st_size / 1e6:.1f} MB")


@app.command()
def unpack(
    archive: Path,
    profile: Annotated[str | None, typer.Option("--profile", "-P", help="Where it is not the archive's own.")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Throw away results that are here already.")] = False,
) -> None:
    """Take the results of an archive over; `scarafm site` renders them."""
    from .lifeline import exclusive
    from .results_archive import packed_profile, unpack_results
    from .workspace import PROJECT, open_workspace

    name = profile or packed_profile(archive)
    with exclusive(PROJECT / "artifacts"):
        names = unpack_results(open_workspace(name), archive, replace=replace)
    typer.echo(f"done: {len(names)} files. Render them: scarafm site --profile {name}")
