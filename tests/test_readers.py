"""File formats: each becomes the same cells, and a bad file one clear line."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest
import scipy.io
import scipy.sparse as sp

from scarafm_utils.errors import InputError
from scarafm_utils.readers import count_problem, find_counts, read_file

GENES = ["AT1G01010", "AT1G01020", "AT1G01030"]
COUNTS = np.array([[1, 0, 2], [0, 3, 0]])


def cells(matrix=COUNTS, **kwargs) -> ad.AnnData:
    obs = pd.DataFrame({"Condition": ["Normal", "Heat"]}, index=["AAA-1", "CCC-1"])
    return ad.AnnData(X=sp.csr_matrix(matrix), obs=obs, var=pd.DataFrame(index=GENES), **kwargs)


def write_triplet(folder: Path, *, prefix="", counts=COUNTS, genes=GENES, kinds=None, packed=True) -> None:
    """One 10x triplet, features by cells as Cell Ranger writes it."""
    folder.mkdir(parents=True, exist_ok=True)
    kinds = kinds or ["Gene Expression"] * len(genes)
    features = "".join(f"{g}\tname{i}\t{k}\n" for i, (g, k) in enumerate(zip(genes, kinds, strict=True)))
    matrix = io.BytesIO()
    scipy.io.mmwrite(matrix, sp.coo_matrix(np.asarray(counts).T))
    barcodes = "".join(f"{b}-1\n" for b in ("AAA", "CCC", "GGG")[: len(counts)])
    contents = {
        "matrix.mtx": matrix.getvalue(),
        "features.tsv": features.encode(),
        "barcodes.tsv": barcodes.encode(),
    }
    for name, content in contents.items():
        path = folder / f"{prefix}{name}{'.gz' if packed else ''}"
        path.write_bytes(gzip.compress(content) if packed else content)


def write_10x_h5(path: Path, *, kinds, genes=GENES, counts=COUNTS) -> None:
    matrix = sp.csc_matrix(np.asarray(counts).T)
    with h5py.File(path, "w") as file:
        group = file.create_group("matrix")
        group["barcodes"] = np.array([b"AAA-1", b"CCC-1"])
        group["data"], group["indices"], group["indptr"] = matrix.data, matrix.indices, matrix.indptr
        group["shape"] = np.array(matrix.shape)
        features = group.create_group("features")
        features["id"] = np.array([g.encode() for g in genes])
        features["name"] = np.array([f"symbol{i}".encode() for i in range(len(genes))])
        features["feature_type"] = np.array([k.encode() for k in kinds])
        features["genome"] = np.array([b"tair10"] * len(genes))


def test_h5ad_and_packed_h5ad_are_the_same_cells(tmp_path):
    cells().write_h5ad(tmp_path / "a.h5ad")
    (tmp_path / "a.h5ad.gz").write_bytes(gzip.compress((tmp_path / "a.h5ad").read_bytes()))
    plain, packed = read_file(tmp_path / "a.h5ad"), read_file(tmp_path / "a.h5ad.gz")
    assert np.array_equal(plain.X.toarray(), COUNTS) and np.array_equal(packed.X.toarray(), COUNTS)
    assert packed.obs.equals(plain.obs)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.h5ad", "a.h5ad.gz"]


def test_of_a_10x_file_only_gene_expression_is_read_under_gene_ids(tmp_path):
    write_10x_h5(tmp_path / "a.h5", kinds=["Gene Expression", "Peaks", "Gene Expression"])
    adata = read_file(tmp_path / "a.h5")
    assert list(adata.var_names) == ["AT1G01010", "AT1G01030"]
    assert adata.X.toarray().tolist() == [[1, 2], [0, 0]]
    assert list(adata.obs_names) == ["AAA-1", "CCC-1"]
    write_10x_h5(tmp_path / "b.h5", kinds=["Peaks"] * 3)
    with pytest.raises(InputError, match="b.h5: no row of type 'Gene Expression'"):
        read_file(tmp_path / "b.h5")


@pytest.mark.parametrize("packed", [True, False])
def test_a_10x_folder_of_one_library(tmp_path, packed):
    write_triplet(tmp_path / "A", kinds=["Gene Expression", "Gene Expression", "Peaks"], packed=packed)
    adata = read_file(tmp_path / "A")
    assert list(adata.var_names) == GENES[:2]
    assert adata.X.toarray().tolist() == COUNTS[:, :2].tolist()


def test_libraries_are_named_by_prefix_or_folder(tmp_path):
    write_triplet(tmp_path / "GEO", prefix="GSM1_Control1_")
    write_triplet(tmp_path / "GEO", prefix="GSM2_Case1_", counts=COUNTS * 2)
    adata = read_file(tmp_path / "GEO")
    assert adata.obs["library"].tolist() == ["Control1", "Control1", "Case1", "Case1"]
    case = adata[adata.obs["library"] == "Case1"]
    assert np.array_equal(case.X.toarray(), COUNTS * 2)
    write_triplet(tmp_path / "B" / "s1" / "outs" / "filtered_feature_bc_matrix")
    write_triplet(tmp_path / "B" / "s2" / "outs" / "filtered_feature_bc_matrix")
    assert set(read_file(tmp_path / "B").obs["library"]) == {"s1", "s2"}


def test_libraries_with_other_features_say_who_carries_which(tmp_path):
    write_triplet(tmp_path / "A", prefix="one_")
    write_triplet(tmp_path / "A", prefix="two_", genes=["AT1G01020", "AT5G99999", "AT1G01010"])
    adata = read_file(tmp_path / "A")
    assert list(adata.var_names) == [*GENES, "AT5G99999"]
    assert adata.var["measured_in_one"].tolist() == [True, True, True, False]
    assert adata.var["measured_in_two"].tolist() == [True, True, False, True]
    assert adata.X.toarray().tolist() == [[1, 0, 2, 0], [0, 3, 0, 0], [2, 1, 0, 0], [0, 0, 0, 3]]


@pytest.mark.parametrize("missing", ["features.tsv.gz", "barcodes.tsv.gz"])
def test_a_triplet_without_a_part_is_refused(tmp_path, missing):
    write_triplet(tmp_path / "A")
    (tmp_path / "A" / missing).unlink()
    with pytest.raises(InputError, match=f"no {missing[:-3]} or .tsv.gz beside it"):
        read_file(tmp_path / "A")


def test_folder_refusals(tmp_path):
    with pytest.raises(InputError, match="no matrix.mtx, .h5 or .h5ad file"):
        read_file(tmp_path)
    write_triplet(tmp_path / "A" / "filtered_feature_bc_matrix")
    write_triplet(tmp_path / "A")
    with pytest.raises(InputError, match="are both library ''"):
        read_file(tmp_path / "A")
    write_triplet(tmp_path / "B", packed=False)
    (tmp_path / "B" / "barcodes.tsv").write_text("AAA-1\n")
    with pytest.raises(InputError, match="3 features and 2 cells, but 3 and 1 names"):
        read_file(tmp_path / "B")
    (tmp_path / "B" / "matrix.mtx").write_text("not a matrix\n")
    with pytest.raises(InputError, match="matrix.mtx: cannot be read"):
        read_file(tmp_path / "B")


@pytest.mark.parametrize("name", ["GSE1.rds", "GSE1.rds.gz", "GSE1.RDS"])
def test_an_r_object_is_refused_with_the_command_that_converts_it(tmp_path, name):
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(InputError, match=rf"{name} is an R object.*Rscript .*{name}.*GSE1\.h5ad"):
        read_file(tmp_path / name)


@pytest.mark.parametrize("name", ["a.h5ad", "a.h5", "a.csv"])
def test_a_file_that_is_something_else_is_refused(tmp_path, name):
    (tmp_path / name).write_bytes(b"<html>not found</html>")
    with pytest.raises(InputError, match=f"{name}: cannot be read"):
        read_file(tmp_path / name)


def test_a_10x_file_named_h5ad_and_a_truncated_h5ad_are_refused(tmp_path):
    write_10x_h5(tmp_path / "a.h5ad", kinds=["Gene Expression"] * 3)
    with pytest.raises(InputError, match="a.h5ad: "):
        find_counts(read_file(tmp_path / "a.h5ad"))
    cells().write_h5ad(tmp_path / "b.h5ad")
    content = (tmp_path / "b.h5ad").read_bytes()
    (tmp_path / "b.h5ad").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match="b.h5ad: cannot be read"):
        read_file(tmp_path / "b.h5ad")


@pytest.mark.parametrize(
    ("matrix", "problem"),
    [
        (np.array([[1.0, 2.0]]), None),
        (np.array([[True, False]]), None),
        (sp.csr_matrix((2, 2)), None),
        (None, "is empty"),
        (np.array([["1", "2"]], dtype=object), "type object"),
        (np.array([["1", "2"]]), "not numbers"),
        (np.array([[1.0, np.nan]]), "NaN"),
        (sp.csr_matrix([[0.0, -2.0]]), "negative values (smallest -2)"),
        (sp.csr_matrix([[0.0, 0.7]]), "1 values that are not whole numbers (such as 0.7)"),
    ],
)
def test_what_counts_are(matrix, problem):
    found = count_problem(matrix)
    assert found is None if problem is None else problem in found


@pytest.mark.parametrize("place", ["X", "layers/counts", "layers/raw_counts", "raw"])
def test_counts_are_found_wherever_they_lie(place):
    logs = np.log1p(COUNTS) + 0.1
    adata = cells(COUNTS if place in ("X", "raw") else logs)
    if place == "raw":
        adata.raw = adata.copy()
        adata.X = sp.csr_matrix(logs)
        adata = adata[:, :2].copy()
    elif place != "X":
        adata.layers["scaled"] = sp.csr_matrix(-logs)
        adata.layers[place.removeprefix("layers/")] = sp.csr_matrix(COUNTS)
    found, where = find_counts(adata)
    assert where == place
    assert found.X.toarray().tolist() == COUNTS.tolist() and found.X.dtype == np.int32
    assert list(found.var_names) == GENES
    assert list(found.obs["Condition"]) == ["Normal", "Heat"]


def test_no_counts_says_what_is_wrong_at_each_place():
    adata = cells(COUNTS + 0.5)
    adata.layers["scaled"] = sp.csr_matrix(-1.0 * COUNTS)
    with pytest.raises(InputError, match=r"no counts: X has 6 values .*; layers/scaled has negative"):
        find_counts(adata)
    with pytest.raises(
        InputError, match=r"no 'layers/count' to read counts from: did you mean 'layers/scaled'"
    ):
        find_counts(adata, where="layers/count")
    with pytest.raises(InputError, match="no counts: X has"):
        find_counts(adata, where="X")


@pytest.mark.parametrize("kind", ["text", "compound"])
def test_an_h5ad_with_objects_for_values_is_refused(tmp_path, kind):
    cells().write_h5ad(tmp_path / "a.h5ad")
    with h5py.File(tmp_path / "a.h5ad", "r+") as file:
        del file["X"]
        if kind == "text":
            file["X"] = np.array([[b"1", b"0", b"2"], [b"0", b"3", b"0"]])
        else:
            file["X"] = np.zeros((2, 3), dtype=[("a", "i4"), ("b", "f8")])
    with pytest.raises(InputError, match=r"a.h5ad: cannot be read|no counts: X has values of type"):
        find_counts(read_file(tmp_path / "a.h5ad"))


def test_a_folder_may_hold_h5ad_and_10x_h5_files(tmp_path):
    (tmp_path / "A").mkdir()
    cells().write_h5ad(tmp_path / "A" / "one.h5ad")
    write_10x_h5(tmp_path / "A" / "GSM2_two_filtered_feature_bc_matrix.h5", kinds=["Gene Expression"] * 3)
    adata = read_file(tmp_path / "A")
    assert adata.obs["library"].unique().tolist() == ["two", "one"]
    assert np.array_equal(adata.X.toarray(), np.vstack([COUNTS, COUNTS]))
