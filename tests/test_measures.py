"""Metrics and intervals against scikit-learn, numbers worked out by hand, and refusals."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk
from sklearn.calibration import calibration_curve

from scarafm_utils.errors import InputError
from scarafm_utils.measures import METRICS, bootstrap, expected_calibration_error, metrics, reliability_curve


def binary(truth, positive, **columns) -> pd.DataFrame:
    positive = np.asarray(positive, dtype=float)
    names = np.array(["control", "stress"])[np.asarray(truth)]
    return pd.DataFrame({"y_true": names, "score:control": 1 - positive, "score:stress": positive, **columns})


def random_scores(seed: int, n: int, n_classes: int, *, digits: int = 2) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    truth = np.concatenate([np.arange(n_classes), rng.integers(0, n_classes, n - n_classes)])
    values = rng.random((n, n_classes)) + np.eye(n_classes)[truth] / 3
    values = np.round(values / values.sum(axis=1, keepdims=True), digits)
    if n_classes == 2:
        return binary(truth, values[:, 1])
    table = pd.DataFrame(values, columns=[f"score:c{i}" for i in range(n_classes)])
    return table.assign(y_true=[f"c{i}" for i in truth])


def test_a_case_by_hand():
    row = metrics(binary([0, 0, 1, 1], [0.1, 0.6, 0.4, 0.9])).iloc[0]
    assert row["auroc"] == 0.75  # of four pairs one, (0.6, 0.4), is in the wrong order
    assert row["auroc_hard"] == 0.5 == row["balanced_accuracy"]
    assert row["mcc"] == 0
    assert row["brier"] == pytest.approx((0.01 + 0.36 + 0.36 + 0.01) / 4)
    assert row["ece"] == pytest.approx((0.1 + 0.6 + 0.6 + 0.1) / 4)


def test_the_argmax_tie_goes_to_the_first_class():
    row = metrics(binary([0, 1], [0.5, 0.5])).iloc[0]
    assert row["auroc"] == 0.5 and row["balanced_accuracy"] == 0.5
    assert row["f1_macro"] == pytest.approx(1 / 3)  # 'control' for both: F1 of 2/3 and of 0


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(10, 200))
def test_two_classes_equal_scikit_learn(seed, n):
    scores = random_scores(seed, n, 2)
    truth, p = (scores["y_true"] == "stress").to_numpy(), scores["score:stress"].to_numpy()
    hard = scores["score:stress"].to_numpy() > scores["score:control"].to_numpy()
    expected = {
        "auroc": sk.roc_auc_score(truth, p),
        "auroc_hard": sk.roc_auc_score(truth, hard),
        "auprc": sk.average_precision_score(truth, p),
        "balanced_accuracy": sk.balanced_accuracy_score(truth, hard),
        "mcc": sk.matthews_corrcoef(truth, hard),
        "f1_macro": sk.f1_score(truth, hard, average="macro"),
        "brier": sk.brier_score_loss(truth, p),
    }
    row = metrics(scores)
    assert list(row.columns) == list(METRICS) and len(row) == 1
    for name, value in expected.items():
        assert row[name].item() == pytest.approx(value, abs=1e-12), name


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.integers(12, 150))
def test_three_classes_equal_scikit_learn(seed, n):
    scores = random_scores(seed, n, 3, digits=6)
    values = scores[["score:c0", "score:c1", "score:c2"]].to_numpy()
    truth = scores["y_true"].str[1].astype(int).to_numpy()
    hard = np.eye(3)[values.argmax(axis=1)]
    row = metrics(scores).iloc[0]
    macro = [sk.roc_auc_score(truth == c, values[:, c]) for c in range(3)]
    assert row["auroc"] == pytest.approx(np.mean(macro), abs=1e-12)
    normed = values / values.sum(axis=1, keepdims=True)
    assert row["auroc"] == pytest.approx(sk.roc_auc_score(truth, normed, multi_class="ovr"), abs=1e-3)
    assert row["auroc_hard"] == pytest.approx(sk.roc_auc_score(truth, hard, multi_class="ovr"), abs=1e-12)
    assert row["auprc"] == pytest.approx(sk.average_precision_score(np.eye(3)[truth], values), abs=1e-12)
    assert row["brier"] == pytest.approx(sk.brier_score_loss(truth, normed, labels=[0, 1, 2]), abs=1e-4)
    labels = values.argmax(axis=1)
    assert row["balanced_accuracy"] == pytest.approx(sk.balanced_accuracy_score(truth, labels), abs=1e-12)
    assert row["mcc"] == pytest.approx(sk.matthews_corrcoef(truth, labels), abs=1e-12)
    assert row["f1_macro"] == pytest.approx(sk.f1_score(truth, labels, average="macro"), abs=1e-12)


def test_calibration_error_equals_the_reliability_curve():
    scores = random_scores(4, 500, 2)
    truth, p = (scores["y_true"] == "stress").to_numpy(), scores["score:stress"].to_numpy()
    observed, stated = calibration_curve(truth, p, n_bins=10)
    weights = np.histogram(p, bins=np.linspace(0, 1, 11) + 1e-12)[0]
    weights = weights[weights > 0]
    curve = reliability_curve(scores)
    assert curve["observed"].tolist() == pytest.approx(observed.tolist())
    assert curve["stated"].tolist() == pytest.approx(stated.tolist())
    assert curve["n"].sum() == 500 and curve["stated"].between(curve["low"], curve["high"]).all()
    expected = (np.abs(observed - stated) * weights).sum() / len(p)
    assert expected_calibration_error(scores) == pytest.approx(expected, abs=0.01)
    assert expected_calibration_error(binary([0, 1], [0, 1])) == 0
    assert expected_calibration_error(binary([0, 1], [1, 0])) == 1


def test_three_classes_are_calibrated_by_their_largest_score():
    scores = random_scores(2, 60, 3)
    values = scores[["score:c0", "score:c1", "score:c2"]].to_numpy()
    right = values.argmax(axis=1) == scores["y_true"].str[1].astype(int)
    row = reliability_curve(scores, n_bins=1).iloc[0]
    assert row[["low", "high", "n"]].tolist() == [0, 1, 60]
    assert row["stated"] == pytest.approx(values.max(axis=1).mean())
    assert row["observed"] == pytest.approx(right.mean())


def test_a_test_set_without_one_class_has_no_ranking():
    row = metrics(binary([1, 1], [0.2, 0.8])).iloc[0]
    assert row[["auroc", "auroc_hard", "auprc", "balanced_accuracy", "mcc", "f1_macro"]].isna().all()
    assert row["brier"] == pytest.approx((0.64 + 0.04) / 2)


def test_the_vectorised_interval_equals_the_loop_over_scikit_learn():
    scores = random_scores(7, 300, 2, digits=1)  # many ties
    truth, p = (scores["y_true"] == "stress").to_numpy(), scores["score:stress"].to_numpy()
    rng = np.random.default_rng(5)
    picks = rng.integers(0, 300, (400, 300))
    loop = [sk.roc_auc_score(truth[pick], p[pick]) for pick in picks]
    row = bootstrap(scores, n_boot=400, seed=5).iloc[0]
    assert row["auroc"] == pytest.approx(sk.roc_auc_score(truth, p), abs=1e-12)
    expected = list(np.quantile(loop, [0.025, 0.975]))
    assert [row["auroc_low"], row["auroc_high"]] == pytest.approx(expected, abs=1e-12)


def test_three_classes_have_an_interval_too():
    scores = random_scores(8, 200, 3)
    row = bootstrap(scores, n_boot=200, seed=1).iloc[0]
    assert row["auroc"] == pytest.approx(metrics(scores)["auroc"].item())
    assert row["auroc_low"] < row["auroc"] < row["auroc_high"]


def test_resamples_without_a_class_are_dropped_and_counted():
    scores = binary([0] * 9 + [1], np.linspace(0, 1, 10))
    row = bootstrap(scores, n_boot=2000, seed=0).iloc[0]
    assert row["n_dropped"] / 2000 == pytest.approx(0.9**10, abs=0.04)
    assert row["auroc_low"] == row["auroc_high"] == 1


def test_same_seed_same_interval_another_seed_another():
    scores = random_scores(9, 100, 2)
    rows = [tuple(bootstrap(scores, n_boot=100, seed=seed).iloc[0][:3]) for seed in (1, 1, 2)]
    assert rows[0] == rows[1] != rows[2]


def libraries(per_class: int, shift: float) -> pd.DataFrame:
    """Cells of libraries that differ by `shift` from one another, 50 cells each."""
    rng = np.random.default_rng(0)
    truth = np.repeat([0] * per_class + [1] * per_class, 50)
    sample = np.repeat([f"s{i}" for i in range(2 * per_class)], 50)
    centre = np.repeat(rng.normal(scale=shift, size=2 * per_class), 50)
    return binary(truth, 1 / (1 + np.exp(-(truth + centre + rng.normal(size=len(truth))))), sample=sample)


def test_an_interval_over_libraries_is_wider_where_libraries_differ():
    cell, sample = (
        bootstrap(libraries(6, 1.0), n_boot=500, seed=0, unit=unit).iloc[0] for unit in ("cell", "sample")
    )
    assert sample["auroc_high"] - sample["auroc_low"] > 2 * (cell["auroc_high"] - cell["auroc_low"])


def test_libraries_are_drawn_within_their_class():
    row = bootstrap(libraries(3, 0.5), n_boot=500, seed=0, unit="sample").iloc[0]
    assert row["n_dropped"] == 0 and row["interval_unit"] == "sample"


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: bootstrap(libraries(2, 1), n_boot=10, seed=0, unit="sample"),
         r"No honest interval over libraries.*control 2, stress 2; at least 3"),
        (lambda: bootstrap(libraries(3, 1), n_boot=10, seed=0, unit="lab"), r"'lab': allowed are cell"),
        (lambda: bootstrap(binary([0, 1], [0, 1]), n_boot=10, seed=0, unit="sample"), r"column 'sample'"),
        (lambda: metrics(pd.DataFrame({"y_true": ["a"]})), r"two or more columns 'score:<class>'"),
        (lambda: metrics(binary([0], [0])[:0]), r"at least one row \(rows: 0\)"),
        (lambda: metrics(binary([0, 1], [np.nan, 1])), r"1 of 2 cells have a score that is no number"),
        (lambda: metrics(binary([0, 1], [0, 1]).assign(y_true="heat")), r"class 'heat'.*control, stress"),
    ],
)
def test_bad_scores_are_refused(call, words):
    with pytest.raises(InputError, match=words):
        call()
