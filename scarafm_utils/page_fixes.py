"""What the theme gets wrong on every page, mended after the pages are written"""

from __future__ import annotations

import re
from pathlib import Path

#: (what is there, what ought to be there, why)
_FIXES = [
    (
        r'<summary><span class="toctree-toggle"',
        '<summary aria-label="pages below"><span class="toctree-toggle"',
        "a button in the side bar without a name",
    ),
    (r'(?:role="list" )?class="citation-list"', 'class="citation-list"', "a list whose children are no list items"),
    (r"Exercise \((\d+): ([^<]*)\)(?=<)", r"Exercise \1: \2", "an exercise's number and title in brackets"),
    (r"Exercise \(Spare: ([^<]*)\)(?=<)", r"Spare exercise: \1", "the same, of an exercise without number"),
    (r'<section id="(?:exercise|solution)-content">', "<section>", "one name for the content of every exercise"),
    (
        r'\s*<script>const THEBE_JS_URL[^<]*</script>|\s*<script[^>]*sphinx-thebe\.js[^>]*></script>'
        r'|\s*<link[^>]*sphinx-thebe\.css[^>]*/>',
        "",
        "code cells that would run on another host: declared twice, which is an error, and never used",
    ),
]  # fmt: skip


def mend_page(text: str) -> str:
    """Mend one page.

    >>> mend_page('<summary><span class="toctree-toggle" role="presentation">')
    '<summary aria-label="pages below"><span class="toctree-toggle" role="presentation">'
    """
    for pattern, replacement, _ in _FIXES:
        text = re.sub(pattern, replacement, text)
    return text


def mend_pages(html: Path) -> None:
    """Mend every page of a folder; a page that was mended before stays as it is."""
    for page in html.rglob("*.html"):
        before = page.read_text(encoding="utf-8")
        after = mend_page(before)
        if after != before:
            page.write_text(after, encoding="utf-8")
