"""The commands ``scarafm data``: list, fetch, verify, path and init."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .errors import InputError

app = typer.Typer(help="The 31 data sets of the manifest.", no_args_is_help=True)

Ids = Annotated[list[str] | None, typer.Argument(help="Data sets by id.", show_default=False)]
Tissue = Annotated[str | None, typer.Option(help="Only data sets of this tissue: leaf or root.")]
Role = Annotated[str | None, typer.Option(help="Only data sets of this role: downstream or pretraining.")]
ProfileName = Annotated[
    str | None, typer.Option("--profile", "-P", help="Data sets, source and folder of this profile, unless given.")
]
Source = Annotated[str | None, typer.Option(help="public, release, local, or a key of sources in the manifest.")]
DataDir = Annotated[Path | None, typer.Option(help="Folder with the data files. Default: the profile's, else data/.")]
Manifest = Annotated[Path | None, typer.Option(help="Another manifest than data_manifest.yaml.")]


@app.command("list")
def data_list(
    tissue: Tissue = None,
    role: Role = None,
    profile: ProfileName = None,
    source: Source = None,
    data_dir: DataDir = None,
    manifest: Manifest = None,
) -> None:
    """List data sets: tissue, role, cells, size of the download, what is on disk, stress."""
    from .data_requests import read_request
    from .inventory import expected_files, in_bytes, inspect

    asked = read_request(
        tissue=tissue, role=role, profile=profile, source=source, data_dir=data_dir, manifest=manifest
    )
    for d in asked.datasets:
        size, state = "", "not offered"
        if asked.offers(d):
            sizes = [f.bytes for f in expected_files(d, source=asked.source, data_dir=asked.folder)]
            size = in_bytes(sum(sizes)) if sizes and all(sizes) else "unknown"
            state = inspect(d, source=asked.source, data_dir=asked.folder, hashed=False).state
        line = f"{d.id:12} {d.tissue:5} {d.role:12} {d.n_cells:>8,} cells  {size:>8}  {state:11}  {d.stress or ''}"
        typer.echo(line.rstrip())


@app.command("fetch")
def data_fetch(
    ids: Ids = None,
    everything: Annotated[bool, typer.Option("--all", help="Every data set of the manifest.")] = False,
    attempts: Annotated[int, typer.Option(min=1, help="Tries in a row without a byte before one is given up.")] = 5,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds without a byte that count as broken off.")] = 60.0,
    tissue: Tissue = None,
    role: Role = None,
    profile: ProfileName = None,
    source: Source = None,
    data_dir: DataDir = None,
    manifest: Manifest = None,
) -> None:
    """Download data sets: resumed, checked, and recorded; those that are there whole are left alone."""
    from .data_requests import read_request
    from .downloads import Network
    from .fetching import count_of, fetch_all, shown

    if not (ids or everything or tissue or role or profile):
        raise InputError("which data sets? Give ids, --tissue, --role, --profile or --all.")
    asked = read_request(
        ids, tissue=tissue, role=role, profile=profile, source=source, data_dir=data_dir, manifest=manifest
    )
    if asked.source == "local":
        raise InputError("local files are your own: there is nothing to fetch. scarafm data path says where they go.")
    failed = fetch_all(asked, network=Network(attempts, timeout, backoff=min(1.0, timeout)))
    n = len(asked.datasets)
    if failed:
        _complain(f"scarafm: {len(failed)} of {n} failed: {', '.join(failed)}. Run the same command again to go on.")
        raise typer.Exit(1)
    typer.echo(f"{count_of(n, 'data set')} in {shown(asked.folder)}, whole.")


@app.command("verify")
def data_verify(
    ids: Ids = None,
    tissue: Tissue = None,
    role: Role = None,
    profile: ProfileName = None,
    source: Source = None,
    data_dir: DataDir = None,
    manifest: Manifest = None,
) -> None:
    """Read the files again and compare sizes and checksums with the manifest and the lock file."""
    from .data_requests import read_request
    from .fetching import count_of, shown
    from .inventory import inspect

    asked = read_request(
        ids, tissue=tissue, role=role, profile=profile, source=source, data_dir=data_dir, manifest=manifest
    )
    states = []
    for d in filter(asked.offers, asked.datasets):
        found = inspect(d, source=asked.source, data_dir=asked.folder, hashed=True)
        states.append(found.state)
        if ids or found.state not in ("absent", "by hand"):
            typer.echo(f"{d.id:12} {found.state:10} {found.detail}".rstrip())
    present = sum(state in ("there", "whole") for state in states)
    typer.echo(f"{present} of {count_of(len(asked.datasets), 'data set')} in {shown(asked.folder)}.")
    bad = states.count("damaged") + states.count("incomplete") + (len(asked.datasets) - present if ids else 0)
    if bad or not present:
        _complain("scarafm: not all is well; scarafm data fetch brings what is missing or damaged.")
        raise typer.Exit(1)


@app.command("path")
def data_path(
    dataset: Annotated[str, typer.Argument(help="Id of a data set.")],
    profile: ProfileName = None,
    source: Source = None,
    data_dir: DataDir = None,
    manifest: Manifest = None,
) -> None:
    """Print where the file of a data set is, or would be."""
    from .data_requests import read_request
    from .inventory import locate

    asked = read_request([dataset], profile=profile, source=source, data_dir=data_dir, manifest=manifest)
    path = locate(asked.datasets[0], source=asked.source, data_dir=asked.folder)
    typer.echo(path.absolute())
    if not path.exists():
        _complain("(not there yet)")


@app.command("init")
def data_init(
    file: Annotated[Path, typer.Argument(help="An .h5ad or 10x .h5 file, or a folder of libraries.")],
    out: Annotated[Path | None, typer.Option(help="Where the manifest goes. Default: <id>_manifest.yaml.")] = None,
    dataset_id: Annotated[str | None, typer.Option("--id", help="Id of the entry. Default: the file's name.")] = None,
    tissue: Tissue = None,
) -> None:
    """Look at a file of one's own and write a manifest entry to be completed."""
    from .designs import verdicts
    from .files import write_text
    from .manifest_draft import FILL_IN, entry_text, look_at

    draft = look_at(file, dataset_id=dataset_id)
    out = out or Path(f"{draft.dataset_id}_manifest.yaml")
    if out.exists():
        raise InputError(f"{out.name} is there already: remove it, or give another name with --out.")
    text = entry_text(draft, tissue=tissue or FILL_IN, local_name=file.name)
    write_text(out, text)
    typer.echo(f"{draft.dataset_id}: {draft.n_cells:,} cells, libraries seen: {draft.n_libraries}.")
    for standard, column in draft.columns.model_dump().items():
        typer.echo(f"  {standard:12} {column or '-'}")
    for verdict in verdicts(draft.design, partners=None) if draft.design else []:
        typer.echo(f"  {verdict.protocol:12} {verdict.answer}: {verdict.reason}")
    for remark in draft.remarks:
        typer.echo(f"  note: {remark}")
    n_open = text.count(FILL_IN)
    todo = f"fill in {n_open} x {FILL_IN} and check the rest" if n_open else "check every line"
    typer.echo(f"Written to {out}: {todo}.")


def _complain(text: str) -> None:
    typer.echo(text, err=True)


@app.command("example")
def data_example(
    folder: Annotated[Path, typer.Argument(help="Where the files go.")],
    cells: Annotated[int, typer.Option(min=40, help="Cells of each study.")] = 400,
) -> None:
    """Write two small simulated studies, with a manifest, to try one's own data with."""
    from .own_example import write_example

    for path in write_example(folder, n_cells=cells):
        typer.echo(path)
