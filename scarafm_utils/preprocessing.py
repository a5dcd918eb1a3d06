"""From counts to a shared vocabulary (the paper's A.1.1), one data set in memory at a time.

Harmonise loci, sum duplicates, keep nuclear loci, normalise, find each data set's highly variable
genes, agree on a vocabulary, and write every data set in its order.
"""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .blocks import join_blocks, without_matrix
from .errors import InputError
from .files import write_csv
from .genes import harmonize_loci, harmonize_name, keep_nuclear_loci, sum_duplicate_genes
from .hdf5_files import write_h5ad
from .hub import fetch_release
from .labels import add_labels
from .manifest import Dataset
from .normalization import as_csr, normalize, with_matrix
from .processing_tables import dataset_row, sample_table
from .profiles import ReleaseFiles
from .rows import FILE_BLOCK, RowStore, take_columns
from .sources import iter_raw
from .tenx import quiet_names
from .vocabulary import (
    GeneMoments,
    consensus_hvgs,
    hvg_overlap,
    hvg_table,
    measured_genes,
    rank_genes,
    to_vocabulary,
    vocabulary_columns,
    with_vocabulary,
)

if TYPE_CHECKING:
    import anndata as ad
    import pandas as pd

    from .workspace import Workspace

__all__ = [
    "add_labels",
    "consensus_hvgs",
    "hvg_overlap",
    "hvg_table",
    "normalize",
    "preprocess_dataset",
    "preprocess_tissue",
    "rank_genes",
    "sample_table",
    "to_vocabulary",
    "write_h5ad",
]


def preprocess_dataset(adata: ad.AnnData, dataset: Dataset, *, target_sum: float = 1e4) -> ad.AnnData:
    """Counts of one data set to log-normalised nuclear loci with labels; empty cells dropped.

    Values that the manifest calls normalised are not normalised again and their duplicate genes
    are refused, since logarithms cannot be summed.
    """
    block = _log_block(adata, dataset, target_sum=target_sum)
    _check_cells(block, dataset)
    return add_labels(block, dataset)


def preprocess_tissue(workspace: Workspace, tissue: str, *, max_values: int = FILE_BLOCK) -> pd.DataFrame:
    """Process all data sets that a profile uses in one tissue (A.1.1), one at a time.

    A large file is read and processed in blocks of cells, whose values wait on disk until the
    vocabulary is known: memory holds one block, not a data set and never the tissue.  A profile
    with several threads has so many data sets in work at once, each with a block of its own.

    Writes ``processed/<tissue>/<id>.h5ad``, ``vocabulary/<tissue>.csv``,
    ``tables/preprocessing-<tissue>.csv`` and ``tables/hvg-<tissue>.csv``.  With the feature set
    ``intersection`` only genes measured in every sample of every data set can enter the vocabulary,
    and the best `n_vocabulary` of those are taken; with ``union`` every nuclear locus measured
    anywhere can, those that no data set measures in all its samples last, by name.  The source
    ``release`` brings its own gene list, which is taken whole and in its order.

    Parameters
    ----------
    workspace
        An open profile.
    tissue
        One of its tissues.
    max_values
        Stored values of a block; the results depend neither on it nor on the number of threads.

    Returns
    -------
    DataFrame
        One row for each data set: cells and genes read, matched, renamed, merged, dropped by
        reason, kept; n_hvg.
    """
    datasets = workspace.datasets(tissue)
    if not datasets:
        raise InputError(f"profile '{workspace.profile.name}' uses no data set of tissue '{tissue}'.")
    threads = workspace.profile.threads
    with _scratch_folder(workspace.processed_path(tissue, "x").with_name(".partial")) as partial:
        process = functools.partial(_process, workspace, folder=partial, max_values=max_values)
        found = dict(zip([d.id for d in datasets], _each(process, datasets, threads=threads), strict=True))
        vocabulary = _vocabulary(workspace, tissue, found)
        finish = functools.partial(_finish, workspace, tissue, folder=partial, genes=vocabulary["gene"].tolist())
        for name, n_measured in zip(found, _each(finish, found, threads=threads), strict=True):
            found[name].row["n_vocabulary"] = n_measured
    return _write_tables(workspace, tissue, found, vocabulary)


@dataclass(frozen=True)
class _Processed:
    """What is known of a data set whose values wait on disk."""

    row: dict
    variable: pd.DataFrame
    everywhere: set[str]
    anywhere: set[str]


def _each(function: Callable, items: Iterable, *, threads: int) -> list:
    """The results of all items in their order; after an error, items not yet begun are left."""
    if threads == 1:
        return [function(item) for item in items]
    with quiet_names(), ThreadPoolExecutor(threads) as pool:  # what a thread ignores, all must ignore
        return list(pool.map(function, items))


@contextmanager
def _scratch_folder(folder: Path) -> Iterator[Path]:
    """An empty folder that is gone afterwards; what a killed run left in it goes first."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def _describe_normalised(adata: ad.AnnData) -> ad.AnnData:
    """Set n_genes of values that came normalised; their total is known only where obs tells it."""
    result = with_matrix(adata, adata.X)
    result.obs["n_genes"] = as_csr(adata.X).getnnz(axis=1)
    result.uns["normalization"] = {"total_key": "normalised in the source"}
    return result


def _log_block(adata: ad.AnnData, dataset: Dataset, *, target_sum: float) -> ad.AnnData:
    """Log-normalised nuclear loci of some cells of a data set, those without a count left out."""
    import numpy as np

    adata = harmonize_loci(adata, aliases=dataset.aliases)
    if "log1p" in adata.uns:
        if adata.var_names.has_duplicates:
            raise InputError(f"{dataset.id}: normalised with a gene twice; logarithms cannot be summed.")
        adata = _describe_normalised(keep_nuclear_loci(adata))
    else:
        total_key = "total_counts" if dataset.obs.total_counts and "total_counts" in adata.obs else None
        adata = keep_nuclear_loci(sum_duplicate_genes(adata))
        adata = normalize(adata, target_sum=target_sum, total_key=total_key)
    full = adata.obs["n_genes"].to_numpy() > 0
    kept = adata if full.all() else adata[full].copy()
    kept.uns["cells"] = {"read": adata.n_obs, "dropped_empty": int(np.sum(~full)), "kept": int(np.sum(full))}
    return kept


def _check_cells(adata: ad.AnnData, dataset: Dataset) -> None:
    if adata.n_obs == 0:
        raise InputError(f"{dataset.id}: no cell has a count in a nuclear locus.")


def _process(workspace: Workspace, dataset: Dataset, *, folder: Path, max_values: int) -> _Processed:
    """Process a data set; its tables and values stay in `folder`."""
    adata, moments = _read_and_process(workspace, dataset, folder, max_values)
    variable = hvg_table(adata, n_top_genes=workspace.profile.preprocessing.n_top_genes, moments=moments)
    write_h5ad(folder / f"{dataset.id}.h5ad", adata)
    carried = measured_genes(adata)
    genes = [set(adata.var_names[carried.all(axis=1)]), set(adata.var_names[carried.any(axis=1)])]
    return _Processed(dataset_row(adata, dataset, variable), variable, *genes)


def _read_and_process(
    workspace: Workspace, dataset: Dataset, folder: Path, max_values: int
) -> tuple[ad.AnnData, GeneMoments]:
    """The tables of a data set without its matrix, which goes to `folder`, and its genes' moments."""
    profile = workspace.profile
    blocks = iter_raw(
        dataset,
        source=profile.source,
        data_dir=workspace.data_dir,
        seed=profile.seed,
        n_cells=getattr(profile.data.simulated_cells, dataset.role),
        n_genes=profile.data.simulated_genes,
        max_cells=profile.data.max_cells.of(dataset.role),
        release=profile.release,
        max_values=max_values,
    )
    described = dataset if workspace.simulated else dataset.read_from(profile.source)
    tables, moments = [], None
    for raw in blocks:
        block = _log_block(raw, described, target_sum=profile.preprocessing.target_sum)
        del raw  # its memory is needed for the next block
        RowStore(folder / dataset.id, n_columns=block.n_vars).append(block.X)
        found = GeneMoments.of(block.X)
        moments = found if moments is None else moments + found
        tables.append(without_matrix(block))
        del block
    adata = join_blocks(tables, dataset.id)
    _check_cells(adata, dataset)
    adata = add_labels(adata, described)
    adata.uns["provenance"] = {
        **adata.uns["provenance"],
        "parameters": profile.preprocessing.model_dump(exclude_none=True),
        "versions": _versions(),
    }
    return adata, moments


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    from . import __version__

    names = ("anndata", "numpy", "pandas", "scanpy", "scipy")
    return {"scarafm_utils": __version__, **{name: version(name) for name in names}}


def _vocabulary(workspace: Workspace, tissue: str, found: dict[str, _Processed]) -> pd.DataFrame:
    """The ranked vocabulary; see `preprocess_tissue` for the two feature sets."""
    import pandas as pd

    settings = workspace.profile.preprocessing
    ranked = rank_genes([one.variable for one in found.values()])
    if workspace.profile.source == "release" and (release := workspace.profile.release):
        return _released_vocabulary(release, tissue, workspace.data_dir, ranked)
    if settings.feature_set == "intersection":
        shared = set.intersection(*(one.everywhere for one in found.values()))
        ranked = ranked[ranked["gene"].isin(shared)]
    else:
        anywhere = set.union(*(one.anywhere for one in found.values()))
        rest = pd.DataFrame({"gene": sorted(anywhere - set(ranked["gene"])), "n_datasets": 0})
        ranked = pd.concat([ranked, rest], ignore_index=True)
    if ranked.empty:
        raise InputError(
            f"no gene is measured in every sample of {', '.join(found)}. "
            "Leave a data set out, or set preprocessing.feature_set: union."
        )
    return ranked.head(settings.n_vocabulary or len(ranked)).reset_index(drop=True)


def _released_vocabulary(
    release: ReleaseFiles, tissue: str, data_dir: Path, ranked: pd.DataFrame
) -> pd.DataFrame:
    """The authors' gene list whole and in its own order, which is that of their weights."""
    import pandas as pd

    pattern = {str(k): v for k, v in release.vocabulary.items()}[tissue]
    found = fetch_release([pattern], data_dir=data_dir, repo=release.repo, revision=release.revision)
    if len(found) != 1:
        raise InputError(f"release.vocabulary.{tissue}: '{pattern}' matches {len(found)} files; name one.")
    listed = pd.read_csv(found[0])
    if "gene_name" not in listed:
        raise InputError(f"{found[0].name}: no column 'gene_name' (found: {', '.join(listed.columns)}).")
    genes = pd.DataFrame({"gene": [harmonize_name(g) for g in listed["gene_name"]]})
    merged = genes.merge(ranked, on="gene", how="left", validate="m:1")
    return merged.fillna({"n_datasets": 0}).astype({"n_datasets": int})


def _finish(workspace: Workspace, tissue: str, name: str, *, folder: Path, genes: list[str]) -> int:
    """Write one processed data set; return how many genes of the vocabulary it measures anywhere."""
    import anndata as ad
    from scipy.sparse import vstack

    adata = ad.read_h5ad(folder / f"{name}.h5ad")
    columns, store = vocabulary_columns(adata, genes), RowStore(folder / name, n_columns=adata.n_vars)
    matrix = vstack([take_columns(block, columns) for block in store.blocks()], format="csr")
    result = with_vocabulary(adata, matrix, genes)
    write_h5ad(workspace.processed_path(tissue, name), result)
    return int(result.varm["measured"].any(axis=1).sum())


def _write_tables(
    workspace: Workspace, tissue: str, found: dict[str, _Processed], vocabulary: pd.DataFrame
) -> pd.DataFrame:
    import pandas as pd

    report, overlap = pd.DataFrame([f.row for f in found.values()]), {k: f.variable for k, f in found.items()}
    write_csv(workspace.vocabulary_path(tissue), vocabulary)
    write_csv(workspace.tables_dir / f"preprocessing-{tissue}.csv", report)
    write_csv(workspace.tables_dir / f"hvg-{tissue}.csv", hvg_overlap(overlap))
    return report
