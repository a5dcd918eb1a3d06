"""Anybody's cells: values found, genes brought to the vocabulary, embeddings as in the evaluation."""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from evaluation_world import DROUGHT, GENES, make_cells
from test_pretraining import performer, released_file

from scarafm_utils import cell_files
from scarafm_utils.cell_files import CellFile, Coverage, open_cells
from scarafm_utils.checkpoints import save_checkpoint
from scarafm_utils.embedding_files import Encoder, embed_file, open_encoder
from scarafm_utils.errors import InputError
from scarafm_utils.features import TaskFeatures
from scarafm_utils.model import ModelConfig, ScAraFM
from scarafm_utils.normalization import normalize
from scarafm_utils.vocabulary import to_vocabulary
from scarafm_utils.workspace import PROJECT

OTHERS = [f"AT2G{10 * i:05d}" for i in range(1, 11)]
NAMES = ("CLS", "WM", "PCA_1", "PCA_3")


def make_encoder(*, real: bool = True, genes=GENES) -> Encoder:
    model = ScAraFM(ModelConfig(dim=8, depth=1, heads=2, dim_head=4), genes).eval()
    return Encoder(model, "encoder of a test", "0" * 64, corpus_real=real)


def make_counts(n: int = 23, genes=(*GENES, *OTHERS), *, seed: int = 0) -> ad.AnnData:
    rng = np.random.default_rng(seed)
    X = sp.csr_matrix(rng.poisson(1.5, (n, len(genes))).astype(np.float32))
    obs = pd.DataFrame({"mine": rng.integers(0, 5, n)}, index=[f"cell{i}" for i in range(n)])
    return ad.AnnData(X=X, obs=obs, var=pd.DataFrame(index=list(genes)), obsm={"X_umap": rng.normal(size=(n, 2))})


def written(adata: ad.AnnData, path: Path) -> Path:
    adata.write_h5ad(path)
    return path


def expected(adata: ad.AnnData, encoder: Encoder) -> dict[str, np.ndarray]:
    """The features of the evaluation for counts of loci."""
    cells = to_vocabulary(normalize(adata), encoder.model.genes)
    cells.obs["sample"] = "all"
    names = cells.obs_names
    features = TaskFeatures(cells, models={"": encoder.model})
    return {name: features.matrix(name, fit=names, names=names) for name in NAMES}


def test_embeddings_are_those_of_the_evaluation_and_the_rest_of_the_file_stays(tmp_path, monkeypatch):
    monkeypatch.setattr(cell_files, "CHUNK", 10)  # three parts
    adata, encoder = make_counts(), make_encoder()
    lacking = adata[:, [g for g in adata.var_names if g not in GENES[3:6]]].copy()
    found = embed_file(
        written(lacking, tmp_path / "in.h5ad"), tmp_path / "out.h5ad", encoder=encoder, representations=NAMES
    )
    result = ad.read_h5ad(tmp_path / "out.h5ad")
    for name, values in expected(lacking, encoder).items():
        np.testing.assert_allclose(result.obsm[f"X_{name}"], values, atol=2e-6)
    assert found.shapes == {"X_CLS": (23, 8), "X_WM": (23, 8), "X_PCA_1": (23, 27), "X_PCA_3": (23, 81)}
    assert (result.X != lacking.X).nnz == 0 and result.obs.equals(lacking.obs)
    np.testing.assert_array_equal(result.obsm["X_umap"], lacking.obsm["X_umap"])
    facts = result.uns["scarafm"]
    assert list(facts["missing_genes"]) == GENES[3:6] and facts["genes_measured"] == 27
    inside = lacking[:, [g for g in GENES if g in lacking.var_names]].X
    per_cell = np.asarray(inside.sum(1)).ravel() / np.asarray(lacking.X.sum(1)).ravel()
    assert facts["share_of_counts"] == pytest.approx(per_cell.mean(), rel=1e-4)
    assert list(facts["pca_genes"]) == [g for g in GENES if g in lacking.var_names]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.h5ad", "out.h5ad"]


@pytest.mark.parametrize("form", ["sparse", "dense"])
def test_only_one_part_of_the_cells_is_read_at_a_time(tmp_path, monkeypatch, form):
    adata, read = make_counts(95), []
    if form == "dense":
        adata.X = adata.X.toarray()
    original = CellFile._rows

    def counted(self, place, rows):
        read.append(rows.stop - rows.start)
        return original(self, place, rows)

    monkeypatch.setattr(cell_files, "CHUNK", 10)
    monkeypatch.setattr(CellFile, "_rows", counted)
    path = written(adata, tmp_path / "in.h5ad")
    embed_file(path, tmp_path / "out.h5ad", encoder=make_encoder(), representations=["WM", "PCA_2"])
    assert max(read) == 10 and sum(read) < 2 * 95 + 20


def test_an_unmeasured_gene_is_mask_and_not_zero(tmp_path):
    encoder, adata = make_encoder(), make_counts()
    silent = adata.copy()
    silent.X = sp.csr_matrix(adata.X.toarray() * ~adata.var_names.isin(GENES[:3]))
    absent = silent[:, 3:].copy()
    out = {}
    for name, cells in (("silent", silent), ("absent", absent)):
        path = tmp_path / f"{name}.h5ad"
        embed_file(written(cells, path), tmp_path / f"{name}-out.h5ad", encoder=encoder)
        out[name] = ad.read_h5ad(tmp_path / f"{name}-out.h5ad").obsm["X_CLS"]
    assert np.abs(out["silent"] - out["absent"]).max() > 1e-3


def embedded(path: Path, out: Path, **settings) -> np.ndarray:
    embed_file(path, out, encoder=make_encoder(), force=True, **settings)
    return ad.read_h5ad(out).obsm["X_WM"]


def spelt(adata: ad.AnnData) -> ad.AnnData:
    """Names with prefixes and cases; one gene split over two rows; chloroplast rows that count nothing."""
    X = adata.X.toarray()
    names = [f"gene:{g.lower()}.1" if i % 3 else g for i, g in enumerate(adata.var_names)]
    X = np.hstack([X, np.zeros((len(X), 1)), np.full((len(X), 1), 99)])
    X[:, -2] = np.minimum(X[:, 0], 1)
    X[:, 0] -= X[:, -2]
    names += [GENES[0] + ".2", "ATCG00010"]
    return ad.AnnData(X=sp.csr_matrix(X), obs=adata.obs, var=pd.DataFrame(index=names))


def in_layer(adata: ad.AnnData) -> ad.AnnData:
    result = ad.AnnData(X=adata.X.toarray() - 1.5, obs=adata.obs, var=adata.var)
    result.layers["counts"] = adata.X.copy()
    return result


def in_raw(adata: ad.AnnData) -> ad.AnnData:
    result = in_layer(adata)
    del result.layers["counts"]
    result.raw = adata
    return result[:, :20].copy()


def logged(adata: ad.AnnData) -> ad.AnnData:
    return ad.AnnData(X=normalize(adata).X, obs=adata.obs, var=adata.var)


def logged_in_raw(adata: ad.AnnData) -> ad.AnnData:
    return in_raw(logged(adata))


def by_columns(adata: ad.AnnData) -> ad.AnnData:
    return ad.AnnData(X=adata.X.tocsc(), obs=adata.obs, var=adata.var)


def dense(adata: ad.AnnData) -> ad.AnnData:
    return ad.AnnData(X=adata.X.toarray(), obs=adata.obs, var=adata.var)


@pytest.mark.parametrize("form", [spelt, in_layer, in_raw, logged, logged_in_raw, by_columns, dense])
def test_the_same_cells_in_another_form_have_the_same_embedding(tmp_path, form, monkeypatch):
    monkeypatch.setattr(cell_files, "CHUNK", 10)
    adata = make_counts()
    plain = embedded(written(adata, tmp_path / "a.h5ad"), tmp_path / "a-out.h5ad")
    other = embedded(written(form(adata), tmp_path / "b.h5ad"), tmp_path / "b-out.h5ad")
    np.testing.assert_allclose(other, plain, atol=1e-5)


def test_values_are_never_normalised_twice(tmp_path):
    log = logged(make_counts())
    with open_cells(written(log, tmp_path / "log.h5ad")) as cells:
        assert cells.log and cells.place == "X"
        _, part = next(cells.parts(GENES))
    np.testing.assert_allclose(part.X.toarray(), log[:, GENES].X.toarray(), atol=1e-6)
    own = make_cells(DROUGHT, replicates=1, per_library=5, seed=0)
    own.uns["normalization"] = {"target_sum": 1e4}  # as this package writes it
    with open_cells(written(own, tmp_path / "own.h5ad")) as cells:
        assert cells.log


def test_cells_without_a_count_are_kept_and_counted(tmp_path):
    adata = make_counts()
    adata.X = sp.csr_matrix(adata.X.toarray() * (np.arange(23) != 4)[:, None])
    found = embed_file(written(adata, tmp_path / "a.h5ad"), tmp_path / "b.h5ad", encoder=make_encoder())
    assert (found.n_cells, found.n_empty) == (23, 1)
    assert np.flatnonzero(~ad.read_h5ad(tmp_path / "b.h5ad").obsm["X_WM"].any(axis=1)).tolist() == [4]


def test_totals_from_obs_undo_the_loss_of_genes(tmp_path):
    adata = make_counts()
    whole = embedded(written(adata, tmp_path / "a.h5ad"), tmp_path / "a-out.h5ad")
    few = adata[:, GENES].copy()
    few.obs["nCount_RNA"] = np.asarray(adata.X.sum(1)).ravel()
    path = written(few, tmp_path / "few.h5ad")
    np.testing.assert_allclose(embedded(path, tmp_path / "f.h5ad", total_key="nCount_RNA"), whole, atol=1e-6)
    assert np.abs(embedded(path, tmp_path / "f.h5ad") - whole).max() > 1e-3


def test_a_long_part_tells_where_it_is(tmp_path, monkeypatch):
    path = written(make_counts(), tmp_path / "a.h5ad")
    for every, told in ((0.0, ["10 of 23 cells", "20 of 23 cells", "23 of 23 cells"]), (30.0, ["23 of 23 cells"])):
        monkeypatch.setattr("scarafm_utils.embedding_files.EVERY", every)
        lines = []
        embed_file(path, tmp_path / "b.h5ad", encoder=make_encoder(), batch_size=10, force=True, report=lines.append)
        assert lines == told


def test_totals_that_the_counts_miss_are_pointed_at_unless_they_are_named(tmp_path):
    adata = make_counts()
    adata.X.data[:] = 1
    adata.obs["nCount_RNA"] = np.asarray(adata.X.sum(1)).ravel()
    few = adata[:, GENES].copy()
    share = np.median(np.asarray(few.X.sum(1)).ravel() / few.obs["nCount_RNA"])
    said = f"counts add up to {share:.0%} of obs['nCount_RNA']; where genes were dropped, --total-key nCount_RNA "
    for cells, total_key, pointed_at in ((adata, None, False), (few, None, True), (few, "nCount_RNA", False)):
        lines, path = [], written(cells, tmp_path / "a.h5ad")
        embed_file(
            path, tmp_path / "b.h5ad", encoder=make_encoder(), total_key=total_key, force=True, report=lines.append
        )
        assert (said in lines[0]) == pointed_at and ("--total-key" in " ".join(lines)) == pointed_at


def test_a_gene_that_some_library_lacks_is_not_measured(tmp_path):
    adata = make_counts()
    adata.var["measured_in_a"], adata.var["measured_in_b"] = True, adata.var_names != GENES[2]
    with open_cells(written(adata, tmp_path / "a.h5ad")) as cells:
        assert cells.coverage(GENES).missing == (GENES[2],)


def broken(path: Path) -> Path:
    path.write_bytes(b"no h5ad")
    return path


def late_fraction(path: Path) -> Path:
    adata = make_counts(2_003)
    X = adata.X.tolil()
    X[2_002, 0] = 0.5
    adata.X = X.tocsr()
    return written(adata, path)


REFUSED = {
    "absent": (lambda p: p, {}, "no such file"),
    "damaged": (broken, {}, "cannot be read as .h5ad"),
    "negative": (lambda p: written(ad.AnnData(make_counts().X.toarray() - 1.0, var=make_counts().var), p), {},
                 "no counts and no log1p .*X has negative values"),
    "another sum": (lambda p: written(logged(make_counts())[:, :20].copy(), p), {}, "adds up to .* not to 10,000"),
    "no counts where asked": (lambda p: written(logged(make_counts()), p), {"values": "counts"}, "not whole numbers"),
    "counts called logs": (lambda p: written(make_counts(), p), {"values": "log1p"}, "holds whole numbers"),
    "a late fraction": (late_fraction, {}, r"X has 1 values .* in cells 2,000 to 2,003"),
    "few genes": (lambda p: written(make_counts(genes=(*GENES[:9], *OTHERS)), p), {},
                  r"9 of 30 genes measured \(30%\).*AT1G00100.*At least 50% .*--min-coverage"),
    "no loci": (lambda p: written(make_counts(genes=[f"Gm{i}" for i in range(30)]), p), {}, "Arabidopsis loci"),
    "no total": (lambda p: written(make_counts(), p), {"total_key": "n"}, "obs has no column 'n'"),
    "no vector": (lambda p: written(make_counts(), p), {"representations": ["ENS"]}, "'ENS' cannot be written"),
    "no cells": (lambda p: written(make_counts()[:0].copy(), p), {}, "has no cells"),
}  # fmt: skip


@pytest.mark.parametrize("fault", REFUSED)
def test_bad_files_are_refused_in_one_line_and_leave_nothing(tmp_path, fault):
    make, settings, message = REFUSED[fault]
    path = make(tmp_path / "in.h5ad")
    with pytest.raises(InputError, match=message) as raised:
        embed_file(path, tmp_path / "out.h5ad", encoder=make_encoder(), **settings)
    assert "\n" not in str(raised.value)
    assert {p.name for p in tmp_path.iterdir()} <= {"in.h5ad"}


def test_an_encoder_of_simulated_cells_meets_simulated_cells_only(tmp_path):
    adata = make_counts()
    path = written(adata, tmp_path / "real.h5ad")
    with pytest.raises(InputError, match="real cells .*trained on simulated ones.*PROFILE=release"):
        embed_file(path, tmp_path / "out.h5ad", encoder=make_encoder(real=False))
    for mark in ({"provenance": {"source": "simulated"}}, {"simulation": {"seed": 1}}):
        adata.uns = mark
        embed_file(written(adata, path), tmp_path / "out.h5ad", encoder=make_encoder(real=False), force=True)
        assert ad.read_h5ad(tmp_path / "out.h5ad").uns["scarafm"]["cells_simulated"]


def test_what_is_there_is_replaced_only_by_force(tmp_path):
    path = written(make_counts(), tmp_path / "in.h5ad")
    before = path.read_bytes()
    with pytest.raises(InputError, match="exists; give another --out, or --force"):
        embed_file(path, path, encoder=make_encoder())
    assert path.read_bytes() == before
    embed_file(path, path, encoder=make_encoder(), force=True)
    embed_file(path, path, encoder=make_encoder(), force=True)  # its own embeddings are replaced
    assert sorted(ad.read_h5ad(path).obsm) == ["X_CLS", "X_WM", "X_umap"]


def test_encoders_come_from_folders_profiles_and_released_files(tmp_path):
    model = make_encoder().model
    save_checkpoint(model, tmp_path / "mine", corpus_real=True)
    encoder = open_encoder(tmp_path / "mine")
    assert encoder.corpus_real and encoder.model.genes == tuple(GENES) and "mine" in encoder.name
    with pytest.raises(InputError, match="one encoder"):
        open_encoder(tmp_path / "mine", profile="demo", tissue="leaf")
    with pytest.raises(InputError, match="one encoder"):
        open_encoder(profile="demo")
    with pytest.raises(InputError, match="tissue 'leef'"):
        open_encoder(profile="demo", tissue="leef")
    with pytest.raises(InputError, match="no gene names; give their consensus_hvg.csv"):
        open_encoder(tmp_path / "best_model_17.pth")
    with pytest.raises(InputError, match="no checkpoint"):
        open_encoder(tmp_path / "nowhere")


def test_released_weights_embed_by_their_gene_list(tmp_path):
    path = released_file(tmp_path / "best_model_17.pth", performer())
    loci = [f"AT3G{10 * i:05d}" for i in range(12)]
    pd.DataFrame({"gene_name": [f"gene:{locus.lower()}" for locus in loci]}).to_csv(tmp_path / "genes.csv")
    encoder = open_encoder(path, genes=tmp_path / "genes.csv")
    assert encoder.corpus_real and encoder.model.genes == tuple(loci)
    file = written(make_counts(genes=loci), tmp_path / "in.h5ad")
    found = embed_file(file, tmp_path / "out.h5ad", encoder=encoder)
    assert found.coverage.matched == 12 and found.shapes["X_CLS"] == (23, encoder.model.config.dim)


DATA = PROJECT.parent / "shared" / "data"


@pytest.mark.skipif(not (DATA / "SRP169576.h5ad").exists(), reason="needs the real file SRP169576.h5ad")
def test_real_cells_with_genes_dropped_are_divided_by_their_own_total(tmp_path):
    """Six libraries of 3,000 genes each: only what all measure is seen, in shares of the whole library."""
    raw = ad.read_h5ad(DATA / "SRP169576.h5ad")
    shared = raw.var.filter(like="measured_in_").all(axis=1)
    nuclear = [g for g in raw.var_names[shared] if g.startswith("AT") and g[2].isdigit()]
    genes = [*nuclear[:40], raw.var_names[~shared][0]]
    with open_cells(DATA / "SRP169576.h5ad", total_key="nCount_RNA") as cells:
        coverage = cells.coverage(genes)
        rows, part = next(cells.parts(genes))
    assert len(nuclear) == 370 and coverage.missing == (genes[-1],) and not cells.simulated
    counts = raw[rows, genes[:40]].X.toarray()
    expected = np.log1p(counts * 1e4 / raw.obs["nCount_RNA"].to_numpy()[rows, None])
    np.testing.assert_allclose(part.X.toarray()[:, :40], expected, atol=1e-5)


@pytest.mark.skipif(not (DATA / "root_nuclei_10x.h5").exists(), reason="needs the real file root_nuclei_10x.h5")
def test_a_real_10x_file_is_embedded(tmp_path):
    with open_cells(DATA / "root_nuclei_10x.h5") as cells:
        loci = [g for g in cells._features if g.startswith("AT1G")][:60]
    found = embed_file(DATA / "root_nuclei_10x.h5", tmp_path / "out.h5ad", encoder=make_encoder(genes=loci))
    result = ad.read_h5ad(tmp_path / "out.h5ad")
    assert found.values == "X (counts)" and result.shape[0] == 1_251
    assert result.obsm["X_CLS"].shape == (1_251, 8) and np.isfinite(result.obsm["X_WM"]).all()
    assert 0 < found.coverage.share < 0.05


def test_coverage_by_hand():
    text = str(Coverage(4, ("AT1G00010",), 0.25))
    assert text == "3 of 4 genes measured (75%), 25% of the counts lie in them; not measured: AT1G00010"
    with pytest.raises(InputError, match="At least 80% is asked for"):
        Coverage(4, ("AT1G00010",)).check(0.8, "mine")
    Coverage(4, ("AT1G00010",)).check(0.75, "mine")
