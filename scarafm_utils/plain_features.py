"""Features that need no encoder: raw values, and the controls that any representation must beat.

Each function learns from some cells and returns a function from rows to features.  Adding a
representation is one such function and one line in ``names.PLAIN`` (see CONTRIBUTING.md).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .errors import InputError
from .names import PLAIN
from .tokens import bin_expression
from .vocabulary import hvg_table

if TYPE_CHECKING:
    import anndata as ad
    import pandas as pd
    from scipy import sparse

#: Highly variable genes that `hvg_pca` looks at, chosen on the cells it is fitted on.
N_TOP_GENES = 2000


@dataclass(frozen=True)
class Expression:
    """Cells, the genes of the task, their values x (n, G), and what the encoder fixes."""

    cells: ad.AnnData
    genes: pd.Index
    x: sparse.csr_matrix
    n_bins: int
    dim: int
    seed: int


def learn_raw(data: Expression, fit: np.ndarray):
    """Log-normalised expression itself, without scaling."""
    return lambda rows: data.x[rows].toarray()


def learn_binned(data: Expression, fit: np.ndarray):
    """Expression through the same bins that the encoder reads."""
    return lambda rows: bin_expression(data.x[rows], n_bins=data.n_bins)


def learn_hvg_pca(data: Expression, fit: np.ndarray):
    """Principal components of highly variable genes, as many as the embedding has dimensions."""
    from sklearn.decomposition import PCA

    genes = np.arange(len(data.genes))
    if len(genes) > N_TOP_GENES:
        table = hvg_table(data.cells[fit][:, data.genes], n_top_genes=N_TOP_GENES)
        genes = np.flatnonzero(data.genes.isin(table.index[table["highly_variable"]]))
    pca = PCA(min(data.dim, len(fit), len(genes)), random_state=data.seed)
    pca.fit(data.x[fit][:, genes].toarray())
    return lambda rows: pca.transform(data.x[rows][:, genes].toarray())


def learn_depth(data: Expression, fit: np.ndarray):
    """Library size and number of genes, as log1p, with mean 0 and standard deviation 1 in `fit`.

    Where some samples lack genes only those that all measure are counted: the others tell the sample.
    """
    obs = data.cells.obs
    totals = obs["total_counts"].to_numpy(dtype=float) if "total_counts" in obs else np.array([np.nan])
    if np.isnan(totals).any():
        raise InputError("depth needs obs['total_counts'] of every cell: these library sizes are not known.")
    whole = "n_genes" in obs and len(data.genes) == data.cells.n_vars
    n_genes = obs["n_genes"].to_numpy(dtype=float) if whole else data.x.getnnz(1)
    values = np.log1p(np.column_stack([totals, n_genes]))
    mean, spread = values[fit].mean(0), values[fit].std(0)
    return lambda rows: (values[rows] - mean) / np.where(spread > 0, spread, 1.0)


def learn_cell_type(data: Expression, fit: np.ndarray):
    """One column per cell type found in `fit`; zeros for a type that is new or not known."""
    if "cell_type" not in data.cells.obs:
        raise InputError("cell_type needs obs['cell_type']: these cell types are not known.")
    types = data.cells.obs["cell_type"].astype(object).to_numpy()
    known = sorted({name for name in types[fit] if isinstance(name, str)})
    if not known:
        raise InputError("cell_type: no training cell has a known cell type.")
    return lambda rows: types[rows][:, None] == np.array(known, dtype=object)[None]


#: What each name learns from training cells.
LEARNERS: dict[str, Callable[[Expression, np.ndarray], Callable]] = {
    name: globals()[function] for name, function in PLAIN.items()
}
