"""Fit one configuration of a task, or read the scores it left behind.

A configuration is one representation, head, training size, seed, held-out unit and fidelity.
Its scores lie in a file whose name is a hash of all that, of the cells, of the encoder and of
the code; nothing is ever fitted twice and nothing stale is ever read.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict, replace
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from .checkpoints import load_checkpoint, usable_checkpoint
from .configurations import Configuration
from .costs import measured
from .errors import InputError
from .experiment import CLASS, Experiment
from .features import TaskFeatures
from .heads import SMALL_DATA, CNNHead, DimensionEnsemble, encode_labels, make_head, sweep_ensembles
from .representations import control_models
from .scores import code_behind, score_key, stored, versions, write_scores
from .splits import Split, cap

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from .workspace import Workspace

#: Settings of the profile that a head reads, and what the head calls them.
SETTINGS = {
    "LR": {},
    "XGB": {"xgb_trees": "trees"},
    "MLP": {"mlp_epochs": "epochs", "mlp_hidden": "hidden"},
    "CNN": {"cnn_epochs": "epochs"},
}
#: Heads that torch fits on a GPU; CNN goes where its encoder is.
ON_DEVICE = ("LR", "MLP")
#: Below so many epochs the paper's schedule for the CNN hardly leaves its warm-up.
SHORT_CNN = 15


class Battery:
    """All configurations of one experiment; the encoder and features are made when first needed.

    Parameters
    ----------
    workspace
        Where processed cells, the checkpoint and scores lie.
    experiment
        The cells of the task.
    tuning, vote
        As in the profile.
    """

    def __init__(self, workspace: Workspace, experiment: Experiment, *, tuning: str, vote: str):
        self.workspace, self.experiment = workspace, experiment
        self.tuning, self.vote = tuning, vote
        self.settings = workspace.profile.evaluation
        self._embedded = experiment.cells.obs_names
        self._expected: list[tuple[Configuration, Split]] = []

    def expect(self, pairs: list[tuple[Configuration, Split]]) -> None:
        """Say which configurations will be asked for, so that one pass of the encoder serves all.

        Only their cells are embedded: of a target of 50,000 cells the 2,000 that are tested.
        """
        self._expected = [(c, split) for c, split in pairs if c.needs_encoder]
        names = {n for c, split in self._expected for n in (*self.train_names(c, split), *split.test)}
        self._embedded = self.experiment.cells.obs_names[self.experiment.cells.obs_names.isin(names)]

    def train_names(self, configuration: Configuration, split: Split) -> pd.Index:
        """Training cells of a split, capped at the configuration's `n_train` (A.2, step iv)."""
        n = configuration.n_train
        if n == "all" or int(n) > len(split.train):
            return split.train
        obs = self.experiment.cells.obs.loc[split.train]
        return cap(obs, int(n), label_key=CLASS, seed=configuration.seed)

    @cached_property
    def encoder(self) -> tuple[str | None, str]:
        """Checksum of the weights, or None and the reason why no encoder may be used here."""
        folder = self.workspace.checkpoint_dir(self.experiment.tissue)
        genes = self.experiment.cells.var_names
        return usable_checkpoint(folder, genes, simulated=self.workspace.simulated)

    @cached_property
    def models(self) -> dict:
        """The encoder and its two controls, on the GPU where there is one."""
        folder = self.workspace.checkpoint_dir(self.experiment.tissue)
        model = load_checkpoint(folder, device=compute_device())
        return {"": model} | control_models(model, seed=self.workspace.profile.seed)

    @cached_property
    def plain_features(self) -> TaskFeatures:
        """Features without an encoder, as wide and as coarse as the profile's encoder."""
        model = self.workspace.profile.model
        return TaskFeatures(self.experiment.cells, models={}, dim=model.dim, n_bins=model.n_bins)

    @cached_property
    def features(self) -> TaskFeatures:
        cells = self.experiment.cells[self._embedded]
        genes = self.plain_features.genes  # of the whole task, whichever cells are embedded
        features = TaskFeatures(cells, models=self.models, memory_gb=self.settings.memory_gb, genes=genes)
        for prefix in self.models:
            kinds = [f"{prefix}:PCA_{k}".removeprefix(":") for k in (1, 2, 3)]
            pairs = [(c, split) for c, split in self._expected if c.representation in kinds]
            fits = [self.train_names(c, split) for c, split in pairs]
            used = [fit.union(split.test, sort=False) for fit, (_, split) in zip(fits, pairs, strict=True)]
            if fits:
                features.prepare(fits, used=used, prefix=prefix)
        return features

    def head_settings(self, configuration: Configuration) -> dict:
        """Arguments of the head from the profile; a short CNN gets a schedule that moves."""
        names = SETTINGS.get(configuration.head, {})
        chosen = {argument: getattr(self.settings.settings, name) for name, argument in names.items()}
        if configuration.head == "CNN" and chosen["epochs"] < SHORT_CNN:
            chosen |= SMALL_DATA
        if configuration.representation.endswith("ENS"):
            chosen |= {"ens_members": self.settings.settings.ens_members, "vote": self.vote}
        return chosen

    def params(self, configuration: Configuration) -> dict:
        """Everything that a score file depends on."""
        return {
            "tissue": self.experiment.tissue,
            "task": self.experiment.task.name,
            "label": self.experiment.label,
            **asdict(configuration),
            "tuning": self.tuning,
            "settings": self.head_settings(configuration),
            "max_test": self.settings.max_test,
            "threads": self.workspace.profile.threads,
            "device": compute_device(),
            "inputs": self.experiment.checksums,
            "checkpoint": self.encoder[0] if configuration.needs_encoder else None,
            "features": self.feature_settings(configuration),
            "code": code_of_fitting(),
        }

    def feature_settings(self, configuration: Configuration) -> dict:
        """What features depend on beside the cells and the checkpoint."""
        profile, name = self.workspace.profile, configuration.representation
        if ":" in name:  # an encoder drawn from the profile's seed
            return {"encoder_seed": profile.seed}
        known = {"hvg_pca": {"dim": profile.model.dim}, "binned": {"n_bins": profile.model.n_bins}}
        return known.get(name, {})

    def obstacles(self, configuration: Configuration, split: Split) -> dict[str, str]:
        """What of a configuration is out of the question before anything is fitted, and why."""
        found = {}
        if configuration.needs_encoder and self.encoder[0] is None:
            found["representation"] = self.encoder[1]
        n, classes = configuration.n_train, len(self.experiment.classes)
        if n != "all" and int(n) > len(split.train):
            found["n_train"] = f"n_train {n} is above the {len(split.train)} training cells"
        elif n != "all" and int(n) < classes:
            found["n_train"] = f"n_train {n} is below the {classes} classes"
        return found

    def scores(self, configuration: Configuration, split: Split) -> tuple[pd.DataFrame, dict]:
        """Scores and metadata of a configuration, fitted unless its file is at hand and whole."""
        params, path = self._named(configuration)
        state = path.with_suffix(".state.safetensors")  # where a long fit goes on after a kill
        found = stored(path, lambda: self._fit(configuration, split, params, state))
        state.unlink(missing_ok=True)
        return found

    def _named(self, configuration: Configuration) -> tuple[dict, Path]:
        """The parameters of a score file, its key among them, and its path."""
        params = self.params(configuration)
        key = score_key(params)
        return params | {"key": key}, self.workspace.scores_dir(self.experiment.tissue) / f"{key}.parquet"

    def _fit(
        self, configuration: Configuration, split: Split, params: dict, state: Path | None = None
    ) -> tuple[pd.DataFrame, dict]:
        if configuration.representation.endswith("ENS"):
            return self._sweep(configuration, split)
        train = self.train_names(configuration, split)
        with measured() as cost:
            probabilities, found = self._predict(configuration, train, split.test, state)
        return self._record(split.test, probabilities, {"params": params, "n_train_cells": len(train), **found, **cost})

    def _record(self, test: pd.Index, probabilities: np.ndarray, facts: dict) -> tuple[pd.DataFrame, dict]:
        """A table of scores and its metadata."""
        return score_table(self.experiment, test, probabilities), {"versions": versions(), **facts}

    # -- ensembles ---------------------------------------------------------------------------

    def _sweep(self, configuration: Configuration, split: Split) -> tuple[pd.DataFrame, dict]:
        """Fit an ensemble and all others that wait, reading each dimension once; store the others.

        `fit_seconds` of each is what its own members took and an equal share of reading the
        dimensions; `peak_memory_mb` is that of the sweep.
        """
        jobs = {configuration: self._job(configuration, split)} | self._jobs_waiting(configuration)
        wanted = {name for _, train, _, test in jobs.values() for name in (*train, *test)}
        names = self.features.cells.obs_names
        names = names[names.isin(wanted)]
        rows = [(e, names.get_indexer(train), y, names.get_indexer(test)) for e, train, y, test in jobs.values()]
        prefix = configuration.representation.rpartition(":")[0]
        with measured() as cost:
            found = sweep_ensembles(self.features.dimensions(names, prefix=prefix), rows)
        shared = (cost["fit_seconds"] - sum(seconds for _, seconds in found)) / len(jobs)
        records = []
        for (c, (*_, test)), (probabilities, seconds) in zip(jobs.items(), found, strict=True):
            facts = {"params": self._named(c)[0], **cost, "fit_seconds": round(shared + seconds, 4)}
            records.append(self._record(test, probabilities, facts | {"n_train_cells": len(jobs[c][1])}))
        for c, record in list(zip(jobs, records, strict=True))[1:]:
            write_scores(self._named(c)[1], *record)
        return records[0]

    def _job(self, configuration: Configuration, split: Split) -> tuple:
        """An ensemble to fit, its training cells, their labels, and its test cells."""
        train = self.train_names(configuration, split)
        y = self._labels(train)
        encode_labels(y, self.experiment.classes)  # refuses classes without cells
        settings = self._head_arguments(configuration) | self._tuned_on_raw(configuration, split)
        threads = self.workspace.profile.threads
        return DimensionEnsemble(configuration.head, n_jobs=threads, **settings), train, y, split.test

    def _jobs_waiting(self, configuration: Configuration) -> dict[Configuration, tuple]:
        """Other ensembles of the same encoder that will be asked for and have no scores yet."""
        waiting = {}
        for c, split in self._expected:
            same = c.representation == configuration.representation and c != configuration
            if same and not self.obstacles(c, split) and not self._named(c)[1].exists():
                with suppress(InputError):  # said when this one is asked for
                    waiting[c] = self._job(c, split)
        return waiting

    def _tuned_on_raw(self, configuration: Configuration, split: Split) -> dict:
        """For ENS with tuning: the settings that the raw values chose, as in the released code."""
        if self.tuning == "none" or not configuration.representation.endswith("ENS"):
            return {}
        _, facts = self.scores(replace(configuration, representation="raw"), split)
        return facts["best_settings"]

    # -- everything else ---------------------------------------------------------------------

    def _labels(self, names: pd.Index) -> np.ndarray:
        return self.experiment.cells.obs.loc[names, CLASS].to_numpy(dtype=str)

    def _head_arguments(self, configuration: Configuration) -> dict:
        """Everything that the head of a configuration is made with, beside threads and tuning."""
        device = {} if compute_device() == "cpu" or configuration.head not in ON_DEVICE else {"device": "cuda"}
        same = {"seed": configuration.head_seed, "classes": list(self.experiment.classes)}
        return same | device | self.head_settings(configuration)

    def _predict(
        self, configuration: Configuration, train: pd.Index, test: pd.Index, state: Path | None
    ) -> tuple[np.ndarray, dict]:
        """Fit on `train`, return probabilities (n_test, n_classes) in label order, and facts."""
        name, y, same = configuration.representation, self._labels(train), self._head_arguments(configuration)
        if name.endswith("CNN"):
            memory, shown = self.settings.memory_gb, self.plain_features.encoder_cells
            genes, model = self.plain_features.genes, self.models[name.rpartition(":")[0]]
            head = CNNHead(model, memory_gb=memory, genes=genes, state=state, **same)
            head.fit(shown[train], y)
            return head.predict_proba(shown[test]), {"history": head.history_}
        features = self.features if configuration.needs_encoder else self.plain_features
        groups = self._groups(train) if self.tuning == "group_cv" else None
        threads = self.workspace.profile.threads
        head = make_head(configuration.head, tuning=self.tuning, groups=groups, n_jobs=threads, **same)
        head.fit(features.matrix(name, fit=train, names=train), y)
        found = {"best_settings": head.best_params_} if self.tuning != "none" else {}
        return head.predict_proba(features.matrix(name, fit=train, names=test)), found

    def _groups(self, names: pd.Index) -> np.ndarray:
        """What cross-validation keeps together: replicates where known, else libraries."""
        obs = self.experiment.cells.obs.loc[names]
        known = "replicate" in obs and obs["replicate"].notna().all()
        return obs["replicate" if known else "sample"].to_numpy(dtype=str)


def compute_device() -> str:
    """Where encoders, LR and MLP run: "cuda" where there is a GPU, else "cpu"."""
    from .model import default_device

    return default_device().type


@cache
def code_of_fitting() -> str:
    """Digest of this module and of all that it imports, taken once per process."""
    return code_behind("fitting")


def score_table(experiment: Experiment, names: pd.Index, probabilities: np.ndarray) -> pd.DataFrame:
    """One row per test cell: who it is and its score for each class."""
    import pandas as pd

    obs = experiment.cells.obs.loc[names]
    table = pd.DataFrame({"obs_name": names.astype(str), "y_true": obs[CLASS].to_numpy(dtype=object)})
    known = {"sample": "library", "replicate": "replicate", "cell_type": "cell_type"}
    for column, source in known.items():
        table[column] = obs[source].astype(object).to_numpy() if source in obs else None
    table["n_counts"] = obs["total_counts"].to_numpy(dtype=float) if "total_counts" in obs else float("nan")
    for i, name in enumerate(experiment.classes):
        table[f"score:{name}"] = probabilities[:, i].astype(float)
    return table
