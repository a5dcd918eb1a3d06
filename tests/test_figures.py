"""Figures show the table's values, leave gaps where the table has gaps, and say 'simulated cells'."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.image import imread
from PIL import Image

from scarafm_utils import figures
from scarafm_utils.errors import InputError
from scarafm_utils.figure_rows import POOLED, SLOTS, ordered_tasks, paper_rows
from scarafm_utils.figure_style import COLOURS, HATCHES, MARKERS, RASTER

LEAF = [
    "random:ERP132245",
    "random:GSE226826",
    "random:GSE273033",
    "random:SRP398011",
    "replicate:GSE273033",
    "cross:SRP398011:GSE226826",
    "cross:GSE273033:ERP132245",
]
BOTH_WAYS = [*LEAF, "cross:GSE226826:SRP398011", "cross:ERP132245:GSE273033"]
ROOT = ["random:GSE235495", "random:SRP148288", "random:SRP166333", "replicate:GSE235495"]
SIZES = ("50", "100", "all")


def rows_of_task(task: str, *, tissue: str, seed: int) -> list[dict]:
    rng = np.random.default_rng([seed, len(task), sum(map(ord, task))])
    protocol, *datasets = task.split(":")
    names = [(head, name) for head in ("LR", "XGB", "MLP") for name in (*POOLED, "binned")]
    rows = []
    for head, name in [*names, ("CNN", "CNN")]:
        for n_train in SIZES:
            auroc = float(rng.uniform(0.52, 0.97))
            rows.append(
                {
                    "tissue": tissue,
                    "task": task,
                    "protocol": protocol,
                    "train_dataset": datasets[0],
                    "test_dataset": datasets[-1],
                    "label": "stress",
                    "held_out": "",
                    "representation": name,
                    "head": head,
                    "n_train": n_train,
                    "seed": 0,
                    "fidelity": "paper",
                    "auroc": auroc,
                    "auroc_low": auroc - 0.03,
                    "auroc_high": auroc + 0.02,
                    "auroc_hard": 0.5 + 0.8 * (auroc - 0.5),
                }
            )
    return rows


def results(tasks=LEAF, *, tissue="leaf", seed=0) -> pd.DataFrame:
    return pd.DataFrame([row for task in tasks for row in rows_of_task(task, tissue=tissue, seed=seed)])


def history(tissues=("leaf", "root")) -> pd.DataFrame:
    epochs = np.arange(1, 6)
    part = {"epoch": epochs, "train_loss": 2 / epochs, "val_loss": [1.9, 1.2, 1.0, 1.1, 1.3]}
    accuracy = {"val_accuracy": 0.1 * epochs, "baseline_commonest": 0.4, "baseline_of_the_cell": 0.7}
    return pd.concat([pd.DataFrame({"tissue": t, **part, **accuracy}) for t in tissues])


def cells() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    parts = [
        {
            "dataset": name,
            "role": role,
            "total_counts": rng.lognormal(7, 0.5, 80),
            "n_genes": rng.lognormal(5, 0.4, 80),
        }
        for name, role in (("ERP132245", "downstream"), ("DRP009643", "pretraining"))
    ]
    return pd.concat([pd.DataFrame(part) for part in parts])


def nulls() -> pd.DataFrame:
    contrasts = ["library"] * 4 + ["permuted"] * 5
    protocols = ["random"] * 4 + ["random", "random", "random", "held-out pair", "held-out pair"]
    auroc = [0.9, 0.95, 0.97, np.nan, 0.8, 0.85, 0.99, 0.45, 0.55]
    true = [False] * 6 + [True, False, False]
    return pd.DataFrame({"contrast": contrasts, "protocol": protocols, "auroc": auroc, "is_true": true})


def matrix() -> pd.DataFrame:
    names = ["ERP132245", "GSE226826", "GSE273033"]
    return pd.DataFrame([[200, 90, 80], [90, 200, 70], [80, 70, 200]], names, names)


CONFIG = {"dim": 200, "depth": 3, "heads": 10, "dim_head": 64, "nb_features": 266, "n_genes": 4000}
VOCABULARY = pd.DataFrame({"gene": ["a", "b", "c", "d"], "n_datasets": [3, 3, 2, 1]})

#: Every figure that shows data, on a small table.
DATA_FIGURES = {
    "leaf": lambda **s: figures.leaf_figure(results(BOTH_WAYS), **s),
    "root": lambda **s: figures.root_figure(results(ROOT, tissue="root"), **s),
    "task": lambda **s: figures.task_figure(results(LEAF[-1:]), **s),
    "scaling": lambda **s: figures.scaling_figure(results(BOTH_WAYS), tissue="leaf", **s),
    "gradient": lambda **s: figures.protocol_gradient(results(), dataset="GSE273033", **s),
    "metric": lambda **s: figures.metric_figure(results(), **s),
    "heldout": lambda **s: figures.heldout_figure(held_out_results(), **s),
    "matched": lambda **s: figures.heldout_figure(matched_results(), **s),
    "null": lambda **s: figures.null_figure(nulls(), **s),
    "loss": lambda **s: figures.loss_figure(history(), **s),
    "accuracy": lambda **s: figures.accuracy_figure(history(), **s),
    "qc": lambda **s: figures.qc_figure(cells(), **s),
    "hvg": lambda **s: figures.hvg_overlap_figure(matrix(), **s),
    "vocabulary": lambda **s: figures.vocabulary_figure(VOCABULARY, **s),
}
DRAWINGS = {
    "protocols": figures.protocol_schematic,
    "architecture": lambda: figures.architecture_figure(CONFIG),
}


def held_out_results() -> pd.DataFrame:
    table = results(["random:GSE273033", "replicate:GSE273033"])
    raw = table[(table["representation"] == "raw") & (table["head"] == "LR") & (table["n_train"] == "all")]
    first = raw[raw["protocol"] == "replicate"]
    named = [first.assign(held_out=name, auroc=value) for name, value in (("R1", 0.61), ("R2", 0.83))]
    return pd.concat([table, *named])


def matched_results() -> pd.DataFrame:
    """Long names, and marks of each kind that one data set can have."""
    table = held_out_results().replace({"held_out": {"R1": "S01+S05+S06", "R2": "S07+S05+S06"}})
    units = table[table["held_out"].isin(["S01+S05+S06", "S07+S05+S06"])]
    return pd.concat([table, *(units.assign(fidelity="matched", protocol=p) for p in ("random", "replicate"))])


def artists(figure, kind: str) -> dict:
    """Artists whose gid is ``kind|key``, by key."""
    found = figure.findobj(lambda a: str(a.get_gid() or "").startswith(f"{kind}|"))
    return {a.get_gid().split("|", 1)[1]: a for a in found}


def with_gid(figure, gid: str) -> list:
    return figure.findobj(lambda a: a.get_gid() == gid)


def bar_values(table: pd.DataFrame) -> dict[str, float]:
    keys = [f"{t}|stress|{h}|{r}" for t, h, r in table[["task", "head", "representation"]].to_numpy()]
    return dict(zip(keys, table["auroc"], strict=True))


def test_bars_are_as_high_as_the_table_says_and_none_is_left_out():
    table = results()
    figure = figures.leaf_figure(table)
    wanted = bar_values(table[(table["n_train"] == "all") & (table["representation"] != "binned")])
    assert len(wanted) == len(LEAF) * 22
    drawn = {key: bar.get_height() for key, bar in artists(figure, "bar").items()}
    assert drawn == pytest.approx(wanted)
    assert not artists(figure, "missing")


def test_whiskers_run_from_low_to_high():
    table = results(LEAF[:1])
    row = table[(table["n_train"] == "all") & (table["head"] == "XGB") & (table["representation"] == "ENS")].iloc[0]
    line = artists(figures.leaf_figure(table), "interval")["random:ERP132245|stress|XGB|ENS"]
    assert list(line.get_ydata()) == [row["auroc_low"], row["auroc_high"]]


@pytest.mark.parametrize("how", ["row absent", "value missing"])
def test_a_missing_result_is_marked_and_never_a_bar(how):
    table = results()
    gone = (table["task"] == "replicate:GSE273033") & (table["representation"] == "WM") & (table["head"] == "MLP")
    table = table[~gone] if how == "row absent" else table.assign(auroc=table["auroc"].mask(gone))
    figure = figures.leaf_figure(table)
    key = "replicate:GSE273033|stress|MLP|WM"
    assert list(artists(figure, "missing")) == [key]
    assert key not in artists(figure, "bar")
    assert all(bar.get_height() > 0 for bar in artists(figure, "bar").values())
    assert artists(figure, "missing")[key].get_hatch()
    assert [t.get_text() for t in figure.findobj(lambda a: getattr(a, "get_text", str)() == "n/a")] == ["n/a"]


def test_one_panel_per_protocol_and_data_sets_from_easy_to_hard():
    table = results()
    figure = figures.leaf_figure(table)
    assert [ax.get_title(loc="left") for ax in figure.axes] == [
        "Random split",
        "Replicate split",
        "Cross-experiment split",
    ]
    shown = [t.get_text() for t in with_gid(figure.axes[0], "task")]
    mine = table[(table["protocol"] == "random") & (table["n_train"] == "all") & (table["representation"] != "binned")]
    assert shown == list(mine.groupby("train_dataset")["auroc"].mean().sort_values(ascending=False).index)


def test_bars_stand_in_the_order_of_the_legend_with_the_cnn_last():
    figure = figures.leaf_figure(results(LEAF[:1]))
    bars = artists(figure, "bar")
    order = sorted(bars, key=lambda key: bars[key].get_x())
    assert [tuple(key.split("|")[2:]) for key in order] == list(SLOTS)
    assert order[-1].endswith("MLP|PCA_3") is False and order[-1].endswith("CNN|CNN")
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["raw", "ENS", "WM", "CLS", "PCA_1", "PCA_2", "PCA_3", "CNN"], "the names of files and prose"


def test_no_bar_stands_over_the_bracket_of_another_head():
    ax = figures.task_figure(results(LEAF[:1])).axes[0]
    bars, brackets = artists(ax, "bar"), with_gid(ax, "bracket")
    names = [text.get_text() for text in ax.texts if text.get_text() in ("LR", "XGB", "MLP", "CNN")]
    spans = {name: (min(b.get_xdata()), max(b.get_xdata())) for name, b in zip(names, brackets, strict=True)}
    assert list(spans) == ["LR", "XGB", "MLP", "CNN"]
    for key, bar in bars.items():
        left, right = spans[key.split("|")[2]]
        assert left <= bar.get_x() and bar.get_x() + bar.get_width() <= right, key
    ends = sorted(spans.values())
    assert all(before[1] < after[0] for before, after in zip(ends, ends[1:]))


def test_colours_are_those_of_the_paper_and_hatches_tell_them_apart_in_grey():
    from matplotlib.colors import to_hex

    bars = artists(figures.leaf_figure(results(LEAF[:1])), "bar")
    for key, bar in bars.items():
        name = key.rsplit("|", 1)[1]
        assert to_hex(bar.get_facecolor()).upper() == COLOURS[name]
        assert (bar.get_hatch() or "") == HATCHES[name]
    plain = [name for name, hatch in HATCHES.items() if not hatch]
    assert plain == ["raw", "CNN"] and len(set(HATCHES.values())) == 7
    assert len(set(MARKERS.values())) == len(set(COLOURS.values())) == 8


def test_repeats_do_not_move_a_bar_and_never_fill_its_gap():
    """Other seeds, other held-out replicates, other fidelities and controls leave the main run standing."""
    table = results()
    table.loc[table["protocol"] == "replicate", "held_out"] = "R1"  # as the evaluation names it
    table = table[(table["task"] != "random:ERP132245") | (table["representation"] != "raw") | (table["head"] != "LR")]
    raw = results().query("representation == 'raw' and head == 'LR'")
    noise = [
        raw.assign(seed=-1, auroc=0.5),
        raw[raw["protocol"] == "replicate"].assign(held_out="A", auroc=0.5),
        table.assign(fidelity="released", auroc=0.5).head(500),
        table.assign(tissue="root", auroc=0.5),
    ]
    rows = paper_rows(pd.concat([*noise, table]), tissue="leaf")
    assert bar_values(rows) == bar_values(paper_rows(table, tissue="leaf"))
    assert len(rows) == len(LEAF) * 22 - 1


def test_a_profile_of_the_released_code_shows_its_own_rows():
    table = results(LEAF[:1]).assign(fidelity="released")
    raw = table[(table["representation"] == "raw") & (table["head"] == "LR")]
    both = pd.concat([raw.assign(fidelity="paper", auroc=0.5), table])
    assert bar_values(paper_rows(both)) == bar_values(paper_rows(table))


def test_labels_other_than_stress_are_tasks_of_their_own():
    table = results(["random:SRP169576"], tissue="root")
    two = pd.concat([table.assign(label="s_phase"), table.assign(label="hair", auroc=table["auroc"] / 2)])
    figure = figures.root_figure(two)
    assert [t.get_text() for t in with_gid(figure, "task")] == ["SRP169576\nS phase", "SRP169576\nroot hair"]
    assert len(artists(figure, "bar")) == 44


def test_a_task_without_any_value_comes_last():
    table = results()
    table.loc[table["task"] == "random:GSE226826", "auroc"] = np.nan
    assert ordered_tasks(paper_rows(table))["random"][-1].task == "random:GSE226826"


def test_task_figure_takes_the_largest_size_there_is_and_one_task_only():
    table = results(LEAF[:1])
    small = figures.task_figure(table[table["n_train"] != "all"])
    assert {k: b.get_height() for k, b in artists(small, "bar").items()} == pytest.approx(
        bar_values(table[(table["n_train"] == "100") & (table["representation"] != "binned")])
    )
    with pytest.raises(InputError, match="one task expected, found 7"):
        figures.task_figure(results())


def test_scaling_has_a_row_per_task_a_column_per_head_and_a_line_per_representation():
    table = results()
    figure = figures.scaling_figure(table, tissue="leaf")
    assert len(figure.axes) == 3 * len(LEAF)
    lines = [sorted(artists(ax, "line")) for ax in figure.axes]
    assert lines[:3] == [sorted(POOLED), sorted(POOLED), sorted(COLOURS)]
    assert [t.get_text() for t in with_gid(figure, "head")] == ["LR", "XGB", "MLP and CNN"]
    assert len(with_gid(figure, "bracket")) == 3
    task = ordered_tasks(paper_rows(table, n_train=None))["random"][0].task
    line = artists(figure.axes[1], "line")["WM"]
    mine = table[(table["task"] == task) & (table["head"] == "XGB") & (table["representation"] == "WM")]
    assert list(line.get_ydata()) == list(mine["auroc"])
    assert list(line.get_xdata()) == [50, 100, 200] and line.get_marker() == MARKERS["WM"]
    assert figure.axes[0].get_xscale() == "log"


def test_scaling_puts_all_at_its_number_of_cells_where_it_is_known():
    table = results(LEAF[:1])
    table["n_train_cells"] = table["n_train"].map({"50": 50, "100": 100, "all": 379})
    line = artists(figures.scaling_figure(table, tissue="leaf").axes[0], "line")["raw"]
    assert list(line.get_xdata()) == [50, 100, 379]


def test_scaling_marks_a_size_that_the_data_do_not_allow():
    table = results(LEAF[:1])
    table.loc[table["n_train"] == "100", "auroc"] = np.nan
    ax = figures.scaling_figure(table, tissue="leaf").axes[0]
    assert [a.get_text() for a in with_gid(ax, "missing")] == ["n/a"]
    assert list(artists(ax, "line")["raw"].get_xdata()) == [50, 200]
    table.loc[(table["n_train"] == "100") & (table["representation"] != "CLS"), "auroc"] = 0.8
    (cross,) = with_gid(figures.scaling_figure(table, tissue="leaf").axes[0], "missing")
    assert cross.get_marker() == "x" and cross.get_color() == COLOURS["CLS"]


def test_gradient_runs_through_the_means_of_both_families():
    table = results()
    figure = figures.protocol_gradient(table, dataset="GSE273033")
    trends = artists(figure, "trend")
    rows = paper_rows(table)
    rows = rows[rows["train_dataset"] == "GSE273033"]
    families = {
        "gene identity preserved": ["ENS", "PCA_1", "PCA_2", "PCA_3", "CNN"],
        "pooled": ["WM", "CLS"],
    }
    for family, members in families.items():
        means = rows[rows["representation"].isin(members)].groupby("protocol")["auroc"].mean()
        assert list(trends[family].get_ydata()) == pytest.approx(list(means[["random", "replicate", "cross"]]))
    assert figure.remark == "The cross-experiment split tests on ERP132245."
    nothing = figures.protocol_gradient(table, dataset="GSE1")
    assert nothing.remark == ""
    assert [t.get_text() for t in nothing.axes[0].texts] == ["n/a"] * 6


def test_metric_figure_has_a_point_for_every_row_with_both_values():
    table = results()
    table.loc[:4, "auroc_hard"] = np.nan
    points = artists(figures.metric_figure(table), "points")
    assert sum(len(p.get_xdata()) for p in points.values()) == len(table) - 5
    mine = table[(table["protocol"] == "cross")]
    assert list(points["cross"].get_xdata()) == list(mine["auroc"])
    assert list(points["cross"].get_ydata()) == list(mine["auroc_hard"])
    with pytest.raises(InputError, match="auroc_hard"):
        figures.metric_figure(table.assign(auroc_hard=np.nan))


def test_held_out_replicates_each_have_a_dot_beside_the_random_split():
    table = held_out_results()
    figure = figures.heldout_figure(table)
    dots = with_gid(figure, "dot|replicate")
    assert [list(d.get_xdata()) for d in dots] == [[0.61], [0.83]]
    names = [t.get_text() for t in figure.axes[0].get_yticklabels()]
    assert names == ["random split", "R1 held out", "R2 held out"]
    (random,) = with_gid(figure, "dot|random")
    raw = table.query("representation == 'raw' and head == 'LR' and n_train == 'all' and protocol == 'random'")
    assert list(random.get_xdata()) == list(raw["auroc"])
    table.loc[table["held_out"] == "R2", "auroc"] = np.nan
    figure = figures.heldout_figure(table)
    assert len(with_gid(figure, "dot|replicate")) == len(with_gid(figure, "missing")) == 1


def test_seeds_and_matched_test_cells_stand_on_the_line_of_their_unit():
    table = held_out_results()
    second = table[table["held_out"] == "R2"].assign(seed=1, auroc=0.7)
    matched = [
        second.assign(fidelity="matched", protocol=p, auroc=v) for p, v in (("random", 0.93), ("replicate", 0.64))
    ]
    figure = figures.heldout_figure(pd.concat([table, second, *matched]))
    assert [list(d.get_xdata()) for d in with_gid(figure, "dot|replicate")] == [[0.61], [0.83, 0.7]]
    heights = [with_gid(figure, "dot|replicate")[1].get_ydata()[0]]
    for kind, value in (("matched random", 0.93), ("matched replicate", 0.64)):
        (mark,) = with_gid(figure, f"dot|{kind}")
        assert list(mark.get_xdata()) == [value] and mark.get_markerfacecolor() == "white"
        (whisker,) = with_gid(figure, f"whisker|{kind}")
        assert whisker.get_segments()[0][0][1] == mark.get_ydata()[0]
        heights.append(mark.get_ydata()[0])
    assert min(np.diff(heights)) > 0.19 and heights[-1] - heights[0] < 0.6, "no whisker lies over another"
    assert len(figure.axes[0].get_yticks()) == 3


@pytest.mark.parametrize("task", ["random:ERP132245", "cross:GSE273033:ERP132245"])
def test_held_out_figure_takes_any_task_and_any_model(task):
    table = results([task])
    wls = table[(table["representation"] == "WM") & (table["head"] == "XGB") & (table["n_train"] == "all")]
    for rows in (table, wls):
        assert len(figures.heldout_figure(rows).findobj(lambda a: str(a.get_gid()).startswith("dot|"))) == 1
    assert "WM, XGB" in figures.heldout_figure(wls).axes[0].get_xlabel()


def test_a_held_out_figure_of_one_data_set_fits_a_phone_and_explains_one_kind_of_mark_nowhere():
    from scarafm_utils.page_fixes import _PAGE_DPI, _WIDE

    narrow = figures.heldout_figure(results(["cross:GSE273033:ERP132245"]))
    assert narrow.get_size_inches()[0] * _PAGE_DPI <= _WIDE and not narrow.legends
    assert narrow.axes[0].get_position().x0 < 0.4, "the panel has most of the width"
    both = figures.heldout_figure(held_out_results())
    assert [t.get_text() for t in both.legends[0].get_texts()] == ["random split", "held out"]
    assert figures.heldout_figure(results(LEAF)).get_size_inches()[0] > 8


def test_nulls_are_all_drawn_and_the_condition_itself_stays_out_of_the_mean():
    ax = figures.null_figure(nulls()).axes[0]
    points = ax.findobj(lambda a: str(a.get_gid()).startswith("nulls|"))
    assert sorted(v for p in points for v in p.get_xdata()) == sorted(nulls()["auroc"].dropna())
    (true,) = [p for p in points if p.get_gid() == "nulls|random|True" and len(p.get_xdata())]
    assert list(true.get_xdata()) == [0.99] and true.get_markerfacecolor() == "white"
    assert [m.get_xdata()[0] for m in with_gid(ax, "mean")] == pytest.approx([0.94, 0.825, 0.5])
    with pytest.raises(InputError, match="needs contrast"):
        figures.null_figure(nulls().drop(columns="contrast"))


def test_what_only_some_drawings_show_is_explained_there_only():
    table = held_out_results()
    assert figures.heldout_figure(table).remark == "", "two tasks have no sentence that names one"
    one = table.query("task == 'random:GSE273033'")
    assert figures.heldout_figure(one).remark == "The task: random split, GSE273033."
    matched = table[table["held_out"] == "R2"].assign(fidelity="matched", auroc=[0.41])
    said = figures.heldout_figure(pd.concat([table, matched])).remark
    assert said.startswith("Hollow circles and squares of one line") and "1 of 4 results lies below 0.5" in said
    made_up = nulls()
    assert "the condition itself, and are left out of the mean." in figures.null_figure(made_up).remark
    assert "Hollow" not in figures.null_figure(made_up.assign(is_true=False)).remark
    said = figures.null_figure(made_up).remark
    assert "1 of 7 null contrasts lies below 0.5" in said and "wrong way round" not in said


@pytest.mark.parametrize("draw", [figures.leaf_figure, figures.task_figure, figures.root_figure])
def test_results_below_chance_are_counted_and_explained(draw):
    table = results(LEAF[:1]).assign(tissue="root" if draw is figures.root_figure else "leaf")
    named = "The task: random split, ERP132245." if draw is figures.task_figure else ""
    assert draw(table).remark == named
    below = (table["n_train"] == "all") & (table["representation"] == "CLS")
    table.loc[below, "auroc"] = 0.4
    assert draw(table).remark.startswith(f"{named} 3 of 22 results lie below 0.5, the score of a coin:".lstrip())


@pytest.mark.parametrize(("low", "high"), [(60, 390), (150, 30_000), (1000, 1_000_000), (900, 1300)])
def test_an_axis_of_counts_has_at_least_three_ticks(low, high):
    table = cells().assign(n_genes=np.geomspace(low, high, len(cells())))
    ax = figures.qc_figure(table).axes[1]
    assert 3 <= len(ax.get_xticks()) <= 7
    assert all(np.log10(low) - 0.06 <= x <= np.log10(high) + 0.06 for x in ax.get_xticks())


@pytest.mark.parametrize("values", [(0.93, 0.99), (0.4, 0.6), (0.05, 1.0)])
def test_an_axis_of_scores_has_at_least_four_ticks(values):
    table = held_out_results().head(2).assign(auroc=values, auroc_low=values, auroc_high=values)
    figure = figures.heldout_figure(table.assign(held_out=["a", "b"]))
    ax = figure.axes[0]
    low, high = ax.get_xlim()
    assert sum(low <= x <= high for x in ax.get_xticks()) >= 4


def test_loss_marks_the_best_epoch_and_accuracy_shows_every_baseline():
    figure = figures.loss_figure(history())
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["leaf", "root"]
    assert [line.get_xdata()[0] for line in with_gid(figure, "best")] == [3, 3]
    figure = figures.accuracy_figure(history(["leaf"]))
    assert list(with_gid(figure, "val_accuracy")[0].get_ydata()) == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])
    legend = [t.get_text() for t in figure.legends[0].get_texts()]
    assert legend == ["encoder", "guess: commonest bin", "guess: of the cell"]
    assert [t.get_text() for t in figures.accuracy_figure(history()[["epoch", "val_accuracy"]]).legends[0].get_texts()]
    with pytest.raises(InputError, match="lacks column 'val_loss'"):
        figures.loss_figure(history().drop(columns="val_loss"))


def test_qc_puts_the_median_of_each_data_set_on_a_logarithmic_axis():
    table = cells()
    figure = figures.qc_figure(table)
    medians = [line.get_xdata()[0] for line in with_gid(figure.axes[0], "median")]
    wanted = np.log10(table["total_counts"]).groupby(table["dataset"], sort=False).median()
    assert medians == pytest.approx(list(wanted))
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == ["ERP132245", "DRP009643"]


def test_counts_of_genes_are_written_into_matrix_and_bars():
    figure = figures.hvg_overlap_figure(matrix())
    assert [t.get_text() for t in figure.axes[0].texts] == [
        "200",
        "90",
        "80",
        "90",
        "200",
        "70",
        "80",
        "70",
        "200",
    ]
    with pytest.raises(InputError, match="same data sets"):
        figures.hvg_overlap_figure(matrix().iloc[:2])
    bars = figures.vocabulary_figure(VOCABULARY).axes[0].patches
    assert [b.get_height() for b in bars] == [1, 1, 2]


def test_schematic_shows_three_protocols_and_what_each_holds_out():
    figure = figures.protocol_schematic()
    titles = [t.get_text() for t in with_gid(figure, "protocol")]
    assert titles == ["Random split", "Replicate split", "Cross-experiment split"]
    side = {"train": [], "test": []}
    for name in side:
        side[name] = [c.get_xdata()[0] for c in with_gid(figure, f"cell|{name}")]
    thirds = np.array([0, 2.87, 5.74, 8.6])
    assert list(np.histogram(side["test"], thirds)[0]) == [8, 12, 12]
    assert list(np.histogram(side["train"], thirds)[0]) == [16, 12, 12]
    replicate = [x for x in side["test"] if 2.87 < x < 5.74]
    assert max(replicate) < min(x for x in side["train"] if 2.87 < x < 5.74)


def test_architecture_shows_the_numbers_it_was_given():
    texts = " ".join(t.get_text() for t in figures.architecture_figure(CONFIG).axes[0].texts)
    for part in (
        "200 numbers",
        "\N{MULTIPLICATION SIGN} 3",
        "10 heads of 64",
        "266 random",
        "4,000 genes",
        "8 ids",
    ):
        assert part in texts
    other = figures.architecture_figure({"dim": 16, "depth": 1, "heads": 2, "dim_head": 8, "attention": "softmax"})
    assert "softmax attention" in " ".join(t.get_text() for t in other.axes[0].texts)


@pytest.mark.parametrize("name", DATA_FIGURES)
def test_simulated_figures_carry_the_mark(name):
    figure = DATA_FIGURES[name](simulated=True)
    (mark,) = with_gid(figure, "watermark")
    assert mark.get_text() == "simulated cells" and mark.get_position()[0] < 0.1, "a phone shows the left edge first"
    place = mark.get_window_extent(FigureCanvasAgg(figure).get_renderer())
    canvas = FigureCanvasAgg(DATA_FIGURES[name]())
    canvas.draw()
    below = np.asarray(canvas.buffer_rgba())[::-1][int(place.y0) : int(place.y1), int(place.x0) : int(place.x1), :3]
    assert below.size and below.min() == 255, "the mark covers nothing"


def test_figures_of_real_cells_carry_no_mark():
    assert not with_gid(DATA_FIGURES["task"](), "watermark")


@pytest.mark.parametrize("name", [*DATA_FIGURES, *DRAWINGS])
def test_everything_drawn_lies_inside_the_figure_and_names_do_not_overlap(name):
    figure = (DATA_FIGURES | DRAWINGS)[name]()
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    drawn, (width, height) = figure.get_tightbbox(renderer), figure.get_size_inches()
    assert min(drawn.x0, drawn.y0) >= -0.01
    assert drawn.x1 <= width + 0.01 and drawn.y1 <= height + 0.01
    names = [t.get_window_extent(renderer) for t in with_gid(figure, "task")]
    for i, one in enumerate(names):
        assert not any(one.overlaps(other) for other in names[i + 1 :])


@pytest.mark.parametrize("name", ["task", "gradient"])
def test_same_table_same_bytes_and_pages_wide_enough_to_read(name):
    one, two = (figures.figure_bytes(DATA_FIGURES[name](), "svg") for _ in range(2))
    assert one == two and b"<dc:date>" not in one
    assert b"scale(0.015625)" in one, "letters keep their size"
    assert not re.search(rb"\d\.\d{3}", re.sub(rb"<!--.*?-->|scale\([^)]*\)", b"", one)), "two decimals"
    image = imread(io.BytesIO(figures.figure_bytes(DATA_FIGURES[name](), "png", dpi=100)))
    assert 700 <= image.shape[1] <= 900 and image[..., :3].mean() < 0.99
    assert DATA_FIGURES[name]()._repr_png_().startswith(b"\x89PNG")


def test_no_figure_is_left_with_pyplot_and_no_setting_changes():
    import matplotlib
    from matplotlib import _pylab_helpers

    before = dict(matplotlib.rcParams)
    figures.task_figure(results(LEAF[:1]))._repr_png_()
    assert dict(matplotlib.rcParams) == before
    assert not _pylab_helpers.Gcf.figs


def test_a_profile_without_a_tissue_gets_a_frame_that_says_so():
    for figure in (
        figures.root_figure(results(), simulated=True),
        figures.scaling_figure(results(), tissue="root", simulated=True),
    ):
        assert [t.get_text() for t in figure.axes[0].texts] == ["n/a: no results for root tissue"]
        assert figure.data.to_dict("list") == {"missing": ["no results for root tissue"]}, "no rows of the other tissue"
        assert with_gid(figure, "watermark")


def test_a_training_size_that_was_not_run_is_refused_with_those_that_were():
    with pytest.raises(InputError, match=r"no result with n_train 7 \(found: 50, 100, all\)"):
        figures.leaf_figure(results(), n_train=7)
    with pytest.raises(InputError, match="no result with n_train 7"):
        figures.task_figure(results(LEAF[:1]), n_train=7)
    with pytest.raises(InputError, match="no row"):
        figures.heldout_figure(results().head(0))


def test_where_few_runs_used_all_cells_the_size_of_most_runs_is_shown_and_named():
    table = results(ROOT, tissue="root")
    few = (table["n_train"] != "all") | ((table["representation"] == "raw") & (table["head"] == "LR"))
    figure = figures.root_figure(table[few])
    assert [t.get_text() for t in with_gid(figure, "size")] == ["100 training cells"]
    assert len(artists(figure, "bar")) == 22 * len(ROOT)
    assert not with_gid(figures.root_figure(table), "size")


def test_a_run_of_controls_only_leaves_every_bar_of_the_paper_missing():
    table = results(LEAF[:1])
    figure = figures.task_figure(table[table["representation"] == "binned"])
    assert len(artists(figure, "missing")) == 22 and not artists(figure, "bar")


def test_points_inside_an_svg_have_a_palette_and_their_colours():
    figure = figures.PageFigure(4, 4)
    places = np.random.default_rng(0).random((300, 2))
    figure.panel(0.5, 0.5, 3, 3).scatter(*places.T, c=["#D55E00", "#0072B2", "#009E73"] * 100, rasterized=True)
    whole = io.BytesIO()
    figure.savefig(whole, format="svg", dpi=RASTER)
    before, after = (inner_picture(svg) for svg in (whole.getvalue(), figures.figure_bytes(figure, "svg")))
    assert after.mode == "P" and len(after.fp.getvalue()) < 0.6 * len(before.fp.getvalue())
    on_paper = [
        np.asarray(Image.alpha_composite(Image.new("RGBA", p.size, "white"), p.convert("RGBA")), float)
        for p in (before, after)
    ]
    assert np.abs(on_paper[0] - on_paper[1]).mean() < 2, "of 255"


def inner_picture(svg: bytes) -> Image.Image:
    (found,) = re.findall(rb'href="data:image/png;base64,([^"]+)', svg)
    return Image.open(io.BytesIO(base64.b64decode(found)))
