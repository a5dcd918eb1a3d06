"""Tables as a page shows them: whole, escaped, with fixed decimals, and a dash for what is not there"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from html import escape
from numbers import Integral, Real
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd
    from IPython.display import HTML

#: What a page writes where the paper, or this build, has no value.
ABSENT = "–"


def or_absent(table: pd.DataFrame, reason: str) -> HTML:
    """Show a table whole; where it has no row, say in one sentence why."""
    from IPython.display import HTML

    return full_text(table) if len(table) else HTML(f"<p><em>No result in this build: {escape(reason)}.</em></p>")


def full_text(table: pd.DataFrame, *, digits: int | Mapping[str, int] = 3) -> HTML:
    """Show a table whole: no cell is cut short, no row left out; text is escaped.

    An index that only counts the rows is not shown.

    Parameters
    ----------
    digits
        Decimals of floating-point numbers, of all columns or by the name of a column; 3 where a
        column is not named.
    """
    import pandas as pd
    from IPython.display import HTML

    by_name = digits if isinstance(digits, Mapping) else dict.fromkeys(table.columns, digits)
    written = {name: partial(cell_text, digits=by_name.get(name, 3)) for name in table.columns}
    counts = table.index.names == [None] and isinstance(table.index, pd.RangeIndex)
    with pd.option_context("display.max_colwidth", None):
        text = table.to_html(na_rep=ABSENT, formatters=written, border=0, index=not counts)
    return HTML(text)


def cell_text(value: object, *, digits: int = 3) -> str:
    """A value as a table of a page writes it: fixed decimals, thousands set apart, a dash for what is not there.

    >>> cell_text(0.9), cell_text(-0.04, digits=1), cell_text(50797), cell_text(1234.5), cell_text(float("nan"))
    ('0.900', '0.0', '50,797', '1,234', '–')
    """
    import pandas as pd

    if pd.isna(value):
        return ABSENT
    if isinstance(value, bool) or not isinstance(value, Real):
        return str(value)
    if isinstance(value, Integral) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{round(float(value), digits) + 0.0:.{digits}f}"
