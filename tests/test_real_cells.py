"""Real root cells through the whole chain: counts → vocabulary → encoder → features → heads → scores.

The files are not part of the repository.  Where they are absent, the tests skip and say so.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from scarafm_utils import evaluation, preprocessing, pretraining
from scarafm_utils.embeddings import iter_hidden
from scarafm_utils.features import TaskFeatures
from scarafm_utils.model import ModelConfig, ScAraFM
from scarafm_utils.profiles import REPRESENTATIONS
from scarafm_utils.workspace import PROJECT, Workspace, open_workspace

DATA = PROJECT.parent / "shared" / "data"
NEEDED = ("SRP169576.h5ad", "SRP182008.h5ad", "root_nuclei_10x.h5")
pytestmark = pytest.mark.skipif(
    not all((DATA / name).exists() for name in NEEDED), reason=f"needs the real files {', '.join(NEEDED)}"
)

#: AUROC from scores, LR on the 370 nuclear loci measured in all six samples, mean over seeds:
#: an independent measurement on the same files, and how closely it must be met.
KNOWN = {"s_phase": (0.831, 0.05), "root_caps": (0.996, 0.01), "hair": (0.999, 0.01)}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory) -> Workspace:
    """The profile real_root, cut down so that the encoder meets few cells; raw values meet all."""
    folder = tmp_path_factory.mktemp("real")
    settings = yaml.safe_load((PROJECT / "profiles" / "real_root.yaml").read_text())
    settings["data"]["max_cells"]["pretraining"] = 60
    settings["pretraining"]["epochs"] = 1
    settings["evaluation"] |= {"controls": ["binned", "hvg_pca", "depth"], "n_train": [40], "n_boot": 50}
    settings["evaluation"]["settings"] |= {"xgb_trees": 5, "mlp_epochs": 2, "cnn_epochs": 1}
    settings["evaluation"]["extra"] = {"seeds": [0, 1, 2, 3, 4], "hold_out_all": True}
    (folder / "real.yaml").write_text(yaml.safe_dump(settings))
    opened = open_workspace(folder / "real.yaml")
    (folder / "data").symlink_to(DATA, target_is_directory=True)
    return Workspace(opened.profile, opened.manifest, folder)


@pytest.fixture(scope="module")
def report(workspace):
    return preprocessing.preprocess_tissue(workspace, "root").set_index("dataset")


def test_every_nuclear_locus_enters_and_what_a_sample_does_not_carry_is_known(workspace, report):
    assert (report["dropped_chloroplast"] > 0).all()
    cells = workspace.read_processed("root", "SRP169576")
    assert cells.varm["measured"].shape == (cells.n_vars, 6)
    assert int(cells.varm["measured"].all(axis=1).sum()) == 370
    assert cells.n_vars > 20_000
    assert list(cells.uns["samples"]) and cells.obs_names.str.startswith("SRP169576:SRX").all()


def test_no_feature_of_a_real_cell_tells_which_genes_its_library_carries(workspace, report):
    whole = workspace.read_processed("root", "SRP169576")
    names = [whole.obs_names[whole.obs["sample"] == s][:6] for s in whole.uns["samples"]]
    cells = whole[np.concatenate(names)].copy()
    dealt = cells.copy()  # each cell as if the next library had sequenced it
    following = dict(zip(cells.uns["samples"], np.roll(cells.uns["samples"], 1), strict=True))
    dealt.obs["sample"] = cells.obs["sample"].astype(str).map(following)
    model = ScAraFM(ModelConfig(dim=8, depth=1, heads=1, dim_head=4, seed=0), list(cells.var_names))
    before, after = (TaskFeatures(c, models={"": model}) for c in (cells, dealt))
    assert len(before.genes) == 370
    for representation in ("raw", "binned", "depth", "CLS", "WM", "PCA_1"):
        same = {"fit": cells.obs_names[:20], "names": cells.obs_names}
        np.testing.assert_array_equal(
            before.matrix(representation, **same), after.matrix(representation, **same), err_msg=representation
        )
    told = [torch.cat([h[:, -1] for h in iter_hidden(model, c)]) for c in (cells, dealt)]
    assert (told[0] - told[1]).abs().max() > 0.01  # what the encoder would tell with each library's own MASKs


@pytest.mark.parametrize("label", KNOWN)
def test_raw_values_with_lr_meet_the_known_auroc(workspace, report, label):
    results = evaluation.evaluate_task(
        workspace, "root", "random:SRP169576", label=label, representations=["raw"], controls=[], heads=["LR"],
        n_train=["all"], seeds=[0, 1, 2, 3, 4], extra=False,
    )  # fmt: skip
    rows = results.query("representation == 'raw' and head == 'LR'")
    known, tolerance = KNOWN[label]
    assert len(rows) == 5
    assert abs(rows["auroc"].mean() - known) <= tolerance
    assert (rows["auroc_hard"] < rows["auroc"]).all()


def test_a_whole_library_is_held_out(workspace, report):
    results = evaluation.evaluate_task(
        workspace, "root", "replicate:SRP169576", label="s_phase", representations=["raw"], controls=[],
        heads=["LR"], n_train=["all"], seeds=[0], extra=True,
    )  # fmt: skip
    held = results.query("protocol == 'replicate'")
    assert held["held_out"].nunique() == 6
    assert held["auroc"].between(0.4, 1).all()


@pytest.mark.parametrize("task", ["random:SRP169576", "replicate:SRP169576"])
def test_all_eight_representations_get_scores_from_an_encoder_trained_on_real_cells(workspace, report, task):
    if not (workspace.checkpoint_dir("root") / "model.safetensors").exists():
        history = pretraining.pretrain_tissue(workspace, "root")
        assert history["val_loss"].notna().all()
    small = workspace.profile.evaluation.model_copy(update={"max_test": 40})
    profile = workspace.profile.model_copy(update={"evaluation": small})
    results = evaluation.evaluate_task(
        Workspace(profile, workspace.manifest, workspace.folder), "root", task, label="root_caps", extra=False
    )
    grid = results[results["representation"].isin(REPRESENTATIONS)]
    assert set(grid["representation"]) == set(REPRESENTATIONS)
    assert set(grid["head"]) == {"LR", "XGB", "MLP", "CNN"}
    assert (grid["reason"].fillna("") == "").all()
    assert grid["auroc"].map(math.isfinite).all()
    assert grid.loc[grid["representation"] == "raw", "auroc"].mean() > 0.8
    files = list(Path(workspace.scores_dir("root")).glob("*.parquet"))
    assert len(files) >= len(grid)
