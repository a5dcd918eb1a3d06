"""Anybody's cells: an .h5ad read in parts, each normalised once and brought to a vocabulary."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import InputError, suggest
from .genes import harmonize_loci, keep_nuclear_loci, sum_duplicate_genes
from .hdf5_files import write_h5ad
from .manifest_draft import guess_columns
from .normalization import as_csr, normalize, with_matrix
from .readers import count_problem, read_file
from .tenx import MEASURED, first_line, quiet_names
from .unpack import unpacked
from .vocabulary import to_vocabulary

if TYPE_CHECKING:
    import anndata as ad
    import h5py
    import numpy as np

#: Cells in memory at once.
CHUNK = 2_000
#: Below this share of the vocabulary an embedding says little about the cells.
MIN_COVERAGE = 0.5
VALUES = ("auto", "counts", "log1p")
#: Counts that add up to a smaller share of a column of totals are a part of the cell's.
COMPLETE = 0.9


@dataclass(frozen=True)
class Coverage:
    """How much of a list of genes some cells measure; `share` is that of their counts in it."""

    wanted: int
    missing: tuple[str, ...]
    share: float | None = None

    @property
    def matched(self) -> int:
        return self.wanted - len(self.missing)

    def __str__(self) -> str:
        text = f"{self.matched:,} of {self.wanted:,} genes measured ({self.matched / self.wanted:.0%})"
        text += "" if self.share is None else f", {self.share:.0%} of the counts lie in them"
        if not self.missing:
            return text
        more = " …" if len(self.missing) > 10 else ""
        return f"{text}; not measured: {', '.join(self.missing[:10])}{more}"

    def check(self, floor: float, name: str) -> None:
        """Refuse cells that measure less than `floor` of the genes."""
        if self.matched < floor * self.wanted:
            raise InputError(
                f"{name}: {self}. At least {floor:.0%} is asked for: check that gene names are Arabidopsis loci, "
                "or lower the bar with --min-coverage."
            )


class CellFile:
    """The cells of an open ``.h5ad``, read a part at a time.

    Counts are looked for in X, the layers and raw, and divided by each cell's total over nuclear
    loci; values that already are log1p of counts per 10,000 are taken as they are.  Which of the two
    is found on the first part and checked on every other one.

    Parameters
    ----------
    name
        What messages call the file.
    file
        The open HDF5 file.
    values
        "auto" decides; "counts" insists on counts; "log1p" says that X is log1p of counts per 10,000
        of which genes have been dropped, so that its cells no longer add up to 10,000.
    total_key
        obs column with each cell's own total, where genes were dropped from the counts.

    Attributes
    ----------
    n_cells, obs_names
        The cells.
    place
        Where the values lie: X, layers/…, or raw.
    log
        Whether they were normalised before.
    simulated
        Whether this package's simulator made the cells: its provenance is in uns.  Every other cell
        counts as real.
    hint
        A line to show where `total_key` was not given and obs has totals that the counts miss; or None.
    """

    def __init__(self, name: str, file: h5py.File, *, values: str = "auto", total_key: str | None = None):
        import numpy as np

        if values not in VALUES:
            raise InputError(f"values: '{values}' is not known, {suggest(values, VALUES)}.")
        self.name, self._file, self._values, self.total_key = name, file, values, total_key
        obs = self._read("obs")
        self.obs_names, self.n_cells = obs.index.astype(str), len(obs)
        if not self.n_cells:
            raise InputError(f"{name}: has no cells.")
        self._totals = self._total_column(obs) if total_key else None
        self._uns = {key: self._table(f"uns/{key}") for key in ("provenance", "normalization")}
        self.simulated = "uns/simulation" in file or self._uns["provenance"].get("source") == "simulated"
        self.log = False
        self.place = self._find_values()
        self.hint = None if total_key or self.log else self._forgotten_total(obs)
        var = self._read("raw/var" if self.place == "raw" else "var")
        self._features, self._measured = var.index.astype(str), self._measured_features(var)
        self._inside = self._total = 0.0
        self.empty = np.zeros(self.n_cells, dtype=bool)

    def parts(self, genes: Sequence[str]) -> Iterator[tuple[slice, ad.AnnData]]:
        """Rows and their cells: log-normalised, columns `genes`, ``varm['measured']`` for MASK."""
        import numpy as np

        self._inside = self._total = 0.0
        for start in range(0, self.n_cells, CHUNK):
            rows = slice(start, min(start + CHUNK, self.n_cells))
            loci = self._loci(rows)
            values = np.expm1(loci.X.data)
            inside = loci.var_names.isin(genes)[loci.X.indices]
            self._inside += float(values[inside].sum(dtype=float))
            self._total += float(values.sum(dtype=float))
            self.empty[rows] = loci.X.getnnz(axis=1) == 0
            yield rows, to_vocabulary(loci, genes)

    def coverage(self, genes: Sequence[str]) -> Coverage:
        """What the file measures of `genes`; the share of counts is known after a pass of `parts`."""
        import numpy as np

        loci = self._loci(slice(0, 1))
        there = set(loci.var_names[np.asarray(loci.varm["measured"]).ravel()])
        missing = tuple(gene for gene in genes if gene not in there)
        return Coverage(len(genes), missing, self._inside / self._total if self._total else None)

    def _loci(self, rows: slice) -> ad.AnnData:
        """Cells as log-normalised nuclear loci."""
        part = harmonize_loci(self._part(rows))
        if not self.log:
            part = keep_nuclear_loci(sum_duplicate_genes(part))
            return normalize(part, total_key="total" if self.total_key else None)
        if part.var_names.has_duplicates:
            raise InputError(f"{self.name}: normalised with a gene twice; logarithms cannot be summed.")
        if problem := self._log_problem(part.X):
            raise InputError(f"{self.name}: {self.place} {problem} in cells {rows.start:,} to {rows.stop:,}.")
        part = keep_nuclear_loci(part)
        return with_matrix(part, part.X.astype("float32"))

    def _part(self, rows: slice) -> ad.AnnData:
        import anndata as ad
        import numpy as np
        import pandas as pd

        obs = pd.DataFrame({"sample": "all"}, index=self.obs_names[rows])
        if self._totals is not None:
            obs["total"] = self._totals[rows]
        matrix = self._rows(self.place, rows)
        if not self.log and (problem := count_problem(matrix)):
            raise InputError(f"{self.name}: {self.place} {problem} in cells {rows.start:,} to {rows.stop:,}.")
        with quiet_names():
            part = ad.AnnData(as_csr(matrix), obs=obs, var=pd.DataFrame(index=self._features))
        part.varm["measured"] = np.asarray(self._measured)[:, None]
        part.uns |= {"samples": ["all"], "dataset": self.name}
        return part

    def _find_values(self) -> str:
        """Where counts lie, or where values are log-normalised."""
        layers = sorted(self._file.get("layers", ()), key=lambda name: (name != "counts", name))
        places = [p for p in ("X", *(f"layers/{name}" for name in layers), "raw") if self._path(p) in self._file]
        first, problems = slice(0, min(CHUNK, self.n_cells)), {}
        for place in places if self._values != "log1p" else ():
            problems[place] = count_problem(self._rows(place, first))
            if problems[place] is None:
                return place
        self.log, reasons = True, [f"{place} {problem}" for place, problem in problems.items()]
        for place in places if self._values != "counts" else ():
            reason = self._log_problem(as_csr(self._rows(place, first)))
            if reason is None:
                return place
            reasons.append(f"{place} {reason}")
        raise InputError(
            f"{self.name}: no counts and no log1p of counts per 10,000 ({'; '.join(reasons) or 'no matrix'}). "
            "Where values are that logarithm and genes were dropped since, say --values log1p."
        )

    def _log_problem(self, matrix) -> str | None:
        """Why values cannot be log1p of counts per 10,000, or None."""
        import numpy as np

        values = matrix.data.astype(float)
        if matrix.nnz and count_problem(matrix) is None:
            return "holds whole numbers"
        if not np.isfinite(values).all() or (values < 0).any() or values.max(initial=0) > np.log1p(1e4) + 1e-3:
            return "is not all between 0 and 9.21"
        if self._values == "log1p" or self._uns["normalization"].get("target_sum") == 1e4:  # our own mark
            return None
        sums = np.asarray(matrix.astype(float).expm1().sum(axis=1)).ravel()
        wrong = sums[(sums > 0) & (np.abs(sums / 1e4 - 1) > 0.01)]
        return f"adds up to {wrong[0]:,.0f} in a cell, not to 10,000" if wrong.size else None

    @staticmethod
    def _path(place: str) -> str:
        return "raw/X" if place == "raw" else place

    def _rows(self, place: str, rows: slice):
        """Rows of a matrix; one that is stored by columns is held in memory from then on."""
        import h5py
        from anndata.io import sparse_dataset

        element = self._file[self._path(place)]
        if isinstance(element, h5py.Dataset):
            return element[rows]
        stored = sparse_dataset(element)
        if stored.format == "csr":
            return stored[rows]
        if getattr(self, "_held", (None, None))[0] != place:
            self._held = place, stored.to_memory().tocsr()
        return self._held[1][rows]

    def _read(self, key: str):
        from anndata.io import read_elem

        if key not in self._file:
            raise InputError(f"{self.name}: no '{key}' in it; is it a whole .h5ad file?")
        try:
            return read_elem(self._file[key])
        except (OSError, KeyError, ValueError, TypeError, AttributeError) as error:
            raise InputError(f"{self.name}: '{key}' cannot be read ({first_line(error)}).") from error

    def _table(self, key: str) -> dict:
        found = self._read(key) if key in self._file else {}
        return found if isinstance(found, dict) else {}

    def _measured_features(self, var) -> np.ndarray:
        """Features measured in every library, as far as the file tells."""
        import numpy as np

        columns = [column for column in var if str(column).startswith(MEASURED)]
        if columns:
            return var[columns].astype(bool).all(axis=1).to_numpy()
        if self.place != "raw" and "varm/measured" in self._file:
            return np.asarray(self._read("varm/measured"), dtype=bool).all(axis=1)
        return np.ones(len(var), dtype=bool)

    def _forgotten_total(self, obs) -> str | None:
        """What to say where a column holds totals of which the first cells' counts are a part only."""
        import numpy as np

        if (column := guess_columns(obs).total_counts) is None:
            return None
        rows = slice(0, min(CHUNK, self.n_cells))
        sums = np.asarray(self._rows(self.place, rows).sum(axis=1), dtype=float).ravel()
        share = np.median(sums / np.maximum(obs[column].to_numpy(dtype=float)[rows], 1))
        if not 0 < share < COMPLETE:
            return None
        return (
            f"{self.name}: counts add up to {share:.0%} of obs['{column}']; where genes were dropped, "
            f"--total-key {column} divides by the cell's own total."
        )

    def _total_column(self, obs) -> np.ndarray:
        if self.total_key not in obs:
            raise InputError(f"{self.name}: obs has no column '{self.total_key}', {suggest(self.total_key, obs)}.")
        return obs[self.total_key].to_numpy()


@contextmanager
def open_cells(path: str | Path, *, values: str = "auto", total_key: str | None = None) -> Iterator[CellFile]:
    """Open ``.h5ad``, ``.h5ad.gz``, 10x ``.h5`` or a 10x folder as a `CellFile`.

    An ``.h5ad`` is read in parts; any other form is first read whole and written beside the temporary
    files as one.  Raises InputError where the file is absent, damaged, or holds neither counts nor
    log-normalised values.
    """
    import h5py

    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: no such file.")
    with as_h5ad(path) as plain:
        try:
            file = h5py.File(plain, "r")
        except OSError as error:
            raise InputError(f"{path.name}: cannot be read as .h5ad ({first_line(error)}).") from error
        with file:
            yield CellFile(path.name, file, values=values, total_key=total_key)


@contextmanager
def as_h5ad(path: Path) -> Iterator[Path]:
    """Yield a plain ``.h5ad``: the file itself, or one that is gone afterwards."""
    if path.name.lower().endswith((".h5ad", ".h5ad.gz")):
        with unpacked(path) as plain:
            yield plain
        return
    with tempfile.TemporaryDirectory(prefix="scarafm-") as folder:
        plain = Path(folder) / "cells.h5ad"
        adata = read_file(path)
        with quiet_names():
            write_h5ad(plain, adata)
        yield plain
