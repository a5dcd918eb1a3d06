"""Planted stress: a programme of known genes and size on real libraries, by binomial thinning.

The nuisance of the libraries stays what it is, while the truth is known (Gerard 2020): half of the
chosen genes lose counts in the "stressed" libraries, the other half lose them in all others.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from .errors import InputError
from .experiment import CLASS
from .features import measured_everywhere
from .normalization import as_csr
from .nulls import partitions, some
from .probes import fit_lr
from .splits import Split, random_split, replicate_split

if TYPE_CHECKING:
    import anndata as ad
    import pandas as pd

#: Sizes of the planted programme, natural log fold changes; 0 plants nothing.
LOG_FOLD_CHANGES = (0.0, 0.5, 1.0, 2.0)
#: Share of the genes that carry it; 58 of 390, and the simulator's share.
GENE_SHARE = 0.15
#: Made-up conditions, in label order.
CLASSES = ("control", "planted")
COLUMNS = (
    "dataset", "log_fold_change", "groups", "protocol", "held_out", "seed", "n_train_cells", "n_test",
    "auroc", "auroc_hard", "share_found",
)  # fmt: skip


def recover_counts(adata: ad.AnnData, *, target_sum: float = 1e4, tolerance: float = 0.01):
    """Undo log1p(counts · `target_sum` / total): the counts of processed cells.

    Parameters
    ----------
    adata
        Log-normalised counts, (n_cells, n_genes), with `total_counts` in obs.

    Returns
    -------
    CSR matrix (n_cells, n_genes), int64.

    Raises
    ------
    InputError
        The library sizes are not known, or the values do not come back as whole numbers.
    """
    import numpy as np

    if "total_counts" not in adata.obs or adata.obs["total_counts"].isna().any():
        raise InputError("Counts cannot be recovered: obs has no 'total_counts' for every cell.")
    counts = as_csr(adata.X).astype(np.float64)
    totals = adata.obs["total_counts"].to_numpy(dtype=np.float64)
    counts.data = np.expm1(counts.data) * np.repeat(totals, np.diff(counts.indptr)) / target_sum
    whole = np.rint(counts.data)
    if len(whole) and np.abs(counts.data - whole).max() > tolerance * max(1.0, np.median(whole)):
        raise InputError(
            "Counts cannot be recovered: values times total_counts are no whole numbers. "
            "total_counts must be the number that the cells were divided by."
        )
    counts.data = whole.astype(np.int64)
    return counts.astype(np.int64)


def choose_genes(adata: ad.AnnData, *, share: float = GENE_SHARE, seed: int) -> tuple[list[str], list[str]]:
    """Two halves of a random choice among the genes measured in every sample: lost, gained.

    The choice is the same whatever is called stressed, and has at least one gene in each half.
    """
    import numpy as np

    known = adata.var_names[measured_everywhere(adata)]
    half = max(1, round(share * len(known) / 2))
    drawn = np.random.default_rng(seed).permutation(len(known))[: 2 * half]
    return list(known[np.sort(drawn[:half])]), list(known[np.sort(drawn[half:])])


def plant_stress(
    adata: ad.AnnData,
    stressed: Sequence[str],
    *,
    log_fold_change: float,
    seed: int,
    share: float = GENE_SHARE,
    target_sum: float = 1e4,
) -> ad.AnnData:
    """Make the cells of some samples respond, with a programme that is known.

    Each count of a gene is kept with probability exp(-`log_fold_change`): of the first half of the
    genes in the stressed samples, of the second half in the others.  The ratio of means is then
    exp(∓`log_fold_change`); what was removed leaves `total_counts` too, and cells are normalised again.

    Parameters
    ----------
    adata
        Log-normalised cells with `sample` and `total_counts` in obs.
    stressed
        Samples that get the programme.
    log_fold_change
        Natural logarithm, 0 or more.

    Returns
    -------
    The same cells with a class in ``obs['class']`` (`CLASSES`) and the genes in ``uns['planted']``.

    Raises
    ------
    InputError
        A negative size, an unknown sample, all samples, or values that are no counts.
    """
    import numpy as np
    from scipy import sparse

    samples = adata.obs["sample"].astype(str)
    unknown = sorted(set(stressed) - set(samples))
    if log_fold_change < 0 or unknown or set(stressed) >= set(samples) or not len(stressed):
        raise InputError(
            f"plant_stress: log_fold_change {log_fold_change} (0 or more) on samples "
            f"{', '.join(stressed) or 'none'}: some of {', '.join(samples.unique())}, not all."
        )
    inside = samples.isin(stressed).to_numpy()
    lost, gained = choose_genes(adata, share=share, seed=seed)
    counts = recover_counts(adata, target_sum=target_sum).tocoo()
    thinned = np.where(
        inside[counts.row], adata.var_names.isin(lost)[counts.col], adata.var_names.isin(gained)[counts.col]
    )
    rng = np.random.default_rng((seed, 1))
    kept = counts.data.copy()
    kept[thinned] = rng.binomial(counts.data[thinned], np.exp(-log_fold_change))
    removed = np.bincount(counts.row, weights=counts.data - kept, minlength=adata.n_obs)
    totals = np.maximum(adata.obs["total_counts"].to_numpy(dtype=float) - removed, 1.0)
    values = np.log1p(kept * target_sum / totals[counts.row]).astype(np.float32)
    result = adata.copy()
    result.X = sparse.csr_matrix((values, (counts.row, counts.col)), shape=counts.shape)
    result.X.eliminate_zeros()
    result.obs["total_counts"] = totals
    result.obs[CLASS] = np.where(inside, CLASSES[1], CLASSES[0])
    result.uns["planted"] = {"lost": lost, "gained": gained, "log_fold_change": log_fold_change}
    return result


def planted_ladder(
    adata: ad.AnnData,
    *,
    seed: int,
    log_fold_changes: Sequence[float] = LOG_FOLD_CHANGES,
    max_partitions: int = 10,
    max_test: int = 2000,
) -> pd.DataFrame:
    """Plant each size on every partition of the libraries; test by a random split and on a held-out pair.

    Libraries are parted into halves; beyond `max_partitions` a seeded choice is taken.  A pair is one
    library of each side, each library in one pair.

    Returns
    -------
    One row per fit of LR on raw values, columns `COLUMNS`; `share_found` is the share of the planted
    genes among the genes of largest weight, taking as many as were planted.

    Raises
    ------
    InputError
        Fewer than four libraries.
    """
    import pandas as pd

    libraries = [str(name) for name in adata.obs["sample"].unique()]
    if len(libraries) < 4:
        raise InputError(f"planted stress needs four libraries (found {len(libraries)}): one pair is held out.")
    name = str(adata.uns.get("dataset", ""))
    rows = []
    for size in log_fold_changes:
        for two in some(partitions(libraries, len(libraries) // 2), max_partitions, seed=seed):
            cells = plant_stress(adata, two[1], log_fold_change=size, seed=seed)
            said = {"dataset": name, "log_fold_change": size, "groups": " | ".join("+".join(s) for s in two)}
            rows += [said | row for row in _rows(cells, two, seed, max_test)]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def by_side(ladder: pd.DataFrame, two: Sequence[str]) -> dict[str, float]:
    """Mean AUROC of held-out pairs where nothing was planted: `two` libraries on one side, and apart.

    Parameters
    ----------
    ladder
        Rows with `log_fold_change`, `groups`, `protocol` and `auroc`.
    """
    rows = ladder[(ladder["log_fold_change"] == 0) & (ladder["protocol"] == "held-out pair")]
    together = rows["groups"].map(lambda text: any(set(two) <= set(side.split("+")) for side in text.split(" | ")))
    return {"together": rows["auroc"][together].mean(), "apart": rows["auroc"][~together].mean()}


def _rows(cells: ad.AnnData, two: tuple, seed: int, max_test: int) -> Iterator[dict]:
    """A random split, then every pair held out."""
    planted = set(cells.uns["planted"]["lost"]) | set(cells.uns["planted"]["gained"])
    for held_out in [(), *zip(*two)]:
        split = _split(cells.obs, held_out, seed, max_test)
        fit = fit_lr(cells, split, classes=CLASSES, seed=seed)
        top = fit.weights.abs().nlargest(len(planted)).index
        yield {
            "protocol": "held-out pair" if held_out else "random",
            "held_out": "+".join(held_out) or None,
            "seed": seed,
            "n_train_cells": len(split.train),
            "n_test": len(split.test),
            **fit.values("auroc", "auroc_hard"),
            "share_found": len(planted & set(top)) / len(planted),
        }


def _split(obs: pd.DataFrame, held_out: tuple[str, ...], seed: int, max_test: int) -> Split:
    same = {"label_key": CLASS, "seed": seed, "max_test": max_test}
    if not held_out:
        return random_split(obs, **same)
    return replicate_split(obs, replicate_key="sample", held_out=held_out, **same)
