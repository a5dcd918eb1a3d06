"""From what is asked to what is fitted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from evaluation_world import make_profile

from scarafm_utils.configurations import Configuration, make_request, plan_extra, plan_grid
from scarafm_utils.errors import InputError

OWN = make_profile(
    representations=["raw", "WM", "CNN"], controls=["depth", "untrained:CNN"], heads=["XGB", "LR", "CNN"]
).evaluation


def test_what_is_not_asked_comes_from_the_profile():
    request = make_request(OWN, heads=["LR"], n_train=[], fidelity=None, held_out="rep2")
    assert request.heads == ("LR",) and request.n_train == (20, "all")
    assert request.fidelity == "paper" and request.held_out == ("rep2",)
    assert make_request(OWN) == make_request(OWN, representations=[], seeds=())


def test_controls_come_with_the_profiles_own_representations_only():
    assert make_request(OWN).controls == ("depth", "untrained:CNN")
    assert make_request(OWN, representations=["raw"]).controls == ()
    assert make_request(OWN, representations=["raw"], controls=["depth"]).controls == ("depth",)


def test_one_value_and_numpys_numbers_are_as_good_as_lists():
    request = make_request(OWN, n_train=np.array([20, 50]), seeds=3, heads="LR")
    assert (request.n_train, request.seeds, request.heads) == ((20, 50), (3,), ("LR",))
    assert {type(n) for n in (*request.n_train, *request.seeds)} == {int}
    assert make_request(OWN, seeds=0).seeds == (0,)


@pytest.mark.parametrize(("sizes", "largest"), [([100, 200], 200), ([200, 100], 200), (["all", 300], "all")])
def test_controls_run_at_the_largest_size_asked_for(sizes, largest):
    grid = plan_grid(make_request(OWN, n_train=sizes), protocol="random", held_out=())
    assert {c.n_train for c in grid if c.representation in ("depth", "untrained:CNN")} == {largest}
    assert {c.n_train for c in grid} == set(sizes)


def test_cnn_goes_with_cnn_and_controls_with_lr_on_all_cells():
    grid = plan_grid(make_request(OWN), protocol="random", held_out=())
    assert len(grid) == 2 * (2 * 2 + 1) + 2
    assert {c.head for c in grid if c.representation.endswith("CNN")} == {"CNN"}
    assert [(c.representation, c.head, c.n_train) for c in grid[-2:]] == [
        ("depth", "LR", "all"), ("untrained:CNN", "CNN", "all"),
    ]  # fmt: skip
    assert [c.representation for c in grid if c.needs_encoder] == ["WM", "WM", "CNN"] * 2 + ["untrained:CNN"]


def test_extra_rows_are_raw_and_lr_on_all_cells():
    request = make_request(OWN)
    units = [("rep1",), ("rep2",)]
    grid = plan_extra(request, OWN.extra, protocol="replicate", units=units)
    assert {(c.representation, c.head, c.n_train) for c in grid} == {("raw", "LR", "all")}
    paper = {(c.seed, c.held_out) for c in grid if c.fidelity == "paper"}
    assert paper == {(seed, unit) for seed in (0, 1) for unit in units}
    matched = [c for c in grid if c.fidelity == "matched"]
    assert {c.protocol for c in matched} == {"random", "replicate"} and len(matched) == 8
    assert {c.fidelity for c in grid} == {
        "paper", "matched", "released", "released:labels", "released:train_90", "released:global_seed",
    }  # fmt: skip
    assert {c.fidelity for c in plan_extra(request, OWN.extra, protocol="cross", units=[()])} >= {"released"}


def test_extra_rows_have_the_sizes_of_the_profile():
    extra = OWN.extra.model_copy(update={"n_train": [30, "all"]})
    same = {"protocol": "replicate", "units": [("rep1",), ("rep2",)]}
    grid = plan_extra(make_request(OWN), extra, **same)
    alone = plan_extra(make_request(OWN), OWN.extra, **same)
    assert [c for c in grid if c.n_train == "all"] == alone
    assert [replace(c, n_train="all") for c in grid if c.n_train == 30] == alone


def test_what_no_task_holds_out_is_held_out_aside_with_the_seeds_of_the_grid():
    request, pairs = make_request(OWN), [("c1", "s1"), ("c1", "s2"), ("c2", "s1")]
    alone = plan_extra(request, OWN.extra, protocol="random", units=[()])
    grid = plan_extra(request, OWN.extra, protocol="random", units=[()], aside=pairs)
    added = [c for c in grid if c not in alone]
    assert len(added) == 2 * len(pairs) * len(request.seeds) and len(grid) == len(alone) + len(added)
    assert {(c.held_out, c.protocol) for c in added} == {(u, p) for u in pairs for p in ("random", "replicate")}
    assert {(c.representation, c.head, c.fidelity) for c in added} == {("raw", "LR", "matched")}
    once = OWN.extra.model_copy(update={"hold_out_all": False})
    assert not [c for c in plan_extra(request, once, protocol="random", units=[()], aside=pairs) if c.held_out]


def test_further_units_have_the_representations_that_the_profile_names():
    extra = OWN.extra.model_copy(update={"representations": ["raw", "WM", "CNN"], "seeds": []})
    units = [("rep1",), ("rep2",), ("rep3",)]
    grid = plan_extra(make_request(OWN), extra, protocol="replicate", units=units)
    added = [(c.representation, c.head, c.held_out) for c in grid if c.representation != "raw"]
    beside_the_cnn = [c.held_out for c in grid if c.representation == "raw" and c.head == "MLP"]
    assert beside_the_cnn == units[1:]
    assert added == [("WM", "LR", units[1]), ("WM", "LR", units[2]), ("CNN", "CNN", units[1]), ("CNN", "CNN", units[2])]


def test_a_head_has_the_seed_of_its_split_unless_it_has_its_own():
    assert Configuration("raw", "MLP", seed=3).head_seed == 3
    assert Configuration("raw", "MLP", seed=3, fit_seed=0).head_seed == 0
    assert Configuration("raw", "MLP", seed=3).split_key == Configuration("raw", "MLP", seed=3, fit_seed=0).split_key


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"representations": ["wm"]}, "representations: 'wm' is not known"),
        ({"heads": ["SVM"]}, "heads: 'SVM' is not known"),
        ({"fidelity": "releasd"}, "did you mean 'released'"),
        ({"tuning": "grid"}, "tuning: 'grid'"),
        ({"n_train": [0]}, "n_train: '0' is neither"),
        ({"n_train": ["some"]}, "n_train: 'some' is neither"),
        ({"n_train": [10.5]}, "n_train: '10.5' is neither"),
        ({"n_train": [True]}, "n_train: 'True' is neither"),
        ({"n_train": ["20"]}, "n_train: '20' is neither"),
        ({"seeds": [-1]}, "seeds: '-1' is no whole number from 0 on"),
        ({"seeds": [0, 1.5]}, "seeds: '1.5' is no whole"),
        ({"seeds": "all"}, "seeds: 'all' is no whole"),
        ({"seeds": [False]}, "seeds: 'False' is no whole"),
        ({"vote": ["mean", "majority"]}, "vote: mean, majority: give one"),
    ],
)
def test_unknown_names_are_refused(asked, words):
    with pytest.raises(InputError, match=words):
        make_request(OWN, **asked)


def test_a_grid_without_any_combination_is_refused():
    with pytest.raises(InputError, match="CNN goes with the head CNN"):
        plan_grid(make_request(OWN, representations=["CNN"], heads=["LR"]), protocol="random", held_out=())
