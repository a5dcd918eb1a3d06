"""The commands about anybody's cells: embed, train-head and predict."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .errors import InputError

app = typer.Typer()

FileArgument = Annotated[Path, typer.Argument(help="Cells: .h5ad, .h5ad.gz, 10x .h5 or a 10x folder.")]
ValuesOption = Annotated[str, typer.Option(help="auto, counts, or log1p (of counts per 10,000).")]
TotalOption = Annotated[
    str | None, typer.Option(help="obs column with each cell's total, where genes were dropped from the counts.")
]
CoverageOption = Annotated[float, typer.Option(min=0, max=1, help="Least share of the genes that must be measured.")]
DeviceOption = Annotated[str, typer.Option(help="cpu, cuda, or auto: a GPU where there is one.")]
ForceOption = Annotated[bool, typer.Option("--force", help="Replace what is at --out.")]


@app.command()
def embed(
    file: FileArgument,
    *,
    out: Annotated[Path, typer.Option(help="The .h5ad to write: the cells and their embeddings in obsm.")],
    checkpoint: Annotated[
        Path | None, typer.Option(help="Folder of a checkpoint, or the authors' .pth (then --genes too).")
    ] = None,
    genes: Annotated[Path | None, typer.Option(help="consensus_hvg.csv of the authors' weights.")] = None,
    profile: Annotated[str | None, typer.Option("--profile", "-P", help="Instead: the encoder of a profile …")] = None,
    tissue: Annotated[str | None, typer.Option(help="… and tissue.")] = None,
    representations: Annotated[str, typer.Option(help="CLS, WM, PCA_1, PCA_2, PCA_3, with commas.")] = "CLS,WM",
    values: ValuesOption = "auto",
    total_key: TotalOption = None,
    min_coverage: CoverageOption = 0.5,
    batch_size: Annotated[int, typer.Option(min=1, help="Cells per forward pass.")] = 32,
    device: DeviceOption = "auto",
    force: ForceOption = False,
) -> None:
    """Write CLS and WM of anybody's cells into obsm (X_CLS, X_WM, X_PCA_1 …)."""
    from .embedding_files import embed_file, open_encoder

    encoder = open_encoder(checkpoint, genes=genes, profile=profile, tissue=tissue)
    encoder.model.to(choose_device(device))
    found = embed_file(
        file, out, encoder=encoder, representations=_names(representations), values=values, total_key=total_key,
        min_coverage=min_coverage, batch_size=batch_size, force=force, report=_progress,
    )  # fmt: skip
    typer.echo(f"values: {found.values}")
    typer.echo(f"vocabulary: {found.coverage}")
    if found.n_empty:
        typer.echo(f"{found.n_empty:,} of {found.n_cells:,} cells have no count in a nuclear locus")
    for name, (n, width) in found.shapes.items():
        typer.echo(f"obsm['{name}']: {n:,} × {width:,}")
    typer.echo(f"done: {out}; uns['scarafm'] says how it was made")


def choose_device(name: str):
    """The torch device of that name; "auto" takes a GPU where there is one."""
    import torch

    if name not in ("auto", "cpu", "cuda"):
        raise InputError(f"device: '{name}' is not known. Allowed: auto, cpu, cuda.")
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("device: cuda, but torch finds no GPU here. Use --device cpu.")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def _names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    if not names:
        raise InputError("representations: name one or more, with commas.")
    return names


def _progress(line: str) -> None:
    typer.echo(line, err=True)
