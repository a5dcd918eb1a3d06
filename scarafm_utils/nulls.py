"""Null contrasts: what a score is worth where there is nothing to find.

(i) one library against another within one condition; (ii) the condition permuted over
libraries, every partition.  Permuting over cells would only test the code: cells of one
library share more than their condition.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import combinations
from typing import TYPE_CHECKING

from .configurations import Configuration
from .errors import InputError
from .experiment import CLASS, Experiment
from .fitting import Battery
from .measures import metrics
from .probes import matched_types
from .splits import Split, random_split, replicate_split
from .tasks import Task

if TYPE_CHECKING:
    import pandas as pd

#: Partitions of the libraries that are computed at most; beyond it a seeded choice.
MAX_PARTITIONS = 20
COLUMNS = (
    "tissue", "dataset", "label", "contrast", "groups", "is_true", "protocol", "held_out", "seed",
    "n_test", "auroc", "auroc_hard", "key", "reason",
)  # fmt: skip


def null_contrasts(battery: Battery, *, seed: int, max_test: int = 2000) -> pd.DataFrame:
    """Both contrasts for one data set, with raw values and LR on all training cells.

    Returns
    -------
    One row per fit, columns `COLUMNS`: `contrast` is ``library`` or ``permuted``; `groups` names
    the libraries of both sides; `is_true` marks the partition that is the condition itself;
    `protocol` is ``random`` or ``held-out pair``.  No row where a data set has too few libraries.
    """
    import pandas as pd

    experiment = replace(battery.experiment, task=_random_task(battery.experiment), fidelity="paper")
    rows = [
        *_library_rows(battery, experiment, seed, max_test),
        *_permuted_rows(battery, experiment, seed, max_test),
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def partitions(libraries: list[str], size: int) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Every way to give `size` libraries the one name and the rest the other.

    Equal halves count once: 2 + 2 libraries have 3 partitions, 3 + 3 have 10.

    >>> partitions(["a", "b", "c", "d"], 2)[0]
    (('a', 'b'), ('c', 'd'))
    """
    halves = 2 * size == len(libraries)
    chosen = [one for one in combinations(libraries, size) if not halves or one[0] == libraries[0]]
    return [(one, tuple(name for name in libraries if name not in one)) for one in chosen]


def _random_task(experiment: Experiment) -> Task:
    name = experiment.task.train_dataset
    return Task("random", name, name)


def _library_rows(battery: Battery, experiment: Experiment, seed: int, max_test: int) -> Iterator[dict]:
    """Each pair of libraries within one condition; cell types matched where they are known."""
    for libraries in _conditions(experiment.cells.obs).values():
        for one, other in combinations(libraries, 2):
            null = _relabelled(experiment, {one: one, other: other}, "library", seed=seed, match=True)
            yield _row(battery, null, "library", ((one,), (other,)), False, (), seed, max_test)


def _permuted_rows(battery: Battery, experiment: Experiment, seed: int, max_test: int) -> Iterator[dict]:
    """A made-up condition over libraries: random split, then one library of each side held out."""
    obs = experiment.cells.obs
    owner = _owners(obs)
    if owner is None:  # the label varies inside libraries: halves of all of them
        libraries = [str(name) for name in obs["sample"].unique()]
        size, truth = len(libraries) // 2, None
    else:
        sides = [[name for name, c in owner.items() if c == k] for k in experiment.classes]
        libraries = [name for side in sides for name in side]
        size, truth = len(sides[0]), frozenset(map(frozenset, sides))
    if len(experiment.classes) != 2 or size < 2 or len(libraries) - size < 2:
        return
    for two in some(partitions(libraries, size), MAX_PARTITIONS, seed=seed):
        names = {name: side for side, libraries in zip("AB", two) for name in libraries}
        null = _relabelled(experiment, names, "permuted", seed=seed)
        is_true = truth == frozenset(map(frozenset, two))
        for held_out in [(), *zip(*two)]:
            yield _row(battery, null, "permuted", two, is_true, held_out, seed, max_test)


def some(everything: list, at_most: int, *, seed: int) -> list:
    """The whole list, or a seeded choice of `at_most` in the old order."""
    import numpy as np

    if len(everything) <= at_most:
        return everything
    rng = np.random.default_rng(seed)
    return [everything[i] for i in sorted(rng.choice(len(everything), at_most, replace=False))]


def _owners(obs: pd.DataFrame) -> dict[str, str] | None:
    """The class of each library, in order of appearance; None where one library has several."""
    pairs = obs[["sample", CLASS]].astype(str).drop_duplicates()
    return None if pairs["sample"].duplicated().any() else dict(pairs.itertuples(index=False))


def _conditions(obs: pd.DataFrame) -> dict[str, list[str]]:
    """Libraries of each class, else of each condition, else all libraries together."""
    owner = _owners(obs)
    if owner is None and "condition" in obs and obs["condition"].notna().all():
        owner = _owners(obs.assign(**{CLASS: obs["condition"]}))
    if owner is None:
        owner = dict.fromkeys(obs["sample"].astype(str), "")
    return {c: [name for name, k in owner.items() if k == c] for c in dict.fromkeys(owner.values())}


def _relabelled(
    experiment: Experiment, names: dict[str, str], contrast: str, *, seed: int, match: bool = False
) -> Experiment:
    """The cells of the named libraries under made-up classes."""
    obs = experiment.cells.obs
    inside = obs["sample"].astype(str).isin(names)
    made = obs[inside].assign(**{CLASS: obs.loc[inside, "sample"].astype(str).map(names)})
    if match:
        made = made.loc[matched_types(made, seed=seed)]
    cells = experiment.cells[made.index].copy()
    cells.obs = made
    words = "|".join(f"{library}={name}" for library, name in names.items())
    classes = tuple(dict.fromkeys(names.values()))
    return replace(experiment, cells=cells, classes=classes, label=f"{experiment.label}:{contrast}:{words}")


def _split(experiment: Experiment, held_out: tuple[str, ...], seed: int, max_test: int) -> Split:
    same = {"label_key": CLASS, "seed": seed, "max_test": max_test}
    if not held_out:
        return random_split(experiment.cells.obs, **same)
    return replicate_split(experiment.cells.obs, replicate_key="sample", held_out=held_out, **same)


def _row(
    battery: Battery,
    null: Experiment,
    contrast: str,
    sides: tuple[tuple[str, ...], tuple[str, ...]],
    is_true: bool,
    held_out: tuple[str, ...],
    seed: int,
    max_test: int,
) -> dict:
    """Fit one contrast, or say why it cannot be fitted."""
    row = {
        "tissue": null.tissue,
        "dataset": null.task.train_dataset,
        "label": battery.experiment.label,
        "contrast": contrast,
        "groups": " | ".join("+".join(side) for side in sides),
        "is_true": is_true,
        "protocol": "held-out pair" if held_out else "random",
        "held_out": "+".join(held_out) or None,
        "seed": seed,
        "reason": "",
    }
    try:
        split = _split(null, held_out, seed, max_test)
    except InputError as error:
        return row | {"reason": str(error)}
    own = Battery(battery.workspace, null, tuning="none", vote=battery.vote)
    table, facts = own.scores(Configuration("raw", "LR", "all", seed, held_out), split)
    found = metrics(table).iloc[0]
    return row | {
        "n_test": len(table),
        "auroc": found["auroc"],
        "auroc_hard": found["auroc_hard"],
        "key": facts["params"]["key"],
    }
