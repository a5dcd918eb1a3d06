"""Bad files, from the command line to the exit status: one line, status 2, nothing half-written."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import yaml

from scarafm_utils.workspace import PROJECT

SCARAFM = Path(sys.executable).with_name("scarafm")


def small_file(path: Path, **columns) -> ad.AnnData:
    """Forty cells of two libraries with the columns of scPlantDB; `columns` replaces some."""
    rng = np.random.default_rng(0)
    genes = [f"AT1G{10000 + 10 * i:05d}" for i in range(60)]
    obs = pd.DataFrame({
        "Genotype": "Col-0", "Orig.ident": ["L1", "L2"] * 20, "nCount_RNA": 10_000.0,
        "Celltype": ["S phase", "G1/G0 phase", "Root hair", "Non-hair", "Lateral root cap", "Columella root cap",
                     "Root hair", "Non-hair"] * 5, **columns,
    }, index=[f"L{i}" for i in range(40)])  # fmt: skip
    adata = ad.AnnData(X=rng.poisson(2.0, (40, 60)).astype(np.float32), obs=obs, var=pd.DataFrame(index=genes))
    adata.write_h5ad(path)
    return adata


@pytest.fixture
def real_profile(tmp_path):
    """The profile real_root under a name of its own, its artifacts removed afterwards."""
    name = f"test-bad-input-{os.getpid()}"
    settings = yaml.safe_load((PROJECT / "profiles" / "real_root.yaml").read_text(encoding="utf-8"))
    settings |= {"name": name}
    settings["tissues"]["root"]["pretraining"] = ["SRP182008"]
    (tmp_path / "profile.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    data = tmp_path / "data"
    data.mkdir()
    small_file(data / "SRP182008.h5ad")
    folder = PROJECT / "artifacts" / name
    folder.mkdir(parents=True)
    (folder / "data").symlink_to(data, target_is_directory=True)
    yield tmp_path / "profile.yaml", data, folder
    shutil.rmtree(folder)


def preprocess(profile: Path) -> subprocess.CompletedProcess:
    return subprocess.run(
        [SCARAFM, "run", "preprocessing", "-p", "tissue=root", "--profile", str(profile)],
        capture_output=True, text=True,
    )  # fmt: skip


def without_column(path: Path) -> None:
    adata = small_file(path)
    del adata.obs["Celltype"]
    adata.write_h5ad(path)


def without_counts(path: Path) -> None:
    adata = small_file(path)
    adata.X = np.log1p(adata.X)
    adata.write_h5ad(path)


def without_a_class(path: Path) -> None:
    small_file(path, Celltype=["G1/G0 phase", "Root hair"] * 20)


FAULTS = {
    "no file": (lambda path: None, "SRP169576.h5ad"),
    "missing obs column": (without_column, "obs has no column 'Celltype'"),
    "no counts": (without_counts, "SRP169576"),
    "empty class": (without_a_class, "no cell of class 's_phase'"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_bad_file_ends_with_one_line_and_leaves_nothing(real_profile, fault):
    profile, data, folder = real_profile
    make, message = FAULTS[fault]
    make(data / "SRP169576.h5ad")
    result = preprocess(profile)
    assert result.returncode == 2, result.stderr
    assert message in result.stderr
    assert result.stderr.count("\n") == 1 and "Traceback" not in result.stderr
    left = [p for p in folder.rglob("*") if p.is_file() and not p.is_relative_to(folder / "data")]
    kept = [p for p in left if ".partial" not in p.parts]
    assert [p.relative_to(folder).parts[0] for p in kept] == ["failed"]  # the note that `scarafm status` shows


def test_the_same_files_without_a_fault_go_through(real_profile):
    profile, data, folder = real_profile
    small_file(data / "SRP169576.h5ad")
    result = preprocess(profile)
    assert result.returncode == 0, result.stderr
    assert (folder / "processed" / "root" / "SRP169576.h5ad").exists()
    assert (folder / "runs" / "preprocessing" / "root.ipynb").exists()


@pytest.mark.slow
def test_what_a_task_does_not_allow_ends_with_one_line(real_profile):
    """More training cells than there are, an encoder of other genes, memory for nothing."""
    profile, data, folder = real_profile
    small_file(data / "SRP169576.h5ad")
    assert preprocess(profile).returncode == 0
    write_encoder(folder / "checkpoints" / "root", folder / "vocabulary" / "root.csv")
    asked = ["-p", "task=random:SRP169576", "-p", "label=s_phase", "-p", "heads=LR"]
    for more, message in (
        (["-p", "representations=raw", "-p", "n_train=100000"], "n_train 100000 is above the 8 training cells"),
        (["-p", "representations=ENS", "-p", "n_train=all"], "memory_gb is 1e-09"),
    ):
        refused(run_results(profile, asked + more), message)
    write_encoder(folder / "checkpoints" / "root", genes=["AT1G01010", "AT1G01020"])
    result = run_results(profile, [*asked, "-p", "representations=WM", "-p", "n_train=all"])
    refused(result, "the encoder knows 2 genes, not these")


def write_encoder(folder: Path, vocabulary: Path | None = None, *, genes=None) -> None:
    from scarafm_utils.checkpoints import save_checkpoint
    from scarafm_utils.model import ModelConfig, ScAraFM

    genes = genes or list(pd.read_csv(vocabulary)["gene"])
    model = ScAraFM(ModelConfig(dim=8, depth=1, heads=2, dim_head=4), genes)
    save_checkpoint(model, folder, corpus_real=True)


def run_results(profile: Path, arguments: list[str]) -> subprocess.CompletedProcess:
    settings = yaml.safe_load(profile.read_text(encoding="utf-8"))
    settings["evaluation"]["memory_gb"] = 1e-9
    profile.write_text(yaml.safe_dump(settings), encoding="utf-8")
    call = [SCARAFM, "run", "root_results", "--profile", str(profile), *arguments]
    return subprocess.run(call, capture_output=True, text=True)


def refused(result: subprocess.CompletedProcess, message: str) -> None:
    assert result.returncode == 2, result.stderr
    assert message in result.stderr and "Traceback" not in result.stderr
