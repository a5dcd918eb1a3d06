"""Fitting the configurations of a task: one pass of the encoder and one sweep serve them all."""

from __future__ import annotations

import numpy as np
import pytest
from evaluation_world import DROUGHT, GENES, TASKS, make_workspace

from scarafm_utils import fitting
from scarafm_utils.checkpoints import save_checkpoint
from scarafm_utils.configurations import Configuration
from scarafm_utils.errors import InputError
from scarafm_utils.evaluation import evaluate_task
from scarafm_utils.experiment import load_experiment, make_split
from scarafm_utils.features import TaskFeatures
from scarafm_utils.fitting import Battery
from scarafm_utils.model import ModelConfig, ScAraFM

SMALL = {"xgb_trees": 3, "mlp_epochs": 2, "mlp_hidden": 8, "cnn_epochs": 1, "ens_members": None}
ENSEMBLES = [Configuration("ENS", head, n, 0) for n in (20, 50, "all") for head in ("LR", "XGB", "MLP")]


def make_world(folder, **evaluation):
    world = make_workspace(folder, settings=SMALL, **evaluation)
    config = ModelConfig(dim=8, depth=1, heads=2, dim_head=4, seed=0)
    save_checkpoint(ScAraFM(config, GENES), world.checkpoint_dir("leaf"), corpus_real=False)
    return world


def make_battery(world, expected=()) -> tuple[Battery, object]:
    experiment = load_experiment(world, "leaf", TASKS[0])
    battery = Battery(world, experiment, tuning="none", vote="mean")
    split = make_split(experiment, seed=0)
    if expected:
        battery.expect([(configuration, split) for configuration in expected])
    return battery, split


def count_calls(monkeypatch, owner, name: str, note=lambda *_: None) -> list:
    """Record each call of a method by what `note` makes of its arguments."""
    calls, original = [], getattr(owner, name)

    def counted(self, *args, **kwargs):
        calls.append(note(*args))
        return original(self, *args, **kwargs)

    monkeypatch.setattr(owner, name, counted)
    return calls


def test_one_sweep_serves_every_head_and_size_and_changes_no_score(tmp_path, monkeypatch):
    alone, split = make_battery(make_world(tmp_path / "alone"))
    expected = [alone.scores(configuration, split) for configuration in ENSEMBLES]
    together, split = make_battery(make_world(tmp_path / "together"), ENSEMBLES)
    reads = count_calls(monkeypatch, TaskFeatures, "dimensions")
    first, _ = together.scores(ENSEMBLES[0], split)
    files = set(together.workspace.scores_dir("leaf").iterdir())
    assert len(reads) == 1 and len(files) == len(ENSEMBLES)
    found = [together.scores(configuration, split) for configuration in ENSEMBLES]
    assert len(reads) == 1 and set(together.workspace.scores_dir("leaf").iterdir()) == files
    for (ours, facts), (theirs, others) in zip(found, expected, strict=True):
        assert list(ours["obs_name"]) == list(theirs["obs_name"])
        np.testing.assert_allclose(ours["score:stress"], theirs["score:stress"], atol=1e-6)
        assert facts["params"] == others["params"] and facts["n_train_cells"] == others["n_train_cells"]
        assert facts["fit_seconds"] > 0 and facts["peak_memory_mb"] > 10
    assert len({facts["fit_seconds"] for _, facts in found}) > 1  # each its own, not one number for all


def test_a_sweep_leaves_out_what_is_at_hand_and_what_cannot_be_fitted(tmp_path, monkeypatch):
    world = make_world(tmp_path)
    battery, split = make_battery(world, ENSEMBLES[:1])
    battery.scores(ENSEMBLES[0], split)
    tries, check = [], fitting.encode_labels

    def refuses_fifty(y, classes):
        tries.append(len(y))
        if len(y) == 50:
            raise InputError("training cells of every class are needed")
        return check(y, classes)

    monkeypatch.setattr(fitting, "encode_labels", refuses_fifty)
    impossible = Configuration("ENS", "LR", 9999, 0)
    battery, split = make_battery(world, [*ENSEMBLES, impossible])
    battery.scores(ENSEMBLES[1], split)
    assert sorted(set(tries)) == [20, 50, 128] and tries.count(20) == 2  # XGB and MLP; LR is at hand
    with pytest.raises(InputError, match="every class"):
        battery.scores(ENSEMBLES[3], split)


@pytest.mark.parametrize("heads", [["LR"], ["LR", "XGB", "MLP"]])
@pytest.mark.parametrize("n_train", [["all"], [20, 50, "all"]])
def test_cells_are_embedded_once_whatever_the_number_of_heads_and_sizes(heads, n_train, tmp_path, monkeypatch):
    world = make_world(tmp_path)
    seen = count_calls(monkeypatch, ScAraFM, "encode", len)
    asked = {"representations": ["CLS", "WM", "ENS", "PCA_1", "PCA_2"], "heads": heads, "n_train": n_train}
    rows = evaluate_task(world, "leaf", f"random:{DROUGHT}", **asked, extra=False)
    assert (rows["reason"] == "").all() and len(rows) == 5 * len(heads) * len(n_train)
    assert sum(seen) == 128 + 32  # training and test cells


def test_with_little_memory_passes_do_not_grow_with_heads_and_sizes(tmp_path, monkeypatch):
    plane = 2 * 160 * len(GENES)  # one dimension in float16, of eight
    asked = {"representations": ["WM", "ENS", "PCA_1", "PCA_2", "PCA_3"]}
    grids = ({"heads": ["LR"], "n_train": ["all"]}, {"heads": ["LR", "MLP"], "n_train": [20, "all"]})
    passes = []
    for i, grid in enumerate(grids):
        world = make_world(tmp_path / str(i), memory_gb=3 * plane / 1e9)
        with monkeypatch.context() as patch:
            seen = count_calls(patch, ScAraFM, "encode", len)
            rows = evaluate_task(world, "leaf", f"random:{DROUGHT}", **asked, **grid, extra=False)
        assert (rows["reason"] == "").all()
        passes.append(sum(seen) / 160)
    # the first gives WM, moments and three dimensions, two more the other five, one per size PCA's scores
    assert passes[0] == 1 + 2 + 1
    assert passes[1] == pytest.approx(1 + 2 + 1 + (20 + 32) / 160, abs=1e-9)


def test_where_a_gpu_is_there_lr_and_mlp_are_told(tmp_path, monkeypatch):
    battery, _ = make_battery(make_world(tmp_path))
    heads = [Configuration("WM", head) for head in ("LR", "XGB", "MLP")]
    keys = [battery.params(c)["device"] for c in heads]
    assert ["device" in battery._head_arguments(c) for c in heads] == [False] * 3 and set(keys) == {"cpu"}
    monkeypatch.setattr(fitting, "compute_device", lambda: "cuda")
    assert [battery._head_arguments(c).get("device") for c in heads] == ["cuda", None, "cuda"]
    assert battery.params(heads[0])["device"] == "cuda"
