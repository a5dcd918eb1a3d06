"""A copy of the project with a profile so small that its whole book is built in about a minute."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

PROJECT = Path(__file__).resolve().parents[1]
TASKS = ["random:SRP166333", "random:GSE235495", "replicate:GSE235495"]


def copy_project(folder: Path) -> Path:
    """Copy what git tracks (and what it does not ignore) and add the profile ``tiny``."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=PROJECT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    for name in filter(None, listed.split("\0")):
        if (PROJECT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(PROJECT / name, folder / name)
    (folder / "profiles" / "tiny.yaml").write_text(yaml.safe_dump(tiny_profile()))
    return folder


def tiny_profile() -> dict:
    """The demo profile with one tissue, three tasks and one size."""
    values = yaml.safe_load((PROJECT / "profiles" / "demo.yaml").read_text(encoding="utf-8"))
    values |= {"name": "tiny", "description": "For tests of the machinery.", "workshop": False}
    values["data"]["simulated_cells"] = {"downstream": 160, "pretraining": 40}
    values["preprocessing"] |= {"n_vocabulary": 60, "n_top_genes": 60}
    values["pretraining"]["epochs"] = 2
    values["tissues"] = {"root": {"tasks": TASKS, "labels": ["stress"], "pretraining": ["SRP285040"]}}
    values["evaluation"] |= {
        "representations": ["raw", "WM", "PCA_1"], "controls": ["depth"], "heads": ["LR", "XGB"], "n_train": ["all"],
        "extra": {"seeds": [], "n_train": ["all"], "hold_out_all": True, "null_contrasts": True, "fidelity": []},
    }  # fmt: skip
    return values


def environment(folder: Path, **more: str) -> dict[str, str]:
    """Variables by which the installed command uses the copy of the package."""
    own = {k: v for k, v in os.environ.items() if not k.startswith(("SCARAFM_", "SLURM_"))}
    path = f"{Path(sys.executable).parent}{os.pathsep}{own['PATH']}"
    return own | {"PYTHONPATH": str(folder), "PATH": path, "OMP_NUM_THREADS": "1"} | more


def scarafm(folder: Path, *arguments: str, **more: str) -> subprocess.Popen:
    """Start ``scarafm`` in the copy, in a session of its own."""
    command = [str(Path(sys.executable).with_name("scarafm")), *arguments]
    return subprocess.Popen(
        command, cwd=folder, env=environment(folder, **more), text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def build(folder: Path, *arguments: str, **more: str) -> str:
    """Build the tiny book and return what was printed; a failed build fails the test."""
    process = scarafm(folder, "build", "--profile", "tiny", *arguments, **more)
    output = process.communicate()[0]
    assert process.returncode == 0, output
    return output


def scores(folder: Path) -> dict[str, object]:
    """Every score table by file name, without metadata (timings stand there)."""
    import pyarrow.parquet as pq

    found = (folder / "artifacts" / "tiny" / "scores").rglob("*.parquet")
    return {path.name: pq.read_table(path).replace_schema_metadata(None).to_pandas() for path in found}


#: Columns of tables that are measurements of the machine, not of the cells.
TIMINGS = ("fit_seconds", "peak_memory_mb", "seconds", "cells_per_second")


def tables(folder: Path) -> dict[str, object]:
    """Every table of the profile by its path, as the text that stands in the file, without timings."""
    import pandas as pd

    root = folder / "artifacts" / "tiny" / "tables"
    text = {"dtype": str, "keep_default_na": False}
    read = {str(path.relative_to(root)): pd.read_csv(path, **text) for path in sorted(root.rglob("*.csv"))}
    return {name: t.drop(columns=[c for c in TIMINGS if c in t]) for name, t in read.items()}


def assert_same(first: dict[str, object], second: dict[str, object]) -> None:
    """Both hold the same names and, value for value, the same tables."""
    import pandas as pd

    assert first and first.keys() == second.keys()
    for name, table in first.items():
        pd.testing.assert_frame_equal(table, second[name], check_exact=True, obj=name)
