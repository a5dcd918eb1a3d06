"""Tables of a data set that was processed in blocks of cells, joined again; matrices stay outside."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import InputError
from .vocabulary import measured_genes, sample_names

if TYPE_CHECKING:
    import anndata as ad
    import pandas as pd

#: Entries of ``uns`` that count cells and add up over blocks.
_COUNTED = {"cells": ("read", "dropped_empty", "kept"), "normalization": ("empty_cells",)}


def without_matrix(adata: ad.AnnData) -> ad.AnnData:
    """The tables of `adata`, without its values."""
    import anndata as ad

    return ad.AnnData(obs=adata.obs, var=adata.var, varm=dict(adata.varm), uns=dict(adata.uns))


def join_blocks(blocks: list[ad.AnnData], dataset_id: str) -> ad.AnnData:
    """Join the tables of blocks of cells of one file.

    Samples and words keep the order in which they appear; a sample in two blocks carries the same
    genes in both.

    Raises
    ------
    InputError
        Where a cell stands in two blocks, and where counts lay in different places.
    """
    import anndata as ad
    import pandas as pd

    first = blocks[0]
    obs = _join_obs([block.obs for block in blocks])
    if obs.index.has_duplicates:
        twice = obs.index[obs.index.duplicated()]
        raise InputError(
            f"{dataset_id}: {len(twice)} barcodes stand twice in one sample (such as {twice[0]}). "
            "Set obs.sample, or remove the repeated cells."
        )
    if len(places := {block.uns["provenance"].get("counts_in", "X") for block in blocks}) > 1:
        raise InputError(
            f"{dataset_id}: some cells have counts in {' and some in '.join(sorted(places))}. Say with 'counts' where."
        )
    result = ad.AnnData(obs=obs, var=first.var.copy(), uns={**first.uns, **_join_counts(blocks)})
    carried = {}
    for block in blocks:
        carried |= dict(zip(sample_names(block), measured_genes(block).T, strict=True))
    result.varm["measured"] = pd.DataFrame(carried).to_numpy(dtype=bool)
    result.uns["samples"] = list(carried)
    return result


def _join_obs(tables: list[pd.DataFrame]) -> pd.DataFrame:
    """One table; the categories of a column are those of all blocks, in order of appearance."""
    import pandas as pd
    from pandas.api.types import union_categoricals

    if len(tables) == 1:
        return tables[0].copy()
    joined = pd.concat([t.astype({c: object for c in t if _is_categorical(t[c])}) for t in tables])
    for column in joined:
        if _is_categorical(tables[0][column]):
            joined[column] = union_categoricals([t[column] for t in tables])
    return joined


def _is_categorical(column: pd.Series) -> bool:
    return str(column.dtype) == "category"


def _join_counts(blocks: list[ad.AnnData]) -> dict:
    """The entries of ``uns`` that count cells, summed."""
    return {
        key: {**blocks[0].uns[key], **{name: sum(b.uns[key][name] for b in blocks) for name in names}}
        for key, names in _COUNTED.items()
        if names[0] in blocks[0].uns.get(key, {})
    }
