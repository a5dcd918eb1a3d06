"""Evaluate a task: every configuration of its grid becomes one tidy row, from stored scores.

`metrics` and `bootstrap` (see `measures`) turn a score file into numbers; `evaluate_task` makes
the rows of one task and keeps them; `collect_results` puts all tasks of a profile together.

The column `fidelity` says by which rules a row was made:

- ``paper``: the paper's text with correct arithmetic.
- ``released``: the released code where it differs from the text, all switches at once.
- ``released:labels``, ``released:train_90``, ``released:global_seed``: one of these switches alone
  (classes by condition and genotype in alphabetical order; a tenth of the training cells set aside;
  classes balanced once, whatever the seed of the split).
- ``balanced_test``: as ``paper``, with equally many test cells of each class.
- ``matched``: no difference of the released code, but a fair comparison of two protocols.  Its rows
  come from a task ``replicate:X`` (or ``random:X``, where the profile has no such task and X has
  libraries to hold out) and keep that `task`, while `protocol` is ``random`` in one half of them and
  ``replicate`` in the other: both are tested on the same half of the held-out unit and train
  on equally many cells, from the other units alone or from all remaining cells.  A row of the task
  ``random:X`` has test cells of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .errors import InputError
from .files import write_csv
from .measures import bootstrap, expected_calibration_error, metrics
from .result_tables import TIDY, grid_digest, read_nulls, read_repeats, read_results, read_table, results_path
from .tasks import Task, parse_task

if TYPE_CHECKING:
    import pandas as pd

    from .configurations import Configuration, Request
    from .fitting import Battery
    from .workspace import Workspace

__all__ = [
    "TIDY",
    "bootstrap",
    "collect_results",
    "evaluate_task",
    "expected_calibration_error",
    "metrics",
    "read_nulls",
    "read_repeats",
    "read_results",
]


def evaluate_task(
    workspace: Workspace,
    tissue: str,
    task: str | Task,
    *,
    label: str = "stress",
    representations: Sequence[str] | None = None,
    controls: Sequence[str] | None = None,
    heads: Sequence[str] | None = None,
    n_train: Sequence[int | str] | None = None,
    seeds: Sequence[int] | None = None,
    fidelity: str | None = None,
    tuning: str | None = None,
    vote: str | None = None,
    n_boot: int | None = None,
    held_out: str | Sequence[str] | None = None,
    extra: bool | None = None,
    strict: bool = False,
) -> pd.DataFrame:
    """Evaluate every configuration of one task (A.2) and keep the rows.

    Parameters
    ----------
    representations, controls, heads, n_train, seeds, fidelity, tuning, vote, n_boot
        The grid; None or empty takes the profile's.  The representation CNN goes with the head
        CNN only; controls run with LR at the largest of `n_train`.
    held_out
        Replicate, or one library of each class, to test on; None: the first.
    extra
        Whether to add the profile's `extra` rows (raw values with LR): further seeds, every
        replicate held out, both protocols on the same test cells (`fidelity` ``matched``),
        fidelity switches, and null contrasts (a table of their own).  None: only where the
        grid is the profile's.
    strict
        Refuse what was asked for here and the data do not allow: a number in `n_train`, a name in
        `representations` or `controls`, or `held_out`.  Whatever else the data do not allow, such
        as a size that comes from the profile, stays a row with the reason.

    Returns
    -------
    One row per configuration, columns `TIDY`.  A combination that the data do not allow has a
    `reason` and no value.  The rows are written to ``tables/runs/<tissue>/<slug>.csv``, or below
    ``tables/custom`` where the grid is not the profile's; scores are read where they are at hand.

    Raises
    ------
    InputError
        Unknown names, combinations none of which the data allow, and what `strict` refuses.
    """
    import pandas as pd

    from .configurations import listed, make_request, plan_extra, plan_grid

    task = task if isinstance(task, Task) else parse_task(task)
    own = workspace.profile.evaluation
    usual = make_request(own)
    request = make_request(
        own, representations=representations, controls=controls, heads=heads, n_train=n_train, seeds=seeds,
        fidelity=fidelity, tuning=tuning, vote=vote, held_out=held_out,
    )  # fmt: skip
    extra = request == usual if extra is None else extra
    batteries = _Batteries(workspace, tissue, task, label, request.tuning, request.vote)
    units = _units(batteries, request)
    grid = plan_grid(request, protocol=task.protocol, held_out=units[0])
    if extra:
        aside = _held_out_aside(batteries, request)
        grid += plan_extra(request, own.extra, protocol=task.protocol, units=units, aside=aside)
    asked = [*listed(representations), *listed(controls)]
    insist = {"n_train": listed(n_train), "representation": asked, "held_out": units[: bool(request.held_out)]}
    rows = _rows(batteries, grid, n_boot or own.n_boot, insist if strict else {})
    results = pd.DataFrame(rows, columns=list(TIDY))
    if results["auroc"].isna().all():
        raise InputError(f"{task.name}: no combination could be evaluated: {results['reason'].iloc[0]}.")
    custom = grid_digest(request, own)
    write_csv(results_path(workspace, tissue, task, label, custom=custom), results)
    for suffix, table in (_side_tables(batteries, request) if extra else {}).items():
        write_csv(results_path(workspace, tissue, task, label, suffix=suffix, custom=custom), table)
    return results


def collect_results(workspace: Workspace) -> pd.DataFrame:
    """Put the rows of every task of the profile into ``tables/results.csv``.

    Null contrasts go to ``tables/nulls.csv`` and repeated fits to ``tables/repeats.csv``, which have no
    rows where the profile asks for none or no task allows any.  A task that has not run has no rows.
    """
    import pandas as pd

    from . import nulls, repeats

    results = _tables_of(workspace)
    if not results:
        raise InputError(f"No results in profile '{workspace.profile.name}'. Run its results chapters first.")
    extra = workspace.profile.evaluation.extra
    for name, suffix, wanted, columns in (
        ("nulls", "-null", extra.null_contrasts, nulls.COLUMNS),
        ("repeats", "-repeats", extra.repeats, repeats.COLUMNS),
    ):
        found = [table for table in _tables_of(workspace, suffix=suffix) if wanted and len(table)]
        whole = pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=list(columns))
        write_csv(workspace.tables_dir / f"{name}.csv", whole.drop_duplicates(ignore_index=True))
    results = pd.concat(results, ignore_index=True)
    write_csv(workspace.tables_dir / "results.csv", results)
    return results


def _tables_of(workspace: Workspace, *, suffix: str = "") -> list[pd.DataFrame]:
    """The tables that the tasks of the profile have left, in its order."""
    paths = [
        results_path(workspace, tissue, parse_task(text), label, suffix=suffix)
        for tissue, grid in workspace.profile.tissues.items()
        for text in grid.tasks
        for label in grid.labels
    ]
    return [read_table(path) for path in paths if path.exists()]


class _Batteries:
    """One battery per fidelity, each loaded when first asked for."""

    def __init__(self, workspace: Workspace, tissue: str, task: Task, label: str, tuning: str, vote: str):
        self.workspace, self.tissue, self.task, self.label = workspace, tissue, task, label
        self.tuning, self.vote, self._made = tuning, vote, {}

    def __getitem__(self, fidelity: str) -> Battery:
        from .experiment import load_experiment
        from .fitting import Battery

        if fidelity not in self._made:
            experiment = load_experiment(
                self.workspace, self.tissue, self.task, label=self.label, fidelity=fidelity
            )
            self._made[fidelity] = Battery(self.workspace, experiment, tuning=self.tuning, vote=self.vote)
        return self._made[fidelity]


def _units(batteries: _Batteries, request: Request) -> list[tuple[str, ...]]:
    """What is held out: the unit asked for (or the first), then every other; ``()`` for nothing."""
    if batteries.task.protocol == "replicate":
        known = batteries[request.fidelity].experiment.held_out
        by_name = {"+".join(unit): unit for unit in known}
        asked = by_name.get("+".join(request.held_out), request.held_out)
        return list(dict.fromkeys([asked or known[0], *known]))
    if request.held_out:
        raise InputError(
            f"held_out: {batteries.task.name} holds no replicate out. Use the protocol 'replicate'."
        )
    return [()]


def _held_out_aside(batteries: _Batteries, request: Request) -> tuple[tuple[str, ...], ...]:
    """What a random task could hold out, where the profile has no task that does."""
    task, grid = batteries.task, batteries.workspace.profile.tissues.get(batteries.tissue)
    covered = grid is not None and f"replicate:{task.train_dataset}" in grid.tasks
    if task.protocol != "random" or covered or not batteries.workspace.profile.evaluation.extra.hold_out_all:
        return ()
    return batteries[request.fidelity].experiment.held_out


def _rows(
    batteries: _Batteries, grid: list[Configuration], n_boot: int, insist: dict[str, Sequence]
) -> list[dict]:
    """One row per configuration: its numbers, or the reason why there are none.

    `insist` holds, by field of a configuration, the values that must not be the reason; what can
    be told without fitting is refused before anything is fitted.
    """
    configurations = list(dict.fromkeys(grid))
    splits = _splits(batteries, configurations)
    found = {}
    for configuration in configurations:
        battery, split = batteries[configuration.fidelity], splits[configuration.split_key]
        at_fault = {"held_out": split} if isinstance(split, str) else battery.obstacles(configuration, split)
        _refuse(batteries.task, configuration, at_fault, insist)
        found[configuration] = next(iter(at_fault.values()), "")
    rows = []
    for configuration, reason in found.items():
        battery, values = batteries[configuration.fidelity], {"reason": reason}
        if not reason:
            values = _values_or_reason(battery, configuration, splits[configuration.split_key], n_boot)
            _refuse(batteries.task, configuration, {"representation": values["reason"]}, insist)
        rows.append(_identity(battery, configuration) | values)
    return rows


def _refuse(task: Task, configuration: Configuration, at_fault: dict[str, str], insist: dict) -> None:
    """Raise where the value at fault is one that the caller insists on."""
    for field, reason in at_fault.items():
        if reason and getattr(configuration, field) in insist.get(field, ()):
            raise InputError(f"{task.name}: {reason}")


def _splits(batteries: _Batteries, configurations: list[Configuration]) -> dict:
    """The split of every configuration, or the reason why there is none; each made once."""
    from .experiment import split_or_reason

    splits: dict = {}
    for c in configurations:
        if c.split_key not in splits:
            battery = batteries[c.fidelity]
            splits[c.split_key] = split_or_reason(battery.experiment, c, max_test=battery.settings.max_test)
    pairs = [(c, splits[c.split_key]) for c in configurations if not isinstance(splits[c.split_key], str)]
    for fidelity in {c.fidelity for c, _ in pairs}:
        batteries[fidelity].expect([(c, split) for c, split in pairs if c.fidelity == fidelity])
    return splits


def _identity(battery: Battery, configuration: Configuration) -> dict:
    task = battery.experiment.task
    return {
        "tissue": battery.experiment.tissue, "task": task.name, "protocol": configuration.protocol,
        "train_dataset": task.train_dataset, "test_dataset": task.test_dataset,
        "label": battery.experiment.label, "held_out": "+".join(configuration.held_out) or None,
        "representation": configuration.representation, "head": configuration.head,
        "n_train": configuration.n_train, "seed": configuration.seed, "fidelity": configuration.fidelity,
        "tuning": battery.tuning, "vote": battery.vote,
    }  # fmt: skip


def _values_or_reason(battery: Battery, configuration: Configuration, split, n_boot: int) -> dict:
    """Metrics, interval and cost of one configuration from its scores."""
    try:
        table, facts = battery.scores(configuration, split)
    except InputError as error:  # the head or the representation says what these cells lack
        return {"reason": str(error)}
    interval = bootstrap(table, n_boot=n_boot, seed=configuration.seed).iloc[0].to_dict()
    cost = {name: facts[name] for name in ("n_train_cells", "fit_seconds", "peak_memory_mb")}
    known = {"n_test": len(table), "key": facts["params"]["key"], "reason": ""}
    return known | metrics(table).iloc[0].to_dict() | interval | cost


def _side_tables(batteries: _Batteries, request: Request) -> dict[str, pd.DataFrame]:
    """Null contrasts and repeated fits of a task, by the suffix of their files, where the profile asks for them."""
    from .nulls import null_contrasts
    from .repeats import repeated_fits

    own, found = batteries.workspace.profile.evaluation, {}
    if own.extra.null_contrasts and batteries.task.protocol != "cross":
        found["-null"] = null_contrasts(batteries["paper"], seed=request.seeds[0], max_test=own.max_test)
    if own.extra.repeats:
        found["-repeats"] = repeated_fits(batteries[request.fidelity], request, n=own.extra.repeats)
    return found
