"""Which rows of the tidy results a figure of the paper shows, and in which order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .errors import InputError
from .figure_style import COLOURS, HEAD_COLUMNS, PROTOCOLS
from .words import label_words

if TYPE_CHECKING:
    import pandas as pd

#: The bars of one task from left to right: 7 representations x 3 heads, then the CNN by itself.
POOLED = tuple(name for name in COLOURS if name != "CNN")
SLOTS = {(head, name): 8.0 * h + i for h, head in enumerate(HEAD_COLUMNS) for i, name in enumerate(POOLED)}
SLOTS["CNN", "CNN"] = 25.0

#: What a figure of results says of each row.
SHOWN = (
    "tissue", "task", "protocol", "train_dataset", "test_dataset", "label", "held_out", "representation", "head",
    "n_train", "n_train_cells", "seed", "fidelity", "n_test", "auroc", "auroc_low", "auroc_high", "auroc_hard",
)  # fmt: skip


@dataclass(frozen=True)
class TaskLabel:
    """One group of bars: a task and the label it predicts."""

    task: str
    label: str

    @property
    def title(self) -> str:
        """Data set, or source and target on two lines; the label too where it is not stress."""
        datasets = self.task.split(":")[1:]
        name = "\n\N{RIGHTWARDS ARROW} ".join(datasets) or self.task
        return name if self.label in ("stress", "") else f"{name}\n{label_words(self.label)}"


def task_words(rows: pd.DataFrame) -> str:
    """A sentence that names the one task of some rows, for a caption; empty where there are several.

    >>> import pandas as pd
    >>> task_words(pd.DataFrame({"task": ["cross:A:B"], "label": ["root_hair"]}))
    'The task: cross-experiment split, A → B (root hair).'
    """
    tasks = rows[["task", "label"]].drop_duplicates()
    if len(tasks) != 1:
        return ""
    task, label = tasks.iloc[0]
    title = TaskLabel(task, "").title.replace("\n", " ")
    other = "" if label in ("stress", "") else f" ({label_words(label)})"
    return f"The task: {PROTOCOLS[task.split(':')[0]].lower()}, {title}{other}."


def paper_rows(results: pd.DataFrame, *, tissue: str | None = None, n_train: str | int | None = "all"):
    """The rows behind the paper's figures: one for each task, label, head, representation and n_train.

    Rows of controls, and of another `fidelity` than the table's main one, are left out.  Of a task that
    was repeated (other replicates held out, other seeds) one repetition is shown and the others never
    fill its gaps: the one that covers most bars, then the one without a named held-out replicate, then
    the lowest seed, then the first in the table.

    Parameters
    ----------
    results
        Tidy results; ``held_out``, ``seed``, ``fidelity``, ``label`` and ``tissue`` may be absent.
    n_train
        Which training size; None keeps every one.
    """
    rows = main_fidelity(with_text_keys(results))
    rows = rows[[pair in SLOTS for pair in zip(rows["head"], rows["representation"], strict=True)]]
    for column, wanted in (("tissue", tissue), ("n_train", n_train)):
        if wanted is not None and column in rows:
            rows = rows[rows[column] == str(wanted)]
    bars = rows.assign(bar=rows["head"] + " " + rows["representation"], named=rows["held_out"] != "")
    runs = bars.groupby(["task", "label", "held_out", "seed", "named"], sort=False)["bar"].nunique()
    runs = runs.reset_index().sort_values(
        ["bar", "named", "seed"], ascending=[False, True, True], kind="stable"
    )
    chosen = runs.drop_duplicates(["task", "label"])[["task", "label", "held_out", "seed"]]
    rows = rows.merge(chosen, on=["task", "label", "held_out", "seed"])
    return rows.drop_duplicates(["task", "label", "head", "representation", "n_train"])


def shown_columns(rows: pd.DataFrame) -> pd.DataFrame:
    """The columns by which a row of a figure is known, and those that are drawn: what its table holds."""
    return rows[[column for column in SHOWN if column in rows]]


def main_fidelity(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of the profile's own fidelity: the one under which most kinds of result were computed.

    Extra rows (``matched``, one switch at a time) cover raw values with LR only, however many they are.
    All rows where the table names no fidelity.
    """
    if "fidelity" not in rows or rows.empty:
        return rows
    kinds = (rows["representation"] + " " + rows["head"]).groupby(rows["fidelity"]).nunique()
    order = [f for f in ("paper", "released") if f in kinds] or list(kinds.index)
    return rows[rows["fidelity"] == max(order, key=lambda f: kinds[f])]


def with_text_keys(results: pd.DataFrame) -> pd.DataFrame:
    """A copy in which label, held_out and n_train are text (empty = none) and a seed is always there."""
    rows = results.copy()
    rows["label"] = rows["label"].fillna("").astype(str) if "label" in rows else "stress"
    held_out = rows["held_out"].fillna("").astype(str) if "held_out" in rows else ""
    rows = rows.assign(held_out=held_out, seed=rows.get("seed", 0))
    return rows.assign(n_train=rows["n_train"].astype(str).str.removesuffix(".0"))


def fullest_size(rows: pd.DataFrame, wanted: str | int | None = None) -> str:
    """The training size to draw: `wanted`, or all cells, or, where few runs used all, the size of most runs.

    Raises
    ------
    InputError
        If `wanted` was not run.
    """
    counts = rows["auroc"].notna().groupby(rows["n_train"], sort=False).sum()
    if wanted is not None and str(wanted) not in counts.index:
        raise InputError(
            f"no result with n_train {wanted} (found: {', '.join(counts.index)}). Choose one of these."
        )
    if wanted is not None:
        return str(wanted)
    if "all" in counts.index and 2 * counts["all"] >= counts.max():
        return "all"
    return max(counts.index, key=lambda n: (counts[n], int(n) if n != "all" else 0))


def ordered_tasks(rows: pd.DataFrame) -> dict[str, list[TaskLabel]]:
    """Tasks of each protocol, by mean AUROC from high to low; those without any value come last."""
    order = {}
    for protocol in PROTOCOLS:
        mine = rows[rows["protocol"] == protocol]
        means = mine.groupby(["task", "label"], sort=False)["auroc"].mean()
        means = means.sort_values(ascending=False, kind="stable", na_position="last")
        if len(means):
            order[protocol] = [TaskLabel(*key) for key in means.index]
    return order
