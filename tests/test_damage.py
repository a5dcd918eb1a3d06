"""What is damaged is found, named, and made again."""

from __future__ import annotations

import nbformat
import pandas as pd
import pytest
import torch
from evaluation_world import DROUGHT, make_workspace

from scarafm_utils.checkpoints import save_checkpoint
from scarafm_utils.damage import find_damaged, remove_damaged
from scarafm_utils.files import write_csv
from scarafm_utils.model import ModelConfig, ScAraFM
from scarafm_utils.scores import write_scores


@pytest.fixture
def workspace(tmp_path):
    """Processed cells, a checkpoint, an executed notebook and a vocabulary, all whole."""
    workspace = make_workspace(tmp_path / "demo")
    torch.manual_seed(0)
    model = ScAraFM(ModelConfig(dim=4, depth=1, heads=1, dim_head=4), ["AT1G01010"])
    save_checkpoint(model, workspace.checkpoint_dir("leaf"), corpus_real=False, profile="demo", seed=0)
    workspace.vocabulary_path("leaf").parent.mkdir(parents=True)
    workspace.vocabulary_path("leaf").write_text("gene\n")
    cell = nbformat.v4.new_code_cell("1 + 1", execution_count=1)
    path = workspace.runs_dir / "leaf_results" / "index.ipynb"
    path.parent.mkdir(parents=True)
    nbformat.write(nbformat.v4.new_notebook(cells=[cell, nbformat.v4.new_markdown_cell("x")]), path)
    return workspace


def leave_scores(workspace, key, *, run):
    """A score file, and the table of a run that names it."""
    table = pd.DataFrame({"obs_name": ["a"], "y_true": ["control"], "sample": "s", "replicate": "1"})
    table = table.assign(cell_type="", n_counts=1.0, **{"score:control": [0.5], "score:stress": [0.5]})
    path = write_scores(workspace.scores_dir("leaf") / f"{key}.parquet", table, {})
    write_csv(workspace.tables_dir / "runs" / "leaf" / f"{run}.csv", pd.DataFrame({"key": [key, "gone"]}))
    (workspace.runs_dir / "leaf_results" / f"{run}.ipynb").write_text(files(workspace)["notebook"].read_text())
    return path


def files(workspace):
    return {
        "notebook": workspace.runs_dir / "leaf_results" / "index.ipynb",
        "cells": workspace.processed_path("leaf", DROUGHT),
        "weights": workspace.checkpoint_dir("leaf") / "model.safetensors",
    }


#: The runs that go with a damaged file, because they make it.
MADE_BY = {"notebook": [], "cells": ["preprocessing"], "weights": ["pretraining"]}


def test_whole_files_are_left_alone(workspace):
    assert find_damaged(workspace) == {} and remove_damaged(workspace) == []


@pytest.mark.parametrize("kind", ["notebook", "cells", "weights"])
@pytest.mark.parametrize("keep", [0.0, 0.6])
def test_a_file_cut_short_is_named_and_removed_and_nothing_else(workspace, kind, keep):
    damaged, others = files(workspace)[kind], [p for k, p in files(workspace).items() if k != kind]
    runs = {chapter: workspace.runs_dir / chapter / "leaf.ipynb" for chapter in ("preprocessing", "pretraining")}
    for run in runs.values():
        run.parent.mkdir()
        run.write_bytes(files(workspace)["notebook"].read_bytes())
    content = damaged.read_bytes()
    damaged.write_bytes(content[: int(keep * len(content))])
    [line] = remove_damaged(workspace)
    assert damaged.name in line and line.endswith("is made again") and "\n" not in line
    assert not damaged.exists() and all(p.exists() for p in others)
    assert workspace.vocabulary_path("leaf").exists() == (kind != "cells"), "cells are made with their vocabulary"
    assert [chapter for chapter, run in runs.items() if not run.exists()] == MADE_BY[kind]


def test_damaged_scores_are_named_and_go_with_the_run_that_makes_them(workspace):
    damaged, whole = leave_scores(workspace, "k1", run="random-A"), leave_scores(workspace, "k2", run="random-B")
    assert find_damaged(workspace) == {}, "what an archive of results leaves out is not damaged"
    content = bytearray(damaged.read_bytes())
    content[30] ^= 1
    damaged.write_bytes(content)
    [line] = remove_damaged(workspace)
    assert "k1.parquet is damaged (" in line and line.endswith(") and is made again")
    runs = {p.stem for p in (workspace.runs_dir / "leaf_results").iterdir()}
    assert not damaged.exists() and whole.exists() and runs == {"index", "random-B"}


def test_one_changed_byte_of_weights_is_noticed(workspace):
    weights = files(workspace)["weights"]
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert list(find_damaged(workspace).values()) == ["its checksum differs from model.json"]


def test_a_notebook_with_an_unexecuted_cell_is_not_trusted(workspace):
    path = files(workspace)["notebook"]
    book = nbformat.read(path, as_version=4)
    book.cells[0].execution_count = None
    nbformat.write(book, path)
    assert list(find_damaged(workspace).values()) == ["a cell was not executed"]
