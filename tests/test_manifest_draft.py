"""A drafted manifest entry: what can be seen is right, what cannot is marked, and completed it loads."""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from test_readers import write_triplet

from scarafm_utils.errors import InputError
from scarafm_utils.manifest import held_out_unit, load_manifest
from scarafm_utils.manifest_draft import FILL_IN, entry_text, guess_classes, guess_columns, look_at
from scarafm_utils.sources import load_raw

REAL = Path(__file__).resolve().parents[2] / "shared" / "data"


def study(**changes) -> ad.AnnData:
    """Eight cells of four libraries, two conditions by two replicates; a column of None is left out."""
    libraries = ["c1", "c2", "s1", "s2"]
    obs = {
        "Condition": ["Normal"] * 4 + ["Heat shock"] * 4,
        "Repeat": ["1", "1", "2", "2"] * 2,
        "Genotype": "Col-0",
        "Orig.ident": np.repeat(libraries, 2),
        "Celltype": ["Root hair", "Xylem"] * 4,
        "nCount_RNA": 100.0,
        **changes,
    }
    table = pd.DataFrame({k: v for k, v in obs.items() if v is not None}, index=[f"b{i}" for i in range(8)])
    genes = pd.DataFrame(index=[f"AT1G{10000 + 10 * i}" for i in range(5)])
    return ad.AnnData(sp.csr_matrix(np.arange(40.0).reshape(8, 5)), obs=table, var=genes)


def drafted(tmp_path, adata: ad.AnnData, name: str = "mine.h5ad"):
    adata.write_h5ad(tmp_path / name)
    return look_at(tmp_path / name)


def test_a_whole_study_loads_once_the_tissue_is_known(tmp_path):
    draft = drafted(tmp_path, study())
    text = entry_text(draft, tissue="root", local_name="mine.h5ad")
    assert FILL_IN not in text
    (tmp_path / "manifest.yaml").write_text(text)
    d = load_manifest(tmp_path / "manifest.yaml")["mine"]
    assert d.obs.model_dump() == {
        "condition": "Condition", "genotype": "Genotype", "replicate": "Repeat", "sample": "Orig.ident",
        "cell_type": "Celltype", "total_counts": "nCount_RNA",
    }  # fmt: skip
    assert d.labels["stress"].classes == {"control": ["Normal"], "stress": ["Heat shock"]}
    assert (d.n_cells, d.libraries, d.n_replicates, d.role) == (8, 4, 2, "downstream")
    assert d.libraries_per_class == {"control": 2, "stress": 2}
    assert held_out_unit(d, "stress") == draft.design.unit == "replicate"
    cells = load_raw(d, source="local", data_dir=tmp_path)
    assert cells.obs["condition"].tolist() == study().obs["Condition"].tolist()


def test_what_nobody_knows_is_marked_and_does_not_load(tmp_path):
    text = entry_text(drafted(tmp_path, study(Condition=["A", "B"] * 4)))
    (tmp_path / "manifest.yaml").write_text(text)
    with pytest.raises(InputError, match=r"datasets.mine.tissue = 'FILL_IN': not known.*leaf, root"):
        load_manifest(tmp_path / "manifest.yaml")
    (tmp_path / "manifest.yaml").write_text(text.replace(f"tissue: {FILL_IN}", "tissue: leaf"))
    with pytest.raises(InputError, match=r"labels.stress.classes.control = 'FILL_IN'"):
        load_manifest(tmp_path / "manifest.yaml")


def test_one_condition_makes_a_pretraining_set(tmp_path):
    text = entry_text(drafted(tmp_path, study(Condition="Normal", Repeat=None)), tissue="leaf")
    (tmp_path / "manifest.yaml").write_text(text)
    d = load_manifest(tmp_path / "manifest.yaml")["mine"]
    assert (d.role, d.labels, d.conditions, d.n_replicates) == ("pretraining", {}, ["Normal"], 1)
    assert "with a pair of cell types as label, each of 4 libraries can be held out" in text


def test_totals_are_named_only_where_genes_were_dropped(tmp_path):
    whole = study(nCount_RNA=np.arange(40.0).reshape(8, 5).sum(axis=1))
    draft = drafted(tmp_path, whole)
    assert draft.columns.total_counts is None
    assert "nCount_RNA is the sum of the file's own counts" in " ".join(draft.remarks)
    assert drafted(tmp_path, study(nCount_RNA=500.0)).columns.total_counts == "nCount_RNA"


def test_a_file_without_counts_says_so(tmp_path):
    adata = study()
    adata.X = sp.csr_matrix(np.log1p(adata.X.toarray()))
    draft = drafted(tmp_path, adata)
    assert draft.counts == "" and "no counts: X has" in draft.remarks[0]
    assert f"counts: {FILL_IN}" in entry_text(draft)


def test_counts_are_found_in_layers_and_packed_files_are_read(tmp_path):
    import gzip

    adata = study()
    adata.layers["counts"] = adata.X.copy()
    adata.X = sp.csr_matrix(np.log1p(adata.X.toarray()))
    adata.write_h5ad(tmp_path / "a.h5ad")
    (tmp_path / "b.h5ad.gz").write_bytes(gzip.compress((tmp_path / "a.h5ad").read_bytes()))
    draft = look_at(tmp_path / "b.h5ad.gz")
    assert (draft.counts, draft.dataset_id) == ("layers/counts", "b")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.h5ad", "b.h5ad.gz"]


def test_a_10x_folder_knows_its_libraries_and_says_what_is_missing(tmp_path):
    for name in ("Control1", "Case1"):
        write_triplet(tmp_path / "mine", prefix=f"GSM1_{name}_", counts=np.array([[1, 0, 2], [0, 3, 0]]))
    draft = look_at(tmp_path / "mine")
    assert (draft.columns.sample, draft.n_libraries) == ("library", 2)
    assert draft.remarks[-1].startswith("No column was found for condition, genotype, replicate, cell_type")


def test_columns_are_guessed_by_name_and_by_what_they_hold():
    obs = pd.DataFrame({
        "condition": [f"{i}" for i in range(6)], "Treatment": list("aabbcc"), "total_counts": list("abcdef"),
        "n_counts": range(6), "sample": "x", "Libraries": "10x",
    })  # fmt: skip
    found = guess_columns(obs)
    assert (found.condition, found.total_counts, found.sample) == ("Treatment", "n_counts", "sample")
    assert found.replicate is None


@pytest.mark.parametrize(
    ("words", "classes"),
    [
        (["mock", "Pst DC3000"], {"control": ["mock"], "stress": ["Pst DC3000"]}),
        (["Wild type", "Cold 2 h", "Hot"], {"control": ["Wild type"], "cold_2_h": ["Cold 2 h"], "hot": ["Hot"]}),
        (["Normal", "Stress!", "stress?"], {}),
        (["Sucrose+", "Sucrose-"], {}),
        (["Normal"], {}),
    ],
)
def test_classes_are_guessed_only_where_a_word_reads_like_a_control(words, classes):
    assert guess_classes(words) == classes


def test_libraries_with_several_conditions_are_remarked(tmp_path):
    draft = drafted(tmp_path, study(**{"Orig.ident": ["a", "b"] * 4}))
    assert any("'a' holds several conditions: is obs.sample the library?" in r for r in draft.remarks)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: None, "mine.h5ad: no such file or folder in"),
        (lambda p: p.write_bytes(b"x" * 100), "mine.h5ad: cannot be read as .h5ad"),
        (lambda p: study()[:0].write_h5ad(p), "mine.h5ad: 0 cells and 5 features: nothing to describe"),
    ],
)
def test_files_that_show_nothing_are_refused(tmp_path, make, message):
    make(tmp_path / "mine.h5ad")
    with pytest.raises(InputError, match=message):
        look_at(tmp_path / "mine.h5ad")


@pytest.mark.skipif(not REAL.is_dir(), reason="the folder of real cells is not here")
def test_a_real_file_is_described_and_its_partial_genes_are_seen():
    draft = look_at(REAL / "SRP169576.h5ad")
    assert (draft.n_cells, draft.n_libraries, draft.measured, draft.counts) == (15561, 6, "measured_in_", "X")
    assert (draft.columns.sample, draft.columns.total_counts) == ("Orig.ident", "nCount_RNA")
    bare = look_at(REAL / "root_nuclei_10x.h5")
    assert bare.n_cells == 1251 and "The file has no table of cells" in bare.remarks[-1]
