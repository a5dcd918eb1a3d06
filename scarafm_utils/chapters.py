"""Chapters: notebooks with parameters, executed by papermill, checked and tidied.

A chapter is one MyST notebook.  Its *unit* parameter says what one run is about (a tissue or
a task); the value ``all`` is the chapter's canonical run, the page ``index``, which only
reads what the other runs stored.  Cells tagged ``only-unit`` belong to the runs of one unit,
cells tagged ``only-index`` to the canonical run; a reader who opens the notebook runs both.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .configurations import FIDELITIES
from .errors import InputError, suggest
from .execution import execute_notebook, store_notebook
from .files import hash_of
from .names import FEATURES, HEADS
from .profiles import TissueGrid, parse_task
from .reports import relayed, running_path
from .run_facts import cost_and_place, data_checksums, failure_kept, failure_path, now
from .tidy import check_executed, tidy
from .workspace import PROJECT, Workspace, open_workspace

if TYPE_CHECKING:
    from nbformat import NotebookNode


@dataclass(frozen=True)
class Chapter:
    """A notebook, the parameter that names its unit, and the tissue it is bound to."""

    name: str
    notebook: str
    unit: str | None = None
    tissue: str | None = None

    @property
    def path(self) -> Path:
        return PROJECT / "notebooks" / self.notebook


@dataclass(frozen=True)
class Parameter:
    """One line of a notebook's parameters cell: ``name: type = default  # help``."""

    name: str
    type: str
    default: Any
    help: str


CHAPTERS = {
    c.name: c
    for c in [
        Chapter("preprocessing", "01_preprocessing.md", unit="tissue"),
        Chapter("pretraining", "02_pretraining.md", unit="tissue"),
        Chapter("leaf_results", "03_leaf_results.md", unit="task", tissue="leaf"),
        Chapter("root_results", "04_root_results.md", unit="task", tissue="root"),
        Chapter("scaling_curves", "05_scaling_curves.md"),
        Chapter("claims", "06_claims.md"),
        Chapter("audit", "07_audit.md"),
        Chapter("rigor", "08_rigor.md"),
        Chapter("compendium", "09_compendium.md"),
    ]
}

#: Allowed values of parameters that name something.
CHOICES = {
    "representations": FEATURES,
    "controls": FEATURES,
    "heads": tuple(HEADS),
    "tuning": ("none", "cv", "group_cv"),
    "vote": ("majority", "mean"),
    "metric": ("auroc", "auroc_hard"),
    "fidelity": tuple(f for f in FIDELITIES if f != "matched"),  # matched rows come in pairs, as extras
}


def list_chapters() -> list[Chapter]:
    """All chapters in the paper's order."""
    return list(CHAPTERS.values())


def get_chapter(name: str) -> Chapter:
    """Look a chapter up by name; an unknown name is an error with a suggestion."""
    if name not in CHAPTERS:
        raise InputError(f"unknown chapter '{name}': {suggest(name, CHAPTERS)}")
    return CHAPTERS[name]


def read_notebook(chapter: Chapter) -> NotebookNode:
    """Read a chapter's MyST source as a notebook."""
    import jupytext

    notebook = jupytext.read(chapter.path, fmt="md:myst")
    for cell in notebook.cells:
        cell.metadata.setdefault("tags", [])  # papermill reads them without asking
    return notebook


def parameters(chapter: str) -> dict[str, Parameter]:
    """The parameters of a chapter with type, default and help text.

    Parameters
    ----------
    chapter
        Name of a chapter.
    """
    import ast

    from papermill.inspection import _infer_parameters

    found = {}
    for p in _infer_parameters(read_notebook(get_chapter(chapter))):
        kind = (p.inferred_type_name or "str").split("[")[0]
        found[p.name] = Parameter(p.name, kind, ast.literal_eval(p.default), p.help.strip())
    return found


def parse_value(parameter: Parameter, value: Any) -> Any:
    """Turn command-line text, or a Python value, into the parameter's type, or refuse it."""
    where = f"parameter '{parameter.name}'"
    if parameter.type == "list":
        items = value.split(",") if isinstance(value, str) else list(value)
        value = [_number_or_text(item) for item in items if item != ""]
        if not value:
            raise InputError(f"{where}: an empty list. Default: {parameter.default}")
    elif parameter.type in {"int", "float"}:
        try:
            value = {"int": int, "float": float}[parameter.type](value)
        except (TypeError, ValueError):
            raise InputError(
                f"{where}: {value!r} is not of type {parameter.type}. Default: {parameter.default}"
            ) from None
    else:
        value = str(value)
    return _check_choice(parameter.name, value)


def _number_or_text(item: Any) -> Any:
    text = str(item).strip()
    return int(text) if text.lstrip("-").isdigit() else text


def _check_choice(name: str, value: Any) -> Any:
    allowed = CHOICES.get(name)
    for item in (value if isinstance(value, list) else [value]) if allowed and value else []:
        if item not in allowed:
            raise InputError(f"parameter '{name}': unknown value '{item}': {suggest(item, allowed)}")
    for item in value if name in {"n_train", "seeds"} else []:
        number = isinstance(item, int) and item >= (1 if name == "n_train" else 0)
        if not number and not (name == "n_train" and item == "all"):
            wanted = "a number of cells or 'all'" if name == "n_train" else "whole numbers from 0"
            raise InputError(f"parameter '{name}': '{item}' is not allowed, use {wanted}")
    if name == "threads" and value < 1:
        raise InputError(f"parameter 'threads': {value} is not allowed, use 1 or more")
    return value


def validate(chapter: str, params: dict[str, Any]) -> dict[str, Any]:
    """Check names, types and values of parameters; unknown names get a suggestion."""
    known = parameters(chapter)
    for name in params:
        if name not in known:
            own = [other for other in known if other != "profile"]  # that is chosen with --profile
            raise InputError(f"chapter '{chapter}' has no parameter '{name}': {suggest(name, own)}")
    return {name: parse_value(known[name], value) for name, value in params.items()}


def unit_slug(unit: str, *, label: str = "stress") -> str:
    """The file name of a run: ``index``, a tissue, or a task (and label unless it is stress).

    >>> unit_slug("cross:GSE273033:ERP132245"), unit_slug("random:SRP169576", label="hair")
    ('cross-GSE273033-ERP132245', 'random-SRP169576-hair')
    """
    if unit == "all":
        return "index"
    slug = parse_task(unit).slug if ":" in unit else unit
    return slug if label == "stress" else f"{slug}-{label}"


def evaluation_runs(workspace: Workspace) -> dict[tuple[str, str], tuple[str, str]]:
    """Every run of the results chapters that a profile asks for: (chapter, slug) → (task, label)."""
    return {
        (chapter.name, unit_slug(task, label=label)): (task, label)
        for chapter in CHAPTERS.values()
        if chapter.unit == "task" and chapter.tissue in workspace.profile.tissues
        for task in workspace.profile.tissues[chapter.tissue].tasks
        for label in workspace.profile.tissues[chapter.tissue].labels
    }


def page_runs(workspace: Workspace) -> list[tuple[str, str]]:
    """Every page of a profile's grid as (chapter, slug): canonical runs, tissues, tasks."""
    tissues = workspace.profile.tissues
    index = [(c.name, "index") for c in CHAPTERS.values() if c.tissue in (None, *tissues)]
    by_tissue = [(c.name, tissue) for c in CHAPTERS.values() if c.unit == "tissue" for tissue in tissues]
    return [*index, *by_tissue, *evaluation_runs(workspace)]


def run(chapter: str, params: dict[str, Any], *, profile: str, out: str | Path | None = None) -> Path:
    """Execute one chapter with one set of parameters and keep the tidied notebook.

    Parameters
    ----------
    chapter
        Name of a chapter.
    params
        Values for the notebook's parameters cell; validated before anything starts.
    profile
        Name of a profile, or path to a YAML file.
    out
        Where the executed notebook goes; by default below ``artifacts/<profile>/runs``.

    Returns
    -------
    Path of the executed notebook.  It is moved there only after every code cell ran
    without an error; a failed run leaves nothing under that name.

    Raises
    ------
    InputError
        Bad parameters, or bad input met inside the notebook.
    ChapterError
        Any other failure inside the notebook.
    """
    spec, workspace = get_chapter(chapter), open_workspace(profile)
    params, slug = check_params(chapter, params, profile=profile)
    out = Path(out) if out else default_output(spec, slug, params, workspace)
    notebook = select_cells(read_notebook(spec), index=slug == "index")
    facts = {"chapter": chapter, "run": slug, "parameters": params, "date": now()}
    started = time.monotonic()
    running = running_path(workspace.folder, f"{chapter}-{slug}")
    with failure_kept(facts, failure_path(workspace, chapter, out.stem)), relayed(running):
        executed = execute_notebook(notebook, params, name=f"{chapter} {slug}")
        check_executed(executed, name=f"{chapter} {slug}")
    facts |= {"seconds": round(time.monotonic() - started, 1), **cost_and_place()}
    unit = params.get(spec.unit, parameters(chapter)[spec.unit].default) if spec.unit else "all"
    facts["data"] = data_checksums(workspace, spec.tissue, unit)
    store_notebook(tidy(executed, facts=facts, workspace=workspace), out)
    return out


def check_params(chapter: str, params: dict[str, Any], *, profile: str) -> tuple[dict[str, Any], str]:
    """Check what `run` would refuse before it starts a kernel.

    Returns
    -------
    The parameters with their types and the profile, and the file name of the run.
    """
    if "profile" in params:
        raise InputError("parameter 'profile': choose the profile with --profile NAME, not with -p")
    params = validate(chapter, {**params, "profile": str(profile)})
    return params, _check_unit(get_chapter(chapter), params, open_workspace(profile))


def _check_unit(spec: Chapter, params: dict[str, Any], workspace: Workspace) -> str:
    defaults = parameters(spec.name)
    unit = params.get(spec.unit, defaults[spec.unit].default) if spec.unit else "all"
    if unit != "all" and spec.unit == "tissue" and unit not in workspace.profile.tissues:
        raise InputError(
            f"parameter 'tissue': profile '{workspace.profile.name}' has no tissue '{unit}': "
            f"{suggest(unit, [*workspace.profile.tissues, 'all'])}"
        )
    if unit != "all" and spec.unit == "task":
        _check_task(unit, params.get("label", defaults["label"].default), spec, workspace)
    elif "label" in params:
        known = dict.fromkeys(x for grid in workspace.profile.tissues.values() for x in grid.labels)
        if params["label"] not in known:
            name, hint = workspace.profile.name, suggest(params["label"], known)
            raise InputError(f"parameter 'label': profile '{name}' has no '{params['label']}', {hint}")
    return unit_slug(unit, label=params.get("label", "stress"))


def _check_task(task: str, label: str, spec: Chapter, workspace: Workspace) -> None:
    """Refuse, before a kernel starts, a task that the manifest does not allow."""
    parse_task(task)
    grid = TissueGrid(tasks=[task], labels=[label], pretraining=[])
    workspace.profile.model_copy(update={"tissues": {spec.tissue: grid}}).check(workspace.manifest)


def default_output(spec: Chapter, slug: str, params: dict[str, Any], workspace: Workspace) -> Path:
    """Where a run goes: the grid's page, or ``custom/`` when parameters differ from the profile's."""
    plain = {spec.unit, "profile"} | ({"label"} if slug != "index" else set())  # index pages do not name a label
    if set(params) <= plain:
        return workspace.runs_dir / spec.name / f"{slug}.ipynb"
    return workspace.folder / "custom" / spec.name / f"{slug}-{hash_of(params)[:8]}.ipynb"


def select_cells(notebook: NotebookNode, *, index: bool) -> NotebookNode:
    """Leave out the cells of the other kind of run (tags ``only-index`` and ``only-unit``)."""
    other = "only-unit" if index else "only-index"
    notebook.cells = [c for c in notebook.cells if other not in c.metadata.get("tags", [])]
    return notebook
