"""A small workspace with processed cells made by hand, for tests of what comes after them.

Two data sets share genes and a stress.  The first half of the genes answers to stress; every
library shifts every gene a little, so that library and condition are confounded as in real data.
"""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import scipy.sparse as sp

from scarafm_utils.manifest import load_manifest
from scarafm_utils.profiles import Profile, load_profile
from scarafm_utils.workspace import PROJECT, Workspace

DROUGHT, OTHER = "GSE273033", "ERP132245"
GENES = [f"AT1G{10 * i:05d}" for i in range(1, 31)]
TASKS = [f"random:{DROUGHT}", f"replicate:{DROUGHT}", f"cross:{DROUGHT}:{OTHER}"]


def make_profile(**evaluation) -> Profile:
    """The demo profile, cut down to three tasks on two leaf data sets."""
    values = load_profile(PROJECT / "profiles" / "demo.yaml").model_dump()
    values["tissues"] = {"leaf": {"tasks": TASKS, "labels": ["stress"], "pretraining": ["DRP009643"]}}
    values["evaluation"] |= {
        "representations": ["raw"], "controls": ["depth"], "heads": ["LR"], "n_train": [20, "all"],
        "n_boot": 50,
        "extra": {"seeds": [1], "hold_out_all": True, "null_contrasts": True, "fidelity": ["released"]},
    }  # fmt: skip
    values["evaluation"] |= evaluation
    return Profile.model_validate(values)


def make_cells(dataset: str, *, replicates: int, per_library: int, seed: int) -> ad.AnnData:
    """Log-normalised cells of `replicates` libraries of each condition, as preprocessing writes them."""
    rng = np.random.default_rng(seed)
    rows, blocks = [], []
    for replicate in range(1, replicates + 1):
        for condition, word in (("control", "Normal"), ("stress", "Mild drought")):
            shift = rng.normal(scale=0.3, size=len(GENES))
            answer = np.where(np.arange(len(GENES)) < len(GENES) // 2, 0.5 * (condition == "stress"), 0)
            blocks.append(np.clip(rng.normal(1 + shift + answer, 0.8, (per_library, len(GENES))), 0, None))
            sample = f"{condition[0]}{replicate}"
            rows += [(word, condition, f"rep{replicate}", sample)] * per_library
    obs = pd.DataFrame(rows, columns=["condition", "label_stress", "replicate", "sample"])
    obs.index = [f"{dataset}:{sample}:{i}" for i, sample in enumerate(obs["sample"])]
    obs["label_stress"] = pd.Categorical(obs["label_stress"], categories=["control", "stress"])
    obs["label"] = obs["label_stress"]
    obs["genotype"] = "Col-0"
    obs["cell_type"] = rng.choice(["mesophyll", "guard"], len(obs))
    obs["total_counts"] = rng.integers(500, 2000, len(obs)).astype(float)
    X = sp.csr_matrix(np.concatenate(blocks).astype(np.float32))
    obs["n_genes"] = X.getnnz(axis=1)
    samples = list(pd.unique(obs["sample"]))
    measured = np.ones((len(GENES), len(samples)), dtype=bool)
    return ad.AnnData(
        X=X, obs=obs, var=pd.DataFrame(index=GENES), varm={"measured": measured}, uns={"samples": samples}
    )


def make_workspace(folder: Path, **evaluation) -> Workspace:
    """Profile, manifest and processed cells of both data sets under `folder`."""
    workspace = Workspace(make_profile(**evaluation), load_manifest(PROJECT / "data_manifest.yaml"), folder)
    for name, replicates, seed in ((DROUGHT, 2, 0), (OTHER, 1, 1)):
        path = workspace.processed_path("leaf", name)
        path.parent.mkdir(parents=True, exist_ok=True)
        make_cells(name, replicates=replicates, per_library=40, seed=seed).write_h5ad(path)
    return workspace
