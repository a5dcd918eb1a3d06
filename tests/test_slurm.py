"""The same grid on a real Slurm of one node, value for value."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest
from tiny_project import PROJECT, assert_same, build, copy_project, scores, tables

missing = [p for p in ("munged", "slurmctld", "slurmd", "sbatch") if shutil.which(p) is None]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.slurm,
    pytest.mark.xdist_group("tiny"),
    pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)} (slurm-wlm and munge)"),
    pytest.mark.skipif(os.geteuid() != 0, reason="starting Slurm needs root"),
]


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    folder, script = tmp_path_factory.mktemp("slurm"), PROJECT / "scripts" / "one_node_slurm.sh"
    started = subprocess.run(["sh", script, "start", folder], capture_output=True, text=True)
    assert started.returncode == 0, started.stderr
    yield
    subprocess.run(["sh", script, "stop", folder], check=True)


def smaller_requests(folder):
    """The cluster profile with memory that this machine has, and without its waiting times."""
    path = folder / "profiles" / "slurm" / "config.yaml"
    text = path.read_text()
    for large in ("8000", "16000", "32000"):
        text = text.replace(f" {large} *", " 1500 *")
    text = text.replace("status-checks: 20", "status-checks: 3").replace("latency-wait: 60", "latency-wait: 5")
    path.write_text(text + "seconds-between-status-checks: 3\nslurm-status-command: squeue\n")


def test_a_grid_on_slurm_gives_the_scores_of_a_local_run(slurm, whole, tmp_path):
    there = copy_project(tmp_path)
    smaller_requests(there)
    printed = build(there, "--slurm")
    jobs = subprocess.run(
        ["scontrol", "show", "job"], capture_output=True, text=True, check=True
    ).stdout
    assert jobs.count("JobState=COMPLETED") >= 5 and "Partition=gpu" in jobs and "Partition=cpu" in jobs, printed
    assert_same(scores(whole), scores(there))
    assert_same(tables(whole), tables(there))
