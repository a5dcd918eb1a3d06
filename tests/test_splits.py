"""The protocols of appendix A.2: by hand, and for any data set hypothesis can think of."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scarafm_utils.errors import InputError
from scarafm_utils.splits import (
    balance_classes,
    cap,
    cross_experiment_split,
    random_split,
    replicate_split,
)

QUICK = settings(max_examples=40, deadline=None)


def make_obs(counts: dict[tuple[str, str], int], *, prefix: str = "A", shuffle: int = 0) -> pd.DataFrame:
    """One row per cell; `counts` gives the cells of each (label, replicate)."""
    rows = [pair for pair, n in counts.items() for _ in range(n)]
    obs = pd.DataFrame(rows, columns=["label", "replicate"])
    obs.index = [f"{prefix}:s:{i}" for i in range(len(obs))]
    return obs.iloc[np.random.default_rng(shuffle).permutation(len(obs))]


def of(obs, names):
    return obs.loc[names, "label"].value_counts().to_dict()


tables = st.fixed_dictionaries(
    {(c, r): st.integers(1, 60) for c in ("control", "stress") for r in ("r1", "r2", "r3")}
)
three_classes = st.fixed_dictionaries({(c, "r1"): st.integers(2, 50) for c in ("a", "b", "c")})
seeds = st.integers(0, 1000)


def test_balance_keeps_all_of_the_smallest_class():
    obs = make_obs({("control", "r1"): 9, ("stress", "r1"): 4})
    pool = balance_classes(obs, label_key="label", seed=3)
    assert of(obs, pool) == {"control": 4, "stress": 4}
    assert set(obs.index[obs["label"] == "stress"]) <= set(pool)


def test_cells_without_a_label_are_in_no_pool():
    obs = make_obs({("control", "r1"): 5, ("stress", "r1"): 5, ("", "r1"): 3})
    obs.iloc[0, 0] = np.nan
    assert not obs.loc[balance_classes(obs, label_key="label", seed=0), "label"].isin(["", np.nan]).any()


@pytest.mark.parametrize(("cells", "expected"), [(50, 20), (4_999, 1_998), (5_000, 2_000), (20_000, 2_000)])
def test_random_test_is_a_fifth_of_the_pool_up_to_two_thousand(cells, expected):
    obs = make_obs({("control", "r1"): cells, ("stress", "r1"): cells + 7})
    split = random_split(obs, label_key="label", seed=0)
    assert len(split.test) == expected
    assert len(split.train) == 2 * cells - expected


def test_replicate_test_is_the_first_to_appear_and_the_rest_trains():
    obs = make_obs({("control", "r2"): 10, ("stress", "r2"): 20, ("control", "r1"): 10, ("stress", "r1"): 20})
    first = obs["replicate"].iloc[0]
    split = replicate_split(obs, label_key="label", replicate_key="replicate", seed=1)
    assert set(obs.loc[split.test, "replicate"]) == {first}
    assert set(obs.loc[split.train, "replicate"]) == {"r1", "r2"} - {first}


def test_an_ordered_category_is_the_manifests_order():
    obs = make_obs({(c, r): 5 for c in ("control", "stress") for r in ("a", "b")})
    for order in (["a", "b"], ["b", "a"]):
        obs["replicate"] = pd.Categorical(obs["replicate"], categories=order, ordered=True)
        split = replicate_split(obs, label_key="label", replicate_key="replicate", seed=1)
        assert set(obs.loc[split.test, "replicate"]) == {order[0]}


def test_a_large_replicate_is_capped_in_its_own_proportions():
    obs = make_obs(
        {("control", "r1"): 3000, ("stress", "r1"): 1000, ("control", "r2"): 1000, ("stress", "r2"): 3000}
    )
    split = replicate_split(obs, label_key="label", replicate_key="replicate", seed=0, held_out="r1")
    assert of(obs, split.test) == {"control": 1500, "stress": 500}
    assert len(split.train) == 4000


def test_one_library_of_each_class_can_be_held_out():
    obs = make_obs({("control", "c1"): 8, ("control", "c2"): 8, ("stress", "s1"): 8, ("stress", "s2"): 8})
    split = replicate_split(
        obs, label_key="label", replicate_key="replicate", seed=0, held_out=("c2", "s1")
    )
    assert set(obs.loc[split.test, "replicate"]) == {"c2", "s1"}
    assert set(obs.loc[split.train, "replicate"]) == {"c1", "s2"}


def test_cross_tests_on_the_other_study_balanced_and_capped():
    source = make_obs({("control", "r1"): 30, ("stress", "r1"): 50}, prefix="A")
    target = make_obs({("control", "r1"): 1500, ("stress", "r1"): 1200}, prefix="B")
    split = cross_experiment_split(source, target, label_key="label", seed=0)
    assert of(source, split.train) == {"control": 30, "stress": 30}
    assert of(target, split.test) == {"control": 1000, "stress": 1000}


def test_a_small_class_of_the_target_sets_the_size_of_the_other():
    source = make_obs({("control", "r1"): 5, ("stress", "r1"): 5}, prefix="A")
    target = make_obs({("control", "r1"): 12, ("stress", "r1"): 1200}, prefix="B")
    split = cross_experiment_split(source, target, label_key="label", seed=0)
    assert of(target, split.test) == {"control": 12, "stress": 12}


@QUICK
@given(tables, seeds, st.integers(2, 80))
def test_random_split_holds_its_promises(counts, seed, max_test):
    if min(sum(n for (c, _), n in counts.items() if c == k) for k in ("control", "stress")) < 2:
        return
    obs = make_obs(counts, shuffle=seed)
    split = random_split(obs, label_key="label", seed=seed, max_test=max_test)
    assert not set(split.train) & set(split.test)
    pool = balance_classes(obs, label_key="label", seed=seed)
    assert set(split.train) | set(split.test) == set(pool)
    assert len(set(of(obs, pool).values())) == 1
    assert len(set(of(obs, split.test).values())) == 1
    assert len(split.test) <= max(2, min(0.2 * len(pool) + 1e-9, max_test))
    reversed_rows = random_split(obs[::-1], label_key="label", seed=seed, max_test=max_test)
    assert set(reversed_rows.test) == set(split.test)


@QUICK
@given(three_classes, seeds)
def test_three_classes_are_equal_in_the_test_set(counts, seed):
    obs = make_obs(counts)
    split = random_split(obs, label_key="label", seed=seed, max_test=20)
    assert len(set(of(obs, split.test).values())) == 1
    assert len(of(obs, split.test)) == 3


@QUICK
@given(tables, seeds, st.integers(1, 50))
def test_a_held_out_replicate_is_absent_from_training(counts, seed, max_test):
    obs = make_obs(counts, shuffle=seed)
    try:
        split = replicate_split(
            obs, label_key="label", replicate_key="replicate", seed=seed, held_out="r2", max_test=max_test
        )
    except InputError as error:  # balancing may leave a tiny replicate without one class
        assert "Holding out replicate r2" in str(error)
        return
    assert set(obs.loc[split.test, "replicate"]) == {"r2"}
    assert "r2" not in set(obs.loc[split.train, "replicate"])
    assert len(split.test) <= max_test
    assert set(split.train) | set(split.test) <= set(balance_classes(obs, label_key="label", seed=seed))


@QUICK
@given(tables, tables, seeds)
def test_cross_split_holds_its_promises(source_counts, target_counts, seed):
    source, target = make_obs(source_counts, prefix="A"), make_obs(target_counts, prefix="B")
    split = cross_experiment_split(source, target, label_key="label", seed=seed, max_test=60)
    assert len(set(of(source, split.train).values())) == 1
    assert len(set(of(target, split.test).values())) == 1
    assert len(split.test) <= 60
    assert not set(split.train) & set(split.test)


@QUICK
@given(tables, seeds, st.data())
def test_cap_is_proportional_nested_and_repeatable(counts, seed, data):
    obs = make_obs(counts)
    n = data.draw(st.integers(1, len(obs)))
    names = cap(obs, n, label_key="label", seed=seed)
    assert len(names) == n and names.is_unique
    for label, total in of(obs, obs.index).items():
        assert abs(of(obs, names).get(label, 0) - n * total / len(obs)) < 1
    assert list(names) == list(cap(obs, n, label_key="label", seed=seed))
    if n < len(obs):
        assert len(set(names) - set(cap(obs, n + 1, label_key="label", seed=seed))) <= 1


def split_of(protocol, obs, target, *, seed, max_test=2000):
    """One split by any of the three protocols, all from the same two tables."""
    same = {"label_key": "label", "seed": seed, "max_test": max_test}
    if protocol == "random":
        return random_split(obs, **same)
    if protocol == "replicate":
        return replicate_split(obs, replicate_key="replicate", held_out="r1", **same)
    return cross_experiment_split(obs, target, **same)


plenty = st.fixed_dictionaries({
    (c, r): st.integers(8, 40) for c in ("control", "heat", "stress") for r in ("r1", "r2", "r3")
})  # fmt: skip
protocols = st.sampled_from(["random", "replicate", "cross"])


@QUICK
@given(protocols, plenty, plenty, seeds, st.integers(9, 60))
def test_every_protocol_keeps_sides_apart_repeats_itself_and_ignores_the_order_of_rows(
    protocol, counts, target_counts, seed, max_test
):
    obs, target = make_obs(counts, shuffle=seed), make_obs(target_counts, prefix="B", shuffle=seed)
    split, again = (split_of(protocol, obs, target, seed=seed, max_test=max_test) for _ in range(2))
    assert not set(split.train) & set(split.test) and split.train.is_unique and split.test.is_unique
    assert [list(side) for side in split] == [list(side) for side in again]
    reordered = split_of(protocol, obs[::-1], target[::-1], seed=seed, max_test=max_test)
    if protocol != "replicate":  # A.2 does not balance a held-out replicate
        assert len(set(of(pd.concat([obs, target]), split.test).values())) == 1
    assert [set(side) for side in split] == [set(side) for side in reordered]
    assert 0 < len(split.test) <= max_test
    pool = set(balance_classes(obs, label_key="label", seed=seed))
    assert set(split.train) <= pool
    if protocol != "cross":
        assert set(split.test) <= pool


@QUICK
@given(protocols, plenty, plenty, seeds, st.data())
def test_capping_the_training_cells_never_touches_the_test_cells(protocol, counts, target_counts, seed, data):
    obs, target = make_obs(counts), make_obs(target_counts, prefix="B")
    split = split_of(protocol, obs, target, seed=seed)
    sizes = data.draw(st.lists(st.integers(3, len(split.train)), min_size=2, max_size=4))
    capped = {n: cap(obs.loc[split.train], n, label_key="label", seed=seed) for n in sizes}
    for n, names in capped.items():
        assert len(names) == n and set(names) <= set(split.train) and not set(names) & set(split.test)
    assert list(split_of(protocol, obs, target, seed=seed).test) == list(split.test)


@QUICK
@given(
    st.dictionaries(
        st.tuples(st.sampled_from(["control", "stress"]), st.sampled_from(["s1", "s2", "s3", "s4"])),
        st.integers(1, 12), min_size=1,
    ),
    st.sets(st.sampled_from(["s1", "s2", "s3", "s4"]), min_size=1, max_size=3),
    seeds,
)  # fmt: skip
def test_a_label_on_one_side_only_is_refused_whatever_libraries_are_held_out(counts, held_out, seed):
    """Libraries that hold one class, both or none: a split either has every class on both sides or is refused."""
    obs = make_obs(counts)
    try:
        split = replicate_split(
            obs, label_key="label", replicate_key="replicate", seed=seed, held_out=sorted(held_out)
        )
    except InputError as error:
        assert any(words in str(error) for words in ("leaves no", "needs at least two", "No cell has"))
        return
    for names in split:
        assert set(of(obs, names)) == {"control", "stress"}
    assert set(obs.loc[split.test, "replicate"]) <= held_out
    assert not set(obs.loc[split.train, "replicate"]) & held_out


def test_another_seed_gives_another_split():
    obs = make_obs({("control", "r1"): 50, ("stress", "r1"): 50})
    tests = {tuple(random_split(obs, label_key="label", seed=s).test) for s in range(5)}
    assert len(tests) == 5


TWO = {("control", "r1"): 5, ("stress", "r1"): 5}
HEAT = {("control", "r1"): 2, ("heat", "r1"): 2}


def balance(counts, **changes):
    return balance_classes(make_obs(counts), **({"label_key": "label", "seed": 0} | changes))


def random(counts, **changes):
    return random_split(make_obs(counts), label_key="label", seed=0, **changes)


def replicate(counts, **changes):
    keys = {"label_key": "label", "replicate_key": "replicate", "seed": 0}
    return replicate_split(make_obs(counts), **(keys | changes))


def cross(target_counts, *, prefix="B"):
    target = make_obs(target_counts, prefix=prefix)
    return cross_experiment_split(make_obs(TWO), target, label_key="label", seed=0)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: balance(TWO, label_key="lable"), r"no column 'lable' \(found: label"),
        (lambda: balance({("control", "r1"): 5}), r"has 1 class \(control 5\)"),
        (lambda: cap(make_obs(TWO), 11, label_key="label", seed=0), r"11 cells from 10"),
        (lambda: cap(make_obs(TWO), 0, label_key="label", seed=0), r"0 cells from 10"),
        (lambda: random(TWO, test_size=1.5), r"1\.5"),
        (lambda: random(TWO | {("control", "r1"): 1}), r"1 cell per class .*\(control 1, stress 5\)"),
        (lambda: replicate(TWO), r"'replicate' has 1 value \(r1\)"),
        (lambda: replicate(TWO, replicate_key="Repeat"), r"no column 'Repeat'"),
        (lambda: replicate(TWO | {("control", "r2"): 5}, held_out="r9"), r"r9 \(found: r1, r2\)"),
        (lambda: replicate({("control", "s1"): 5, ("stress", "s2"): 5}), r"leaves no \w+ in the test"),
        (lambda: replicate({("control", "c1"): 5, ("control", "c2"): 5, ("stress", "s1"): 5}, held_out=("c1", "s1")),
         r"Holding out replicate c1\+s1 leaves no stress in the training set"),
        (lambda: replicate(TWO | {("stress", ""): 2}), r"2 of 12 cells have no 'replicate'"),
        (lambda: cross(HEAT), r"one side only: heat, stress"),
        (lambda: cross(TWO, prefix="A"), r"share 10 cells"),
    ],
)
def test_bad_input_is_refused_with_its_evidence(call, words):
    with pytest.raises(InputError, match=words):
        call()


def test_a_declared_class_without_cells_is_refused():
    obs = make_obs(TWO)
    obs["label"] = pd.Categorical(obs["label"], categories=["control", "stress", "recovery"])
    with pytest.raises(InputError, match="no cell in class recovery"):
        balance_classes(obs, label_key="label", seed=0)


def test_repeated_names_are_refused():
    obs = make_obs(TWO)
    obs.index = ["same"] * len(obs)
    with pytest.raises(InputError, match="not unique, for example same"):
        balance_classes(obs, label_key="label", seed=0)
