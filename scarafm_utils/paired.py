"""Two models on the same test cells, many of them at once, and signs over independent units.

What is computed from cells (`delong`, `paired_bootstrap`) is conditional on the two fitted models and
on the libraries they were tested on: it says whether other *cells* of these libraries could turn the
difference around, and nothing about another library.  It never is the uncertainty of a claim.  What is
computed from units (`sign_test`, `signed_rank_test`) is, as far as the units are independent.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .errors import InputError
from .measures import arrays_of, draws, weighted_auroc

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

#: Units below which no pattern of signs reaches p < 0.05 on two sides: 2 / 2^5 = 0.0625.
MIN_UNITS = 6


def auroc_covariance(tables: Sequence[pd.DataFrame]) -> tuple[np.ndarray, np.ndarray]:
    """AUROC of several models on the same test cells, and their covariance over cells.

    DeLong, DeLong and Clarke-Pearson (1988, Biometrics 44:837), with midranks as in Sun and Xu
    (2014, IEEE Signal Processing Letters 21:1389), so that time grows as n log n.  For three or more
    classes the AUROC of `measures.metrics` is a mean over classes of one against the rest; a cell then
    enters it once as a positive and once per other class as a negative, and the same variance of means
    is taken over the sum of these parts.

    Parameters
    ----------
    tables
        Tables of scores of the same cells in the same order (see `measures.metrics`).

    Returns
    -------
    AUROC, shape (n_models,), and covariance, shape (n_models, n_models).  The number of cells of each
    class counts as fixed.

    Raises
    ------
    InputError
        Tables of different cells, or a class with fewer than two of them.
    """
    import numpy as np

    truth = _shared_truth(tables)
    parts = np.array([_components(truth, arrays_of(table)[2]) for table in tables])  # (n_models, n)
    groups = [parts[:, truth == c] for c in np.unique(truth)]
    aurocs = sum(group.mean(axis=1) for group in groups) / 2  # each pair of cells was counted from both sides
    covariance = sum(np.atleast_2d(np.cov(group)) / group.shape[1] for group in groups)
    return aurocs, covariance


def delong(first: pd.DataFrame, second: pd.DataFrame, *, level: float = 0.95) -> pd.DataFrame:
    """Compare the AUROC of two models on the same test cells (`auroc_covariance`).

    Returns
    -------
    One row: `difference` (first minus second), `standard_error`, `low`, `high` and the two-sided `p`.
    Two models that order every cell alike have a standard error of 0 and p = 1.
    """
    import numpy as np
    import pandas as pd
    from scipy.stats import norm

    aurocs, covariance = auroc_covariance([first, second])
    difference = float(aurocs[0] - aurocs[1])
    variance = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    error = float(np.sqrt(variance)) if variance > 1e-18 else 0.0
    p = 2 * norm.sf(abs(difference) / error) if error else float(abs(difference) < 1e-12)
    reach = norm.ppf((1 + level) / 2) * error
    row = {"difference": difference, "standard_error": error, "low": difference - reach}
    return pd.DataFrame([row | {"high": difference + reach, "p": float(p)}])


def paired_bootstrap(
    first: pd.DataFrame, second: pd.DataFrame, *, n_boot: int, seed: int, level: float = 0.95
) -> pd.DataFrame:
    """Percentile interval of a difference in AUROC; each resample draws the same cells for both models.

    Returns
    -------
    One row: `difference` (first minus second), `low`, `high`, the two-sided `p` (twice the smaller tail
    beyond 0, the observed difference counting as a resample, at most 1), `n_boot` (asked for) and
    `n_dropped` (resamples that lack a class).
    """
    import numpy as np
    import pandas as pd

    truth = _shared_truth([first, second])
    one, other = (arrays_of(table)[2] for table in (first, second))
    rng = np.random.default_rng(seed)
    blocks = [
        weighted_auroc(truth, one, weights) - weighted_auroc(truth, other, weights)
        for weights in draws([np.arange(len(truth))], n_boot, rng)
    ]
    drawn = np.concatenate(blocks) if blocks else np.empty(0)
    kept = drawn[~np.isnan(drawn)]
    low, high = np.quantile(kept, [(1 - level) / 2, (1 + level) / 2]) if len(kept) else (np.nan, np.nan)
    tail = (1 + min((kept <= 0).sum(), (kept >= 0).sum())) / (1 + len(kept))
    whole = np.ones((1, len(truth)))
    difference = (weighted_auroc(truth, one, whole) - weighted_auroc(truth, other, whole)).item()
    row = {"difference": difference, "low": float(low), "high": float(high), "p": float(min(1, 2 * tail))}
    return pd.DataFrame([row | {"n_boot": n_boot, "n_dropped": n_boot - len(kept)}])


def benjamini_hochberg(p: Sequence[float]) -> np.ndarray:
    """Adjust p values for the false discovery rate over one family; NaN stays NaN and does not count.

    >>> benjamini_hochberg([0.01, 0.04, 0.03]).round(3).tolist()
    [0.03, 0.04, 0.04]
    """
    import numpy as np
    from scipy.stats import false_discovery_control

    adjusted = np.array(p, dtype=float)
    known = ~np.isnan(adjusted)
    if known.any():
        adjusted[known] = false_discovery_control(adjusted[known])
    return adjusted


def sign_test(differences: Sequence[float]) -> float:
    """Two-sided exact sign test over independent units; zeros are left out, p = 1 where nothing is left.

    Fewer than `MIN_UNITS` units cannot reach p < 0.05.

    >>> sign_test([3, 1, 2, 5, 1]), sign_test([3, 1, 2, 5, 1, 4])
    (0.0625, 0.03125)
    """
    from scipy.stats import binomtest

    signs = [d > 0 for d in differences if d != 0]
    return float(binomtest(sum(signs), len(signs)).pvalue) if signs else 1.0


def signed_rank_test(differences: Sequence[float]) -> float:
    """Two-sided exact Wilcoxon signed-rank test over independent units, exact with equal sizes too.

    Zeros are left out.  The distribution of the rank sum over all signs is built up unit by unit (twice
    the midranks are whole numbers).  Fewer than `MIN_UNITS` units cannot reach p < 0.05.

    >>> signed_rank_test([3, 1, 2, 5, -4, 6])
    0.21875
    """
    import numpy as np
    from scipy.stats import rankdata

    values = np.array([d for d in differences if d != 0], dtype=float)
    if not len(values):
        return 1.0
    ranks = np.rint(2 * rankdata(np.abs(values).round(12))).astype(int)
    share = np.zeros(ranks.sum() + 1)  # of sign patterns, by the rank sum of their positive units
    share[0] = 1
    for rank in ranks:
        share = (share + np.roll(share, rank)) / 2  # rolls nothing round: the last places are still 0
    reached = ranks[values > 0].sum()
    return float(min(1.0, 2 * min(share[: reached + 1].sum(), share[reached:].sum())))


def _shared_truth(tables: Sequence[pd.DataFrame]) -> np.ndarray:
    """The classes of the cells as positions, after checking that all tables hold the same cells."""
    import numpy as np

    classes, truth, _ = arrays_of(tables[0])
    for table in tables[1:]:
        same = len(table) == len(truth) and arrays_of(table)[0] == classes
        names = [t["obs_name"].to_numpy() for t in (tables[0], table) if "obs_name" in t]
        if not same or (arrays_of(table)[1] != truth).any() or (len(names) == 2 and (names[0] != names[1]).any()):
            raise InputError(
                f"The tables of scores hold different cells or classes ({len(tables[0])} and {len(table)} rows). "
                "Compare models of one task, held-out unit, seed and fidelity."
            )
    few = np.bincount(truth, minlength=len(classes)).min()
    if few < 2:
        raise InputError(f"A class has {few} test cells; the variance of an AUROC needs at least 2 of each.")
    return truth


def _components(truth: np.ndarray, values: np.ndarray) -> np.ndarray:
    """What each cell adds to AUROC, (n,): the means of the classes sum to twice the AUROC.

    A cell of class c adds the share of other cells that it beats as a positive of c and, for every other
    class d, the share of cells of d that beat it, weighted by its class's share of what is not d.
    """
    import numpy as np

    n_classes, sizes = values.shape[1], np.bincount(truth, minlength=values.shape[1])
    columns = [1] if n_classes == 2 else range(n_classes)
    total = np.zeros(len(truth))
    for c in columns:
        weight = np.where(truth == c, 1.0, sizes[truth] / (len(truth) - sizes[c]))
        total += weight * _placements(truth == c, values[:, c]) / len(columns)
    return total


def _placements(positive: np.ndarray, score: np.ndarray) -> np.ndarray:
    """Share of the other side that each cell is ordered rightly against, ties counting half, (n,)."""
    import numpy as np
    from scipy.stats import rankdata

    everyone, m = rankdata(score), positive.sum()
    placed = np.empty(len(score))
    placed[positive] = (everyone[positive] - rankdata(score[positive])) / (len(score) - m)
    rest = everyone[~positive] - rankdata(score[~positive])  # positives below
    placed[~positive] = 1 - rest / m
    return placed
