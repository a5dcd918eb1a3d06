"""Single-cell file formats: every file becomes an AnnData with raw-looking names, or one clear line.

Nothing is interpreted here but the format: which cells, features and matrices a file holds.
`find_counts` then looks for counts in it and refuses what is not.
"""

from __future__ import annotations

import gzip
import re
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import InputError, suggest

if TYPE_CHECKING:
    import anndata as ad

#: What a 10x file calls the rows we read; peaks, antibodies and guides stay outside.
GENE_EXPRESSION = "Gene Expression"
#: Largest file that a compressed one may become, in bytes.
MAX_UNPACKED = 64 * 2**30

_MATRIX = re.compile(r"^(?P<prefix>.*?)[_.\-]?matrix\.mtx(?:\.gz)?$")
# Folder names that Cell Ranger gives to every library and that therefore name none.
_GENERIC = {"outs", "filtered_feature_bc_matrix", "filtered_gene_bc_matrices", "filtered_matrices_mex"}
_CONVERT = (
    "Rscript -e 'zellkonverter::writeH5AD(Seurat::as.SingleCellExperiment("
    'readRDS(gzcon(gzfile("{rds}", "rb")))), "{h5ad}", X_name = "counts")\''
)


def read_file(path: str | Path) -> ad.AnnData:
    """Read ``.h5ad``, ``.h5ad.gz``, 10x ``.h5`` or a folder of 10x triplets.

    Returns
    -------
    AnnData
        As the file has it.  Of 10x files only "Gene Expression" rows are read, features are
        named by gene id, and a folder with several triplets gives ``obs['library']`` and, where
        their features differ, ``var['measured_in_<library>']``.

    Raises
    ------
    InputError
        For a Seurat ``.rds`` (with the command that converts it), an unknown ending and a file
        that is damaged or is not what its ending says.
    """
    path = Path(path)
    if path.is_dir():
        return read_10x_folder(path)
    name = path.name.lower()
    if name.endswith((".rds", ".rds.gz")):
        raise InputError(rds_message(path))
    if name.endswith(".h5ad.gz"):
        return _read_packed_h5ad(path)
    if name.endswith(".h5ad"):
        return _read_h5ad(path)
    if name.endswith((".h5", ".hdf5")):
        return _read_10x_h5(path)
    raise InputError(f"{path.name}: cannot be read; .h5ad, .h5ad.gz, 10x .h5 and 10x folders can.")


def rds_message(path: str | Path) -> str:
    """Why an ``.rds`` file is refused, and the one command that converts it."""
    name = Path(path).name
    h5ad = re.sub(r"\.rds(\.gz)?$", ".h5ad", name, flags=re.IGNORECASE)
    command = _CONVERT.format(rds=name, h5ad=h5ad)
    return f"{name} is an R object, which is not read here. Convert it once: {command}"


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
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        return "has values that are NaN or infinite"
    if values.min() < 0:
        return f"has negative values (smallest {values.min():g})"
    if values.dtype.kind == "f" and (fractions := values[values != np.floor(values)]).size:
        return f"has {fractions.size:,} values that are not whole numbers (such as {fractions[0]:g})"
    return None


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


def read_10x_folder(folder: str | Path) -> ad.AnnData:
    """Read all matrix/barcodes/features triplets below a folder, one library each.

    The library is named by the file prefix (``GSM7502455_Control1_matrix.mtx.gz`` is Control1) or
    by its subfolder.

    Raises
    ------
    InputError
        Where there is no triplet, a part of one is missing, or two have the same name.
    """
    folder = Path(folder)
    libraries: dict[str, Path] = {}
    for matrix in sorted(p for p in folder.rglob("*") if p.is_file() and _MATRIX.match(p.name)):
        name = _library_name(matrix, folder)
        if name in libraries:
            raise InputError(
                f"{folder.name}: two matrices for library '{name}' ({libraries[name].relative_to(folder)}, "
                f"{matrix.relative_to(folder)}). Leave one in the folder."
            )
        libraries[name] = matrix
    if not libraries:
        raise InputError(f"{folder.name}: no matrix.mtx or matrix.mtx.gz in this folder.")
    return _join({name: _read_triplet(path) for name, path in libraries.items()}, folder.name)


def gunzip(source: str | Path, target: str | Path, *, max_bytes: int = MAX_UNPACKED) -> Path:
    """Decompress `source` to `target` in blocks; stop at `max_bytes`.

    Raises
    ------
    InputError
        Where the file is no gzip file, is cut short, or becomes larger than `max_bytes`.
    """
    source, written = Path(source), 0
    try:
        with gzip.open(source, "rb") as packed, open(target, "wb") as out:
            while block := packed.read(1 << 20):
                written += len(block)
                if written > max_bytes:
                    raise InputError(f"{source.name}: unpacks to more than {max_bytes:,} bytes; refused.")
                out.write(block)
    except (gzip.BadGzipFile, EOFError) as error:
        raise InputError(f"{source.name}: not a whole gzip file ({error}). Fetch it again.") from error
    return Path(target)


@contextmanager
def quiet_names() -> Iterator[None]:
    """No warning about names that are not unique: they are made so, or refused, later."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*names are not unique", category=UserWarning)
        yield


def _read_packed_h5ad(path: Path) -> ad.AnnData:
    with tempfile.TemporaryDirectory() as folder:
        return _read_h5ad(gunzip(path, Path(folder) / path.name[:-3]))


def _read_h5ad(path: Path) -> ad.AnnData:
    import anndata as ad

    try:
        with quiet_names():
            return ad.read_h5ad(path)
    except (OSError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise InputError(f"{path.name}: cannot be read as .h5ad ({_first_line(error)}).") from error


def _read_10x_h5(path: Path) -> ad.AnnData:
    import scanpy as sc

    try:
        with quiet_names():
            adata = sc.read_10x_h5(path, gex_only=True)
    except (OSError, KeyError, ValueError, TypeError) as error:
        raise InputError(f"{path.name}: cannot be read as a 10x file ({_first_line(error)}).") from error
    if adata.n_vars == 0:
        raise InputError(f"{path.name}: no row of type '{GENE_EXPRESSION}'.")
    if "gene_ids" in adata.var:
        adata.var_names = adata.var["gene_ids"].astype(str).to_numpy()
    return adata


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


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


def _library_name(matrix: Path, folder: Path) -> str:
    prefix = re.sub(r"^GSM\d+[_.\-]?", "", _MATRIX.match(matrix.name).group("prefix"))
    parts = [p for p in matrix.relative_to(folder).parts[:-1] if p.lower() not in _GENERIC]
    return "-".join([*parts, *([prefix] if prefix else [])])


def _sibling(matrix: Path, *names: str) -> Path:
    """The barcodes or features file that belongs to a matrix: same prefix, packed or not."""
    stem = re.sub(r"matrix\.mtx(\.gz)?$", "", matrix.name)
    for name in names:
        for ending in (".tsv.gz", ".tsv"):
            if (path := matrix.with_name(f"{stem}{name}{ending}")).exists():
                return path
    raise InputError(f"{matrix.name}: no {stem}{names[0]}.tsv or .tsv.gz beside it.")


def _read_triplet(matrix: Path) -> ad.AnnData:
    import anndata as ad
    import pandas as pd
    import scipy.io
    import scipy.sparse as sp

    barcodes = pd.read_csv(_sibling(matrix, "barcodes"), sep="\t", header=None, dtype=str)[0].to_numpy()
    features = pd.read_csv(_sibling(matrix, "features", "genes"), sep="\t", header=None, dtype=str)
    try:
        values = sp.csr_matrix(scipy.io.mmread(matrix)).T.tocsr()
    except (ValueError, OSError, EOFError) as error:
        raise InputError(f"{matrix.name}: cannot be read as a matrix ({_first_line(error)}).") from error
    if values.shape != (len(barcodes), len(features)):
        raise InputError(
            f"{matrix.name}: {values.shape[1]} features and {values.shape[0]} cells, "
            f"but {len(features)} and {len(barcodes)} names beside it."
        )
    keep = (features[2] == GENE_EXPRESSION).to_numpy() if features.shape[1] > 2 else slice(None)
    names = features[0].to_numpy()[keep]
    with quiet_names():
        return ad.AnnData(X=values[:, keep], obs=pd.DataFrame(index=barcodes), var=pd.DataFrame(index=names))


def _join(libraries: dict[str, ad.AnnData], folder: str) -> ad.AnnData:
    """Stack libraries; where their features differ, say which library carries which."""
    import anndata as ad
    import pandas as pd
    import scipy.sparse as sp

    for name, library in libraries.items():
        library.obs["library"] = name
    tables = list(libraries.values())
    same = all(t.var_names.equals(tables[0].var_names) for t in tables)
    genes = tables[0].var_names
    for table in tables[1:]:
        genes = genes if same else genes.append(table.var_names.difference(genes, sort=False))
    var = pd.DataFrame(index=genes)
    if not same:
        for name, library in libraries.items():
            if not library.var_names.is_unique:
                raise InputError(f"{folder}: library '{name}' has a feature twice, others have others.")
            var[f"measured_in_{name}"] = genes.isin(library.var_names)
    matrices = [t.X if same else _spread(t, genes) for t in tables]
    with quiet_names():
        return ad.AnnData(X=sp.vstack(matrices).tocsr(), obs=pd.concat([t.obs for t in tables]), var=var)


def _spread(library: ad.AnnData, genes):
    """The matrix of one library over all `genes`."""
    import scipy.sparse as sp

    matrix = library.X.tocoo()
    columns = genes.get_indexer(library.var_names)[matrix.col]
    return sp.csr_matrix((matrix.data, (matrix.row, columns)), shape=(library.n_obs, len(genes)))
