"""Results as a page carries them: names once, numbers short, each with the address of its run's page."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .chapters import CHAPTERS, evaluation_runs, unit_slug
from .measures import METRICS
from .result_tables import IDENTITY
from .workspace import Workspace

if TYPE_CHECKING:
    import pandas as pd

#: Columns of the page's data: what a result is, how many cells, its numbers, its cost, its page.
TEXT = (*IDENTITY, "interval_unit", "reason", "page")
NUMBERS = ("n_test", "auroc", "auroc_low", "auroc_high", *METRICS[1:], "fit_seconds", "peak_memory_mb")
WHOLE = ("n_test", "peak_memory_mb")


def with_pages(workspace: Workspace, results: pd.DataFrame, executed: Path) -> pd.DataFrame:
    """Add the column ``page``: the address of each result's run, relative to the explorer, or empty."""
    runs = {(CHAPTERS[chapter].tissue, slug): chapter for chapter, slug in evaluation_runs(workspace)}

    def address(tissue: str, task: str, label: str) -> str:
        slug = unit_slug(task, label=label)
        chapter = runs.get((tissue, slug), "")
        there = chapter and (executed / chapter / "runs" / f"{slug}.ipynb").exists()
        return f"../{chapter}/runs/{slug}.html" if there else ""

    keys = list(zip(results["tissue"], results["task"], results["label"], strict=True))
    known = {key: address(*key) for key in set(keys)}
    return results.assign(page=[known[key] for key in keys])


def explorer_data(results: pd.DataFrame) -> dict[str, Any]:
    """Results as a page carries them: names once, numbers as they are shown.

    Rounded here, once: three decimals of a number that was rounded before need not be its own.

    Parameters
    ----------
    results
        Tidy results with the column ``page`` of `with_pages`.

    Returns
    -------
    ``columns``; ``levels``, for each text column its values in the order of the table (sizes in
    order of size); ``rows``, one list for each result: the position of a text among its levels,
    a number, or None where there is none.
    """
    levels = {name: _levels(results[name]) for name in TEXT}
    places = {name: {value: i for i, value in enumerate(found)} for name, found in levels.items()}
    columns = [[places[name][text_of(v)] for v in results[name]] for name in TEXT]
    columns += [[None if math.isnan(v) else _rounded(v, decimals_of(name)) for v in results[name]] for name in NUMBERS]
    return {"columns": [*TEXT, *NUMBERS], "levels": levels, "rows": [list(row) for row in zip(*columns, strict=True)]}


def decimals_of(name: str) -> int:
    """How many decimals the explorer shows of a number.

    >>> decimals_of("auroc"), decimals_of("n_test")
    (3, 0)
    """
    return 0 if name in WHOLE else 3


def _rounded(value: float, decimals: int) -> float:
    """A number without decimals is whole, and nothing is minus zero."""
    return round(float(value), decimals) + 0.0 if decimals else round(float(value))


def _levels(values: pd.Series) -> list[str]:
    found = dict.fromkeys(text_of(v) for v in values)
    if values.name in ("n_train", "seed"):
        return sorted(found, key=lambda v: (not v.isdigit(), int(v) if v.isdigit() else 0))
    return list(found)


def text_of(value: Any) -> str:
    """A name as text; no value is the empty text, and a seed that a gap made a float is whole again."""
    if isinstance(value, float):
        return "" if math.isnan(value) else f"{value:g}"
    return str(value)


def data_element(name: str, value: Any) -> str:
    """HTML that holds `value` as JSON under the id `name`; no text of it can end the element that holds it.

    >>> data_element("d", "</script>")
    '<script type="application/json" id="d">"\\\\u003c/script\\\\u003e"</script>'
    """
    text = json.dumps(value, separators=(",", ":"), allow_nan=False, ensure_ascii=True)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return f'<script type="application/json" id="{name}">{text}</script>'
