"""One vocabulary for tables and figures: every name of a result has words, numbers have a true minus."""

from __future__ import annotations

from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scarafm_utils import words
from scarafm_utils.effects import Effects
from scarafm_utils.figure_style import COLOURS
from scarafm_utils.names import REPRESENTATIONS
from scarafm_utils.result_tables import TIDY


@pytest.mark.parametrize("name", TIDY)
def test_no_column_of_the_results_shows_its_underscores(name):
    assert "_" not in words.heading(name) and not words.heading(name).startswith("n ")


def test_representations_are_called_the_same_in_tables_and_figures():
    assert [words.heading(name) for name in REPRESENTATIONS] == list(REPRESENTATIONS)
    assert set(COLOURS) == set(REPRESENTATIONS)


def test_no_two_words_of_one_table_are_the_same():
    assert len({words.heading(name) for name in TIDY}) == len(TIDY)


@given(st.floats(-1e6, 1e6), st.integers(0, 4), st.booleans())
def test_a_number_is_read_back_and_zero_has_no_minus(value, digits, sign):
    text = words.number_text(value, digits, sign=sign)
    assert "-" not in text and float(text.replace("−", "-").replace(",", "")) == round(value, digits)
    assert text.strip("+−0.") or not {"+", "−"} & set(text)


def test_every_cause_of_the_simulation_is_in_the_table_with_its_size():
    table = words.cause_table()
    assert list(table.index) == [field.name for field in fields(Effects)]
    assert table.loc["lab", "size"] == "0.4" and table.loc["counts", "size"] == "1,000"
    assert (table["what it is"].str.len() > 5).all() and (table["unit"].str.len() > 3).all()
