"""The three classical heads, with scikit-learn's interface and the paper's settings.

Each takes features (n_cells, n_features) and labels, strings or integers, and gives
probabilities whose columns follow `classes`: the order of the label, not of the alphabet.
Features are never scaled, as in the paper.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import fields
from numbers import Integral

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import ConvergenceWarning

from .errors import InputError, suggest
from .logistic import fit_logistic
from .names import HEADS
from .perceptron import Architecture, predict_perceptron, single_threads, train_perceptrons


def check_features(X, *, n_features: int | None = None) -> np.ndarray:
    """Return `X` as a float32 matrix.

    Raises
    ------
    InputError
        Where `X` is not a matrix, holds a value that is not finite, or has another number of
        columns than the head was fitted on.
    """
    X = np.ascontiguousarray(X.toarray() if hasattr(X, "toarray") else X, dtype=np.float32)
    if X.ndim != 2:
        raise InputError(f"features have shape {X.shape}: a matrix (n_cells, n_features) is needed.")
    if n_features is not None and X.shape[1] != n_features:
        raise InputError(f"features have {X.shape[1]} columns: the head was fitted on {n_features}.")
    if not np.isfinite(X).all():
        bad = ~np.isfinite(X)
        row, column = np.argwhere(bad)[0]
        raise InputError(
            f"{bad.sum()} of {X.size} feature values are not finite numbers "
            f"(the first in row {row}, column {column}): remove or fill them."
        )
    return X


def encode_labels(y, classes: Sequence | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Turn labels into class numbers in the order of `classes` (None: sorted).

    Returns
    -------
    codes
        (n,) int64.
    classes
        (K,) the labels in order.

    Raises
    ------
    InputError
        Where a label is not among `classes`, or a class has no cell: a head cannot learn a class
        that it never sees, and two data sets are comparable only with the same classes.
    """
    labels = np.asarray(y).tolist()
    order = np.unique(np.asarray(y)) if classes is None else np.asarray(classes)
    number = {label: i for i, label in enumerate(order.tolist())}
    unknown = [label for label in labels if label not in number]
    if unknown:
        raise InputError(
            f"{len(unknown)} of {len(labels)} labels are not among the classes, the first is "
            f"{unknown[0]!r}: {suggest(unknown[0], order)}"
        )
    codes = np.array([number[label] for label in labels], dtype=np.int64)
    counts = np.bincount(codes, minlength=len(order))
    if len(order) < 2 or not counts.all():
        found = ", ".join(f"{label}: {count}" for label, count in zip(order.tolist(), counts, strict=True))
        raise InputError(f"training cells of every class are needed, of two classes or more (found {found}).")
    return codes, order


class Head(ClassifierMixin, BaseEstimator):
    """What the three heads share: checks, class order, and the argmax with ties to the first class."""

    def fit(self, X, y):
        """Fit on features (n_cells, n_features) and labels; returns self."""
        self._fit(*self._begin(X, y))
        return self

    def _begin(self, X, y) -> tuple[np.ndarray, np.ndarray]:
        """Check features and labels; return the matrix and the class numbers."""
        X = check_features(X)
        codes, order = encode_labels(y, self.classes)
        if len(codes) != len(X):
            raise InputError(f"{len(X)} cells but {len(codes)} labels: give one label per cell.")
        self.classes_, self.n_features_in_ = order, X.shape[1]
        return X, codes

    def predict_proba(self, X) -> np.ndarray:
        """Probabilities (n_cells, n_classes), columns in the order of ``classes_``."""
        if not hasattr(self, "classes_"):
            raise InputError(f"{type(self).__name__} is not fitted: call fit first.")
        return self._predict_proba(check_features(X, n_features=self.n_features_in_))

    def predict(self, X) -> np.ndarray:
        """The most probable label of each cell; ties go to the first class."""
        return self.classes_[self.predict_proba(X).argmax(1)]


class LRHead(Head):
    """Logistic regression: L2 penalty, C = 1, no scaling.

    Deviation: the paper's scikit-learn L-BFGS stops early (see :mod:`scarafm_utils.logistic`);
    this one goes on to the same problem's optimum, which is unique and needs no seed.

    Parameters
    ----------
    device
        Where torch fits it, for example "cuda"; None: numpy, the fastest on a CPU.

    Attributes
    ----------
    coef_, intercept_
        As in scikit-learn: (1, n_features) and (1,) for two classes, else one row per class.
    """

    def __init__(
        self, *, C: float = 1.0, max_iter: int = 10_000, classes=None, seed: int = 0, device: str | None = None
    ):
        self.C, self.max_iter, self.classes, self.seed, self.device = C, max_iter, classes, seed, device

    def _fit(self, X, codes):
        if not self.C > 0:
            raise InputError(f"C is {self.C}: give a number above 0.")
        X = X if self.device is None else torch.from_numpy(X).to(self.device)
        fit = fit_logistic(X, codes, n_classes=len(self.classes_), C=self.C, max_iter=self.max_iter)
        if not fit.converged:
            warnings.warn(f"LR stopped after {fit.n_iter} steps.", ConvergenceWarning, stacklevel=3)
        self.coef_, self.intercept_, self.n_iter_ = fit.coef, fit.intercept, fit.n_iter

    def decision_function(self, X) -> np.ndarray:
        """Scores before the logistic function, as in scikit-learn."""
        scores = check_features(X, n_features=self.n_features_in_) @ self.coef_.T + self.intercept_
        return scores[:, 0] if scores.shape[1] == 1 else scores

    def _predict_proba(self, X):
        from scipy.special import expit, softmax

        scores = self.decision_function(X)
        if scores.ndim == 2:
            return softmax(scores, axis=1)
        return np.column_stack([expit(-scores), expit(scores)])


class XGBHead(Head):
    """Gradient-boosted trees by XGBoost (histograms), on `n_jobs` threads.

    Defaults lie in the paper's released grid (100-200 trees, learning rate .05-.1, depth 3-6);
    rows and columns are sampled at .8 per tree.
    """

    def __init__(
        self,
        *,
        trees: int = 100,
        learning_rate: float = 0.1,
        max_depth: int = 3,
        subsample: float = 0.8,
        colsample: float = 0.8,
        max_bin: int = 256,
        n_jobs: int = 1,
        classes=None,
        seed: int = 0,
    ):
        self.trees, self.learning_rate, self.max_depth = trees, learning_rate, max_depth
        self.subsample, self.colsample, self.max_bin = subsample, colsample, max_bin
        self.n_jobs, self.classes, self.seed = n_jobs, classes, seed

    def _fit(self, X, codes):
        import xgboost

        K = len(self.classes_)
        loss = {"objective": "binary:logistic"} if K == 2 else {"objective": "multi:softprob", "num_class": K}
        settings = {
            **loss,
            "eta": self.learning_rate,
            "max_depth": self.max_depth,
            "subsample": self.subsample,
            "colsample_bytree": self.colsample,
            "max_bin": self.max_bin,
            "tree_method": "hist",
            "nthread": self.n_jobs,
            "seed": self.seed,
            "verbosity": 0,
        }
        data = xgboost.QuantileDMatrix(X, codes, max_bin=self.max_bin, nthread=self.n_jobs)
        self.booster_ = xgboost.train(settings, data, num_boost_round=self.trees)

    def _predict_proba(self, X):
        p = self.booster_.inplace_predict(X)
        return np.column_stack([1 - p, p]) if p.ndim == 1 else p


class MLPHead(Head):
    """The paper's released network: hidden layers with dropout, Adam, 20 epochs in batches of 16.

    The paper cites scikit-learn's perceptron; the released code trains this one in torch.
    Defaults lie in the released grid (128/256 units, 1/3/5 layers, dropout .2/.5, learning rate
    1e-4/1e-3, ReLU/sigmoid).

    Parameters
    ----------
    device
        Where torch trains it, for example "cuda"; None: the CPU.
    """

    def __init__(
        self,
        *,
        hidden: int = 128,
        depth: int = 1,
        dropout: float = 0.2,
        learning_rate: float = 1e-3,
        activation: str = "relu",
        epochs: int = 20,
        batch_size: int = 16,
        classes=None,
        seed: int = 0,
        device: str | None = None,
    ):
        self.hidden, self.depth, self.dropout, self.learning_rate = hidden, depth, dropout, learning_rate
        self.activation, self.epochs, self.batch_size = activation, epochs, batch_size
        self.classes, self.seed, self.device = classes, seed, device

    def architecture(self) -> Architecture:
        """The settings as :mod:`scarafm_utils.perceptron` takes them."""
        known = ("relu", "sigmoid")
        if self.activation not in known:
            raise InputError(f"activation is {self.activation!r}: {suggest(self.activation, known)}")
        for name in ("hidden", "depth", "epochs", "batch_size"):
            if not (isinstance(value := getattr(self, name), Integral) and value >= 1):
                raise InputError(f"{name} is {value!r}: give a whole number of 1 or more.")
        if not 0 <= self.dropout < 1:
            raise InputError(f"dropout is {self.dropout}: give a share from 0 to less than 1.")
        if not self.learning_rate > 0:
            raise InputError(f"learning_rate is {self.learning_rate}: give a number above 0.")
        return Architecture(**{field.name: getattr(self, field.name) for field in fields(Architecture)})

    def _fit(self, X, codes):
        with single_threads():
            MLPHead._fit_stack([self], X[None], codes)

    @staticmethod
    def _fit_stack(heads: list[MLPHead], X, codes):
        """Fit heads of one architecture at once, each on its slice of X (m, n, G)."""
        first = heads[0]
        parameters = train_perceptrons(
            torch.from_numpy(X).to(first.device),
            torch.from_numpy(codes).to(first.device),
            n_classes=len(first.classes_),
            seeds=[head.seed for head in heads],
            architecture=first.architecture(),
        )
        for i, head in enumerate(heads):
            head.parameters_ = [p[i : i + 1].clone() for p in parameters]

    def _predict_proba(self, X):
        X = torch.from_numpy(X)[None].to(self.device)
        return predict_perceptron(self.parameters_, X, activation=self.activation)[0].double().cpu().numpy()


class FunctionHead(Head):
    """A head made of one function, for methods that have no settings to search.

    Parameters
    ----------
    function
        Called as ``function(X, codes, n_classes=K, seed=seed)`` with features (n_cells, n_features)
        and class numbers; returns a function from features to probabilities (n_cells, n_classes).
    """

    def __init__(self, function: Callable, *, classes=None, seed: int = 0):
        self.function, self.classes, self.seed = function, classes, seed

    def _fit(self, X, codes):
        self.predict_ = self.function(X, codes, n_classes=len(self.classes_), seed=self.seed)

    def _predict_proba(self, X):
        return np.asarray(self.predict_(X))


#: What stands behind each name: a class of its own, or a function.
HEAD_CLASSES: dict[str, Callable] = {
    name: globals()[behind] for name, behind in HEADS.items() if name != "CNN"
}


def build_head(name: str, **settings) -> Head:
    """Make an unfitted head by name.

    Raises
    ------
    InputError
        Where the head or a setting is unknown; the nearest name is suggested.
    """
    if name not in HEAD_CLASSES:
        raise InputError(f"head is {name!r}: {suggest(name, HEAD_CLASSES)}")
    behind = HEAD_CLASSES[name]
    is_class = isinstance(behind, type)
    allowed = behind._get_param_names() if is_class else ["classes", "seed"]
    for key in settings:
        if key not in allowed:
            raise InputError(f"{name} has no setting {key!r}: {suggest(key, allowed)}")
    return behind(**settings) if is_class else FunctionHead(behind, **settings)
