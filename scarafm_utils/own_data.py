"""Cells of one's own: from a manifest and a folder to every protocol that the metadata allow."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from .chapters import check_params, get_chapter, run
from .errors import InputError, suggest
from .evaluation import collect_results
from .files import write_text
from .grid import link_data
from .manifest import Dataset, held_out_unit, load_manifest, matched_pairs, select
from .profiles import load_profile
from .result_tables import read_table, table_of_run
from .workspace import PROJECT, open_workspace, profile_path

#: Sizes of grid, heads and resampling come from this profile unless another one is named.
BASE = "laptop"

_NOTICE = (
    "Cells from a folder, described by a manifest of their own. The paper did not use them, and its "
    "encoder has not seen them."
)


@dataclass(frozen=True)
class OwnStudy:
    """What will be run: a profile written for the manifest, its tissue, label and tasks."""

    profile: str
    tissue: str
    label: str
    tasks: tuple[str, ...]


def plan_own_study(manifest: Path, data_dir: Path, *, chapter: str, label: str = "", base: str = BASE) -> OwnStudy:
    """Write a profile for a manifest of one's own, below ``artifacts/<name of the manifest>``.

    Parameters
    ----------
    manifest
        A manifest file, such as `scarafm data init` starts.
    data_dir
        The folder with its files; remembered as a link.
    chapter
        A results chapter; it says which tissue.
    label
        Label to predict; empty: the first label of the first data set.
    base
        Profile that sizes come from.

    Raises
    ------
    InputError
        A manifest that does not load, has no data set of the tissue, or takes the name of a profile
        of the project; a label that no data set has; a missing folder.
    """
    known, tissue = load_manifest(manifest), get_chapter(chapter).tissue
    if tissue is None:
        raise InputError(f"--manifest: the chapter '{chapter}' evaluates nothing, use leaf_results or root_results")
    datasets = select(known, tissue=tissue, role="downstream")
    if not datasets:
        others = sorted({d.tissue for d in known.values()})
        raise InputError(f"{manifest.name}: no downstream data set of {tissue} (found: {', '.join(others)})")
    label = label or next(iter(datasets[0].labels))
    tasks = allowed_tasks(known, tissue=tissue, label=label)
    if not tasks:
        labels = sorted({name for d in datasets for name in d.labels})
        raise InputError(f"{manifest.name}: no data set has the label '{label}', {suggest(label, labels)}")
    folder = PROJECT / "artifacts" / _name_of(manifest)
    write_text(folder / "manifest.yaml", manifest.read_text(encoding="utf-8"))
    path = write_text(folder / "profile.yaml", _profile_text(folder, base, tissue, label, tasks))
    profile = path.relative_to(PROJECT).as_posix()
    link_data(open_workspace(profile), data_dir)
    return OwnStudy(profile, tissue, label, tasks)


def allowed_tasks(manifest: dict[str, Dataset], *, tissue: str, label: str) -> tuple[str, ...]:
    """Every task that the manifest's metadata allow for one label.

    A random split of each data set; a replicate split where a replicate, a library or one library
    of each class can be held out; a cross task in both directions between data sets of the same
    stress and classes.
    """
    own = [d for d in select(manifest, tissue=tissue, role="downstream") if label in d.labels]
    classes = {d.id: list(d.labels[label].classes) for d in own}
    pairs = [(s, t) for s, t in matched_pairs(manifest, tissue=tissue) if s in classes and t in classes]
    return (
        *(f"random:{d.id}" for d in own),
        *(f"replicate:{d.id}" for d in own if held_out_unit(d, label) is not None),
        *(f"cross:{s}:{t}" for s, t in pairs if classes[s] == classes[t]),
    )


def own_runs(study: OwnStudy, chapter: str, sets: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The parameters of every run of a study: each set of parameters with each task, or with the one it names.

    Raises
    ------
    InputError
        A task that the manifest does not allow, or a parameter that the chapter does not take.
    """
    runs = []
    for params in sets:
        chosen = [params["task"]] if "task" in params else study.tasks
        if unknown := [task for task in chosen if task not in study.tasks]:
            hint = suggest(unknown[0], study.tasks)
            raise InputError(f"task '{unknown[0]}' is not possible with this manifest: {hint}")
        runs += [params | {"task": task, "label": study.label} for task in chosen]
    for params in runs:
        check_params(chapter, params, profile=study.profile)
    return runs


def run_own_study(
    study: OwnStudy, chapter: str, runs: list[dict[str, Any]], *, out: Path | None = None, report=print
) -> list[Path]:
    """Preprocess the files, make each run, and gather the results.

    Parameters
    ----------
    study
        From `plan_own_study`.
    chapter
        A results chapter.
    runs
        From `own_runs`.
    out
        Where the executed notebook goes, of a single run.
    report
        Called with one line after each step.

    Returns
    -------
    The executed notebooks: preprocessing first, then the tasks.
    """
    paths = [run("preprocessing", {"tissue": study.tissue}, profile=study.profile)]
    report("done: preprocessing")
    workspace = open_workspace(study.profile)
    if workspace.datasets(study.tissue, role="pretraining"):
        paths.append(run("pretraining", {"tissue": study.tissue}, profile=study.profile))
        report("done: pretraining")
    for number, params in enumerate(runs, start=1):
        paths.append(run(chapter, params, profile=study.profile, out=out))
        report(f"done: [{number}/{len(runs)}] {params['task']}")
    if list((workspace.tables_dir / "runs").glob("*/*.csv")):  # not where every run had a grid of its own
        collect_results(workspace)
    return paths


def reasons(study: OwnStudy, runs: list[dict[str, Any]]) -> list[str]:
    """Why configurations of these runs have no result, each reason once with what it left out."""
    import pandas as pd

    workspace = open_workspace(study.profile)
    table = pd.concat([read_table(table_of_run(workspace, study.tissue, params)) for params in runs])
    left_out = table[table["reason"] != ""].groupby("reason", sort=False)["representation"].unique()
    return [f"{', '.join(names)}: {reason}" for reason, names in left_out.items()]


def _name_of(manifest: Path) -> str:
    """The name of the results' folder: that of the manifest, which no profile of the project may have."""
    name = re.sub(r"[^A-Za-z0-9_-]+", "_", manifest.stem)
    if profile_path(name).exists():
        raise InputError(f"{manifest.name}: '{name}' is the name of a profile of the project. Rename the manifest")
    return name


def _profile_text(folder: Path, base: str, tissue: str, label: str, tasks: tuple[str, ...]) -> str:
    """A profile with the sizes of `base`, as YAML."""
    path = profile_path(base)
    values = load_profile(path).model_dump(mode="json")
    values |= {
        "name": folder.name, "source": "local", "notice": _NOTICE, "release": None,
        "description": "Cells of one's own, described by a manifest of their own.",
        "cost": f"Unknown: the sizes are those of the profile {path.stem}, the cells one's own.",
        "manifest": (folder / "manifest.yaml").relative_to(PROJECT).as_posix(),
        "tissues": {tissue: {"tasks": list(tasks), "labels": [label], "pretraining": "all"}},
    }  # fmt: skip
    text = yaml.safe_dump(values, sort_keys=False)
    return f"# Made by scarafm run --manifest; changed by hand it is overwritten.\n{text}"
