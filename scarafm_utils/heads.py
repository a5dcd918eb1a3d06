"""Heads by name, and their tuning: everything that turns features into probabilities.

Adding a head is one function in :mod:`scarafm_utils.estimators` and one line in
``names.HEADS`` (see CONTRIBUTING.md); to tune one that has settings, one line in `GRIDS`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin

from .cnn import SMALL_DATA, CNNHead
from .ensemble import DimensionEnsemble, member_seed, sweep_ensembles
from .errors import InputError, suggest
from .estimators import (
    HEAD_CLASSES,
    Head,
    LRHead,
    MLPHead,
    XGBHead,
    build_head,
    check_features,
    encode_labels,
)

__all__ = [
    "CNNHead",
    "DimensionEnsemble",
    "GRIDS",
    "HEAD_CLASSES",
    "Head",
    "LRHead",
    "MLPHead",
    "SMALL_DATA",
    "TUNINGS",
    "TunedHead",
    "XGBHead",
    "check_features",
    "encode_labels",
    "make_head",
    "member_seed",
    "sweep_ensembles",
]

TUNINGS = ("none", "cv", "group_cv")
#: The grids of the released code.
GRIDS: dict[str, dict[str, list]] = {
    "LR": {"C": [0.1, 1.0, 10.0]},
    "XGB": {"trees": [100, 200], "learning_rate": [0.05, 0.1], "max_depth": [3, 6]},
    "MLP": {
        "hidden": [128, 256],
        "depth": [1, 3, 5],
        "dropout": [0.2, 0.5],
        "learning_rate": [1e-4, 1e-3],
        "activation": ["relu", "sigmoid"],
    },
}


def make_head(
    name: str,
    *,
    seed: int,
    tuning: str = "none",
    groups: Sequence | None = None,
    n_jobs: int = 1,
    classes: Sequence | None = None,
    **settings,
) -> Head | TunedHead:
    """Make an unfitted classical head with scikit-learn's interface.

    Parameters
    ----------
    name
        "LR", "XGB" or "MLP".
    seed
        Of row and column sampling, initial weights, dropout and folds; LR itself needs none.
    tuning
        "none": the defaults of the head.  "cv": the released grid by 5-fold cross-validation on
        accuracy, folds over cells.  "group_cv": the same grid with each replicate in one fold.
    groups
        For "group_cv": the replicate of each training cell, in the order of the rows fitted.
    n_jobs
        Threads of XGB.
    classes
        Labels in order; the columns of ``predict_proba`` follow it.  None sorts the labels.
    settings
        Settings of the head, for example ``trees=30``.  With tuning, those in the grid are
        searched and those outside it stay as given.

    Raises
    ------
    InputError
        Unknown head, setting or tuning; "group_cv" without groups.
    """
    if tuning not in TUNINGS:
        raise InputError(f"tuning is {tuning!r}: {suggest(tuning, TUNINGS)}")
    threads = {"n_jobs": n_jobs} if name == "XGB" else {}
    head = build_head(name, seed=seed, classes=classes, **threads, **settings)
    if tuning == "none":
        return head
    if tuning == "group_cv" and groups is None:
        raise InputError("group_cv needs groups: give the replicate of each training cell.")
    return TunedHead(head, GRIDS.get(name, {}), seed=seed, groups=groups if tuning == "group_cv" else None)


class TunedHead(ClassifierMixin, BaseEstimator):
    """A head whose settings come from a grid, by cross-validated accuracy, refitted on all cells.

    Ties go to the first setting of the grid.  Folds over cells put the cells of one library on
    both sides, so "cv" leaks what the paper warns of; that is the released procedure.

    Attributes
    ----------
    best_params_, best_score_
        The chosen settings and their mean accuracy over the folds.
    """

    def __init__(
        self, head: Head, grid: dict[str, list], *, seed: int, groups: Sequence | None = None, folds: int = 5
    ):
        self.head, self.grid, self.seed, self.groups, self.folds = head, grid, seed, groups, folds

    def fit(self, X, y):
        """Search the grid and refit the best setting on all cells; returns self."""
        from sklearn.model_selection import GridSearchCV

        X = check_features(X)
        codes, order = encode_labels(y, self.head.classes)
        splits = self._group_splits(X, codes) if self.groups is not None else self._cell_splits(X, codes)
        search = GridSearchCV(self.head, self.grid, scoring="accuracy", cv=splits, error_score="raise")
        search.fit(X, np.asarray(y))
        self.best_estimator_, self.best_params_ = search.best_estimator_, search.best_params_
        self.best_score_, self.classes_, self.n_features_in_ = float(search.best_score_), order, X.shape[1]
        return self

    def _cell_splits(self, X, codes) -> list[tuple[np.ndarray, np.ndarray]]:
        from sklearn.model_selection import StratifiedKFold

        smallest = int(np.bincount(codes).min())
        if smallest < 2:
            raise InputError("cv needs two or more cells of every class: add cells or use tuning 'none'.")
        folds = StratifiedKFold(min(self.folds, smallest), shuffle=True, random_state=self.seed)
        return list(folds.split(X, codes))

    def _group_splits(self, X, codes) -> list[tuple[np.ndarray, np.ndarray]]:
        from sklearn.model_selection import GroupKFold

        groups = np.asarray(self.groups).astype(str)
        if len(groups) != len(X):
            raise InputError(f"{len(X)} cells but {len(groups)} groups: give one replicate per cell.")
        names = np.unique(groups)
        if len(names) < 2:
            raise InputError(f"group_cv needs two or more replicates, found {len(names)}: use tuning 'cv'.")
        splits = list(GroupKFold(min(self.folds, len(names))).split(X, codes, groups))
        for train, test in splits:
            if len(np.unique(codes[train])) <= codes.max():
                raise InputError(
                    f"group_cv: without replicate {', '.join(np.unique(groups[test]))} a class has no cells: "
                    "use tuning 'cv' or 'none'."
                )
        return splits

    def predict_proba(self, X) -> np.ndarray:
        """Probabilities of the refitted head, (n_cells, n_classes)."""
        if not hasattr(self, "best_estimator_"):
            raise InputError("TunedHead is not fitted: call fit first.")
        return self.best_estimator_.predict_proba(X)

    def predict(self, X) -> np.ndarray:
        """Labels of the refitted head."""
        return self.classes_[self.predict_proba(X).argmax(1)]
