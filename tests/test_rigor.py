"""Tables of the rigor chapter: kept until something changes, and right where the answer is known."""

from __future__ import annotations

import pandas as pd
import pytest
from evaluation_world import DROUGHT, make_cells, make_workspace
from test_planted import make_cells as make_counts

from scarafm_utils import rigor, score_tables
from scarafm_utils.evaluation import collect_results, evaluate_task
from scarafm_utils.preprocessing import preprocess_dataset, write_h5ad
from scarafm_utils.sources import load_raw
from scarafm_utils.workspace import Workspace

UNITS = [f"{DROUGHT} rep1", f"{DROUGHT} rep2", "ERP132245 rep1"]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Three evaluated leaf tasks; eight of the libraries' cells are enough for a table, not for a claim."""
    workspace = make_workspace(tmp_path_factory.mktemp("rigor"))
    for task in workspace.profile.tissues["leaf"].tasks:
        evaluate_task(workspace, "leaf", task)
    return workspace, collect_results(workspace)


def test_a_kept_table_is_made_again_only_when_its_inputs_change(tmp_path):
    workspace, calls = make_workspace(tmp_path), []

    def compute():
        calls.append(1)
        return pd.DataFrame({"a": [0.1 + 0.2], "b": ["x"]})

    first = rigor.kept_table(workspace, "t", inputs=1, compute=compute)
    assert rigor.kept_table(workspace, "t", inputs=1, compute=compute).equals(first)
    assert len(calls) == 1
    rigor.kept_table(workspace, "t", inputs=2, compute=compute)
    assert len(calls) == 2
    assert len(list((workspace.tables_dir / "kept").iterdir())) == 1


def test_a_stress_is_planted_on_the_data_set_with_the_most_libraries(tmp_path):
    workspace = make_workspace(tmp_path)
    assert rigor.planted_table(workspace).empty, "values that are no counts are left alone"
    counts = make_counts(per_sample=30)
    counts.uns["dataset"] = DROUGHT
    counts.write_h5ad(workspace.processed_path("leaf", DROUGHT))
    table = rigor.planted_table(workspace)
    assert set(table["dataset"]) == {DROUGHT}
    assert table.groupby("log_fold_change")["groups"].nunique().to_dict() == {0.0: 3, 0.5: 3, 1.0: 3, 2.0: 3}


def test_the_leak_is_measured_for_each_replicate_task_without_an_encoder_where_there_is_none(world):
    table = rigor.leakage_table(world[0])
    assert table["task"].unique().tolist() == [f"replicate:{DROUGHT}"]
    assert list(dict.fromkeys(table["representation"])) == ["raw", "binned", "hvg_pca", "depth"]
    assert table["within"].nunique() == 3


def test_signs_are_compared_between_replicates_and_studies(world):
    table = rigor.sign_table(world[0])
    assert list(table.index) == list(table.columns) == sorted(UNITS)
    assert table.isna().to_numpy().diagonal().all() and table.stack().between(0, 1).all()
    assert table.loc[UNITS[0], UNITS[1]] > 0.5 and table.index.name == "stress in"


def test_without_a_task_that_has_units_or_a_truth_the_tables_are_empty(world):
    profile = world[0].profile
    grid = profile.tissues["leaf"].model_copy(update={"tasks": [f"random:{DROUGHT}"]})
    alone = Workspace(profile.model_copy(update={"tissues": {"leaf": grid}}), world[0].manifest, world[0].folder)
    assert rigor.sign_table(alone).empty and rigor.truth_table(alone).empty and rigor.leakage_table(alone).empty


def test_few_cells_stand_for_many_in_proportion_from_every_library(monkeypatch):
    monkeypatch.setattr(rigor, "MAX_CELLS", 40)
    assert rigor._fewer(make_counts(per_sample=60), 0).obs["sample"].value_counts().eq(10).all()


def test_calibration_and_cell_types_come_from_stored_scores(world):
    workspace, results = world
    curves = score_tables.calibration_table(workspace, results)
    assert list(dict.fromkeys(curves["protocol"])) == ["random", "replicate", "cross"]
    assert curves.groupby("protocol")["n"].sum()["cross"] == results.query("protocol == 'cross'")["n_test"].iloc[0]
    summary = score_tables.calibration_summary(results)
    rows = results.query("protocol == 'cross' and head == 'LR' and representation == 'raw' and fidelity == 'paper'")
    assert summary.loc["cross", "ece"] == pytest.approx(rows[rows["n_train"] == "all"]["ece"].mean())
    types = score_tables.within_type_table(workspace, results, min_cells=3)
    known = types[types["cell types"] > 0]
    assert known["most"].ge(known["least"]).all() and types["cell types"].max() == 2
    larger = score_tables.within_type_table(workspace, results, min_cells=12)
    assert len(larger) == len(types) and larger.loc[larger["cell types"] == 0, "most"].isna().all()
    assert (larger["cell types"] == 0).any(), "a task without such a type is shown as missing"
    assert score_tables.within_type_table(workspace, results, min_cells=10**6).empty


def test_controls_stand_beside_the_representations_at_the_largest_size(world):
    table = score_tables.control_table(world[1])
    assert list(table.index) == ["raw", "depth"] and list(table.columns) == ["random", "replicate", "cross"]
    rows = world[1].query("protocol == 'cross' and representation == 'raw' and seed == 0 and fidelity == 'paper'")
    assert table.loc["raw", "cross"] == rows[rows["n_train"] == "all"]["auroc"].iloc[0]


def test_the_modules_that_move_with_the_library_are_found_by_a_model_of_the_library(tmp_path):
    base = make_workspace(tmp_path)
    data = base.profile.data.model_copy(
        update={"simulated_genes": 200, "simulated_cells": base.profile.data.simulated_cells.model_copy(
            update={"downstream": 400})}
    )  # fmt: skip
    workspace = Workspace(base.profile.model_copy(update={"data": data}), base.manifest, tmp_path)
    dataset = workspace.manifest[DROUGHT]
    raw = load_raw(
        dataset, source="simulated", data_dir=tmp_path, seed=workspace.profile.seed, n_cells=400, n_genes=200
    )
    write_h5ad(workspace.processed_path("leaf", DROUGHT), preprocess_dataset(raw, dataset))
    table = rigor.truth_table(workspace)
    assert set(table.index.get_level_values("task")) == {f"replicate:{DROUGHT}"}
    table = table.xs("library against library", level="model").droplevel("task")
    assert table.loc["library modules", "found"] >= 2 * table.loc["library modules", "expected"]
    assert table.loc["library modules", "p_value"] < table["p_value"].drop("library modules").min()


def test_real_cells_have_no_truth(tmp_path):
    base = make_workspace(tmp_path)
    real = Workspace(base.profile.model_copy(update={"source": "local"}), base.manifest, tmp_path)
    assert rigor.truth_table(real).empty


def test_too_few_libraries_leave_an_empty_table(tmp_path):
    workspace = make_workspace(tmp_path)
    make_cells(DROUGHT, replicates=1, per_library=20, seed=0).write_h5ad(workspace.processed_path("leaf", DROUGHT))
    assert rigor.planted_table(workspace).empty
