"""Rows in blocks: nothing is lost, nothing is reordered, and columns move as dense indexing moves them."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from scarafm_utils.rows import RowStore, row_blocks, slice_rows, take_columns


def matrix(seed: int, n_rows: int = 23, n_columns: int = 9) -> sp.csr_matrix:
    values = np.random.default_rng(seed).poisson(0.4, size=(n_rows, n_columns)).astype(np.float32)
    values[n_rows // 2 : n_rows // 2 + 2] = 0  # rows without a value
    return sp.csr_matrix(values)


@settings(max_examples=50, deadline=None)
@given(lengths=st.lists(st.integers(0, 9), max_size=30), max_values=st.integers(1, 20))
def test_blocks_are_all_rows_in_order_and_no_larger_than_asked(lengths, max_values):
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(int)
    blocks = list(row_blocks(starts, max_values=max_values))
    assert [i for b in blocks for i in range(b.start, b.stop)] == list(range(len(lengths)))
    for block in blocks:
        assert block.stop - block.start == 1 or starts[block.stop] - starts[block.start] <= max_values


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 999), data=st.data())
def test_columns_move_as_in_a_dense_array(seed, data):
    rows = matrix(seed)
    order = data.draw(st.permutations(range(-1, rows.shape[1])))
    source = np.array(order[: data.draw(st.integers(1, len(order)))] + [-1])
    padded = np.hstack([rows.toarray(), np.zeros((rows.shape[0], 1))])
    taken = take_columns(rows, source)
    assert np.array_equal(taken.toarray(), padded[:, source]) and taken.dtype == rows.dtype
    assert taken.has_sorted_indices and taken.format == "csr"


def test_columns_of_no_rows():
    assert take_columns(sp.csr_matrix((0, 4)), np.array([2, -1])).shape == (0, 2)


def test_a_slice_of_rows_shares_its_values():
    rows = matrix(1)
    part = slice_rows(rows, slice(3, 8))
    assert np.array_equal(part.toarray(), rows.toarray()[3:8])
    assert np.shares_memory(part.data, rows.data)


def test_what_a_store_was_given_comes_back_in_blocks_of_the_size_asked(tmp_path):
    parts = [matrix(0), matrix(1, n_rows=5), sp.csr_matrix((2, 9), dtype=np.float32)]
    for part in parts:
        RowStore(tmp_path / "rows", n_columns=9).append(part)
    blocks = list(RowStore(tmp_path / "rows", n_columns=9).blocks(max_values=12))
    assert len(blocks) > 5 and max(block.nnz for block in blocks) <= 12
    assert np.array_equal(sp.vstack(blocks).toarray(), sp.vstack(parts).toarray())


def test_columns_beyond_two_bytes_are_kept(tmp_path):
    wide = sp.csr_matrix(([1.5], ([0], [69_999])), shape=(1, 70_000), dtype=np.float32)
    store = RowStore(tmp_path / "wide", n_columns=70_000)
    store.append(wide)
    assert (next(store.blocks()) != wide).nnz == 0
