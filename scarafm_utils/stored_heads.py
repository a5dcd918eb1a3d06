"""Heads in files: trained on one task, stored as numbers and JSON, loaded without running anything.

A stored head is a folder.  ``head.json`` says what it is and was trained on and holds the checksums of
the others: ``head.safetensors`` (LR, MLP, principal components), ``head.ubj`` (XGBoost's own format),
and ``encoder/``, a copy of the checkpoint where the representation needs one.  Nothing is pickled.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from .checkpoints import load_checkpoint
from .configurations import Configuration
from .embeddings import EmbeddingPCA
from .errors import InputError, suggest
from .estimators import Head, LRHead, MLPHead, XGBHead, build_head
from .experiment import CLASS, load_experiment, make_split
from .files import sha256_file, write_json
from .fitting import Battery, score_table
from .heads import make_head
from .measures import metrics
from .scores import versions
from .tasks import Task, parse_task

if TYPE_CHECKING:
    from .model import ScAraFM
    from .splits import Split
    from .workspace import Workspace

REPRESENTATIONS = ("raw", "CLS", "WM", "PCA_1", "PCA_2", "PCA_3")
HEADS = ("LR", "XGB", "MLP")
FORMAT = 1


@dataclass
class StoredHead:
    """A fitted head with all that cells need to reach it.

    `genes` are those it reads, within `vocabulary`, the encoder's where there is one; `classes` are in
    the order of its probabilities; `cells_real` tells whether its training cells were; `facts` is what
    ``head.json`` says of task, cells and test.
    """

    name: str
    representation: str
    head: Head
    classes: list[str]
    genes: list[str]
    vocabulary: list[str]
    cells_real: bool
    facts: dict
    pca: EmbeddingPCA | None = None
    encoder: ScAraFM | None = None


def train_head(
    workspace: Workspace,
    task: str | Task,
    out: str | Path,
    *,
    representation: str = "raw",
    head: str = "LR",
    label: str = "stress",
    n_train: int | str = "all",
    seed: int = 0,
    held_out: Sequence[str] = (),
    force: bool = False,
) -> StoredHead:
    """Train a head on the training cells of a task, as its evaluation does, and store it in `out`.

    The test cells of the task are kept out; AUROC on them goes into ``head.json``.

    Raises
    ------
    InputError
        What the task does not allow: unknown names, more `n_train` than cells, an encoder that must
        not meet these cells, a representation or head that cannot be stored; an `out` that exists.
    """
    for kind, name, known in (("representation", representation, REPRESENTATIONS), ("head", head, HEADS)):
        if name not in known:
            raise InputError(f"{kind}: '{name}' cannot be stored as a head, {suggest(name, known)}.")
    out, task = Path(out), task if isinstance(task, Task) else parse_task(task)
    if out.exists() and not force:
        raise InputError(f"{out}: exists; give another --out, or --force to replace it.")
    experiment = load_experiment(workspace, _tissue(workspace, task), task, label=label)
    battery = Battery(workspace, experiment, tuning=workspace.profile.evaluation.tuning, vote="majority")
    units = tuple(held_out) or (experiment.held_out[0] if task.protocol == "replicate" else ())
    asked = Configuration(representation, head, n_train, seed, units, protocol=task.protocol)
    split = make_split(experiment, seed=seed, held_out=units, max_test=battery.settings.max_test)
    for reason in battery.obstacles(asked, split).values():
        raise InputError(f"{task.name}: {reason}.")
    battery.expect([(asked, split)])
    stored = _fit(battery, asked, split)
    _replace(out, stored, battery)
    return stored


def load_head(folder: str | Path) -> StoredHead:
    """Read a stored head; nothing in it is run.

    Raises
    ------
    InputError
        Where the folder is no stored head, or a file is absent, changed or damaged.
    """
    folder = Path(folder)
    try:
        text = (folder / "head.json").read_text(encoding="utf-8")
    except OSError:
        raise InputError(f"{folder}: no stored head (head.json is missing); make one with train-head.") from None
    try:
        facts = json.loads(text)
        if facts["format"] != FORMAT:
            raise ValueError(f"format {facts['format']}, this version reads {FORMAT}")
        for name, digest in facts["files"].items():
            if Path(name).is_absolute() or ".." in Path(name).parts or sha256_file(folder / name) != digest:
                raise ValueError(f"{name} is not the file that was stored")
        return _assemble(folder, facts)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{folder.name}: the stored head is damaged ({reason}). Train it again.") from error


def _tissue(workspace: Workspace, task: Task) -> str:
    if task.train_dataset not in workspace.manifest:
        known = [d.id for d in workspace.manifest.values() if d.role == "downstream"]
        raise InputError(f"'{task.train_dataset}' is no data set, {suggest(task.train_dataset, known)}.")
    return workspace.manifest[task.train_dataset].tissue


def _fit(battery: Battery, asked: Configuration, split: Split) -> StoredHead:
    """Train and test, through the same features and settings as the evaluation."""
    experiment, train = battery.experiment, battery.train_names(asked, split)
    features = battery.features if asked.needs_encoder else battery.plain_features
    head = make_head(
        asked.head, seed=asked.seed, tuning=battery.tuning, classes=list(experiment.classes),
        groups=battery._groups(train) if battery.tuning == "group_cv" else None,
        n_jobs=battery.workspace.profile.threads, **battery.head_settings(asked),
    )  # fmt: skip
    y = experiment.cells.obs.loc[train, CLASS].to_numpy(dtype=str)
    head.fit(features.matrix(asked.representation, fit=train, names=train), y)
    probabilities = head.predict_proba(features.matrix(asked.representation, fit=train, names=split.test))
    auroc = float(metrics(score_table(experiment, split.test, probabilities))["auroc"].iloc[0])
    pca = features.pca(fit=train) if asked.representation.startswith("PCA_") else None
    genes = list(map(str, features.genes))
    return StoredHead(
        name=asked.head, representation=asked.representation, head=getattr(head, "best_estimator_", head),
        classes=list(experiment.classes), genes=genes,
        vocabulary=list(map(str, experiment.cells.var_names)) if asked.needs_encoder else genes,
        cells_real=not battery.workspace.simulated,
        facts=_facts(battery, asked, len(train), len(split.test), auroc), pca=pca,
        encoder=battery.models[""] if asked.needs_encoder else None,
    )  # fmt: skip


def _facts(battery: Battery, asked: Configuration, n_train: int, n_test: int, auroc: float) -> dict:
    experiment = battery.experiment
    return {
        "task": experiment.task.name, "tissue": experiment.tissue, "label": experiment.label,
        "profile": battery.workspace.profile.name, "trained_on": experiment.task.train_dataset,
        "tested_on": experiment.task.test_dataset, "held_out": list(asked.held_out), "seed": asked.seed,
        "n_train": n_train, "n_test": n_test, "auroc": auroc, "tuning": battery.tuning,
        "inputs": experiment.checksums, "checkpoint": battery.encoder[0] if asked.needs_encoder else None,
        "versions": versions(),
    }  # fmt: skip


def _replace(out: Path, stored: StoredHead, battery: Battery) -> None:
    """Write the folder beside its place and move it there whole."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".tmp-", dir=out.parent) as temporary:
        made = Path(temporary) / "head"
        _write(made, stored, battery)
        if out.exists():
            out.rename(Path(temporary) / "old")
        made.rename(out)


def _write(folder: Path, stored: StoredHead, battery: Battery) -> None:
    folder.mkdir()
    arrays = _arrays(stored)
    if stored.name == "XGB":
        stored.head.booster_.save_model(folder / "head.ubj")
    if arrays:
        save_file(arrays, folder / "head.safetensors")
        (folder / "head.safetensors").chmod(0o644)  # safetensors writes for its owner alone
    if stored.encoder is not None:
        (folder / "encoder").mkdir()
        for name in ("model.safetensors", "model.json"):
            source = battery.workspace.checkpoint_dir(battery.experiment.tissue) / name
            shutil.copyfile(source, folder / "encoder" / name)
    settings = {k: v for k, v in stored.head.get_params().items() if k != "classes"}
    files = {p.relative_to(folder).as_posix(): sha256_file(p) for p in sorted(folder.rglob("*")) if p.is_file()}
    write_json(folder / "head.json", {
        "format": FORMAT, "head": stored.name, "representation": stored.representation, "settings": settings,
        "classes": stored.classes, "genes": stored.genes, "vocabulary": stored.vocabulary,
        "cells_real": stored.cells_real, "n_features": int(stored.head.n_features_in_), "files": files,
        "facts": stored.facts,
    })  # fmt: skip


def _arrays(stored: StoredHead) -> dict[str, np.ndarray]:
    """The numbers of LR, MLP and the principal components."""
    head, arrays = stored.head, {}
    if isinstance(head, LRHead):
        arrays = {"coef": np.asarray(head.coef_), "intercept": np.asarray(head.intercept_)}
    if isinstance(head, MLPHead):
        arrays = {f"layer.{i}": p.cpu().numpy() for i, p in enumerate(head.parameters_)}
    if stored.pca is not None:
        arrays |= {"pca.components": stored.pca.components_.cpu().numpy(), "pca.mean": stored.pca.mean_.cpu().numpy()}
    return {name: np.ascontiguousarray(values) for name, values in arrays.items()}


def _assemble(folder: Path, facts: dict) -> StoredHead:
    if facts["head"] not in HEADS or facts["representation"] not in REPRESENTATIONS:
        raise ValueError(f"{facts['head']} on {facts['representation']}")
    arrays = load_file(folder / "head.safetensors") if "head.safetensors" in facts["files"] else {}
    head = build_head(facts["head"], classes=facts["classes"], **facts["settings"])
    head.classes_, head.n_features_in_ = np.asarray(facts["classes"]), facts["n_features"]
    if isinstance(head, LRHead):
        head.coef_, head.intercept_ = arrays["coef"], arrays["intercept"]
    elif isinstance(head, MLPHead):
        layers = sum(name.startswith("layer.") for name in arrays)
        head.parameters_ = [torch.from_numpy(arrays[f"layer.{i}"]) for i in range(layers)]
    elif isinstance(head, XGBHead):
        head.booster_ = _booster(folder / "head.ubj")
    encoder = load_checkpoint(folder / "encoder") if "encoder/model.json" in facts["files"] else None
    if encoder is not None and list(encoder.genes) != facts["vocabulary"]:
        raise ValueError("its encoder has another vocabulary")
    return StoredHead(
        name=facts["head"], representation=facts["representation"], head=head, classes=facts["classes"],
        genes=facts["genes"], vocabulary=facts["vocabulary"], cells_real=facts["cells_real"],
        facts=facts["facts"], pca=_pca(arrays), encoder=encoder,
    )  # fmt: skip


def _booster(path: Path):
    import xgboost

    try:
        return xgboost.Booster(model_file=path)
    except xgboost.core.XGBoostError as error:
        raise ValueError(f"{path.name} is no model of XGBoost") from error


def _pca(arrays: dict[str, np.ndarray]) -> EmbeddingPCA | None:
    if "pca.components" not in arrays:
        return None
    pca = EmbeddingPCA(len(arrays["pca.components"]))
    pca.components_ = torch.from_numpy(arrays["pca.components"])
    pca.mean_ = torch.from_numpy(arrays["pca.mean"])
    return pca
