"""A shared vocabulary: each data set's highly variable genes, and what the data sets agree on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .errors import InputError
from .normalization import as_csr, dataset_name
from .readers import count_problem
from .rows import row_blocks, slice_rows, take_columns

if TYPE_CHECKING:
    import anndata as ad
    import numpy as np
    import pandas as pd
    from scipy.sparse import csr_matrix


@dataclass
class GeneMoments:
    """Sums over the cells seen so far, for each gene, of counts per 10,000 and of their squares."""

    n_cells: int
    total: np.ndarray
    squares: np.ndarray

    @classmethod
    def of(cls, matrix: csr_matrix) -> GeneMoments:
        """Moments of log-normalised counts, CSR (n_cells, n_genes), computed back from the logarithm.

        As in scanpy, values are squared in their own precision and summed in double precision.
        """
        import numpy as np

        found = cls(matrix.shape[0], np.zeros(matrix.shape[1]), np.zeros(matrix.shape[1]))
        for rows in row_blocks(matrix.indptr):
            part, one = slice_rows(matrix, rows), np.ones(rows.stop - rows.start)
            values = np.expm1(part.data)
            for sums, numbers in ((found.total, values), (found.squares, values * values)):
                part.data = numbers.astype(np.float64)
                sums += part.T @ one
        return found

    def __add__(self, other: GeneMoments) -> GeneMoments:
        sums = self.total + other.total, self.squares + other.squares
        return GeneMoments(self.n_cells + other.n_cells, *sums)

    def mean_and_variance(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and unbiased variance of each gene; a single cell has no variance."""
        import numpy as np

        mean = self.total / self.n_cells
        spread = np.maximum(self.squares / self.n_cells - mean**2, 0)
        return mean, spread * self.n_cells / max(self.n_cells - 1, 1)


def hvg_table(
    adata: ad.AnnData, *, n_top_genes: int = 2000, moments: GeneMoments | None = None
) -> pd.DataFrame:
    """Highly variable genes of one data set: the dispersions of Seurat, as scanpy computes them.

    Only genes measured in every sample of the data set enter: a gene that some samples do not
    carry would look variable because it is absent.  Genes without any count have dispersion 0 and
    are not selected, as in scanpy's ``batch_key``.

    Parameters
    ----------
    adata
        Log-normalised counts per 10,000, (n_cells, n_genes).
    n_top_genes
        Genes to select; all where there are fewer.
    moments
        Of the cells, where they were summed block by block; `adata` then needs no matrix.

    Returns
    -------
    DataFrame
        Index: the genes measured in every sample.  Columns: means, dispersions, dispersions_norm,
        highly_variable.
    """
    if moments is None:
        if "log1p" not in adata.uns and count_problem(adata.X) is None:
            raise InputError(f"{dataset_name(adata)}: these are counts; normalise them before looking for HVGs.")
        moments = GeneMoments.of(as_csr(adata.X))
    everywhere = measured_genes(adata).all(axis=1)
    expressed = everywhere & (moments.total > 0)
    if not expressed.any():
        raise InputError(f"{dataset_name(adata)}: no gene that is measured in all its samples has a count.")
    found = _normalised_dispersions(moments, expressed, adata.var_names)
    found["highly_variable"] = _best(found["dispersions_norm"], n_top_genes)
    table = found.reindex(adata.var_names[everywhere])
    silent = ~table.index.isin(found.index)
    table.loc[silent, ["means", "dispersions", "dispersions_norm"]] = 0.0
    table["highly_variable"] = table.index.isin(found.index[found["highly_variable"]])
    return table


def _normalised_dispersions(moments: GeneMoments, expressed: np.ndarray, names: pd.Index) -> pd.DataFrame:
    """Means, dispersions and dispersions relative to genes of similar mean (20 bins) of some genes.

    A gene alone in its bin has normalised dispersion 1; a gene that does not vary has none.
    """
    import numpy as np
    import pandas as pd

    mean, variance = (values[expressed] for values in moments.mean_and_variance())
    with np.errstate(divide="ignore"):
        dispersion = np.log(variance / mean)
    table = pd.DataFrame({"means": np.log1p(mean), "dispersions": dispersion}, index=names[expressed])
    table["dispersions"] = table["dispersions"].replace(-np.inf, np.nan)
    bins = table.groupby(pd.cut(table["means"], bins=20), observed=True)["dispersions"]
    average, deviation = bins.transform("mean"), bins.transform("std")
    alone = deviation.isna()
    table["dispersions_norm"] = (table["dispersions"] - average.where(~alone, 0)) / deviation.where(~alone, average)
    return table


def _best(values: pd.Series, n: int) -> pd.Series:
    """Whether a value is among the `n` largest, or equal to the last of them."""
    return values >= values.nlargest(n).min()


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
    matrix = take_columns(as_csr(adata.X), vocabulary_columns(adata, genes))
    return with_vocabulary(adata, matrix, genes)


def vocabulary_columns(adata: ad.AnnData, genes: Sequence[str]) -> np.ndarray:
    """The column of each gene of the vocabulary in `adata`, (n_vocabulary,); -1 where it has none."""
    import pandas as pd

    wanted = pd.Index([str(g) for g in genes])
    if wanted.has_duplicates:
        raise InputError(f"vocabulary: '{wanted[wanted.duplicated()][0]}' stands twice.")
    columns = adata.var_names.get_indexer(wanted)
    if (columns < 0).all():
        raise InputError(f"{dataset_name(adata)}: has none of the {len(genes):,} genes of the vocabulary.")
    return columns


def with_vocabulary(adata: ad.AnnData, matrix: csr_matrix, genes: Sequence[str]) -> ad.AnnData:
    """The cells of `adata` with a `matrix` whose columns are `genes`; see `to_vocabulary`."""
    import anndata as ad
    import numpy as np
    import pandas as pd

    columns, samples = vocabulary_columns(adata, genes), sample_names(adata)
    measured = np.zeros((len(genes), len(samples)), dtype=bool)
    measured[columns >= 0] = measured_genes(adata)[columns[columns >= 0]]
    var = pd.DataFrame(index=pd.Index([str(g) for g in genes]))
    values = matrix.astype(np.float32, copy=False)
    result = ad.AnnData(X=values, obs=adata.obs.copy(), var=var, uns=dict(adata.uns))
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
