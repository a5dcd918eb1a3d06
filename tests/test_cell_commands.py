"""The commands embed, train-head and predict, from the shell to the exit status."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import anndata as ad
import pandas as pd
import pytest
from evaluation_world import GENES
from test_embedding_files import make_counts
from typer.testing import CliRunner

from scarafm_utils.checkpoints import save_checkpoint
from scarafm_utils.cli import app
from scarafm_utils.errors import InputError
from scarafm_utils.estimators import LRHead
from scarafm_utils.model import ModelConfig, ScAraFM

SCARAFM = Path(sys.executable).with_name("scarafm")


@pytest.fixture
def cells(tmp_path):
    """A file of counts and a checkpoint of each kind beside it."""
    make_counts().write_h5ad(tmp_path / "cells.h5ad")
    model = ScAraFM(ModelConfig(dim=8, depth=1, heads=2, dim_head=4), GENES)
    save_checkpoint(model, tmp_path / "real", corpus_real=True)
    save_checkpoint(model, tmp_path / "made-up", corpus_real=False)
    return tmp_path


def call(*arguments, cwd) -> subprocess.CompletedProcess:
    return subprocess.run([SCARAFM, *arguments], capture_output=True, text=True, cwd=cwd)


def test_embed_reports_what_it_found_and_wrote(cells):
    asked = ["--checkpoint", "real", "--representations", "CLS, PCA_1", "--device", "cpu"]
    done = call("embed", "cells.h5ad", "--out", "out.h5ad", *asked, cwd=cells)
    assert done.returncode == 0, done.stderr
    first, second, *shapes, last = done.stdout.splitlines()
    assert first == "values: X (counts)"
    assert second.startswith("vocabulary: 30 of 30 genes measured (100%), 7") and "%" in second
    assert shapes == ["obsm['X_CLS']: 23 × 8", "obsm['X_PCA_1']: 23 × 30"]
    assert last.startswith("done: out.h5ad")
    assert set(ad.read_h5ad(cells / "out.h5ad").obsm) == {"X_umap", "X_CLS", "X_PCA_1"}


def test_a_refusal_is_one_line_and_status_two(cells):
    done = call("embed", "cells.h5ad", "--out", "out.h5ad", "--checkpoint", "made-up", cwd=cells)
    assert done.returncode == 2 and done.stdout == ""
    assert "the encoder made-up was trained on simulated ones" in done.stderr
    assert done.stderr.count("\n") == 1 and not (cells / "out.h5ad").exists()


#: The same refusals without a process each.
REFUSED = {
    "no encoder": (["embed", "cells.h5ad", "--out", "o.h5ad"], "give --checkpoint, or --profile and --tissue"),
    "no GPU": (["embed", "cells.h5ad", "--out", "o.h5ad", "--checkpoint", "real", "--device", "tpu"], "device: 'tpu'"),
    "nothing asked": (["embed", "cells.h5ad", "--out", "o.h5ad", "--checkpoint", "real", "--representations", ","],
                      "name one or more"),
    "no head": (["predict", "cells.h5ad", "--head", "nowhere", "--out", "o.csv"], "nowhere: no stored head"),
    "no size": (["train-head", "random:GSE273033", "--out", "h", "--n-train", "some"], "n_train: 'some'"),
    "no task": (["train-head", "random", "--out", "h"], "write it as random:DATASET"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_bad_requests_are_refused(cells, case, monkeypatch):
    arguments, message = REFUSED[case]
    monkeypatch.chdir(cells)
    result = CliRunner().invoke(app, arguments)
    assert isinstance(result.exception, InputError) and message in str(result.exception)
    assert sorted(p.name for p in cells.iterdir()) == ["cells.h5ad", "made-up", "real"]


def test_predict_prints_what_its_scores_are_worth(cells, monkeypatch):
    from test_stored_heads import by_hand

    by_hand(cells / "head", LRHead(classes=["control", "stress"]), GENES)
    monkeypatch.chdir(cells)
    result = CliRunner().invoke(app, ["predict", "cells.h5ad", "--head", "head", "--out", "scores.csv"])
    assert result.exit_code == 0, result.exception
    assert "AUROC 0.75" in result.stdout and "no probability" in result.stdout
    assert "genes of the head: 30 of 30 genes measured (100%)" in result.stdout
    table = pd.read_csv(cells / "scores.csv", index_col=0)
    assert list(table) == ["label", "score:control", "score:stress"] and len(table) == 23
    assert f"{(table['label'] == 'stress').sum()} cells stress" in result.stdout
