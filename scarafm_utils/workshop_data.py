"""What the build stores for a class: two studies, what an encoder makes of them, and many seeds.

Everything comes from the profile ``workshop`` and from its seed, whatever profile the book is built
with: the cells are simulated, and the answers of the exercises are those of these cells.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from .checkpoints import load_checkpoint
from .effects import Effects
from .features import TaskFeatures
from .files import atomic_path, write_csv, write_json
from .masked import VALIDATION, PretrainConfig, hide
from .preprocessing import preprocess_dataset, preprocess_tissue
from .pretraining import pretrain_tissue
from .scores import versions
from .simulate_programmes import draw_tissue
from .tokens import TokenStore, mask_id
from .workshop import N_GENES, OBS, SEED, STUDIES, raw_study, seed_scores
from .workspace import Workspace, use_threads

if TYPE_CHECKING:
    import numpy as np

    from .model import ScAraFM

#: The tissue of the class, and the seeds of its histogram.
TISSUE, N_SEEDS = "leaf", 30


def make_class_data(workspace: Workspace, *, n_seeds: int = N_SEEDS) -> Path:
    """Simulate, process, train and embed what the episodes read, and store it in ``data/``.

    Returns
    -------
    The folder: ``<study>.npz`` (see `workshop.Study`), ``training.npz`` and ``history.csv`` (see
    `workshop.TrainingRun`), ``seeds.csv``, and ``facts.json``, which is written last.
    """
    import pandas as pd

    use_threads(workspace.profile.threads)
    folder = workspace.folder / "data"
    preprocess_tissue(workspace, TISSUE)
    write_csv(folder / "history.csv", pretrain_tissue(workspace, TISSUE))
    model = load_checkpoint(workspace.checkpoint_dir(TISSUE))
    for name in STUDIES:
        _save(folder / f"{name}.npz", study_arrays(workspace, name, model))
    _save(folder / "training.npz", masked_guesses(workspace, model))
    write_csv(folder / "seeds.csv", pd.DataFrame([seed_scores(seed) for seed in range(n_seeds)]))
    n_bins = workspace.profile.model.n_bins
    facts = {"n_bins": n_bins, "mask": mask_id(n_bins), "seed": SEED, "simulated": True, "versions": versions()}
    write_json(folder / "facts.json", facts)
    return folder


def study_arrays(workspace: Workspace, name: str, model: ScAraFM) -> dict[str, np.ndarray]:
    """Everything that `workshop.open_study` reads, as arrays without objects.

    PCA_1 is fitted on the study's own cells, without labels.
    """
    import numpy as np

    cells = workspace.read_processed(TISSUE, name)
    everything = list(cells.obs_names)
    features = TaskFeatures(cells, models={"": model})
    kept = {"cells": np.array(everything, dtype=str), "genes": np.array(features.genes, dtype=str)}
    for column in set(OBS) & set(cells.obs):
        numeric = column == "total_counts"
        kept[f"obs:{column}"] = cells.obs[column].to_numpy(dtype=float if numeric else str)
    for kind in ("raw", "PCA_1", "WM", "CLS"):
        matrix = features.matrix(kind, fit=everything, names=everything)
        kept[f"features:{kind}"] = np.asarray(matrix, dtype=np.float32)
    whole = preprocess_dataset(raw_study(name), workspace.manifest[name])[everything]
    kept |= {"whole": whole.X.toarray(), "loci": np.array(whole.var_names, dtype=str)}
    tissue = draw_tissue(workspace.manifest[name], N_GENES, SEED, Effects())
    return kept | {f"truth:{module}": tissue.loci[genes] for module, genes in tissue.modules.items()}


def masked_guesses(workspace: Workspace, model: ScAraFM) -> dict[str, np.ndarray]:
    """Inputs, targets and the encoder's guesses of the validation cells."""
    import numpy as np
    import torch

    settings = workspace.profile.pretraining.model_dump()
    known = {f.name for f in dataclasses.fields(PretrainConfig)}
    config = PretrainConfig(seed=workspace.profile.seed, **{k: v for k, v in settings.items() if k in known})
    store = TokenStore.open(workspace.tokens_dir(TISSUE))
    _, val = store.split(val_fraction=settings["val_fraction"], seed=workspace.profile.seed)
    parts: dict[str, list[np.ndarray]] = {"inputs": [], "targets": [], "guesses": []}
    model.eval()
    for step, tokens in val.batches(batch_size=config.batch_size):
        inputs, targets = hide(tokens, VALIDATION, step, config=config, n_bins=val.n_bins)
        with torch.no_grad():
            guesses = model(inputs)[:, :-1].argmax(-1)
        for name, value in (("inputs", inputs), ("targets", targets), ("guesses", guesses)):
            parts[name].append(value.numpy().astype(np.int16))
    return {name: np.concatenate(blocks) for name, blocks in parts.items()}


def _save(path: Path, arrays: dict[str, np.ndarray]) -> None:
    import numpy as np

    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, **arrays)
