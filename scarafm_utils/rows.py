"""Rows of sparse matrices in blocks, so that no step needs memory for a whole data set twice."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .files import room_for

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

#: Stored values of a block that is read from a file: 64 MB of numbers and places.  The allocator keeps
#: arrays of this size; larger ones are new pages each time, which takes as long as the arithmetic.
FILE_BLOCK = 8_000_000
#: Stored values of a block that is computed with: small enough for a processor's cache.
CACHE_BLOCK = 1 << 18


def row_blocks(starts: np.ndarray, *, max_values: int = CACHE_BLOCK) -> Iterator[slice]:
    """Cut rows into blocks of at most `max_values` stored values, or of one row.

    Parameters
    ----------
    starts
        Where each row starts, (n_rows + 1,): ``indptr`` of a CSR matrix.

    >>> list(row_blocks(np.array([0, 2, 4, 9, 10]), max_values=4))
    [slice(0, 2, None), slice(2, 3, None), slice(3, 4, None)]
    """
    row, n_rows = 0, len(starts) - 1
    while row < n_rows:
        stop = int(np.searchsorted(starts, starts[row] + max_values, side="right")) - 1
        stop = max(row + 1, min(stop, n_rows))
        yield slice(row, stop)
        row = stop


def slice_rows(matrix: csr_matrix, rows: slice) -> csr_matrix:
    """Some rows of a CSR matrix; values and columns are shared, not copied."""
    from scipy.sparse import csr_matrix

    first, last = matrix.indptr[rows.start], matrix.indptr[rows.stop]
    part = csr_matrix((rows.stop - rows.start, matrix.shape[1]), dtype=matrix.dtype)
    part.data, part.indices = matrix.data[first:last], matrix.indices[first:last]
    part.indptr = matrix.indptr[rows.start : rows.stop + 1] - first
    return part


def take_columns(matrix: csr_matrix, source: np.ndarray) -> csr_matrix:
    """Put columns into another order and leave the rest out.

    Parameters
    ----------
    matrix
        CSR.
    source
        Old column of each new one, (n_columns,); -1 for a column of zeros.

    Returns
    -------
    CSR with sorted columns and the same values, (n_rows, n_columns).
    """
    from scipy.sparse import csc_matrix, csr_matrix, vstack

    present = np.flatnonzero(source >= 0)
    blocks = []
    for rows in row_blocks(matrix.indptr):  # column by column and back: faster than sorting every row
        taken = slice_rows(matrix, rows).tocsc()[:, source[present]]
        starts = np.concatenate([[0], np.cumsum(np.bincount(present, np.diff(taken.indptr), len(source)))])
        whole = csc_matrix((taken.data, taken.indices, starts.astype(np.int32)), (taken.shape[0], len(source)))
        blocks.append(whole.tocsr())
    return vstack(blocks, format="csr") if blocks else csr_matrix((0, len(source)), dtype=matrix.dtype)


class RowStore:
    """Rows of a CSR float32 matrix on disk, written and read again in blocks.

    Three files of plain numbers: values, columns (two bytes where they fit) and the values of each
    row.  It holds no matrix in memory and knows its number of columns from whoever reads it.
    """

    def __init__(self, folder: str | Path, *, n_columns: int) -> None:
        self.folder, self.n_columns = Path(folder), n_columns
        self.folder.mkdir(parents=True, exist_ok=True)
        self._types = {
            "values": np.float32,
            "columns": np.uint16 if n_columns <= 1 << 16 else np.int32,
            "lengths": np.int64,
        }

    def append(self, matrix: csr_matrix) -> None:
        """Write more rows, (n_rows, n_columns); InputError where the disk is full."""
        parts = {"values": matrix.data, "columns": matrix.indices, "lengths": np.diff(matrix.indptr)}
        for name, array in parts.items():
            numbers = np.ascontiguousarray(array, dtype=self._types[name])
            with room_for(self.folder.name), open(self.folder / name, "ab") as handle:
                handle.write(memoryview(numbers).cast("B"))  # tofile does not say that a disk is full

    def blocks(self, *, max_values: int = 4 * CACHE_BLOCK) -> Iterator[csr_matrix]:
        """The rows in the order in which they were written, in blocks of at most `max_values` values."""
        from scipy.sparse import csr_matrix

        starts = np.concatenate([[0], np.cumsum(np.fromfile(self.folder / "lengths", dtype=np.int64))])
        with open(self.folder / "values", "rb") as values, open(self.folder / "columns", "rb") as columns:
            for rows in row_blocks(starts, max_values=max_values):
                own = (starts[rows.start : rows.stop + 1] - starts[rows.start]).astype(np.int32)
                data = np.fromfile(values, self._types["values"], count=own[-1])
                indices = np.fromfile(columns, self._types["columns"], count=own[-1]).astype(np.int32)
                yield csr_matrix((data, indices, own), shape=(len(own) - 1, self.n_columns))
