"""A link inside a page saves exactly the table that the page shows."""

from __future__ import annotations

import io
import re
from urllib.parse import unquote

import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from scarafm_utils.attachments import download_link, with_download


def saved(html: str) -> str:
    """What a browser would save."""
    return unquote(re.search(r'href="data:text/csv;charset=utf-8,([^"]*)"', html)[1])


@settings(max_examples=50, deadline=None)
@given(st.text(st.characters(codec="utf-8"), max_size=60))
def test_any_text_comes_back_and_none_breaks_the_page(text):
    html = download_link(text, 'x".csv')
    assert saved(html) == text
    assert html.count("<") == 2 and 'download="x&quot;.csv"' in html


def test_the_file_is_the_whole_table_however_many_rows_are_shown():
    table = pd.DataFrame({"gene": [f"AT1G{i:05d}" for i in range(30)], "value": [i / 3 for i in range(30)]})
    html = with_download(table, "genes", rows=5).data
    assert html.count("<tr") == 6 and "The first 5 of 30 rows are shown." in html
    pd.testing.assert_frame_equal(pd.read_csv(io.StringIO(saved(html))), table)


def test_a_missing_value_is_a_dash_on_the_page_and_empty_in_the_file():
    html = with_download(pd.DataFrame({"n": [1.5, None]}), "t").data
    assert "<td>–</td>" in html and saved(html) == "n\n1.5\n\"\"\n"


def test_an_index_with_a_meaning_is_kept():
    table = pd.DataFrame({"n": [1, 2]}, index=pd.Index(["A", "B"], name="dataset"))
    html = with_download(table, "counts").data
    assert saved(html) == "dataset,n\nA,1\nB,2\n" and "rows are shown" not in html
