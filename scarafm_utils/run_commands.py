"""The commands about runs: run, pretrain, status, compare and doctor."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .errors import InputError, suggest

if TYPE_CHECKING:
    import pandas as pd

app = typer.Typer()
ProfileOption = Annotated[str, typer.Option("--profile", "-P", help="Name of a profile, or path to a YAML file.")]


@app.command()
def run(
    chapter: str,
    *,
    param: Annotated[list[str] | None, typer.Option("--param", "-p", help="name=value; may be repeated.")] = None,
    grid: Annotated[list[str] | None, typer.Option("--grid", help="name=a,b: one run for each value.")] = None,
    profile: Annotated[str | None, typer.Option("--profile", "-P", help="Name or path; default demo.")] = None,
    out: Annotated[Path | None, typer.Option(help="Where the executed notebook goes; it is not rendered then.")] = None,
    show: Annotated[bool, typer.Option("--open", help="Open the finished page in a browser.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check and estimate; run nothing.")] = False,
    manifest: Annotated[Path | None, typer.Option(help="A manifest of one's own cells; --profile gives sizes.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="The folder with the files of --manifest.")] = None,
) -> None:
    """Execute one chapter with other parameters and render its page."""
    from .runs import expand_grid

    sets = expand_grid(pairs(param or [], "-p"), values_of(grid or []))
    if manifest or data_dir:
        return _run_own(chapter, sets, profile, manifest, data_dir, out, show, dry_run)
    _run_grid(chapter, sets, profile or "demo", out, show, dry_run)


def _run_grid(
    chapter: str, sets: list[dict[str, Any]], profile: str, out: Path | None, show: bool, dry_run: bool
) -> None:
    from .chapters import check_params

    _check_out(out, sets)
    for params in sets:  # all of them, before the first one runs
        check_params(chapter, params, profile=profile)
    for number, params in enumerate(sets, start=1):
        if dry_run or out is None:
            typer.echo(_announced(f"{number}/{len(sets)}", chapter, params, profile))
        if not dry_run:
            _run_one(chapter, params, profile, out, show)


def _check_out(out: Path | None, runs: list[dict[str, Any]]) -> None:
    if out and len(runs) > 1:
        raise InputError(f"--out names one file, these are {len(runs)} runs: leave --out away, or ask for one")


def _announced(number: str, chapter: str, params: dict[str, Any], profile: str) -> str:
    """One run with its parameters, and what it will cost."""
    from .runs import estimate

    head = f"[{number}] {chapter} {' '.join(f'{k}={v}' for k, v in params.items())}".rstrip().replace("\n", "\\n")
    return f"{head}: {estimate(chapter, params, profile=profile)}"


def _run_one(chapter: str, params: dict[str, Any], profile: str, out: Path | None, show: bool) -> None:
    from contextlib import nullcontext

    from . import chapters as ch
    from .lifeline import exclusive
    from .workspace import PROJECT

    with nullcontext() if out else exclusive(PROJECT / "artifacts", wait=True):
        started = time.monotonic()
        path = ch.run(chapter, params, profile=profile, out=out)
        typer.echo(f"done: {chapter} {path.stem}, {time.monotonic() - started:.0f} s, {_shown(path)}")
        page = None if out else _render(profile, [path])
    if show and page:
        typer.launch(page.as_uri())


def _run_own(
    chapter: str, sets: list[dict[str, Any]], base: str | None, manifest: Path | None, data_dir: Path | None,
    out: Path | None, show: bool, dry_run: bool,
) -> None:  # fmt: skip
    """Take cells of one's own through every protocol that their metadata allow."""
    from .lifeline import exclusive
    from .own_data import BASE, own_runs, plan_own_study, reasons, run_own_study
    from .workspace import PROJECT

    if manifest is None or data_dir is None:
        raise InputError("cells of your own need both: --manifest FILE and --data-dir FOLDER")
    label, *others = dict.fromkeys(params.pop("label", "") for params in sets)
    if others:
        raise InputError("--grid label: one study has one label. Run once for each, with -p label=NAME")
    with exclusive(PROJECT / "artifacts", wait=True):
        study = plan_own_study(manifest, data_dir, chapter=chapter, label=label, base=base or BASE)
        typer.echo(f"tissue {study.tissue}, label {study.label}, tasks: {', '.join(study.tasks)}")
        runs = own_runs(study, chapter, sets)
        _check_out(out, runs)
        if dry_run:
            for number, params in enumerate(runs, start=1):
                typer.echo(_announced(f"{number}/{len(runs)}", chapter, params, study.profile))
            return
        paths = run_own_study(study, chapter, runs, out=out, report=typer.echo)
        page = None if out else _render(study.profile, paths)
        for reason in reasons(study, runs):
            typer.echo(f"not computed: {reason}")
    if show and page:
        typer.launch(page.as_uri())


def _render(profile: str, paths: list[Path]) -> Path:
    """Render the pages of runs, say where they are, and return the last one."""
    from .own_pages import render_pages
    from .workspace import open_workspace

    pages = render_pages(open_workspace(profile), paths)
    for page in pages:
        typer.echo(f"page: {_shown(page)}")
    return pages[-1]


@app.command()
def pretrain(tissue: str, *, profile: ProfileOption = "demo") -> None:
    """Train one tissue's encoder without a notebook; `scarafm build` then takes it over.

    On several GPUs: torchrun --nproc-per-node 8 --no-python scarafm pretrain root --profile paper
    """
    from .parallel import is_first
    from .pretraining import pretrain_tissue
    from .reports import reporting
    from .workspace import open_workspace, use_threads

    workspace = open_workspace(profile)
    if tissue not in workspace.profile.tissues:
        raise InputError(f"profile '{profile}' has no tissue '{tissue}': {suggest(tissue, workspace.profile.tissues)}")
    use_threads(workspace.profile.threads)
    with reporting(sys.stderr) as report:
        history = pretrain_tissue(workspace, tissue, report=report)
    if is_first():
        typer.echo(f"done: {tissue}, {len(history)} epochs, {_shown(workspace.checkpoint_dir(tissue))}")


def _shown(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def pairs(items: list[str], option: str) -> dict[str, str]:
    """Read ``name=value`` items; each name once."""
    found: dict[str, str] = {}
    for item in items:
        name, equals, value = item.partition("=")
        if not equals or not name:
            raise InputError(f"{option} {item}: write {option} name=value")
        if name in found:
            raise InputError(f"{option} {name}: given twice")
        found[name] = value
    return found


def values_of(items: list[str]) -> dict[str, list[str]]:
    """Read ``name=a,b`` items as lists of values.

    >>> values_of(["seeds=0,1"])
    {'seeds': ['0', '1']}
    """
    found = {name: [v for v in text.split(",") if v] for name, text in pairs(items, "--grid").items()}
    for name, values in found.items():
        if not values:
            raise InputError(f"--grid {name}: no value. Write --grid {name}=a,b")
    return found


@app.command()
def status(profile: ProfileOption = "demo") -> None:
    """Show which runs of a profile are fresh, stale, missing or failed."""
    from .grid import snakemake_plan
    from .runs import run_states
    from .workspace import open_workspace

    workspace = open_workspace(profile)
    table = run_states(workspace, snakemake_plan(profile))
    for row in table.itertuples():
        seconds = f"{row.seconds:.0f} s" if row.seconds == row.seconds and row.seconds is not None else ""
        typer.echo(f"{row.state:8} {row.run:45} {row.date:22} {seconds:>6}  {row.error}".rstrip())
    counts = table["state"].value_counts()
    states = [state for state in ("fresh", "stale", "missing", "failed") if state in counts]
    typer.echo(", ".join(f"{counts[state]} {state}" for state in states))


@app.command()
def compare(first: str, second: str, profile: ProfileOption = "demo") -> None:
    """Show the parameters and results of two runs side by side."""
    from .runs import compare_runs, find_run
    from .tidy import page_notice
    from .workspace import open_workspace

    workspace = open_workspace(profile)
    runs = [find_run(workspace, text) for text in (first, second)]
    for side, run_ in zip(("first", "second"), runs, strict=True):
        typer.echo(f"{side:6}  {run_.name}  {run_.facts.get('date', '')}")
    parameters, results = compare_runs(workspace, *runs)
    parameters[""] = parameters.pop("differs").map({True: "differs", False: ""})
    typer.echo("\n" + _text(parameters))
    if results is None:
        typer.echo("\nNo results to compare: one of the two is no run of a task, or its table is gone.")
    else:
        typer.echo("\n" + _text(results, index=False))
    notice = page_notice(workspace)
    if notice:
        typer.echo(f"\n{notice}")


def _text(table: pd.DataFrame, *, index: bool = True) -> str:
    return table.to_string(index=index, na_rep="-", float_format=lambda x: f"{x:.3f}")


@app.command()
def doctor(profile: ProfileOption = "demo") -> None:
    """Check the environment, memory, disk, device and data for a profile."""
    from .doctor import examine
    from .workspace import open_workspace

    checks = examine(open_workspace(profile))
    for check in checks:
        typer.echo(f"{check.state:8} {check.name:9} {check.found}")
    if any(check.state == "problem" for check in checks):
        raise typer.Exit(1)
    typer.echo(f"This machine is fit for profile '{profile}'.")
