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


def full_text(table: pd.DataFrame, *, digits: int | Mapping[str, int] | None = None) -> HTML:
    """Show a table whole: no cell is cut short, no row left out; text is escaped.

    An index that only counts the rows is not shown.

    Parameters
    ----------
    digits
        Decimals of floating-point numbers, of all columns or by the name of a column; where a column
        is not named 3, and fewer for counts.
    """
    import pandas as pd
    from IPython.display import HTML

    usual = {name: _decimals(table.iloc[:, i]) for i, name in enumerate(table.columns)}
    asked = digits if isinstance(digits, Mapping) else {} if digits is None else dict.fromkeys(usual, digits)
    written = {name: partial(cell_text, digits=asked.get(name, usual[name])) for name in usual}
    counts = table.index.names == [None] and isinstance(table.index, pd.RangeIndex)
    with pd.option_context("display.max_colwidth", None):
        text = table.to_html(na_rep=ABSENT, formatters=written, border=0, index=not counts)
    return HTML(text)


def _decimals(column: pd.Series) -> int:
    """3; none for a column of whole numbers above 1, 1 for one of hundreds, as medians of counts are."""
    values = [abs(v) for v in column if isinstance(v, Real) and not isinstance(v, bool) and v == v]
    largest = max(values, default=0)
    if largest > 1 and all(float(v).is_integer() for v in values):
        return 0
    return 1 if largest >= 100 else 3


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
