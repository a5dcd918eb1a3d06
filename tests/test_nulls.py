"""Null contrasts: which libraries stand against which, and that nothing is found where nothing is."""

from __future__ import annotations

import pytest
from evaluation_world import DROUGHT, make_cells, make_workspace

from scarafm_utils.experiment import load_experiment
from scarafm_utils.fitting import Battery
from scarafm_utils.nulls import COLUMNS, null_contrasts, partitions


@pytest.mark.parametrize(("n", "size", "expected"), [(4, 2, 3), (6, 3, 10), (5, 2, 10), (2, 1, 1)])
def test_partitions_count_equal_halves_once(n, size, expected):
    libraries = [f"s{i}" for i in range(n)]
    found = partitions(libraries, size)
    assert len(found) == len({frozenset(map(frozenset, two)) for two in found}) == expected
    assert all(sorted(a + b) == libraries and len(a) == size for a, b in found)


def battery(tmp_path, replicates: int) -> Battery:
    workspace = make_workspace(tmp_path)
    cells = make_cells(DROUGHT, replicates=replicates, per_library=30, seed=4)
    cells.write_h5ad(workspace.processed_path("leaf", DROUGHT))
    experiment = load_experiment(workspace, "leaf", f"random:{DROUGHT}")
    return Battery(workspace, experiment, tuning="none", vote="majority")


def test_every_partition_and_every_pair_of_libraries_within_a_condition(tmp_path):
    table = null_contrasts(battery(tmp_path, 2), seed=0)
    assert list(table.columns) == list(COLUMNS)
    assert table["auroc"].notna().all() and (table["reason"] == "").all()
    permuted = table[table["contrast"] == "permuted"]
    assert permuted.groupby("groups").size().tolist() == [3, 3, 3]
    assert set(permuted[permuted["is_true"]]["groups"]) == {"c1+c2 | s1+s2"}
    pairs = permuted.query("protocol == 'held-out pair'")
    sides = [set(side.split("+")) for side in pairs["groups"].iloc[0].split(" | ")]
    assert all(len(set(pair.split("+")) & side) == 1 for pair in pairs["held_out"][:2] for side in sides)


def test_libraries_are_told_apart_and_a_made_up_condition_does_not_transfer(tmp_path):
    table = null_contrasts(battery(tmp_path, 3), seed=0)
    assert table.query("contrast == 'library'")["auroc"].mean() > 0.7
    fake = table.query("contrast == 'permuted' and not is_true").groupby("protocol")["auroc"].mean()
    assert fake["random"] > 0.65
    assert fake["held-out pair"] == pytest.approx(0.5, abs=0.1)


def test_one_library_per_class_has_no_contrast(tmp_path):
    assert null_contrasts(battery(tmp_path, 1), seed=0).empty
