"""A stored head gives the scores of the evaluation, runs nothing when loaded, and says what it is worth."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from evaluation_world import DROUGHT, GENES, OTHER, TASKS, make_cells, make_workspace
from safetensors.numpy import save_file

from scarafm_utils.checkpoints import save_checkpoint
from scarafm_utils.errors import InputError
from scarafm_utils.estimators import LRHead
from scarafm_utils.evaluation import evaluate_task
from scarafm_utils.files import sha256_file, write_json
from scarafm_utils.model import ModelConfig, ScAraFM
from scarafm_utils.predictions import caveats, predict_file
from scarafm_utils.scores import read_scores
from scarafm_utils.stored_heads import HEADS, REPRESENTATIONS, load_head, train_head

REPLICATE = TASKS[1]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    workspace = make_workspace(
        tmp_path_factory.mktemp("world"), representations=["raw"], n_train=["all"],
        settings={"xgb_trees": 3, "mlp_epochs": 2, "mlp_hidden": 8},
    )  # fmt: skip
    model = ScAraFM(ModelConfig(dim=8, depth=1, heads=2, dim_head=4), GENES)
    save_checkpoint(model, workspace.checkpoint_dir("leaf"), profile="demo")
    for name in (DROUGHT, OTHER):  # one library lacks three genes
        path = workspace.processed_path("leaf", name)
        adata = ad.read_h5ad(path)
        adata.varm["measured"][3:6, 0] = False
        lacking = (adata.obs["sample"] == adata.uns["samples"][0]).to_numpy()
        X = adata.X.toarray()
        X[np.ix_(lacking, [3, 4, 5])] = 0
        adata.X = ad.AnnData(X).X
        adata.uns |= {"provenance": {"source": "simulated"}, "normalization": {"target_sum": 1e4}}
        adata.write_h5ad(path)
    return workspace


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("representation", ["raw", "CLS", "WM", "PCA_2"])
def test_a_stored_head_gives_the_scores_of_the_evaluation(world, tmp_path, representation, head):
    row = evaluate_task(
        world, "leaf", REPLICATE, representations=[representation], heads=[head], controls=[], extra=False
    ).iloc[0]
    expected, _ = read_scores(world.scores_dir("leaf") / f"{row['key']}.parquet")
    train_head(world, REPLICATE, tmp_path / "head", representation=representation, head=head)
    stored = load_head(tmp_path / "head")
    assert stored.facts["auroc"] == pytest.approx(row["auroc"], abs=1e-9)
    predict_file(world.processed_path("leaf", DROUGHT), tmp_path / "scores.csv", stored=stored)
    found = pd.read_csv(tmp_path / "scores.csv", index_col="obs_name").loc[expected["obs_name"]]
    for name in ("control", "stress"):
        np.testing.assert_allclose(found[f"score:{name}"], expected[f"score:{name}"], atol=2e-6)
    hard = np.where(found["score:stress"] > found["score:control"], "stress", "control")
    assert (found["label"] == hard).all()
    assert not list(tmp_path.glob(".tmp*")) and list(stored.genes) == GENES[:3] + GENES[6:]


@pytest.fixture(scope="module")
def folder(world, tmp_path_factory):
    out = tmp_path_factory.mktemp("heads") / "drought"
    train_head(world, REPLICATE, out, representation="PCA_1", head="LR")
    return out


def test_an_h5ad_gets_obs_columns_and_keeps_the_rest(world, tmp_path, folder):
    path = world.processed_path("leaf", OTHER)
    before, stored = ad.read_h5ad(path), load_head(folder)
    found = predict_file(path, tmp_path / "out.h5ad", stored=stored)
    after = ad.read_h5ad(tmp_path / "out.h5ad")
    predict_file(path, tmp_path / "out.csv", stored=stored)
    table = pd.read_csv(tmp_path / "out.csv", index_col=0)
    assert list(after.obs["scarafm_label"]) == list(table["label"])
    np.testing.assert_allclose(after.obs["scarafm_score_stress"], table["score:stress"])
    pd.testing.assert_frame_equal(after.obs[before.obs.columns], before.obs)
    assert list(after.uns["scarafm_head"]["about"]) == caveats(stored)
    assert sum(found.labels.values()) == before.n_obs and found.coverage.matched == 27


def test_caveats_say_on_what_a_head_was_trained_and_tested(world, tmp_path, folder):
    first, second, third = caveats(load_head(folder))
    assert f"simulated cells of {DROUGHT} (leaf), label stress (control, stress), PCA_1 with LR" in first
    assert "held out: rep1; expect less on another study" in second
    assert "no probability" in third
    train_head(world, TASKS[2], tmp_path / "cross", representation="raw")
    assert f"cells of {OTHER}, AUROC" in caveats(load_head(tmp_path / "cross"))[1]


def test_what_a_file_does_not_measure_counts_as_not_expressed_or_not_seen(world, tmp_path):
    train_head(world, REPLICATE, tmp_path / "raw")
    stored, path = load_head(tmp_path / "raw"), world.processed_path("leaf", OTHER)
    adata = ad.read_h5ad(path)
    silent = adata.copy()
    silent.X = np.asarray(adata.X) * (adata.var_names != GENES[10])
    tables = []
    for name, cells in (("silent", silent), ("absent", adata[:, adata.var_names != GENES[10]].copy())):
        cells.write_h5ad(tmp_path / f"{name}.h5ad")
        found = predict_file(tmp_path / f"{name}.h5ad", tmp_path / f"{name}.csv", stored=stored)
        tables.append(pd.read_csv(tmp_path / f"{name}.csv"))
    pd.testing.assert_frame_equal(*tables)
    assert found.coverage.missing == (GENES[10],)


def test_the_encoder_sees_no_gene_that_it_did_not_see_in_training(world, tmp_path, folder):
    """Three genes were MASK in training; a file that measures them gives the same scores as one that does not."""
    stored = load_head(folder)
    adata = ad.read_h5ad(world.processed_path("leaf", OTHER))
    del adata.varm["measured"]
    tables = []
    for name, cells in (("all", adata), ("fewer", adata[:, GENES[:3] + GENES[6:]].copy())):
        cells.write_h5ad(tmp_path / f"{name}.h5ad")
        predict_file(tmp_path / f"{name}.h5ad", tmp_path / f"{name}.csv", stored=stored)
        tables.append(pd.read_csv(tmp_path / f"{name}.csv"))
    pd.testing.assert_frame_equal(*tables)


def test_cells_that_do_not_fit_a_head_are_refused(world, tmp_path, folder):
    stored, path = load_head(folder), tmp_path / "cells.h5ad"
    real = make_cells(OTHER, replicates=1, per_library=5, seed=0)
    real.uns["normalization"] = {"target_sum": 1e4}
    real.write_h5ad(path)
    with pytest.raises(InputError, match=f"head of replicate:{DROUGHT} was trained on simulated ones. Train one"):
        predict_file(path, tmp_path / "out.csv", stored=stored)
    few = real[:, GENES[:20]].copy()
    few.uns["provenance"] = {"source": "simulated"}
    few.write_h5ad(path)
    with pytest.raises(InputError, match=r"17 of 27 genes measured \(63%\).*At least 90%"):
        predict_file(path, tmp_path / "out.csv", stored=stored)
    with pytest.raises(InputError, match="ends in .csv or .h5ad"):
        predict_file(path, tmp_path / "out.txt", stored=stored)
    (tmp_path / "out.csv").write_text("mine")
    with pytest.raises(InputError, match="exists"):
        predict_file(path, tmp_path / "out.csv", stored=stored)
    assert (tmp_path / "out.csv").read_text() == "mine"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cells.h5ad", "out.csv"]


def by_hand(folder: Path, head: LRHead, genes: list[str], *, cells_real: bool = True) -> None:
    """Store a head on raw values whose scores can be worked out: the first gene counts, and nothing else."""
    folder.mkdir()
    arrays = {"coef": np.eye(1, len(genes), dtype=np.float32), "intercept": np.array([-1.0], np.float32)}
    save_file(arrays, folder / "head.safetensors")
    facts = {
        "task": f"random:{DROUGHT}", "tissue": "leaf", "label": "stress", "profile": "by hand", "trained_on": DROUGHT,
        "tested_on": DROUGHT, "held_out": [], "n_train": 100, "n_test": 50, "auroc": 0.75,
    }  # fmt: skip
    settings = {k: v for k, v in head.get_params().items() if k != "classes"}
    write_json(folder / "head.json", {
        "format": 1, "head": "LR", "representation": "raw", "settings": settings, "classes": head.classes,
        "genes": genes, "vocabulary": genes, "cells_real": cells_real, "n_features": len(genes),
        "files": {"head.safetensors": sha256_file(folder / "head.safetensors")}, "facts": facts,
    })  # fmt: skip


def test_scores_by_hand(tmp_path):
    by_hand(tmp_path / "head", LRHead(classes=["control", "stress"]), GENES)
    counts = np.zeros((3, 30))
    counts[:, 0], counts[:, 1] = [0, 1, 9999], [10_000, 9_999, 1]
    ad.AnnData(counts, var=pd.DataFrame(index=GENES)).write_h5ad(tmp_path / "cells.h5ad")
    predict_file(tmp_path / "cells.h5ad", tmp_path / "out.csv", stored=load_head(tmp_path / "head"))
    table = pd.read_csv(tmp_path / "out.csv")
    margin = np.log1p([0, 1, 9999]) - 1
    np.testing.assert_allclose(table["score:stress"], 1 / (1 + np.exp(-margin)), rtol=1e-5)
    assert list(table["label"]) == ["control", "control", "stress"]


class Explodes:
    def __reduce__(self):
        return (Path("exploded").touch, ())


def change(folder: Path, **values) -> None:
    facts = json.loads((folder / "head.json").read_text())
    (folder / "head.json").write_text(json.dumps(facts | values))


def no_folder(folder):
    shutil.rmtree(folder)


def no_json(folder):
    (folder / "head.json").write_text("{")


def other_format(folder):
    change(folder, format=2)


def other_numbers(folder):
    path = folder / "head.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")


def a_pickle(folder):
    path = folder / "head.safetensors"
    path.write_bytes(pickle.dumps(Explodes()))
    files = json.loads((folder / "head.json").read_text())["files"]
    change(folder, files=files | {path.name: sha256_file(path)})


def other_vocabulary(folder):
    change(folder, vocabulary=GENES[::-1])


def outside(folder):
    change(folder, files={"../secret": "0"})


def other_head(folder):
    change(folder, head="KNN")


FAULTS = {
    no_folder: "no stored head", no_json: "damaged", other_format: "format 2, this version reads 1",
    other_numbers: "head.safetensors is not the file", a_pickle: "damaged",
    other_vocabulary: "another vocabulary", outside: "is not the file", other_head: "KNN on PCA_1",
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS, ids=lambda f: f.__name__)
def test_a_damaged_head_is_refused_and_nothing_is_run(tmp_path, folder, fault, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(folder, tmp_path / "head")
    fault(tmp_path / "head")
    with pytest.raises(InputError, match=FAULTS[fault]) as raised:
        load_head(tmp_path / "head")
    assert "\n" not in str(raised.value) and not (tmp_path / "exploded").exists()


def test_a_head_that_cannot_be_trained_or_stored_leaves_nothing(world, tmp_path):
    out = tmp_path / "head"
    for settings, message in (
        ({"representation": "ENS"}, "'ENS' cannot be stored"), ({"head": "CNN"}, "'CNN' cannot be stored"),
        ({"n_train": 10_000}, "n_train 10000 is above the 80 training cells"), ({"label": "sugar"}, "no label 'sugar'"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=message):
            train_head(world, REPLICATE, out, **settings)
    with pytest.raises(InputError, match="'GSE273034' is no data set, did you mean 'GSE273033'"):
        train_head(world, "random:GSE273034", out)
    assert list(tmp_path.iterdir()) == []
    train_head(world, REPLICATE, out)
    with pytest.raises(InputError, match="exists"):
        train_head(world, REPLICATE, out)
    before = (out / "head.json").read_text()
    train_head(world, REPLICATE, out, seed=1, force=True)
    assert (out / "head.json").read_text() != before
    assert [p.name for p in tmp_path.iterdir()] == ["head"]
    assert all(p.stat().st_mode & 0o444 == 0o444 for p in out.iterdir())
    assert load_head(out).vocabulary == load_head(out).genes  # raw values need no encoder's genes


def test_every_name_that_can_be_stored_is_a_name_of_the_package():
    from scarafm_utils import names

    assert set(REPRESENTATIONS) <= set(names.FEATURES) and set(HEADS) <= set(names.HEADS)
