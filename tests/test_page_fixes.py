"""What is mended on every page: one row of names above a table, figures at the size they were drawn for."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest
from bs4 import BeautifulSoup
from hypothesis import given
from hypothesis import strategies as st

from scarafm_utils.figure_style import PAGE_WIDTH, PageFigure, figure_bytes
from scarafm_utils.page_fixes import mend_page, mend_pages, size_figures

SHA = "ab" * 32


@pytest.mark.parametrize(
    ("written", "mended"),
    [
        (
            '<p class="admonition-title">Exercise (2: hold out (all of) a replicate)</p>',
            '<p class="admonition-title">Exercise 2: hold out (all of) a replicate</p>',
        ),
        (
            'Solution to<a href="#ex"> Exercise (Spare: is it the size?)</a>',
            'Solution to <a href="#ex">Spare exercise: is it the size?</a>',
        ),
        ("<title>A book &#8212; A book</title>", "<title>A book</title>"),
        ("<title>Licence &#8212; A book</title>",) * 2,
        ("<title>Search - A book</title>", "<title>Search &#8212; A book</title>"),
        ('<section id="solution-content">\n<p>x</p>', "<section>\n<p>x</p>"),
        ("<p>Exercise (1) of the book, and Exercise (2: x) in a text</p>",) * 2,
    ],
)
def test_exercises_have_plain_titles_and_no_name_is_there_twice(written, mended):
    assert mend_page(written) == mended == mend_page(mended)


def heads(html: str) -> list[list[str]]:
    soup = BeautifulSoup(html, "html.parser")
    return [[cell.get_text() for cell in row.select("th")] for row in soup.select("thead tr")]


def test_names_of_the_index_stand_in_the_row_of_the_columns():
    index = pd.MultiIndex.from_tuples([("leaf", "A")], names=["tissue", "data_set"])
    html = pd.DataFrame({"auroc_hard": [0.5], "<b>": [1]}, index=index).to_html()
    mended = mend_page(html)
    assert heads(html) == [["", "", "auroc_hard", "<b>"], ["tissue", "data_set", "", ""]]
    assert heads(mended) == [["tissue", "data_set", "auroc_hard", "<b>"]]
    assert "auroc_<wbr>hard" in mended and "&lt;b&gt;" in mended, "a long name may break, markup stays text"
    assert mend_page(mended) == mended
    assert ">0.5</td>" in mended and mended.count("<td") == html.count("<td"), "what cells hold is left alone"


def test_a_box_of_a_table_can_be_reached_by_keyboard_and_has_a_name_of_its_own():
    quoted, table = 'b"', "<table><thead><tr><th>{}</th></tr></thead><tr><td>1</td></tr></table>"
    page = f'<div class="pst-scrollable-table-container">{table.format("<p>a</p>")}</div>'
    page += f'<div class="output text_html"><div>\n<style scoped>x</style>\n{table.format(quoted)}'
    mended = mend_page(page + '</div></div><div class="output text_html"><p>no table</p></div>')
    boxes = BeautifulSoup(mended, "html.parser").select("[role=region]")
    assert [box["aria-label"] for box in boxes] == ["Table 1 of this page: a", 'Table 2 of this page: b"']
    assert all(box["tabindex"] == "0" and "slides" in box["class"] for box in boxes)
    assert mend_page(mended) == mended


def test_a_flag_stays_whole_and_a_long_name_breaks_after_its_dots_and_underscores():
    def code(word):
        return f'<code class="docutils literal notranslate"><span class="pre">{word}</span></code>'

    assert mend_page(code("--dry-run")) == code("--dry-run")
    long = code("claims.gene_identity_beats_pooling")
    assert "claims.<wbr>gene_<wbr>identity_<wbr>beats_<wbr>pooling" in mend_page(long)
    mended = mend_page(code("scarafm_utils.paired.delong_test(&quot;a&quot;)"))
    assert "scarafm_utils.<wbr>paired.<wbr>delong_test(&quot;" in mended, "at underscores only where it has to"
    assert 'class="pre long"' in mended
    assert BeautifulSoup(mended, "html.parser").get_text() == 'scarafm_utils.paired.delong_test("a")'
    assert mend_page(mended) == mended


def test_a_flag_of_a_command_is_not_torn_at_its_hyphens():
    command = '<span class="w-a"> </span>make --dry-run -p a-b=c-d'
    block = f'<div class="highlight-console notranslate"><pre>{command}</pre></div>'
    mended = mend_page(f"{block}<p>a --flag of prose</p>")
    flags = [flag.get_text() for flag in BeautifulSoup(mended, "html.parser").select(".flag")]
    assert flags == ["--dry-run", "-p"] and mend_page(mended) == mended
    assert BeautifulSoup(mended, "html.parser").pre.get_text() == " make --dry-run -p a-b=c-d"


def test_short_names_of_rows_stay_in_a_line():
    index = pd.MultiIndex.from_product([["as it stands"], ["S phase", "a name that is as long as prose"]])
    page = mend_page(pd.DataFrame({"x": [1, 2]}, index=index).to_html())
    rows = BeautifulSoup(page, "html.parser").select("tbody th")
    assert [cell.get("class") for cell in rows] == [["short"], ["short"], None] and rows[0]["rowspan"] == "2"


def test_dates_stay_in_a_line_and_prose_has_room():
    row = "<tr><td><p>2026-11-22 23:15</p></td><td>2026-11-22</td><td>12</td><td><p>{}</p></td></tr>"
    cells = BeautifulSoup(mend_page(row.format("many words " * 7)), "html.parser").select("td")
    assert [cell.get("class") for cell in cells] == [["date"], ["date"], None, ["prose"]]
    heads = "<tr><th>genes</th><th>" + "many words " * 4 + "</th></tr>"
    assert [cell.get("class") for cell in BeautifulSoup(mend_page(heads), "html.parser").select("th")] == [
        None, ["prose"],
    ]  # fmt: skip


def test_a_head_whose_rows_both_say_something_stays():
    table = pd.DataFrame({"random": [0.5]}, index=pd.Index(["raw"], name="representation"))
    html = table.rename_axis(columns="protocol").to_html()
    assert heads(mend_page(html)) == heads(html) == [["protocol", "random"], ["representation", ""]]
    assert mend_page("<table><thead><tr><th></th></tr><tr><th>a</th></tr></thead></table>").count("<tr>") == 2


def right(table: pd.DataFrame) -> set[str]:
    """Names of the columns that the style sheet sets to the right."""
    columns, (classes,) = (
        list(table.columns)[::-1],
        re.findall(r'class="dataframe ?([^"]*)"', mend_page(table.to_html())),
    )
    return {columns[int(name.removeprefix("right-")) - 1] for name in classes.split()}


def test_columns_of_numbers_stand_to_the_right():
    numbers = {
        "AUROC": ["0.812", "–"],
        "cells": ["1,672", "−3"],
        "p": ["< 0.001", "0.2"],
        "share": ["5 %", "12\u00a0%"],
    }
    words = {"interval": ["0.7 to 0.9", "–"], "note": ["12", "of 12"], "nothing": ["–", "–"], "link": ["1", "<a>"]}
    index = pd.MultiIndex.from_tuples([("leaf", "raw"), ("leaf", "CLS")], names=["tissue", "what"])
    table = pd.DataFrame({**words, **numbers}, index=index)
    assert right(table) == set(numbers)
    assert right(table[list(words)]) == set()
    nested = pd.DataFrame([[1, "a"]], columns=pd.MultiIndex.from_product([["random"], ["raw", "CLS"]]))
    assert right(nested) == {("random", "raw")}
    mended = mend_page(table.to_html())
    assert mend_page(mended) == mended


def test_the_style_sheet_knows_as_many_columns_as_a_table_of_the_site_has():
    css = (Path(__file__).resolve().parents[1] / "book" / "_static" / "custom.css").read_text(encoding="utf-8")
    known = [int(n) for n in re.findall(r"table\.right-(\d+)", css)]
    assert known == list(range(1, 21))
    wide = pd.DataFrame([range(24)]).to_html()
    assert "right-20" in mend_page(wide) and "right-21" not in mend_page(wide)


@given(st.lists(st.text('ab_<>&" ', min_size=1, max_size=8).filter(str.strip), min_size=1, max_size=4, unique=True))
def test_no_name_is_lost(names):
    table = pd.DataFrame([range(len(names))], columns=names, index=pd.Index(["x"], name="row"))
    html = table.to_html()
    assert sorted(filter(None, sum(heads(html), []))) == sorted(heads(mend_page(html))[0])


def test_figures_of_any_width_have_letters_of_one_size_and_lead_to_themselves(tmp_path):
    (tmp_path / "_images").mkdir()
    page = f'<p><img alt="Dots." src="_images/{SHA}.png" /></p>'
    for inches in (PAGE_WIDTH, 5):
        (tmp_path / "_images" / f"{SHA}.png").write_bytes(figure_bytes(PageFigure(inches, 2), "png"))
        image = BeautifulSoup(size_figures(page, tmp_path), "html.parser").select_one("a.figure-box > img")
        assert abs(int(image["width"]) - 96 * inches) <= 1 and image["height"] == "192"
        assert image["style"] == f"--drawn: {image['width']}px" and image["alt"] == "Dots."
        assert image.parent["href"] == f"_images/{SHA}.png"
        assert ("wide" in image.parent["class"]) == (inches == PAGE_WIDTH), "a phone scrolls a wide one"


def test_a_drawing_with_a_caption_slides_on_a_phone_like_any_figure(tmp_path):
    (tmp_path / "_images").mkdir()
    (tmp_path / "_images" / "drawing.svg").write_bytes(figure_bytes(PageFigure(PAGE_WIDTH, 3), "svg"))
    image = '<img alt="Dots." src="_images/drawing.svg" style="width: 100%;" />'
    link = f'<a class="reference internal image-reference" href="_images/drawing.svg">{image}</a>'
    page = f'<figure class="align-default" id="fig-drawing">\n{link}\n<figcaption></figcaption></figure>{image}'
    boxed = BeautifulSoup(size_figures(page, tmp_path), "html.parser")
    (found,) = boxed.select("figure > a.figure-box.wide > img")
    assert found["width"] == str(round(96 * PAGE_WIDTH)) and found["alt"] == "Dots."
    assert len(boxed.select("a a")) == 0 and len(boxed.select("img")) == 2, "the picture without a caption stays"


def test_names_of_tasks_may_break_after_a_colon_and_barcodes_in_the_middle():
    html = pd.DataFrame({"a:b": [1, 2]}, index=["cross:A:B", "A:S01:AAATGGTAGTAGGTAG-1"]).to_html()
    mended = mend_page(html)
    assert '<th>A:<wbr>S01:<wbr>AAATGGTA<wbr><span class="whole">GTAGGTAG-1</span></th>' in mended
    assert "<th>cross:<wbr>A:<wbr>B</th>" in mended
    assert mend_page(mended) == mended


def test_a_page_is_mended_once(tmp_path):
    (tmp_path / "_images").mkdir()
    (tmp_path / "_images" / f"{SHA}.png").write_bytes(figure_bytes(PageFigure(5, 2), "png"))
    (tmp_path / "a").mkdir()
    page = tmp_path / "a" / "page.html"
    page.write_text(f'<img alt="" src="../_images/{SHA}.png" />')
    mend_pages(tmp_path)
    once = page.read_text()
    mend_pages(tmp_path)
    assert page.read_text() == once and once.count("figure-box") == 1
