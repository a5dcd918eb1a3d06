"""The printed book: links inside it stay inside, and everything on its pages is there once."""

from __future__ import annotations

import re

import pytest
from bs4 import BeautifulSoup

from scarafm_utils.attachments import download_link
from scarafm_utils.browser import why_no_browser
from scarafm_utils.errors import InputError
from scarafm_utils.printing import PDF, link_book, one_document, print_book

MARK = '<!--book-pdf <p><a href="{}book.pdf">PDF</a></p> book-pdf-->'
FIRST = """<html><head><title>The book</title><link rel="stylesheet" href="_static/a.css"></head><body>
<div class="bd-header-announcement__content">Simulated cells</div><article class="bd-article"><h1 id="a">One</h1>
<a href="deep/two.html#b">over</a><a href="deep/two.html">there</a><a href="#a">up</a><a href="runs/x.html">a run</a>
<a href="https://x.example/">out</a><a class="headerlink" href="#a">#</a><a download="t.csv" href="data:,x">t</a>
<script>1</script></article><footer>%s</footer></body></html>""".replace("%s", MARK.format(""))
SECOND = """<html><head><title>Two</title><script>window.MathJax = {}</script>
<script src="../_static/mathjax/tex.js"></script>
<link rel="stylesheet" href="../_static/a.css"></head><body><article class="bd-article"><h1 id="b">Two</h1>
<details><summary>Answer</summary>B</details><p class="figure-files">Download: <a href="x.csv" download>x</a></p>
<img src="../_images/x.png" alt="x"><p id="a">same name</p></article><footer>%s</footer></body></html>"""


@pytest.fixture
def html(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "index.html").write_text(FIRST)
    (tmp_path / "deep" / "two.html").write_text(SECOND % MARK.format("../"))
    (tmp_path / "_toc.yml").write_text("root: index\nparts: [{chapters: [{file: deep/two}, {file: absent}]}]")
    return tmp_path


def test_links_inside_the_document_lead_to_its_articles(html):
    soup = BeautifulSoup(one_document(html, ["index", "deep/two"]), "html.parser")
    contents = soup.nav.extract()
    assert [(a.text, a["href"]) for a in contents.find_all("a")] == [("One", "#p0"), ("Two", "#p1")]
    links = {a.text: a["href"] for a in soup.find_all("a")}
    assert links == {"over": "#p1-b", "there": "#p1", "up": "#p0-a", "out": "https://x.example/"}
    ids = [tag["id"] for tag in soup.find_all(id=True)]
    assert len(ids) == len(set(ids)) and {"p0", "p0-a", "p1", "p1-a", "p1-b"} == set(ids)
    assert "a run" in soup.text, "what is not printed becomes text"
    assert soup.img["src"] == "_images/x.png" and soup.link["href"] == "_static/a.css"
    assert "Simulated cells" in soup.text and "Download" not in soup.text
    scripts = [tag.get("src") or tag.get_text() for tag in soup.find_all("script")]
    assert scripts == ["window.MathJax = {}", "_static/mathjax/tex.js"], "formulas of any page are set"
    assert len(soup.find_all("link")) == 1 and soup.details.has_attr("open"), "an answer can be read on paper"


def test_a_download_leaves_its_size_and_its_line_on_the_screen(html):
    """What is said of the table beside it stays."""
    first = html / "index.html"
    rest = ". The first 2 of 9 rows are shown."
    lines = f"<p>{download_link('a', 't.csv')}.</p><p>{download_link('a', 'u.csv')}{rest}</p>"
    first.write_text(first.read_text().replace("<script>", f"{lines}<script>"))
    article = BeautifulSoup(one_document(html, ["index"]), "html.parser").article
    assert [p.get_text() for p in article.find_all("p")] == ["The first 2 of 9 rows are shown."]


def test_the_link_is_shown_once_the_file_is_there(html):
    link_book(html)
    assert '<p><a href="../book.pdf">PDF</a></p>' in (html / "deep" / "two.html").read_text()
    assert "book-pdf" not in (html / "index.html").read_text()


def test_without_a_site_there_is_nothing_to_print(tmp_path):
    with pytest.raises(InputError, match="no page to print"):
        print_book(tmp_path)


@pytest.mark.skipif(bool(why_no_browser()), reason=why_no_browser())
def test_the_book_is_printed(html):
    path = print_book(html, toc=html / "_toc.yml")
    assert path.name == PDF and path.read_bytes().startswith(b"%PDF-")
    assert len(re.findall(rb"/Type ?/Page\b", path.read_bytes())) == 3, "contents, and each article begins on a page"
    assert not list(html.glob(".tmp-*")) and "<!--" not in (html / "index.html").read_text()
