"""Bins by hand, masks by count, and a corpus whose order can be taken up anywhere."""

import subprocess
import sys

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from scarafm_utils.errors import InputError
from scarafm_utils.tokens import (
    TokenStore,
    bin_expression,
    eos_id,
    mask_id,
    mask_tokens,
    seeded_generator,
    tokenize,
)


def test_bins_by_hand():
    """Edges in counts per 10,000: e - 1 = 1.72, 6.39, 19.1, 53.6, 147.4."""
    cp10k = np.array([[0, 1.71, 1.72, 6.38, 6.39, 19.0, 19.1, 53.5, 53.6, 147.3, 147.5, 10_000]])
    expected = [[0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]]
    bins = bin_expression(np.log1p(cp10k))
    assert bins.dtype == np.uint8
    assert bins.tolist() == expected
    assert bin_expression(np.log1p(cp10k), n_bins=3).tolist() == [[0, 0, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2]]


@given(st.integers(2, 9), st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_sparse_bins_equal_dense_bins_and_keep_the_order(n_bins, seed):
    rng = np.random.default_rng(seed)
    X = rng.exponential(1, (6, 5)) * (rng.random((6, 5)) < 0.5)
    bins = bin_expression(X, n_bins=n_bins)
    assert np.array_equal(bins, bin_expression(sparse.csr_matrix(X), n_bins=n_bins))
    assert np.array_equal(bins, bin_expression(sparse.csc_matrix(X), n_bins=n_bins))
    assert (np.diff(bins.ravel()[np.argsort(X.ravel(), kind="stable")].astype(int)) >= 0).all()
    assert bins.max() < n_bins


def test_bad_values_are_refused():
    with pytest.raises(InputError, match="n_bins is 1"):
        bin_expression(np.zeros((1, 1)), n_bins=1)
    with pytest.raises(InputError, match="not numbers"):
        bin_expression(np.array([[np.nan]]))


def cells_with_measured() -> ad.AnnData:
    adata = ad.AnnData(
        sparse.csr_matrix(np.array([[1.5, 0, 2.5], [0, 0, 1.0], [3.0, 0, 0]], dtype=np.float32)),
        obs=pd.DataFrame({"sample": pd.Categorical(["b", "a", "b"])}, index=["c0", "c1", "c2"]),
    )
    adata.varm["measured"] = np.array([[True, True], [True, False], [False, True]])
    adata.uns["samples"] = np.array(["a", "b"])
    return adata


def test_a_gene_that_was_not_measured_is_mask_and_not_zero():
    M = mask_id(6)
    assert tokenize(cells_with_measured()).tolist() == [[1, M, 2], [0, 0, M], [3, M, 0]]
    everything = cells_with_measured()
    del everything.varm["measured"]
    assert tokenize(everything).tolist() == [[1, 0, 2], [0, 0, 1], [3, 0, 0]]


def test_a_sample_without_a_column_is_refused():
    adata = cells_with_measured()
    adata.uns["samples"] = np.array(["a", "x"])
    with pytest.raises(InputError, match="holds 'b'"):
        tokenize(adata)


def test_masks_hide_the_asked_share_of_non_zero_tokens_only():
    tokens = torch.randint(0, 8, (400, 300), generator=seeded_generator(0)).to(torch.uint8)
    inputs, targets = mask_tokens(tokens, p_mask=0.2, generator=seeded_generator(1))
    chosen = targets >= 0
    eligible = (tokens > 0) & (tokens < 6)
    assert not (chosen & ~eligible).any()
    assert torch.equal(targets[chosen], tokens[chosen].long())
    assert (targets[~chosen] == -100).all()
    assert float(chosen.sum() / eligible.sum()) == pytest.approx(0.2, abs=0.01)
    changed = inputs != tokens
    assert (inputs[changed] == mask_id(6)).all()
    assert float((changed & chosen).sum() / chosen.sum()) == pytest.approx(0.9, abs=0.01)
    assert not (changed & ~chosen).any()
    assert inputs.dtype == torch.uint8
    assert targets.dtype == torch.int64


def test_masks_follow_from_their_seed():
    tokens = np.full((3, 50), 2, dtype=np.uint8)
    one, same, other = (
        mask_tokens(tokens, p_mask=0.5, generator=seeded_generator(0, k))[1] for k in (1, 1, 2)
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert (eos_id(6), mask_id(6)) == (6, 7)


def written(folder, n=30, n_genes=7):
    tokens = np.random.default_rng(0).integers(0, 6, (n, n_genes), dtype=np.uint8)
    names = [f"c{i}" for i in range(n)]
    chunks = [("A", names[:4], tokens[:4]), ("A", names[4:9], tokens[4:9]), ("B", names[9:], tokens[9:])]
    genes = [f"g{i}" for i in range(n_genes)]
    return tokens, TokenStore.write(folder, chunks, genes=genes)


def test_a_store_gives_back_what_was_written(tmp_path):
    tokens, store = written(tmp_path)
    assert np.array_equal(store[np.arange(30)], tokens)
    assert np.array_equal(TokenStore.open(tmp_path, verify=True)[[5, 2]], tokens[[5, 2]])
    assert store.ranges == {"A": (0, 9), "B": (9, 30)}
    assert (tmp_path / "cells.txt").read_text().split()[9] == "c9"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cells.txt", "store.json", "tokens.u8"]


def test_every_epoch_reads_every_cell_once_in_another_order(tmp_path):
    tokens, store = written(tmp_path)
    epochs = [np.concatenate([b for _, b in store.batches(batch_size=4, seed=1, epoch=e)]) for e in (0, 1)]
    for epoch in epochs:
        assert sorted(map(bytes, epoch)) == sorted(map(bytes, tokens))
    assert not np.array_equal(*epochs)
    assert not np.array_equal(epochs[0], tokens)


@given(st.integers(1, 11), st.integers(0, 5))
@settings(max_examples=15, deadline=None)
def test_reading_goes_on_at_any_step(batch_size, start):
    store = TokenStore.from_array(np.arange(50, dtype=np.uint8).reshape(25, 2))
    whole = list(store.batches(batch_size=batch_size, seed=2, epoch=3))
    rest = list(store.batches(batch_size=batch_size, seed=2, epoch=3, start=start))
    assert [step for step, _ in rest] == [step for step, _ in whole[start:]]
    assert all(np.array_equal(a, b) for (_, a), (_, b) in zip(whole[start:], rest, strict=True))


def test_validation_cells_come_from_every_data_set_and_never_train(tmp_path):
    _, store = written(tmp_path)
    train, val = store.split(val_fraction=0.2, seed=0)
    assert not set(train.rows) & set(val.rows)
    assert sorted([*train.rows, *val.rows]) == list(range(30))
    assert [int((val.rows < 9).sum()), int((val.rows >= 9).sum())] == [2, 4]
    again = store.split(val_fraction=0.2, seed=0)[1]
    assert np.array_equal(again.rows, val.rows)
    assert again.digest == val.digest != train.digest
    tiny = store.subset([0, 1, 2]).split(val_fraction=0.01, seed=0)
    assert [len(part) for part in tiny] == [2, 1]


def test_a_damaged_store_is_refused(tmp_path):
    written(tmp_path)
    path = tmp_path / "tokens.u8"
    damaged = bytearray(path.read_bytes())
    damaged[3] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(InputError, match="checksum"):
        TokenStore.open(tmp_path, verify=True)
    path.write_bytes(damaged[:-1])
    with pytest.raises(InputError, match="209 bytes, expected 210"):
        TokenStore.open(tmp_path)
    with pytest.raises(InputError, match="no token store"):
        TokenStore.open(tmp_path / "nowhere")
    with pytest.raises(InputError, match="does not fit"):
        TokenStore.write(tmp_path / "x", [("A", ["c"], np.zeros((2, 1), np.uint8))], genes=["g"])


def test_an_interrupted_write_leaves_no_store(tmp_path):
    def chunks():
        yield "A", ["c"], np.zeros((1, 2), np.uint8)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        TokenStore.write(tmp_path, chunks(), genes=["g", "h"])
    assert list(tmp_path.iterdir()) == []


def test_reading_a_large_corpus_needs_little_memory(tmp_path):
    """A sparse file of 1.6 GB is read all over, in shuffled order, within 600 MB of resident memory."""
    script = f"""
import itertools, json, resource
from pathlib import Path
folder = Path({str(tmp_path)!r})
n, g = 400_000, 4_000
with open(folder / "tokens.u8", "wb") as file:
    file.truncate(n * g)
facts = {{"genes": [str(i) for i in range(g)], "n_bins": 6, "n_cells": n, "ranges": {{}}, "sha256": ""}}
(folder / "store.json").write_text(json.dumps(facts))
from scarafm_utils.tokens import TokenStore
store = TokenStore.open(folder)
for step, tokens in itertools.islice(store.batches(batch_size=200, seed=0), 150):
    assert tokens.shape == (200, g)
status = Path("/proc/self/status")  # ru_maxrss of a child counts what its parent held when it was made
if status.exists():
    print(1024 * int(status.read_text().split("VmHWM:")[1].split()[0]))
else:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 600e6
