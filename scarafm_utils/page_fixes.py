"""What the theme gets wrong on every page, mended after the pages are written"""

from __future__ import annotations

import itertools
import re
import struct
from html import escape, unescape
from pathlib import Path
from typing import TYPE_CHECKING

from .figure_style import DPI
from .page_tables import ABSENT

if TYPE_CHECKING:
    from collections.abc import Sequence

#: (what is there, what ought to be there, why)
_FIXES = [
    (
        r'<summary><span class="toctree-toggle"',
        '<summary aria-label="pages below"><span class="toctree-toggle"',
        "a button in the side bar without a name",
    ),
    (
        r'(?s:<button class="pst-navbar-icon sidebar-toggle (?:primary|secondary)-toggle".*?</button>)\s*',
        "",
        "buttons in the bar that the book hides: the theme's script listens to them and not to those that are seen",
    ),
    (r'(?:role="list" )?class="citation-list"', 'class="citation-list"', "a list whose children are no list items"),
    (r"<title>(.*) &#8212; \1</title>", r"<title>\1</title>", "the book's title twice, as that of its first page"),
    (r"Exercise \((\d+): ([^<]*)\)(?=<)", r"Exercise \1: \2", "an exercise's number and title in brackets"),
    (r"Exercise \(Spare: ([^<]*)\)(?=<)", r"Spare exercise: \1", "the same, of an exercise without number"),
    (r"(Solution to)(<a[^>]*>) ", r"\1 \2", "an underlined space before the exercise's name"),
    (r"(<title>[^<&]*) - (?=[^<]*</title>)", r"\1 &#8212; ", "a dash of the search page alone"),
    (r'<section id="(?:exercise|solution)-content">', "<section>", "one name for the content of every exercise"),
    (
        r'\s*<script>const THEBE_JS_URL[^<]*</script>|\s*<script[^>]*sphinx-thebe\.js[^>]*></script>'
        r'|\s*<link[^>]*sphinx-thebe\.css[^>]*/>',
        "",
        "code cells that would run on another host: declared twice, which is an error, and never used",
    ),
]  # fmt: skip


#: Pixels of a page to an inch, whatever a screen has; and the width from which on a phone scrolls a figure.
_PAGE_DPI, _WIDE = 96, 480
_TABLE = re.compile(r"<table[^>]*dataframe.*?</table>", re.DOTALL)
_HEAD = r"<tr[^>]*>((?:\s*<th>[^<]*</th>)*)\s*</tr>\s*"
_TWO_HEADS = re.compile(rf"<thead>\s*{_HEAD}{_HEAD}</thead>")
_CELL = re.compile(r"<(t[dh])>((?:(?!</?t[dh]).)*)</\1>", re.DOTALL)
_TAG = re.compile(r"<[^>]*>")
_DATE = re.compile(r"\s*\d{4}-\d{2}-\d{2}[\d :]*")
#: Letters from which on a cell of a table is prose, and a word of inline code too long for a phone's columns; the
#: latter may break after these characters.
_PROSE, _LONG = 36, 20
_CODE_WORD = re.compile(rf'<span class="pre">((?:[^<&]|&[^;]+;){{{_LONG + 1},}})</span>')
_BREAKS = re.compile(r"(?<=[\w)])[./,=(:]+(?=\w{3})")
_LATER_BREAKS = re.compile(r"(?<=\w)_(?=\w{3})")
#: Flags of commands in a block of code.
_COMMANDS = re.compile(r'<div class="highlight-(?:console|bash)\b.*?</pre>', re.DOTALL)
_FLAG = re.compile(r"""(?<![\w"=-])(?<!flag">)(--?[A-Za-z][\w-]*)(?![^<]*>)""")
#: Boxes in which the theme lets a table slide, of prose and of a notebook's output.
_BOX = re.compile(
    r'<div class="(pst-scrollable-table-container|output text_html)">'
    r"(?=\s*(?:<div>\s*)?(?:<style.*?</style>\s*)?(<table.*?</table>))",
    re.DOTALL,
)
_PICTURE = re.compile(r'<img (alt="[^"]*" src="([^"]*_images/[0-9a-f]{64}\.png)") />')
#: A drawing of the build in a figure with a caption; the theme has made a link of it.
_DRAWING = re.compile(
    r'(?<=id="fig-)([\w-]+">\s*)<a class="[\w -]*image-reference" href="[^"]*">'
    r'<img (alt="[^"]*" src="([^"]*_images/[^"/]*\.svg)")[^>]*/>\s*</a>'
)
_ROW = re.compile(r"<tr[^>]*>.*?</tr>", re.DOTALL)
_PLAIN_CELL = re.compile(r"<td>([^<]*)</td>")
#: A number as tables write it, and what stands where there is none.
_NUMBER, _NO_NUMBER = re.compile(r"\s*(?:&lt; ?)?[+−-]?\d[\d,]*(?:\.\d+)?(?:[ \u00a0]?%)?\s*"), ("", ABSENT)
#: Columns from the last one that the style sheet knows.
_RIGHT = 20
_SHORT_HEAD = re.compile(r'<th((?: rowspan="\d+" valign="top")?)>([^<:]{1,20})</th>')
_ROW_HEAD = re.compile(r"<th>([^<]*:[^<]*)</th>")
_NAME_BREAKS = re.compile(r":(?=[^ ])|(?<=[ACGT]{8})(?=[ACGT]{8})")
_BARCODE_END = re.compile(r"[ACGT]{8}-\d+")


def mend_page(text: str) -> str:
    """Mend one page.

    >>> mend_page('<summary><span class="toctree-toggle" role="presentation">')
    '<summary aria-label="pages below"><span class="toctree-toggle" role="presentation">'
    """
    for pattern, replacement, _ in _FIXES:
        text = re.sub(pattern, replacement, text)
    text = _TABLE.sub(_mended_table, text)
    text = _CELL.sub(_classed_cell, text)
    text = _CODE_WORD.sub(_breakable_code, text)
    text = _COMMANDS.sub(lambda block: _FLAG.sub(r'<span class="flag">\1</span>', block[0]), text)
    return _slide_boxes(text)


def _mended_table(table: re.Match) -> str:
    """One row of names above a table, numbers to the right; short names of its rows stay whole, tasks may break."""
    head, end, rows = _numbers_right(_TWO_HEADS.sub(_one_head, table[0])).partition("</thead>")
    rows = _SHORT_HEAD.sub(r'<th class="short"\1>\2</th>', rows)
    return _ROW_HEAD.sub(_may_break, head + end + rows)


def _numbers_right(table: str) -> str:
    """Name the columns that hold numbers and nothing else, counted from the last: ``right-1 right-3``."""
    body = table.partition("</thead>")[2]
    rows = [_PLAIN_CELL.findall(row) for row in _ROW.findall(body)]
    if len({len(row) for row in rows}) != 1 or body.count("<td") != sum(map(len, rows)):
        return table
    columns = list(zip(*(row[::-1] for row in rows), strict=True))[:_RIGHT]
    found = [n for n, column in enumerate(columns, start=1) if _are_numbers(column)]
    names = " ".join(f"right-{n}" for n in found)
    return table.replace('class="dataframe"', f'class="dataframe {names}"', 1) if found else table


def _are_numbers(cells: Sequence[str]) -> bool:
    found = [bool(_NUMBER.fullmatch(cell)) for cell in cells]
    return any(found) and all(is_number or c.strip() in _NO_NUMBER for is_number, c in zip(found, cells, strict=True))


def _classed_cell(cell: re.Match) -> str:
    """Dates stay in one line, and prose gets a column that is wide enough for it."""
    name, content = cell.groups()
    words = _TAG.sub("", content)
    kind = "date" if _DATE.fullmatch(words) else "prose" if len(words) > _PROSE else ""
    return f'<{name} class="{kind}">{content}</{name}>' if kind else cell[0]


def _breakable_code(word: re.Match) -> str:
    """Breaks after dots, slashes and brackets; in a piece that is long even so, after its underscores too."""
    pieces = _BREAKS.sub(_with_break, word[1]).split("<wbr>")
    parts = [_LATER_BREAKS.sub(_with_break, piece) if len(unescape(piece)) > _LONG else piece for piece in pieces]
    return f'<span class="pre long">{"<wbr>".join(parts)}</span>'


def _whole(found: re.Match) -> str:
    return f'<span class="whole">{found[0]}</span>'


def _with_break(found: re.Match) -> str:
    return f"{found[0]}<wbr>"


def _slide_boxes(text: str) -> str:
    """Make each box of a table one that the keyboard can slide, with a name of its own.

    The theme's script takes a box out of the keyboard's path where there is nothing to slide.
    """
    numbers = itertools.count(1)

    def region(box: re.Match) -> str:
        head = box[2].partition("</thead>")[0]
        cells = [unescape(_TAG.sub("", cell)).strip() for cell in re.findall(r"<th\b.*?</th>", head, re.DOTALL)]
        columns = ", ".join(filter(None, cells))
        name = escape(f"Table {next(numbers)} of this page: {columns}"[:100])
        return f'<div class="{box[1]} slides" role="region" tabindex="0" aria-label="{name}">'

    return _BOX.sub(region, text)


def _may_break(head: re.Match) -> str:
    """Names of tasks and cells may break after a colon, barcodes in the middle: a phone would show little else."""
    name = _NAME_BREAKS.sub(_with_break, head[1])
    return f"<th>{_BARCODE_END.sub(_whole, name)}</th>"


def _one_head(heads: re.Match) -> str:
    """Pandas puts names of columns and of the index into rows of their own: one row, where none is above another.

    Long names may break after an underscore.
    """
    upper, lower = (re.findall(r"<th>([^<]*)</th>", row) for row in heads.groups())
    if len(upper) != len(lower) or any(a and b for a, b in zip(upper, lower, strict=True)):
        return heads[0]
    names = [(a or b).replace("_", "_<wbr>") for a, b in zip(upper, lower, strict=True)]
    cells = "".join(f'<th scope="col">{name}</th>' for name in names)
    return f"<thead><tr>{cells}</tr></thead>"


def size_figures(text: str, folder: Path) -> str:
    """Show each figure at the size it was drawn for, so that letters are alike in all, as a link to the picture itself.

    Parameters
    ----------
    folder
        Where the page lies; its pictures are found from there.
    """
    text = _DRAWING.sub(lambda found: found[1] + _sized(found[2], found[3], folder / found[3]), text)
    return _PICTURE.sub(lambda found: _sized(found[1], found[2], folder / found[2]), text)


def _sized(attributes: str, address: str, path: Path) -> str:
    width, height = (round(inches * _PAGE_DPI) for inches in _inches(path))
    size = f'width="{width}" height="{height}" style="--drawn: {width}px"'
    wide = " wide" if width > _WIDE else ""
    return f'<a class="figure-box{wide}" href="{address}"><img {attributes} {size} /></a>'


def _inches(path: Path) -> tuple[float, float]:
    """Width and height that a picture was drawn for: pixels of a PNG's first chunk, points of an SVG's first tag."""
    with path.open("rb") as file:
        start = file.read(2000)
    if path.suffix == ".svg":
        points = re.search(rb'<svg[^>]* width="([\d.]+)pt" height="([\d.]+)pt"', start)
        return float(points[1]) / 72, float(points[2]) / 72
    width, height = struct.unpack(">II", start[16:24])
    return width / DPI, height / DPI


def mend_pages(html: Path) -> None:
    """Mend every page of a folder; a page that was mended before stays as it is."""
    for page in html.rglob("*.html"):
        before = page.read_text(encoding="utf-8")
        after = size_figures(mend_page(before), page.parent)
        if after != before:
            page.write_text(after, encoding="utf-8")
