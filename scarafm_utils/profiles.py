"""Profiles: everything that a run of the book depends on, in one validated YAML file.

Each key is explained where it stands in ``profiles/*.yaml``.  A mistake in a profile is an
:class:`~scarafm_utils.errors.InputError` of one line that names the file, the key, the
value and what is allowed.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator

from .config import Count, Natural, SafeName, Share, Strict, Unique, read_yaml, validate
from .errors import InputError, suggest
from .manifest import TISSUES, Dataset, Tissue, held_out_unit
from .names import FEATURES, HEADS, REPRESENTATIONS
from .tasks import PROTOCOLS, Task, parse_task

__all__ = ["PROTOCOLS", "TISSUES", "Profile", "Task", "load_profile", "parse_task"]

N_TRAIN: tuple[int | Literal["all"], ...] = (1000, 5000, 10000, 20000, "all")


def _one_of(allowed: tuple[str, ...]) -> Callable[[str], str]:
    def check(name: str) -> str:
        if name not in allowed:
            raise ValueError(f"not known, {suggest(name, allowed)}")
        return name

    return check


def _task_text(text: Any) -> Any:
    parse_task(text)
    return text


def _count_or_all(value: Any) -> Any:
    if value == "all" or (isinstance(value, int) and not isinstance(value, bool) and value > 0):
        return value
    raise ValueError("use a whole number above 0, or all")


def _list_or_all(value: Any) -> Any:
    if value == "all" or isinstance(value, list):
        return value
    raise ValueError("use a list of data sets, or all")


TaskText = Annotated[str, AfterValidator(_task_text)]
TrainSize = Annotated[int | Literal["all"], BeforeValidator(_count_or_all)]
FeatureName = Annotated[str, AfterValidator(_one_of(FEATURES))]
HeadName = Annotated[str, AfterValidator(_one_of(tuple(HEADS)))]


class Cells(Strict):
    """A number of cells for each role."""

    downstream: Count
    pretraining: Count


class CellCap(Strict):
    """Cells kept per data set when reading, for each role; None keeps all."""

    downstream: Count | None = None
    pretraining: Count | None = None

    def of(self, role: str) -> int | None:
        """The cap for data sets of `role`."""
        return getattr(self, role)


class Data(Strict):
    """How much is simulated, and how much of real files is used."""

    simulated_genes: Count = 400
    simulated_cells: Cells = Cells(downstream=500, pretraining=80)
    max_cells: CellCap = CellCap()


class Preprocessing(Strict):
    """Appendix A.1.1 of the paper."""

    target_sum: Annotated[float, Field(gt=0)] = 1e4
    n_top_genes: Count = 2000
    n_vocabulary: Count | None = 4000
    feature_set: Literal["intersection", "union"] = "intersection"


class Model(Strict):
    """The encoder; the defaults are those of the released code."""

    dim: Count = 200
    depth: Count = 3
    heads: Count = 10
    dim_head: Count = 64
    nb_features: Count | None = None
    n_bins: Annotated[int, Field(ge=2, le=250)] = 6
    key_max: Literal["head", "batch"] = "head"
    attention: Literal["performer", "softmax"] = "performer"
    gene_emb: Literal["frozen", "learned"] = "frozen"
    gene_init: Literal["gene2vec", "random"] = "gene2vec"


class Pretraining(Strict):
    """Masked-bin training; the defaults are the paper's and the released code's."""

    epochs: Count = 50
    batch_size: Count = 20
    micro_batch: Count | None = None
    learning_rate: Annotated[float, Field(gt=0)] = 1e-4
    p_mask: Share = 0.2
    keep_probability: Annotated[float, Field(ge=0, lt=1)] = 0.1
    patience: Count = 5
    min_delta: Annotated[float, Field(ge=0)] = 1e-3
    val_fraction: Share = 0.05
    bf16: bool = False
    compile: bool = False


class TissueGrid(Strict):
    """What is trained and evaluated in one tissue."""

    tasks: Annotated[list[TaskText], Field(min_length=1), Unique]
    labels: Annotated[list[str], Field(min_length=1), Unique] = Field(default=["stress"])
    pretraining: Annotated[Literal["all"] | list[str], BeforeValidator(_list_or_all)] = "all"

    @property
    def parsed_tasks(self) -> list[Task]:
        return [parse_task(text) for text in self.tasks]


class HeadSettings(Strict):
    """Sizes of the heads that are not the paper's to choose."""

    xgb_trees: Count = 100
    mlp_epochs: Count = 20
    mlp_hidden: Count = 128
    cnn_epochs: Count = 100
    ens_members: Count | None = None


class Extra(Strict):
    """More rigour, mostly on raw values with LR, where it costs next to nothing."""

    seeds: Annotated[list[Natural], Unique] = Field(default=[])
    n_train: Annotated[list[TrainSize], Unique] = Field(default=["all"])
    hold_out_all: bool = False
    null_contrasts: bool = False
    representations: Annotated[list[FeatureName], Unique] = Field(default=[])
    repeats: Natural = 0
    fidelity: Annotated[list[Literal["paper", "released", "balanced_test"]], Unique] = Field(default=[])


class Evaluation(Strict):
    """The grid of one task: representations × heads × training sizes × seeds."""

    representations: Annotated[list[FeatureName], Field(min_length=1), Unique] = Field(
        default=list(REPRESENTATIONS)
    )
    controls: Annotated[list[FeatureName], Unique] = Field(default=[])
    heads: Annotated[list[HeadName], Field(min_length=1), Unique] = Field(default=list(HEADS))
    n_train: Annotated[list[TrainSize], Field(min_length=1), Unique] = Field(default=list(N_TRAIN))
    seeds: Annotated[list[Natural], Field(min_length=1), Unique] = Field(default=[0])
    tuning: Literal["none", "cv", "group_cv"] = "none"
    vote: Literal["majority", "mean"] = "majority"
    fidelity: Literal["paper", "released"] = "paper"
    n_boot: Count = 1000
    max_test: Count = 2000
    memory_gb: Annotated[float, Field(gt=0)] = 4.0
    settings: HeadSettings = HeadSettings()
    extra: Extra = Extra()

    @property
    def features(self) -> list[str]:
        """Representations, then controls, each once."""
        return list(dict.fromkeys(self.representations + self.controls))


class ReleaseFiles(Strict):
    """Where the authors' release keeps weights and gene lists (patterns inside the repository)."""

    repo: str
    revision: str = "unknown"
    weights: dict[Tissue, str]
    vocabulary: dict[Tissue, str]


class Profile(Strict):
    """A validated profile; see ``profiles/demo.yaml`` for what each key means."""

    name: SafeName
    description: str
    source: Literal["simulated", "local", "public", "release"]
    manifest: str = "data_manifest.yaml"
    seed: Natural = 0
    threads: Count = 1
    cost: str
    notice: str = ""
    data: Data = Data()
    preprocessing: Preprocessing = Preprocessing()
    model: Model = Model()
    pretraining: Pretraining = Pretraining()
    tissues: Annotated[dict[Tissue, TissueGrid], Field(min_length=1)]
    evaluation: Evaluation = Evaluation()
    workshop: bool = True
    release: ReleaseFiles | None = None

    @field_validator("manifest")
    @classmethod
    def _relative(cls, manifest: str) -> str:
        if Path(manifest).is_absolute() or ".." in Path(manifest).parts:
            raise ValueError("a path is relative to the project folder and stays inside it")
        return manifest

    @model_validator(mode="after")
    def _release_is_told(self) -> Profile:
        if self.source == "release" and self.release is None:
            raise ValueError("source 'release' needs the key 'release' (repository, weights, vocabulary)")
        return self

    def grid(self, tissue: str) -> TissueGrid:
        """What this profile does in `tissue`; refused where it leaves that tissue out."""
        for name, grid in self.tissues.items():
            if name == tissue:
                return grid
        hint = suggest(tissue, self.tissues)
        raise InputError(f"profile '{self.name}': tissue '{tissue}' is not part of it, {hint}.")

    def pretraining_ids(self, manifest: dict[str, Dataset], tissue: str) -> list[str]:
        """Pretraining data sets of `tissue`, in the manifest's order."""
        wanted = self.grid(tissue).pretraining
        own = [d.id for d in manifest.values() if d.tissue == tissue and d.role == "pretraining"]
        return own if wanted == "all" else [i for i in own if i in wanted]

    def dataset_ids(self, manifest: dict[str, Dataset], tissue: str) -> set[str]:
        """Ids of the data sets that this profile reads for `tissue`; empty if it has none."""
        if tissue not in self.tissues:
            return set()
        tasks = self.grid(tissue).parsed_tasks
        return {*self.pretraining_ids(manifest, tissue), *(i for task in tasks for i in task.datasets)}

    def check(self, manifest: dict[str, Dataset]) -> None:
        """Refuse what `manifest` does not allow: data sets, tissues, roles, labels, splits.

        Raises
        ------
        InputError
            One line with the profile, the key, the value and what is allowed.
        """
        for tissue, grid in self.tissues.items():
            where = f"profile '{self.name}': tissues.{tissue}"
            if grid.pretraining != "all":
                for name in grid.pretraining:
                    self._check_dataset(manifest, name, tissue, "pretraining", f"{where}.pretraining")
            for text, task in zip(grid.tasks, grid.parsed_tasks, strict=True):
                for name in task.datasets:
                    self._check_dataset(manifest, name, tissue, "downstream", f"{where}.tasks: '{text}'")
                for label in grid.labels:
                    _check_label(manifest, task, label, f"{where}.tasks: '{text}'")

    def _check_dataset(self, manifest: dict, name: str, tissue: str, role: str, where: str) -> None:
        allowed = [d.id for d in manifest.values() if d.tissue == tissue and d.role == role]
        if name not in manifest:
            hint = suggest(name, allowed)
            raise InputError(f"{where}: data set '{name}' is not in {self.manifest}, {hint}.")
        found = manifest[name]
        if (found.tissue, found.role) != (tissue, role):
            raise InputError(
                f"{where}: '{name}' is a {found.role} data set of {found.tissue}, "
                f"not a {role} one of {tissue}. Allowed: {', '.join(allowed)}."
            )
        if self.source in ("public", "release"):
            found.source_name(self.source)


def _check_label(manifest: dict, task: Task, label: str, where: str) -> None:
    """Refuse a label or split that the data sets of `task` do not allow."""
    for name in task.datasets:
        if label not in manifest[name].labels:
            hint = suggest(label, manifest[name].labels)
            raise InputError(f"{where}: '{name}' has no label '{label}', {hint}.")
    train, test = manifest[task.train_dataset], manifest[task.test_dataset]
    if task.protocol == "replicate" and held_out_unit(train, label) is None:
        raise InputError(
            f"{where}: '{train.id}' has {train.n_replicates or 'no known'} replicate(s) and too few "
            f"libraries to hold one of each class out for label '{label}'. "
            f"Use random:{train.id}, or set obs.replicate and n_replicates in the manifest."
        )
    classes = [list(d.labels[label].classes) for d in (train, test)]
    if classes[0] != classes[1]:
        raise InputError(
            f"{where}: the classes of label '{label}' differ: {train.id} has {', '.join(classes[0])}; "
            f"{test.id} has {', '.join(classes[1])}. A cross task needs the same classes on both sides."
        )


def load_profile(path: str | Path) -> Profile:
    """Read and validate a profile.

    Raises
    ------
    InputError
        One line that names the file, the key, its value and what is allowed.
    """
    path = Path(path)
    return validate(Profile, read_yaml(path), where=f"{path.name}:")
