"""Tables as a page shows them: whole, escaped, with fixed decimals, and a dash for what is not there"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from html import escape
from numbers import Integral, Real
from typing import TYPE_CHECKING

from .words import P_VALUES, heading, number_text, p_text, shown_cell

if TYPE_CHECKING:
    import pandas as pd
    from IPython.display import HTML

#: What a page writes where the paper, or this build, has no value.
ABSENT = "–"
#: Above a table of simulated cells on a page that shows real ones too.
SIMULATED = "Simulated cells, not the paper's."


def or_absent(
    table: pd.DataFrame, reason: str, *, digits: int | Mapping[str, int] | None = None, simulated: bool = False
) -> HTML:
    """Show a table whole, with the settings of `full_text`; where it has no row, say in one sentence why."""
    from IPython.display import HTML

    said = HTML(f"<p><em>No result in this build: {escape(reason)}.</em></p>")
    return full_text(table, digits=digits, simulated=simulated) if len(table) else said


def full_text(
    table: pd.DataFrame, *, digits: int | Mapping[str, int] | None = None, simulated: bool = False
) -> HTML:
    """Show a table whole: no cell is cut short, no row left out; text is escaped, columns are called by words.

    An index that only counts the rows is not shown, nor is the name of all columns together.  A sentence in
    ``table.attrs["caption"]`` stands above the table.

    Parameters
    ----------
    digits
        Decimals of floating-point numbers, of all columns or by the name of a column; where a column
        is not named 3, and fewer for counts.
    simulated
        Say above the table that its cells are simulated.
    """
    import pandas as pd
    from IPython.display import HTML

    names = list(table.columns)
    asked = digits if isinstance(digits, Mapping) else {} if digits is None else dict.fromkeys(names, digits)
    written = {heading(n): _writer(n, table.iloc[:, i], asked.get(n)) for i, n in enumerate(names)}
    counts = table.index.names == [None] and isinstance(table.index, pd.RangeIndex)
    with pd.option_context("display.max_colwidth", None):
        text = _in_words(table).to_html(na_rep=ABSENT, formatters=written, border=0, index=not counts)
    said = " ".join(filter(None, [SIMULATED if simulated else "", table.attrs.get("caption", "")]))
    caption = f"\n  <caption>{escape(said)}</caption>" if said else ""
    return HTML(text.replace(">", f">{caption}", 1))


def _writer(name: object, column: pd.Series, digits: int | None) -> Callable[[object], str]:
    """How the cells of a column are written."""
    if name in P_VALUES:
        return lambda value: p_text(value) if isinstance(value, Real) and value == value else cell_text(value)
    plain = partial(cell_text, digits=_decimals(column) if digits is None else digits)
    return lambda value: plain(shown_cell(name, value))


def _in_words(table: pd.DataFrame) -> pd.DataFrame:
    """The same values under words: of columns, of the index and of the cells of the index."""
    import pandas as pd

    index = table.index
    if index.names != [None]:
        columns = [(n, index.get_level_values(i)) for i, n in enumerate(index.names)]
        levels = [pd.Index([shown_cell(n, value) for value in values], name=heading(n)) for n, values in columns]
        index = pd.MultiIndex.from_arrays(levels) if len(levels) > 1 else levels[0]
    return table.set_axis(index).set_axis([heading(name) for name in table.columns], axis=1)


def _decimals(column: pd.Series) -> int:
    """3; none for whole numbers above 1 and for thousands, 1 for hundreds, as medians of counts are."""
    values = [abs(v) for v in column if isinstance(v, Real) and not isinstance(v, bool) and v == v]
    largest = max(values, default=0)
    if largest > 1 and all(float(v).is_integer() for v in values):
        return 0
    return 0 if largest >= 1000 else 1 if largest >= 100 else 3


def cell_text(value: object, *, digits: int = 3) -> str:
    """A value as a table of a page writes it: fixed decimals, thousands set apart, a dash for what is not there.

    >>> cell_text(0.9), cell_text(-0.4, digits=1), cell_text(50797), cell_text(1234.5), cell_text(float("nan"))
    ('0.900', '−0.4', '50,797', '1,234', '–')
    """
    import pandas as pd

    if pd.isna(value):
        return ABSENT
    if isinstance(value, bool) or not isinstance(value, Real):
        return str(value)
    return number_text(value, 0 if isinstance(value, Integral) or abs(value) >= 1000 else digits)
