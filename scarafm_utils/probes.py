"""Probes: what a linear model finds in cells, and what it finds it with.

How well features tell the library, how a score holds within each cell type, and which genes carry it.
Everything is LR on features of cells already in memory; nothing is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, permutations
from typing import TYPE_CHECKING

from .errors import InputError
from .experiment import CLASS, Experiment
from .features import TaskFeatures
from .heads import make_head
from .measures import metrics
from .splits import Split, balance_classes, random_split

if TYPE_CHECKING:
    import anndata as ad
    import pandas as pd

#: Genes looked at when signs are compared.
N_TOP = 30


@dataclass(frozen=True)
class Fit:
    """Scores of the test cells, and one weight per feature (its coefficient times its spread)."""

    scores: pd.DataFrame
    weights: pd.Series

    def values(self, *names: str) -> dict[str, float]:
        """Metrics of the scores by name."""
        found = metrics(self.scores).iloc[0]
        return {name: float(found[name]) for name in names}


def fit_lr(
    cells: ad.AnnData,
    split: Split,
    *,
    classes: Sequence[str],
    seed: int = 0,
    representation: str = "raw",
    features: TaskFeatures | None = None,
) -> Fit:
    """Fit LR to two classes on one representation.

    Parameters
    ----------
    cells
        Log-normalised cells with the class in ``obs['class']``.
    classes
        Both classes, the positive one last.
    features
        Features of these cells, or of more, where an encoder or speed asks for it.

    Returns
    -------
    `Fit`; with raw values the weights are named by gene: the change of the log odds for one
    standard deviation of the gene in the training cells.
    """
    import pandas as pd

    features = features or TaskFeatures(cells, models={})
    train = features.matrix(representation, fit=split.train, names=split.train)
    head = make_head("LR", seed=seed, classes=list(classes))
    head.fit(train, cells.obs.loc[split.train, CLASS].to_numpy(dtype=str))
    chance = head.predict_proba(features.matrix(representation, fit=split.train, names=split.test))
    obs = cells.obs.loc[split.test]
    scores = pd.DataFrame({"obs_name": split.test.astype(str), "y_true": obs[CLASS].to_numpy(dtype=object)})
    for column in ("sample", "cell_type"):
        scores[column] = obs[column].astype(object).to_numpy() if column in obs else None
    for i, name in enumerate(classes):
        scores[f"score:{name}"] = chance[:, i].astype(float)
    names = features.genes if representation == "raw" else range(train.shape[1])
    return Fit(scores, pd.Series(head.coef_[0] * train.std(axis=0), index=names))


def matched_types(obs: pd.DataFrame, *, seed: int) -> pd.Index:
    """Equally many cells of each cell type in every class; types that a class lacks are left out.

    Without known cell types all cells are kept.
    """
    if "cell_type" not in obs or obs["cell_type"].isna().any():
        return obs.index
    n = obs[CLASS].nunique()
    groups = [part for _, part in obs.groupby("cell_type", observed=True) if part[CLASS].nunique() == n]
    chosen = [name for part in groups for name in balance_classes(part, label_key=CLASS, seed=seed)]
    return obs.index[obs.index.isin(chosen)]


def library_leakage(
    experiment: Experiment, features: TaskFeatures, *, representations: Sequence[str], seed: int
) -> pd.DataFrame:
    """How well each representation tells the library within a class, beside how well it tells the class.

    Libraries of one class differ in nothing that was asked for, so what tells them apart is
    available to a random split as a shortcut.  Cell types are matched on both sides, except where the
    label is the cell type.

    Returns
    -------
    One row per representation and contrast: `representation`, `within` (the class, or ``the label
    itself``, where there are two classes), `libraries`, `n_test`, `auroc`.  Empty where no class has
    two libraries.
    """
    import pandas as pd

    obs, rows = experiment.cells.obs, []
    for within, names in _contrasts(obs, experiment.classes):
        made = obs[obs["sample"].astype(str).isin(names)].copy() if names else obs.copy()
        if names:
            made[CLASS] = made["sample"].astype(str)
        matched = matched_types(made, seed=seed)
        made = made.loc[matched] if len(matched) else made
        cells = experiment.cells[made.index].copy()
        cells.obs = made
        split = random_split(made, label_key=CLASS, seed=seed)
        for representation in representations:
            same = {"representation": representation, "features": features, "seed": seed}
            fit = fit_lr(cells, split, classes=names or experiment.classes, **same)
            row = {"representation": representation, "within": within, "libraries": " | ".join(names)}
            rows.append(row | {"n_test": len(split.test), **fit.values("auroc")})
    return pd.DataFrame(rows, columns=["representation", "within", "libraries", "n_test", "auroc"])


def _contrasts(obs: pd.DataFrame, classes: Sequence[str]) -> list[tuple[str, tuple[str, ...]]]:
    """Each pair of libraries within a class, then the classes themselves (no libraries named)."""
    pairs = []
    for name in classes:
        libraries = obs.loc[obs[CLASS] == name, "sample"].astype(str).unique()
        pairs += [(str(name), two) for two in combinations(libraries, 2)]
    itself = [("the label itself", ())] if len(classes) == 2 else []
    return [*pairs, *itself] if pairs else []


def within_types(scores: pd.DataFrame, *, min_cells: int = 10) -> pd.DataFrame:
    """AUROC of stored scores within each cell type that has `min_cells` test cells of every class.

    Returns
    -------
    One row per cell type: `cell_type`, `n_test`, `auroc`; types with too few cells are left out.
    """
    import pandas as pd

    rows = []
    for name, part in scores.groupby("cell_type", observed=True):
        counts = part["y_true"].value_counts()
        if len(counts) == scores["y_true"].nunique() and counts.min() >= min_cells:
            rows.append({"cell_type": name, "n_test": len(part), "auroc": float(metrics(part)["auroc"].iloc[0])})
    return pd.DataFrame(rows, columns=["cell_type", "n_test", "auroc"])


def unit_weights(experiment: Experiment, units: dict[str, pd.Index], *, seed: int) -> pd.DataFrame:
    """Weights of LR on raw values fitted to each unit's own cells: (genes, units).

    Classes are balanced within the unit; a unit that lacks a class is left out.
    """
    import pandas as pd

    found = {}
    for name, index in units.items():
        cells = experiment.cells[index].copy()
        if cells.obs[CLASS].nunique() < 2:
            continue
        split = random_split(cells.obs, label_key=CLASS, seed=seed)
        features = TaskFeatures(cells, models={}, genes=shared_genes(experiment))
        found[name] = fit_lr(cells, split, classes=experiment.classes, seed=seed, features=features).weights
    return pd.DataFrame(found)


def shared_genes(experiment: Experiment) -> pd.Index:
    """Genes measured in every sample of the task."""
    from .features import measured_everywhere

    return experiment.cells.var_names[measured_everywhere(experiment.cells)]


def sign_agreement(weights: pd.DataFrame, *, n_top: int = N_TOP) -> pd.DataFrame:
    """Of the `n_top` genes of largest weight in one unit, the share with the same sign in another.

    Without any common signal half of the signs agree.

    Parameters
    ----------
    weights
        (genes, units), as from `unit_weights`.

    Returns
    -------
    One row for each ordered pair of units: `unit`, `other`, `n_genes`, `same_sign`.
    """
    import numpy as np
    import pandas as pd

    if weights.shape[1] < 2:
        raise InputError(f"Signs are compared between two units or more (found {weights.shape[1]}).")
    rows = []
    for unit, other in permutations(weights.columns, 2):
        top = weights[unit].abs().nlargest(n_top).index
        same = np.sign(weights.loc[top, unit]) == np.sign(weights.loc[top, other])
        rows.append({"unit": unit, "other": other, "n_genes": len(top), "same_sign": float(same.mean())})
    return pd.DataFrame(rows)


def gene_set_enrichment(weights: pd.Series, sets: dict[str, Sequence[str]], *, n_top: int = N_TOP) -> pd.DataFrame:
    """How many of the top genes belong to each set, beside what chance would give.

    Returns
    -------
    One row per set: `set`, `size` (members among the genes weighed), `found` (among the `n_top`
    largest weights), `expected` (size · n_top / genes), `p_value` (hypergeometric, one-sided).
    """
    import pandas as pd
    from scipy.stats import hypergeom

    top = set(weights.abs().nlargest(n_top).index)
    rows = []
    for name, members in sets.items():
        members = set(members) & set(weights.index)
        found, n = len(members & top), len(weights)
        chance = float(hypergeom.sf(found - 1, n, len(members), len(top))) if members else float("nan")
        expected = len(members) * len(top) / n
        rows.append({"set": name, "size": len(members), "found": found, "expected": expected, "p_value": chance})
    return pd.DataFrame(rows)
