"""What is asked of a task, and the configurations that answer it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import TYPE_CHECKING

from .errors import InputError, suggest
from .names import FEATURES, HEADS, PLAIN

if TYPE_CHECKING:
    from .profiles import Evaluation, Extra

#: Where the released code differs from the paper's text and the difference costs next to
#: nothing to compute: each name switches these differences on.  ``matched`` is no difference of
#: the released code: it gives the random and the replicate protocol the same test cells and
#: equally many training cells.
FIDELITIES = {
    "paper": (),
    "matched": (),
    "released": ("labels", "train_90", "global_seed"),
    "released:labels": ("labels",),
    "released:train_90": ("train_90",),
    "released:global_seed": ("global_seed",),
    "balanced_test": ("balanced_test",),
}

_ALLOWED = {
    "representations": FEATURES,
    "controls": FEATURES,
    "heads": tuple(HEADS),
    "fidelity": tuple(FIDELITIES),
    "tuning": ("none", "cv", "group_cv"),
    "vote": ("majority", "mean"),
}


@dataclass(frozen=True)
class Configuration:
    """What is fitted once: one representation, head, training size, seed, held-out unit, fidelity.

    `protocol` is the task's, except with fidelity ``matched``; `held_out` is empty where
    nothing is held out by name; `fit_seed` is the head's own seed where it is not that of the split.
    """

    representation: str
    head: str
    n_train: int | str = "all"
    seed: int = 0
    held_out: tuple[str, ...] = ()
    fidelity: str = "paper"
    protocol: str = "random"
    fit_seed: int | None = None

    @property
    def head_seed(self) -> int:
        """Seed of the head: the split's unless it has its own."""
        return self.seed if self.fit_seed is None else self.fit_seed

    @property
    def needs_encoder(self) -> bool:
        """Whether the representation comes out of an encoder."""
        return self.representation not in PLAIN

    @property
    def split_key(self) -> tuple:
        """What its split depends on, within one task and label."""
        return (self.fidelity, self.protocol, self.seed, self.held_out)


@dataclass(frozen=True)
class Request:
    """A grid: what a reader asked for, filled up from the profile."""

    representations: tuple[str, ...]
    controls: tuple[str, ...]
    heads: tuple[str, ...]
    n_train: tuple[int | str, ...]
    seeds: tuple[int, ...]
    fidelity: str
    tuning: str
    vote: str
    held_out: tuple[str, ...] = ()


def make_request(own: Evaluation, **asked) -> Request:
    """Fill what is None or empty in `asked` from a profile, and check every name.

    Controls come from the profile only where the representations do.

    Raises
    ------
    InputError
        An unknown name (with the nearest known one), a size that is neither a positive whole
        number nor ``all``, or a seed that is no whole number from 0 on.
    """
    asked, values = {name: listed(value) for name, value in asked.items()}, {}
    for name in Request.__dataclass_fields__:
        default = () if name == "held_out" else listed(getattr(own, name))
        if name == "controls" and asked.get("representations"):
            default = ()
        values[name] = asked.get(name) or default
        if name in ("fidelity", "tuning", "vote"):
            if len(values[name]) > 1:
                raise InputError(f"{name}: {', '.join(map(str, values[name]))}: give one of them.")
            values[name] = values[name][0]
    request = Request(**values)
    _check(request)
    return request


def listed(value) -> tuple:
    """What was asked for as a tuple: nothing for None and "", one value for text or a number."""
    if value is None or (isinstance(value, str) and not value):
        return ()
    values = (value,) if isinstance(value, str) or not hasattr(value, "__iter__") else tuple(value)
    return tuple(int(v) if isinstance(v, Integral) and not isinstance(v, bool) else v for v in values)


def plan_grid(request: Request, *, protocol: str, held_out: tuple[str, ...]) -> list[Configuration]:
    """Seeds × sizes × representations × heads, then the controls with LR at the largest size.

    So controls stand beside the largest size of the grid (``all`` above any number).
    """
    largest = max(request.n_train, key=lambda n: (n == "all", n if n != "all" else 0))
    same = {"held_out": held_out, "fidelity": request.fidelity, "protocol": protocol}
    plain = [head for head in ("LR", *request.heads) if head in request.heads and head != "CNN"][:1]
    grid = []
    for seed in request.seeds:
        asked = [(n, r, h) for n in request.n_train for r in request.representations for h in request.heads]
        asked += [(largest, r, h) for r in request.controls for h in (*plain, "CNN")]
        grid += [Configuration(r, h, n, seed, **same) for n, r, h in asked if _go_together(r, h)]
    if not grid:
        raise InputError("No combination: the representation CNN goes with the head CNN, and no other does.")
    return grid


def plan_extra(
    request: Request,
    extra: Extra,
    *,
    protocol: str,
    units: Sequence[tuple[str, ...]],
    aside: Sequence[tuple[str, ...]] = (),
) -> list[Configuration]:
    """Raw values with LR at the sizes of `extra`: more seeds, held-out units and fidelities.

    Parameters
    ----------
    units
        What can be held out, the main grid's unit first; ``((),)`` where the protocol holds
        nothing out.
    aside
        What a task that holds nothing out could hold out, where no task of the profile does: both
        protocols on the same test cells (``matched``), with the seeds of the grid, for there are many.

    Returns
    -------
    Raw values with LR, then for every further unit the representations that `extra` names, with LR (the
    CNN with its own head, and raw values with the MLP too, beside which the CNN stands).
    """
    seeds = dict.fromkeys([*request.seeds, *extra.seeds])
    chosen = units if extra.hold_out_all else units[:1]
    rows = [(u, request.fidelity, protocol, s) for u in chosen for s in seeds]
    pairs = [(u, s) for u in chosen for s in seeds] if protocol == "replicate" else []
    pairs += [(u, s) for u in aside for s in request.seeds]
    if extra.hold_out_all:
        rows += [(u, "matched", p, s) for u, s in pairs for p in ("random", "replicate")]
    switches = [name for name in _switches(extra.fidelity) if name != request.fidelity]
    rows += [(units[0], name, protocol, s) for name in switches for s in seeds]
    heads = {"raw": ("LR", "MLP"), "CNN": ("CNN",)}
    models = [(r, h) for r in extra.representations for h in heads.get(r.rpartition(":")[2], ("LR",))]
    further = [(u, request.fidelity, protocol, s) for u in chosen[1:] for s in request.seeds]
    plan = [("raw", "LR", row) for row in rows] + [(*model, row) for model in models for row in further]
    return [
        Configuration(r, h, n, seed, unit, fidelity, split)
        for n in extra.n_train
        for r, h, (unit, fidelity, split, seed) in plan
    ]


def _switches(fidelities: Sequence[str]) -> list[str]:
    """Each fidelity and, one at a time, the switches it is made of."""
    return [name for f in fidelities for name in FIDELITIES if name == f or name.startswith(f"{f}:")]


def _go_together(representation: str, head: str) -> bool:
    return (representation.rpartition(":")[2] == "CNN") == (head == "CNN")


def _check(request: Request) -> None:
    for key, names in _ALLOWED.items():
        values = getattr(request, key)
        for name in (values,) if isinstance(values, str) else values:
            if name not in names:
                raise InputError(f"{key}: '{name}' is not known: {suggest(name, names)}.")
    for n in request.n_train:
        if n != "all" and (type(n) is not int or n < 1):
            raise InputError(f"n_train: '{n}' is neither a positive whole number of cells nor 'all'.")
    for seed in request.seeds:
        if type(seed) is not int or seed < 0:
            raise InputError(f"seeds: '{seed}' is no whole number from 0 on.")
