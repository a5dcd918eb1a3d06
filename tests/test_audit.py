"""The audit: losses, switches and bars by hand; the encoder's rules move what they should."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from evaluation_world import DROUGHT, make_cells

from scarafm_utils import audit
from scarafm_utils.audit import (
    bar_widths,
    encoder_switches,
    measured_effects,
    metric_losses,
    released_first_replicate,
    replicate_effect,
    switch_effects,
)
from scarafm_utils.differences import DIFFERENCES, differences_table
from scarafm_utils.heads import make_head
from scarafm_utils.model import ModelConfig, ScAraFM
from scarafm_utils.splits import replicate_split
from scarafm_utils.workspace import open_workspace


def row(**values) -> dict:
    base = {
        "task": "random:X", "label": "stress", "protocol": "random", "representation": "raw", "head": "LR",
        "n_train": "all", "seed": 0, "held_out": None, "fidelity": "paper", "auroc": 0.9, "auroc_hard": 0.8,
    }  # fmt: skip
    return base | values


def test_losses_weigh_tasks_alike():
    results = pd.DataFrame([row(), row(seed=1), row(task="random:Y", auroc_hard=0.5), row(fidelity="released")])
    table = metric_losses(results)
    assert table.loc["random", "loss"] == pytest.approx(25)
    assert table.loc["random", ["n_tasks", "n_rows", "least", "most"]].tolist() == pytest.approx([2, 3, 10, 40])


def test_a_switch_is_compared_with_the_paper_row_that_shares_everything_else():
    results = pd.DataFrame(
        [
            row(), row(seed=1, auroc=0.7), row(task="replicate:X", held_out="rep1", auroc=0.6),
            row(fidelity="released:labels", auroc=0.85), row(fidelity="released:labels", seed=1, auroc=0.75),
            row(fidelity="released:labels", task="replicate:X", held_out="rep1", auroc=0.5),
            row(fidelity="released:labels", seed=7, auroc=0.1), row(fidelity="matched", auroc=0.1),
        ]
    )  # fmt: skip
    table = switch_effects(results)
    assert list(table.index) == ["released:labels"]
    assert table.loc["released:labels", ["n_pairs", "n_tasks"]].tolist() == [3, 2]
    assert table.loc["released:labels", "change"] == pytest.approx(-5)
    assert table.loc["released:labels", ["least", "most"]].tolist() == pytest.approx([-10, 0])


def scores(truth: list[int], score: list[float]) -> pd.DataFrame:
    table = pd.DataFrame({"y_true": np.where(truth, "b", "a"), "score:b": score})
    return table.assign(**{"score:a": 1 - table["score:b"]})[["y_true", "score:a", "score:b"]]


def test_ten_resamples_are_narrower_and_a_tenth_of_the_cells_is_three_times_as_wide():
    rng = np.random.default_rng(0)
    truth = np.repeat([0, 1], 500)
    widths = bar_widths(scores(truth.tolist(), (rng.normal(size=1000) + truth).tolist()), seed=1)
    assert widths["ten"] < widths["book"]
    assert widths["tenth"] / widths["ten"] == pytest.approx(np.sqrt(10), rel=0.15)


def test_the_released_code_takes_the_replicate_of_the_first_cell_of_the_first_class():
    obs = pd.DataFrame({"class": ["stress", "control", "control"], "replicate": ["rep1", "rep2", "rep1"]})
    assert released_first_replicate(obs, class_key="class", replicate_key="replicate") == "rep2"
    results = pd.DataFrame(
        [row(task="t", protocol="replicate", held_out=r, auroc=a) for r, a in (("rep1", 0.8), ("rep2", 0.6))]
    )
    table = replicate_effect(results, {"t": ("rep1", "rep2"), "absent": ("a", "b")})
    assert table.loc["t", ["auroc here", "auroc released", "range over replicates"]].tolist() == pytest.approx(
        [0.8, 0.6, 20]
    )


def test_the_rules_of_the_released_encoder_move_embeddings_and_leave_the_model_alone():
    cells = make_cells(DROUGHT, replicates=1, per_library=10, seed=0)
    torch.manual_seed(0)
    model = ScAraFM(ModelConfig(dim=8, depth=1, heads=2, dim_head=4), list(cells.var_names))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    table = encoder_switches(model, cells, seed=0, n_cells=8)
    assert (table[["tokens", "cls"]] > 0).all(axis=None)
    assert table["genes_missing"].tolist() == [0.1, 0.0]
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert table.equals(encoder_switches(model, cells, seed=0, n_cells=8))


def test_every_difference_has_an_effect_or_a_reason():
    switched = {"released:labels": 0.85, "balanced_test": 0.91}
    results = pd.DataFrame([row(), *(row(fidelity=name, auroc=value) for name, value in switched.items())])
    bars = pd.DataFrame({"book": [2.0], "ten": [1.0], "tenth": [6.0]})
    encoder = pd.DataFrame({"n_cells": 8, "genes_missing": [0.1, 0.0], "tokens": [0.1, 0.02], "cls": [0.2, 0.03]})
    encoder.index = ["extra token for a missing gene", "key maximum over the batch"]
    effects = measured_effects(results, bars=bars, encoder=encoder, replicates=pd.DataFrame(), tuning="none")
    assert set(effects) < {d.topic for d in DIFFERENCES}
    table = differences_table(effects).set_index("topic")
    assert table.loc["Classes", "effect"].startswith("−5.0 points of AUROC")
    assert table.loc["Error bars", "effect"] == "width against this book's, median over tasks: 0.5 and 3.0 times"
    assert table.loc["The first replicate", "effect"] == "no result in this build"
    lacking, keys = (table.loc[t, "effect"] for t in ("Genes that a data set lacks", "Key stabiliser of FAVOR+"))
    assert lacking.endswith("CLS by 20.0\u00a0% (mean of 8 cells, with 10\u00a0% of the genes missing)")
    assert keys.endswith("CLS by 3.0\u00a0% (mean of 8 cells)")
    assert table.loc["Error bars", "here"].endswith("[n_boot; audit.bar_widths]")
    assert sorted(set(differences_table({}).index)) == list(range(1, 15))
    assert all(d.switch or d.why for d in DIFFERENCES)


def test_what_the_table_says_is_done_here_is_done_here():
    here = {d.topic: d.here for d in DIFFERENCES}
    assert make_head("MLP", seed=0).dropout > 0 and "released network" in here["Gene embeddings; the MLP"]
    obs = pd.DataFrame({"class": ["a", "b"] * 2, "replicate": ["z", "z", "b", "b"]}, index=list("1234"))
    test = replicate_split(obs, label_key="class", replicate_key="replicate", seed=0).test
    assert list(test) == ["1", "2"] and here["The first replicate"].startswith("the first to appear")


def test_bars_are_compared_with_as_many_resamples_as_the_profile_draws(monkeypatch):
    asked = []
    monkeypatch.setattr("scarafm_utils.scores.read_scores", lambda path: (path, {}))
    monkeypatch.setattr(audit, "bar_widths", lambda scores, **own: asked.append(own["n_boot"]) or {"book": 1.0})
    workspace = open_workspace("demo")
    audit.all_bar_widths(workspace, pd.DataFrame([row(tissue="leaf", key="k"), row(tissue="leaf", key="l", seed=1)]))
    assert asked == [workspace.profile.evaluation.n_boot]
