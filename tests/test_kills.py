"""Nothing is lost when a build dies: not its kernel, its run, Snakemake or all of it at once."""

from __future__ import annotations

import os
import random
import signal
import threading
import time

import psutil
import pytest
from tiny_project import assert_same, build, copy_project, scarafm, scores, tables

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("tiny")]

VICTIMS = ("kernel", "run", "snakemake", "everything")


def victims_of(build_process, kind):
    """The processes of a build to kill; none where there is no such process at the moment."""
    try:
        children = psutil.Process(build_process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
    if kind == "everything":
        return [psutil.Process(build_process.pid), *children]
    return [p for p in children if kind == kind_of(p)][:1]


def kind_of(process):
    """A notebook's kernel, the process of a run (papermill works in it), or Snakemake itself."""
    try:
        words = process.cmdline()
    except psutil.NoSuchProcess:
        return ""
    if "ipykernel_launcher" in words:
        return "kernel"
    if len(words) > 2 and words[1].endswith("scarafm") and words[2] == "run":
        return "run"
    return "snakemake" if "snakemake" in words else ""


def reading(process):
    """What a build prints, line by line, as it comes."""
    lines = []
    thread = threading.Thread(target=lambda: lines.extend(iter(process.stdout.readline, "")), daemon=True)
    thread.start()
    return lines, thread


def kill_one(folder, kind, *, steps, seconds):
    """Start a build, kill a part of it so long after so many steps were done, and wait until all of it is gone."""
    process = scarafm(folder, "build", "--profile", "tiny", "--cores", "2")
    lines, reader = reading(process)
    everyone, killed, struck_at = set(), [], None
    while process.poll() is None and not killed:
        try:
            everyone |= set(psutil.Process(process.pid).children(recursive=True))
        except psutil.NoSuchProcess:
            break
        running = any(kind_of(p) == "kernel" for p in everyone)
        if struck_at is None and running and sum(line.startswith("[") for line in lines) >= steps:
            struck_at = time.monotonic() + seconds
        if struck_at is not None and time.monotonic() > struck_at:
            killed = victims_of(process, kind)
            for victim in killed:
                try:
                    os.kill(victim.pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
        time.sleep(0.05)
    reader.join()
    process.wait()
    _, alive = psutil.wait_procs(list(everyone), timeout=20)
    assert not [p for p in alive if p.status() != psutil.STATUS_ZOMBIE], "a process outlived its build"
    return bool(killed), process.returncode, "".join(lines)


def finished(folder):
    """Score files with the moment at which each was written: a repeated evaluation writes it again."""
    found = (folder / "artifacts" / "tiny" / "scores").rglob("*.parquet")
    return {path.name: path.stat().st_mtime_ns for path in found if not path.name.startswith(".tmp-")}


def test_ten_kills_lose_nothing_and_repeat_no_finished_evaluation(whole, tmp_path):
    broken = copy_project(tmp_path)
    rng, done, moments = random.Random(1), {}, []
    for number in range(10):
        kind = VICTIMS[number % len(VICTIMS)]
        killed, code, output = kill_one(broken, kind, steps=rng.choice([0, 1]), seconds=rng.uniform(0, 6))
        assert "Traceback" not in output, output
        assert not killed or code != 0 or kind == "kernel", output  # a kernel may be at its end
        now = finished(broken)
        assert done.items() <= now.items(), f"after killing {kind}, finished evaluations were lost or repeated"
        scores(broken)  # each can be read
        moments += [f"{kind} with {len(now)} evaluations done"] if killed else []
        done = now
    build(broken, "--cores", "2")
    assert len(moments) >= 8, "too few kills met a running build: the test shows little"
    assert done.items() <= finished(broken).items()
    assert_same(scores(whole), scores(broken))
    assert_same(tables(whole), tables(broken))
    assert not list((broken / "artifacts" / "tiny").rglob(".tmp-*")), "what a killed run left half-written is gone"
    print(f"kills that met a running build: {len(moments)} of 10, lost: 0", *moments, sep="\n")


def test_two_builds_in_different_folders_are_equal_and_a_second_one_at_once_is_refused(whole, tmp_path):
    other = copy_project(tmp_path)
    running = scarafm(other, "build", "--profile", "tiny", "--cores", "2")
    lock = other / "artifacts" / ".lock"
    while not lock.exists() and running.poll() is None:
        time.sleep(0.05)
    time.sleep(1)
    second = scarafm(other, "build", "--profile", "tiny", "--cores", "1")
    refusal = second.communicate()[0]
    assert second.returncode == 2 and "another build works in this folder" in refusal
    output = running.communicate()[0]
    assert running.returncode == 0, output
    assert_same(scores(whole), scores(other))
    assert_same(tables(whole), tables(other))
