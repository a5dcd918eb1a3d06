"""Runs of a profile: found, estimated, compared, and their state told."""

from __future__ import annotations

import subprocess
import sys

import nbformat
import pandas as pd
import pytest

from scarafm_utils import runs
from scarafm_utils.chapters import page_runs
from scarafm_utils.errors import InputError
from scarafm_utils.files import write_csv, write_json
from scarafm_utils.result_tables import TIDY, table_of_run
from scarafm_utils.run_facts import failure_path
from scarafm_utils.workspace import PROJECT, Workspace, open_workspace

TASK = "replicate:GSE273033"


@pytest.fixture
def workspace(tmp_path):
    demo = open_workspace("demo")
    return Workspace(demo.profile, demo.manifest, tmp_path)


def leave_run(workspace, name, *, folder="custom", seconds=10.0, **parameters):
    """A notebook with the facts that a run keeps; a run of a task leaves its table too."""
    chapter = name.split("/")[0]
    facts = {"chapter": chapter, "parameters": parameters, "seconds": seconds, "peak_mb": 900, "date": "today"}
    path = workspace.folder / folder / f"{name}.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(nbformat.v4.new_notebook(metadata={"scarafm": facts}), path)
    return path


def tidy_rows(**columns):
    """Tidy results with these columns; every other column is the same in all rows."""
    same = {"task": TASK, "n_train": "all", "seed": 0, "reason": "", "key": "k"}
    lengths = [len(v) for v in columns.values() if isinstance(v, list)]
    return pd.DataFrame(same | columns, index=range(max(lengths, default=1))).reindex(columns=list(TIDY))


def test_a_grid_is_the_product_of_its_values_and_gives_no_name_twice():
    sets = runs.expand_grid({"task": "t"}, {"heads": ["LR", "XGB"], "seeds": ["0", "1"]})
    assert [(s["heads"], s["seeds"]) for s in sets] == [("LR", "0"), ("LR", "1"), ("XGB", "0"), ("XGB", "1")]
    assert all(s["task"] == "t" for s in sets)
    assert runs.expand_grid({"task": "t"}, {}) == [{"task": "t"}]
    with pytest.raises(InputError, match="--grid heads: also given with -p"):
        runs.expand_grid({"heads": "LR"}, {"heads": ["XGB"]})


def test_a_run_is_found_by_its_name_by_its_end_and_by_its_file(workspace):
    path = leave_run(workspace, "leaf_results/a-11", task=TASK)
    leave_run(workspace, "leaf_results/b-11", task=TASK)
    assert runs.find_run(workspace, "leaf_results/a-11").path == path
    assert runs.find_run(workspace, "a-11").path == path
    assert runs.find_run(workspace, str(path)).facts["parameters"] == {"task": TASK}
    with pytest.raises(InputError, match=r"run '11': 2 runs end so \(leaf_results/a-11, leaf_results/b-11\)"):
        runs.find_run(workspace, "11")
    with pytest.raises(InputError, match=r"no run 'leaf_results/a-12': did you mean 'leaf_results/a-11'"):
        runs.find_run(workspace, "leaf_results/a-12")


def test_a_damaged_run_is_named_in_one_line_and_keeps_no_other_from_being_read(workspace):
    whole, cut = (leave_run(workspace, f"leaf_results/{name}", task=TASK) for name in ("whole", "cut"))
    for content in (cut.read_bytes()[:-20], b"\xff\xfe", b"[]", b"{}"):
        cut.write_bytes(content)
        with pytest.raises(InputError, match="^run 'leaf_results/cut' is damaged: .*Run it again$"):
            runs.find_run(workspace, "cut")
        assert [run.path for run in runs.find_runs(workspace)] == [whole]
        assert runs.find_run(workspace, "whole").facts["parameters"] == {"task": TASK}


def test_the_estimate_of_a_chapter_is_the_median_of_its_earlier_runs(monkeypatch, workspace):
    monkeypatch.setattr(runs, "open_workspace", lambda profile: workspace)
    assert "no estimate" in str(runs.estimate("preprocessing", {"tissue": "leaf"}, profile="demo"))
    for number, seconds in enumerate([10.0, 12.0, 50.0]):
        leave_run(workspace, f"preprocessing/r{number}", seconds=seconds)
    found = runs.estimate("preprocessing", {"tissue": "leaf"}, profile="demo")
    assert (found.seconds, found.memory_mb) == (12.0, 900)


def test_the_estimate_of_a_task_adds_up_its_configurations(monkeypatch, workspace):
    monkeypatch.setattr(runs, "open_workspace", lambda profile: workspace)
    rows = [("raw", "LR", 100, 1.0, 100), ("raw", "LR", 100, 3.0, 100), ("raw", "LR", "all", 7.0, 400)]
    names = ["representation", "head", "n_train", "fit_seconds", "n_train_cells"]
    table = pd.DataFrame(rows, columns=names).assign(peak_memory_mb=1500.0, reason="", key="k")
    write_csv(workspace.tables_dir / "results.csv", table)
    asked = {"task": TASK, "representations": ["raw"], "heads": ["LR", "XGB"], "n_train": [90, 150, "all"]}
    found = runs.estimate("leaf_results", asked, profile="demo")
    assert found.seconds == runs.OVERHEAD + 2.0 + 2.0 + 7.0  # the nearest size's median; XGB has no precedent
    assert "3 of them without a precedent" in found.basis and found.memory_mb == 1500.0


def test_two_runs_are_set_side_by_side(workspace):
    first, second = dict(task=TASK, heads=["LR"]), dict(task=TASK, heads=["XGB"])
    for name, params, auroc in (("a", first, 0.7), ("b", second, 0.6)):
        leave_run(workspace, f"leaf_results/{name}", **params)
        rows = tidy_rows(representation=["raw", "WM"], head=params["heads"][0], auroc=[auroc, 0.5])
        write_csv(table_of_run(workspace, "leaf", params), rows)
    parameters, results = runs.compare_runs(workspace, *(runs.find_run(workspace, n) for n in "ab"))
    assert parameters.loc["heads"].tolist() == ["LR", "XGB", True]
    assert not parameters.loc["task", "differs"]
    assert results.set_index("representation")["difference"].round(6).to_dict() == {"raw": -0.1, "WM": 0.0}


def test_a_configuration_of_one_run_only_keeps_an_empty_value(workspace):
    params = [dict(task=TASK, n_train=[100]), dict(task=TASK, n_train=[100, 200])]
    for name, p in zip("ab", params, strict=True):
        leave_run(workspace, f"leaf_results/{name}", **p)
        rows = tidy_rows(representation="raw", head="LR", n_train=p["n_train"], auroc=0.7)
        write_csv(table_of_run(workspace, "leaf", p), rows)
    _, results = runs.compare_runs(workspace, *(runs.find_run(workspace, n) for n in "ab"))
    assert results.set_index("n_train")["auroc_first"].isna().to_dict() == {"100": False, "200": True}


def test_the_state_of_every_run_of_the_grid_is_told(workspace, monkeypatch):
    monkeypatch.setattr(runs, "PROJECT", workspace.folder)
    fresh = leave_run(workspace, "preprocessing/leaf", folder="runs")
    leave_run(workspace, "preprocessing/root", folder="runs")
    write_json(failure_path(workspace, "pretraining", "leaf"), {"error": "no memory", "date": "now"})
    plan = {str(fresh.relative_to(workspace.folder)): "no update", "runs/preprocessing/root.ipynb": "update pending"}
    states = runs.run_states(workspace, plan).set_index("run")
    assert states["state"].value_counts().to_dict()["missing"] == len(states) - 3
    assert states.loc["preprocessing/leaf", "state"] == "fresh"
    assert states.loc["preprocessing/root", "state"] == "stale"
    assert states.loc["pretraining/leaf", ["state", "error"]].tolist() == ["failed", "no memory"]
    fresh.write_bytes(fresh.read_bytes()[:-20])
    states = runs.run_states(workspace, plan).set_index("run")
    assert states.loc["preprocessing/leaf", "state"] == "failed"
    assert "preprocessing/leaf' is damaged" in states.loc["preprocessing/leaf", "error"]


def test_the_plan_of_snakemake_names_every_run_of_the_grid():
    from scarafm_utils.grid import snakemake_plan

    demo, plan = open_workspace("demo"), snakemake_plan("demo")
    wanted = {f"{demo.runs_dir.relative_to(PROJECT)}/{c}/{s}.ipynb" for c, s in page_runs(demo)}
    assert wanted <= set(plan)
    assert set(plan.values()) <= {"no update", "update pending"}


@pytest.mark.slow
@pytest.mark.parametrize("profile", ["laptop", "release", "paper"])
def test_profiles_that_need_a_network_list_their_runs_without_one(profile):
    """What Snakemake would do is known before anything is fetched: every run of the grid is listed."""
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--nolock", "-n", "--config", f"profile={profile}"]
    listed = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True)
    assert listed.returncode == 0, listed.stderr
    workspace = open_workspace(profile)
    runs = {f"artifacts/{profile}/runs/{c}/{s}.ipynb" for c, s in page_runs(workspace)}
    assert len(runs) > 15 and all(run in listed.stdout for run in runs)
