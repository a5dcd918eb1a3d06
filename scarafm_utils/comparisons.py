"""Representations against raw values: signs and sizes over units first, tests over cells beside them.

A unit is a data set, the library held out in it and, across experiments, the direction of the pair.  Both
directions of a pair and all units of one data set share cells, so a p value over units counts each data
set or pair once.  DeLong's test on the cells of one unit is conditional on the two fitted models and these
libraries; its false discovery rate is controlled over the whole family of such tests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .errors import InputError
from .figure_rows import fullest_size, main_fidelity, with_text_keys
from .figure_style import COLOURS
from .names import REPRESENTATIONS
from .paired import MIN_UNITS, benjamini_hochberg, delong, sign_test, signed_rank_test
from .scores import read_scores
from .words import number_text

if TYPE_CHECKING:
    import pandas as pd

    from .workspace import Workspace

#: What a unit is, and what is counted as independent.
UNIT = ("tissue", "protocol", "label", "independent", "task", "held_out")
#: A median and a range that no line of a table breaks.
RANGE = "{} ({}\u00a0to\u00a0{})"
#: What two models share when they are compared on the same cells; the CNN stands beside the MLP.
SAME = (*UNIT, "head", "seed", "tuning", "vote")


def paired_models(results: pd.DataFrame, *, reference: str = "raw") -> pd.DataFrame:
    """Every model of the paper's grid beside `reference` with the same head, on the same test cells.

    Parameters
    ----------
    results
        Tidy results; rows of the main fidelity at the training size that figures draw are used.

    Returns
    -------
    One row per pair: the columns of `SAME`, `representation`, `difference` in points of AUROC, and the
    keys of both score files (`key`, `key_of_reference`).
    """
    rows = main_fidelity(with_text_keys(results))
    rows = rows[rows["representation"].isin(REPRESENTATIONS) & rows["auroc"].notna()]
    if rows.empty:
        raise InputError("No result of the paper's grid to compare. Run the results chapters, then collect.")
    once = rows.drop_duplicates(["task", "label", "representation", "head", "n_train"])
    rows = rows[rows["n_train"] == fullest_size(once)]
    pairs = ["+".join(sorted({*two})) for two in zip(rows["train_dataset"], rows["test_dataset"])]
    rows = rows.assign(independent=pairs, head=rows["head"].replace("CNN", "MLP"))
    kept = rows[[*SAME, "representation", "auroc", "key"]]
    both = kept[kept["representation"] != reference].merge(
        kept[kept["representation"] == reference].drop(columns="representation"),
        on=list(SAME), suffixes=("", "_of_reference"),
    )  # fmt: skip
    both["difference"] = 100 * (both["auroc"] - both["auroc_of_reference"])
    return both.drop(columns=["auroc", "auroc_of_reference"])


def unit_differences(pairs: pd.DataFrame) -> pd.DataFrame:
    """One row per unit and representation: `difference`, the mean over heads and seeds."""
    return pairs.groupby([*UNIT, "representation"], as_index=False, sort=False)["difference"].mean()


def cell_tests(workspace: Workspace, pairs: pd.DataFrame) -> pd.DataFrame:
    """DeLong's test of each pair of models on the test cells that they share, from stored scores.

    Returns
    -------
    `pairs` with `low`, `high` (in points) and `p` of `paired.delong`, and `q`, p adjusted over all rows.
    """
    import pandas as pd

    def scores(tissue: str, key: str) -> pd.DataFrame:
        if (tissue, key) not in read:
            read[tissue, key] = read_scores(workspace.scores_dir(tissue) / f"{key}.parquet")[0]
        return read[tissue, key]

    read: dict = {}
    found = [
        delong(scores(row.tissue, row.key), scores(row.tissue, row.key_of_reference)).iloc[0]
        for row in pairs.itertuples()
    ]
    tests = pd.DataFrame(found, columns=["low", "high", "p"]).reset_index(drop=True)
    tested = pairs.reset_index(drop=True).assign(low=100 * tests["low"], high=100 * tests["high"], p=tests["p"])
    return tested.assign(q=benjamini_hochberg(tested["p"]))


def comparison_table(tests: pd.DataFrame, *, level: float = 0.05) -> pd.DataFrame:
    """Signs and sizes by protocol and representation, then what tests over units and over cells say.

    Parameters
    ----------
    tests
        From `cell_tests`.

    Returns
    -------
    One row per protocol and representation, these in the order of the figures.  `units` and `data sets` (a
    pair of studies counts once); `better` and `worse`, numbers of units; `median`, `least`, `most` in points
    of AUROC; `signs p` and `ranks p` over data sets, missing with fewer than `MIN_UNITS` of them, since no
    result could then reach 0.05; `ranks q`, adjusted over all rows; `cells: better` and `cells: worse`, tests
    with q < `level` out of `cells: tests`.
    """
    import pandas as pd

    units, rows = unit_differences(tests), []
    order = [r for r in COLOURS if r in set(units["representation"])]
    for protocol in dict.fromkeys(units["protocol"]):
        for name in order:
            mine = units[(units["protocol"] == protocol) & (units["representation"] == name)]
            cells = tests[(tests["protocol"] == protocol) & (tests["representation"] == name)]
            if len(mine):
                place = {"protocol": protocol, "representation": name}
                rows.append(place | _over_units(mine) | _over_cells(cells, level))
    table = pd.DataFrame(rows)
    table.insert(table.columns.get_loc("ranks p") + 1, "ranks q", benjamini_hochberg(table["ranks p"]))
    table = table.round({"median": 1, "least": 1, "most": 1, "signs p": 3, "ranks p": 3, "ranks q": 3})
    return table.set_index(["protocol", "representation"])


def in_few_columns(table: pd.DataFrame) -> pd.DataFrame:
    """A table from `comparison_table` for a page: what belongs together shares a cell, as text.

    Returns
    -------
    `units (data sets)`; `better : worse` of the units; `median (range)` in points; the p values; and how many
    of DeLong's tests over cells find the representation better or worse than raw values, out of how many.
    """
    import pandas as pd

    rows = table.rename(columns=lambda name: name.replace("cells: ", "sure ").replace(" ", "_")).itertuples()
    texts = [
        {
            "units (data sets)": f"{row.units} ({row.data_sets})",
            "better : worse": f"{row.better} : {row.worse}",
            "median (range)": RANGE.format(*(number_text(v, 1) for v in (row.median, row.least, row.most))),
            "signs p": row.signs_p, "ranks p": row.ranks_p, "ranks q": row.ranks_q,
            "DeLong, better : worse": f"{row.sure_better} : {row.sure_worse} of {row.sure_tests}",
        }
        for row in rows
    ]  # fmt: skip
    return pd.DataFrame(texts, index=table.index)


def _over_units(units: pd.DataFrame) -> dict:
    values = units["difference"]
    means = units.groupby(["tissue", "independent"])["difference"].mean()  # labels of one data set share its cells
    enough = len(means) >= MIN_UNITS
    return {
        "units": len(values), "data sets": len(means), "better": int((values > 0).sum()),
        "worse": int((values < 0).sum()), "median": values.median(), "least": values.min(), "most": values.max(),
        "signs p": sign_test(means) if enough else float("nan"),
        "ranks p": signed_rank_test(means) if enough else float("nan"),
    }  # fmt: skip


def _over_cells(tests: pd.DataFrame, level: float) -> dict:
    sure = tests["q"] < level
    better = int((sure & (tests["difference"] > 0)).sum())
    return {"cells: better": better, "cells: worse": int(sure.sum()) - better, "cells: tests": len(tests)}
