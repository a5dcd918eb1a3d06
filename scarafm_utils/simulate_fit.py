"""What the simulator took from real cells, and whether its counts look like real ones."""

from __future__ import annotations

import functools
import itertools
import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    from anndata import AnnData

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
# Mean counts per cell between which genes are taken together.
MEAN_EDGES = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 3.0)

MAX_SCALE = 3.0  # of a cell-type programme: a 20-fold difference for one standard deviation


@functools.cache
def load_fit() -> dict:
    """Return the numbers fitted to real cells by ``scripts/fit_simulation.py``."""
    return json.loads(Path(__file__).with_name("simulation_fit.json").read_text(encoding="utf-8"))


def draw_quantiles(table: list[float], size: int, rng: np.random.Generator) -> np.ndarray:
    """Draw from the distribution whose evenly spaced quantiles are `table`."""
    return np.interp(rng.random(size), np.linspace(0, 1, len(table)), table)


def scale_programmes(effects: np.ndarray, proportions: np.ndarray, variation: np.ndarray) -> np.ndarray:
    """Scale log effects so that expression varies between cell types as much as asked.

    Parameters
    ----------
    effects
        Log effects of unit size, (n_types, n_genes).
    proportions
        Shares of the cell types, (n_types,), adding up to anything.
    variation
        Wanted squared coefficient of variation of ``exp(scale * effects)`` over cells, (n_genes,).

    Returns
    -------
    Scale for each gene, (n_genes,), between 0 and `MAX_SCALE`, by bisection.
    """
    low, high = np.zeros(len(variation)), np.full(len(variation), MAX_SCALE)
    weight = proportions / proportions.sum()
    for _ in range(30):
        middle = (low + high) / 2
        level = np.exp(middle * effects)
        too_low = weight @ level**2 / (weight @ level) ** 2 - 1 < variation
        low, high = np.where(too_low, middle, low), np.where(too_low, high, middle)
    return (low + high) / 2


def gene_statistics(adata: AnnData) -> pd.DataFrame:
    """Mean count, share of zeros and dispersion of each gene, from counts (n_cells, n_genes).

    The dispersion is phi of var = m + phi m^2 around m = the cell's size factor x the gene's mean,
    by moments; it mixes differences between cell types with noise.  NaN for a gene without counts.
    """
    import pandas as pd
    from scipy.sparse import csr_matrix

    X = csr_matrix(adata.X, dtype=float)
    total = np.asarray(X.sum(axis=1)).ravel()
    size = total / total.mean()
    mean, second = (np.asarray(x.mean(axis=0)).ravel() for x in (X, X.multiply(X)))
    spread, cross = (size**2).mean(), X.T @ size / X.shape[0]
    with np.errstate(divide="ignore", invalid="ignore"):
        phi = (second - 2 * mean * cross + mean**2 * spread - mean) / (mean**2 * spread)
    zeros = 1 - X.getnnz(axis=0) / X.shape[0]
    return pd.DataFrame({"mean": mean, "zero_share": zeros, "dispersion": phi}, index=adata.var_names)


def describe_counts(adata: AnnData) -> pd.Series:
    """Describe a count matrix by library sizes, genes per cell, zeros and dispersions.

    Parameters
    ----------
    adata
        Counts, (n_cells, n_genes), sparse or dense.

    Returns
    -------
    Series whose index is (property, group): `library_size` relative to the median and
    `genes_per_cell` as a share of all genes, by quantile over cells; `zero_share` by quantile over
    genes; `zero_share_at_mean` and the median `dispersion_at_mean` by range of a gene's mean
    count (NaN where no gene falls).
    """
    import pandas as pd

    genes = gene_statistics(adata)
    total = np.asarray(adata.X.sum(axis=1), dtype=float).ravel()
    detected = np.asarray((adata.X > 0).sum(axis=1), dtype=float).ravel()
    properties = {
        "library_size": total / np.median(total),
        "genes_per_cell": detected / adata.n_vars,
        "zero_share": genes["zero_share"],
    }
    rows = {(p, f"{q:.0%}"): np.quantile(x, q) for p, x in properties.items() for q in QUANTILES}
    for low, high in itertools.pairwise(MEAN_EDGES):
        inside, group = genes[genes["mean"].between(low, high, inclusive="left")], f"{low:g} to {high:g}"
        rows["zero_share_at_mean", group] = inside["zero_share"].mean()
        rows["dispersion_at_mean", group] = inside["dispersion"].median()
    return pd.Series(rows).rename_axis(["property", "group"])


def fitted_reference() -> pd.Series:
    """Return `describe_counts` of the real nuclei behind the fit, as committed."""
    import pandas as pd

    rows = {(p, group): value for p, group, value in load_fit()["reference"]}
    return pd.Series(rows).rename_axis(["property", "group"])


def compare_counts(real: AnnData | pd.Series, simulated: AnnData | pd.Series) -> pd.DataFrame:
    """Put two count matrices side by side: real cells and simulated ones.

    Each is an AnnData of counts or what `describe_counts` made of one; `fitted_reference` gives
    the real nuclei that the simulator was fitted to, without the data.

    Returns
    -------
    DataFrame with the columns property, group, real, simulated and difference.
    """
    import pandas as pd

    both = [x if isinstance(x, pd.Series) else describe_counts(x) for x in (real, simulated)]
    table = pd.DataFrame(dict(zip(("real", "simulated"), both, strict=True)))
    return table.assign(difference=table["simulated"] - table["real"]).reset_index()


def fit_origin() -> pd.DataFrame:
    """The real files behind the fit: what was taken from each, its cells and checksum, date and command."""
    import pandas as pd

    fit = load_fit()
    taken = {
        fit["genes"]["source"]: ("gene means, dispersions, zeros", fit["genes"]["n_cells"]),
        fit["library_sizes"]["source"]: ("library sizes", fit["library_sizes"]["n_cells"]),
    }
    rows = [
        {"file": name, "used for": what, "cells": n_cells, "sha256": fit["sources"][name], **fit["made"]}
        for name, (what, n_cells) in taken.items()
    ]
    return pd.DataFrame(rows).set_index("file")
