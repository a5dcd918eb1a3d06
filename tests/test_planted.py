"""Planted stress: counts come back, the programme is the one asked for, and the ladder rises."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from scarafm_utils.errors import InputError
from scarafm_utils.normalization import normalize
from scarafm_utils.planted import by_side, choose_genes, plant_stress, planted_ladder, recover_counts

SAMPLES = ["s1", "s2", "s3", "s4"]


def make_cells(*, per_sample: int = 60, n_genes: int = 40, mean: float = 4.0, seed: int = 0) -> ad.AnnData:
    """Log-normalised Poisson counts without any effect; half of each cell's total lies outside."""
    rng = np.random.default_rng(seed)
    counts = rng.poisson(mean, (per_sample * len(SAMPLES), n_genes))
    obs = pd.DataFrame({"sample": np.repeat(SAMPLES, per_sample), "total_counts": 2.0 * counts.sum(axis=1)})
    obs.index = [f"c{i}" for i in range(len(obs))]
    adata = ad.AnnData(sp.csr_matrix(counts.astype(np.int32)), obs=obs)
    adata.var_names = [f"AT1G{10 * i:05d}" for i in range(1, n_genes + 1)]
    adata.varm["measured"] = np.ones((n_genes, len(SAMPLES)), dtype=bool)
    adata.uns["samples"] = SAMPLES
    adata.uns["counts"] = counts
    return normalize(adata, total_key="total_counts")


@given(seed=st.integers(0, 10_000), mean=st.floats(0.2, 200))
@settings(max_examples=15, deadline=None)
def test_counts_come_back_from_processed_cells(seed, mean):
    cells = make_cells(per_sample=5, n_genes=12, mean=mean, seed=seed)
    known = cells.obs["total_counts"] > 0
    assert np.array_equal(recover_counts(cells[known]).toarray(), cells.uns["counts"][known])


def test_values_that_are_no_counts_are_refused():
    cells = make_cells()
    with pytest.raises(InputError, match="no 'total_counts'"):
        recover_counts(ad.AnnData(cells.X, obs=cells.obs.drop(columns="total_counts")))
    cells.obs["total_counts"] *= 1.3
    with pytest.raises(InputError, match="no whole numbers"):
        recover_counts(cells)


def test_the_planted_ratio_of_means_is_the_one_asked_for_and_the_rest_stays():
    cells = make_cells(per_sample=2000)
    planted = plant_stress(cells, ["s1", "s2"], log_fold_change=1.0, seed=3)
    counts = recover_counts(planted).toarray()
    stressed = (planted.obs["class"] == "planted").to_numpy()
    ratio = pd.Series(np.log(counts[stressed].mean(axis=0) / counts[~stressed].mean(axis=0)), cells.var_names)
    lost, gained = planted.uns["planted"]["lost"], planted.uns["planted"]["gained"]
    assert len(lost) == len(gained) == 3 and not set(lost) & set(gained)
    assert ratio[lost].to_numpy() == pytest.approx(-1, abs=0.06)
    assert ratio[gained].to_numpy() == pytest.approx(1, abs=0.06)
    others = ~cells.var_names.isin([*lost, *gained])
    assert np.array_equal(counts[:, others], cells.uns["counts"][:, others])
    removed = cells.uns["counts"].sum(axis=1) - counts.sum(axis=1)
    assert np.array_equal(planted.obs["total_counts"], cells.obs["total_counts"] - removed)
    assert (planted.obs["sample"][stressed].isin(["s1", "s2"])).all() and stressed.sum() == 4000


def test_a_programme_of_size_zero_changes_nothing():
    cells = make_cells()
    planted = plant_stress(cells, ["s2"], log_fold_change=0.0, seed=0)
    assert np.allclose(planted.X.toarray(), cells.X.toarray(), atol=1e-6)


def test_only_genes_measured_in_every_sample_carry_the_programme():
    cells = make_cells()
    cells.varm["measured"][:20, 0] = False
    assert set(sum(choose_genes(cells, share=0.5, seed=0), [])) <= set(cells.var_names[20:])


@pytest.mark.parametrize(("stressed", "size"), [(["s9"], 1.0), (SAMPLES, 1.0), ([], 1.0), (["s1"], -1.0)])
def test_what_cannot_be_planted_is_refused(stressed, size):
    with pytest.raises(InputError, match="plant_stress"):
        plant_stress(make_cells(per_sample=3), stressed, log_fold_change=size, seed=0)


def test_the_ladder_is_at_chance_without_a_programme_and_rises_with_it():
    table = planted_ladder(make_cells(), seed=0, log_fold_changes=(0.0, 1.0), max_partitions=2)
    assert table.groupby(["log_fold_change", "groups", "protocol"]).size().tolist() == [2, 1] * 4
    means = table.groupby(["log_fold_change", "protocol"])["auroc"].mean()
    assert means[0.0, "random"] == pytest.approx(0.5, abs=0.12)
    assert means[1.0, "held-out pair"] > 0.85
    assert table.query("log_fold_change == 1")["share_found"].min() > 0.8


def test_three_libraries_are_too_few():
    cells = make_cells()
    with pytest.raises(InputError, match="four libraries"):
        planted_ladder(cells[cells.obs["sample"] != "s4"].copy(), seed=0)


def test_twins_are_counted_together_and_apart_where_nothing_was_planted():
    rows = [(0, "a+b | c+d", 0.9), (0, "a+c | b+d", 0.5), (0, "a+d | b+c", 0.4), (1, "a+b | c+d", 0.1)]
    ladder = pd.DataFrame(rows, columns=["log_fold_change", "groups", "auroc"]).assign(protocol="held-out pair")
    assert by_side(ladder, ["c", "d"]) == pytest.approx({"together": 0.9, "apart": 0.45})
