"""Heads: equal to scikit-learn, XGBoost and torch; members equal to the same model alone."""

from __future__ import annotations

import operator
import threading

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import torch
import xgboost
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, StratifiedKFold

import scarafm_utils.estimators
from scarafm_utils import perceptron
from scarafm_utils.cnn import SMALL_DATA, CNNHead, ConvolutionalHead, cosine_restarts
from scarafm_utils.errors import InputError
from scarafm_utils.heads import (
    GRIDS,
    DimensionEnsemble,
    MLPHead,
    make_head,
    member_seed,
    sweep_ensembles,
)
from scarafm_utils.logistic import fit_logistic
from scarafm_utils.model import ModelConfig, ScAraFM
from scarafm_utils.perceptron import Architecture, predict_perceptron, train_perceptrons

CLASSES = ["control", "stress"]


def make_data(n: int, p: int, *, k: int = 2, seed: int = 0, offset: float = 0.0, signal: float = 0.4):
    """Features with column means and spreads of their own, and labels 0 … k - 1, each present."""
    rng = np.random.default_rng(seed)
    y = np.concatenate([np.arange(k), rng.integers(0, k, n - k)])
    shift = rng.normal(size=(k, p)) * signal
    X = rng.normal(size=(n, p)) * rng.uniform(0.2, 1.5, p) + shift[y] + offset * rng.normal(size=p)
    return X.astype(np.float32), y


def words(y):
    return np.array(["control", "stress", "recovery"])[y]


def exact_logistic(X, y, C=1.0):
    return LogisticRegression(C=C, solver="newton-cholesky", tol=1e-10, max_iter=1000).fit(X.astype(float), y)


def distance(a, b):
    return np.linalg.norm(a - b) / np.linalg.norm(b)


# -- logistic regression --------------------------------------------------------------------------


@pytest.mark.parametrize("n,p,offset", [(150, 20, 0), (60, 120, 0), (150, 40, 5.0), (12, 3, 1.0)])
@pytest.mark.parametrize("C", [0.1, 1.0, 10.0])
def test_lr_reaches_the_optimum_that_scikit_learn_reaches(n, p, offset, C):
    X, y = make_data(n, p, offset=offset)
    ours, reference = make_head("LR", seed=0, C=C).fit(X, y), exact_logistic(X, y, C)
    assert distance(ours.coef_, reference.coef_) < 3e-3
    np.testing.assert_allclose(ours.predict_proba(X), reference.predict_proba(X), atol=5e-3)


def test_lr_with_the_settings_of_the_paper_scores_as_scikit_learn_does():
    X, y = make_data(400, 60, seed=1, signal=0.12)
    ours = make_head("LR", seed=0).fit(X[:200], y[:200]).predict_proba(X[200:])[:, 1]
    theirs = LogisticRegression(C=1.0, solver="lbfgs", max_iter=10_000).fit(X[:200], y[:200])
    difference = roc_auc_score(y[200:], ours) - roc_auc_score(y[200:], theirs.predict_proba(X[200:])[:, 1])
    assert abs(difference) < 1e-3
    assert distance(make_head("LR", seed=0).fit(X[:200], y[:200]).coef_, theirs.coef_) < 1e-2


def test_lr_with_three_classes_equals_multinomial_scikit_learn():
    X, y = make_data(200, 15, k=3, offset=2.0)
    ours, reference = make_head("LR", seed=0).fit(X, y), exact_logistic(X, y)
    assert ours.coef_.shape == (3, 15)
    assert distance(ours.coef_, reference.coef_) < 3e-3
    np.testing.assert_allclose(ours.predict_proba(X), reference.predict_proba(X), atol=5e-3)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10_000), n=st.integers(6, 60), p=st.integers(1, 40), k=st.integers(2, 3),
    C=st.sampled_from([0.1, 1.0, 10.0]), offset=st.sampled_from([0.0, 3.0]),
)  # fmt: skip
def test_the_error_of_lr_stays_within_the_bound_that_its_gradient_gives(seed, n, p, k, C, offset):
    X, y = make_data(n, p, k=k, seed=seed, offset=offset, signal=1.0)
    fit = fit_logistic(X, y, n_classes=k, C=C)
    assert fit.converged
    w = exact_logistic(X, y, C).coef_
    assert np.linalg.norm(fit.coef - w) <= 2.5e-3 * max(1.0, np.linalg.norm(w))


def test_separable_sparse_counts_with_large_scores_converge():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 300)
    rates = rng.gamma(0.5, 1, 150) * np.exp(y[:, None] * rng.normal(size=150))
    X = np.log1p(rng.poisson(rates) * 300.0).astype(np.float32)
    fit = fit_logistic(X, y, n_classes=2)
    assert fit.converged
    assert distance(fit.coef, exact_logistic(X, y).coef_) < 5e-3


@pytest.mark.parametrize("k", [2, 3])
def test_tensors_go_the_same_way_as_arrays(k):
    X, y = make_data(300, 200, k=k, offset=1.0)
    array, tensor = fit_logistic(X, y, n_classes=k), fit_logistic(torch.from_numpy(X), y, n_classes=k)
    assert array.converged and abs(array.n_iter - tensor.n_iter) <= 2
    assert isinstance(tensor.coef, np.ndarray) and tensor.coef.shape == (1 if k == 2 else 3, 200)
    assert distance(tensor.coef, array.coef) < 1e-3
    np.testing.assert_allclose(tensor.intercept, array.intercept, atol=1e-3 * np.linalg.norm(array.coef))


def test_a_memory_shorter_than_the_way_changes_the_way_and_not_the_optimum(monkeypatch):
    X, y = make_data(300, 80, offset=5.0)
    monkeypatch.setattr("scarafm_utils.logistic.MEMORY", 4)
    fit = fit_logistic(X, y, n_classes=2)
    assert fit.converged and fit.n_iter > 3 * 4
    assert distance(fit.coef, exact_logistic(X, y).coef_) < 3e-3


# -- trees and perceptron -------------------------------------------------------------------------


@pytest.mark.parametrize("k", [2, 3])
def test_xgb_equals_xgboosts_own_classifier(k):
    X, y = make_data(120, 10, k=k)
    ours = make_head("XGB", seed=7, trees=12, max_depth=4).fit(X, y)
    reference = xgboost.XGBClassifier(
        n_estimators=12, max_depth=4, learning_rate=0.1, subsample=0.8, colsample_bytree=0.8,
        tree_method="hist", random_state=7, n_jobs=1,
    ).fit(X, y)  # fmt: skip
    np.testing.assert_allclose(ours.predict_proba(X), reference.predict_proba(X), atol=1e-6)


def reference_network(parameters, architecture):
    """The same network as a torch module, with one member's weights."""
    layers = []
    for i, (W, b) in enumerate(zip(parameters[::2], parameters[1::2])):
        linear = torch.nn.Linear(*W.shape[1:])
        linear.weight.data, linear.bias.data = W[0].T.clone(), b[0, 0].clone()
        layers.append(linear)
        if i < architecture.depth:
            layers.append(torch.nn.ReLU() if architecture.activation == "relu" else torch.nn.Sigmoid())
    return torch.nn.Sequential(*layers)


@pytest.mark.parametrize("activation", ["relu", "sigmoid"])
@pytest.mark.parametrize("depth", [1, 3])
def test_the_perceptron_trains_like_the_same_torch_module(activation, depth):
    X, y = (torch.from_numpy(a) for a in make_data(50, 7))
    same = {"hidden": 9, "depth": depth, "dropout": 0.0, "activation": activation, "learning_rate": 1e-2}
    start = train_perceptrons(X[None], y, n_classes=2, seeds=[3], architecture=Architecture(epochs=0, **same))
    network = reference_network(start, Architecture(**same))
    generator = torch.Generator().manual_seed(3)
    for p in start:  # the draws that come first
        torch.rand(p.shape, generator=generator)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    for _ in range(3):
        order = torch.randperm(50, generator=generator)
        torch.rand(depth, 50, 9, generator=generator)  # the dropout masks
        for rows in order.split(16):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(network(X[rows]), y[rows]).backward()
            optimizer.step()
    ours = train_perceptrons(X[None], y, n_classes=2, seeds=[3], architecture=Architecture(epochs=3, **same))
    p = predict_perceptron(ours, X[None], activation=activation)[0]
    torch.testing.assert_close(p, network(X).softmax(1).detach(), atol=1e-5, rtol=0)


def test_dropout_scales_what_it_keeps_and_stops_at_prediction():
    X, y = (torch.from_numpy(a) for a in make_data(64, 5))
    dropped = train_perceptrons(
        X[None], y, n_classes=2, seeds=[0], architecture=Architecture(hidden=4, epochs=1, dropout=0.5)
    )
    kept = train_perceptrons(
        X[None], y, n_classes=2, seeds=[0], architecture=Architecture(hidden=4, epochs=1, dropout=0.0)
    )
    assert not torch.allclose(dropped[0], kept[0])
    first, second = (predict_perceptron(dropped, X[None], activation="relu") for _ in range(2))
    assert torch.equal(first, second)


def test_the_mlp_learns_a_planted_signal():
    X, y = make_data(400, 20, signal=0.5)
    head = make_head("MLP", seed=0, hidden=16).fit(X[:200], y[:200])
    assert roc_auc_score(y[200:], head.predict_proba(X[200:])[:, 1]) > 0.9


# -- the interface --------------------------------------------------------------------------------

SMALL = {"LR": {}, "XGB": {"trees": 8}, "MLP": {"hidden": 8, "epochs": 3}}


@pytest.mark.parametrize("name", SMALL)
def test_columns_follow_classes_and_not_the_alphabet(name):
    X, y = make_data(120, 6, signal=1.0)
    head = make_head(name, seed=0, classes=["stress", "control"], **SMALL[name]).fit(X, words(y))
    turned = make_head(name, seed=0, classes=["control", "stress"], **SMALL[name]).fit(X, words(y))
    assert list(head.classes_) == ["stress", "control"]
    p, q = head.predict_proba(X), turned.predict_proba(X)
    np.testing.assert_allclose(p.sum(1), 1, atol=1e-6)
    assert roc_auc_score(y, q[:, 1]) > 0.8 and roc_auc_score(y, p[:, 0]) > 0.8
    assert set(head.predict(X)) <= {"stress", "control"}
    assert (head.predict(X) == head.classes_[p.argmax(1)]).all()


@pytest.mark.parametrize("name", SMALL)
def test_heads_are_cloned_like_scikit_learn_estimators_and_repeat_by_seed(name):
    X, y = make_data(60, 6)
    head = make_head(name, seed=4, classes=[0, 1], **SMALL[name])
    twin = clone(head)
    assert twin.get_params() == head.get_params() and twin.get_params()["seed"] == 4
    np.testing.assert_array_equal(head.fit(X, y).predict_proba(X), twin.fit(X, y).predict_proba(X))
    other = clone(head).set_params(seed=5).fit(X, y).predict_proba(X)
    assert np.array_equal(other, head.predict_proba(X)) == (name == "LR")


@pytest.mark.parametrize("name", SMALL)
def test_bad_features_and_labels_are_refused(name):
    X, y = make_data(20, 4)
    head = make_head(name, seed=0, classes=CLASSES, **SMALL[name])
    hole = X.copy()
    hole[3, 2] = np.nan
    with pytest.raises(InputError, match=r"1 of 80 feature values .* row 3, column 2"):
        head.fit(hole, words(y))
    with pytest.raises(InputError, match=r"control: 0, stress: 20"):
        head.fit(X, ["stress"] * 20)
    with pytest.raises(InputError, match="'stres'.*did you mean 'stress'"):
        head.fit(X, ["control"] * 10 + ["stres"] * 10)
    with pytest.raises(InputError, match="20 cells but 19 labels"):
        head.fit(X, words(y)[:-1])
    with pytest.raises(InputError, match="not fitted"):
        head.predict_proba(X)
    head.fit(X, words(y))
    with pytest.raises(InputError, match="3 columns: the head was fitted on 4"):
        head.predict_proba(X[:, :3])
    with pytest.raises(InputError, match="1 of 80"):
        head.predict_proba(hole)


def test_unknown_names_are_refused_with_the_nearest_one():
    with pytest.raises(InputError, match="did you mean 'XGB'"):
        make_head("XGBoost", seed=0)
    with pytest.raises(InputError, match="XGB has no setting 'tree': did you mean 'trees'"):
        make_head("XGB", seed=0, tree=3)
    with pytest.raises(InputError, match="did you mean 'group_cv'"):
        make_head("LR", seed=0, tuning="groupcv")
    with pytest.raises(InputError, match="did you mean 'majority'"):
        DimensionEnsemble("LR", seed=0, vote="majorty")
    with pytest.raises(InputError, match="activation is 'tanh'"):
        make_head("MLP", seed=0, activation="tanh").fit(*make_data(20, 3))


@pytest.mark.parametrize(
    ("head", "setting"),
    [
        ("LR", {"C": 0}), ("MLP", {"hidden": 0}), ("MLP", {"epochs": "3"}), ("MLP", {"batch_size": 1.5}),
        ("MLP", {"dropout": 1.0}), ("MLP", {"learning_rate": 0.0}),
    ],
)  # fmt: skip
def test_a_setting_that_no_head_can_have_is_refused(head, setting):
    ((name, value),) = setting.items()
    with pytest.raises(InputError, match=f"{name} is {value!r}: give a"):
        make_head(head, seed=0, **setting).fit(*make_data(20, 3))


# -- tuning ---------------------------------------------------------------------------------------


def test_cv_chooses_what_grid_search_over_scikit_learns_lr_chooses():
    X, y = make_data(150, 30, seed=5, signal=0.2)
    ours = make_head("LR", seed=2, tuning="cv", classes=CLASSES).fit(X, words(y))
    folds = StratifiedKFold(5, shuffle=True, random_state=2)
    exact = LogisticRegression(solver="newton-cholesky", tol=1e-8, max_iter=1000)
    reference = GridSearchCV(exact, GRIDS["LR"], cv=folds, scoring="accuracy").fit(X.astype(float), y)
    assert ours.best_params_ == reference.best_params_
    assert ours.best_score_ == pytest.approx(reference.best_score_)
    assert distance(ours.best_estimator_.coef_, reference.best_estimator_.coef_) < 3e-3
    np.testing.assert_array_equal(ours.predict(X), words(reference.predict(X)))


def test_the_grids_are_the_released_ones():
    sizes = {name: np.prod([len(values) for values in grid.values()]) for name, grid in GRIDS.items()}
    assert sizes == {"LR": 3, "XGB": 8, "MLP": 48}
    assert GRIDS["LR"] == {"C": [0.1, 1.0, 10.0]}
    assert GRIDS["XGB"] == {"trees": [100, 200], "learning_rate": [0.05, 0.1], "max_depth": [3, 6]}
    mlp = {"hidden": {128, 256}, "depth": {1, 3, 5}, "dropout": {0.2, 0.5}, "learning_rate": {1e-4, 1e-3}}
    assert {name: set(values) for name, values in GRIDS["MLP"].items()} == mlp | {"activation": {"relu", "sigmoid"}}


def test_group_cv_keeps_replicates_together():
    X, y = make_data(60, 4)
    groups = np.repeat(["r1", "r2", "r3"], 20)
    head = make_head("LR", seed=0, tuning="group_cv", groups=groups)
    splits = head._group_splits(X, y)
    assert [set(groups[test]) for _, test in splits] == [{"r3"}, {"r2"}, {"r1"}]
    assert all(not set(groups[train]) & set(groups[test]) for train, test in splits)
    assert head.fit(X, y).best_params_["C"] in (0.1, 1.0, 10.0)
    assert clone(head).get_params()["head__C"] == 1.0


def test_tuning_that_cannot_be_done_is_refused():
    X, y = make_data(12, 3)
    with pytest.raises(InputError, match="group_cv needs groups"):
        make_head("LR", seed=0, tuning="group_cv")
    with pytest.raises(InputError, match="12 cells but 3 groups"):
        make_head("LR", seed=0, tuning="group_cv", groups=["a", "b", "c"]).fit(X, y)
    with pytest.raises(InputError, match="two or more replicates, found 1"):
        make_head("LR", seed=0, tuning="group_cv", groups=["a"] * 12).fit(X, y)
    with pytest.raises(InputError, match="without replicate . a class has no cells"):
        make_head("LR", seed=0, tuning="group_cv", groups=np.where(y == 0, "a", "b")).fit(X, y)
    with pytest.raises(InputError, match="two or more cells of every class"):
        make_head("LR", seed=0, tuning="cv").fit(X, [0] * 11 + [1])


# -- ENS ------------------------------------------------------------------------------------------


def make_dims(n: int = 90, p: int = 12, d: int = 5, *, seed: int = 0):
    rng = np.random.default_rng(seed)
    _, y = make_data(n, p, seed=seed)
    shift = rng.normal(size=(d, 1, p)) * 0.4 * y[None, :, None]
    values = rng.normal(size=(d, 1, p)) + rng.normal(size=(d, n, p)) * 0.5 + shift
    return list(enumerate(values.astype(np.float32))), y


def rows_of(dims, rows):
    return [(j, X[rows]) for j, X in dims]


@pytest.mark.parametrize("name", SMALL)
def test_each_member_equals_the_same_model_fitted_alone(name):
    dims, y = make_dims()
    ensemble = DimensionEnsemble(name, seed=11, classes=CLASSES, **SMALL[name]).fit(dims, words(y))
    assert list(ensemble.members_) == [0, 1, 2, 3, 4]
    for j, X in dims:
        alone = make_head(name, seed=member_seed(11, j), classes=CLASSES, **SMALL[name]).fit(X, words(y))
        member = ensemble.members_[j].predict_proba(X)
        np.testing.assert_allclose(member, alone.predict_proba(X), atol=1e-5)


def test_members_of_lr_equal_scikit_learn():
    dims, y = make_dims(n=200, p=30)
    ensemble = DimensionEnsemble("LR", seed=0).fit(rows_of(dims, slice(100)), y[:100])
    for j, X in dims:
        reference = exact_logistic(X[:100], y[:100])
        assert distance(ensemble.members_[j].coef_, reference.coef_) < 3e-3
        ours = ensemble.members_[j].predict_proba(X[100:])[:, 1]
        theirs = reference.predict_proba(X[100:])[:, 1]
        assert abs(roc_auc_score(y[100:], ours) - roc_auc_score(y[100:], theirs)) < 1e-3


def test_mlp_members_have_seeds_of_their_own():
    _, y = make_dims()
    X = make_dims()[0][0][1]
    ensemble = DimensionEnsemble("MLP", seed=0, **SMALL["MLP"]).fit([(0, X), (1, X)], y)
    first, second = (ensemble.members_[j].predict_proba(X) for j in (0, 1))
    assert not np.allclose(first, second)


class FixedMember:
    """Stands for a fitted head: gives the same probability of "stress" to every cell."""

    def __init__(self, stress: float):
        self.stress = stress

    def predict_proba(self, X):
        return np.tile([1 - self.stress, self.stress], (len(X), 1))


def with_members(vote: str, probabilities: list[float]) -> DimensionEnsemble:
    ensemble = DimensionEnsemble("LR", seed=0, vote=vote, classes=CLASSES)
    ensemble.members_ = {j: FixedMember(p) for j, p in enumerate(probabilities)}
    ensemble.classes_ = np.array(CLASSES)
    return ensemble


def test_votes_by_hand():
    dims = [(j, np.zeros((2, 1))) for j in range(4)]
    # 0.5 is a tie inside a member and goes to the first class
    majority = with_members("majority", [0.9, 0.6, 0.5, 0.1])
    np.testing.assert_allclose(majority.predict_proba(dims), [[0.5, 0.5]] * 2)
    assert list(majority.predict(dims)) == ["control", "control"]  # a tie of votes, too
    mean = with_members("mean", [0.9, 0.6, 0.5, 0.2])
    np.testing.assert_allclose(mean.predict_proba(dims), [[0.45, 0.55]] * 2)
    assert list(mean.predict(dims)) == ["stress", "stress"]


def test_ens_members_reads_the_first_dimensions_and_no_more():
    dims, y = make_dims()
    read = []
    stream = ((read.append(j), (j, X))[1] for j, X in dims)
    ensemble = DimensionEnsemble("LR", seed=0, ens_members=2).fit(stream, y)
    assert list(ensemble.members_) == [0, 1] and read == [0, 1]
    read.clear()
    stream = ((read.append(j), (j, X))[1] for j, X in dims)
    ensemble.predict_proba(stream)
    assert read == [0, 1]


@pytest.mark.parametrize("name", SMALL)
def test_one_sweep_over_the_dimensions_equals_fitting_each_ensemble(name):
    dims, y = make_dims()
    jobs, expected = [], []
    for n, members, vote in [(40, None, "majority"), (60, 3, "mean")]:
        train, test = np.arange(n), np.arange(70, 90)
        same = {"seed": 3, "vote": vote, "ens_members": members, **SMALL[name]}
        jobs.append((DimensionEnsemble(name, **same), train, y[train], test))
        alone = DimensionEnsemble(name, **same).fit(rows_of(dims, train), y[train])
        expected.append(alone.predict_proba(rows_of(dims, test)))
    for (ours, seconds), theirs in zip(sweep_ensembles(iter(dims), jobs), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
        assert seconds > 0


@pytest.mark.parametrize("name", ["LR", "MLP"])
def test_a_device_is_the_same_way(name, monkeypatch):
    dims, y = make_dims()
    alone = DimensionEnsemble(name, seed=3, vote="mean", **SMALL[name]).fit(dims, y)
    stacked, fit_stack = [], MLPHead._fit_stack
    monkeypatch.setattr(MLPHead, "_fit_stack", lambda h, *a: (stacked.append(len(h)), fit_stack(h, *a))[1])
    monkeypatch.setattr("scarafm_utils.ensemble.STACK_BYTES", 2 * 4 * 90 * 12)  # two members
    there = DimensionEnsemble(name, seed=3, vote="mean", device="cpu", **SMALL[name]).fit(dims, y)
    np.testing.assert_allclose(there.predict_proba(dims), alone.predict_proba(dims), atol=2e-3)
    assert stacked == ([2, 2, 1] if name == "MLP" else [])


@pytest.fixture
def two_torch_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("name", "step"), [("XGB", "estimators.Head._begin"), ("MLP", "perceptron._initial")]
)
def test_threads_change_no_member_and_torch_uses_one_in_each(name, step, monkeypatch, two_torch_threads):
    dims, y = make_dims()
    seen, called = [], operator.attrgetter(step)(scarafm_utils)
    spy = lambda *a: (seen.append((torch.get_num_threads(), threading.get_ident())), called(*a))[1]  # noqa: E731
    monkeypatch.setattr(f"scarafm_utils.{step}", spy)
    monkeypatch.setattr("scarafm_utils.ensemble.STACK_WEIGHTS", 2 * 12 * SMALL["MLP"]["hidden"])  # two members
    one = DimensionEnsemble(name, seed=0, **SMALL[name]).fit(dims, y)
    assert set(seen) == {(1, threading.get_ident())}
    seen.clear()
    three = DimensionEnsemble(name, seed=0, n_jobs=3, **SMALL[name]).fit(dims, y)
    assert {threads for threads, _ in seen} == {1} and threading.get_ident() not in {who for _, who in seen}
    np.testing.assert_array_equal(one.predict_proba(dims), three.predict_proba(dims))
    assert torch.get_num_threads() == 2


def test_a_perceptron_alone_uses_one_thread(monkeypatch, two_torch_threads):
    seen, gradients = set(), perceptron._gradients
    spy = lambda *a: (seen.add(torch.get_num_threads()), gradients(*a))  # noqa: E731
    monkeypatch.setattr("scarafm_utils.perceptron._gradients", spy)
    make_head("MLP", seed=0, hidden=4, epochs=1).fit(*make_data(20, 3))
    assert seen == {1} and torch.get_num_threads() == 2


def test_an_ensemble_refuses_what_it_cannot_use():
    dims, y = make_dims()
    with pytest.raises(InputError, match="given no dimension"):
        DimensionEnsemble("LR", seed=0).fit([], y)
    with pytest.raises(InputError, match="not fitted"):
        DimensionEnsemble("LR", seed=0).predict_proba(dims)
    fitted = DimensionEnsemble("LR", seed=0).fit(dims, y)
    with pytest.raises(InputError, match="2 of 5 dimensions are missing, the first is 3"):
        fitted.predict_proba(dims[:3])
    with pytest.raises(InputError, match="n_jobs is -1"):
        DimensionEnsemble("XGB", seed=0, n_jobs=-1)
    with pytest.raises(InputError, match="ens_members is 0"):
        DimensionEnsemble("LR", seed=0, ens_members=0)
    with pytest.raises(InputError, match="MLP has no setting 'hiden'"):
        DimensionEnsemble("MLP", seed=0, hiden=3)


# -- CNN ------------------------------------------------------------------------------------------

GENES = [f"g{i}" for i in range(15)]


def make_encoder(depth: int = 2) -> ScAraFM:
    return ScAraFM(ModelConfig(dim=8, depth=depth, heads=2, dim_head=4), GENES).eval()


def make_cells(n: int = 60, *, seed: int = 0):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2
    X = rng.choice([0, 1.5, 2.5], p=[0.6, 0.3, 0.1], size=(n, len(GENES)))
    X[:, :4] += 3.0 * y[:, None] * (rng.random((n, 4)) < 0.7)
    cells = ad.AnnData(
        sparse.csr_matrix(X.astype(np.float32)),
        obs=pd.DataFrame(index=[f"c{i}" for i in range(n)]),
        var=pd.DataFrame(index=GENES),
    )
    return cells, words(y)


def test_learning_rates_follow_warm_restarts_by_hand():
    def rates(epochs):
        return [cosine_restarts(e, maximum=1e-4) for e in epochs]

    assert rates([0, 5]) == [1e-6, 1e-4]
    assert rates([1])[0] == pytest.approx(1e-6 + 0.2 * 99e-6)
    assert rates([10])[0] == pytest.approx((1e-4 + 1e-6) / 2)
    # the second cycle: 5 epochs of warm-up and 20 of cosine, its peak at .9
    assert rates([15, 20, 40]) == pytest.approx([1e-6, 0.9e-4, 1e-6])
    assert rates([45])[0] == pytest.approx(0.81e-4)
    assert cosine_restarts(0, maximum=1e-3, warmup=0) == 1e-3


def test_the_filter_is_a_convolution_over_each_gene():
    head = ConvolutionalHead(16, 8, 2, dropout=0.2, generator=torch.Generator().manual_seed(0))
    conv = torch.nn.Conv2d(1, 1, (1, 8))
    conv.weight.data, conv.bias.data = head.filter.weight.data.view(1, 1, 1, 8), head.filter.bias.data
    h = torch.randn(3, 16, 8)
    x = torch.relu(conv(h[:, None])[:, 0, :, 0])
    for layer in head.layers[:-1]:
        x = torch.relu(layer(x))
    torch.testing.assert_close(head(h), head.layers[-1](x))
    assert [tuple(layer.weight.shape) for layer in head.layers] == [(512, 16), (128, 512), (2, 128)]


def test_cnn_learns_and_trains_only_what_it_should():
    model, (cells, y) = make_encoder(), make_cells(160)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    head = CNNHead(model, seed=0, classes=CLASSES, epochs=6, **SMALL_DATA).fit(cells[:100], y[:100])
    p = head.predict_proba(cells[100:])
    assert roc_auc_score(y[100:] == "stress", p[:, 1]) > 0.9
    assert set(head.predict(cells)) == set(CLASSES)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(
        p.requires_grad == q.requires_grad for p, q in zip(model.parameters(), make_encoder().parameters())
    )
    changed = {n for n, value in head.encoder_.state_dict().items() if not torch.equal(value, before[n])}
    assert changed and all(name.startswith(("blocks.0.", "norm.")) for name in changed)
    assert any(name.startswith("norm.") for name in changed)


def two_libraries(masked: list[int]):
    """Cells without any signal; the second half belongs to a library that lacks the genes `masked`."""
    rng, n = np.random.default_rng(1), 24
    X = rng.choice([0, 1.5, 2.5], size=(n, len(GENES))).astype(np.float32)
    X[n // 2 :, [11, 12, 13, 14]] = 0
    obs = pd.DataFrame({"sample": np.repeat(["a", "b"], n // 2)}, index=[f"c{i}" for i in range(n)])
    measured = np.ones((len(GENES), 2), dtype=bool)
    measured[masked, 1] = False
    return ad.AnnData(
        sparse.csr_matrix(X), obs=obs, var=pd.DataFrame(index=GENES),
        varm={"measured": measured}, uns={"samples": ["a", "b"]},
    ), words(np.arange(n) % 2)  # fmt: skip


def test_the_cnn_head_reads_only_the_genes_it_is_given_and_the_extra_token():
    model = make_encoder(1)
    model.blocks = torch.nn.ModuleList([torch.nn.Identity()])  # no attention: positions do not mix
    same = {"seed": 0, "classes": CLASSES, "epochs": 2, **SMALL_DATA}
    scores = {}
    for name, genes in (("all", None), ("common", GENES[10::-1])):
        for masked in ([11, 12], [13, 14]):
            cells, y = two_libraries(masked)
            head = CNNHead(model, **same, genes=genes).fit(cells, y)
            scores[name, masked[0]] = head.predict_proba(cells)
            assert head.head_.layers[0].in_features == (16 if genes is None else 12)
    assert np.abs(scores["all", 11] - scores["all", 13]).max() > 1e-4
    np.testing.assert_array_equal(scores["common", 11], scores["common", 13])


def test_the_cnn_head_refuses_genes_that_the_encoder_does_not_know():
    cells, y = make_cells(8)
    for genes, words in ((["g1", "other"], "2 genes to read, 1 of them not among the model's 15"), ([], "0 genes")):
        with pytest.raises(InputError, match=words):
            CNNHead(make_encoder(), seed=0, genes=genes, epochs=1).fit(cells, y)


@pytest.mark.parametrize("depth,block,trained", [(1, -2, 0), (3, -2, 1), (3, 2, 2), (3, -3, 0)])
def test_which_block_is_trained_is_a_parameter(depth, block, trained):
    cells, y = make_cells(24)
    model = make_encoder(depth)
    head = CNNHead(model, seed=0, epochs=1, block=block, **SMALL_DATA).fit(cells, y)
    changed = [
        i
        for i in range(depth)
        if not torch.equal(
            head.encoder_.blocks[i].feed_forward.w1.weight, model.blocks[i].feed_forward.w1.weight
        )
    ]
    assert changed == [trained]


def test_cnn_is_the_same_by_seed_whatever_memory_it_may_use():
    model, (cells, y) = make_encoder(), make_cells(40)
    same = {"seed": 1, "epochs": 2, **SMALL_DATA}
    p = CNNHead(model, **same).fit(cells, y).predict_proba(cells)
    np.testing.assert_array_equal(CNNHead(model, **same).fit(cells, y).predict_proba(cells), p)
    np.testing.assert_allclose(
        CNNHead(model, **same, memory_gb=0).fit(cells, y).predict_proba(cells), p, atol=1e-6
    )
    np.testing.assert_allclose(
        CNNHead(model, **same, micro_batch=3).fit(cells, y).predict_proba(cells), p, atol=1e-4
    )
    assert not np.allclose(
        CNNHead(model, **{**same, "seed": 2}).fit(cells, y).predict_proba(cells), p, atol=1e-3
    )


def test_accumulated_gradients_are_those_of_the_whole_step(monkeypatch):
    """The last step of an epoch has fewer cells and is averaged over those."""
    cells, y = make_cells(44)  # 40 for training: steps of 32 and 8
    head = CNNHead(
        make_encoder(), seed=0, epochs=1, batch_size=4, accumulation=8, micro_batch=4, dropout=0.0, warmup=0
    )
    seen, step = [], torch.optim.Adam.step
    monkeypatch.setattr(torch.optim.Adam, "step", lambda self: (seen.append(observe()), step(self))[1])
    order = []
    split = CNNHead._split

    def observe():
        return {
            "grad": head.head_.filter.weight.grad.clone(),
            "state": [p.detach().clone() for p in head._trained()],
        }

    monkeypatch.setattr(CNNHead, "_split", lambda self, codes: (order.append(codes), split(self, codes))[1])
    head.fit(cells, y)
    assert len(seen) == 2
    train, _ = split(head, order[0])
    from scarafm_utils.tokens import seeded_generator

    shuffled = train[torch.randperm(len(train), generator=seeded_generator(0, 2, 0))]
    for rows, found in zip((shuffled[:32], shuffled[32:]), seen, strict=True):
        parameters = head._trained()
        with torch.no_grad():
            for parameter, value in zip(parameters, found["state"], strict=True):
                parameter.copy_(value)
        logits = head._forward(head._inputs(cells)[rows])
        loss = torch.nn.functional.cross_entropy(logits, order[0][rows])
        (expected,) = torch.autograd.grad(loss, [head.head_.filter.weight])
        torch.testing.assert_close(found["grad"], expected, atol=1e-6, rtol=1e-4)


def test_training_stops_when_validation_accuracy_stays_and_keeps_the_best_epoch():
    cells, y = make_cells(60)
    y = np.random.default_rng(1).permutation(y)
    settings = {**SMALL_DATA, "learning_rate": 5e-3, "val_fraction": 0.3}
    head = CNNHead(make_encoder(), seed=0, epochs=60, patience=4, **settings).fit(cells, y)
    accuracy = [row["val_accuracy"] for row in head.history_]
    assert accuracy.index(max(accuracy)) == len(accuracy) - 5  # four epochs without a better one
    best = max(head.history_, key=lambda row: (row["val_accuracy"], -row["val_loss"]))
    assert best["val_loss"] - head.history_[-1]["val_loss"] > 1e-3  # the last epoch is another one
    codes = torch.from_numpy(y == "stress").long()
    _, val = head._split(codes)
    loss = torch.nn.functional.cross_entropy(head._logits(head._inputs(cells), val), codes[val])
    assert float(loss) == pytest.approx(best["val_loss"], abs=1e-5)


def test_cnn_works_with_two_cells_and_refuses_bad_input():
    cells, y = make_cells(24)
    model = make_encoder()
    p = CNNHead(model, seed=0, classes=CLASSES, epochs=1).fit(cells[:2], y[:2]).predict_proba(cells)
    np.testing.assert_allclose(p.sum(1), 1)
    with pytest.raises(InputError, match="block is 2: the encoder has 2 blocks"):
        CNNHead(model, seed=0, block=2)
    with pytest.raises(InputError, match="epochs 0"):
        CNNHead(model, seed=0, epochs=0)
    with pytest.raises(InputError, match="model knows 15 genes, the cells have 3"):
        CNNHead(model, seed=0).fit(cells[:, :3], y)
    with pytest.raises(InputError, match="control: 0, stress: 24"):
        CNNHead(model, seed=0, classes=CLASSES).fit(cells, ["stress"] * 24)
    with pytest.raises(InputError, match="24 cells but 5 labels"):
        CNNHead(model, seed=0, classes=CLASSES).fit(cells, y[:5])
    with pytest.raises(InputError, match="not fitted"):
        CNNHead(model, seed=0).predict_proba(cells)
