"""Tables of pages: known answers worked out by hand."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
from bs4 import BeautifulSoup

from scarafm_utils import tables
from scarafm_utils.errors import InputError
from scarafm_utils.workspace import Workspace, open_workspace


def row(**values):
    base = {
        "tissue": "leaf", "task": "random:A", "protocol": "random", "train_dataset": "A", "test_dataset": "A",
        "label": "stress", "held_out": "", "representation": "raw", "head": "LR", "n_train": "all", "seed": 0,
        "fidelity": "paper", "n_test": 100, "auroc": 0.9, "auroc_low": 0.85, "auroc_high": 0.95, "auroc_hard": 0.8,
        "auprc": 0.9, "balanced_accuracy": 0.8, "mcc": 0.6, "brier": 0.1, "ece": 0.05, "reason": "",
    }  # fmt: skip
    return {**base, **values}


def test_protocol_means_weigh_each_task_the_same():
    results = pd.DataFrame([
        row(auroc=0.9, auroc_hard=0.8),
        row(auroc=0.7, auroc_hard=0.6, head="XGB"),
        row(auroc=0.6, auroc_hard=0.5, task="random:B", train_dataset="B"),
        row(auroc=0.1, auroc_hard=0.1, n_train="100"),
        row(auroc=0.1, auroc_hard=0.1, representation="depth"),
        row(auroc=0.1, auroc_hard=0.1, fidelity="released"),
    ])  # fmt: skip
    means = tables.protocol_means(results)
    assert means.loc["random", ["auroc", "auroc_hard"]].tolist() == pytest.approx([0.7, 0.6])
    repeated = pd.concat([results, pd.DataFrame([row(auroc=0.9, auroc_hard=0.8, seed=s) for s in range(1, 9)])])
    assert tables.protocol_means(repeated).loc["random", "auroc"] == pytest.approx(0.7), "repeats weigh once"
    assert means.loc["random", "n_tasks"] == 2
    assert np.isnan(means.loc["cross", "auroc"]) and means.loc["cross", "n_tasks"] == 0


def test_the_drop_compares_the_same_test_cells_and_averages_units_not_rows():
    pair = {"task": "replicate:A", "fidelity": "matched"}
    rows = [row(auroc=0.1, auroc_hard=0.1), row(auroc=0.1, protocol="replicate", held_out="r1")]
    for held_out, seed, random, held in [("r1", 0, 0.9, 0.7), ("r1", 1, 0.9, 0.7), ("r2", 0, 0.9, 0.5)]:
        same = {**pair, "held_out": held_out, "seed": seed}
        rows.append(row(auroc=random, auroc_hard=0.8, protocol="random", **same))
        rows.append(row(auroc=held, auroc_hard=held, protocol="replicate", **same))
    table = tables.drop_table(pd.DataFrame(rows)).iloc[0]
    assert (table["data set"], table["held-out units"]) == ("A", 2)
    assert table["drop (points)"] == pytest.approx(30)
    assert (table["least"], table["most"]) == pytest.approx((20, 40))
    assert table["drop from hard labels (points)"] == pytest.approx(20)
    rows += [row(task="random:B", train_dataset="B"), row(task="cross:C:A", protocol="cross", train_dataset="C")]
    missing = tables.drop_table(pd.DataFrame(rows)).set_index("data set")
    assert list(missing.index) == ["A", "B"] and missing.loc["B", "held-out units"] == 0
    assert missing.loc["B", "least":].isna().all(), "a data set without units is shown as missing"


def test_the_gain_compares_the_smallest_size_with_all_cells_and_keeps_gaps():
    results = pd.DataFrame([
        row(auroc=0.6, n_train="100"), row(auroc=0.7, n_train="200"), row(auroc=0.9),
        row(auroc=0.2, seed=1), row(auroc=0.2, held_out="r2"),  # no pair at the small size
        row(auroc=np.nan, n_train="100", representation="WM"), row(auroc=0.9, representation="WM"),
    ])  # fmt: skip
    gain = tables.gain_table(results)
    assert gain["raw"].item() == pytest.approx(30)
    assert np.isnan(gain["WM"].item())


def test_the_gain_keeps_the_tasks_in_the_order_of_the_results():
    tasks = ["random:B", "replicate:B", "cross:B:A", "random:A"]
    rows = [row(task=t, auroc=a, n_train=n) for t in tasks for a, n in ((0.6, "100"), (0.7, "all"))]
    results = pd.DataFrame([*rows, row(task="random:B", held_out="r2")])  # pandas sorts where a pair is missing
    assert list(tables.gain_table(results).index.get_level_values("task")) == tasks


def test_the_tables_of_a_page_show_the_grid_however_many_extra_rows_there_are():
    extra = [row(fidelity="matched", seed=s) for s in range(50)]
    grid = [row(representation=r, head=h) for r in ("raw", "WM") for h in ("LR", "XGB")]
    repeats = [row(seed=s) for s in range(1, 30)]
    assert len(tables.result_table(pd.DataFrame(extra + grid + repeats))) == 4


def test_the_size_of_the_grid_is_not_that_of_many_repeats_of_one_configuration():
    grid = [row(representation=r, head=h, n_train="200") for r in ("raw", "WM", "CLS") for h in ("LR", "XGB")]
    results = pd.DataFrame(grid + [row(seed=s) for s in range(60)])
    assert set(tables.paper_grid(results)["n_train"]) == {"200"}


def test_long_cells_are_shown_whole_and_escaped():
    text = "a claim of many words " * 10
    table = pd.DataFrame({"quote": [text.strip(), "<script>"]}, index=["same", "same"])
    shown = tables.full_text(table).data
    assert text.strip() in shown and "&lt;script&gt;" in shown and "<script>" not in shown
    assert tables.full_text(pd.DataFrame({"x": range(200)})).data.count("<tr") == 201


def test_numbers_of_a_table_have_the_digits_they_are_worth():
    table = pd.DataFrame({"mean": [0.9, np.nan], "points": [-0.04, 12.34], "cells": [50797, 80], "any": [np.nan, True]})
    cells = re.findall("<td>(.*?)</td>", tables.full_text(table, digits={"points": 1}).data)
    assert cells == ["0.900", "0.0", "50,797", "–", "–", "12.3", "80", "True"]


def test_a_page_shows_words_with_units_and_the_table_keeps_its_names():
    index = pd.MultiIndex.from_tuples([("s_phase", "raw"), ("hair", "PCA_1")], names=["label", "representation"])
    table = pd.DataFrame({"drop_recentred": [-1.24, 0.5], "p_value": [2e-9, 0.0312], "PCA_1": [1, 2]}, index=index)
    shown = tables.full_text(table.rename_axis(columns="other"), digits={"drop_recentred": 1})
    soup = BeautifulSoup(shown.data, "html.parser")
    heads = [cell.get_text() for cell in soup.select("thead th") if cell.get_text()]
    assert heads == ["drop, threshold put back (points)", "p (one-sided)", "PCA_1", "label", "representation"]
    assert [cell.get_text() for cell in soup.select("tbody th")] == ["S phase", "raw", "root hair", "PCA_1"]
    assert [cell.get_text() for cell in soup.select("td")] == ["−1.2", "< 0.001", "1", "0.5", "0.031", "2"]
    assert list(table.columns) == ["drop_recentred", "p_value", "PCA_1"] and table.index.names[0] == "label"


def test_what_is_the_same_in_every_row_is_said_once():
    rows = pd.DataFrame([row(head=h, held_out="r1", n_test=80) for h in ("LR", "XGB")])
    table = tables.result_table(rows)
    assert "held_out" not in table and "n_test" not in table
    said = "<caption>The same in every row: held out r1, test cells 80. Balanced accuracy is"
    assert said in tables.full_text(table).data
    other = tables.result_table(rows.assign(n_test=[80, 81], balanced_accuracy=0.7))
    assert other["n_test"].tolist() == [80, 81]
    assert other.attrs["caption"].startswith("The same in every row: held out r1. With")
    assert other["balanced_accuracy"].tolist() == [0.7, 0.7] and "balanced_accuracy" not in table


def test_results_stand_by_training_size_and_then_in_the_order_of_the_figures():
    names = ("raw", "CLS", "WM", "ENS")  # as profiles name them
    rows = [row(n_train=n, representation=r, n_train_cells=c) for n, c in (("100", 100), ("all", 1378)) for r in names]
    rows += [row(representation="depth", n_train_cells=1378), row(n_train="100", head="XGB", n_train_cells=100)]
    table = tables.result_table(pd.DataFrame(rows))
    assert list(table.index.get_level_values("n_train")) == ["100"] * 5 + ["all (1,378)"] * 5
    order = ["raw", "raw", "ENS", "WM", "CLS", "raw", "ENS", "WM", "CLS", "depth"]
    assert list(table.index.get_level_values("representation")) == order
    assert list(tables.result_table(pd.DataFrame(rows[:4]).assign(n_train="all")).index.levels[0]) == ["all (100)"]
    other = pd.DataFrame(rows).assign(n_train="all", n_train_cells=range(10))
    assert list(tables.result_table(other).index.levels[0]) == ["all"], "no number that is true of some rows only"


def test_results_with_a_value_are_counted_by_representation_and_head():
    rows = [row(), row(seed=1), row(auroc=np.nan), row(representation="depth"), row(representation="CLS", head="XGB")]
    rows += [row(representation="ENS")]
    counts = tables.result_counts(pd.DataFrame(rows))
    assert counts["LR"].to_dict() == {"raw": 2, "ENS": 1, "CLS": 0, "depth": 1}
    assert counts["XGB"].to_dict() == {"raw": 0, "ENS": 0, "CLS": 1, "depth": 0}
    assert list(counts.index) == ["raw", "ENS", "CLS", "depth"]


def test_the_data_sets_of_a_task_come_with_their_stress():
    demo = open_workspace("demo")
    assert tables.study_words(demo, "random:GSE273033") == "GSE273033 (Drought Response)"
    assert tables.study_words(demo, "cross:GSE273033:ERP132245") == "GSE273033 and ERP132245 (Drought Response)"
    unlike = tables.study_words(demo, "cross:GSE273033:SRP398011")
    assert unlike == "GSE273033 (Drought Response) and SRP398011 (Pseudomonas syringae Infection)"


def test_counts_have_no_decimals_and_scores_keep_theirs():
    medians = {"genes": [1672.0, 236.0], "counts": [675.5, 1688.0], "auroc": [1.0, 0.0], "p": [0.25, None]}
    medians["mean"] = [123.45, 9.5]
    cells = re.findall("<td>(.*?)</td>", tables.full_text(pd.DataFrame(medians)).data)
    assert cells == ["1,672", "676", "1.000", "0.250", "123.5", "236", "1,688", "0.000", "–", "9.5"]


def test_a_result_that_could_not_be_had_is_empty_with_its_reason():
    results = pd.DataFrame([row(auroc=np.nan, auroc_hard=np.nan, reason="5,000 of 320 cells"), row()])
    table = tables.result_table(results)
    assert table["auroc"].tolist() == ["", 0.9]
    assert table["reason"].tolist() == ["5,000 of 320 cells", ""]
    assert table["interval"].tolist()[1] == "0.850\u00a0to\u00a00.950"
    assert "held_out" not in table, "a column without any value says nothing"


@pytest.fixture
def reported(tmp_path):
    """A demo workspace whose report knows two leaf data sets and one of root."""
    opened = open_workspace("demo")
    workspace = Workspace(opened.profile, opened.manifest, tmp_path)
    workspace.tables_dir.mkdir()
    for tissue, names in {"leaf": ["ERP132245", "DRP009643"], "root": ["SRP182008"]}.items():
        report = pd.DataFrame({"dataset": names, "cells_kept": 10, "samples": 2})
        report.to_csv(workspace.tables_dir / f"preprocessing-{tissue}.csv", index=False)
    return workspace


def test_supplementary_table_1_shows_the_papers_numbers_and_a_dash_for_what_was_not_read(reported):
    table = tables.supplementary_table_1(reported).droplevel("Tissue")
    assert len(table) == 9
    assert table.loc["ERP132245", "# Cells (paper)"] == 2018 and table.loc["ERP132245", "# Cells (here)"] == 10
    assert table.loc["GSE226826", "# Cells (here)"] == tables.ABSENT
    assert table.loc["GSE273033", "# Replicates"] == 2


def test_supplementary_table_1_marks_what_was_read_otherwise_than_the_paper_says(reported):
    path = reported.tables_dir / "preprocessing-leaf.csv"
    report = pd.read_csv(path).assign(conditions=3, genotypes=1, replicates=np.nan)
    report.to_csv(path, index=False)
    table = tables.supplementary_table_1(reported).droplevel("Tissue")
    row = table.loc["ERP132245"]
    assert row["# Conditions"] == "2 (here 3)" and row["# Genotypes"] == 1 and row["# Replicates"] == 1
    assert row["Differs in"] == "conditions", "cells have two columns of their own"
    assert table.loc["GSE226826", "Differs in"] == "not read"
    assert tables.supplementary_table_2(reported).droplevel("Tissue").loc["DRP009643", "Difference"] < 0


def test_supplementary_table_2_adds_up_to_the_papers_totals(reported):
    table = tables.supplementary_table_2(reported)
    totals = table.xs("Total", level="Dataset ID")
    assert totals["# Cells (paper)"].to_dict() == {"leaf": 833_630, "root": 877_551}
    assert totals["# Cells (here)"].to_dict() == {"leaf": 10, "root": 10}
    assert len(table) == 22 + 2


def test_a_missing_report_says_what_to_run(tmp_path):
    opened = open_workspace("demo")
    with pytest.raises(InputError, match="run the chapter 'preprocessing' first"):
        tables.read_report(Workspace(opened.profile, opened.manifest, tmp_path))


def test_no_two_root_studies_share_a_stress_and_leaf_studies_do():
    demo = open_workspace("demo")
    assert set(tables.shared_stress_table(demo, "root")["other studies of it"]) == {"none"}
    leaf = tables.shared_stress_table(demo, "leaf")["other studies of it"]
    assert leaf["GSE273033"] == "ERP132245" and leaf["GSE226826"] == "SRP398011"


def test_a_table_without_rows_says_why():
    assert "<table" in tables.or_absent(pd.DataFrame({"a": [1]}), "x").data
    assert "<caption>Simulated cells, not" in tables.or_absent(pd.DataFrame({"a": [1]}), "x", simulated=True).data
    assert tables.or_absent(pd.DataFrame(), "a < b").data == "<p><em>No result in this build: a &lt; b.</em></p>"


def test_more_than_two_classes_are_explained_above_their_table():
    two = pd.DataFrame(
        [row(auroc_hard=0.8, balanced_accuracy=0.8), row(head="XGB", auroc_hard=np.nan, balanced_accuracy=np.nan)]
    )
    assert "more than two classes" not in tables.result_table(two).attrs["caption"]
    three = tables.result_table(pd.DataFrame([row(auroc_hard=0.8, balanced_accuracy=0.6)]))
    assert "can reach 2" in three.attrs["caption"] and "balanced_accuracy" in three
