"""Files that a page carries inside itself: a link that saves a table, wherever the page was opened."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING
from urllib.parse import quote

from .page_tables import full_text

if TYPE_CHECKING:
    import pandas as pd
    from IPython.display import HTML

#: Characters that an address inside a page may hold as they are; all others are escaped.
_PLAIN = "/,:;()*"


def download_link(text: str, name: str, *, kind: str = "text/csv") -> str:
    """HTML of a link that saves `text` as a file called `name`.

    The text stands in the link itself, so that it works without a server, from a page that was
    moved or sent to somebody, and can never belong to another run than the page does.

    >>> download_link("a,b", "t.csv")
    '<a class="download" download="t.csv" href="data:text/csv;charset=utf-8,a,b">Download t.csv</a> (1 kB)'
    """
    address = f"data:{kind};charset=utf-8,{quote(text, safe=_PLAIN)}"
    size = f"({-(-len(text.encode()) // 1000):,} kB)"
    shown = escape(name, quote=True)
    return f'<a class="download" download="{shown}" href="{address}">Download {shown}</a> {size}'


def with_download(table: pd.DataFrame, name: str, *, rows: int | None = None) -> HTML:
    """Show a table, or its first `rows`, above a link that saves the whole as ``<name>.csv``.

    Values of the file are those of the table, in their shortest exact form; the index comes first.
    """
    from IPython.display import HTML

    shown = table if rows is None else table.head(rows)
    numbered = table.index.names == [None] and list(table.index) == list(range(len(table)))
    file = table.to_csv(index=not numbered, lineterminator="\n")
    left = "" if len(shown) == len(table) else f" The first {len(shown):,} of {len(table):,} rows are shown."
    return HTML(f"{full_text(shown).data}<p>{download_link(file, f'{name}.csv')}.{left}</p>")
