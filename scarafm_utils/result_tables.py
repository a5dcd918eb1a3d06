"""Tidy results on disk: their columns, where the table of each run lies, and how it is read."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import InputError
from .files import hash_of
from .measures import METRICS
from .tasks import Task, parse_task

if TYPE_CHECKING:
    import pandas as pd

    from .configurations import Request
    from .profiles import Evaluation
    from .workspace import Workspace

#: Columns that say what a row is, and all columns of the tidy results.
IDENTITY = (
    "tissue", "task", "protocol", "train_dataset", "test_dataset", "label", "held_out",
    "representation", "head", "n_train", "seed", "fidelity", "tuning", "vote",
)  # fmt: skip
TIDY = (
    *IDENTITY, "n_test", "auroc", "auroc_low", "auroc_high", "interval_unit", *METRICS[1:],
    "n_boot", "n_dropped", "n_train_cells", "fit_seconds", "peak_memory_mb", "key", "reason",
)  # fmt: skip


def read_results(workspace: Workspace) -> pd.DataFrame:
    """Read ``tables/results.csv``, made by `collect_results`."""
    return read_table(workspace.tables_dir / "results.csv")


def read_nulls(workspace: Workspace) -> pd.DataFrame:
    """Read ``tables/nulls.csv``, the null contrasts of all tasks; without rows where there are none."""
    return read_table(workspace.tables_dir / "nulls.csv")


def read_repeats(workspace: Workspace) -> pd.DataFrame:
    """Read ``tables/repeats.csv``, repeated fits of one model (`repeats`); without rows where there are none."""
    return read_table(workspace.tables_dir / "repeats.csv")


def table_of_run(workspace: Workspace, tissue: str, params: dict) -> Path:
    """Where `evaluate_task` keeps the rows of a run with these parameters of a results chapter."""
    from .configurations import Request, make_request

    own = workspace.profile.evaluation
    asked = {name: value for name, value in params.items() if name in Request.__dataclass_fields__}
    custom = grid_digest(make_request(own, **asked), own)
    return results_path(workspace, tissue, parse_task(params["task"]), params.get("label", "stress"), custom=custom)


def grid_digest(request: Request, own: Evaluation) -> str:
    """Name a grid that is not the profile's; empty for the profile's own."""
    from .configurations import make_request

    return "" if request == make_request(own) else hash_of(asdict(request))[:8]


def results_path(
    workspace: Workspace, tissue: str, task: Task, label: str, *, suffix: str = "", custom: str = ""
) -> Path:
    """Where the rows of a task lie; the label is named unless it is stress."""
    slug = task.slug if label == "stress" else f"{task.slug}-{label}"
    if custom:
        return workspace.tables_dir / "custom" / tissue / f"{slug}-{custom}{suffix}.csv"
    return workspace.tables_dir / "runs" / tissue / f"{slug}{suffix}.csv"


def read_table(path: Path) -> pd.DataFrame:
    """A table as it was written: sizes as numbers or `all`, names as text."""
    import pandas as pd

    if not path.exists():
        raise InputError(f"No table {path.name}. Run the results chapters, then collect.")
    text = dict.fromkeys(("held_out", "n_train", "key", "reason", "groups", "sample", "unit"), str)
    table = pd.read_csv(path, dtype=text, float_precision="round_trip")
    if "n_train" in table:
        table["n_train"] = [int(n) if n.isdigit() else n for n in table["n_train"]]
    empty = {name: "" for name in ("reason", "unit") if name in table}
    return table.fillna(empty)
