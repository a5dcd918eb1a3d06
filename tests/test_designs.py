"""Which protocols a design allows: known answers by hand, and agreement with the splits themselves."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scarafm_utils.designs import Design, design_of_cells, design_of_entry, partners, verdicts
from scarafm_utils.errors import InputError
from scarafm_utils.manifest import load_manifest
from scarafm_utils.splits import replicate_split

PROJECT = Path(__file__).resolve().parents[1]
CLASSES = ("control", "stress")


@pytest.fixture(scope="module")
def manifest():
    return load_manifest(PROJECT / "data_manifest.yaml")


def cells(*libraries: tuple, n: int = 40) -> pd.DataFrame:
    """`n` cells of each (sample, replicate, class)."""
    rows = [library for library in libraries for _ in range(n)]
    return pd.DataFrame(rows, columns=["sample", "replicate", "label"], index=[f"c{i}" for i in range(len(rows))])


def answers(design: Design, **kwargs) -> dict[str, tuple[str, str]]:
    return {v.protocol: (v.answer, v.reason) for v in verdicts(design, **{"partners": None} | kwargs)}


def test_two_libraries_of_two_conditions_measure_the_library():
    design = design_of_cells(cells(("a", "1", "control"), ("b", "1", "stress")), label_key="label", classes=CLASSES)
    assert design == Design(CLASSES, 2, {"control": 1, "stress": 1}, confounded=True, unit=None)
    found = answers(design)
    assert found["random"] == ("with care", "2 libraries: a random split measures the library")
    nothing = "nothing of control and stress is left to train on once a library is held out"
    assert found["replicate"] == ("no", nothing)
    assert found["matched"] == ("no", "needs what replicate needs")
    assert found["cross"] == ("no", "needs a second study with the same stress and the same classes")


def test_replicates_sets_of_libraries_and_mixed_libraries_can_be_held_out():
    two = [(f"{c}{r}", r, c) for c, r in product(CLASSES, "12")]
    assert answers(design_of_cells(cells(*two), label_key="label", classes=CLASSES))["replicate"] == (
        "yes", "2 replicates, held out in turn",
    )  # fmt: skip
    without = cells(*two).drop(columns="replicate")
    found = answers(design_of_cells(without, label_key="label", classes=CLASSES))
    assert found["replicate"] == ("yes", "one library of each class is held out, in 4 ways")
    assert found["random"] == ("with care", "4 libraries of one class each: a random split measures libraries too")
    mixed = cells(*[(s, "1", c) for s, c in product("abc", CLASSES)]).drop(columns="replicate")
    found = answers(design_of_cells(mixed, label_key="label", classes=CLASSES))
    assert found["random"] == ("yes", "the label varies inside libraries")
    assert found["replicate"] == ("yes", "3 libraries, held out in turn")


def test_three_libraries_of_two_classes_leave_one_class_without_training_cells():
    obs = cells(("a", "1", "control"), ("b", "1", "stress"), ("c", "1", "stress"))
    found = answers(design_of_cells(obs, label_key="label", classes=CLASSES))
    assert found["replicate"][1].startswith("nothing of control is left to train on")


def test_without_a_column_of_libraries_all_cells_are_one():
    obs = cells(("a", "1", "control"), ("b", "1", "stress")).drop(columns=["sample", "replicate"])
    design = design_of_cells(obs, label_key="label", classes=CLASSES)
    assert (design.n_libraries, design.unit) == (1, None)


@settings(max_examples=60, deadline=None)
@given(
    libraries=st.lists(
        st.tuples(st.sampled_from("abcd"), st.sampled_from("12"), st.sampled_from(CLASSES)), min_size=1, max_size=8
    ),
    key=st.sampled_from(["replicate", "sample"]),
)
def test_what_is_allowed_is_what_the_split_function_can_do(libraries, key):
    obs = cells(*libraries)
    if obs["label"].nunique() < 2:
        return
    asked = obs.drop(columns="sample" if key == "replicate" else "replicate")
    if key == "replicate":
        asked["sample"] = "one"
    design = design_of_cells(asked, label_key="label", classes=CLASSES)
    ways = []
    units = [(u,) for u in obs[key].unique()]
    if key == "sample" and design.confounded:
        units = list(product(*(obs.loc[obs["label"] == c, "sample"].unique() for c in CLASSES)))
    for unit in units:
        try:
            ways.append(replicate_split(obs, label_key="label", replicate_key=key, seed=0, held_out=list(unit)))
        except InputError:
            continue
    assert (design.n_units or 0) == len(ways)
    assert (answers(design)["replicate"][0] == "yes") == bool(ways)


def test_what_the_manifest_tells_of_the_papers_data_sets(manifest):
    def found(name):
        d = manifest[name]
        return answers(design_of_entry(d, "stress"), partners=partners(d, manifest, "stress"))

    assert found("ERP132245")["random"] == ("with care", "2 libraries: a random split measures the library")
    assert found("ERP132245")["cross"] == ("yes", "with GSE273033, in both directions")
    assert found("GSE235495")["replicate"] == ("yes", "2 replicates, held out in turn")
    assert found("GSE235495")["cross"] == ("no", "there is no second study with the same stress and the same classes")
    assert found("SRP169576")["replicate"] == (
        "yes", "one library of each class is held out, where each class has two: how many it has is not known",
    )  # fmt: skip
    assert found("SRP166333")["replicate"][1].startswith("no second replicate, and too few libraries are known")
    assert found("GSE226826")["random"][1].startswith("the number of libraries is not known")


def test_a_partner_needs_the_same_classes(manifest):
    other = manifest["GSE273033"]
    label = other.labels["stress"].model_copy(update={"classes": {"control": ["a"], "dry": ["b"], "stress": ["c"]}})
    changed = {**manifest, other.id: other.model_copy(update={"labels": {"stress": label}})}
    assert partners(manifest["ERP132245"], changed, "stress") == []
