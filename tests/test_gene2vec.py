"""Vectors from co-expression: known modules are found, files are read exactly, gaps are filled."""

import numpy as np
import pytest

from scarafm_utils.errors import InputError
from scarafm_utils.gene2vec import (
    coexpression_pairs,
    load_gene2vec,
    nearest_genes,
    train_gene2vec,
    write_gene2vec,
)
from scarafm_utils.tokens import TokenStore, mask_id


def corpus(n_cells=150, n_genes=20, seed=0) -> TokenStore:
    """Genes 0-4 and 5-9 go together; the rest is noise; gene 19 is not measured in one cell."""
    rng = np.random.default_rng(seed)
    tokens = rng.integers(0, 3, (n_cells, n_genes)).astype(np.uint8)
    tokens[:, 0:5] = (rng.random((n_cells, 1)) < 0.4) * 4 + rng.integers(0, 2, (n_cells, 5))
    tokens[:, 5:10] = (rng.random((n_cells, 1)) < 0.4) * 4 + rng.integers(0, 2, (n_cells, 5))
    tokens[0, 19] = mask_id(6)
    return TokenStore.from_array(tokens, genes=[f"AT1G{i:05d}" for i in range(n_genes)])


def test_pairs_are_the_correlated_genes():
    store = corpus()
    pairs = list(coexpression_pairs(store, n_neighbours=4, min_correlation=0.5))
    module = {gene: i // 5 for i, gene in enumerate(store.genes)}
    assert len(pairs) == 10 * 4
    assert all(module[a] == module[b] < 2 and a != b for a, b in pairs)
    r = np.corrcoef(store[np.arange(150)].astype(float).T)
    best = {store.genes[j] for j in np.argsort(-r[0])[1:3]}
    assert {b for a, b in coexpression_pairs(store, n_neighbours=2) if a == store.genes[0]} == best


def test_a_gene_that_is_not_measured_everywhere_makes_no_pair():
    genes = {gene for pair in coexpression_pairs(corpus(), min_correlation=-1) for gene in pair}
    assert "AT1G00018" in genes
    assert "AT1G00019" not in genes


def test_vectors_put_modules_together_and_the_same_seed_gives_the_same_bytes(tmp_path):
    store = corpus()
    one, two = (train_gene2vec(store, tmp_path / n, dim=8, min_correlation=0.5) for n in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()
    vectors, coverage = load_gene2vec(one, store.genes[:10], dim=8)
    assert coverage == 1
    assert np.mean(vectors**2) == pytest.approx(1, rel=1e-5)
    for query in (store.genes[0], store.genes[7]):
        near = nearest_genes(vectors, store.genes[:10], query=query, n_top=4)
        own = range(5) if query == store.genes[0] else range(5, 10)
        assert set(near["gene"]) == {store.genes[i] for i in own} - {query}


def test_a_file_is_read_exactly_and_gaps_are_seeded(tmp_path):
    values = np.random.default_rng(0).standard_normal((2, 3)).astype(np.float32)
    path = write_gene2vec(tmp_path / "g.txt", ["AT2G2", "at1g1"], values)
    assert path.read_text().splitlines()[0] == "2 3"
    vectors, coverage = load_gene2vec(path, ["AT1G1", "AT9G9", "AT2G2"], dim=3)
    assert coverage == pytest.approx(2 / 3)
    assert np.array_equal(vectors[[2, 0]], values)
    fewer, _ = load_gene2vec(path, ["AT7G7", "AT9G9"], dim=3)
    assert np.array_equal(fewer[1], vectors[1])
    assert not np.array_equal(load_gene2vec(path, ["AT9G9"], dim=3, seed=1)[0], vectors[[1]])


def test_a_file_without_header_is_read(tmp_path):
    path = tmp_path / "gene2vec_dim_2.txt"
    path.write_text("AT1G1\t1 2\nAT1G2\t3 4\n")
    assert load_gene2vec(path, ["AT1G2"], dim=2)[0].tolist() == [[3, 4]]


def test_refusals(tmp_path):
    path = write_gene2vec(tmp_path / "g.txt", ["A", "B"], np.zeros((2, 3)))
    with pytest.raises(InputError, match="line 2: 3 numbers, but model.dim is 200"):
        load_gene2vec(path, ["A"], dim=200)
    with pytest.raises(InputError, match="did you mean 'A'"):
        nearest_genes(np.eye(2), ["A", "B"], query="AA")
    flat = TokenStore.from_array(np.ones((20, 4), np.uint8))
    with pytest.raises(InputError, match="set model.gene_init to random"):
        train_gene2vec(flat, tmp_path / "x", dim=2)
