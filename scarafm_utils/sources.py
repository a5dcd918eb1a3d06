"""Where cells come from: one data set in, counts with standard names out.

`fetch` puts a file where it can be read and `load_raw` reads it: counts detected and checked,
obs columns under the words of this project, names ``<dataset>:<sample>:<barcode>``, and which
gene each sample carries in ``varm['measured']``.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import InputError, suggest
from .files import hash_of, sha256_file
from .manifest import Dataset, SourceSpec
from .readers import rds_message, read_file
from .standard import cap_per_sample, standardize

if TYPE_CHECKING:
    import anndata as ad

    from .simulate import Effects

SOURCES = ("simulated", "local", "public", "release")
#: Size of a simulated data set when nobody says one.
SIMULATED_CELLS, SIMULATED_GENES = 500, 400


def fetch(dataset: Dataset, *, source: str, data_dir: str | Path) -> Path:
    """Path of the file or folder that holds `dataset`.

    Parameters
    ----------
    dataset
        An entry of the manifest.
    source
        ``local`` looks in `data_dir` for ``<id>.h5ad``, ``.h5ad.gz``, ``.h5`` or a folder ``<id>``.
    data_dir
        The folder with the user's files.

    Raises
    ------
    InputError
        Where nothing is found, with the names tried; where two files claim to be the data set;
        where only an ``.rds`` is there, with the command that converts it.
    """
    if source not in SOURCES:
        raise InputError(f"source '{source}' is not known: {suggest(source, SOURCES)}.")
    if source == "simulated":
        raise InputError(f"{dataset.id}: simulated cells are made by load_raw, there is no file to fetch.")
    return _local_path(dataset, Path(data_dir))


def load_raw(
    dataset: Dataset,
    *,
    source: str,
    data_dir: str | Path,
    seed: int = 0,
    n_cells: int | None = None,
    n_genes: int | None = None,
    effects: Effects | None = None,
    max_cells: int | None = None,
) -> ad.AnnData:
    """Counts of one data set with standard obs columns and names.

    Parameters
    ----------
    dataset
        An entry of the manifest, which says what the file's columns and words mean.
    source
        ``simulated``, ``local``, ``public`` or ``release``.
    data_dir
        Folder with local or fetched files; not touched by ``simulated``.
    seed
        Of the simulated cells, and of the choice of cells under `max_cells`.
    n_cells, n_genes, effects
        Size and causes of a simulated data set; not used otherwise.
    max_cells
        Keep at most so many cells, drawn in proportion from every sample.

    Returns
    -------
    AnnData
        X: CSR int32 counts (n_cells, n_features), or log-normalised float32 where the manifest says
        ``normalised``.  obs: sample, and condition, genotype, replicate, cell_type, total_counts
        where known.  ``varm['measured']``: bool (n_features, n_samples), columns in ``uns['samples']``.
        ``uns['provenance']``: source, file name, checksum.

    Raises
    ------
    InputError
        Where the file is absent or damaged, holds no counts, lacks a column the manifest names,
        or has a barcode twice in one sample.
    """
    if source == "simulated":
        adata, origin = _simulate(dataset, n_cells=n_cells, n_genes=n_genes, seed=seed, effects=effects)
        spec = SourceSpec()
    else:
        path = fetch(dataset, source=source, data_dir=data_dir)
        spec = dataset.sources.get(dataset.source_name(source), SourceSpec())
        dataset = dataset.read_from(source)
        adata, origin = read_file(path), {"file": path.name, "sha256": _checksum(path)}
    try:
        adata = standardize(adata, dataset, spec=spec)
    except InputError as error:
        raise InputError(_named(error, dataset.id)) from error
    origin |= {"dataset": dataset.id, "source": source, "cells_in_source": adata.n_obs}
    if max_cells is not None and adata.n_obs > max_cells:
        adata = adata[cap_per_sample(adata.obs["sample"], max_cells, seed=seed)].copy()
        origin |= {"max_cells": max_cells, "max_cells_seed": seed}
    adata.uns["provenance"] = {**adata.uns["provenance"], **origin}
    return adata


def _simulate(dataset: Dataset, *, n_cells, n_genes, seed: int, effects) -> tuple[ad.AnnData, dict]:
    from .simulate import Effects, simulate_dataset

    effects = effects or Effects()
    size = {
        "n_cells": n_cells or min(SIMULATED_CELLS, dataset.n_cells),
        "n_genes": n_genes or SIMULATED_GENES,
        "seed": seed,
    }
    adata = simulate_dataset(dataset, **size, effects=effects)
    return adata, {**size, "file": "none: simulated", "effects": hash_of(dataclasses.asdict(effects))}


def _named(error: InputError, dataset_id: str) -> str:
    text = str(error)
    return text if text.startswith(dataset_id) else f"{dataset_id}: {text}"


def _checksum(path: Path) -> str:
    """SHA-256 of a file; of a folder, a hash of its files' names and checksums."""
    if path.is_file():
        return sha256_file(path)
    files = sorted(p for p in path.rglob("*") if p.is_file())
    return hash_of({p.relative_to(path).as_posix(): sha256_file(p) for p in files})


def _local_path(dataset: Dataset, data_dir: Path) -> Path:
    if not data_dir.is_dir():
        raise InputError(f"{dataset.id}: no data folder '{data_dir.name}'. Give the one with your files.")
    spec = dataset.sources.get("local")
    names = [spec.path] if spec and spec.path else _local_names(dataset)
    found = [name for name in names if (data_dir / name).exists()]
    if len(found) == 1:
        return data_dir / found[0]
    if found:
        raise InputError(f"{dataset.id}: {' and '.join(found)} are both in the data folder. Keep one.")
    rds = sorted(p.name for p in data_dir.glob(f"{dataset.id}.rds*"))
    if rds:
        raise InputError(f"{dataset.id}: {rds_message(rds[0])}")
    raise InputError(
        f"{dataset.id}: not in the data folder '{data_dir.name}' (tried {', '.join(names)}). "
        "Put it there under one of these names."
    )


def _local_names(dataset: Dataset) -> list[str]:
    ids = dict.fromkeys([dataset.id, dataset.scplantdb_id or dataset.id])
    return [f"{name}{ending}" for name in ids for ending in (".h5ad", ".h5ad.gz", ".h5", "")]
