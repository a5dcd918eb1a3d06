"""Tables of preprocessing: a row for each data set, and one for each of its samples."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .genes import gene_report
from .manifest import Dataset
from .standard import WORDS
from .vocabulary import measured_genes, sample_names

if TYPE_CHECKING:
    import anndata as ad
    import pandas as pd


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


def dataset_row(adata: ad.AnnData, dataset: Dataset, table: pd.DataFrame) -> dict:
    """What was read of a data set and what became of it: cells, samples, genes by what happened to them."""
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
