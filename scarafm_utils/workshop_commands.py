"""The commands about the workshop: its folder, its data and its pages."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer()


@app.command()
def workshop(
    out: Annotated[Path, typer.Option(help="A new folder: notebooks, data, package, what to install.")],
    solutions: Annotated[bool, typer.Option("--solutions", help="Add the notebooks with solutions.")] = False,
) -> None:
    """Write the folder that a class works in; it needs neither torch nor XGBoost."""
    from .episodes import write_class_folder
    from .workshop import FOLDERS, class_workspace

    if not any((folder / "facts.json").exists() for folder in FOLDERS):
        from .workshop_data import make_class_data

        make_class_data(class_workspace())
    typer.echo(f"done: {write_class_folder(out, solutions=solutions)}")


@app.command("workshop-data", hidden=True)
def workshop_data() -> None:
    """Simulate, train and embed what the episodes read (called by the build)."""
    from .workshop import class_workspace
    from .workshop_data import make_class_data

    make_class_data(class_workspace())
    typer.echo("done: data of the workshop")


@app.command(hidden=True)
def episode(name: str, out: Annotated[Path, typer.Option(help="Where the page goes.")]) -> None:
    """Execute one episode of the workshop with its solutions (called by the build)."""
    from .episodes import run_episode

    run_episode(name, out=out)
    typer.echo(f"done: workshop {name}")
