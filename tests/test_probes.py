"""Probes: weights point at the genes that differ, libraries leak where they differ, signs are counted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from evaluation_world import DROUGHT, GENES, make_cells, make_workspace
from scipy.stats import fisher_exact

from scarafm_utils.errors import InputError
from scarafm_utils.experiment import CLASS, load_experiment
from scarafm_utils.features import TaskFeatures
from scarafm_utils.probes import (
    fit_lr,
    gene_set_enrichment,
    library_leakage,
    matched_types,
    sign_agreement,
    unit_weights,
    within_types,
)
from scarafm_utils.splits import random_split


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    workspace = make_workspace(tmp_path_factory.mktemp("probes"))
    cells = make_cells(DROUGHT, replicates=2, per_library=80, seed=1)
    cells.write_h5ad(workspace.processed_path("leaf", DROUGHT))
    return load_experiment(workspace, "leaf", f"replicate:{DROUGHT}")


def test_weights_have_the_sign_of_the_difference_of_means(experiment):
    cells = experiment.cells
    split = random_split(cells.obs, label_key=CLASS, seed=0)
    fit = fit_lr(cells, split, classes=experiment.classes)
    x = pd.DataFrame(cells.X.toarray(), index=cells.obs_names, columns=cells.var_names).loc[split.train]
    by = x.groupby(cells.obs.loc[split.train, CLASS]).mean()
    strong = fit.weights.abs().nlargest(8).index
    assert (np.sign(fit.weights[strong]) == np.sign(by.loc["stress"] - by.loc["control"])[strong]).all()
    assert list(fit.weights.index) == GENES
    assert 0.7 < fit.values("auroc")["auroc"] <= 1
    assert list(fit.scores["obs_name"]) == list(split.test)


def test_libraries_of_one_condition_leak_and_depth_does_not(experiment):
    features = TaskFeatures(experiment.cells, models={})
    table = library_leakage(experiment, features, representations=["raw", "depth"], seed=0)
    assert table["within"].unique().tolist() == ["control", "stress", "the label itself"]
    means = table[table["libraries"].fillna("") != ""].groupby("representation")["auroc"].mean()
    assert means["raw"] > 0.7
    assert means["depth"] == pytest.approx(0.5, abs=0.15)
    assert table["libraries"].iloc[0] == "c1 | c2"


def test_a_label_that_is_the_cell_type_is_not_matched_by_cell_type(experiment):
    cells = experiment.cells.copy()
    cells.obs[CLASS] = cells.obs["cell_type"]
    types = ("guard", "mesophyll")
    own = replace(experiment, cells=cells, classes=types)
    table = library_leakage(own, TaskFeatures(cells, models={}), representations=["raw"], seed=0)
    assert table.query("within == 'the label itself'")["n_test"].iloc[0] > 20
    assert table["within"].value_counts()["guard"] == 6


def test_matching_leaves_equal_counts_of_each_type_and_keeps_all_without_types():
    obs = pd.DataFrame({CLASS: list("aaabbb"), "cell_type": list("xxyxyz")}, index=list("123456"))
    kept = obs.loc[matched_types(obs, seed=0)]
    assert kept.groupby(["cell_type", CLASS]).size().to_dict() == {(t, c): 1 for t in "xy" for c in "ab"}
    assert len(matched_types(obs.drop(columns="cell_type"), seed=0)) == 6


def test_within_types_scores_each_type_alone_and_leaves_small_ones_out():
    scores = pd.DataFrame({"cell_type": ["x"] * 4 + ["y"] * 4 + ["z"], "y_true": list("ab" * 4) + ["a"]})
    scores["score:b"] = [0.1, 0.9, 0.2, 0.8, 0.9, 0.1, 0.8, 0.2, 0.5]
    scores["score:a"] = 1 - scores["score:b"]
    table = within_types(scores, min_cells=2).set_index("cell_type")
    assert table["auroc"].to_dict() == {"x": 1.0, "y": 0.0}
    assert within_types(scores, min_cells=3).empty


def test_sign_agreement_by_hand():
    weights = pd.DataFrame({"u": [3.0, -2.0, 0.1], "v": [1.0, 5.0, -0.2]}, index=["g1", "g2", "g3"])
    table = sign_agreement(weights, n_top=2).set_index(["unit", "other"])
    assert table.loc[("u", "v"), "same_sign"] == 0.5
    assert table.loc[("v", "u"), "same_sign"] == 0.5
    assert table["n_genes"].tolist() == [2, 2]
    with pytest.raises(InputError, match="two units or more"):
        sign_agreement(weights[["u"]])


def test_units_share_their_genes_and_a_unit_of_one_class_is_left_out(experiment):
    obs = experiment.cells.obs
    units = {"one": obs.index[obs["replicate"] == "rep1"], "control": obs.index[obs[CLASS] == "control"]}
    weights = unit_weights(experiment, units, seed=0)
    assert list(weights.columns) == ["one"] and list(weights.index) == GENES


def test_enrichment_agrees_with_fisher_exact():
    weights = pd.Series(np.linspace(5, 0.1, 20), index=[f"g{i}" for i in range(20)])
    row = gene_set_enrichment(weights, {"s": ["g0", "g1", "g9", "elsewhere"]}, n_top=4).iloc[0]
    assert (row["size"], row["found"], row["expected"]) == (3, 2, 0.6)
    assert row["p_value"] == pytest.approx(fisher_exact([[2, 1], [2, 15]], alternative="greater").pvalue)
