"""CONTRIBUTING.md is true: its examples, put where it says, work in a copy of the package."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys

import pytest

from scarafm_utils.workspace import PROJECT

#: Of each example: the file that the text names last before it, and the line it goes above.
PLACES = {
    "plain_features.py": "#: What each name learns",
    "embeddings.py": "#: What turns embeddings",
    "estimators.py": "#: What stands behind each name",
    "PLAIN": "    \"raw\":",
    "POOLED": "    \"CLS\":",
    "HEADS": "    \"LR\":",
}  # fmt: skip

USE = """
import json, numpy as np, torch
from pathlib import Path
from evaluation_world import DROUGHT, GENES, make_cells, make_workspace
from scarafm_utils.embeddings import iter_hidden
from scarafm_utils.evaluation import evaluate_task
from scarafm_utils.features import TaskFeatures
from scarafm_utils.model import ModelConfig, ScAraFM
from scarafm_utils.profiles import Profile

rows = evaluate_task(
    make_workspace(Path("world"), representations=["raw", "detected"], heads=["LR", "KNN"]), "leaf",
    f"random:{DROUGHT}", n_train=["all"], controls=["detected"], extra=False, strict=True,
)
cells = make_cells(DROUGHT, replicates=1, per_library=5, seed=0)
model = ScAraFM(ModelConfig(dim=8, depth=1, heads=2, dim_head=4), GENES).eval()
names = cells.obs_names
largest = TaskFeatures(cells, models={"": model}).matrix("MAX", fit=names, names=names)
expected = torch.cat(list(iter_hidden(model, cells)))[:, :-1].amax(1).numpy()
print(json.dumps([*rows[["representation", "head", "auroc"]].values.tolist(), float(abs(largest - expected).max())]))
"""


def examples() -> list[tuple[str, str]]:
    """Each code block of the document and the file or table named last before it."""
    text, found = (PROJECT / "CONTRIBUTING.md").read_text(encoding="utf-8"), []
    for block in re.finditer(r"```python\n(.*?)```", text, re.DOTALL):
        named = re.findall(r"`scarafm_utils/(\w+\.py)`|table `(\w+)`", text[: block.start()])
        names = [a or b for a, b in named]
        found.append((names[-1] if names[-1] != "names.py" else names[-2], block.group(1)))
    return found


@pytest.fixture
def copy(tmp_path):
    """The package with every example of the document put where the document says."""
    for name in ("scarafm_utils", "profiles", "data_manifest.yaml", "tests/evaluation_world.py"):
        source, target = PROJECT / name, tmp_path / name.removeprefix("tests/")
        shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)
    for place, code in examples():
        path = tmp_path / "scarafm_utils" / (place if place.endswith(".py") else "names.py")
        text = path.read_text(encoding="utf-8")
        assert text.count(PLACES[place]) == 1
        gap = "\n\n" if place.endswith(".py") else ""
        path.write_text(text.replace(PLACES[place], code + gap + PLACES[place]), encoding="utf-8")
    return tmp_path


def test_the_examples_of_the_document_work_where_it_says(copy):
    assert [place for place, _ in examples()] == list(PLACES)[:1] + ["PLAIN", "embeddings.py", "POOLED"] + [
        "estimators.py", "HEADS",
    ]  # fmt: skip
    environment = os.environ | {"PYTHONPATH": str(copy)}
    done = subprocess.run([sys.executable, "-c", USE], cwd=copy, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    *rows, difference = json.loads(done.stdout)
    assert {(r, h) for r, h, _ in rows} == {(r, h) for r in ("raw", "detected") for h in ("LR", "KNN")}
    assert all(0.5 < auroc <= 1 for _, _, auroc in rows)
    assert difference == 0


def test_the_document_names_what_exists():
    text = (PROJECT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    named = re.findall(r"`((?:scarafm_utils|tests)/\w+\.py)`|(\w+\.md)", text)
    assert all((PROJECT / (a or b)).exists() for a, b in named)
    for target in re.findall(r"^    make ([\w-]+)", text, re.MULTILINE):
        assert re.search(rf"^{target}:", (PROJECT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
