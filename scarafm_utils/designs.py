"""What a design allows: which protocols a data set can be put through, and why not the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Literal

from .manifest import Dataset, HeldOutUnit, held_out_unit, matched_pairs

if TYPE_CHECKING:
    import pandas as pd

#: ``with care``: it runs, but what it measures is not only what one wants to know.
Answer = Literal["yes", "with care", "no"]


@dataclass(frozen=True)
class Design:
    """How the classes of one label lie in libraries and replicates; None where it is not known.

    `per_class` counts the libraries with cells of each class; `confounded` says that every library
    has one class only; `unit` is what a replicate split holds out, in `n_units` ways.
    """

    classes: tuple[str, ...]
    n_libraries: int | None
    per_class: dict[str, int] | None
    confounded: bool
    unit: HeldOutUnit | None
    n_units: int | None = None


@dataclass(frozen=True)
class Verdict:
    """Whether a protocol can be run, and why or why not."""

    protocol: str
    answer: Answer
    reason: str


def design_of_cells(obs: pd.DataFrame, *, label_key: str, classes: Sequence[str]) -> Design:
    """The design that cells show.

    Parameters
    ----------
    obs
        Standard columns: `sample`, perhaps `replicate`, and `label_key` with a class, or nothing,
        for each cell.  Without `sample` all cells are one library.
    classes
        Classes from negative to positive.
    """
    cells = obs[obs[label_key].isin(classes)]
    cells = cells if "sample" in cells else cells.assign(sample="all")
    table = _presence(cells, "sample", label_key, classes)
    per_class = {c: int(table[c].sum()) for c in classes}
    confounded = bool((table.sum(axis=1) <= 1).all())
    design = {"classes": tuple(classes), "n_libraries": len(table), "per_class": per_class}
    design["confounded"] = confounded
    for key in ("replicate", "sample"):
        if key in cells and (n := _n_holdable(_presence(cells, key, label_key, classes))):
            return Design(**design, unit=key, n_units=n)
    if confounded and min(per_class.values()) > 1:
        return Design(**design, unit="library_set", n_units=prod(per_class.values()))
    return Design(**design, unit=None)


def design_of_entry(dataset: Dataset, label: str) -> Design:
    """The design that a manifest tells, before any file is read."""
    chosen = dataset.labels[label]
    classes, per_class = tuple(chosen.classes), dataset.libraries_per_class
    fits = per_class is not None and set(per_class) == set(classes)
    n_units = {"replicate": dataset.n_replicates, "sample": dataset.libraries}
    unit = held_out_unit(dataset, label)
    return Design(
        classes=classes,
        n_libraries=dataset.libraries,
        per_class=per_class if fits else None,
        confounded=chosen.column != "cell_type",
        unit=unit,
        n_units=n_units.get(unit) if unit else None,
    )


def partners(dataset: Dataset, manifest: dict[str, Dataset], label: str) -> list[str]:
    """Data sets that share the stress of `dataset` and the classes of `label`."""
    known = {**manifest, dataset.id: dataset}
    pairs = matched_pairs(known, tissue=dataset.tissue)
    own = list(dataset.labels[label].classes)
    others = [target for source, target in pairs if source == dataset.id]
    return [o for o in others if label in known[o].labels and list(known[o].labels[label].classes) == own]


def verdicts(design: Design, *, partners: Sequence[str] | None) -> list[Verdict]:
    """What each protocol would do with this design: `random`, `replicate`, `matched`, `cross`.

    `partners` are data sets of the same stress and classes (`partners`); None where nobody has looked.
    """
    held_out = _replicate(design)
    same = "tests random and replicate on the same cells"
    matched = same if held_out.answer == "yes" else "needs what replicate needs"
    return [_random(design), held_out, Verdict("matched", held_out.answer, matched), _cross(partners)]


def _random(design: Design) -> Verdict:
    n = design.n_libraries
    if not design.confounded:
        return Verdict("random", "yes", "the label varies inside libraries")
    if n is None:
        reason = "the number of libraries is not known; each has one class, so the split measures libraries too"
    elif n <= len(design.classes):
        reason = f"{n} libraries: a random split measures the library" if n > 1 else "1 library has one class"
    else:
        reason = f"{n} libraries of one class each: a random split measures libraries too"
    return Verdict("random", "no" if n == 1 else "with care", reason)


def _replicate(design: Design) -> Verdict:
    n = "" if design.n_units is None else f"{design.n_units} "
    if design.unit == "library_set":
        sets = f", in {n}ways" if n else ""
        held = f"one library of each class is held out{sets}"
        unknown = "where each class has two: how many it has is not known"
        return Verdict("replicate", "yes", held if design.per_class else f"{held}, {unknown}")
    if design.unit:
        what = "replicates" if design.unit == "replicate" else "libraries"
        return Verdict("replicate", "yes", f"{n}{what}, held out in turn")
    if design.per_class is None:
        few = "no second replicate, and too few libraries are known to hold one of each class out"
        return Verdict("replicate", "no", few)
    lone = [c for c, libraries in design.per_class.items() if libraries < 2]
    left = f"nothing of {' and '.join(lone)} is left to train on once a library is held out"
    return Verdict("replicate", "no", left if lone else "no library or replicate holds all classes")


def _cross(partners: Sequence[str] | None) -> Verdict:
    if partners:
        return Verdict("cross", "yes", f"with {', '.join(partners)}, in both directions")
    study = "second study with the same stress and the same classes"
    return Verdict("cross", "no", f"needs a {study}" if partners is None else f"there is no {study}")


def _presence(cells: pd.DataFrame, key: str, label_key: str, classes: Sequence[str]) -> pd.DataFrame:
    """Units by classes: whether the unit has cells of the class."""
    import pandas as pd

    counts = pd.crosstab(cells[key].astype(str), cells[label_key].astype(str))
    return counts.reindex(columns=list(classes), fill_value=0) > 0


def _n_holdable(table: pd.DataFrame) -> int:
    """Units that have all classes and leave all classes to the others."""
    return sum(table.loc[unit].all() and table.drop(unit).any().all() for unit in table.index)
