"""Evaluate a task: every configuration of its grid becomes one tidy row, from stored scores.

`metrics` and `bootstrap` (see `measures`) turn a score file into numbers; `evaluate_task` makes
the rows of one task and keeps them; `collect_results` puts all tasks of a profile together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import InputError
from .files import hash_of, write_csv
from .measures import METRICS, bootstrap, expected_calibration_error, metrics
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
    "read_results",
]

#: Columns that say what a row is, and all columns of the tidy results.
IDENTITY = (
    "tissue", "task", "protocol", "train_dataset", "test_dataset", "label", "held_out",
    "representation", "head", "n_train", "seed", "fidelity", "tuning", "vote",
)  # fmt: skip
TIDY = (
    *IDENTITY, "n_test", "auroc", "auroc_low", "auroc_high", "interval_unit", *METRICS[1:],
    "n_boot", "n_dropped", "n_train_cells", "fit_seconds", "peak_memory_mb", "key", "reason",
)  # fmt: skip


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
        CNN only; controls run with LR on all training cells.
    held_out
        Replicate, or one library of each class, to test on; None: the first.
    extra
        Whether to add the profile's `extra` rows (raw values with LR): further seeds, every
        replicate held out, both protocols on the same test cells (`fidelity` ``matched``),
        fidelity switches, and null contrasts (a table of their own).  None: only where the
        grid is the profile's.
    strict
        Refuse a combination that the data do not allow instead of giving it a row with the reason.

    Returns
    -------
    One row per configuration, columns `TIDY`.  A combination that the data do not allow has a
    `reason` and no value.  The rows are written to ``tables/runs/<tissue>/<slug>.csv``, or below
    ``tables/custom`` where the grid is not the profile's; scores are read where they are at hand.

    Raises
    ------
    InputError
        Unknown names, and combinations none of which the data allow.
    """
    import pandas as pd

    from .configurations import make_request, plan_extra, plan_grid

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
    grid += plan_extra(request, own.extra, protocol=task.protocol, units=units) if extra else []
    results = pd.DataFrame(_rows(batteries, grid, n_boot or own.n_boot, strict), columns=list(TIDY))
    if results["auroc"].isna().all():
        raise InputError(f"{task.name}: no combination could be evaluated: {results['reason'].iloc[0]}.")
    custom = "" if request == usual else hash_of(asdict(request))[:8]
    write_csv(_table_path(workspace, tissue, task, label, custom=custom), results)
    if extra and own.extra.null_contrasts and task.protocol != "cross":
        _write_nulls(batteries, request.seeds[0], own.max_test)
    return results


def collect_results(workspace: Workspace) -> pd.DataFrame:
    """Put the rows of every task of the profile into ``tables/results.csv``.

    Null contrasts go to ``tables/nulls.csv``.  A task that has not run has no rows.
    """
    import pandas as pd

    found = {"": [], "-null": []}
    for tissue, grid in workspace.profile.tissues.items():
        for text in grid.tasks:
            for label in grid.labels:
                for suffix, tables in found.items():
                    path = _table_path(workspace, tissue, parse_task(text), label, suffix=suffix)
                    if path.exists():
                        tables.append(_read(path))
    if not found[""]:
        raise InputError(f"No results in profile '{workspace.profile.name}'. Run its results chapters first.")
    results = pd.concat(found[""], ignore_index=True)
    write_csv(workspace.tables_dir / "results.csv", results)
    if found["-null"]:
        nulls = pd.concat(found["-null"], ignore_index=True)
        write_csv(workspace.tables_dir / "nulls.csv", nulls.drop_duplicates(ignore_index=True))
    return results


def read_results(workspace: Workspace) -> pd.DataFrame:
    """Read ``tables/results.csv``, made by `collect_results`."""
    return _read(workspace.tables_dir / "results.csv")


def read_nulls(workspace: Workspace) -> pd.DataFrame:
    """Read ``tables/nulls.csv``, the null contrasts of all tasks."""
    return _read(workspace.tables_dir / "nulls.csv")


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


def _rows(batteries: _Batteries, grid: list[Configuration], n_boot: int, strict: bool) -> list[dict]:
    """One row per configuration: its numbers, or the reason why there are none."""
    configurations = list(dict.fromkeys(grid))
    splits = _splits(batteries, configurations)
    rows = []
    for configuration in configurations:
        battery, split = batteries[configuration.fidelity], splits[_which(configuration)]
        reason = split if isinstance(split, str) else battery.obstacle(configuration, split)
        values = {"reason": reason}
        if not reason:
            values = _values_or_reason(battery, configuration, split, n_boot)
        if strict and values["reason"]:
            raise InputError(f"{batteries.task.name}: {values['reason']}")
        rows.append(_identity(battery, configuration) | values)
    return rows


def _which(configuration: Configuration) -> tuple:
    """What a split depends on."""
    c = configuration
    return (c.fidelity, c.protocol, c.seed, c.held_out)


def _splits(batteries: _Batteries, configurations: list[Configuration]) -> dict:
    """The split of every configuration, or the reason why there is none; each made once."""
    splits: dict = {}
    for configuration in configurations:
        if _which(configuration) not in splits:
            battery = batteries[configuration.fidelity]
            splits[_which(configuration)] = _split_or_reason(battery, configuration)
    pairs = [(c, splits[_which(c)]) for c in configurations if not isinstance(splits[_which(c)], str)]
    for fidelity in {c.fidelity for c, _ in pairs}:
        batteries[fidelity].expect([(c, split) for c, split in pairs if c.fidelity == fidelity])
    return splits


def _split_or_reason(battery: Battery, configuration: Configuration):
    """The split of a configuration, or why there is none."""
    from .experiment import make_split

    try:
        return make_split(
            battery.experiment,
            seed=configuration.seed,
            held_out=configuration.held_out,
            protocol=configuration.protocol,
            max_test=battery.settings.max_test,
        )
    except InputError as error:
        return str(error)


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


def _write_nulls(batteries: _Batteries, seed: int, max_test: int) -> None:
    from .nulls import null_contrasts

    table = null_contrasts(batteries["paper"], seed=seed, max_test=max_test)
    where = (batteries.workspace, batteries.tissue, batteries.task, batteries.label)
    write_csv(_table_path(*where, suffix="-null"), table)


def _table_path(
    workspace: Workspace, tissue: str, task: Task, label: str, *, suffix: str = "", custom: str = ""
) -> Path:
    """Where the rows of a task lie; the label is named unless it is stress."""
    slug = task.slug if label == "stress" else f"{task.slug}-{label}"
    if custom:
        return workspace.tables_dir / "custom" / tissue / f"{slug}-{custom}{suffix}.csv"
    return workspace.tables_dir / "runs" / tissue / f"{slug}{suffix}.csv"


def _read(path: Path) -> pd.DataFrame:
    """A table as it was written: sizes as numbers or `all`, names as text."""
    import pandas as pd

    if not path.exists():
        raise InputError(f"No table {path.name}. Run the results chapters, then collect.")
    text = dict.fromkeys(("held_out", "n_train", "key", "reason", "groups", "sample"), str)
    table = pd.read_csv(path, dtype=text, float_precision="round_trip")
    if "n_train" in table:
        table["n_train"] = [int(n) if n.isdigit() else n for n in table["n_train"]]
    if "reason" in table:
        table["reason"] = table["reason"].fillna("")
    return table
