"""Sources: whatever a file looks like, its cells come out under the same names, or not at all."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
from pathlib import Path

import anndata as ad
import loopback
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from test_readers import write_triplet

from scarafm_utils.errors import InputError
from scarafm_utils.files import sha256_file
from scarafm_utils.manifest import Dataset, Label, ObsColumns, SourceSpec, load_manifest
from scarafm_utils.profiles import ReleaseFiles
from scarafm_utils.sources import fetch, load_raw
from scarafm_utils.standard import cap_per_sample, standardize

PROJECT = Path(__file__).resolve().parents[1]
REAL = Path(__file__).resolve().parents[2] / "shared" / "data"
GENES = ["AT1G01010", "AT1G01020", "AT1G01030"]
STRESS = Label(column="condition", classes={"control": ["Normal"], "stress": ["Heat"]})


def dataset(**kwargs) -> Dataset:
    values = {
        "id": "D1",
        "tissue": "leaf",
        "role": "downstream",
        "n_cells": 4,
        "labels": {"stress": STRESS},
        "obs": ObsColumns(condition="Condition", sample="Orig.ident"),
    }
    return Dataset(**{**values, **kwargs})


def cells(**obs) -> ad.AnnData:
    table = {"Condition": ["Normal", "Normal", "Heat", "Heat"], "Orig.ident": ["S1", "S1", "S2", "S2"], **obs}
    names = ["S1@@_AAA", "S1@@_CCC", "S2@@_AAA", "S2@@_CCC"]
    frame = pd.DataFrame({k: v for k, v in table.items() if v is not None}, index=names)
    matrix = sp.csr_matrix(np.arange(12, dtype=np.float32).reshape(4, 3))
    return ad.AnnData(X=matrix, obs=frame, var=pd.DataFrame(index=GENES))


def read(folder: Path, adata: ad.AnnData, described: Dataset | None = None, **kwargs) -> ad.AnnData:
    adata.write_h5ad(folder / "D1.h5ad")
    return load_raw(described or dataset(), source="local", data_dir=folder, **kwargs)


# ---- what comes out ---------------------------------------------------------------------------


def test_a_local_file_comes_out_under_standard_names(tmp_path):
    adata = read(tmp_path, cells(Extra=[1, 2, 3, 4]))
    assert list(adata.obs_names) == ["D1:S1:AAA", "D1:S1:CCC", "D1:S2:AAA", "D1:S2:CCC"]
    assert sorted(adata.obs) == ["condition", "sample"]
    assert adata.obs["condition"].tolist() == ["Normal", "Normal", "Heat", "Heat"]
    assert sp.isspmatrix_csr(adata.X) and adata.X.dtype == np.int32
    assert adata.X.toarray().tolist() == np.arange(12).reshape(4, 3).tolist()
    assert adata.varm["measured"].shape == (3, 2) and adata.varm["measured"].all()
    assert adata.uns["samples"] == ["S1", "S2"]
    assert adata.uns["provenance"] == {
        "counts_in": "X",
        "file": "D1.h5ad",
        "sha256": sha256_file(tmp_path / "D1.h5ad"),
        "dataset": "D1",
        "source": "local",
        "cells_in_source": 4,
    }


def test_reading_what_was_read_changes_no_name(tmp_path):
    once = read(tmp_path, cells())
    described = dataset(obs=ObsColumns(condition="condition", sample="sample"))
    assert list(read(tmp_path, once, described).obs_names) == list(once.obs_names)


def test_words_keep_their_order_and_whole_numbers_lose_their_point():
    described = dataset(
        n_replicates=2, obs=ObsColumns(condition="Condition", replicate="Repeat", sample="Orig.ident")
    )
    result = standardize(cells(Repeat=[2.0, 2.0, 1.0, np.nan]), described)
    assert list(result.obs["replicate"].cat.categories) == ["2", "1"]
    assert result.obs["replicate"].isna().tolist() == [False, False, False, True]
    assert list(result.obs["condition"].cat.categories) == ["Normal", "Heat"]


def test_without_a_sample_column_the_library_is_condition_by_replicate():
    described = dataset(n_replicates=2, obs=ObsColumns(condition="Condition", replicate="Repeat"))
    result = standardize(cells(Repeat=["r:1", "r:2", "r:1", "r:2"]), described)
    assert result.uns["samples"] == ["Normal-r_1", "Normal-r_2", "Heat-r_1", "Heat-r_2"]
    alone = dataset(role="pretraining", labels={}, obs=ObsColumns())
    assert standardize(cells(), alone).uns["samples"] == ["D1"]


def test_total_counts_are_kept_as_numbers():
    described = dataset(obs=ObsColumns(condition="Condition", sample="Orig.ident", total_counts="nCount_RNA"))
    assert standardize(cells(nCount_RNA=[5, 6, 7, 8]), described).obs["total_counts"].tolist() == [5, 6, 7, 8]
    with pytest.raises(InputError, match=r"obs\['nCount_RNA'\] has values that are no counts"):
        standardize(cells(nCount_RNA=["5", "many", "7", "8"]), described)


def test_the_manifest_can_say_per_sample_what_the_file_does_not(tmp_path):
    samples = {"S1": {"condition": "Normal", "replicate": "1"}, "S2": {"condition": "Heat", "replicate": "1"}}
    spec = SourceSpec(samples=samples, obs=ObsColumns(condition="x", sample="Orig.ident"))
    adata = read(tmp_path, cells(Condition=None), dataset(sources={"local": spec}))
    assert adata.obs["condition"].tolist() == ["Normal", "Normal", "Heat", "Heat"]
    assert adata.obs["replicate"].tolist() == ["1"] * 4
    short = spec.model_copy(update={"samples": {"S1": samples["S1"]}})
    with pytest.raises(InputError, match="sample 'S2' is not in the manifest, Allowed: S1"):
        read(tmp_path, cells(Condition=None), dataset(sources={"local": short}))


# ---- a gene not measured is not a zero --------------------------------------------------------


def measured_cells() -> ad.AnnData:
    adata = cells()
    adata.X = sp.csr_matrix([[1, 0, 0], [2, 1, 0], [0, 3, 1], [0, 0, 1]])
    adata.var["in_S1"], adata.var["in_S2"] = [True, True, False], [False, True, True]
    return adata


def test_var_columns_say_which_sample_carries_which_gene():
    result = standardize(measured_cells(), dataset(measured="in_"))
    assert result.varm["measured"].tolist() == [[True, False], [True, True], [False, True]]
    assert not list(result.var)


def test_measured_refusals():
    lacking = measured_cells()
    del lacking.var["in_S2"]
    with pytest.raises(InputError, match="no column 'in_S2'; every sample needs its own"):
        standardize(lacking, dataset(measured="in_"))
    wrong = measured_cells()
    wrong.X = sp.csr_matrix(np.ones((4, 3)))
    with pytest.raises(InputError, match="sample 'S1' has 2 counts of genes it is said not to carry"):
        standardize(wrong, dataset(measured="in_"))


# ---- refusals ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("adata", "message"),
    [
        (cells(Condition=None), r"no column 'Condition' \(found: Orig.ident\)\. Set obs.condition"),
        (cells(**{"Orig.ident": ["S1", "S1", None, "S2"]}), "1 cells have no sample"),
        (cells(**{"Orig.ident": ["S1", "S1", "S1", "S1"]})[[0, 0, 1]], "1 barcodes stand twice .*D1:S1:AAA"),
        (cells()[:0], "0 cells and 3 features"),
        (cells()[:, :0], "4 cells and 0 features"),
    ],
)
def test_bad_files_are_refused_in_one_line_that_names_the_data_set(tmp_path, adata, message):
    adata = adata.copy()
    with pytest.raises(InputError, match=f"^D1: .*{message}") as error:
        read(tmp_path, adata)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("value", "message"),
    [(0.5, "not whole numbers"), (-1.0, "negative"), (np.nan, "NaN"), (np.inf, "infinite")],
)
def test_values_that_are_no_counts_are_refused(tmp_path, value, message):
    adata = cells()
    adata.X[0, 1] = value
    with pytest.raises(InputError, match=f"^D1: no counts: X .*{message}"):
        read(tmp_path, adata)


def test_the_same_barcode_in_two_samples_is_two_cells(tmp_path):
    adata = cells()
    adata.obs_names = ["AAA", "CCC", "AAA", "CCC"]
    assert read(tmp_path, adata).obs_names.is_unique


def test_normalised_values_are_taken_only_where_the_manifest_says_so(tmp_path):
    adata = cells()
    adata.X = sp.csr_matrix(np.log1p(adata.X.toarray()))
    with pytest.raises(InputError, match="normalised: true"):
        read(tmp_path, adata)
    result = read(tmp_path, adata, dataset(normalised=True))
    assert "log1p" in result.uns and result.X.dtype == np.float32
    with pytest.raises(InputError, match="says normalised, but X holds whole numbers"):
        read(tmp_path, cells(), dataset(normalised=True))
    adata.X = adata.X * 100
    with pytest.raises(InputError, match="ends at 9.21"):
        read(tmp_path, adata, dataset(normalised=True))
    adata.X = adata.X * -1
    with pytest.raises(InputError, match="negative"):
        read(tmp_path, adata, dataset(normalised=True))


def test_columns_that_nothing_reads_may_be_missing_where_nobody_saw_the_file():
    named = ObsColumns(condition="Condition", sample="Orig.ident", cell_type="Celltype")
    with pytest.raises(InputError, match="no column 'Celltype'"):
        standardize(cells(), dataset(obs=named))
    assert "cell_type" not in standardize(cells(), dataset(obs=named, obs_known=False)).obs
    pretraining = dataset(role="pretraining", labels={}, obs=named)
    assert "condition" not in standardize(cells(Condition=None), pretraining).obs
    with pytest.raises(InputError, match="no column 'nCount_RNA'"):
        standardize(
            cells(), dataset(role="pretraining", labels={}, obs=ObsColumns(total_counts="nCount_RNA"))
        )


# ---- where files are --------------------------------------------------------------------------


def test_a_missing_local_file_names_the_names_tried(tmp_path):
    with pytest.raises(
        InputError, match=r"D1: not in the data folder '.*' \(tried D1.h5ad, D1.h5ad.gz, D1.h5, D1\)"
    ):
        fetch(dataset(), source="local", data_dir=tmp_path)
    with pytest.raises(InputError, match="D1: no data folder 'nowhere'"):
        fetch(dataset(), source="local", data_dir=tmp_path / "nowhere")


def test_two_candidates_are_refused_and_an_r_object_is_named(tmp_path):
    (tmp_path / "D1.rds").write_bytes(b"")
    with pytest.raises(InputError, match="D1: D1.rds is an R object.*Rscript"):
        fetch(dataset(), source="local", data_dir=tmp_path)
    (tmp_path / "D1.h5ad").write_bytes(b"")
    (tmp_path / "D1.h5").write_bytes(b"")
    with pytest.raises(InputError, match="D1.h5ad and D1.h5 are both in the data folder"):
        fetch(dataset(), source="local", data_dir=tmp_path)


def test_a_file_may_have_scplantdbs_name_or_the_manifests(tmp_path):
    (tmp_path / "D1_2.h5ad").write_bytes(b"")
    assert fetch(dataset(scplantdb_id="D1_2"), source="local", data_dir=tmp_path).name == "D1_2.h5ad"
    (tmp_path / "mine.h5").write_bytes(b"")
    spec = {"local": SourceSpec(path="mine.h5")}
    assert fetch(dataset(sources=spec), source="local", data_dir=tmp_path).name == "mine.h5"


def test_unknown_and_simulated_sources_cannot_be_fetched(tmp_path):
    with pytest.raises(InputError, match="source 'locale' is not known: did you mean 'local'"):
        fetch(dataset(), source="locale", data_dir=tmp_path)
    with pytest.raises(InputError, match="no file to fetch"):
        fetch(dataset(), source="simulated", data_dir=tmp_path)


# ---- from the network -------------------------------------------------------------------------


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = loopback.Server()
    yield server
    server.close()


def public(server, name: str, **kwargs) -> Dataset:
    spec = SourceSpec(url=server.url(f"/{name}"), **kwargs)
    return dataset(
        sources={"geo" if "parts" in kwargs or name.endswith((".tar", ".rds")) else "scplantdb": spec}
    )


def packed(adata: ad.AnnData, folder: Path) -> bytes:
    adata.write_h5ad(folder / "made.h5ad")
    return gzip.compress((folder / "made.h5ad").read_bytes())


def geo_tar(folder: Path, libraries: dict[str, np.ndarray]) -> bytes:
    for name, counts in libraries.items():
        kinds = ["Gene Expression", "Gene Expression", "Peaks"]
        write_triplet(folder / "raw", prefix=f"GSM1_{name}_", counts=counts, kinds=kinds)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for path in sorted((folder / "raw").iterdir()):
            tar.add(path, arcname=path.name)
    return buffer.getvalue()


def test_a_packed_h5ad_of_scplantdb_is_fetched_and_read(server, tmp_path):
    server.files["/D1.h5ad.gz"] = packed(cells(), tmp_path)
    described, data = public(server, "D1.h5ad.gz", bytes=len(server.files["/D1.h5ad.gz"])), tmp_path / "data"
    adata = load_raw(described, source="public", data_dir=data)
    assert adata.X.toarray().tolist() == np.arange(12).reshape(4, 3).tolist()
    provenance = adata.uns["provenance"]
    assert provenance["url"] == server.url("/D1.h5ad.gz")
    assert provenance["sha256"] == sha256_file(data / "D1.h5ad.gz")
    load_raw(described, source="public", data_dir=data)
    assert len(server.log) == 1
    assert sorted(p.name for p in data.iterdir()) == [".downloads", "D1.h5ad.gz", "downloads.lock.json"]


def test_a_geo_archive_is_fetched_unpacked_and_read(server, tmp_path):
    counts = np.array([[1, 0, 2], [0, 3, 0]])
    server.files["/D1_RAW.tar"] = geo_tar(tmp_path, {"Control1": counts, "Case1": counts * 2})
    samples = {
        "Control1": {"condition": "Normal", "replicate": "1"},
        "Case1": {"condition": "Heat", "replicate": "1"},
    }
    described, data = public(server, "D1_RAW.tar", format="raw_tar", samples=samples), tmp_path / "data"
    adata = load_raw(described, source="public", data_dir=data)
    assert adata.uns["samples"] == ["Case1", "Control1"]
    assert adata.obs["condition"].tolist() == ["Heat", "Heat", "Normal", "Normal"]
    assert adata.X.toarray().tolist() == [[2, 0], [0, 6], [1, 0], [0, 3]]
    assert adata.obs_names[0] == "D1:Case1:AAA-1"
    before = (data / "D1" / ".from.json").stat().st_mtime_ns
    again = load_raw(described, source="public", data_dir=data)
    assert again.uns["provenance"]["sha256"] == adata.uns["provenance"]["sha256"]
    assert (data / "D1" / ".from.json").stat().st_mtime_ns == before


def test_a_dangerous_archive_names_the_data_set(server, tmp_path):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.addfile(tarfile.TarInfo("../../matrix.mtx"))
    server.files["/D1_RAW.tar"] = buffer.getvalue()
    with pytest.raises(InputError, match="^D1: D1_RAW.tar: member '../../matrix.mtx' would land outside"):
        load_raw(public(server, "D1_RAW.tar"), source="public", data_dir=tmp_path)


def test_a_download_that_fails_names_the_data_set(server, tmp_path):
    with pytest.raises(InputError, match="^D1: the server answers 404"):
        fetch(public(server, "D1.h5ad.gz"), source="public", data_dir=tmp_path)
    server.files["/D1.h5ad.gz"] = gzip.compress(os.urandom(5000))[:-100]
    with pytest.raises(InputError, match="^D1: D1.h5ad.gz: not a whole gzip file"):
        load_raw(public(server, "D1.h5ad.gz"), source="public", data_dir=tmp_path)


def test_an_r_object_is_not_downloaded_but_its_conversion_is_taken(server, tmp_path):
    described = public(server, "D1_seurat.rds", format="rds")
    with pytest.raises(
        InputError, match=r"^D1: only R objects.*D1_seurat.rds.*Rscript .*\"D1.h5ad\""
    ) as error:
        fetch(described, source="public", data_dir=tmp_path)
    assert not server.log and "\n" not in str(error.value)
    cells().write_h5ad(tmp_path / "D1.h5ad")
    assert load_raw(described, source="public", data_dir=tmp_path).n_obs == 4


def test_an_r_object_in_parts_becomes_a_folder_of_libraries(server, tmp_path):
    described = public(server, "D1_a.rds.gz", format="rds", parts=[server.url("/D1_b.rds.gz")])
    with pytest.raises(InputError, match=r"\"D1/D1_a.h5ad\".* ; Rscript .*\"D1/D1_b.h5ad\""):
        fetch(described, source="public", data_dir=tmp_path)
    (tmp_path / "D1").mkdir()
    for part in "ab":
        cells().write_h5ad(tmp_path / "D1" / f"D1_{part}.h5ad")
    free = described.model_copy(update={"obs": ObsColumns(condition="Condition")})
    assert load_raw(free, source="public", data_dir=tmp_path).uns["samples"] == ["D1_a", "D1_b"]


def test_what_must_be_fetched_by_hand_says_so(tmp_path):
    spec = SourceSpec(format="manual", note="Get it from the portal.")
    with pytest.raises(InputError, match="^D1: this has no address .* Get it from the portal"):
        fetch(dataset(sources={"portal": spec}), source="public", data_dir=tmp_path)
    with pytest.raises(InputError, match="D1: no source 'release' in the manifest"):
        fetch(dataset(), source="release", data_dir=tmp_path)


def test_the_release_is_asked_for_one_file_of_one_revision(tmp_path, monkeypatch):
    import scarafm_utils.sources as module

    asked = []

    def fetch_release(patterns, *, data_dir, **where):
        asked.append((patterns, where))
        adata = cells()
        adata.X = sp.csr_matrix(np.log1p(adata.X.toarray()))
        path = data_dir / "release" / patterns[0]
        path.parent.mkdir(parents=True)
        adata.write_h5ad(path)
        return [path]

    monkeypatch.setattr(module, "fetch_release", fetch_release)
    spec = SourceSpec(path="x/D1_subset.h5ad", normalised=True, obs=ObsColumns(condition="Condition"))
    files = ReleaseFiles(repo="lab/r", revision="c" * 40, weights={}, vocabulary={})
    adata = load_raw(dataset(sources={"release": spec}), source="release", data_dir=tmp_path, release=files)
    assert asked == [(["x/D1_subset.h5ad"], {"repo": "lab/r", "revision": "c" * 40})]
    assert "log1p" in adata.uns and adata.uns["samples"] == ["Normal", "Heat"]


# ---- fewer cells ------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(sizes=st.lists(st.integers(1, 40), min_size=1, max_size=8), seed=st.integers(0, 99), data=st.data())
def test_a_cap_takes_cells_in_proportion_from_every_sample(sizes, seed, data):
    sample = pd.Series(np.repeat([f"S{i}" for i in range(len(sizes))], sizes))
    n = data.draw(st.integers(1, sum(sizes)))
    chosen = cap_per_sample(sample, n, seed=seed)
    assert len(chosen) == n and (np.diff(chosen) > 0).all()
    assert np.array_equal(chosen, cap_per_sample(sample, n, seed=seed))
    taken = sample.iloc[chosen].value_counts().reindex(sample.unique(), fill_value=0).to_numpy()
    if n >= len(sizes):
        assert taken.min() >= 1
    share = np.array(sizes) * n / sum(sizes)
    if share.min() >= 1:
        assert (np.abs(taken - share) < 1).all()


def test_the_cap_is_recorded_and_seeded(tmp_path):
    adata = read(tmp_path, cells(), max_cells=2, seed=3)
    assert adata.obs["sample"].tolist() == ["S1", "S2"]
    assert adata.uns["provenance"]["max_cells"] == 2
    again = load_raw(dataset(), source="local", data_dir=tmp_path, max_cells=2, seed=3)
    assert list(again.obs_names) == list(adata.obs_names)


# ---- simulated and real -----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["GSE273033", "SRP285817", "SRP169576", "DRP009643"])
def test_simulated_cells_come_out_like_any_other(tmp_path, name):
    described = load_manifest(PROJECT / "data_manifest.yaml")[name]
    adata = load_raw(described, source="simulated", data_dir=tmp_path, n_cells=60, n_genes=40)
    assert adata.n_obs == 60
    assert adata.obs_names.str.startswith(f"{name}:").all() and adata.obs_names.is_unique
    assert adata.varm["measured"].all()
    assert adata.X.dtype == np.int32 and adata.X.data.min() >= 1
    known = {c for c in ObsColumns.model_fields if getattr(described.obs, c)}
    assert known <= set(adata.obs)
    same = load_raw(described, source="simulated", data_dir=tmp_path, n_cells=60, n_genes=40)
    assert (same.X != adata.X).nnz == 0
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not REAL.is_dir(), reason="the folder of real cells is not here")
def test_real_files_are_read():
    manifest = load_manifest(PROJECT / "profiles" / "real_root_manifest.yaml")
    shapes = {"SRP169576": (15561, 10246), "SRP182008": (2000, 7000), "root_nuclei_10x": (1251, 37336)}
    for name, shape in shapes.items():
        adata = load_raw(manifest[name], source="local", data_dir=REAL)
        assert adata.shape == shape
        assert adata.obs_names[0].startswith(f"{name}:") and "@@" not in adata.obs_names[0]
        if name == "SRP169576":
            assert adata.varm["measured"].sum(axis=0).tolist() == [3000] * 6
            assert adata.varm["measured"].all(axis=1).sum() == 390
