"""Preprocessing: scanpy's numbers, the library's own totals, whole files, and real cells."""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from scarafm_utils.errors import InputError
from scarafm_utils.manifest import Dataset, Label, ObsColumns, load_manifest
from scarafm_utils.preprocessing import (
    add_labels,
    normalize,
    preprocess_dataset,
    preprocess_tissue,
    sample_table,
)
from scarafm_utils.profiles import load_profile
from scarafm_utils.sources import load_raw
from scarafm_utils.workspace import Workspace

PROJECT = Path(__file__).resolve().parents[1]
REAL = Path(__file__).resolve().parents[2] / "shared" / "data"
needs_real = pytest.mark.skipif(not REAL.is_dir(), reason="the folder of real cells is not here")


def small(matrix=((1, 3, 0), (0, 0, 0), (2, 2, 4)), **obs) -> ad.AnnData:
    table = pd.DataFrame(obs, index=["a", "b", "c"])
    return ad.AnnData(
        X=sp.csr_matrix(np.array(matrix)), obs=table, var=pd.DataFrame(index=["G1", "G2", "G3"])
    )


def downstream(**kwargs) -> Dataset:
    label = Label(column="condition", classes={"control": ["Normal", "Mock"], "stress": ["Heat"]})
    values = {"id": "D1", "tissue": "root", "role": "downstream", "n_cells": 3, "labels": {"stress": label}}
    return Dataset(**{**values, "obs": ObsColumns(condition="condition"), **kwargs})


# ---- normalisation ----------------------------------------------------------------------------


def test_normalisation_by_hand():
    result = normalize(small(), target_sum=8)
    expected = np.log1p([[2, 6, 0], [0, 0, 0], [2, 2, 4]])
    np.testing.assert_allclose(result.X.toarray(), expected, rtol=1e-6)
    assert result.X.dtype == np.float32 and sp.isspmatrix_csr(result.X)
    assert result.obs["total_counts"].tolist() == [4, 0, 8]
    assert result.obs["n_genes"].tolist() == [2, 0, 3]
    assert result.uns["normalization"]["empty_cells"] == 1


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**16), dense=st.booleans(), target_sum=st.sampled_from([1.0, 1e4, 1e6]))
def test_normalisation_is_scanpys(seed, dense, target_sum):
    matrix = np.random.default_rng(seed).negative_binomial(1, 0.3, size=(8, 12)).astype(np.float32)
    adata = ad.AnnData(X=matrix if dense else sp.csr_matrix(matrix))
    reference = adata.copy()
    sc.pp.normalize_total(reference, target_sum=target_sum)
    sc.pp.log1p(reference)
    expected = reference.X if dense else reference.X.toarray()
    np.testing.assert_allclose(normalize(adata, target_sum=target_sum).X.toarray(), expected, rtol=2e-5)
    assert np.array_equal(adata.X if dense else adata.X.toarray(), matrix)


def test_the_librarys_own_total_divides_where_genes_were_dropped():
    result = normalize(small(total=[8, 2, 16]), target_sum=16, total_key="total")
    np.testing.assert_allclose(result.X.toarray(), np.log1p([[2, 6, 0], [0, 0, 0], [2, 2, 4]]), rtol=1e-6)
    assert result.obs["total_counts"].tolist() == [8, 2, 16]


@pytest.mark.parametrize(
    ("adata", "key", "message"),
    [
        (small([[0.5, 1, 1]] * 3), None, "not whole numbers"),
        (small([[-1, 1, 1]] * 3), None, "negative values"),
        (small([[np.nan, 1, 1]] * 3), None, "NaN"),
        (small([[np.inf, 1, 1]] * 3), None, "infinite"),
        (small(), "nCount_RNA", r"no column 'nCount_RNA' \(found: none\)"),
        (small(total=[3, 0, 8]), "total", r"no total in 1 of 3 cells \(a: 3, its genes add up to 4\)"),
        (small(total=[np.nan, 0, 8]), "total", "no total in 1 of 3"),
        (small(total=[np.inf, 0, 8]), "total", "no total in 1 of 3"),
    ],
)
def test_what_is_no_count_is_refused(adata, key, message):
    with pytest.raises(InputError, match=message):
        normalize(adata, total_key=key)


def test_nothing_is_normalised_twice():
    with pytest.raises(InputError, match="not normalised twice"):
        normalize(normalize(small()))


# ---- labels and reports -----------------------------------------------------------------------


def test_labels_keep_the_manifests_order_and_leave_other_words_out():
    result = add_labels(small(condition=["Heat", "Mock", "Cold"]), downstream())
    assert result.obs["label"].tolist()[:2] == ["stress", "control"]
    assert pd.isna(result.obs["label"].iloc[2])
    assert list(result.obs["label_stress"].cat.categories) == ["control", "stress"]


def test_a_class_without_cells_names_the_words_found():
    with pytest.raises(
        InputError, match=r"no cell of class 'stress' .*'Heat'; found in condition: 'Cold', 'Mock'"
    ):
        add_labels(small(condition=["Cold", "Mock", "Mock"]), downstream())


def test_empty_cells_are_dropped_and_counted():
    adata = small(condition=["Heat", "Mock", "Mock"])
    adata.var_names = ["AT1G00001", "AT1G00002", "ATCG00001"]
    result = preprocess_dataset(adata, downstream())
    assert result.obs_names.tolist() == ["a", "c"]
    assert result.uns["cells"] == {"read": 3, "dropped_empty": 1, "kept": 2}
    assert result.obs["total_counts"].tolist() == [4, 4]
    adata.X = sp.csr_matrix((3, 3), dtype=int)
    with pytest.raises(InputError, match="D1: no cell has a count in a nuclear locus"):
        preprocess_dataset(adata, downstream())


def test_symbols_become_loci_by_the_manifests_table():
    adata = small([[1, 3, 0], [0, 1, 0], [2, 2, 4]], condition=["Normal", "Heat", "Heat"])
    adata.var_names = ["PLT1", "AT1G01010", "AT1G01020"]
    named = preprocess_dataset(adata, downstream().model_copy(update={"aliases": {"plt1": "AT3G20840"}}))
    assert list(named.var_names) == ["AT3G20840", "AT1G01010", "AT1G01020"]
    assert named.uns["genes"]["by_alias"] == 1
    assert preprocess_dataset(adata, downstream()).uns["genes"]["dropped_unknown"] == 1


def test_values_normalised_in_the_source_are_not_normalised_again():
    adata = small(np.log1p([[1.5, 3, 0], [1, 0, 0], [2, 2, 4]]), condition=["Heat", "Mock", "Mock"])
    adata.var_names, adata.uns["log1p"] = ["AT1G00001", "AT1G00002", "AT1G00003"], {}
    result = preprocess_dataset(adata, downstream())
    assert np.array_equal(result.X.toarray(), adata.X.toarray())
    adata.var_names = ["AT1G00001", "AT1G00001.1", "AT1G00003"]
    with pytest.raises(InputError, match="logarithms cannot be summed"):
        preprocess_dataset(adata, downstream())


# ---- a tissue ---------------------------------------------------------------------------------


def tiny_workspace(folder: Path, *, ids=("ERP132245", "SRP292306"), **preprocessing) -> Workspace:
    profile = load_profile(PROJECT / "profiles" / "demo.yaml")
    grid = profile.tissues["leaf"].model_copy(
        update={"tasks": [f"random:{ids[0]}"], "pretraining": list(ids[1:])}
    )
    settings = profile.preprocessing.model_copy(
        update={"n_top_genes": 30, "n_vocabulary": 25, **preprocessing}
    )
    data = profile.data.model_copy(
        update={
            "simulated_genes": 60,
            "simulated_cells": profile.data.simulated_cells.model_copy(
                update={"downstream": 60, "pretraining": 40}
            ),
        }
    )
    changed = profile.model_copy(update={"tissues": {"leaf": grid}, "preprocessing": settings, "data": data})
    return Workspace(changed, load_manifest(PROJECT / "data_manifest.yaml"), folder)


def test_a_tissue_becomes_processed_files_of_one_vocabulary(tmp_path):
    workspace = tiny_workspace(tmp_path)
    report = preprocess_tissue(workspace, "leaf")
    assert report["dataset"].tolist() == ["ERP132245", "SRP292306"]
    vocabulary = pd.read_csv(workspace.vocabulary_path("leaf"))
    assert list(vocabulary.columns) == ["gene", "n_datasets", "mean_dispersion"]
    assert len(vocabulary) == 25
    for name in report["dataset"]:
        adata = workspace.read_processed("leaf", name)
        assert list(adata.var_names) == vocabulary["gene"].tolist()
        assert adata.X.dtype == np.float32 and sp.issparse(adata.X)
        assert adata.varm["measured"].all()
        assert adata.obs_names.str.startswith(f"{name}:").all()
        assert {"sample", "total_counts", "n_genes"} <= set(adata.obs)
        assert adata.uns["provenance"]["source"] == "simulated"
    kept = (
        report["genes_read"]
        - report["merged"]
        - report.filter(like="dropped_").drop(columns="cells_dropped_empty", errors="ignore").sum(axis=1)
    )
    assert kept.tolist() == report["genes_kept"].tolist()
    written = sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*") if p.is_file())
    assert written == [
        "processed/leaf/ERP132245.h5ad",
        "processed/leaf/SRP292306.h5ad",
        "tables/hvg-leaf.csv",
        "tables/preprocessing-leaf.csv",
        "vocabulary/leaf.csv",
    ]


def test_values_are_those_of_the_whole_annotation_not_of_the_vocabulary(tmp_path):
    workspace = tiny_workspace(tmp_path)
    preprocess_tissue(workspace, "leaf")
    adata = workspace.read_processed("leaf", "ERP132245")
    raw = load_raw(
        workspace.manifest["ERP132245"], source="simulated", data_dir=tmp_path, n_cells=60, n_genes=60,
        seed=workspace.profile.seed,
    )  # fmt: skip
    whole = preprocess_dataset(raw, workspace.manifest["ERP132245"])
    assert np.array_equal(adata.X.toarray(), whole[adata.obs_names, adata.var_names].X.toarray())
    np.testing.assert_allclose(np.expm1(whole.X.toarray()).sum(axis=1), 1e4, rtol=1e-4)


def test_same_cells_same_bytes_and_no_path_of_this_machine(tmp_path):
    for name in ("one", "two"):
        preprocess_tissue(tiny_workspace(tmp_path / name), "leaf")
    files = sorted(p.relative_to(tmp_path / "one") for p in (tmp_path / "one").rglob("*") if p.is_file())
    for file in files:
        content = (tmp_path / "one" / file).read_bytes()
        assert content == (tmp_path / "two" / file).read_bytes(), file
        assert str(tmp_path).encode() not in content


def test_a_run_that_fails_leaves_what_was_there_and_nothing_else(tmp_path, monkeypatch):
    workspace = tiny_workspace(tmp_path)
    preprocess_tissue(workspace, "leaf")
    before = workspace.processed_path("leaf", "ERP132245").read_bytes()
    import scarafm_utils.preprocessing as module

    def refuse(adata, **_):
        raise InputError("broken")

    monkeypatch.setattr(module, "hvg_table", refuse)
    with pytest.raises(InputError, match="broken"):
        preprocess_tissue(workspace, "leaf")
    assert workspace.processed_path("leaf", "ERP132245").read_bytes() == before
    assert not list(tmp_path.rglob(".*"))


def test_a_tissue_that_the_profile_does_not_use_is_refused(tmp_path):
    with pytest.raises(InputError, match="uses no data set of tissue 'root'"):
        preprocess_tissue(tiny_workspace(tmp_path), "root")


def local_workspace(folder: Path, genes: dict[str, list[str]], **preprocessing) -> Workspace:
    """Two local pretraining sets with the genes given."""
    (folder / "data").mkdir(parents=True)
    manifest = {}
    for seed, (name, names) in enumerate(genes.items()):
        counts = np.random.default_rng(seed).poisson(2.0, size=(30, len(names)))
        ad.AnnData(X=sp.csr_matrix(counts), var=pd.DataFrame(index=names)).write_h5ad(
            folder / "data" / f"{name}.h5ad"
        )
        manifest[name] = Dataset(id=name, tissue="leaf", role="pretraining", n_cells=30)
    base = tiny_workspace(folder).profile
    grid = base.tissues["leaf"].model_copy(update={"tasks": [], "pretraining": "all"})
    settings = base.preprocessing.model_copy(update={"n_vocabulary": None, **preprocessing})
    profile = base.model_copy(
        update={"source": "local", "tissues": {"leaf": grid}, "preprocessing": settings}
    )
    return Workspace(profile, manifest, folder)


LOCI = [f"AT1G{i:05d}" for i in range(40)]


def test_the_intersection_holds_genes_of_all_and_the_union_of_any(tmp_path):
    genes = {"A": LOCI[:30], "B": LOCI[10:]}
    both = local_workspace(tmp_path / "both", genes, feature_set="intersection")
    preprocess_tissue(both, "leaf")
    assert sorted(pd.read_csv(both.vocabulary_path("leaf"))["gene"]) == LOCI[10:30]
    assert both.read_processed("leaf", "A").varm["measured"].all()
    either = local_workspace(tmp_path / "either", genes, feature_set="union")
    report = preprocess_tissue(either, "leaf")
    assert sorted(pd.read_csv(either.vocabulary_path("leaf"))["gene"]) == LOCI
    adata = either.read_processed("leaf", "A")
    assert set(adata.var_names[adata.varm["measured"][:, 0]]) == set(LOCI[:30])
    assert report["n_vocabulary"].tolist() == [30, 30]


def test_data_sets_without_a_common_gene_have_no_intersection(tmp_path):
    workspace = local_workspace(tmp_path, {"A": LOCI[:20], "B": LOCI[20:]}, feature_set="intersection")
    with pytest.raises(InputError, match="no gene is measured in every sample of A, B.*feature_set: union"):
        preprocess_tissue(workspace, "leaf")


# ---- real cells -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real() -> ad.AnnData:
    """SRP169576, processed: six samples that carry different genes."""
    if not REAL.is_dir():
        pytest.skip("the folder of real cells is not here")
    dataset = real_dataset()
    return preprocess_dataset(load_raw(dataset, source="local", data_dir=REAL), dataset)


def real_dataset() -> Dataset:
    label = Label(column="cell_type", classes={"g1": ["G1/G0 phase"], "s": ["S phase"]})
    obs = ObsColumns(sample="Orig.ident", cell_type="Celltype", total_counts="nCount_RNA")
    return downstream(
        id="SRP169576", n_cells=15561, obs=obs, labels={"s_phase": label}, measured="measured_in_"
    )


@needs_real
def test_real_samples_carry_different_genes(real):
    measured = real.varm["measured"]
    assert real.n_obs == 15561 and len(real.uns["samples"]) == 6
    assert measured.all(axis=1).sum() == 370  # nuclear loci in all six samples
    table = sample_table(real)
    assert table["n_cells"].sum() == 15561
    assert table["genes_measured"].tolist() == measured.sum(axis=0).tolist()
    for j, sample in enumerate(real.uns["samples"]):
        cells = real.X[(real.obs["sample"] == sample).to_numpy()]
        assert cells[:, np.flatnonzero(~measured[:, j])].nnz == 0


@needs_real
def test_real_cells_are_divided_by_their_own_total(real):
    source = ad.read_h5ad(REAL / "SRP169576.h5ad", backed="r")
    assert real.obs["total_counts"].tolist() == source.obs["nCount_RNA"].tolist()
    assert np.expm1(real.X).sum(axis=1).max() < 1e4  # a quarter of the library is in the file


@needs_real
def test_real_root_vocabulary_is_the_union(tmp_path):
    profile = load_profile(PROJECT / "profiles" / "real_root.yaml")
    caps = profile.data.max_cells.model_copy(update={"downstream": 3000, "pretraining": 200})
    profile = profile.model_copy(update={"data": profile.data.model_copy(update={"max_cells": caps})})
    workspace = Workspace(profile, load_manifest(PROJECT / profile.manifest), tmp_path)
    workspace.folder.mkdir(exist_ok=True)
    workspace.data_dir.symlink_to(REAL)
    report = preprocess_tissue(workspace, "root").set_index("dataset")
    assert report.loc["SRP169576", "genes_in_every_sample"] == 370
    assert report.loc["SRP169576", "cells_kept"] == 3000
    vocabulary = pd.read_csv(workspace.vocabulary_path("root"))
    assert vocabulary["gene"].is_unique
    adata = workspace.read_processed("root", "SRP169576")
    absent = ~adata.varm["measured"].any(axis=1)
    assert absent.sum() == len(vocabulary) - report.loc["SRP169576", "n_vocabulary"]
    assert adata.X[:, np.flatnonzero(absent)].nnz == 0


# ---- the authors' release ---------------------------------------------------------------------


def test_the_releases_gene_list_is_taken_whole_and_in_its_order(tmp_path, monkeypatch):
    import scarafm_utils.preprocessing as module

    listed = ["AT1G00003", "at1g00001.1", "AT5G99999"]
    pd.DataFrame({"gene_name": listed}).to_csv(tmp_path / "consensus_hvg.csv")
    asked = []

    def fetch_release(patterns, **where):
        asked.append((patterns, where["repo"]))
        return [tmp_path / "consensus_hvg.csv"]

    def read(dataset, **_):
        adata = small(np.log1p([[1.5, 3, 0], [1, 0, 0], [2, 2, 4]]), condition=["Infected", "Mock", "Mock"])
        adata.var_names, adata.uns["log1p"] = ["AT1G00001", "AT1G00002", "AT1G00003"], {}
        adata.obs["sample"], adata.obs["condition"] = "S1", ["Normal", "Mild drought", "Normal"]
        adata.uns["provenance"] = {"source": "release", "cells_in_source": 3}
        return [adata]

    monkeypatch.setattr(module, "fetch_release", fetch_release)
    monkeypatch.setattr(module, "iter_raw", read)
    profile = load_profile(PROJECT / "profiles" / "release.yaml")
    grid = profile.tissues["leaf"].model_copy(update={"tasks": ["random:ERP132245"]})
    profile = profile.model_copy(update={"tissues": {"leaf": grid}})
    workspace = Workspace(profile, load_manifest(PROJECT / "data_manifest.yaml"), tmp_path / "out")
    preprocess_tissue(workspace, "leaf")
    assert asked == [(["data/scAra_Leaf/*consensus_hvg.csv"], profile.release.repo)]
    adata = workspace.read_processed("leaf", "ERP132245")
    assert list(adata.var_names) == ["AT1G00003", "AT1G00001", "AT5G99999"]
    assert adata.varm["measured"][:, 0].tolist() == [True, True, False]
    np.testing.assert_allclose(adata.X.toarray()[2], np.log1p([4, 2, 0]), rtol=1e-6)
    assert pd.read_csv(workspace.vocabulary_path("leaf"))["gene"].tolist() == list(adata.var_names)


# ---- bad files leave nothing ------------------------------------------------------------------


def bad(change) -> ad.AnnData:
    adata = small(Condition=["Heat", "Normal", "Normal"])
    adata.X = adata.X.astype(np.float64)
    adata.var_names = ["AT1G00001", "AT1G00002", "AT1G00003"]
    return change(adata)


def setx(value):
    def change(adata):
        adata.X[0, 1] = value
        return adata

    return change


def rename(**names):
    def change(adata):
        for key, value in names.items():
            setattr(adata, key, value)
        return adata

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (setx(np.nan), "D1: no counts: X has values that are NaN"),
        (setx(-3), "D1: no counts: X has negative values"),
        (setx(0.25), "D1: no counts: X has 1 values that are not whole numbers"),
        (rename(obs_names=["a", "b", "b"]), "D1: 1 barcodes stand twice"),
        (rename(var_names=["x", "y", "z"]), "D1: 0 of 3 feature names are Arabidopsis loci .*'x', 'y', 'z'"),
        (rename(var_names=["ATCG00001", "ATMG00002", "ATCG00003"]), "D1: no nuclear locus"),
        (rename(X=sp.csr_matrix((3, 3))), "D1: no cell has a count"),
        (lambda adata: adata[:0].copy(), "D1: the file has 0 cells"),
    ],
)
def test_a_bad_file_is_one_line_and_leaves_nothing(tmp_path, change, message):
    data = tmp_path / "out" / "data"
    data.mkdir(parents=True)
    bad(change).write_h5ad(data / "D1.h5ad")
    base = tiny_workspace(tmp_path / "out").profile
    grid = base.tissues["leaf"].model_copy(update={"tasks": ["random:D1"], "pretraining": []})
    profile = base.model_copy(update={"source": "local", "tissues": {"leaf": grid}})
    described = downstream(tissue="leaf", obs=ObsColumns(condition="Condition"))
    with pytest.raises(InputError, match=f"^{message}") as error:
        preprocess_tissue(Workspace(profile, {"D1": described}, tmp_path / "out"), "leaf")
    assert "\n" not in str(error.value)
    assert [p.name for p in (tmp_path / "out").rglob("*") if p.is_file()] == ["D1.h5ad"]
