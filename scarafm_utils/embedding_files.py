"""Embeddings of anybody's cells: CLS, WM and principal components, written beside what a file holds."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

import numpy as np

from .cell_files import MIN_COVERAGE, CellFile, Coverage, as_h5ad, open_cells
from .checkpoints import load_checkpoint, load_released_checkpoint, read_checkpoint_facts, read_consensus
from .embeddings import SUMMARIES, EmbeddingPCA, add_moments, iter_hidden
from .errors import InputError, suggest
from .features import measured_everywhere
from .files import atomic_path, hash_of, sha256_file
from .genes import harmonize_name
from .hdf5_files import open_hdf5
from .model import default_device
from .reports import EVERY
from .scores import versions
from .workspace import open_workspace

if TYPE_CHECKING:
    import h5py

    from .model import ScAraFM

#: Representations that are one vector per cell; ENS and CNN are classifiers.
VECTORS = (*SUMMARIES, "PCA_1", "PCA_2", "PCA_3")
REAL_WEIGHTS = (
    "For real weights run `make book PROFILE=release` (the authors') or PROFILE=laptop, and give that checkpoint."
)


@dataclass(frozen=True)
class Encoder:
    """A model and what is known of it: `name` for messages, checksum, whether its corpus was real."""

    model: ScAraFM
    name: str
    sha256: str
    corpus_real: bool


@dataclass(frozen=True)
class Embedded:
    """What was written: cells, cells without a count, arrays by name, coverage, where values lay."""

    n_cells: int
    n_empty: int
    shapes: dict[str, tuple[int, int]]
    coverage: Coverage
    values: str


def open_encoder(
    checkpoint: str | Path | None = None,
    *,
    genes: str | Path | None = None,
    profile: str | Path | None = None,
    tissue: str | None = None,
) -> Encoder:
    """Load an encoder: a checkpoint folder, the authors' ``.pth`` with its gene list, or a profile's.

    Parameters
    ----------
    checkpoint
        A folder with ``model.safetensors`` and ``model.json``, or the authors' ``best_model_*.pth``.
    genes
        ``consensus_hvg.csv``, needed for a ``.pth`` and for nothing else.
    profile, tissue
        Instead of `checkpoint`: the encoder that a profile trained for a tissue.
    """
    if (checkpoint is None) == (profile is None) or (profile is None) != (tissue is None):
        raise InputError("give --checkpoint, or --profile and --tissue: one encoder.")
    if checkpoint is None:
        workspace = open_workspace(str(profile))
        workspace.profile.grid(str(tissue))
        checkpoint = workspace.checkpoint_dir(str(tissue))
    path = Path(checkpoint)
    if path.suffix == ".pth":
        return _released(path, genes)
    facts = read_checkpoint_facts(path)
    name = f"of profile {facts['profile']}" if facts.get("profile") else path.name
    model = load_checkpoint(path, device=default_device())
    return Encoder(model, f"encoder {name}", facts["weights_sha256"], facts["corpus_real"])


def check_meeting(cells: CellFile, what: str, *, trained_on_real: bool, way_out: str) -> None:
    """Refuse real cells where `what` was trained on simulated ones: what it learnt is made up."""
    if not (trained_on_real or cells.simulated):
        raise InputError(
            f"{cells.name}: real cells (no mark of the simulator), but the {what} was trained on simulated ones. "
            + way_out
        )


def embed_file(
    path: str | Path,
    out: str | Path,
    *,
    encoder: Encoder,
    representations: Sequence[str] = ("CLS", "WM"),
    values: str = "auto",
    total_key: str | None = None,
    min_coverage: float = MIN_COVERAGE,
    batch_size: int = 32,
    force: bool = False,
    report: Callable[[str], None] | None = None,
) -> Embedded:
    """Copy a file of cells and add their embeddings to ``obsm``, as ``X_CLS``, ``X_WM``, ``X_PCA_1`` ….

    The cells pass the encoder in parts, twice where principal components are asked for, and only
    one part is in memory.  Genes of the vocabulary that the file does not measure are MASK; WM and the
    components are over those it measures.  Components are those of these very cells, all of them.

    Parameters
    ----------
    path, values, total_key
        See :func:`scarafm_utils.cell_files.open_cells`.
    out
        The ``.h5ad`` to write, whole or not at all; ``uns['scarafm']`` says what was done.
    min_coverage
        Least share of the vocabulary that must be measured.
    force
        Replace `out` where it exists.
    report
        Called with a line after each part, twice a minute within a long one, and with what is to be known before.

    Raises
    ------
    InputError
        A representation that is no vector, real cells under an encoder of simulated ones, too few genes
        of the vocabulary, an `out` that exists, and whatever the file lacks.
    """
    path, out = Path(path), Path(out)
    for name in representations:
        if name not in VECTORS:
            raise InputError(f"representations: '{name}' cannot be written for a cell, {suggest(name, VECTORS)}.")
    refuse_to_replace(out, force=force)
    if out.suffix != ".h5ad":
        raise InputError(f"{out.name}: name a file that ends in .h5ad.")
    with as_h5ad(path) as plain, open_cells(plain, values=values, total_key=total_key) as cells:
        cells.name = path.name
        check_meeting(cells, encoder.name, trained_on_real=encoder.corpus_real, way_out=REAL_WEIGHTS)
        cells.coverage(encoder.model.genes).check(min_coverage, cells.name)
        report = report or (lambda line: None)
        if cells.hint:
            report(cells.hint)
        with atomic_path(out) as temporary:
            shutil.copyfile(plain, temporary)
            temporary.chmod(0o644)
            with open_hdf5(temporary, "r+") as file:
                return _write(cells, file, encoder, list(representations), batch_size, report)


def refuse_to_replace(out: Path, *, force: bool) -> None:
    """Refuse to write over what is there."""
    if out.exists() and not force:
        raise InputError(f"{out}: exists; give another --out, or --force to replace it.")


def _released(path: Path, genes: str | Path | None) -> Encoder:
    """The authors' weights; their gene names as loci."""
    if genes is None:
        raise InputError(f"{path.name}: weights carry no gene names; give their consensus_hvg.csv with --genes.")
    for needed in (path, Path(genes)):
        if not needed.exists():
            raise InputError(f"{needed}: no such file.")
    model = load_released_checkpoint(path, genes)
    model.genes = tuple(harmonize_name(gene) for gene in read_consensus(genes))
    return Encoder(model, f"encoder {path.name}", sha256_file(path), corpus_real=True)


def _write(cells: CellFile, file: h5py.File, encoder: Encoder, names: list[str], batch_size: int, report) -> Embedded:
    """Fill ``obsm`` and ``uns['scarafm']`` of an open copy of the cells."""
    model, arrays, moments, pca = encoder.model, {}, None, {}
    k = max((int(name[-1]) for name in names if name.startswith("PCA_")), default=0)
    if k > model.config.dim:
        raise InputError(f"PCA_{k} of embeddings with {model.config.dim} dimensions: use PCA_{model.config.dim}.")
    for rows, h, x in _hidden(cells, model, batch_size, report):
        for name in (n for n in names if n in SUMMARIES):
            _put(file, arrays, name, rows, SUMMARIES[name](h, x).cpu().numpy(), cells.n_cells)
        moments = add_moments(moments, h) if k else None
    coverage = cells.coverage(model.genes)
    if k:
        fitted = EmbeddingPCA(k).fit_moments(*moments)
        for rows, h, _ in _hidden(cells, model, batch_size, report):
            scores = fitted.transform(h).cpu().numpy().reshape(len(h), -1, k)
            for name in (n for n in names if n.startswith("PCA_")):
                flat = scores[:, :, : int(name[-1])].reshape(len(h), -1)
                _put(file, arrays, name, rows, flat, cells.n_cells)
        pca = {
            "pca_components": fitted.components_.cpu().numpy(), "pca_mean": fitted.mean_.cpu().numpy(),
            "pca_genes": np.array([g for g in model.genes if g not in coverage.missing], dtype=object),
            "pca_fitted_on": "all cells of this file",
        }  # fmt: skip
    _write_facts(file, cells, encoder, coverage, batch_size, pca)
    shapes = {f"X_{name}": arrays[name].shape for name in names}
    where = f"{cells.place} ({'log1p of counts per 10,000' if cells.log else 'counts'})"
    return Embedded(cells.n_cells, int(cells.empty.sum()), shapes, coverage, where)


def _hidden(cells: CellFile, model: ScAraFM, batch_size: int, report):
    """Rows, embeddings (B, G + 1, d) and expression (B, G) over the G genes that the file measures."""
    told = monotonic()
    for part, adata in cells.parts(model.genes):
        columns = np.flatnonzero(measured_everywhere(adata))
        positions = np.append(columns, len(model.genes))
        start = part.start
        for h in iter_hidden(model, adata, batch_size=batch_size):
            rows = slice(start, start + len(h))
            x = adata.X[rows.start - part.start : rows.stop - part.start][:, columns]
            yield rows, h[:, positions], x
            start = rows.stop
            if start == part.stop or monotonic() - told >= EVERY:
                report(f"{start:,} of {cells.n_cells:,} cells")
                told = monotonic()


def _put(file: h5py.File, arrays: dict, name: str, rows: slice, values: np.ndarray, n_cells: int) -> None:
    """Write rows of ``obsm['X_<name>']``; the array is made at the first ones."""
    if name not in arrays:
        group = file.require_group("obsm")
        group.attrs.setdefault("encoding-type", "dict")
        group.attrs.setdefault("encoding-version", "0.1.0")
        if f"X_{name}" in group:
            del group[f"X_{name}"]
        arrays[name] = group.create_dataset(f"X_{name}", (n_cells, values.shape[1]), dtype="f4")
        arrays[name].attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
    arrays[name][rows] = values


def _write_facts(
    file: h5py.File, cells: CellFile, encoder: Encoder, coverage: Coverage, batch_size: int, pca: dict
) -> None:
    """``uns['scarafm']``: with which encoder, from which values, over which genes."""
    from anndata.io import write_elem

    facts = {
        "encoder": encoder.name, "encoder_sha256": encoder.sha256, "encoder_corpus_real": encoder.corpus_real,
        "cells_simulated": cells.simulated, "values_in": cells.place, "values_were_log1p": cells.log,
        "total_key": cells.total_key or "sum over nuclear loci", "vocabulary": hash_of(list(encoder.model.genes)),
        "genes_wanted": coverage.wanted, "genes_measured": coverage.matched, "share_of_counts": coverage.share or 0.0,
        "missing_genes": np.array(coverage.missing, dtype=object), "batch_size": batch_size,
        "key_max": encoder.model.config.key_max, "versions": versions(), **pca,
    }  # fmt: skip
    uns = file.require_group("uns")
    uns.attrs.setdefault("encoding-type", "dict")
    uns.attrs.setdefault("encoding-version", "0.1.0")
    if "scarafm" in uns:
        del uns["scarafm"]
    write_elem(uns, "scarafm", facts)
