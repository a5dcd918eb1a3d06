"""Counts per 10,000 and their logarithm; what is no count is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import InputError
from .readers import count_problem

if TYPE_CHECKING:
    import anndata as ad
    import numpy as np


def normalize(adata: ad.AnnData, *, target_sum: float = 1e4, total_key: str | None = None) -> ad.AnnData:
    """Counts per `target_sum`, then log1p.

    Parameters
    ----------
    adata
        Counts, (n_cells, n_genes): whole, finite and not negative, checked here.
    target_sum
        What a cell's counts add up to before the logarithm.
    total_key
        obs column with the library's own total of each cell; needed where genes were dropped
        before us.  None divides by the sum of the genes present.

    Returns
    -------
    AnnData
        X: CSR float32.  ``obs['total_counts']``: the total divided by.  ``obs['n_genes']``: genes with
        a count.  A cell without any count stays zero and is counted in
        ``uns['normalization']['empty_cells']``; `preprocess_tissue` drops such cells and says so.

    Raises
    ------
    InputError
        For values that are no counts, data normalised before, a missing column, and a total that
        is smaller than the counts it is a total of.
    """
    import numpy as np

    _check_counts(adata)
    counts = as_csr(adata.X).astype(np.float64)
    counts.sum_duplicates()
    counts.eliminate_zeros()
    own = np.asarray(counts.sum(axis=1)).ravel()
    totals = own if total_key is None else _known_totals(adata, total_key, own)
    scale = np.divide(target_sum, totals, out=np.zeros_like(totals), where=totals > 0)
    n_genes = counts.getnnz(axis=1)
    counts.data = np.log1p(counts.data * np.repeat(scale, n_genes))
    result = with_matrix(adata, counts.astype(np.float32))
    result.obs["total_counts"], result.obs["n_genes"] = totals, n_genes
    result.uns["log1p"] = {}  # natural logarithm, where scanpy looks for it
    result.uns["normalization"] = {
        "target_sum": float(target_sum),
        "total_key": total_key or "sum of the genes kept",
        "empty_cells": int((own == 0).sum()),
    }
    return result


def dataset_name(adata: ad.AnnData) -> str:
    """What messages call these cells."""
    return str(adata.uns.get("dataset", "data"))


def as_csr(matrix):
    """A matrix as CSR, whatever it was."""
    import scipy.sparse as sp

    return matrix.tocsr() if sp.issparse(matrix) else sp.csr_matrix(matrix)


def _check_counts(adata: ad.AnnData) -> None:
    if "log1p" in adata.uns:
        raise InputError(f"{dataset_name(adata)}: already log-normalised; it is not normalised twice.")
    if problem := count_problem(adata.X):
        raise InputError(f"{dataset_name(adata)}: X {problem}; normalisation needs counts.")


def _known_totals(adata: ad.AnnData, key: str, own: np.ndarray) -> np.ndarray:
    import numpy as np
    import pandas as pd

    if key not in adata.obs:
        found = ", ".join(map(str, adata.obs)) or "none"
        raise InputError(f"{dataset_name(adata)}: obs has no column '{key}' (found: {found}).")
    totals = pd.to_numeric(adata.obs[key], errors="coerce").to_numpy(dtype=np.float64)
    wrong = ~(np.isfinite(totals) & (totals >= own - 1e-6 * np.maximum(own, 1)))
    if wrong.any():
        first = np.flatnonzero(wrong)[0]
        raise InputError(
            f"{dataset_name(adata)}: obs['{key}'] is no total in {int(wrong.sum()):,} of {len(own):,} cells "
            f"({adata.obs_names[first]}: {totals[first]:g}, its genes add up to {own[first]:g}). "
            "Set obs.total_counts in the manifest."
        )
    return totals


def with_matrix(adata: ad.AnnData, matrix) -> ad.AnnData:
    """A new AnnData with another X, or the same one shared, and tables of its own."""
    import anndata as ad

    return ad.AnnData(
        X=matrix, obs=adata.obs.copy(), var=adata.var.copy(), varm=dict(adata.varm), uns=dict(adata.uns)
    )
