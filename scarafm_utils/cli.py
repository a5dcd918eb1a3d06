"""The command ``scarafm``.  Heavy modules are imported by the command that needs them."""

from __future__ import annotations

import errno
import sys
from pathlib import Path
from typing import Annotated

import typer

from . import cell_commands, data_commands, run_commands, site_commands, workshop_commands
from .errors import ChapterError, InputError
from .lifeline import follow_build
from .run_commands import ProfileOption

app = typer.Typer(
    help="A paper one can open, rerun and teach from.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(run_commands.app)
app.add_typer(cell_commands.app)
app.add_typer(workshop_commands.app)
app.add_typer(site_commands.app)
app.add_typer(data_commands.app, name="data")

DataDirOption = Annotated[Path | None, typer.Option(help="Folder with the data files (local and public sources).")]


@app.command()
def build(
    profile: ProfileOption = "demo",
    data_dir: DataDirOption = None,
    cores: Annotated[int, typer.Option(min=1, help="Cores that Snakemake may use.")] = 2,
    slurm: Annotated[bool, typer.Option("--slurm", help="Hand the runs to Slurm (profiles/slurm).")] = False,
) -> None:
    """Run a profile's whole grid and render the book (what `make book` calls)."""
    from .grid import build_book

    page = build_book(profile, data_dir=data_dir, cores=cores, slurm=slurm)
    typer.echo(f"The book is ready: open {page} in a browser, or type `make serve`.")


@app.command()
def chapters() -> None:
    """List the chapters that `scarafm run` knows."""
    from .chapters import list_chapters

    for chapter in list_chapters():
        unit = f"one run for each {chapter.unit}" if chapter.unit else "one run"
        typer.echo(f"{chapter.name:16} notebooks/{chapter.notebook:22} {unit}")


@app.command()
def params(chapter: str) -> None:
    """Show a chapter's parameters: type, default, allowed values and help."""
    from .chapters import CHOICES, parameters

    for p in parameters(chapter).values():
        typer.echo(f"{p.name} ({p.type}, default {p.default!r}): {p.help}")
        if p.name in CHOICES:
            typer.echo(f"    allowed: {', '.join(CHOICES[p.name])}")


@app.command()
def collect(profile: ProfileOption = "demo") -> None:
    """Gather the results of all runs into tables/results.csv."""
    from .evaluation import collect_results
    from .workspace import open_workspace

    workspace = open_workspace(profile)
    typer.echo(f"done: {len(collect_results(workspace))} results in {workspace.profile.name}/tables/results.csv")


@app.command()
def maps(tissue: str, profile: ProfileOption = "demo", threads: Annotated[int, typer.Option(min=1)] = 1) -> None:
    """Lay the cells of each data set of a tissue out in two dimensions, all in one process."""
    from .maps import write_maps
    from .workspace import open_workspace

    table = write_maps(open_workspace(profile, threads=threads), tissue)
    typer.echo(f"done: maps {tissue}, {table['datasets'].nunique()} sets of cells")


@app.command()
def site(profile: ProfileOption = "demo") -> None:
    """Render the runs that a profile already has."""
    from .site import build_site
    from .workspace import open_workspace

    page = build_site(open_workspace(profile))
    typer.echo(f"done: {len(list(page.parent.rglob('*.html')))} pages")


def main() -> None:
    """Entry point: bad input ends with one line and status 2, never with a traceback.

    A failure inside a notebook shows the notebook's own traceback and ends with status 1.
    """
    follow_build()
    try:
        app()
    except InputError as error:
        line = str(error).replace("\n", "\\n")  # a value that was given may hold a line break
        sys.stderr.write(f"scarafm: {line}\n")
        sys.exit(2)
    except OSError as error:
        if error.errno not in {errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EISDIR}:
            raise
        sys.stderr.write(f"scarafm: {error.filename}: {error.strerror}.\n")
        sys.exit(2)
    except ChapterError as error:
        sys.stderr.write(f"{error.traceback}\nscarafm: {error}\n")
        sys.exit(1)
