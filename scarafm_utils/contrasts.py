"""Differences between rows of the tidy results that share everything else.

`claims` is made of these.  A unit is what may be counted (a held-out replicate, a task); every
function that ends in units returns the columns `dataset`, `unit`, `value`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd

POOLED = ("CLS", "WM")
GENE_IDENTITY = ("ENS", "PCA_1", "PCA_2", "PCA_3", "CNN")
LEARNED = POOLED + GENE_IDENTITY

#: Data sets that must agree before a claim about real cells is supported.
MIN_DATASETS = 3

#: What makes a unit; the first column names the data set that is counted as independent.
TASK = ["test_dataset", "task", "held_out"]
PAIR = ["pair", "task"]
_SETTINGS = ("representation", "head", "n_train", "seed", "held_out", "tuning", "vote")


def rows_of(
    results: pd.DataFrame, *, label: str = "stress", metric: str = "auroc", fidelity: str = "paper"
) -> pd.DataFrame:
    """Rows of one label and fidelity that have a value of `metric`, which becomes `auroc`.

    Sizes and held-out units become text.  `pair` names both data sets in one order: the two
    directions of a pair are not independent.
    """
    rows = results.assign(auroc=results[metric])
    rows = rows[(rows["label"] == label) & (rows["fidelity"] == fidelity) & rows["auroc"].notna()].copy()
    rows["n_train"] = rows["n_train"].astype(str).str.removesuffix(".0")
    for name in {"held_out", "tuning", "vote"} & set(rows.columns):
        rows[name] = rows[name].fillna("").astype(str)
    rows["pair"] = ["+".join(sorted(two)) for two in zip(rows["train_dataset"], rows["test_dataset"])]
    return rows


def of_the_paper(rows: pd.DataFrame) -> pd.Series:
    """Whether a row is a bar of the paper, not a control."""
    return rows["representation"].isin(("raw", *LEARNED))


def few_cells(rows: pd.DataFrame) -> pd.DataFrame:
    """Cross tasks with 1,000 to 5,000 training cells, or else with the two smallest sizes."""
    rows = rows[(rows["protocol"] == "cross") & (rows["n_train"] != "all")]
    sizes = sorted(rows["n_train"].astype(int).unique())
    chosen = [n for n in sizes if 1000 <= n <= 5000] or sizes[:2]
    return rows[rows["n_train"].astype(int).isin(chosen)]


def wide(rows: pd.DataFrame, column: str, *, also: tuple[str, ...]) -> pd.DataFrame:
    """One column per value of `column`; rows share the settings and `also`."""
    keys = [*also, *(name for name in _SETTINGS if name in rows and name != column)]
    return rows.pivot_table(index=keys, columns=column, values="auroc", aggfunc="mean").reset_index()


def by_representation(rows: pd.DataFrame) -> pd.DataFrame:
    """One column per representation; CNN stands beside the MLP head."""
    rows = rows.assign(head=rows["head"].replace("CNN", "MLP"))
    return wide(rows, "representation", also=("test_dataset", "pair", "task"))


def equal_sizes(table: pd.DataFrame, protocols: tuple[str, ...]) -> pd.DataFrame:
    """Rows with a value for every protocol and equally many training cells behind each.

    ``all`` is another number under each protocol, so it counts only for a training study without other sizes.
    """
    table = table[table.reindex(columns=list(protocols)).notna().all(axis=1)]
    numbers = table["n_train"] != "all"
    return table[numbers | ~table["train_dataset"].isin(table.loc[numbers, "train_dataset"])]


def counted_as(table: pd.DataFrame) -> pd.Series:
    """The data set that each row counts for, so that no study counts twice.

    It is the one tested where a task stays within it, else the one that trained where a task stays within
    that, else the pair: two directions share both studies.
    """
    own = table.loc[~table["task"].str.startswith("cross:"), "test_dataset"]
    source = table["task"].str.split(":").str[1]
    counted = source.where(source.isin(own), table["pair"])
    return table["test_dataset"].where(table["test_dataset"].isin(own), counted)


def n_apart(names: Iterable[str]) -> int:
    """How many groups of data sets share no study: the pairs of three studies are one group.

    >>> n_apart(["A", "B+C"]), n_apart(["A+B", "A+C", "B+C"])
    (2, 1)
    """
    groups: list[set[str]] = []
    for name in names:
        studies = set(name.split("+"))
        touched = [group for group in groups if group & studies]
        groups = [group for group in groups if not group & studies] + [studies.union(*touched)]
    return len(groups)


def mean_of(table: pd.DataFrame, names: tuple[str, ...]) -> pd.Series:
    """Mean over those of `names` that are there; NaN where none is."""
    return table.reindex(columns=list(names)).mean(axis=1)


def difference(table: pd.DataFrame, high: str, low: str, keys: list[str]) -> pd.DataFrame:
    """Mean difference in points per unit: columns dataset, unit, value (first key = data set)."""
    import pandas as pd

    types = {"dataset": object, "unit": object, "value": float}  # of no units as well: tables of units are joined
    if high not in table or low not in table:
        return pd.DataFrame({"dataset": [], "unit": [], "value": []}).astype(types)
    points = table.assign(value=100 * (table[high] - table[low])).dropna(subset="value")
    units = points.groupby(keys, as_index=False)["value"].mean()
    named = [" ".join(map(str, parts)) for parts in units[keys].itertuples(index=False)]
    return pd.DataFrame({"dataset": units[keys[0]], "unit": named, "value": units["value"]}).astype(types)


def curve_ends(rows: pd.DataFrame) -> pd.DataFrame:
    """Per data set, mean AUROC with the fewest and with all cells over configurations with both."""
    import pandas as pd

    keys = ["test_dataset", "task", "held_out", "representation", "head", "seed"]
    last = rows[rows["n_train"] == "all"].set_index(keys)["auroc"].rename("last")
    capped = rows[rows["n_train"] != "all"].assign(size=lambda t: t["n_train"].astype(int))
    first = capped.sort_values("size").groupby(keys)["auroc"].first().rename("first")
    both = pd.concat([first, last[~last.index.duplicated()]], axis=1, join="inner")
    return both.groupby(level="test_dataset").mean()


def leave_one_out(ends: pd.DataFrame) -> pd.DataFrame:
    """Correlation of gain and difficulty without each data set in turn; needs four of them."""
    import numpy as np
    import pandas as pd

    gain, difficulty = ends["last"] - ends["first"], -(ends["last"] + ends["first"]) / 2
    units = []
    for name in ends.index if len(ends) > MIN_DATASETS else []:
        value = np.corrcoef(gain.drop(name), difficulty.drop(name))[0, 1]
        units.append({"dataset": name, "unit": name, "value": value})
    return pd.DataFrame(units, columns=["dataset", "unit", "value"]).dropna()


def order_p(ends: pd.DataFrame) -> float:
    """Share of the orders of the data sets in which gain and difficulty correlate as strongly, or more.

    Two-sided and exact; 1 where there are too few data sets for `leave_one_out`.
    """
    from itertools import permutations

    import numpy as np

    if len(ends) <= MIN_DATASETS:
        return 1.0
    gain, difficulty = (ends["last"] - ends["first"]).to_numpy(), -(ends["last"] + ends["first"]).to_numpy()
    found = abs(np.corrcoef(gain, difficulty)[0, 1])
    orders = [abs(np.corrcoef(gain, difficulty[list(order)])[0, 1]) for order in permutations(range(len(gain)))]
    return float(np.mean(np.array(orders) >= found - 1e-12))
