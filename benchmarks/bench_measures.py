"""Intervals and tests from stored scores beside a loop over scikit-learn and all pairs of cells, interleaved.

Usage: python benchmarks/bench_measures.py [--force] [--repeats N] [--cells N] [--resamples N]

The reference bootstrap calls scikit-learn's `roc_auc_score` once for each resample (timed on a
twentieth of them and scaled); the reference for DeLong's covariance compares all pairs of cells.
Refuses to start where the load is above 0.3; ``--force`` runs all the same and marks the result as
not quotable.
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np
import pandas as pd
from machine import require_idle
from sklearn.metrics import roc_auc_score

from scarafm_utils.measures import bootstrap, metrics
from scarafm_utils.paired import delong, paired_bootstrap


def make_scores(n: int, *, seed: int) -> pd.DataFrame:
    """Scores of two equally large classes with a weak signal; the truth is the same for every seed."""
    truth = np.repeat([0, 1], [n // 2, n - n // 2])
    stress = 1 / (1 + np.exp(-truth - np.random.default_rng(seed).normal(size=n)))
    names = np.array(["control", "stress"])[truth]
    return pd.DataFrame({"y_true": names, "score:control": 1 - stress, "score:stress": stress})


def loop_bootstrap(scores: pd.DataFrame, n_boot: int) -> None:
    """Percentile interval by one call of scikit-learn for each resample."""
    truth, score = (scores["y_true"] == "stress").to_numpy(), scores["score:stress"].to_numpy()
    rng = np.random.default_rng(0)
    picks = (rng.integers(0, len(truth), len(truth)) for _ in range(n_boot))
    np.quantile([roc_auc_score(truth[pick], score[pick]) for pick in picks], [0.025, 0.975])


def pairs_covariance(tables: list[pd.DataFrame]) -> None:
    """DeLong's covariance from every pair of a positive and a negative cell."""
    truth = (tables[0]["y_true"] == "stress").to_numpy()
    sides = []
    for table in tables:
        score = table["score:stress"].to_numpy()
        won = (score[truth][:, None] > score[~truth]) + 0.5 * (score[truth][:, None] == score[~truth])
        sides.append((won.mean(axis=1), won.mean(axis=0)))
    np.cov([side[0] for side in sides]), np.cov([side[1] for side in sides])


def timed(function, *, scale: float = 1.0) -> float:
    start = time.perf_counter()
    function()
    return scale * (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--cells", type=int, default=2000)
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--force", action="store_true")
    args = parser.parse_args()
    require_idle(force=args.force)
    one, other = (make_scores(args.cells, seed=seed) for seed in (0, 1))
    few = max(1, args.resamples // 20)
    jobs = {
        "bootstrap, ours": lambda: timed(lambda: bootstrap(one, n_boot=args.resamples, seed=0)),
        "bootstrap, loop": lambda: timed(lambda: loop_bootstrap(one, few), scale=args.resamples / few),
        "paired bootstrap, ours": lambda: timed(
            lambda: paired_bootstrap(one, other, n_boot=args.resamples, seed=0)
        ),
        "DeLong, ours": lambda: timed(lambda: delong(one, other)),
        "DeLong, all pairs": lambda: timed(lambda: pairs_covariance([one, other])),
        "all eight metrics": lambda: timed(lambda: metrics(one)),
    }
    times: dict[str, list[float]] = {name: [] for name in jobs}
    for _ in range(args.repeats + 1):
        for name, job in jobs.items():
            times[name].append(job())
    medians = {name: statistics.median(values[1:]) for name, values in times.items()}  # the first warms up
    print(f"{args.cells} cells, {args.resamples} resamples, one score column; medians of {args.repeats}")
    for name, seconds in medians.items():
        print(f"{name:24s} {seconds * 1000:10.1f} ms")
    print(f"bootstrap {medians['bootstrap, loop'] / medians['bootstrap, ours']:.0f} times faster than the loop")
    print(f"DeLong {medians['DeLong, all pairs'] / medians['DeLong, ours']:.1f} times faster than all pairs")


if __name__ == "__main__":
    main()
