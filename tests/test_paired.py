"""DeLong, the paired bootstrap, families of tests and tests over units, against independent references."""

from __future__ import annotations

from itertools import product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import roc_auc_score
from statsmodels.stats.multitest import multipletests

from scarafm_utils.errors import InputError
from scarafm_utils.measures import arrays_of, draws, metrics, weighted_auroc
from scarafm_utils.paired import (
    MIN_UNITS,
    auroc_covariance,
    benjamini_hochberg,
    delong,
    paired_bootstrap,
    sign_test,
    signed_rank_test,
)


def make_scores(seed: int, n: int, *, n_classes: int = 2, strength: float = 1.0, digits: int = 2) -> pd.DataFrame:
    """Scores of cells whose classes depend on n and n_classes only, so that two seeds make two models."""
    truth = np.arange(n) * 7 % 11 % n_classes
    rng = np.random.default_rng(seed)
    shared = np.random.default_rng(n).normal(size=(n, n_classes))  # both models misread the same cells
    values = np.exp(strength * np.eye(n_classes)[truth] + shared + rng.normal(size=(n, n_classes)))
    values = np.round(values / values.sum(axis=1, keepdims=True), digits)
    table = pd.DataFrame(values, columns=[f"score:c{i}" for i in range(n_classes)])
    return table.assign(y_true=[f"c{i}" for i in truth], obs_name=[f"A:s:{i}" for i in range(n)])


def pairs_won(positive: np.ndarray, negative: np.ndarray) -> np.ndarray:
    """The comparisons behind an AUROC, one by one: (n_positive, n_negative)."""
    return (positive[:, None] > negative[None]) + 0.5 * (positive[:, None] == negative[None])


def covariance_by_pairs(tables: list[pd.DataFrame]) -> np.ndarray:
    """DeLong's covariance from all n² comparisons, two classes."""
    stress = tables[0]["y_true"].to_numpy() == "c1"
    won = [pairs_won(t["score:c1"].to_numpy()[stress], t["score:c1"].to_numpy()[~stress]) for t in tables]
    rows, columns = np.array([w.mean(axis=1) for w in won]), np.array([w.mean(axis=0) for w in won])
    return np.cov(rows) / rows.shape[1] + np.cov(columns) / columns.shape[1]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.integers(12, 120), st.sampled_from([1, 6]))
def test_covariance_equals_all_comparisons_one_by_one(seed, n, digits):
    tables = [make_scores(seed + i, n, digits=digits) for i in range(3)]  # one digit: many ties
    aurocs, covariance = auroc_covariance(tables)
    expected = [roc_auc_score(t["y_true"] == "c1", t["score:c1"]) for t in tables]
    np.testing.assert_allclose(aurocs, expected, atol=1e-12)
    np.testing.assert_allclose(covariance, covariance_by_pairs(tables), atol=1e-12)


def test_a_case_by_hand():
    table = pd.DataFrame({"y_true": list("cccss"), "score:c": 0.0, "score:s": [0.1, 0.4, 0.6, 0.5, 0.9]})
    aurocs, covariance = auroc_covariance([table])
    assert aurocs[0] == pytest.approx(5 / 6)  # stress cells win 2/3 and 3/3; control cells 1, 1 and 1/2
    assert covariance[0, 0] == pytest.approx(np.var([2 / 3, 1], ddof=1) / 2 + np.var([1, 1, 1 / 2], ddof=1) / 3)


def test_where_scores_say_nothing_the_variance_is_that_of_the_rank_sum():
    """Under the null DeLong's variance estimates Mann and Whitney's (m + n + 1) / (12 m n)."""
    rng = np.random.default_rng(0)
    truth = np.repeat(["c0", "c1"], [40, 60])
    found = [
        auroc_covariance([pd.DataFrame({"y_true": truth, "score:c0": 0.0, "score:c1": rng.random(100)})])[1].item()
        for _ in range(60)
    ]
    assert np.mean(found) == pytest.approx(101 / (12 * 40 * 60), rel=0.05)


@pytest.mark.parametrize("n_classes", [2, 3, 4])
def test_the_variance_is_that_of_scores_drawn_again(n_classes):
    """For any number of classes: cells drawn again within classes move AUROC as much as it says."""
    table = make_scores(5, 300, n_classes=n_classes, digits=6)
    _, truth, values = arrays_of(table)
    strata = [np.flatnonzero(truth == c) for c in range(n_classes)]
    again = np.concatenate([weighted_auroc(truth, values, w) for w in draws(strata, 3000, np.random.default_rng(0))])
    aurocs, covariance = auroc_covariance([table])
    assert aurocs[0] == pytest.approx(metrics(table)["auroc"].item(), abs=1e-12)
    assert np.var(again) == pytest.approx(covariance[0, 0], rel=0.1)


def test_delong_is_the_normal_test_of_the_difference():
    tables = [make_scores(i, 150) for i in (1, 2)]
    row, covariance = delong(*tables).iloc[0], covariance_by_pairs(tables)
    error = np.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    assert row["standard_error"] == pytest.approx(error)
    assert row["p"] == pytest.approx(2 * stats.norm.sf(abs(row["difference"]) / error))
    assert row["high"] - row["low"] == pytest.approx(2 * 1.959964 * error)
    assert delong(*tables[::-1])["difference"].item() == pytest.approx(-row["difference"])


def test_delong_keeps_its_level_on_two_equally_good_models():
    rejected = [delong(make_scores(2 * i, 200), make_scores(2 * i + 1, 200))["p"].item() < 0.05 for i in range(200)]
    assert 0.01 < np.mean(rejected) < 0.1


def test_two_models_that_order_all_cells_alike_do_not_differ():
    table = make_scores(3, 60)
    row = delong(table, table.assign(**{"score:c1": table["score:c1"] ** 3})).iloc[0]
    assert (row["difference"], row["standard_error"], row["p"]) == (0, 0, 1)


def test_the_paired_bootstrap_equals_scipys():
    tables = [make_scores(i, 200, digits=6) for i in (1, 2)]
    truth, one, other = tables[0]["y_true"] == "c1", *(t["score:c1"].to_numpy() for t in tables)
    expected = stats.bootstrap(
        (truth.to_numpy(), one, other), lambda y, a, b: roc_auc_score(y, a) - roc_auc_score(y, b),
        n_resamples=400, paired=True, vectorized=False, method="percentile", random_state=0,
    )  # fmt: skip
    row, exact = paired_bootstrap(*tables, n_boot=4000, seed=1).iloc[0], delong(*tables).iloc[0]
    width = expected.confidence_interval.high - expected.confidence_interval.low
    assert row["low"] == pytest.approx(expected.confidence_interval.low, abs=0.12 * width)
    assert row["high"] == pytest.approx(expected.confidence_interval.high, abs=0.12 * width)
    assert (row["high"] - row["low"]) / (exact["high"] - exact["low"]) == pytest.approx(1, abs=0.08)
    assert row["p"] == pytest.approx(exact["p"], abs=0.05)
    assert row["difference"] == pytest.approx(exact["difference"], abs=1e-12)


def test_a_paired_bootstrap_repeats_itself_and_counts_what_it_dropped():
    tables = [make_scores(i, 12) for i in (1, 2)]
    tables = [t.assign(y_true=["c1"] * 2 + ["c0"] * 10) for t in tables]
    rows = [paired_bootstrap(*tables, n_boot=2000, seed=s).iloc[0] for s in (0, 0, 1)]
    assert rows[0].equals(rows[1]) and not rows[0].equals(rows[2])
    assert rows[0]["n_dropped"] / 2000 == pytest.approx((10 / 12) ** 12, abs=0.03)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_benjamini_hochberg_equals_statsmodels_and_scipy(p):
    found = benjamini_hochberg(p)
    np.testing.assert_allclose(found, multipletests(p, method="fdr_bh")[1], atol=1e-12)
    np.testing.assert_allclose(found, stats.false_discovery_control(p), atol=1e-12)


def test_a_missing_p_value_is_no_member_of_the_family():
    found = benjamini_hochberg([0.01, np.nan, 0.04])
    assert found[[0, 2]] == pytest.approx([0.02, 0.04]) and np.isnan(found[1])
    assert np.isnan(benjamini_hochberg([np.nan])).all()


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(-5, 5), min_size=1, max_size=12))
def test_the_sign_test_is_a_binomial_test_and_the_rank_test_counts_every_pattern_of_signs(values):
    known = [v for v in values if v]
    if not known:
        assert sign_test(values) == signed_rank_test(values) == 1
        return
    assert sign_test(values) == pytest.approx(stats.binomtest(sum(v > 0 for v in known), len(known)).pvalue)
    ranks = stats.rankdata(np.abs(known))
    sums = np.array([ranks @ np.array(signs) for signs in product([0, 1], repeat=len(known))])
    reached = ranks @ (np.array(known) > 0)
    expected = min(1, 2 * min((sums <= reached).mean(), (sums >= reached).mean()))
    assert signed_rank_test(values) == pytest.approx(expected, abs=1e-12)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 25))
def test_without_ties_the_rank_test_equals_scipys_exact_one(seed, n):
    values = np.random.default_rng(seed).normal(loc=0.3, size=n)
    assert signed_rank_test(values) == pytest.approx(stats.wilcoxon(values, method="exact").pvalue, abs=1e-12)


def test_fewer_than_six_units_cannot_reach_five_per_cent():
    for test in (sign_test, signed_rank_test):
        assert test(range(1, MIN_UNITS)) == 0.0625
        assert test(range(1, MIN_UNITS + 1)) == 0.03125


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t[:-1], r"different cells or classes \(30 and 29 rows\)"),
        (lambda t: t.assign(obs_name=t["obs_name"].to_numpy()[::-1]), "different cells"),
        (lambda t: t.rename(columns={"score:c0": "score:d0"}).assign(y_true="c1"), "different cells or classes"),
    ],
)
def test_models_of_other_cells_are_not_compared(change, words):
    table = make_scores(1, 30)
    for compare in (delong, lambda a, b: paired_bootstrap(a, b, n_boot=10, seed=0)):
        with pytest.raises(InputError, match=words):
            compare(table, change(table))


def test_one_cell_of_a_class_has_no_variance():
    table = make_scores(1, 5).assign(y_true=["c0"] * 4 + ["c1"])
    with pytest.raises(InputError, match="A class has 1 test cells"):
        delong(table, table)
