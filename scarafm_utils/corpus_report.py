"""The corpus in numbers: its cells, what a count of one becomes, and how well each bin is guessed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
import torch

from .masked import (
    BASELINES,
    DEFAULTS,
    VALIDATION,
    PretrainConfig,
    bin_counts,
    choose_micro_batch,
    commonest_visible,
    forward_function,
    hide,
)
from .model import ScAraFM
from .tokens import TokenStore, bin_expression, eos_id, mask_id

if TYPE_CHECKING:
    import anndata as ad
    import pandas as pd

    from .workspace import Workspace

#: Columns of the histogram of totals for each factor of ten.
PER_DECADE = 20
#: What the encoder is called beside the three guesses.
ENCODER = "encoder"


def corpus_table(store: TokenStore, train: TokenStore, val: TokenStore) -> pd.DataFrame:
    """Cells of each data set: dataset, cells, training, validation."""
    import pandas as pd

    rows = []
    for dataset, (start, stop) in store.ranges.items():
        n_train, n_val = (int(((s.rows >= start) & (s.rows < stop)).sum()) for s in (train, val))
        rows.append({"dataset": dataset, "cells": stop - start, "training": n_train, "validation": n_val})
    return pd.DataFrame(rows)


def bin_of_count(totals, *, count: float = 1, n_bins: int = 6, target_sum: float = 1e4) -> np.ndarray:
    """The token of a gene with `count` counts in cells whose counts add up to `totals`: (n,) uint8.

    >>> bin_of_count([500, 1000, 2000, 6000])
    array([3, 2, 1, 0], dtype=uint8)
    """
    totals = np.asarray(totals, dtype=float)
    return bin_expression(np.log1p(count * target_sum / totals)[:, None], n_bins=n_bins)[:, 0]


def ones_table(
    datasets: Iterable[tuple[str, ad.AnnData]], *, n_bins: int = 6, target_sum: float = 1e4
) -> pd.DataFrame:
    """How deep cells are, what a count of one becomes in them, and how many of their values are ones.

    Parameters
    ----------
    datasets
        Name and processed cells: X log1p of counts per `target_sum`, ``obs['total_counts']`` the
        total divided by.  Cells whose total is not known are left out.

    Returns
    -------
    One row per data set, class of totals (`low`, 20 to a factor of ten) and `bin_of_one`: `cells`,
    `values` (above 0), `tokens` (of them, those whose bin is above 0: only these are ever hidden)
    and `ones` (of the values, those that are a count of one).
    """
    import pandas as pd

    parts = [_ones_of(adata, n_bins, target_sum).assign(dataset=name) for name, adata in datasets]
    columns = ["dataset", "low", "bin_of_one"]
    table = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=[*columns, "cells"])
    return table.groupby(columns, sort=False).sum().reset_index()


def read_ones(workspace: Workspace, tissue: str) -> pd.DataFrame:
    """The `ones_table` of a tissue's pretraining cells, one data set in memory at a time."""
    names = [d.id for d in workspace.datasets(tissue, role="pretraining")]
    cells = ((name, workspace.read_processed(tissue, name)) for name in names)
    target_sum = workspace.profile.preprocessing.target_sum
    return ones_table(cells, n_bins=workspace.profile.model.n_bins, target_sum=target_sum)


def _ones_of(adata: ad.AnnData, n_bins: int, target_sum: float) -> pd.DataFrame:
    """One row per cell with a known total."""
    import pandas as pd
    from scipy import sparse

    totals = adata.obs["total_counts"] if "total_counts" in adata.obs else pd.Series(np.nan, adata.obs_names)
    totals = totals.to_numpy(dtype=float)
    known = np.flatnonzero(totals > 0)
    totals, x = totals[known], sparse.csr_matrix(adata.X)[known]
    owner = np.repeat(np.arange(len(known)), x.getnnz(axis=1))
    counts = np.rint(np.expm1(x.data.astype(float)) * totals[owner] / target_sum)
    has_token = x.data >= 1
    return pd.DataFrame({
        "low": 10 ** (np.floor(PER_DECADE * np.log10(totals)) / PER_DECADE),
        "bin_of_one": bin_of_count(totals, n_bins=n_bins, target_sum=target_sum).astype(int),
        "cells": 1,
        "values": np.bincount(owner, x.data > 0, minlength=len(known)).astype(int),
        "tokens": np.bincount(owner, has_token, minlength=len(known)).astype(int),
        "ones": np.bincount(owner, counts == 1, minlength=len(known)).astype(int),
    })  # fmt: skip


@torch.no_grad()
def guess_table(
    train: TokenStore, val: TokenStore, *, model: ScAraFM, config: PretrainConfig = DEFAULTS
) -> pd.DataFrame:
    """Which bin each predictor takes the hidden validation tokens to be; the masks are those of `evaluate`.

    Returns
    -------
    One row per predictor (the encoder, then the three guesses of `masked_baselines`), true bin
    and guessed bin, with the number of `tokens`; pairs that never occur are rows with 0.  The
    encoder may also guess bin 0, "EOS" or "MASK", which are never hidden and always wrong.
    """
    import pandas as pd

    n_bins, n_ids = val.n_bins, mask_id(val.n_bins) + 1
    counts = bin_counts(train)
    overall = int(counts.sum(0).argmax())
    per_gene = torch.as_tensor(np.where(counts.any(1), counts.argmax(1), overall))
    forward, micro_batch = forward_function(model, config), choose_micro_batch(model, config)
    found = np.zeros((4, n_ids, n_ids), dtype=np.int64)
    model.eval()
    for step, tokens in val.batches(batch_size=config.batch_size):
        inputs, targets = hide(tokens, VALIDATION, step, config=config, n_bins=n_bins)
        guessed = [forward(part)[:, :-1].argmax(-1).cpu() for part in inputs.split(micro_batch)]
        own = commonest_visible(inputs, targets, n_bins=n_bins)[:, None]
        for matrix, guess in zip(found, (torch.cat(guessed), overall, per_gene[None, :], own), strict=True):
            pairs = targets * n_ids + guess  # one number for each pair of bins
            matrix += np.bincount(pairs[targets >= 0].numpy(), minlength=n_ids**2).reshape(n_ids, n_ids)
    names = {eos_id(n_bins): "EOS", mask_id(n_bins): "MASK"}
    return pd.DataFrame([
        {"predictor": name, "bin": true, "guess": str(names.get(guess, guess)), "tokens": int(matrix[true, guess])}
        for name, matrix in zip((ENCODER, *BASELINES), found, strict=True)
        for true in range(1, n_bins)
        for guess in range(n_ids)
    ])  # fmt: skip


def accuracy_by_bin(guesses: pd.DataFrame) -> pd.DataFrame:
    """From a `guess_table`: one row per bin, `tokens` hidden, and each predictor's share guessed right.

    A bin without hidden tokens has no accuracy (NaN).
    """
    right = guesses["tokens"].where(guesses["guess"] == guesses["bin"].astype(str), 0)
    sums = guesses.assign(right=right).groupby(["bin", "predictor"], sort=False)[["right", "tokens"]].sum()
    share = (sums["right"] / sums["tokens"].where(sums["tokens"] > 0)).unstack("predictor")
    tokens = sums["tokens"].unstack("predictor").iloc[:, 0]
    share.insert(0, "hidden tokens", tokens.astype(int))
    return share[["hidden tokens", *dict.fromkeys(guesses["predictor"])]].rename_axis(columns=None)
