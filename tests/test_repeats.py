"""Repeated fits: every unit, split and seed once, one split for all its seeds, and reasons instead of gaps."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from evaluation_world import DROUGHT, OTHER, make_cells, make_workspace

from scarafm_utils.configurations import make_request
from scarafm_utils.evaluation import collect_results, evaluate_task, read_repeats, read_results
from scarafm_utils.experiment import load_experiment
from scarafm_utils.fitting import Battery
from scarafm_utils.paired import auroc_covariance
from scarafm_utils.repeats import COLUMNS, repeated_fits
from scarafm_utils.result_tables import IDENTITY
from scarafm_utils.scores import read_scores

REPLICATE = f"replicate:{DROUGHT}"
EXTRA = {"seeds": [], "hold_out_all": True, "repeats": 2}


def repeated(workspace, task: str = REPLICATE, **changes) -> pd.DataFrame:
    own = workspace.profile.evaluation
    battery = Battery(workspace, load_experiment(workspace, "leaf", task), tuning="none", vote="majority")
    return repeated_fits(battery, make_request(own, **changes), n=2)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    return make_workspace(tmp_path_factory.mktemp("repeats"), heads=["LR", "MLP"], extra=EXTRA)


@pytest.fixture(scope="module")
def table(workspace):
    return repeated(workspace)


def test_every_unit_split_and_seed_is_fitted_once(table):
    assert list(table.columns) == list(COLUMNS) and (table["reason"] == "").all()
    places = table[["unit", "split", "seed"]].itertuples(index=False, name=None)
    assert sorted(places) == [(u, k, s) for u in ("rep1", "rep2") for k in (0, 1) for s in (0, 1)]
    assert table["key"].is_unique and set(table["head"]) == {"MLP"} and set(table["n_train"]) == {"all"}


def test_seeds_of_one_split_share_its_cells_and_splits_do_not(workspace):
    table, folder = repeated(workspace, f"random:{DROUGHT}"), workspace.scores_dir("leaf")
    read = {(row.split, row.seed): read_scores(folder / f"{row.key}.parquet")[0] for row in table.itertuples()}
    cells = {place: set(scores["obs_name"]) for place, scores in read.items()}
    assert cells[0, 0] == cells[0, 1] != cells[1, 0] == cells[1, 1]
    share = len(cells[0, 0] & cells[1, 0]) / len(cells[0, 0])
    assert table["overlap"].unique() == pytest.approx([share]) and 0 < share < 1


def test_a_seed_moves_the_score_and_its_variance_is_that_of_the_test_cells(workspace, table):
    first = table.iloc[0]
    scores, _ = read_scores(workspace.scores_dir("leaf") / f"{first['key']}.parquet")
    assert first["test_variance"] == pytest.approx(auroc_covariance([scores])[1].item())
    assert table.groupby(["unit", "split"])["auroc"].nunique().max() > 1


def test_the_grids_own_fit_is_one_of_them(workspace, table):
    results = evaluate_task(workspace, "leaf", REPLICATE, representations=["raw"], heads=["MLP"], n_train=["all"])
    assert set(results["key"]) <= set(table["key"])


def test_nothing_held_out_is_one_unit_and_the_size_is_the_largest_of_the_grid(workspace):
    table = repeated(workspace, f"random:{DROUGHT}", n_train=[20, 30])
    assert table["unit"].tolist() == [""] * 4 and set(table["n_train"]) == {30}


def test_without_a_head_that_has_a_seed_there_is_nothing_to_repeat(workspace):
    assert repeated(workspace, heads=["LR"]).empty


def test_what_cannot_be_split_has_a_reason(workspace):
    table = repeated(workspace, n_train=[10_000])
    assert table["auroc"].isna().all() and table["reason"].str.contains("n_train 10000 is above").all()


def test_repeats_are_kept_apart_from_the_results(workspace):
    for task in workspace.profile.tissues["leaf"].tasks:
        evaluate_task(workspace, "leaf", task)
    collect_results(workspace)
    repeats, results = read_repeats(workspace), read_results(workspace)
    assert repeats.groupby("task").size().to_dict() == {
        f"random:{DROUGHT}": 4, REPLICATE: 8, f"cross:{DROUGHT}:{OTHER}": 4,
    }  # fmt: skip
    assert (repeats["unit"] == "").sum() == 8 and list(repeats.columns) == list(COLUMNS)
    assert "unit" not in results and not results.duplicated(list(IDENTITY)).any()


def test_a_random_task_holds_libraries_out_where_no_other_task_does(tmp_path):
    """SRP169576 names no replicates: one library of each condition is held out, every pair in turn."""
    world = make_workspace(tmp_path, extra=EXTRA | {"repeats": 0})
    cells = make_cells("SRP169576", replicates=2, per_library=20, seed=3)
    cells.obs = cells.obs.drop(columns="replicate")
    path = world.processed_path("root", "SRP169576")
    path.parent.mkdir(parents=True)
    cells.write_h5ad(path)
    table = evaluate_task(world, "root", "random:SRP169576")
    matched = table[table["fidelity"] == "matched"]
    units = [f"{c}+{s}" for c in ("c1", "c2") for s in ("s1", "s2")]
    found = list(matched[["held_out", "protocol"]].itertuples(index=False, name=None))
    assert sorted(found) == sorted((u, p) for u in units for p in ("random", "replicate"))
    assert matched["auroc"].notna().all() and set(matched["task"]) == {"random:SRP169576"}
    same = matched.groupby("held_out")[["n_test", "n_train_cells"]].nunique()
    assert (same.to_numpy() == 1).all()
    covered = evaluate_task(world, "leaf", f"random:{DROUGHT}")
    assert not (covered["fidelity"] == "matched").any(), "replicate:GSE273033 is in the profile"
    assert np.isfinite(covered["auroc"]).any()
