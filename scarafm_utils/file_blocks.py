"""Cells of a file in blocks: a file larger than memory ought to hold is read cell by cell."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .errors import InputError
from .readers import read_file
from .rows import row_blocks
from .tenx import first_line, quiet_names
from .unpack import unpacked

if TYPE_CHECKING:
    import anndata as ad
    import pandas as pd

#: What an h5ad file says of a matrix that lies cell by cell.
_BY_CELL = ("csr_matrix", "array")


class CellFile:
    """The cells of one file or folder: `obs` whole, everything else in blocks of cells."""

    def __init__(self, adata: ad.AnnData) -> None:
        self._adata, self.obs = adata, adata.obs

    def blocks(self, *, max_values: int | None) -> Iterator[tuple[slice, ad.AnnData]]:
        """The cells in their order, as (rows, cells).

        Parameters
        ----------
        max_values
            Stored values of a matrix that a block may have; None gives one block.  Only h5ad files
            whose matrices lie cell by cell are read in several: other files are one block.
        """
        yield slice(0, self._adata.n_obs), self._adata


class _H5adFile(CellFile):
    """An h5ad file larger than one block; `file` is open."""

    def __init__(self, file) -> None:
        from anndata.io import read_elem

        self._file = file
        with _said_in_one_line(file):
            self.obs: pd.DataFrame = read_elem(file["obs"])
            self._var = {name: read_elem(file[name]) for name in ("var", "raw/var") if name in file}

    def blocks(self, *, max_values: int | None) -> Iterator[tuple[slice, ad.AnnData]]:
        places = _matrices(self._file)
        starts = _starts(max(places.values(), key=_n_values))
        for rows in row_blocks(starts, max_values=max_values or int(starts[-1]) + 1):
            with _said_in_one_line(self._file):
                block = self._block({name: _rows(matrix, rows) for name, matrix in places.items()}, rows)
            yield rows, block

    def _block(self, parts: dict, rows: slice) -> ad.AnnData:
        import anndata as ad

        layers = {n.removeprefix("layers/"): part for n, part in parts.items() if n.startswith("layers/")}
        raw = {"X": parts["raw/X"], "var": self._var["raw/var"]} if "raw/X" in parts else None
        tables = {"obs": self.obs.iloc[rows], "var": self._var["var"]}
        return ad.AnnData(X=parts["X"], layers=layers, raw=raw, **tables)


@contextmanager
def open_cells(path: str | Path, *, max_values: int | None) -> Iterator[CellFile]:
    """Open a file or folder of `readers.read_file`, which says what can be read and what is refused.

    An h5ad file with no more than `max_values` stored values is read whole, at once.
    """
    path = Path(path)
    if max_values is None or not path.name.lower().endswith((".h5ad", ".h5ad.gz")) or path.is_dir():
        yield CellFile(read_file(path))
        return
    with unpacked(path) as plain, _opened(plain) as file:
        if file is None or not _is_larger(file, max_values):
            yield CellFile(read_file(plain))
        else:
            yield _H5adFile(file)


@contextmanager
def _opened(path: Path) -> Iterator:
    """An open HDF5 file, or None for one that is damaged: `read_file` says what is wrong with it."""
    import h5py

    try:
        file = h5py.File(path, "r")
    except OSError:
        yield None
        return
    with file:
        yield file


@contextmanager
def _said_in_one_line(file) -> Iterator[None]:
    name = Path(file.filename).name
    try:
        with quiet_names():
            yield
    except (OSError, KeyError, ValueError, TypeError, AttributeError) as error:
        reason = first_line(error).replace(file.filename, name)
        raise InputError(f"{name}: cannot be read as .h5ad ({reason}).") from error


def _is_larger(file, max_values: int) -> bool:
    """Whether a file has too many values for one block and can be read in several."""
    matrices = _matrices(file)
    if not {"X", "obs", "var"} <= file.keys() or "raw.X" in file:
        return False
    if any(m.attrs.get("encoding-type") not in _BY_CELL for m in matrices.values()):
        return False
    return max(map(_n_values, matrices.values())) > max_values


def _matrices(file) -> dict:
    """What may hold counts, by the place that `readers.find_counts` knows it by."""
    layers = {f"layers/{name}": file["layers"][name] for name in file.get("layers", {})}
    names = [name for name in ("X", "raw/X") if name in file]
    return {**{name: file[name] for name in names}, **layers}


def _n_values(matrix) -> int:
    return int(matrix["data"].shape[0] if hasattr(matrix, "keys") else np.prod(matrix.shape))


def _starts(matrix) -> np.ndarray:
    """Where the values of each cell start, (n_cells + 1,)."""
    if hasattr(matrix, "keys"):
        return matrix["indptr"][:].astype(np.int64)
    return np.arange(matrix.shape[0] + 1, dtype=np.int64) * matrix.shape[1]


def _rows(matrix, rows: slice):
    from anndata.io import sparse_dataset

    return sparse_dataset(matrix)[rows] if hasattr(matrix, "keys") else matrix[rows]
