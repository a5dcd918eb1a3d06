"""The commands about anybody's cells: embed, train-head and predict."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .errors import InputError
from .run_commands import ProfileOption

app = typer.Typer()

FileArgument = Annotated[Path, typer.Argument(help="Cells: .h5ad, .h5ad.gz, 10x .h5 or a 10x folder.")]
ValuesOption = Annotated[str, typer.Option(help="auto, counts, or log1p (of counts per 10,000).")]
TotalOption = Annotated[
    str | None, typer.Option(help="obs column with each cell's total, where genes were dropped from the counts.")
]
CoverageOption = Annotated[float, typer.Option(min=0, max=1, help="Least share of the genes that must be measured.")]
BatchOption = Annotated[int, typer.Option(min=1, help="Cells per forward pass.")]
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
    batch_size: BatchOption = 32,
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


@app.command()
def train_head(
    task: Annotated[str, typer.Argument(help="random:SET, replicate:SET or cross:SOURCE:TARGET.")],
    *,
    out: Annotated[Path, typer.Option(help="The folder to write.")],
    profile: ProfileOption = "demo",
    label: Annotated[str, typer.Option(help="A label of the manifest.")] = "stress",
    representation: Annotated[str, typer.Option(help="raw, CLS, WM, PCA_1, PCA_2 or PCA_3.")] = "raw",
    head: Annotated[str, typer.Option(help="LR, XGB or MLP.")] = "LR",
    n_train: Annotated[str, typer.Option(help="A number of cells, or all.")] = "all",
    seed: Annotated[int, typer.Option(min=0, help="Of the split and the head.")] = 0,
    force: ForceOption = False,
) -> None:
    """Train a head on the cells of a task and store it for `scarafm predict`."""
    from .configurations import make_request
    from .predictions import caveats
    from .stored_heads import train_head as train
    from .workspace import open_workspace

    workspace = open_workspace(profile)
    workspace = open_workspace(profile, threads=workspace.profile.threads)
    size = int(n_train) if n_train.isdigit() else n_train
    make_request(workspace.profile.evaluation, n_train=[size])  # refuses what is no size
    stored = train(
        workspace, task, out, representation=representation, head=head, label=label, n_train=size, seed=seed,
        force=force,
    )  # fmt: skip
    for line in caveats(stored):
        typer.echo(line)
    typer.echo(f"done: {out}; use it with: scarafm predict FILE --head {out} --out scores.csv")


@app.command()
def predict(
    file: FileArgument,
    *,
    head: Annotated[Path, typer.Option(help="Folder of a stored head, made by train-head.")],
    out: Annotated[Path, typer.Option(help="scores.csv, or an .h5ad with the scores in obs.")],
    values: ValuesOption = "auto",
    total_key: TotalOption = None,
    min_coverage: CoverageOption = 0.9,
    batch_size: BatchOption = 32,
    device: DeviceOption = "auto",
    force: ForceOption = False,
) -> None:
    """Label anybody's cells with a stored head, and say what the scores are worth."""
    from .predictions import caveats, predict_file
    from .stored_heads import load_head

    stored = load_head(head)
    if stored.encoder is not None:
        stored.encoder.to(choose_device(device))
    found = predict_file(
        file, out, stored=stored, values=values, total_key=total_key, min_coverage=min_coverage,
        batch_size=batch_size, force=force, report=_progress,
    )  # fmt: skip
    for line in caveats(stored):
        typer.echo(line)
    typer.echo(f"genes of the head: {found.coverage}")
    if found.coverage.missing:
        typer.echo("a gene that is not measured was read as not expressed (raw) or not seen (encoder)")
    if found.empty:
        typer.echo(f"{found.empty:,} cells have no count in a nuclear locus: their label means nothing")
    typer.echo(f"done: {', '.join(f'{n:,} cells {name}' for name, n in found.labels.items())}; {out}")


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
