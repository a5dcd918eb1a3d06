"""Counts per 10,000 and their logarithm; what is no count is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import InputError
from .readers import count_problem
from .rows import row_blocks, slice_rows

if TYPE_CHECKING:
    import anndata as ad
    import numpy as np
    from scipy.sparse import csr_matrix


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
    counts = _canonical(as_csr(adata.X))
    own = row_sums(counts)
    totals = own if total_key is None else _known_totals(adata, total_key, own)
    scale = np.divide(target_sum, totals, out=np.zeros_like(totals), where=totals > 0)
    result = with_matrix(adata, _log_scaled(counts, scale))
    result.obs["total_counts"], result.obs["n_genes"] = totals, counts.getnnz(axis=1)
    result.uns["log1p"] = {}  # natural logarithm, where scanpy looks for it
    result.uns["normalization"] = {
        "target_sum": float(target_sum),
        "total_key": total_key or "sum of the genes kept",
        "empty_cells": int((own == 0).sum()),
    }
    return result


def row_sums(matrix: csr_matrix) -> np.ndarray:
    """Sum of each row in double precision, (n_rows,)."""
    import numpy as np

    sums = np.zeros(matrix.shape[0])
    for rows in row_blocks(matrix.indptr):
        part = slice_rows(matrix, rows)
        sums[rows] = part.astype(np.float64) @ np.ones(matrix.shape[1])
    return sums


def _canonical(counts: csr_matrix) -> csr_matrix:
    """No place twice and no stored zero; a copy only where there is one."""
    if counts.has_canonical_format and counts.data.all():
        return counts
    counts = counts.copy()
    counts.sum_duplicates()
    counts.eliminate_zeros()
    return counts


def _log_scaled(counts: csr_matrix, scale: np.ndarray) -> csr_matrix:
    """log1p of each row times its scale, computed in double precision and kept in single."""
    import numpy as np
    from scipy.sparse import csr_matrix

    values, lengths = np.empty(counts.nnz, dtype=np.float32), np.diff(counts.indptr)
    for rows in row_blocks(counts.indptr):
        own = slice(counts.indptr[rows.start], counts.indptr[rows.stop])
        values[own] = np.log1p(counts.data[own] * np.repeat(scale[rows], lengths[rows]))
    return csr_matrix((values, counts.indices, counts.indptr), shape=counts.shape)


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
