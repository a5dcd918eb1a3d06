"""HDF5 files written so that a full disk is one line and not a crash."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from .files import atomic_path

if TYPE_CHECKING:
    import anndata as ad
    import h5py


@contextmanager
def open_hdf5(path: str | Path, mode: Literal["w", "r+"] = "w") -> Iterator[h5py.File]:
    """Open an HDF5 file to write to; a write that failed raises OSError once the file is closed.

    HDF5 must not learn of it: a file that it cannot write it cannot close, and what it then holds
    crashes when Python ends.
    """
    import h5py

    with _RoomyFile(path, {"w": "w+b", "r+": "r+b"}[mode]) as plain:
        with h5py.File(plain, mode) as file:
            yield file
        if plain.failure:
            raise plain.failure


def write_h5ad(path: str | Path, adata: ad.AnnData, *, compression: str | None = None) -> Path:
    """Write `adata` whole or not at all; the same cells give the same bytes.

    As with anndata's own writer, columns of words become categories, here and in `adata`.
    """
    from anndata.io import write_elem

    adata.strings_to_categoricals()
    with atomic_path(path) as temporary, open_hdf5(temporary) as file:
        write_elem(file, "/", adata, dataset_kwargs={"compression": compression})
        if adata.raw is None:
            file.pop("raw", None)  # an empty entry that readers take for raw counts
    return Path(path)


class _RoomyFile(io.FileIO):
    """A file that takes everything: from the first write that fails on, what comes stays in memory.

    `failure` says why, and that the file is not to be used.
    """

    def __init__(self, path: str | Path, mode: str) -> None:
        super().__init__(path, mode)
        self.failure: OSError | None = None
        self._kept: list[tuple[int, bytes]] = []  # places and bytes, as they came

    def write(self, data) -> int:
        start, rest = self.tell(), memoryview(data)
        try:
            while rest and not self.failure:  # the system may take a part only
                rest = rest[super().write(rest) :]
        except OSError as error:
            self.failure = error
        if self.failure:
            self._kept.append((start, bytes(data)))
            self.seek(start + len(data))
        return len(data)

    def readinto(self, buffer) -> int:
        start, view = self.tell(), memoryview(buffer).cast("B")
        n_read = super().readinto(view)
        if not self.failure:
            return n_read
        for place, data in self._kept:
            first, last = max(start, place), min(start + len(view), place + len(data))
            if first < last:
                view[first - start : last - start] = data[first - place : last - place]
        self.seek(start + len(view))
        return len(view)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence == os.SEEK_END and self.failure:
            ends = [place + len(data) for place, data in self._kept]
            return super().seek(max([super().seek(0, os.SEEK_END), *ends]) + offset)
        return super().seek(offset, whence)

    def truncate(self, size: int | None = None) -> int:
        try:
            return super().truncate(size)
        except OSError as error:
            self.failure = self.failure or error
            return self.tell() if size is None else size
