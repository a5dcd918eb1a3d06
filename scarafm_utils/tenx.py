"""10x files: HDF5 and matrix/barcodes/features triplets, one library or many."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import InputError
from .unpack import unpacked

if TYPE_CHECKING:
    import anndata as ad
    import pandas as pd

#: What a 10x file calls the rows we read; peaks, antibodies and guides stay outside.
GENE_EXPRESSION = "Gene Expression"
#: Start of the var columns that say which library carries a feature.
MEASURED = "measured_in_"

_MATRIX = re.compile(r"^(?P<prefix>.*?)[_.\-]?matrix\.mtx(?:\.gz)?$")
# Names that Cell Ranger gives to the files of every library and that therefore name none.
_GENERIC = {"outs", "filtered_feature_bc_matrix", "filtered_gene_bc_matrices", "filtered_matrices_mex"}


@contextmanager
def quiet_names() -> Iterator[None]:
    """No warning about names that are not unique: they are made so, or refused, later."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*names are not unique", category=UserWarning)
        yield


def first_line(error: BaseException) -> str:
    """First line of an error's message, at most 200 characters."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def read_10x_h5(path: Path) -> ad.AnnData:
    """Read the "Gene Expression" rows of a 10x HDF5 file; features are named by gene id.

    Raises
    ------
    InputError
        Where the file is damaged, no 10x file, or has no such row.
    """
    import scanpy as sc

    try:
        with quiet_names():
            adata = sc.read_10x_h5(path, gex_only=True)
    except (OSError, KeyError, ValueError, TypeError) as error:
        reason = first_line(error).replace(str(path), path.name)
        raise InputError(f"{path.name}: cannot be read as a 10x file ({reason}).") from error
    if adata.n_vars == 0:
        raise InputError(f"{path.name}: no row of type '{GENE_EXPRESSION}'.")
    if "gene_ids" in adata.var:
        adata.var_names = adata.var["gene_ids"].astype(str).to_numpy()
    return adata


def find_triplets(folder: Path) -> dict[str, Path]:
    """Matrix files below `folder`, by library.

    A library is named by the file's prefix (``GSM7502455_Control1_matrix.mtx.gz`` is Control1) and
    by its subfolder, without the names that Cell Ranger gives to all.

    Raises
    ------
    InputError
        Where two have the same name.
    """
    libraries: dict[str, Path] = {}
    for matrix in sorted(p for p in folder.rglob("*") if p.is_file() and _MATRIX.match(p.name)):
        name = library_name(matrix.relative_to(folder))
        if name in libraries:
            both = f"{libraries[name].relative_to(folder)} and {matrix.relative_to(folder)}"
            raise InputError(f"{folder.name}: {both} are both library '{name}'. Leave one in the folder.")
        libraries[name] = matrix
    return libraries


def library_name(path: Path) -> str:
    """Name of the library in a file, from its path inside a folder.

    >>> library_name(Path("GSM7502455_Control1_matrix.mtx.gz"))
    'Control1'
    >>> library_name(Path("s1/outs/filtered_feature_bc_matrix/matrix.mtx"))
    's1'
    """
    triplet = _MATRIX.match(path.name)
    stem = triplet["prefix"] if triplet else re.sub(r"\.(h5|h5ad)(\.gz)?$", "", path.name)
    own = re.sub(r"[_.\-]?(filtered|raw)_feature_bc_matrix$", "", re.sub(r"^GSM\d+[_.\-]?", "", stem))
    parts = [p for p in path.parts[:-1] if p.lower() not in _GENERIC]
    return "-".join([*parts, *([own] if own else [])])


def read_triplet(matrix: Path) -> ad.AnnData:
    """Read one matrix with the barcodes and features beside it.

    Raises
    ------
    InputError
        Where one of the three is missing or damaged, or their sizes differ.
    """
    import anndata as ad
    import pandas as pd

    barcodes, features = _sibling(matrix, "barcodes")[0], _sibling(matrix, "features", "genes")
    values = _read_matrix(matrix)
    if values.shape != (len(barcodes), len(features[0])):
        raise InputError(
            f"{matrix.name}: {values.shape[1]} features and {values.shape[0]} cells, "
            f"but {len(features[0])} and {len(barcodes)} names beside it."
        )
    keep = (features[2] == GENE_EXPRESSION).to_numpy() if 2 in features else slice(None)
    obs, var = pd.DataFrame(index=barcodes.to_numpy()), pd.DataFrame(index=features[0].to_numpy()[keep])
    with quiet_names():
        return ad.AnnData(X=values[:, keep], obs=obs, var=var)


def join_libraries(libraries: dict[str, ad.AnnData], folder: str) -> ad.AnnData:
    """Stack libraries under ``obs['library']``.

    Where their features differ, ``var['measured_in_<library>']`` says which carries which.
    """
    import anndata as ad
    import pandas as pd
    import scipy.sparse as sp

    tables = list(libraries.values())
    genes = tables[0].var_names
    same = all(t.var_names.equals(genes) for t in tables)
    for table in [] if same else tables[1:]:
        genes = genes.append(table.var_names.difference(genes, sort=False))
    var = pd.DataFrame(index=genes)
    if not same:
        for name, library in libraries.items():
            if not library.var_names.is_unique:
                raise InputError(f"{folder}: library '{name}' has a feature twice, others have others.")
            var[f"{MEASURED}{name}"] = genes.isin(library.var_names)
    matrices = [sp.csr_matrix(t.X) if same else _spread(t, genes) for t in tables]
    obs = pd.concat([t.obs.assign(library=name) for name, t in libraries.items()])
    with quiet_names():
        return ad.AnnData(X=sp.vstack(matrices).tocsr(), obs=obs, var=var)


def _sibling(matrix: Path, *names: str) -> pd.DataFrame:
    """The barcodes or features table that belongs to a matrix: same prefix, packed or not."""
    import pandas as pd

    stem = re.sub(r"matrix\.mtx(\.gz)?$", "", matrix.name)
    tries = [matrix.with_name(f"{stem}{name}{ending}") for name in names for ending in (".tsv.gz", ".tsv")]
    path = next((p for p in tries if p.exists()), None)
    if path is None:
        raise InputError(f"{matrix.name}: no {stem}{names[0]}.tsv or .tsv.gz beside it.")
    try:
        with unpacked(path) as plain:
            return pd.read_csv(plain, sep="\t", header=None, dtype=str)
    except (ValueError, UnicodeDecodeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path.name}: cannot be read as a table ({first_line(error)}).") from error


def _read_matrix(matrix: Path):
    """Cells by features, CSR, from a features by cells matrix market file."""
    import scipy.io
    import scipy.sparse as sp

    with unpacked(matrix) as plain:
        try:
            return sp.csr_matrix(scipy.io.mmread(plain).T)
        except (ValueError, OSError, EOFError, OverflowError) as error:
            raise InputError(f"{matrix.name}: cannot be read as a matrix ({first_line(error)}).") from error


def _spread(library: ad.AnnData, genes: pd.Index):
    """The matrix of one library over all `genes`."""
    import scipy.sparse as sp

    matrix = sp.coo_matrix(library.X)
    columns = genes.get_indexer(library.var_names)[matrix.col]
    return sp.csr_matrix((matrix.data, (matrix.row, columns)), shape=(library.n_obs, len(genes)))
