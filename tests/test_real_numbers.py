"""The committed numbers from real cells: they are there, whole, and come back from the cells."""

from __future__ import annotations

import re

import pandas as pd
import pytest

from scarafm_utils import real_numbers
from scarafm_utils.errors import InputError
from scarafm_utils.files import sha256_file
from scarafm_utils.real_numbers import COLUMNS, PANELS, compute_real_numbers, read_real_numbers
from scarafm_utils.workspace import PROJECT

DATA = PROJECT.parent / "shared" / "data"
needs_cells = pytest.mark.skipif(not (DATA / "SRP169576.h5ad").exists(), reason="needs the real file SRP169576.h5ad")


def test_the_committed_table_has_every_panel_and_says_where_it_comes_from():
    table, facts = read_real_numbers()
    assert list(table.columns) == list(COLUMNS)
    assert list(dict.fromkeys(table["panel"])) == list(PANELS)
    assert set(facts) == {"dataset", "file", "sha256", "date", "command", "cells", "code", "versions"}
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", facts["date"]) and facts["cells"] == 15_561
    shift = table[(table["panel"] == "shift") & (table["protocol"] == "replicate")]
    assert (shift.groupby(["label", "variant"])["held_out"].nunique() == 6).all()
    assert table.query("panel == 'library'").groupby("variant").size().eq(15).all()
    planted = table[table["panel"] == "planted"]
    assert planted.groupby(["value", "protocol"]).size().to_dict() == {
        (size, protocol): n
        for size in (0.0, 0.5, 1.0, 2.0)
        for protocol, n in (("held-out pair", 30), ("random", 10))
    }


@pytest.mark.parametrize("chapter", ["07_audit", "08_rigor"])
def test_a_chapter_names_the_command_that_made_the_numbers(chapter):
    text = (PROJECT / "notebooks" / f"{chapter}.md").read_text(encoding="utf-8")
    _, facts = read_real_numbers()
    assert f"made with `{facts['command']}`" in text and facts["command"] not in real_numbers.origin(facts)


def test_an_absent_table_says_which_script_makes_it(tmp_path, monkeypatch):
    monkeypatch.setattr(real_numbers, "TABLE", tmp_path / "real_numbers.csv")
    with pytest.raises(InputError, match=r"scripts/real_numbers\.py"):
        read_real_numbers()


def compare(computed: pd.DataFrame, panel: str, tolerance: float) -> None:
    committed = read_real_numbers()[0].query("panel == @panel").reset_index(drop=True)
    keys = ["label", "variant", "groups", "protocol", "held_out"]
    assert committed[keys].fillna("").equals(computed[keys].fillna(""))
    numbers = [c for c in COLUMNS if c not in ("panel", *keys)]
    pd.testing.assert_frame_equal(
        committed[numbers].astype(float), computed[numbers].astype(float), atol=tolerance, rtol=0
    )


@needs_cells
def test_the_signs_come_back_from_the_same_cells(tmp_path):
    assert read_real_numbers()[1]["sha256"] == sha256_file(DATA / "SRP169576.h5ad")
    compare(compute_real_numbers(DATA, tmp_path, panels=("signs",)), "signs", 0.04)  # one gene of thirty


@needs_cells
@pytest.mark.slow
@pytest.mark.parametrize("panel", ["genes", "library"])
def test_other_panels_come_back_from_the_same_cells(tmp_path, panel):
    compare(compute_real_numbers(DATA, tmp_path, panels=(panel,)), panel, 0.002)
