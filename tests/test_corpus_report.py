"""The corpus in numbers: each known by hand."""

from __future__ import annotations

import math

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch
from hypothesis import given
from hypothesis import strategies as st

from scarafm_utils.corpus_report import ENCODER, accuracy_by_bin, bin_of_count, corpus_table, guess_table, ones_table
from scarafm_utils.masked import BASELINES, PretrainConfig, evaluate, masked_baselines
from scarafm_utils.model import ModelConfig, ScAraFM
from scarafm_utils.normalization import normalize
from scarafm_utils.tokens import TokenStore

GENES = [f"AT1G{i:05d}" for i in range(12)]
CONFIG = PretrainConfig(batch_size=8, p_mask=0.4)


@pytest.fixture(scope="module")
def stores() -> tuple[TokenStore, TokenStore]:
    rng = np.random.default_rng(0)
    tokens = np.where(rng.random((60, 12)) < 0.8, rng.integers(1, 6, (60, 1)), rng.integers(1, 6, (60, 12)))
    tokens[rng.random((60, 12)) < 0.3] = 0
    return TokenStore.from_array(tokens, genes=GENES).split(val_fraction=0.3, seed=0)


@pytest.fixture(scope="module")
def guesses(stores) -> pd.DataFrame:
    return guess_table(*stores, model=small_model(), config=CONFIG)


def small_model() -> ScAraFM:
    return ScAraFM(ModelConfig(dim=8, depth=1, heads=2, dim_head=4), GENES)


def test_the_bin_of_a_one_falls_at_the_totals_worked_out_by_hand():
    edges = [1e4 / (math.e**b - 1) for b in range(1, 6)]  # 5,820  1,565  524  187  68
    assert [round(e) for e in edges] == [5820, 1565, 524, 187, 68]
    for number, edge in enumerate(edges, start=1):
        assert bin_of_count([edge * 0.999, edge * 1.001]).tolist() == [number, number - 1]
    assert bin_of_count([1.0]) == [5], "the last bin takes what lies above it"


@given(st.integers(1, 50), st.integers(1, 10**6))
def test_more_counts_never_fall_into_a_lower_bin(count, total):
    assert bin_of_count([total], count=count + 1) >= bin_of_count([total], count=count)


def test_ones_are_counted_from_counts_and_the_bins_of_the_tokens():
    counts = sp.csr_matrix(np.array([[1, 1, 998, 0], [1, 2, 0, 9997], [0, 0, 0, 50]], dtype=np.float32))
    adata = normalize(ad.AnnData(counts))
    table = ones_table([("A", adata), ("B", adata[:1])])
    assert table["dataset"].tolist() == ["A", "A", "A", "B"]
    rows = table.set_index(["dataset", "bin_of_one"])[["cells", "values", "tokens", "ones"]]
    assert rows.loc[("A", 2)].tolist() == [1, 3, 3, 2]  # 1,000 counts: a one is 10 per 10,000
    assert rows.loc[("A", 0)].tolist() == [1, 3, 2, 1]  # 10,000 counts: the one is token 0, two counts are 1
    assert rows.loc[("A", 5)].tolist() == [1, 1, 1, 0]
    assert (table["low"] <= [1000.001, 10000.001, 50.001, 1000.001]).all() and (table["low"] > 40).all()


def test_cells_without_a_known_total_are_left_out():
    adata = ad.AnnData(sp.csr_matrix(np.ones((3, 2), dtype=np.float32)))
    assert ones_table([("A", adata)]).empty
    adata.obs["total_counts"] = [100.0, np.nan, 100.0]
    assert ones_table([("A", adata)])["cells"].tolist() == [2]


def test_guesses_add_up_to_the_accuracies_that_are_reported_elsewhere(stores, guesses):
    hidden = guesses.groupby("predictor", sort=False)["tokens"].sum()
    right = guesses[guesses["guess"] == guesses["bin"].astype(str)].groupby("predictor")["tokens"].sum()
    expected = masked_baselines(*stores, config=CONFIG).set_index("predictor")
    for name in BASELINES:
        assert right[name] / hidden[name] == pytest.approx(expected.loc[name, "accuracy"])
        assert hidden[name] == expected.loc[name, "n_tokens"]
    accuracy = evaluate(small_model(), stores[1], config=CONFIG)["val_accuracy"]
    assert right[ENCODER] / hidden[ENCODER] == pytest.approx(accuracy)


def test_a_guess_that_is_no_bin_is_kept_and_wrong(stores):
    model = small_model()
    with torch.no_grad():
        model.to_ids.bias[-1] = 1e6  # always MASK
    table = guess_table(*stores, model=model, config=CONFIG)
    own = table[(table["predictor"] == ENCODER) & (table["tokens"] > 0)]
    assert set(own["guess"]) == {"MASK"}
    assert (accuracy_by_bin(table)[ENCODER].dropna() == 0).all()


def test_accuracy_by_bin_is_a_share_of_the_hidden_tokens_of_that_bin():
    rows = [("x", 1, "1", 3), ("x", 1, "2", 1), ("x", 2, "1", 0), ("x", 2, "2", 0)]
    table = accuracy_by_bin(pd.DataFrame(rows, columns=["predictor", "bin", "guess", "tokens"]))
    assert table.loc[1].tolist() == [4, 0.75]
    assert table.loc[2, "hidden tokens"] == 0 and np.isnan(table.loc[2, "x"])


def test_cells_are_counted_by_data_set_and_side(stores):
    train, val = stores
    whole = TokenStore.from_array(np.zeros((60, 12)), genes=GENES)
    assert corpus_table(whole, train, val).iloc[0].tolist() == ["array", 60, 42, 18]
