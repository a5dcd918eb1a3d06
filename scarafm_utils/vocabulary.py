"""A shared vocabulary: each data set's highly variable genes, and what the data sets agree on."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from .errors import InputError
from .normalization import as_csr, dataset_name
from .readers import count_problem

if TYPE_CHECKING:
    import anndata as ad
    import numpy as np
    import pandas as pd


def hvg_table(adata: ad.AnnData, *, n_top_genes: int = 2000) -> pd.DataFrame:
    """Highly variable genes of one data set: scanpy's dispersions, Seurat flavour.

    Only genes measured in every sample of the data set enter: a gene that some samples do not
    carry would look variable because it is absent.  Genes without any count have dispersion 0 and
    are not selected, as in scanpy's ``batch_key``.

    Parameters
    ----------
    adata
        Log-normalised counts per 10,000, (n_cells, n_genes).
    n_top_genes
        Genes to select; all where there are fewer.

    Returns
    -------
    DataFrame
        Index: the genes measured in every sample.  Columns: means, dispersions, dispersions_norm,
        highly_variable.
    """
    import numpy as np

    if "log1p" not in adata.uns and count_problem(adata.X) is None:
        raise InputError(f"{dataset_name(adata)}: these are counts; normalise them before looking for HVGs.")
    everywhere = measured_genes(adata).all(axis=1)
    expressed = everywhere & (np.asarray((adata.X > 0).sum(axis=0)).ravel() > 0)
    if not expressed.any():
        raise InputError(f"{dataset_name(adata)}: no gene that is measured in all its samples has a count.")
    found = _scanpy_hvgs(adata[:, expressed], n_top_genes)
    table = found.reindex(adata.var_names[everywhere])
    silent = ~table.index.isin(found.index)
    table.loc[silent, ["means", "dispersions", "dispersions_norm"]] = 0.0
    table["highly_variable"] = table.index.isin(found.index[found["highly_variable"]])
    return table


def rank_genes(tables: Sequence[pd.DataFrame] | Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Rank the genes of `hvg_table`s: in how many data sets variable, mean dispersion, name.

    Returns
    -------
    DataFrame
        Best first.  Columns gene, n_datasets (where it is highly variable), mean_dispersion
        (normalised, over the data sets that measure it).
    """
    import pandas as pd

    tables = list(tables.values()) if isinstance(tables, Mapping) else list(tables)
    if not tables:
        raise InputError("no table of highly variable genes to rank.")
    rows = pd.concat([t[["dispersions_norm", "highly_variable"]] for t in tables])
    groups = rows.groupby(level=0, sort=True)
    ranked = pd.DataFrame(
        {"n_datasets": groups["highly_variable"].sum(), "mean_dispersion": groups["dispersions_norm"].mean()}
    )
    ranked = ranked.rename_axis("gene").reset_index()
    ranked["n_datasets"] = ranked["n_datasets"].astype(int)
    order = ["n_datasets", "mean_dispersion", "gene"]
    return ranked.sort_values(order, ascending=[False, False, True], kind="stable", ignore_index=True)


def consensus_hvgs(
    tables: Sequence[pd.DataFrame] | Mapping[str, pd.DataFrame], *, n_top_genes: int = 4000
) -> pd.Index:
    """Consensus genes across data sets, best first (A.1.1).

    Genes are ranked by the number of data sets in which they are highly variable; ties by the mean
    normalised dispersion over the data sets that measure the gene, then by name.  Where every gene
    is measured everywhere this is scanpy's ranking with ``batch_key``, but for the last rule.
    """
    import pandas as pd

    return pd.Index(rank_genes(tables)["gene"].head(n_top_genes), name="gene")


def to_vocabulary(adata: ad.AnnData, genes: Sequence[str]) -> ad.AnnData:
    """Put the columns of `adata` into the order of `genes`.

    A gene that the data set does not have becomes a column of zeros with ``measured`` False in
    every sample: absent, not zero.  Other genes are left out.

    Returns
    -------
    AnnData
        X: CSR float32 (n_cells, len(genes)).  ``varm['measured']``: (len(genes), n_samples).

    Raises
    ------
    InputError
        Where a gene stands twice in `genes` or none of them is in the data.
    """
    import anndata as ad
    import numpy as np
    import pandas as pd
    import scipy.sparse as sp

    wanted = pd.Index([str(g) for g in genes])
    if wanted.has_duplicates:
        raise InputError(f"vocabulary: '{wanted[wanted.duplicated()][0]}' stands twice.")
    source = adata.var_names.get_indexer(wanted)
    present = np.flatnonzero(source >= 0)
    if present.size == 0:
        raise InputError(f"{dataset_name(adata)}: has none of the {len(genes):,} genes of the vocabulary.")
    ones = np.ones(present.size, dtype=np.float32)
    move = sp.csr_matrix((ones, (source[present], present)), shape=(adata.n_vars, len(genes)))
    matrix = (as_csr(adata.X).astype(np.float32) @ move).tocsr()
    matrix.sort_indices()
    samples = sample_names(adata)
    measured = np.zeros((len(genes), len(samples)), dtype=bool)
    measured[present] = measured_genes(adata)[source[present]]
    result = ad.AnnData(X=matrix, obs=adata.obs.copy(), var=pd.DataFrame(index=wanted), uns=dict(adata.uns))
    result.varm["measured"], result.uns["samples"] = measured, samples
    return result


def hvg_overlap(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """How far data sets agree on what is variable: one row for each ordered pair.

    Returns
    -------
    DataFrame
        Columns dataset, other, n_hvg, n_other, n_shared, jaccard.
    """
    import pandas as pd

    chosen = {name: set(t.index[t["highly_variable"]]) for name, t in tables.items()}
    rows = [
        {
            "dataset": a,
            "other": b,
            "n_hvg": len(chosen[a]),
            "n_other": len(chosen[b]),
            "n_shared": len(chosen[a] & chosen[b]),
            "jaccard": len(chosen[a] & chosen[b]) / max(1, len(chosen[a] | chosen[b])),
        }
        for a in chosen
        for b in chosen
    ]
    return pd.DataFrame(rows)


def sample_names(adata: ad.AnnData) -> list[str]:
    """Columns of ``varm['measured']``; without it the samples of obs, or one called 'all'."""
    if "measured" in adata.varm:
        return [str(s) for s in adata.uns["samples"]]
    return [str(s) for s in adata.obs["sample"].unique()] if "sample" in adata.obs else ["all"]


def measured_genes(adata: ad.AnnData) -> np.ndarray:
    """(n_genes, n_samples): whether a sample carries a gene; all True where nobody said."""
    import numpy as np

    if "measured" in adata.varm:
        return np.asarray(adata.varm["measured"], dtype=bool)
    return np.ones((adata.n_vars, len(sample_names(adata))), dtype=bool)


def _scanpy_hvgs(adata: ad.AnnData, n_top_genes: int) -> pd.DataFrame:
    import anndata as ad
    import scanpy as sc

    alone = ad.AnnData(X=as_csr(adata.X), var=adata.var[[]].copy(), uns={"log1p": {}})
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*number of normalized dispersions", category=UserWarning)
        with _torch_threads_kept():
            found = sc.pp.highly_variable_genes(
                alone, flavor="seurat", n_top_genes=min(n_top_genes, alone.n_vars), inplace=False
            )
    found.index = alone.var_names
    return found[["means", "dispersions", "dispersions_norm", "highly_variable"]]


@contextmanager
def _torch_threads_kept() -> Iterator[None]:
    """Undo what numba does when scanpy first starts it: it sets the threads of OpenMP, and so torch's."""
    torch = sys.modules.get("torch")  # where torch is not loaded there is nothing to keep
    threads = torch.get_num_threads() if torch else None
    yield
    if torch:
        torch.set_num_threads(threads)
