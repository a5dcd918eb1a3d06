"""Numbers from stored scores: metrics of one test set, and their bootstrap intervals.

`evaluation` hands both functions on; they stand here so that running a task can use them.
A table of scores has `y_true` and one column ``score:<class>`` per class in label order.
With two classes the last one is positive.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    import pandas as pd

#: Columns of `metrics`, in order.
METRICS = ("auroc", "auroc_hard", "auprc", "balanced_accuracy", "mcc", "f1_macro", "brier", "ece")

#: Libraries of each class below which no interval over libraries is given.
MIN_SAMPLES = 3


def score_classes(scores: pd.DataFrame) -> list[str]:
    """Class names in label order, from the columns ``score:<class>``."""
    classes = [column.removeprefix("score:") for column in scores.columns if column.startswith("score:")]
    if len(classes) < 2:
        found = ", ".join(map(str, scores.columns))
        raise InputError(f"Scores need two or more columns 'score:<class>' (found: {found}).")
    return classes


def metrics(scores: pd.DataFrame) -> pd.DataFrame:
    """Compute every metric of one test set.

    Parameters
    ----------
    scores
        One row per test cell: `y_true` and ``score:<class>`` columns, probabilities or shares
        of votes.

    Returns
    -------
    One row with the columns of `METRICS`.  `auroc`: two classes, from the score of the last;
    three or more, the mean over classes of one against the rest.  `auroc_hard`: the same from
    the predicted label (the largest score, ties to the first class), one-hot.  `auprc`: average
    precision, mean over classes likewise.  `brier`: mean squared error of the positive class,
    or for three or more classes summed over classes (0 to 2), as in scikit-learn.  `ece`: see
    `expected_calibration_error`.  A metric that needs a class the test set lacks is NaN.

    Raises
    ------
    InputError
        No rows, a score that is not a number, or a label without a score column.
    """
    import pandas as pd

    classes, truth, values = arrays_of(scores)
    row = dict.fromkeys(METRICS, float("nan"))
    if len(set(truth)) == len(classes):
        row |= _ranking_metrics(truth, values) | _label_metrics(truth, values.argmax(axis=1), len(classes))
    squared = (values - _one_hot(truth, len(classes))) ** 2
    row["brier"] = float((squared[:, 1] if len(classes) == 2 else squared.sum(axis=1)).mean())
    row["ece"] = expected_calibration_error(scores)
    return pd.DataFrame([row])


def reliability_curve(scores: pd.DataFrame, *, n_bins: int = 10) -> pd.DataFrame:
    """Stated and observed probability in equal-width bins, as in scikit-learn's `calibration_curve`.

    Two classes: the score of the last class against its share.  Three or more: the largest score
    against the share of correct labels.

    Returns
    -------
    One row per bin that holds a cell: `low` and `high` (its edges), `stated` and `observed` (means
    over its cells) and `n`.
    """
    import numpy as np
    import pandas as pd

    classes, truth, values = arrays_of(scores)
    if len(classes) == 2:
        stated, right = values[:, 1], truth == 1
    else:
        stated, right = values.max(axis=1), values.argmax(axis=1) == truth
    edges = np.linspace(0, 1, n_bins + 1)
    cells = pd.DataFrame({"bin": np.searchsorted(edges[1:-1], stated), "stated": stated, "observed": right})
    curve = cells.groupby("bin").agg(stated=("stated", "mean"), observed=("observed", "mean"), n=("bin", "size"))
    return curve.reset_index(drop=True).assign(low=edges[curve.index], high=edges[curve.index + 1])[
        ["low", "high", "stated", "observed", "n"]
    ]


def expected_calibration_error(scores: pd.DataFrame, *, n_bins: int = 10) -> float:
    """Mean distance between stated and observed probability over the bins of `reliability_curve`.

    Each bin weighs as much as it has cells.
    """
    curve = reliability_curve(scores, n_bins=n_bins)
    return float(((curve["observed"] - curve["stated"]).abs() * curve["n"]).sum() / curve["n"].sum())


def bootstrap(
    scores: pd.DataFrame, *, n_boot: int, seed: int, unit: str = "cell", level: float = 0.95
) -> pd.DataFrame:
    """Percentile interval of AUROC from resampled cells or resampled libraries.

    Resampling cells asks how the score would move with other cells of the *same* libraries and
    the same model; it is not the uncertainty of a claim.  Resampling libraries keeps the number
    of libraries of each class, where the class is constant within a library.

    Parameters
    ----------
    scores
        As for `metrics`; `unit="sample"` reads the column `sample` too.
    n_boot
        Number of resamples.  Those that lack a class are dropped and counted.

    Returns
    -------
    One row: `auroc`, `auroc_low`, `auroc_high`, `interval_unit`, `n_boot` (asked for) and
    `n_dropped`.

    Raises
    ------
    InputError
        `unit="sample"` with fewer than three libraries of some class: there is no honest interval.
    """
    import numpy as np
    import pandas as pd

    if unit not in ("cell", "sample"):
        raise InputError(f"unit is '{unit}': allowed are cell, sample.")
    classes, truth, values = arrays_of(scores)
    rng = np.random.default_rng(seed)
    strata, member = _strata(scores, truth, classes) if unit == "sample" else ([np.arange(len(truth))], None)
    blocks = [
        weighted_auroc(truth, values, weights if member is None else weights[:, member])
        for weights in draws(strata, n_boot, rng)
    ]
    drawn = np.concatenate(blocks) if blocks else np.empty(0)
    kept = drawn[~np.isnan(drawn)]
    tails = [(1 - level) / 2, (1 + level) / 2]
    low, high = np.quantile(kept, tails) if len(kept) else (np.nan, np.nan)
    return pd.DataFrame(
        [
            {
                "auroc": float(weighted_auroc(truth, values, np.ones((1, len(truth))))[0]),
                "auroc_low": float(low),
                "auroc_high": float(high),
                "interval_unit": unit,
                "n_boot": n_boot,
                "n_dropped": n_boot - len(kept),
            }
        ]
    )


def arrays_of(scores: pd.DataFrame) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Classes, truth as positions in them (n,), and scores (n, classes) in float64."""
    import numpy as np

    classes = score_classes(scores)
    if "y_true" not in scores or not len(scores):
        raise InputError(f"Scores need a column 'y_true' and at least one row (rows: {len(scores)}).")
    values = scores[[f"score:{name}" for name in classes]].to_numpy(dtype=np.float64)
    broken = int((~np.isfinite(values)).any(axis=1).sum())
    if broken:
        raise InputError(f"{broken} of {len(values)} cells have a score that is no number.")
    position = {name: i for i, name in enumerate(classes)}
    truth = scores["y_true"].astype(str).map(position)
    if truth.isna().any():
        stranger = scores["y_true"][truth.isna()].iloc[0]
        raise InputError(f"y_true has the class '{stranger}'; the score columns are {', '.join(classes)}.")
    return classes, truth.to_numpy(dtype=np.int64), values


def _ranking_metrics(truth: np.ndarray, values: np.ndarray) -> dict[str, float]:
    """Metrics of the order of cells, from one score column, or the mean over one per class."""
    import numpy as np

    ones, k = np.ones((1, len(truth))), values.shape[1]
    columns = [1] if k == 2 else range(k)
    return {
        "auroc": float(weighted_auroc(truth, values, ones)[0]),
        "auroc_hard": float(weighted_auroc(truth, _one_hot(values.argmax(axis=1), k), ones)[0]),
        "auprc": float(np.mean([_average_precision(truth == c, values[:, c]) for c in columns])),
    }


def _average_precision(positive: np.ndarray, score: np.ndarray) -> float:
    """Precision at each threshold weighted by the recall it adds; equal scores share a threshold."""
    import numpy as np

    order = np.argsort(-score, kind="stable")
    last = np.flatnonzero(np.diff(score[order], append=np.inf))
    found = np.cumsum(positive[order])[last]
    return float((np.diff(found, prepend=0) * found / (last + 1)).sum() / found[-1])


def _label_metrics(truth: np.ndarray, predicted: np.ndarray, k: int) -> dict[str, float]:
    """Metrics of predicted labels, from the confusion matrix (truth in rows)."""
    import numpy as np

    table = np.bincount(truth * k + predicted, minlength=k * k).reshape(k, k).astype(float)
    hits, rows, columns, n = np.diag(table), table.sum(axis=1), table.sum(axis=0), len(truth)
    spread = (n**2 - columns @ columns) * (n**2 - rows @ rows)
    return {
        "balanced_accuracy": float((hits / rows).mean()),
        "mcc": float((hits.sum() * n - rows @ columns) / np.sqrt(spread)) if spread > 0 else 0.0,
        "f1_macro": float((2 * hits / (rows + columns)).mean()),
    }


def _one_hot(positions: np.ndarray, n_classes: int) -> np.ndarray:
    import numpy as np

    return np.eye(n_classes)[positions]


def weighted_auroc(truth: np.ndarray, values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """AUROC (n_resamples,) of each row of cell weights (n_resamples, n); NaN where a class is absent."""
    import numpy as np

    columns = [1] if values.shape[1] == 2 else range(values.shape[1])
    return np.mean([_one_against_rest(truth == c, values[:, c], weights) for c in columns], axis=0)


def _one_against_rest(positive: np.ndarray, score: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Share of (positive, negative) pairs in the right order, ties counting half.

    Cells are sorted once; a resample only changes how often each counts, so that its AUROC is
    a weighted sum over groups of equal scores.
    """
    import numpy as np

    order = np.argsort(score, kind="stable")
    starts = np.flatnonzero(np.diff(score[order], prepend=-np.inf))
    ordered = weights[:, order]
    above = np.add.reduceat(ordered * positive[order], starts, axis=1)  # (n_resamples, groups)
    below = np.add.reduceat(ordered, starts, axis=1) - above
    earlier = np.cumsum(below, axis=1) - below
    wins = (above * (earlier + below / 2)).sum(axis=1)
    pairs = above.sum(axis=1) * below.sum(axis=1)
    return np.where(pairs > 0, wins / np.where(pairs > 0, pairs, 1), np.nan)


def draws(
    strata: list[np.ndarray], n_boot: int, rng: np.random.Generator, *, max_cells: int = 400_000
) -> Iterator[np.ndarray]:
    """Blocks (rows, units) of how often each unit is drawn, with replacement within its stratum."""
    import numpy as np

    n = sum(len(stratum) for stratum in strata)
    rows = max(1, max_cells // n)
    for start in range(0, n_boot, rows):
        size = min(rows, n_boot - start)
        counts = np.zeros((size, n))
        for stratum in strata:
            drawn = stratum[rng.integers(0, len(stratum), (size, len(stratum)))]
            flat = (drawn + n * np.arange(size)[:, None]).ravel()
            counts += np.bincount(flat, minlength=size * n).reshape(size, n)
        yield counts


def _strata(
    scores: pd.DataFrame, truth: np.ndarray, classes: list[str]
) -> tuple[list[np.ndarray], np.ndarray]:
    """Libraries grouped by class (all together where classes mix), and each cell's library."""
    import numpy as np
    import pandas as pd

    if "sample" not in scores or scores["sample"].isna().any():
        raise InputError("An interval over libraries needs the column 'sample' filled for every cell.")
    member, libraries = pd.factorize(scores["sample"].astype(str), sort=True)
    present = np.zeros((len(libraries), len(classes)), dtype=bool)
    present[member, truth] = True
    few = {classes[c]: int(n) for c, n in enumerate(present.sum(axis=0)) if n < MIN_SAMPLES}
    if few:
        found = ", ".join(f"{name} {n}" for name, n in few.items())
        raise InputError(
            f"No honest interval over libraries: the test set has too few of them ({found}; "
            f"at least {MIN_SAMPLES} of each class are needed)."
        )
    if (present.sum(axis=1) > 1).any():
        return [np.arange(len(libraries))], member
    owner = present.argmax(axis=1)
    return [np.flatnonzero(owner == c) for c in range(len(classes))], member
