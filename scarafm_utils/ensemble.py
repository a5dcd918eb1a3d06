"""ENS: one classifier per embedding dimension over all genes, combined by vote (paper, section 2)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from time import perf_counter

import numpy as np
from sklearn.base import clone

from .errors import InputError, suggest
from .estimators import MLPHead, build_head
from .perceptron import single_threads

VOTES = ("majority", "mean")
#: Stacked perceptrons share a block while their first layers stay within a core's cache.
STACK_WEIGHTS = 1 << 18
#: On a GPU, which waits for the next small operation, while their features stay within so many bytes.
STACK_BYTES = 4 << 30


def member_seed(seed: int, j: int) -> int:
    """The seed of the member of dimension `j`: fitted alone with it, a head is that member."""
    return int(np.random.SeedSequence((seed, j)).generate_state(1)[0] >> 1)


class DimensionEnsemble:
    """One head per embedding dimension, combined by vote.

    Parameters
    ----------
    head
        "LR", "XGB" or "MLP".
    seed
        Each member's own seed is ``member_seed(seed, j)``.
    vote
        "majority": each member votes for its most probable class, the score is the share of
        votes (the paper).  "mean": the mean of the members' probabilities.  Ties, in a member
        and in the vote, go to the first class.
    classes
        Labels in order; None sorts them.
    ens_members
        Use the first so many dimensions only; None takes all, as the paper does.
    n_jobs
        Threads; members of XGB and MLP run side by side, one thread each.
    settings
        Passed to every member, as to :func:`scarafm_utils.heads.make_head`.

    Attributes
    ----------
    members_
        Fitted heads by dimension number.
    """

    def __init__(
        self,
        head: str,
        *,
        seed: int,
        vote: str = "majority",
        classes: Sequence | None = None,
        ens_members: int | None = None,
        n_jobs: int = 1,
        **settings,
    ):
        if vote not in VOTES:
            raise InputError(f"vote is {vote!r}: {suggest(vote, VOTES)}")
        for name, number in (("ens_members", ens_members), ("n_jobs", n_jobs)):
            if number is not None and number < 1:
                raise InputError(f"{name} is {number}: give a number of 1 or more.")
        self.head, self.seed, self.vote, self.ens_members, self.n_jobs = head, seed, vote, ens_members, n_jobs
        self.template = build_head(head, classes=classes, **settings)

    def fit(self, dims: Iterable[tuple[int, np.ndarray]], y) -> DimensionEnsemble:
        """Fit one member per (j, features (n_cells, n_genes)); reads `dims` once, in blocks."""
        self.members_ = {}
        for block in self._blocks(dims, self.ens_members):
            self.members_.update(self._fit_block(block, y))
        if not self.members_:
            raise InputError("the ensemble was given no dimension to fit.")
        self.classes_ = next(iter(self.members_.values())).classes_
        return self

    def predict_proba(self, dims: Iterable[tuple[int, np.ndarray]]) -> np.ndarray:
        """Share of votes, or mean probability, of each class: (n_cells, n_classes)."""
        if not hasattr(self, "members_"):
            raise InputError("DimensionEnsemble is not fitted: call fit first.")
        ballots: dict[int, np.ndarray] = {}
        for j, X in dims:
            if j in self.members_:
                ballots[j] = self._ballot(self.members_[j].predict_proba(X))
            if len(ballots) == len(self.members_):
                return np.mean(list(ballots.values()), axis=0)
        missing = sorted(set(self.members_) - set(ballots))
        raise InputError(
            f"{len(missing)} of {len(self.members_)} dimensions are missing, the first is {missing[0]}: "
            "predict with the dimensions the ensemble was fitted on."
        )

    def predict(self, dims: Iterable[tuple[int, np.ndarray]]) -> np.ndarray:
        """The label with most votes; ties go to the first class."""
        return self.classes_[self.predict_proba(dims).argmax(1)]

    def _ballot(self, probability):
        if self.vote == "mean":
            return probability
        return np.eye(probability.shape[1])[probability.argmax(1)]

    def _blocks(self, dims, limit: int | None) -> Iterator[list[tuple[int, np.ndarray]]]:
        """Blocks of members that are fitted together, at most `limit` members in all."""
        dims = islice(iter(dims), limit)
        while first := next(dims, None):
            yield [first, *islice(dims, self._block_size(*first[1].shape) - 1)]

    def _block_size(self, n_cells: int, n_genes: int) -> int:
        """Members in memory at once: a stack for each thread; LR uses all threads for one member."""
        threads = 1 if self.head == "LR" or self._on_device else self.n_jobs
        return threads * self._stack_size(n_cells, n_genes)

    def _stack_size(self, n_cells: int, n_genes: int) -> int:
        if self.head != "MLP":
            return 1
        if self._on_device:
            return max(1, STACK_BYTES // (4 * n_cells * n_genes))
        return max(1, STACK_WEIGHTS // (n_genes * self.template.hidden))

    @property
    def _on_device(self) -> bool:
        return getattr(self.template, "device", None) is not None

    def _fit_block(self, block, y) -> dict:
        size = self._stack_size(*block[0][1].shape)
        stacks = [block[i : i + size] for i in range(0, len(block), size)]
        with single_threads(len(stacks)) as side_by_side:
            fitted = list(side_by_side(lambda stack: self._fit_stack(stack, y), stacks))
        return {j: head for heads in fitted for j, head in heads.items()}

    def _fit_stack(self, stack, y) -> dict:
        heads = [clone(self.template).set_params(seed=member_seed(self.seed, j)) for j, _ in stack]
        if self.head == "MLP":
            begun = [head._begin(X, y) for head, (_, X) in zip(heads, stack, strict=True)]
            MLPHead._fit_stack(heads, np.stack([X for X, _ in begun]), begun[0][1])
        else:
            heads[0].fit(stack[0][1], y)
        return {j: head for head, (j, _) in zip(heads, stack, strict=True)}


def sweep_ensembles(
    dims: Iterable[tuple[int, np.ndarray]], jobs: Sequence[tuple]
) -> list[tuple[np.ndarray, float]]:
    """Fit and apply several ensembles in one pass over the dimensions, keeping no member.

    Where the embedding does not fit in memory each pass over the dimensions costs passes of the
    encoder; one sweep serves every training size, seed and head.

    Parameters
    ----------
    dims
        (j, features (n_cells, n_genes)) of all cells.
    jobs
        Tuples (ensemble, rows of training cells, their labels, rows of test cells).

    Returns
    -------
    Per job what ``predict_proba`` would give on its test cells, and the seconds that its own members
    took; reading `dims` is nobody's.
    """
    totals: list = [0.0] * len(jobs)
    counts, seconds = [0] * len(jobs), [0.0] * len(jobs)
    for block in _largest_blocks(dims, [job[0] for job in jobs]):
        for i, (ensemble, train, y, test) in enumerate(jobs):
            start = perf_counter()
            left = None if ensemble.ens_members is None else ensemble.ens_members - counts[i]
            for part in ensemble._blocks(((j, X[train]) for j, X in block), left):
                for j, member in ensemble._fit_block(part, y).items():
                    totals[i] = totals[i] + ensemble._ballot(member.predict_proba(dict(block)[j][test]))
                    counts[i] += 1
            seconds[i] += perf_counter() - start
    if not any(counts):
        raise InputError("the ensembles were given no dimension to fit.")
    return [(total / count, s) for total, count, s in zip(totals, counts, seconds, strict=True)]


def _largest_blocks(dims, ensembles) -> Iterator[list[tuple[int, np.ndarray]]]:
    """Read `dims` in blocks that suit every ensemble, and no further than any of them needs."""
    limits = [e.ens_members for e in ensembles]
    dims = islice(iter(dims), None if None in limits else max(limits))
    while first := next(dims, None):
        size = max(e._block_size(*first[1].shape) for e in ensembles)
        yield [first, *islice(dims, size - 1)]
