"""The book as one PDF: the articles of its pages in one document, printed by Chromium"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urldefrag, urlsplit

import yaml

from .browser import open_browser, settle
from .errors import InputError
from .files import atomic_path
from .workspace import PROJECT

if TYPE_CHECKING:
    from bs4 import BeautifulSoup, Tag

PDF = "book.pdf"
#: What a page of paper cannot use: buttons, links to a heading itself, folded code and details, downloads, scripts.
_SCREEN_ONLY = (
    "script, button, iframe, dialog, .headerlink, details.hide, .figure-facts, .figure-files, .screen-only, "
    "a[href^='data:'], a[download]"
)

_PAGE = """<!DOCTYPE html>
<html lang="en" data-theme="light"><head><meta charset="utf-8"><title>{title}</title>
{head}
<style>
  body {{ display: block; line-height: 1.5; }}
  article {{ break-before: page; }}
  h1, h2, h3, h4, .cell_input {{ break-after: avoid; }}
  figure, tr, .admonition-title, .math {{ break-inside: avoid; }}
  table {{ border: 0; }}
  .notice {{ border: 1px solid #332500; margin: 0 2px 2rem; padding: 0.5rem; }}
</style></head>
<body><main>{notice}
{contents}
{articles}
</main></body></html>
"""


def book_pages(toc: Path) -> list[str]:
    """Pages of a table of contents in reading order, without the runs of the grid.

    >>> import tempfile
    >>> text = "root: a\\nparts: [{chapters: [{file: b, sections: [{glob: 'runs/*'}]}, {file: c}]}]"
    >>> path = Path(tempfile.mkdtemp()) / "_toc.yml"
    >>> _ = path.write_text(text)
    >>> book_pages(path)
    ['a', 'b', 'c']
    """
    toc = yaml.safe_load(toc.read_text(encoding="utf-8"))
    return [toc["root"], *(chapter["file"] for part in toc["parts"] for chapter in part["chapters"])]


def print_book(html: Path, *, toc: Path | None = None) -> Path:
    """Print the canonical pages of a built site into ``book.pdf`` beside its first page, and link it.

    Parameters
    ----------
    html
        Folder of the site.
    toc
        Table of contents; by default the book's own.

    Raises
    ------
    InputError
        Where there is no site, or no Chromium.
    """
    names = book_pages(toc or PROJECT / "book" / "_toc.yml")
    pages = [name for name in names if (html / f"{name}.html").exists()]
    if not pages:
        raise InputError(f"{html.name}: no page to print. Build the book first: make book")
    document = html / ".tmp-book.html"
    try:
        document.write_text(one_document(html, pages), encoding="utf-8")
        with atomic_path(html / PDF) as target:
            _print(document, target)
    finally:
        document.unlink(missing_ok=True)
    link_book(html)
    return html / PDF


def _print(document: Path, target: Path) -> None:
    footer = '<div style="font-size:7pt;width:100%;text-align:center"><span class="pageNumber"></span></div>'
    with open_browser() as browser:
        page = browser.new_page(color_scheme="light")
        page.goto(document.resolve().as_uri())
        settle(page)
        page.pdf(  # an outline needs tags, which double its size: the site has 40 MB
            path=target, format="A4", scale=0.66, print_background=True, outline=False, tagged=False,
            display_header_footer=True, header_template="<span></span>", footer_template=footer,
            margin={"top": "16mm", "bottom": "16mm", "left": "15mm", "right": "15mm"},
        )  # fmt: skip


def one_document(html: Path, pages: list[str]) -> str:
    """The articles of `pages` one after the other; links between them stay inside the document.

    Parameters
    ----------
    html
        Folder of the site; the document's own links are relative to it.
    pages
        Pages without their ending, relative to `html`.
    """
    from bs4 import BeautifulSoup

    numbers = {f"{name}.html": f"p{i}" for i, name in enumerate(pages)}
    soups = {name: BeautifulSoup((html / name).read_bytes(), "html.parser") for name in numbers}
    head = _head(soups)
    articles = [_article(soup, name, numbers) for name, soup in soups.items()]
    first = next(iter(soups.values()))
    banner = first.select_one(".bd-header-announcement__content")
    return _PAGE.format(
        title=first.title.string if first.title else "",
        head=head,
        notice=f'<p class="notice">{banner.decode_contents()}</p>' if banner else "",
        contents=_contents(articles),
        articles="\n".join(map(str, articles)),
    )


def _contents(articles: list[Tag]) -> str:
    """The first page of the paper: a link to each article, named as its heading is."""
    heads = [(article["id"], article.find("h1")) for article in articles]
    links = [f'<li><a href="#{number}">{head.decode_contents()}</a></li>' for number, head in heads if head]
    return f'<nav class="bd-article"><h1>Contents</h1><ol>{"".join(links)}</ol></nav>'


def _head(soups: dict[str, BeautifulSoup]) -> str:
    """Style sheets and MathJax with its settings, each once: only pages with formulas name the latter."""
    found = {}
    for page, soup in soups.items():
        for tag in (t for t in soup.select("head script") if "window.MathJax" in t.get_text()):
            found.setdefault("settings", str(tag))
        for tag in soup.select("head link[rel=stylesheet], head script[src*=mathjax]"):
            attribute = "src" if tag.name == "script" else "href"
            tag[attribute] = _from_root(page, str(tag[attribute]))
            found.setdefault(tag[attribute], str(tag))
    return "\n".join(found.values())


def _article(soup: BeautifulSoup, page: str, numbers: dict[str, str]) -> Tag:
    article = soup.select_one("article.bd-article") or soup.body
    for tag in article.select("a[download]"):
        _drop_download(tag)
    for tag in article.select(_SCREEN_ONLY):
        tag.decompose()
    for tag in article.find_all("details"):
        tag["open"] = ""  # paper cannot be clicked
    for tag in article.find_all(id=True):
        tag["id"] = f"{numbers[page]}-{tag['id']}"
    for tag in article.find_all(src=True):
        tag["src"] = _from_root(page, tag["src"])
    for tag in article.find_all(srcset=True):
        del tag["srcset"]
    for tag in article.find_all("a", href=True):
        _keep_inside(tag, page, numbers)
    article["id"] = numbers[page]
    return article


def _drop_download(link: Tag) -> None:
    """Take a link that saves a file from its line, with its size; a line that says no more goes as a whole."""
    line, after = link.parent, link.next_sibling
    link.extract()
    if isinstance(after, str):
        after.replace_with(re.sub(r"^\s*\([\d,]+ kB\)\.?\s*", "", after))
    if line.name == "p" and not line.get_text(strip=True):
        line.decompose()


def _keep_inside(tag: Tag, page: str, numbers: dict[str, str]) -> None:
    """Point a link at its page's article; what is not in the document becomes plain text."""
    href = str(tag["href"])
    if urlsplit(href).scheme:
        return
    path, anchor = urldefrag(href)
    number = numbers.get(_from_root(page, path) if path else page)
    if number is None:
        tag.unwrap()
        return
    tag["href"] = f"#{number}-{anchor}" if anchor else f"#{number}"


def _from_root(page: str, address: str) -> str:
    """An address that a page gives relative to itself, relative to the site's folder.

    >>> _from_root("book/a/index.html", "../../_images/x.png")
    '_images/x.png'
    """
    if urlsplit(address).scheme or address.startswith("//"):
        return address
    return posixpath.normpath(posixpath.join(posixpath.dirname(page), unquote(address)))


def link_book(html: Path) -> None:
    """Show the link to the PDF, which every page's footer holds as a comment (``book-pdf.html``)."""
    for page in html.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        before, marker, rest = text.partition("<!--book-pdf ")
        if marker:
            page.write_text(before + rest.replace(" book-pdf-->", "", 1), encoding="utf-8")
