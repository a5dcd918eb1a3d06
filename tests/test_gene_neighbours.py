"""Neighbours of genes: known by hand, beside scikit-learn, and where there is nothing to find."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from evaluation_world import GENES, make_workspace
from sklearn.neighbors import NearestNeighbors

from scarafm_utils import gene_neighbours
from scarafm_utils.checkpoints import save_checkpoint
from scarafm_utils.errors import InputError
from scarafm_utils.gene2vec import write_gene2vec
from scarafm_utils.gene_neighbours import (
    against_chance,
    agreement_table,
    marker_types,
    nearest_rows,
    neighbour_table,
    read_gene_vectors,
)
from scarafm_utils.model import ModelConfig, ScAraFM
from scarafm_utils.simulate import simulate_dataset
from scarafm_utils.tokens import TokenStore


@pytest.fixture
def workspace(tmp_path):
    """A checkpoint whose first ten genes have vectors of their own, in pairs that point the same way."""
    workspace = make_workspace(tmp_path)
    vectors = np.random.default_rng(0).normal(size=(len(GENES), 16)).astype(np.float32)
    vectors[1:10:2] = 2 * vectors[0:10:2]
    model = ScAraFM(ModelConfig(dim=16, depth=1, heads=2, dim_head=4), GENES, gene_vectors=vectors)
    folder = workspace.checkpoint_dir("leaf")
    save_checkpoint(model, folder)
    write_gene2vec(folder / "gene2vec.txt", GENES[:10], vectors[:10])
    return workspace


def test_genes_without_a_vector_of_their_own_are_left_out(workspace):
    found = read_gene_vectors(workspace, "leaf")
    assert found.genes == tuple(GENES[:10])
    assert (found.n_vocabulary, found.frozen) == (len(GENES), True)
    (workspace.checkpoint_dir("leaf") / "gene2vec.txt").unlink()
    assert read_gene_vectors(workspace, "leaf").genes == tuple(GENES)


def test_the_table_takes_the_first_genes_and_names_their_nearest_with_the_cosine(workspace):
    table = neighbour_table(read_gene_vectors(workspace, "leaf"), n_genes=3, n_top=2)
    assert list(table.index) == GENES[:3]
    assert table["neighbour 1"].tolist() == [f"{GENES[i]} (1.00)" for i in (1, 0, 3)]


def test_three_genes_have_two_neighbours_and_no_agreement(workspace):
    folder = workspace.checkpoint_dir("leaf")
    write_gene2vec(folder / "gene2vec.txt", GENES[:3], np.ones((3, 16), dtype=np.float32))
    assert neighbour_table(read_gene_vectors(workspace, "leaf")).shape == (3, 2)
    assert agreement_table(workspace, "leaf").empty


def test_nearest_rows_are_those_of_scikit_learn_and_never_the_gene_itself(monkeypatch):
    vectors = np.random.default_rng(1).normal(size=(40, 6))
    expected = NearestNeighbors(n_neighbors=6, metric="cosine").fit(vectors).kneighbors(vectors)[1][:, 1:]
    monkeypatch.setattr(gene_neighbours, "BLOCK", 7)
    assert np.array_equal(nearest_rows(vectors), expected)
    with pytest.raises(InputError, match="5 gene vectors: 5 neighbours need at least 6"):
        nearest_rows(vectors[:5])


def test_chance_is_what_permuted_genes_reach():
    near = np.array([[1], [0], [3], [2]] * 10) + np.repeat(np.arange(0, 40, 4), 4)[:, None]
    pairs = np.arange(40) // 2
    found, mean, highest, n = against_chance(near, lambda one, other: pairs[one] == pairs[other])
    assert (found, n) == (1.0, 40)
    assert mean == pytest.approx(1 / 39, abs=0.01) and mean < highest < 0.2


def test_marker_types_are_the_truth_that_the_simulator_used(workspace):
    types, profile = marker_types(workspace, "leaf"), workspace.profile
    dataset = workspace.datasets("leaf", role="pretraining")[0]
    size = {"n_cells": 1500, "n_genes": profile.data.simulated_genes, "seed": profile.seed}
    cells = simulate_dataset(dataset, **size)
    kind = cells.obs[dataset.obs.cell_type].to_numpy()
    counts = cells.X.toarray()
    share = counts / counts.sum(1, keepdims=True)
    means = pd.DataFrame({k: share[kind == k].mean(0) for k in np.unique(kind)}, index=cells.var_names)
    loud = means.index.isin(types) & (counts.sum(0) > 2000)
    agree = [means.loc[gene].idxmax() == types[gene] for gene in means.index[loud]]
    assert len(agree) > 50 and np.mean(agree) > 0.6  # one of seven types by chance


def test_neighbours_agree_where_cells_do_and_unmeasured_genes_count_for_nothing(workspace, monkeypatch):
    pairs = {gene: f"type {i // 2}" for i, gene in enumerate(GENES)}
    monkeypatch.setattr(gene_neighbours, "marker_types", lambda *where: pairs)
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, 6, (400, len(GENES))).astype(np.uint8)
    tokens[:, 1:10:2] = tokens[:, 0:10:2]  # the pairs of the vectors
    tokens[:, 9] = 7  # not measured
    names = [f"c{i}" for i in range(400)]
    halves = [("A", names[:200], tokens[:200]), ("B", names[200:], tokens[200:])]
    TokenStore.write(workspace.tokens_dir("leaf"), halves, genes=GENES)
    table = agreement_table(workspace, "leaf", n_top=1)
    assert table.loc["share with the same cell type's marker programme", "neighbours"] == 1
    row = table.loc["correlation over held-out cells"]
    assert row["neighbours"] == pytest.approx(0.8, abs=1e-5)  # four of five pairs are equal, one is not measured
    assert abs(row["random genes"]) < 0.15 and row["genes"] == 10
