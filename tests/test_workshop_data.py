"""The whole workshop as a class meets it: its data, its folder, and every notebook without torch or XGBoost."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from scarafm_utils import episodes, workshop, workshop_data
from scarafm_utils.workspace import Workspace

pytestmark = pytest.mark.slow

#: Runs every code cell of a notebook with the heavy packages out of reach.
RUNNER = """
import json, sys
from importlib.abc import MetaPathFinder
HEAVY = {"torch", "xgboost", "scanpy", "gensim", "snakemake", "papermill", "myst_nb"}
class Block(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in HEAVY:
            raise ImportError(f"{name} is out of reach")
sys.meta_path.insert(0, Block())
for path in sys.argv[1:]:
    space = {"__name__": "__main__"}
    for cell in json.load(open(path))["cells"]:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), path, "exec"), space)
print("ran", len(sys.argv) - 1)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A class folder with solutions, from data made anew."""
    root = tmp_path_factory.mktemp("workshop")
    opened = workshop.class_workspace()
    data = workshop_data.make_class_data(Workspace(opened.profile, opened.manifest, root / "work"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(episodes, "FOLDERS", (data,))
        return episodes.write_class_folder(root / "class", solutions=True)


@pytest.mark.parametrize("ending", ["", "_solutions"])
def test_every_notebook_runs_in_the_class_folder_without_torch_or_xgboost(folder, ending):
    names = [f"{name}{ending}.ipynb" for name in episodes.EPISODES]
    own = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"PYTHONPATH": ".", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", RUNNER, *names]
    result = subprocess.run(command, cwd=folder, env=own, capture_output=True, text=True)
    assert result.returncode == 0 and "ran 5" in result.stdout, result.stderr[-3000:]


def test_what_is_stored_is_small_and_complete(folder):
    sizes = {path.name: path.stat().st_size for path in (folder / "class_data").iterdir()}
    tables = {"training.npz", "history.csv", "seeds.csv", "facts.json"}
    assert set(sizes) == {f"{name}.npz" for name in workshop.STUDIES} | tables
    assert sum(sizes.values()) < 5e6


def test_stored_features_are_those_of_the_processed_cells(folder):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workshop, "FOLDERS", (folder / "class_data",))
        study, run = workshop.open_study("GSE273033"), workshop.training_run()
    assert study.obs.index.equals(study.values.index) and study.values.columns.is_unique
    assert set(study.obs["label"]) == {"control", "stress"} and study.obs["replicate"].nunique() == 2
    assert study.features["WM"].shape[1] == study.features["CLS"].shape[1] < study.values.shape[1]
    assert (run.inputs[run.targets >= 0] > 0).all()
    accuracy = (run.guesses == run.targets)[run.targets >= 0].mean()
    assert np.isclose(accuracy, run.history["val_accuracy"].max(), atol=0.02)
