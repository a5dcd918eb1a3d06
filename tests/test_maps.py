"""Maps: numbers known by hand, chance that is chance, and no encoder where none may be."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
from evaluation_world import DROUGHT, GENES, OTHER, make_workspace
from sklearn.neighbors import KNeighborsClassifier

from scarafm_utils import maps
from scarafm_utils.checkpoints import save_checkpoint
from scarafm_utils.errors import InputError
from scarafm_utils.figures_maps import _colours, map_figure
from scarafm_utils.maps import ACROSS, CellMap, other_assignments, purities, purity_table, read_map, shown_task
from scarafm_utils.model import ModelConfig, ScAraFM


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    """Two data sets and an encoder; the layout is two columns of the features, for UMAP takes seconds to compile."""
    monkeypatch.setattr(maps, "layout", lambda features, *, seed: features[:, :2].astype(float))
    workspace = make_workspace(tmp_path)
    model = ScAraFM(ModelConfig(dim=8, depth=1, heads=2, dim_head=4), GENES)
    save_checkpoint(model, workspace.checkpoint_dir("leaf"))
    return workspace


def table_of(condition, library) -> pd.DataFrame:
    return pd.DataFrame({"condition": condition, "library": library, "cell_type": None, "depth": None})


def clumps(n_each: int, places: list[float]) -> np.ndarray:
    """`n_each` cells around each place on a line, nearer to each other than to any other clump."""
    return np.concatenate([place + np.linspace(0, 0.1, n_each) for place in places])[:, None]


def test_the_share_of_alike_neighbours_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(90, 4)), rng.integers(0, 3, 90)
    labels = table_of([f"c{i}" for i in y], [f"l{i}" for i in y])
    row = purities(x, labels, seed=0)[0]
    near = KNeighborsClassifier(16).fit(x, y).kneighbors(x, return_distance=False)[:, 1:]
    assert row["purity"] == pytest.approx((y[near] == y[:, None]).mean())
    assert row["permuted"] == pytest.approx(((np.bincount(y) / 90) ** 2).sum(), abs=0.02)
    assert row["permuted"] < row["highest"] < 0.5 and row["n_permuted"] == 99


def test_libraries_that_clump_look_like_a_condition_until_neighbours_come_from_other_libraries():
    condition, library = np.repeat(list("cscs"), 20), np.repeat(["1", "2", "3", "4"], 20)
    alone = clumps(20, [0, 10, 100, 110])  # each library by itself, beside one of the other condition
    condition_row, across = purities(alone, table_of(condition, library), seed=0)[:2]
    assert condition_row["purity"] == 1.0
    assert (across["colouring"], across["purity"], across["n_permuted"]) == (ACROSS, 0.0, 2)
    together = clumps(20, [0, 100, 1, 101])  # libraries of one condition side by side
    assert purities(together, table_of(condition, library), seed=0)[1]["purity"] == 1.0


@pytest.mark.parametrize(
    ("condition", "library", "reason"),
    [
        (list("c" * 20 + "s" * 20), list("1" * 20 + "2" * 20), "too few libraries"),
        (list("cs" * 20), list("1" * 20 + "2" * 20), "no property of whole libraries"),
        ([None] * 40, list("1" * 20 + "2" * 20), "not known"),
    ],
)
def test_what_cannot_be_told_apart_is_said_and_not_counted(condition, library, reason):
    row = purities(np.arange(40.0)[:, None], table_of(condition, library), seed=0)[1]
    assert reason in row["reason"] and "purity" not in row


def test_conditions_are_dealt_out_over_libraries_and_names_may_swap():
    assert other_assignments(["a", "b"], seed=0) == []
    assert other_assignments(["b", "b", "a", "a"], seed=0) == [(0, 1, 0, 1), (0, 1, 1, 0)]
    assert len(other_assignments(list("aaabbb"), seed=0)) == 9  # ten partitions, one of them the truth


def test_a_map_holds_every_representation_and_is_made_once(workspace, monkeypatch):
    found = read_map(workspace, "leaf", f"random:{DROUGHT}")
    assert {f"{r}_{i}" for r in ("raw", "CLS", "WM") for i in (1, 2)} <= set(found.points)
    assert found.points["library"].unique().tolist() == ["c1", "s1", "c2", "s2"]
    assert sorted(found.points["depth"].value_counts()) == [53, 53, 54]
    monkeypatch.setattr(maps, "make_map", lambda *where: pytest.fail("made again"))
    again = read_map(workspace, "leaf", f"replicate:{DROUGHT}")
    pd.testing.assert_frame_equal(again.points, found.points)
    pd.testing.assert_frame_equal(again.purity, found.purity)


def test_other_weights_make_another_map_and_remove_the_old_one(workspace):
    read_map(workspace, "leaf", f"random:{DROUGHT}")
    model = ScAraFM(ModelConfig(dim=8, depth=1, heads=2, dim_head=4, seed=1), GENES)
    save_checkpoint(model, workspace.checkpoint_dir("leaf"))
    read_map(workspace, "leaf", f"random:{DROUGHT}")
    assert len(list((workspace.tables_dir / "maps" / "leaf" / DROUGHT).iterdir())) == 1


def test_both_directions_of_a_pair_share_a_map_and_each_data_set_the_same_number_of_cells(workspace, monkeypatch):
    monkeypatch.setattr(maps, "MAX_CELLS", 120)
    there = read_map(workspace, "leaf", f"cross:{DROUGHT}:{OTHER}")
    back = read_map(workspace, "leaf", f"cross:{OTHER}:{DROUGHT}")
    pd.testing.assert_frame_equal(there.points, back.points)
    assert there.points["dataset"].value_counts().to_dict() == {DROUGHT: 60, OTHER: 60}
    assert there.points["library"].value_counts()[f"{DROUGHT}:c1"] == 15, "libraries in proportion"


def test_real_cells_meet_no_encoder_of_a_simulated_corpus_and_the_figure_says_so(workspace):
    profile = workspace.profile.model_copy(update={"source": "local"})
    real = type(workspace)(profile, workspace.manifest, workspace.folder)
    found = read_map(real, "leaf", f"random:{DROUGHT}")
    assert "raw_1" in found.points and "CLS_1" not in found.points
    texts = [t.get_text() for ax in map_figure(found).axes for t in ax.texts]
    assert len(texts) == 6 and "never meets real ones" in " ".join(texts[0].split())
    shown = purity_table(real, "leaf", f"random:{DROUGHT}")
    assert "never meets real ones" in shown.loc[(DROUGHT, "CLS")].iloc[0]


def test_the_page_of_all_tasks_shows_a_held_out_replicate_and_every_data_set_once(workspace):
    assert shown_task(workspace, "leaf") == f"replicate:{DROUGHT}"
    table = purity_table(workspace, "leaf")
    pair = " + ".join(sorted([DROUGHT, OTHER]))
    assert list(table.index) == [(d, r) for d in (DROUGHT, pair) for r in ("raw", "CLS", "WM")]
    assert maps.write_maps(workspace, "leaf")["datasets"].nunique() == 2
    for text in table["cell type"]:
        assert re.fullmatch(r"\d\.\d\d\n\(\d\.\d\d,\u00a0\d\.\d\d\)", text), "breaks in one place only"


def test_the_figure_draws_every_cell_in_every_panel_with_its_number(workspace):
    found = read_map(workspace, "leaf", f"random:{DROUGHT}")
    figure = map_figure(found, simulated=True)
    drawn = figure.findobj(lambda a: str(a.get_gid()).startswith("cells|"))
    assert [len(d.get_offsets()) for d in drawn] == [160] * 9
    number = found.purity.query("representation == 'WM' and colouring == 'library'").iloc[0]
    assert figure.axes[7].get_xlabel() == f"neighbours alike {number.purity:.2f}, by chance {number.permuted:.2f}"


def test_too_few_cells_for_a_map_are_refused():
    with pytest.raises(InputError, match="a map of 15 cells: 15 neighbours need more"):
        maps.layout(np.zeros((15, 3)), seed=0)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_layout():
    x = np.random.default_rng(0).normal(size=(60, 5)).astype(np.float32)
    assert np.array_equal(maps.layout(x, seed=0), maps.layout(x, seed=0))
    assert not np.array_equal(maps.layout(x, seed=0), maps.layout(x, seed=1))


def test_a_map_of_many_groups_names_what_it_cannot_colour():
    n = 60
    points = pd.DataFrame({"dataset": "A", "condition": None, "library": [f"l{i % 20:02d}" for i in range(n)],
                           "cell_type": "x", "raw_1": np.arange(n), "raw_2": 0.0})  # fmt: skip
    rows = [{"representation": r, "colouring": c, "purity": np.nan, "reason": "one value only"}
            for r in ("raw", "CLS", "WM") for c in ("condition", "library", "cell_type")]  # fmt: skip
    figure = map_figure(CellMap(points, pd.DataFrame(rows)))
    texts = [t.get_text() for legend in figure.legends for t in legend.get_texts()]
    assert "8 others" in texts and "not known" in texts


def test_a_control_has_the_same_colour_beside_any_number_of_stresses():
    def colours(*conditions):
        return _colours(pd.DataFrame({"condition": conditions, "dataset": "A"}), "condition")

    two, three = colours("stress", "control"), colours("induction_20h", "control", "induction_08h")
    assert two["control"] == three["control"] and two["stress"] == three["induction_08h"]
    assert len(set(three.values())) == 3
