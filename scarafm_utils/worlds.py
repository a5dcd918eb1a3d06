"""Simulated worlds with one cause switched on at a time, and what each does to the three protocols."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from .effects import Effects
from .files import code_digest, hash_of, write_csv
from .logistic import fit_logistic
from .manifest import Dataset, Label, ObsColumns
from .preprocessing import preprocess_dataset
from .simulate import simulate_dataset
from .simulate_fit import compare_counts, fitted_reference, load_fit
from .sources import load_raw
from .tasks import PROTOCOLS

if TYPE_CHECKING:
    import pandas as pd

    from .workspace import Workspace

#: Stress that all studies share, and nothing else that tells one library from another.
QUIET = Effects(library=0, lab=0, replicate=0, private=0, ambient=0, composition=0)
#: Worlds by name: the quiet one, each cause added to it alone at its usual size, and all at their usual sizes.
WORLDS = {
    "no nuisance": QUIET,
    "library": replace(QUIET, library=Effects().library),
    "private stress": replace(QUIET, private=Effects().private),
    "lab": replace(QUIET, lab=Effects().lab),
    "replicate": replace(QUIET, replicate=Effects().replicate),
    "ambient RNA": replace(QUIET, ambient=Effects().ambient),
    "all together": Effects(),
}
SEEDS = range(12)
N_CELLS, N_GENES, N_TEST = 600, 300, 150

_CODE = ("effects", "logistic", "preprocessing", "simulate", "simulate_fit", "simulate_programmes", "worlds")


def world_table(workspace: Workspace) -> pd.DataFrame:
    """AUROC of every world, protocol and seed; an empty table where the profile's cells are real.

    Computed once for each state of the code and kept in ``tables/``.
    """
    import pandas as pd

    if not workspace.simulated:
        return pd.DataFrame(columns=["world", "seed", *PROTOCOLS])
    settings = [N_CELLS, N_GENES, N_TEST, list(SEEDS), code_digest(*_CODE)]
    path = workspace.tables_dir / f"worlds-{hash_of(settings)[:8]}.csv"
    if not path.exists():
        rows = [
            {"world": name, "seed": seed, **protocol_scores(effects, seed=seed)}
            for name, effects in WORLDS.items()
            for seed in SEEDS
        ]
        write_csv(path, pd.DataFrame(rows))
    return pd.read_csv(path)


def world_summary(table: pd.DataFrame) -> pd.DataFrame:
    """Mean AUROC over seeds by world and protocol, and the two steps of the order in points of AUROC."""
    means = table.groupby("world", sort=False)[list(PROTOCOLS)].mean().astype(float)
    steps = {
        "random - replicate (points)": 100 * (means["random"] - means["replicate"]),
        "replicate - cross (points)": 100 * (means["replicate"] - means["cross"]),
    }
    return means.round(3).assign(**{name: step.round(1) for name, step in steps.items()})


def protocol_scores(effects: Effects, *, seed: int) -> dict[str, float]:
    """AUROC of LR on raw values under the three protocols, on the same test cells.

    Two studies of one stress are simulated, each with two replicates.  The test cells are half
    control, half stressed, from the first replicate of the first study; as many training cells
    come from the rest of that study, from its other replicate, or from the other study.
    """
    from sklearn.metrics import roc_auc_score

    (X, y, first), (other, y_other, _) = (_study(name, effects, seed) for name in "AB")
    rng = np.random.default_rng(seed)
    test = _balanced(y, np.flatnonzero(first), N_TEST, rng)
    pools = {
        "random": (X, y, np.setdiff1d(np.arange(len(y)), test)),
        "replicate": (X, y, np.flatnonzero(~first)),
        "cross": (other, y_other, np.arange(len(y_other))),
    }
    n_train = min(2 * np.bincount(labels[cells]).min() for _, labels, cells in pools.values())
    scores = {}
    for protocol, (features, labels, cells) in pools.items():
        train = _balanced(labels, cells, n_train, rng)
        fit = fit_logistic(features[train], labels[train], n_classes=2)
        scores[protocol] = float(roc_auc_score(y[test], X[test] @ fit.coef[0]))
    return scores


def compare_with_nuclei(*, seed: int = 0) -> pd.DataFrame:
    """`compare_counts` of the real nuclei behind the fit, as committed, with as many simulated ones.

    Cells, genes and counts per cell are those of the nuclei; nothing else is adjusted.
    """
    fit = load_fit()
    spread = fit["nuclei"]["log_sd"] / fit["library_sizes"]["log_ratio_sd"]
    effects = Effects(counts=fit["nuclei"]["median"], count_spread=spread)
    size = {"n_cells": fit["genes"]["n_cells"], "n_genes": fit["genes"]["n_genes"]}
    one = Dataset(id="N", tissue="root", role="pretraining", n_cells=1)
    adata = simulate_dataset(one, seed=seed, effects=effects, **size)
    nuclear = adata.var_names.str.fullmatch(r"AT[1-5]G\d{5}")
    return compare_counts(fitted_reference(), adata[:, nuclear].copy())


def _study(name: str, effects: Effects, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Log-normalised values (n_cells, n_genes), whether a cell is stressed, whether of the first replicate."""
    dataset = Dataset(
        id=name, tissue="leaf", role="downstream", n_cells=N_CELLS, stress="Drought Response", n_conditions=2,
        n_genotypes=1, n_replicates=2, labels={"stress": Label(classes={"control": ["Wet"], "stress": ["Dry"]})},
        obs=ObsColumns(condition="Treatment", replicate="Repeat", sample="Sample"),
    )  # fmt: skip
    size = {"n_cells": N_CELLS, "n_genes": N_GENES, "seed": seed, "effects": effects}
    cells = preprocess_dataset(load_raw(dataset, source="simulated", data_dir=".", **size), dataset)
    cells = cells[:, sorted(cells.var_names)]
    stressed = (cells.obs["label"] == "stress").to_numpy()
    return cells.X.toarray(), stressed.astype(int), (cells.obs["replicate"] == "rep1").to_numpy()


def _balanced(labels: np.ndarray, cells: np.ndarray, n: int, rng: np.random.Generator) -> np.ndarray:
    """`n` of some cells, half of each class."""
    return np.concatenate([rng.permutation(cells[labels[cells] == c])[: n // 2] for c in (0, 1)])
