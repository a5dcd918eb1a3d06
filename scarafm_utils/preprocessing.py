"""From counts to a shared vocabulary (the paper's A.1.1), one data set in memory at a time.

Harmonise loci, sum duplicates, keep nuclear loci, normalise, find each data set's highly variable
genes, agree on a vocabulary, and write every data set in its order.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from .blocks import join_blocks, without_matrix
from .errors import InputError
from .files import atomic_path, write_csv
from .genes import gene_report, harmonize_loci, harmonize_name, keep_nuclear_loci, sum_duplicate_genes
from .hub import fetch_release
from .labels import add_labels
from .manifest import Dataset
from .normalization import as_csr, normalize, with_matrix
from .profiles import ReleaseFiles
from .rows import FILE_BLOCK, RowStore, take_columns
from .sources import iter_raw
from .standard import WORDS
from .vocabulary import (
    GeneMoments,
    consensus_hvgs,
    hvg_overlap,
    hvg_table,
    measured_genes,
    rank_genes,
    sample_names,
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


def sample_table(adata: ad.AnnData) -> pd.DataFrame:
    """One row for each sample: what it is, cells, median counts and genes, genes measured."""
    import pandas as pd

    words = [c for c in ("condition", "genotype", "replicate", "label") if c in adata.obs]
    groups = adata.obs.groupby("sample", observed=True, sort=False)
    table = pd.DataFrame(index=groups.size().index)
    for column in words:
        table[column] = groups[column].agg(lambda values: "; ".join(map(str, values.dropna().unique())))
    table["n_cells"] = groups.size()
    for column in ("total_counts", "n_genes"):
        if column in adata.obs:
            table[f"median_{column}"] = groups[column].median()
    measured = pd.Series(measured_genes(adata).sum(axis=0), index=sample_names(adata))
    table["genes_measured"] = measured.reindex(table.index).astype(int)
    return table.reset_index()


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
    vocabulary is known: memory holds one block, not a data set and never the tissue.

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
        Stored values of a block; the results do not depend on it.

    Returns
    -------
    DataFrame
        One row for each data set: cells and genes read, matched, renamed, merged, dropped by
        reason, kept; n_hvg.
    """
    datasets = workspace.datasets(tissue)
    if not datasets:
        raise InputError(f"profile '{workspace.profile.name}' uses no data set of tissue '{tissue}'.")
    settings, tables, measured, rows = workspace.profile.preprocessing, {}, {}, []
    with _scratch_folder(workspace.processed_path(tissue, "x").with_name(".partial")) as partial:
        for dataset in datasets:
            adata, moments = _read_and_process(workspace, dataset, partial, max_values)
            tables[dataset.id] = hvg_table(adata, n_top_genes=settings.n_top_genes, moments=moments)
            measured[dataset.id] = _gene_sets(adata)
            rows.append(_row(adata, dataset, tables[dataset.id]))
            write_h5ad(partial / f"{dataset.id}.h5ad", adata, compression=None)
        vocabulary = _vocabulary(workspace, tissue, tables, measured)
        for row in rows:
            final = workspace.processed_path(tissue, row["dataset"])
            row["n_vocabulary"] = _finish(partial / final.name, final, vocabulary)
    return _write_tables(workspace, tissue, rows, vocabulary, tables)


def write_h5ad(path: str | Path, adata: ad.AnnData, *, compression: str | None = "lzf") -> Path:
    """Write `adata` whole or not at all; the same cells give the same bytes."""
    with atomic_path(path) as temporary:
        adata.write_h5ad(temporary, compression=compression)
    return Path(path)


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


def _gene_sets(adata: ad.AnnData) -> tuple[set[str], set[str]]:
    """Genes measured in every sample, and in any."""
    measured = measured_genes(adata)
    return set(adata.var_names[measured.all(axis=1)]), set(adata.var_names[measured.any(axis=1)])


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


def _vocabulary(workspace: Workspace, tissue: str, tables: dict, measured: dict) -> pd.DataFrame:
    """The ranked vocabulary; see `preprocess_tissue` for the two feature sets."""
    import pandas as pd

    settings, ranked = workspace.profile.preprocessing, rank_genes(tables)
    if workspace.profile.source == "release" and (release := workspace.profile.release):
        return _released_vocabulary(release, tissue, workspace.data_dir, ranked)
    if settings.feature_set == "intersection":
        shared = set.intersection(*(everywhere for everywhere, _ in measured.values()))
        ranked = ranked[ranked["gene"].isin(shared)]
    else:
        anywhere = set.union(*(some for _, some in measured.values()))
        rest = pd.DataFrame({"gene": sorted(anywhere - set(ranked["gene"])), "n_datasets": 0})
        ranked = pd.concat([ranked, rest], ignore_index=True)
    if ranked.empty:
        raise InputError(
            f"no gene is measured in every sample of {', '.join(measured)}. "
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


def _finish(partial: Path, final: Path, vocabulary: pd.DataFrame) -> int:
    """Write one processed data set; return how many genes of the vocabulary it measures anywhere."""
    import anndata as ad
    from scipy.sparse import vstack

    adata, genes = ad.read_h5ad(partial), vocabulary["gene"].tolist()
    columns, store = vocabulary_columns(adata, genes), RowStore(partial.with_suffix(""), n_columns=adata.n_vars)
    matrix = vstack([take_columns(block, columns) for block in store.blocks()], format="csr")
    result = with_vocabulary(adata, matrix, genes)
    write_h5ad(final, result)
    return int(result.varm["measured"].any(axis=1).sum())


def _row(adata: ad.AnnData, dataset: Dataset, table: pd.DataFrame) -> dict:
    """One line of the report."""
    genes = {("genes_" if k in ("read", "kept") else "") + k: v for k, v in gene_report(adata).items()}
    cells = {f"cells_{k}": v for k, v in adata.uns["cells"].items()}
    unlabelled = int(adata.obs["label"].isna().sum()) if "label" in adata.obs else 0
    return {
        "dataset": dataset.id,
        "role": dataset.role,
        "source": adata.uns["provenance"]["source"],
        "cells_in_source": adata.uns["provenance"]["cells_in_source"],
        **cells,
        "cells_unlabelled": unlabelled,
        "samples": len(sample_names(adata)),
        **{f"{c}s": adata.obs[c].nunique() if c in adata.obs else None for c in WORDS[:3]},
        **genes,
        "genes_in_every_sample": int(measured_genes(adata).all(axis=1).sum()),
        "n_hvg": int(table["highly_variable"].sum()),
    }


def _write_tables(workspace: Workspace, tissue: str, rows: list[dict], vocabulary, tables) -> pd.DataFrame:
    import pandas as pd

    report = pd.DataFrame(rows)
    write_csv(workspace.vocabulary_path(tissue), vocabulary)
    write_csv(workspace.tables_dir / f"preprocessing-{tissue}.csv", report)
    write_csv(workspace.tables_dir / f"hvg-{tissue}.csv", hvg_overlap(tables))
    return report
