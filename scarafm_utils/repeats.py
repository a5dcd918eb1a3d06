"""Repeats: one model fitted again and again, so that the variance of its score can be split.

Raw values with an MLP (else XGBoost) at the largest size of the grid: every unit that can be held out,
with several splits of each, and with several seeds of the head for each split.  `variance` says what
becomes of the table.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from typing import TYPE_CHECKING

from .configurations import Configuration
from .errors import InputError
from .experiment import split_or_reason
from .measures import metrics
from .paired import auroc_covariance

if TYPE_CHECKING:
    import pandas as pd

    from .configurations import Request
    from .fitting import Battery
    from .splits import Split

COLUMNS = (
    "tissue", "task", "protocol", "label", "representation", "head", "n_train", "unit", "split", "seed",
    "n_test", "auroc", "test_variance", "overlap", "key", "reason",
)  # fmt: skip


def repeated_fits(battery: Battery, request: Request, *, n: int) -> pd.DataFrame:
    """Fit `n` splits of each unit with `n` seeds each.

    Returns
    -------
    One row per fit, columns `COLUMNS`: `unit` is what was held out ("" where nothing is), `split` the
    seed of the split and `seed` that of the head; `test_variance` is DeLong's variance of `auroc` over
    test cells, and `overlap` the mean share of test cells that two splits of the unit have in common.  A
    fit that the data do not allow has a `reason`.  No rows where no head of the grid depends on a seed.
    """
    import pandas as pd

    head = next((name for name in ("MLP", "XGB") if name in request.heads), None)
    held_out = battery.experiment.task.protocol == "replicate"
    rows = []
    for unit in (battery.experiment.held_out if held_out else [()]) if head else []:
        splits = [_plan(battery, request, head, unit, k) for k in range(n)]
        overlap = _overlap([split for _, split in splits if not isinstance(split, str)])
        for (configuration, split), seed in ((pair, s) for pair in splits for s in range(n)):
            rows.append(_row(battery, _with_seed(configuration, seed), split) | {"overlap": overlap})
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _plan(
    battery: Battery, request: Request, head: str, unit: tuple[str, ...], split_seed: int
) -> tuple[Configuration, Split | str]:
    """One split of a unit, or the reason why there is none."""
    largest = max(request.n_train, key=lambda n: (n == "all", n if n != "all" else 0))
    protocol = battery.experiment.task.protocol
    configuration = Configuration("raw", head, largest, split_seed, unit, battery.experiment.fidelity, protocol)
    split = split_or_reason(battery.experiment, configuration, max_test=battery.settings.max_test)
    if isinstance(split, str):
        return configuration, split
    return configuration, next(iter(battery.obstacles(configuration, split).values()), split)


def _with_seed(configuration: Configuration, seed: int) -> Configuration:
    """The same fit with a seed of its own; the grid's own fit where the two seeds are one."""
    return replace(configuration, fit_seed=None if seed == configuration.seed else seed)


def _overlap(splits: list[Split]) -> float:
    """Mean share of test cells that two splits have in common; 1 for a single split."""
    shares = [len(a.test.intersection(b.test)) / max(len(a.test), len(b.test)) for a, b in combinations(splits, 2)]
    return sum(shares) / len(shares) if shares else 1.0


def _row(battery: Battery, configuration: Configuration, split: Split | str) -> dict:
    experiment = battery.experiment
    row = {
        "tissue": experiment.tissue, "task": experiment.task.name, "protocol": experiment.task.protocol,
        "label": experiment.label, "representation": configuration.representation, "head": configuration.head,
        "n_train": configuration.n_train, "unit": "+".join(configuration.held_out), "split": configuration.seed,
        "seed": configuration.head_seed, "reason": "",
    }  # fmt: skip
    if isinstance(split, str):
        return row | {"reason": split}
    try:
        scores, facts = battery.scores(configuration, split)
        variance = auroc_covariance([scores])[1].item()
    except InputError as error:  # too few test cells of a class
        return row | {"reason": str(error)}
    found = {"n_test": len(scores), "auroc": metrics(scores)["auroc"].item(), "test_variance": variance}
    return row | found | {"key": facts["params"]["key"]}
