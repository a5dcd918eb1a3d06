"""What disk, hand or neighbour does to a build: found, named, made again or refused; the rest is left alone."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest
from small_disk import make_read_only, make_writable, small_disk
from tiny_project import assert_same, build, copy_project, environment, scarafm, scores, tables

pytestmark = pytest.mark.slow


def flip(path, position):
    """Change one bit of a file."""
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


def moments(folder, pattern):
    """When each file was written."""
    return {path.name: path.stat().st_mtime_ns for path in folder.rglob(pattern)}


@pytest.mark.xdist_group("tiny")
def test_a_build_names_what_is_damaged_and_makes_only_that_again(whole, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(whole, folder, symlinks=True)
    results = folder / "artifacts" / "tiny"
    score, *others = sorted((results / "scores").rglob("*.parquet"))
    weights, run = results / "checkpoints" / "root" / "model.safetensors", results / "runs" / "claims" / "index.ipynb"
    before = moments(results / "scores", "*.parquet")
    flip(score, 40)
    flip(weights, -1)
    run.write_bytes(run.read_bytes()[:1000])
    printed = build(folder, "--cores", "2")
    for path in (score, weights, run):
        named = f"{path.relative_to(folder / 'artifacts').as_posix()} is damaged ("
        [line] = [line for line in printed.splitlines() if line.startswith(named)]
        assert line.endswith(") and is made again")
    after = moments(results / "scores", "*.parquet")
    assert before.pop(score.name) != after.pop(score.name) and before == after, "only the damaged one was fitted again"
    assert moments(whole, "runs/preprocessing/root.ipynb") == moments(folder, "runs/preprocessing/root.ipynb")
    assert_same(scores(whole), scores(folder))
    assert_same(tables(whole), tables(folder))


def refusal(folder):
    """The lines of a build that must fail."""
    process = scarafm(folder, "build", "--profile", "tiny", "--cores", "1")
    printed = process.communicate()[0]
    assert process.returncode == 2 and "Traceback" not in printed, printed
    return printed.splitlines()[-1]


def test_a_full_and_a_read_only_disk_stop_a_build_with_one_line_and_room_lets_it_go_on(tmp_path):
    folder = copy_project(tmp_path / "copy")
    (folder / "artifacts").mkdir()
    with small_disk(folder / "artifacts" / "tiny", kilobytes=60) as disk:
        stopped = refusal(folder)
        assert stopped.startswith("scarafm: the build stopped: ") and "the disk is full" in stopped
        make_read_only(disk)
        reason = "tiny/ cannot be written to (Read-only file system). Make it writable and run again."
        assert refusal(folder) == f"scarafm: {reason}"
        assert not list(disk.rglob("*.h5ad")) and not list(disk.rglob("*.ipynb")), "nothing half-written"
        make_writable(disk, kilobytes=100_000)
        process = scarafm(folder, "run", "preprocessing", "-p", "tissue=root", "--profile", "tiny")
        assert "done: preprocessing root" in process.communicate()[0] and process.returncode == 0


def test_what_stands_in_the_path_of_a_profile_is_no_command(tmp_path):
    folder = copy_project(tmp_path)
    profile = "odd '; touch OWNED; echo '.yaml"
    (folder / "profiles" / "tiny.yaml").rename(folder / profile)
    command = ["--cores", "1", "--config", f"profile={profile}", "--", "artifacts/tiny/vocabulary/root.csv"]
    finished = subprocess.run(
        [sys.executable, "-m", "snakemake", *command], cwd=folder, env=environment(folder), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert finished.returncode == 0, finished.stdout
    assert (folder / "artifacts" / "tiny" / "vocabulary" / "root.csv").exists() and not (folder / "OWNED").exists()
