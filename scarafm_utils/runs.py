"""Runs that a profile has: what each was, what the next one will cost, and how two of them differ."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .chapters import CHAPTERS, get_chapter, page_runs, validate
from .errors import InputError, suggest
from .run_facts import failure_path
from .workspace import PROJECT, Workspace, open_workspace

if TYPE_CHECKING:
    import pandas as pd

#: Seconds that a notebook takes before any work: its kernel starts and the imports run.
OVERHEAD = 5.0


@dataclass(frozen=True)
class Run:
    """One executed notebook: its name (``<chapter>/<file>``), where it lies, and the facts it keeps."""

    name: str
    path: Path
    facts: dict[str, Any]


@dataclass(frozen=True)
class Estimate:
    """What a run will cost, and what that rests on; without earlier runs there are no numbers."""

    seconds: float | None
    memory_mb: float | None
    basis: str

    def __str__(self) -> str:
        if self.seconds is None:
            return f"no estimate, {self.basis}"
        memory = f", {self.memory_mb / 1000:.1f} GB of memory" if self.memory_mb else ""
        return f"about {self.seconds:.0f} s{memory}, less where scores are stored ({self.basis})"


def expand_grid(params: dict[str, Any], grid: dict[str, list[str]]) -> list[dict[str, Any]]:
    """One set of parameters for each combination of the grid's values.

    >>> expand_grid({"heads": "LR"}, {"seeds": ["0", "1"]})
    [{'heads': 'LR', 'seeds': '0'}, {'heads': 'LR', 'seeds': '1'}]
    """
    twice = sorted(set(params) & set(grid))
    if twice:
        raise InputError(f"--grid {twice[0]}: also given with -p. Give it once")
    return [params | dict(zip(grid, values)) for values in product(*grid.values())]


def read_run(path: Path) -> Run:
    """Read the facts of one executed notebook.

    Raises
    ------
    InputError
        The file is cut short or no notebook.
    """
    import json

    name = f"{path.parent.name}/{path.stem}"
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))["metadata"].get("scarafm", {})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"{path.name} is cut short or no notebook ({type(error).__name__})"
        raise InputError(f"run '{name}' is damaged: {reason}. Run it again") from None
    return Run(name, path, dict(facts))


def run_paths(workspace: Workspace) -> dict[str, Path]:
    """Name and notebook of every run: those of the grid, then those with parameters of their own, oldest first."""
    return {
        f"{path.parent.name}/{path.stem}": path
        for folder in (workspace.runs_dir, workspace.folder / "custom")
        for path in sorted(folder.glob("*/*.ipynb"), key=lambda p: (p.stat().st_mtime_ns, p.name))
    }


def find_runs(workspace: Workspace) -> list[Run]:
    """Every run of a profile whose notebook is whole, in the order of `run_paths`."""
    from contextlib import suppress

    found = []
    for path in run_paths(workspace).values():
        with suppress(InputError):  # a damaged run tells nothing about the others
            found.append(read_run(path))
    return found


def find_run(workspace: Workspace, text: str) -> Run:
    """Find one run by name (``leaf_results/random-ERP132245``), by its end, or by the path of its notebook.

    Raises
    ------
    InputError
        No run, or more than one, goes by that name, or its notebook is damaged.
    """
    if Path(text).suffix == ".ipynb" and Path(text).exists():
        return read_run(Path(text))
    paths = run_paths(workspace)
    if text in paths:
        return read_run(paths[text])
    close = [name for name in paths if name.endswith(text)]
    if len(close) == 1:
        return read_run(paths[close[0]])
    if close:
        raise InputError(f"run '{text}': {len(close)} runs end so ({', '.join(close)}). Write one in full")
    raise InputError(f"profile '{workspace.profile.name}' has no run '{text}': {suggest(text, paths)}")


def estimate(chapter: str, params: dict[str, Any], *, profile: str) -> Estimate:
    """Estimate time and memory of a run from the earlier runs of its profile.

    A chapter that evaluates a task costs what its configurations cost when they were fitted
    last (the nearest training size of the same representation and head counts); stored scores
    make it cheaper.  Any other chapter costs the median of its earlier runs.

    Parameters
    ----------
    chapter
        Name of a chapter.
    params
        Its parameters, not yet validated.
    profile
        Name of a profile, or path to a YAML file.
    """
    from statistics import median

    workspace = open_workspace(profile)
    params = validate(chapter, params)
    if get_chapter(chapter).unit == "task" and params.get("task") != "all":
        return _estimate_task(workspace, params)
    earlier = [run.facts for run in find_runs(workspace) if run.facts.get("chapter") == chapter]
    if not earlier:
        return Estimate(None, None, f"'{chapter}' has not run in profile '{workspace.profile.name}' yet")
    memory = max((facts.get("peak_mb", 0) for facts in earlier), default=0)
    seconds = median(facts["seconds"] for facts in earlier)
    return Estimate(seconds, memory or None, f"median of {len(earlier)} earlier runs")


def _estimate_task(workspace: Workspace, params: dict[str, Any]) -> Estimate:
    from .configurations import make_request, plan_grid
    from .result_tables import read_results

    names = ("representations", "heads", "n_train", "seeds")
    request = make_request(workspace.profile.evaluation, **{n: params[n] for n in names if params.get(n)})
    if not (workspace.tables_dir / "results.csv").exists():
        return Estimate(None, None, f"profile '{workspace.profile.name}' has no results yet")
    known = read_results(workspace).dropna(subset=["fit_seconds"])
    wanted = plan_grid(request, protocol="random", held_out=())
    seconds = [_fit_seconds(known, c.representation, c.head, c.n_train) for c in wanted]
    unknown = sum(s is None for s in seconds)
    basis = f"{len(wanted)} configurations, from {len(known)} earlier results"
    basis += f", {unknown} of them without a precedent" if unknown else ""
    total = OVERHEAD + sum(s for s in seconds if s is not None)
    return Estimate(total, float(known["peak_memory_mb"].max()), basis)


def _fit_seconds(known: pd.DataFrame, representation: str, head: str, n_train: int | str) -> float | None:
    """The median time of the same representation and head at the nearest training size."""
    rows = known[(known["representation"] == representation) & (known["head"] == head)]
    if rows.empty:
        return None
    size = rows["n_train_cells"].max() if n_train == "all" else int(n_train)
    distance = (rows["n_train_cells"] - size).abs()
    return float(rows.loc[distance == distance.min(), "fit_seconds"].median())


def run_states(workspace: Workspace, plan: dict[str, str]) -> pd.DataFrame:
    """The state of every run that a profile's grid asks for.

    Parameters
    ----------
    plan
        For each output that Snakemake knows, relative to the project, what it would do with it
        (``no update`` or ``update pending``); see `grid.snakemake_plan`.

    Returns
    -------
    One row per run: run, state (fresh, stale, missing or failed), date, seconds, error.
    """
    import pandas as pd

    rows = []
    for chapter, slug in page_runs(workspace):
        path = workspace.runs_dir / chapter / f"{slug}.ipynb"
        failure = read_failure(workspace, chapter, slug)
        try:
            facts = read_run(path).facts if path.exists() else {}
        except InputError as error:
            facts, failure = {}, failure or {"error": str(error)}
        fresh = plan.get(str(path.relative_to(PROJECT))) == "no update"
        state = "failed" if failure else "missing" if not facts else "fresh" if fresh else "stale"
        shown = failure or facts
        rows.append([f"{chapter}/{slug}", state, shown.get("date", ""), facts.get("seconds"), failure.get("error", "")])
    return pd.DataFrame(rows, columns=["run", "state", "date", "seconds", "error"])


def read_failure(workspace: Workspace, chapter: str, slug: str) -> dict[str, Any]:
    """What a run's last failure left behind; empty where its last attempt went well."""
    import json

    path = failure_path(workspace, chapter, slug)
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def compare_runs(workspace: Workspace, first: Run, second: Run) -> tuple[pd.DataFrame, pd.DataFrame | None]:
    """Set two runs side by side.

    Returns
    -------
    The parameters of both (one row per parameter, in the order of the notebook), and, where both
    are runs of a task, their results: one row per configuration, AUROC and hard-label AUROC of
    each run and the difference second minus first.  Columns that are the same in all rows of both
    are left out; a configuration that only one run has keeps an empty value.
    """
    import pandas as pd

    names = dict.fromkeys([*first.facts.get("parameters", {}), *second.facts.get("parameters", {})])
    sides = {"first": first.facts, "second": second.facts}
    parameters = pd.DataFrame(
        {side: {n: _shown(facts.get("parameters", {}), n) for n in names} for side, facts in sides.items()}
    )
    parameters["differs"] = parameters["first"] != parameters["second"]
    tables = [_results_of(workspace, run) for run in (first, second)]
    if any(table is None for table in tables):
        return parameters, None
    return parameters, _beside(*tables)


def _shown(parameters: dict[str, Any], name: str) -> str:
    value = parameters.get(name, "as in the profile")
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _results_of(workspace: Workspace, run: Run) -> pd.DataFrame | None:
    """The tidy rows that a run of a task left; None for any other run, or where they are gone."""
    from .result_tables import read_table, table_of_run

    chapter, params = CHAPTERS.get(run.facts.get("chapter", "")), run.facts.get("parameters", {})
    if chapter is None or ":" not in params.get("task", ""):
        return None
    path = table_of_run(workspace, chapter.tissue, params)
    return read_table(path) if path.exists() else None


def _beside(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    """Two tables of tidy results joined by what differs between the rows of either."""
    from .result_tables import IDENTITY

    keys = [k for k in IDENTITY if max(t[k].astype(str).nunique() for t in (first, second)) > 1]
    keys = keys or ["representation", "head"]
    shown = ["auroc", "auroc_hard"]
    left, right = (t.assign(**{k: t[k].astype(str) for k in keys}) for t in (first, second))
    merged = left[[*keys, *shown]].merge(
        right[[*keys, *shown]], on=keys, how="outer", suffixes=("_first", "_second"), sort=False
    )
    merged["difference"] = merged["auroc_second"] - merged["auroc_first"]
    return merged

