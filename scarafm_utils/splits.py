"""Who trains and who is tested: the three protocols of the paper's appendix A.2.

A split is two sets of cell names, so that leakage is one set intersection.  Everything
depends on the names and the seed only, never on the order of the rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from .errors import InputError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


class Split(NamedTuple):
    """Names of the training cells and of the test cells, each in the order of `obs`."""

    train: pd.Index
    test: pd.Index


def balance_classes(obs: pd.DataFrame, *, label_key: str, seed: int) -> pd.Index:
    """Downsample every class to the size of the smallest one (A.2, step ii).

    Parameters
    ----------
    obs
        One row per cell, unique names.  Cells whose label is missing or empty belong to no
        class and are left out.
    label_key
        Column with the class of each cell.  A categorical column may declare classes.

    Returns
    -------
    Names of the balanced pool, in the order of `obs`.

    Raises
    ------
    InputError
        Missing column, repeated names, fewer than two classes, a declared class without cells.
    """
    classes = _classes(obs, label_key)
    size = min(len(names) for names in classes.values())
    return _draw(obs, classes, dict.fromkeys(classes, size), seed=(1, seed))


def cap(obs: pd.DataFrame, n: int, *, label_key: str, seed: int) -> pd.Index:
    """Choose `n` cells with the class proportions of `obs`, to within one cell per class.

    With one seed a smaller choice lies within a larger one (to that one cell), so that a
    learning curve adds cells and does not replace them.

    Returns
    -------
    `n` names, in the order of `obs`.

    Raises
    ------
    InputError
        `n` is below 1 or above the number of cells that carry a label.
    """
    classes = _groups(obs, label_key)
    total = sum(len(names) for names in classes.values())
    if not 1 <= n <= total:
        raise InputError(f"Cannot choose {n} cells from {total}: ask for 1 to {total}.")
    sizes = _proportional({name: len(names) for name, names in classes.items()}, n)
    return _draw(obs, classes, sizes, seed=(2, seed))


def random_split(
    obs: pd.DataFrame, *, label_key: str, seed: int, test_size: float = 0.2, max_test: int = 2000
) -> Split:
    """Balance, then hold out min(`test_size` · N, `max_test`) cells at random (A.2, random split).

    The test set has equally many cells of every class: the target is rounded down to a
    multiple of the number of classes, and is at least one cell per class.  Training cells
    are all others of the balanced pool.

    Raises
    ------
    InputError
        Fewer than two cells in a class, `test_size` outside (0, 1), and what
        `balance_classes` raises.
    """
    if not 0 < test_size < 1:
        raise InputError(f"test_size is {test_size}: choose a share between 0 and 1, for example 0.2.")
    pool = obs.loc[balance_classes(obs, label_key=label_key, seed=seed)]
    classes = _groups(pool, label_key)
    size = len(pool) // len(classes)
    if size < 2:
        raise InputError(
            f"'{label_key}': {size} cell per class after balancing ({_counts(obs, label_key)}); "
            "a random split needs at least 2."
        )
    target = min(test_size * len(pool), max_test)
    per_class = max(1, int(target / len(classes) + 1e-9))
    test = _draw(pool, classes, dict.fromkeys(classes, min(per_class, size - 1)), seed=(3, seed))
    return Split(pool.index.difference(test, sort=False), test)


def replicate_split(
    obs: pd.DataFrame,
    *,
    label_key: str,
    replicate_key: str,
    seed: int,
    held_out: str | Sequence[str] | None = None,
    max_test: int = 2000,
) -> Split:
    """Balance, then test on one replicate and train on the others (A.2, replicate split).

    With a condition as label a single library has one class, so what is held out is the
    replicate, or one library of each class (`replicate_key="sample"` and two names in
    `held_out`).  The test set is capped in proportion and, as in A.2, need not have equal
    classes; neither need the training set.

    Parameters
    ----------
    replicate_key
        Column with the replicate of each cell.
    held_out
        The value, or values, to test on.  None: the first one, in the order of the categories
        where the column is an ordered categorical (the manifest's order), else in order of
        appearance.
    max_test
        Largest test set, in cells.

    Raises
    ------
    InputError
        One replicate only, an unknown one, cells without a replicate, or a side that lacks a
        class.
    """
    replicates = _replicates(obs, label_key, replicate_key)
    chosen = [replicates[0]] if held_out is None else [held_out] if isinstance(held_out, str) else held_out
    chosen = [str(name) for name in chosen]
    unknown = [name for name in chosen if name not in replicates]
    if unknown or not chosen:
        raise InputError(
            f"No cell has '{replicate_key}' {', '.join(unknown) or '(none given)'} "
            f"(found: {', '.join(replicates)})."
        )
    pool = obs.loc[balance_classes(obs, label_key=label_key, seed=seed)]
    inside = pool[replicate_key].astype(str).isin(chosen)
    _refuse_one_sided(pool, inside, label_key, f"{replicate_key} {'+'.join(chosen)}")
    test = pool[inside]
    names = test.index
    if len(names) > max_test:
        names = cap(test, max_test, label_key=label_key, seed=seed)
    return Split(pool.index[~inside], names)


def cross_experiment_split(
    source_obs: pd.DataFrame, target_obs: pd.DataFrame, *, label_key: str, seed: int, max_test: int = 2000
) -> Split:
    """Balance both studies, train on the source, test on the target (A.2, cross-experiment split).

    The test set has equally many cells of every class and at most `max_test` in all.

    Raises
    ------
    InputError
        The two studies do not have the same classes, or share cell names.
    """
    source, target = _classes(source_obs, label_key), _classes(target_obs, label_key)
    if set(source) != set(target):
        one_sided = sorted(set(source) ^ set(target))
        raise InputError(
            f"'{label_key}' exists on one side only: {', '.join(one_sided)} "
            f"(source: {', '.join(sorted(source))}; target: {', '.join(sorted(target))}). "
            "Map both studies' words to the same classes under labels in data_manifest.yaml."
        )
    shared = source_obs.index.intersection(target_obs.index)
    if len(shared):
        raise InputError(f"Source and target share {len(shared)} cells, for example {shared[0]}.")
    train = balance_classes(source_obs, label_key=label_key, seed=seed)
    size = min(min(len(names) for names in target.values()), max(1, max_test // len(target)))
    test = _draw(target_obs, target, dict.fromkeys(target, size), seed=(1, seed))
    return Split(train, test)


def _labels(obs: pd.DataFrame, label_key: str) -> pd.Series:
    """The label of each cell that has one, as text."""
    column = _column(obs, label_key)
    if not obs.index.is_unique:
        twice = obs.index[obs.index.duplicated()][0]
        raise InputError(f"Cell names are not unique, for example {twice}. Make obs names unique first.")
    known = column.notna() & (column.astype(str) != "")
    return column[known]


def _groups(obs: pd.DataFrame, label_key: str) -> dict[str, pd.Index]:
    """Names of the cells of each class that has any, sorted by class and by name."""
    labels = _labels(obs, label_key).astype(str)
    return {name: labels.index[labels == name].sort_values() for name in sorted(labels.unique())}


def _classes(obs: pd.DataFrame, label_key: str) -> dict[str, pd.Index]:
    """`_groups`, after refusing one class only and declared classes without cells."""
    labels = _labels(obs, label_key)
    groups = _groups(obs, label_key)
    declared = list(labels.cat.categories) if labels.dtype.name == "category" else []
    empty = [str(name) for name in declared if str(name) not in groups and str(name) != ""]
    if empty:
        raise InputError(
            f"'{label_key}': no cell in class {', '.join(empty)} (found: {_counts(obs, label_key)}). "
            "Check the words of this label in data_manifest.yaml."
        )
    if len(groups) < 2:
        raise InputError(
            f"'{label_key}' has {len(groups)} class ({_counts(obs, label_key)}); a task needs at least two."
        )
    return groups


def _replicates(obs: pd.DataFrame, label_key: str, replicate_key: str) -> list[str]:
    """Replicates in order, of the cells that carry a label; refuse fewer than two."""
    column = _column(obs, replicate_key)
    column = column[_labels(obs, label_key).index]
    missing = int((column.isna() | (column.astype(str) == "")).sum())
    if missing:
        raise InputError(
            f"{missing} of {len(column)} cells have no '{replicate_key}'; they could stand on both sides."
        )
    names = [str(name) for name in column.unique()]
    if column.dtype.name == "category" and column.cat.ordered:
        names = [str(name) for name in column.cat.categories if str(name) in names]
    if len(names) < 2:
        raise InputError(
            f"'{replicate_key}' has {len(names)} value ({', '.join(names)}); "
            "the replicate protocol needs at least two. Use the random protocol."
        )
    return names


def _refuse_one_sided(pool: pd.DataFrame, inside: pd.Series, label_key: str, what: str) -> None:
    """Refuse a split of which one side lacks a class."""
    classes = set(pool[label_key].astype(str))
    for side, rows in (("test", pool[inside]), ("training", pool[~inside])):
        lacking = sorted(classes - set(rows[label_key].astype(str)))
        if lacking:
            raise InputError(
                f"Holding out {what} leaves no {', '.join(lacking)} in the {side} set "
                f"({_counts(rows, label_key) or 'no cells'}). "
                "Hold out a replicate, or one library of each class."
            )


def _draw(
    obs: pd.DataFrame, groups: dict[str, pd.Index], sizes: dict[str, int], *, seed: tuple[int, int]
) -> pd.Index:
    """The first `sizes[c]` names of a shuffle of each class, in the order of `obs`."""
    import numpy as np

    rng: np.random.Generator = np.random.default_rng(seed)
    chosen: set[str] = set()
    for name, cells in groups.items():
        chosen.update(cells[rng.permutation(len(cells))[: sizes[name]]])
    return obs.index[obs.index.isin(chosen)]


def _proportional(counts: dict[str, int], n: int) -> dict[str, int]:
    """Share `n` by the largest-remainder rule; ties go to the first class."""
    total = sum(counts.values())
    sizes = {name: n * count // total for name, count in counts.items()}
    remainders = sorted(counts, key=lambda name: -(n * counts[name] % total))
    for name in remainders[: n - sum(sizes.values())]:
        sizes[name] += 1
    return sizes


def _column(obs: pd.DataFrame, key: str) -> pd.Series:
    if key not in obs:
        raise InputError(f"obs has no column '{key}' (found: {', '.join(map(str, obs.columns))}).")
    return obs[key]


def _counts(obs: pd.DataFrame, label_key: str) -> str:
    return ", ".join(f"{name} {len(cells)}" for name, cells in _groups(obs, label_key).items())
