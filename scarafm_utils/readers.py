"""Single-cell file formats: every file becomes an AnnData with raw-looking names, or one clear line.

Nothing is interpreted here but the format: which cells, features and matrices a file holds.
`find_counts` then looks for counts in it and refuses what is not.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from .errors import InputError, suggest
from .rows import CACHE_BLOCK
from .tenx import (
    find_triplets,
    first_line,
    join_libraries,
    library_name,
    quiet_names,
    read_10x_h5,
    read_triplet,
)
from .unpack import unpacked

if TYPE_CHECKING:
    import anndata as ad
    import pandas as pd

_CONVERT = (
    "Rscript -e 'zellkonverter::writeH5AD(Seurat::as.SingleCellExperiment("
    'readRDS(gzcon(gzfile("{rds}", "rb")))), "{h5ad}", X_name = "counts")\''
)


def read_file(path: str | Path) -> ad.AnnData:
    """Read ``.h5ad``, ``.h5ad.gz``, 10x ``.h5``, or a folder with libraries in any of these forms.

    Returns
    -------
    AnnData
        As the file has it.  Of 10x files only "Gene Expression" rows are read, features are
        named by gene id, and a folder with several libraries gives ``obs['library']`` and, where
        their features differ, ``var['measured_in_<library>']``.

    Raises
    ------
    InputError
        For a Seurat ``.rds`` (with the command that converts it), an unknown ending and a file
        that is damaged or is not what its ending says.
    """
    path = Path(path)
    if path.is_dir():
        return read_folder(path)
    name = path.name.lower()
    if name.endswith((".rds", ".rds.gz")):
        raise InputError(rds_message(path))
    if name.endswith((".h5ad", ".h5ad.gz")):
        with unpacked(path) as plain:
            return _read_h5ad(plain)
    if name.endswith((".h5", ".hdf5")):
        return read_10x_h5(path)
    raise InputError(f"{path.name}: cannot be read; .h5ad, .h5ad.gz, 10x .h5 and 10x folders can.")


def read_head(path: str | Path, *, n_cells: int = 1000) -> tuple[ad.AnnData, pd.DataFrame]:
    """The first cells of a file, and obs of all: enough to see what it is without reading it whole.

    Of ``.h5ad`` files only these cells are read; other formats must be read whole.
    """
    path = Path(path)
    if path.is_dir() or not path.name.lower().endswith((".h5ad", ".h5ad.gz")):
        adata = read_file(_existing(path))
        return adata[:n_cells].copy(), adata.obs
    with unpacked(_existing(path)) as plain:
        adata = _read_h5ad(plain, backed="r")
        try:
            return adata[:n_cells].to_memory(), adata.obs.copy()
        finally:
            adata.file.close()


def read_folder(folder: str | Path) -> ad.AnnData:
    """Read all libraries below a folder: 10x triplets, 10x ``.h5`` and ``.h5ad`` files.

    Raises
    ------
    InputError
        Where there is none, one is damaged, or two have the same name.
    """
    folder = Path(folder)
    triplets = find_triplets(folder)
    files = [
        p for p in sorted(folder.rglob("*")) if re.search(r"\.(h5|h5ad|h5ad\.gz)$", p.name) and p.is_file()
    ]
    named = {library_name(p.relative_to(folder)): p for p in files}
    if len(named) < len(files) or named.keys() & triplets.keys():
        raise InputError(
            f"{folder.name}: two files hold the same library (found: {', '.join(p.name for p in files)})."
        )
    libraries = {name: read_triplet(path) for name, path in triplets.items()}
    libraries |= {name: find_counts(read_file(path))[0] for name, path in named.items()}
    if not libraries:
        rds = next((p for p in sorted(folder.rglob("*.rds*"))), None)
        reason = rds_message(rds) if rds else "no matrix.mtx, .h5 or .h5ad file in this folder."
        raise InputError(f"{folder.name}: {reason}")
    return join_libraries(libraries, folder.name)


def rds_message(path: str | Path) -> str:
    """Why an ``.rds`` file is refused, and the one command that converts it."""
    name = Path(path).name
    return f"{name} is an R object, which is not read here. Convert it once: {convert_command(name)}"


def convert_command(rds: str | Path, h5ad: str | None = None) -> str:
    """The command that turns a Seurat object into `h5ad` (the same name with another ending)."""
    name = Path(rds).name
    return _CONVERT.format(
        rds=name, h5ad=h5ad or re.sub(r"\.rds(\.gz)?$", ".h5ad", name, flags=re.IGNORECASE)
    )


def count_problem(matrix) -> str | None:
    """Say why a matrix cannot be counts, or None: numeric, finite, non-negative, whole numbers."""
    import numpy as np
    import scipy.sparse as sp

    if matrix is None:
        return "is empty"
    if getattr(matrix, "dtype", np.dtype(object)).kind not in "biuf":
        return f"has values of type {getattr(matrix, 'dtype', type(matrix).__name__)}, not numbers"
    values = matrix.data if sp.issparse(matrix) else np.asarray(matrix)
    if values.size == 0:
        return None
    smallest = values.min()  # NaN where any value is
    if values.dtype.kind == "f" and not np.isfinite([smallest, values.max()]).all():
        return "has values that are NaN or infinite"
    if smallest < 0:
        return f"has negative values (smallest {smallest:g})"
    fractions = [_fractions(part) for part in np.array_split(values.ravel(), 1 + values.size // CACHE_BLOCK)]
    if values.dtype.kind == "f" and (n := sum(part.size for part in fractions)):
        first = next(part[0] for part in fractions if part.size)
        return f"has {n:,} values that are not whole numbers (such as {first:g})"
    return None


def _fractions(values):
    """Those of some numbers that are not whole."""
    import numpy as np

    return values[values != np.floor(values)] if values.dtype.kind == "f" else values[:0]


def find_counts(adata: ad.AnnData, *, where: str = "auto") -> tuple[ad.AnnData, str]:
    """Find the counts of a file: detected in X, layers and raw, never assumed.

    Parameters
    ----------
    adata
        A file as read.
    where
        ``auto`` looks in X, then ``layers['counts']``, other layers, and ``raw``; ``X``, ``raw`` or
        ``layers/<name>`` looks there only, and checks all the same.

    Returns
    -------
    tuple
        An AnnData whose X is a CSR matrix of int32 counts, and the place where they lay.

    Raises
    ------
    InputError
        Where there are none, with what is wrong at each place.
    """
    places = _places(adata) if where == "auto" else [where]
    problems = []
    for place in places:
        matrix, var = _matrix_at(adata, place)
        problem = count_problem(matrix)
        if problem is None:
            return _with_counts(adata, matrix, var), place
        problems.append(f"{place} {problem}")
    raise InputError(f"no counts: {'; '.join(problems)}.")


def _existing(path: Path) -> Path:
    if not path.exists():
        raise InputError(f"{path.name}: no such file or folder in '{path.parent.resolve().name}'.")
    return path


def _read_h5ad(path: Path, *, backed: Literal["r"] | None = None) -> ad.AnnData:
    import anndata as ad

    try:
        with quiet_names():
            return ad.read_h5ad(path, backed=backed)
    except (OSError, KeyError, ValueError, TypeError, AttributeError) as error:
        reason = first_line(error).replace(str(path), path.name)
        raise InputError(f"{path.name}: cannot be read as .h5ad ({reason}).") from error


def _places(adata: ad.AnnData) -> list[str]:
    layers = sorted(adata.layers, key=lambda name: (name != "counts", name))
    return ["X", *(f"layers/{name}" for name in layers), *(["raw"] if adata.raw is not None else [])]


def _matrix_at(adata: ad.AnnData, place: str):
    """The matrix at `place` and the table of its features."""
    if place not in (known := _places(adata)):
        raise InputError(f"no '{place}' to read counts from: {suggest(place, known)}.")
    if place == "X":
        return adata.X, adata.var
    if place == "raw":
        return adata.raw.X, adata.raw.var
    return adata.layers[place.removeprefix("layers/")], adata.var


def _with_counts(adata: ad.AnnData, matrix, var) -> ad.AnnData:
    import anndata as ad
    import numpy as np
    import scipy.sparse as sp

    counts = sp.csr_matrix(matrix)
    if counts.nnz and counts.data.max() > np.iinfo(np.int32).max:
        raise InputError(f"no counts: a value of {counts.data.max():g} is too large for one.")
    counts = sp.csr_matrix((counts.data.astype(np.int32), counts.indices, counts.indptr), shape=counts.shape)
    counts.eliminate_zeros()
    counts.sort_indices()
    with quiet_names():
        return ad.AnnData(X=counts, obs=adata.obs.copy(), var=var.copy())
