"""Representations against raw values: pairs share everything else, units are counted, tests are of their kind."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from evaluation_world import make_workspace
from scipy import stats

from scarafm_utils.comparisons import cell_tests, comparison_table, in_few_columns, paired_models, unit_differences
from scarafm_utils.errors import InputError
from scarafm_utils.paired import delong
from scarafm_utils.scores import write_scores


def row(task: str, representation: str, auroc: float, *, head: str = "LR", **changes) -> dict:
    protocol, *datasets = task.split(":")
    return {
        "tissue": "leaf", "task": task, "protocol": protocol, "train_dataset": datasets[0],
        "test_dataset": datasets[-1], "label": "stress", "held_out": None, "representation": representation,
        "head": head, "n_train": "all", "seed": 0, "fidelity": "paper", "tuning": "none", "vote": "majority",
        "auroc": auroc, "key": f"{task}-{representation}-{head}", **changes,
    }  # fmt: skip


def table(*rows: dict) -> pd.DataFrame:
    return pd.DataFrame(rows)


def test_models_meet_raw_values_with_the_same_head_on_the_same_cells():
    results = table(
        row("random:A", "raw", 0.8), row("random:A", "raw", 0.7, head="MLP"), row("random:A", "ENS", 0.9),
        row("random:A", "ENS", 0.6, head="MLP"), row("random:A", "CNN", 0.75, head="CNN"),
        row("random:A", "WM", 0.1, seed=1), row("random:A", "ENS", 0.1, n_train=100),
        row("random:A", "depth", 0.1), row("random:A", "PCA_1", np.nan),
        row("random:A", "ENS", 0.1, fidelity="released"), row("replicate:A", "ENS", 0.1, held_out="r1"),
    )  # fmt: skip
    pairs = paired_models(results)
    found = {(p.representation, p.head): round(p.difference, 6) for p in pairs.itertuples()}
    assert found == {("ENS", "LR"): 10, ("ENS", "MLP"): -10, ("CNN", "MLP"): 5}
    assert pairs.set_index("representation")["key_of_reference"]["CNN"] == "random:A-raw-MLP"
    units = unit_differences(pairs).set_index("representation")["difference"]
    assert units["ENS"] == pytest.approx(0) and units["CNN"] == pytest.approx(5)


def test_both_directions_of_a_pair_are_two_units_and_one_data_set():
    tasks = ["cross:A:B", "cross:B:A", *(f"random:{name}" for name in "ABCDEF")]
    gains = [3, -1, 1, 2, 3, 4, 5, 6]
    rows = [r for t, g in zip(tasks, gains) for r in (row(t, "raw", 0.5), row(t, "WM", 0.5 + g / 100))]
    tests = paired_models(table(*rows)).assign(q=[0.01, 0.01, *[0.2] * 6])
    found = comparison_table(tests)
    cross, random = found.loc[("cross", "WM")], found.loc[("random", "WM")]
    assert cross[["units", "data sets", "better", "worse"]].tolist() == [2, 1, 1, 1]
    assert cross[["median", "least", "most"]].tolist() == pytest.approx([1, -1, 3])
    assert cross[["signs p", "ranks p", "ranks q"]].isna().all(), "one pair can never reach 0.05"
    assert cross[["cells: better", "cells: worse", "cells: tests"]].tolist() == [1, 1, 2]
    assert random[["units", "data sets", "better"]].tolist() == [6, 6, 6]
    assert random["signs p"] == pytest.approx(stats.binomtest(6, 6).pvalue, abs=5e-4)
    assert random["ranks p"] == random["ranks q"] == pytest.approx(0.031, abs=5e-4)
    assert random[["cells: better", "cells: tests"]].tolist() == [0, 6]


def test_held_out_units_of_one_data_set_are_counted_once_for_a_p_value():
    values = [("raw", 0.5, f"r{i}") for i in range(8)] + [("WM", 0.51 + i / 100, f"r{i}") for i in range(8)]
    rows = [row("replicate:A", name, value, held_out=unit) for name, value, unit in values]
    found = comparison_table(paired_models(table(*rows)).assign(q=1.0)).loc[("replicate", "WM")]
    assert (found["units"], found["data sets"], found["better"]) == (8, 1, 8)
    assert np.isnan(found["signs p"])
    labels = [row("random:A", r, 0.5, label=name) for r in ("raw", "WM") for name in ("s_phase", "hair", "caps")]
    found = comparison_table(paired_models(table(*labels)).assign(q=1.0)).loc[("random", "WM")]
    assert (found["units"], found["data sets"]) == (3, 1), "labels of one data set share its cells"


def test_cell_tests_are_delongs_on_stored_scores_with_q_over_the_family(tmp_path):
    workspace, rng = make_workspace(tmp_path), np.random.default_rng(0)
    truth, stored = np.repeat(["control", "stress"], 50), {}
    for representation, strength in (("raw", 2.0), ("WM", 0.2), ("ENS", 2.0)):
        stress = 1 / (1 + np.exp(-strength * (truth == "stress") - rng.normal(size=100)))
        scores = pd.DataFrame({"obs_name": [f"A:s:{i}" for i in range(100)], "y_true": truth})
        scores = scores.assign(sample="s", replicate=None, cell_type=None, n_counts=1.0)
        scores["score:control"], scores["score:stress"] = 1 - stress, stress
        stored[representation] = scores
        write_scores(workspace.scores_dir("leaf") / f"{representation}.parquet", scores, {})
    results = table(*(row("random:A", name, 0.5, key=name) for name in stored))
    tests = cell_tests(workspace, paired_models(results)).set_index("representation")
    for name in ("WM", "ENS"):
        expected = delong(stored[name], stored["raw"]).iloc[0]
        assert tests.loc[name, "low"] == pytest.approx(100 * expected["low"])
        assert tests.loc[name, "high"] == pytest.approx(100 * expected["high"])
        assert tests.loc[name, "p"] == pytest.approx(expected["p"])
    assert tests["q"].tolist() == pytest.approx(stats.false_discovery_control(tests["p"]).tolist())
    assert tests.loc["WM", "q"] < 0.05


def test_a_table_without_results_is_refused():
    with pytest.raises(InputError, match="No result of the paper's grid to compare"):
        paired_models(table(row("random:A", "WM", np.nan)))


def test_on_a_page_what_belongs_together_shares_a_cell():
    rows = [row(f"random:{d}", r, a) for d, wm in (("A", 0.6), ("B", 0.95)) for r, a in (("raw", 0.9), ("WM", wm))]
    shown = in_few_columns(comparison_table(paired_models(table(*rows)).assign(q=[0.01, 0.5]))).loc[("random", "WM")]
    assert shown["units (data sets)"] == "2 (2)" and shown["better : worse"] == "1 : 1"
    assert shown["median (range)"] == "−12.5 (−30.0\u00a0to\u00a05.0)" and np.isnan(shown["signs p"])
    assert shown["DeLong, better : worse"] == "0 : 1 of 2"


def test_representations_stand_in_the_order_of_the_figures():
    rows = [row("random:A", name, 0.5) for name in ("raw", "CLS", "PCA_1", "ENS", "WM")]
    tested = comparison_table(paired_models(table(*rows)).assign(q=1.0))
    assert tested.index.get_level_values("representation").tolist() == ["ENS", "WM", "CLS", "PCA_1"]
