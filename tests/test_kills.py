"""Nothing is lost when a build dies: not its kernel, its run, Snakemake or all of it at once."""

from __future__ import annotations

import os
import random
import signal
import time

import psutil
import pytest
from tiny_project import assert_same, build, copy_project, scarafm, scores, tables

pytestmark = pytest.mark.slow

VICTIMS = ("kernel", "run", "snakemake", "everything")


def victims_of(build_process, kind):
    """The processes of a build to kill; none where there is no such process at the moment."""
    try:
        children = psutil.Process(build_process.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
    marks = {"kernel": "ipykernel_launcher", "run": "scarafm run", "snakemake": "-m snakemake"}
    if kind == "everything":
        return [psutil.Process(build_process.pid), *children]
    return [p for p in children if marks[kind] in command_of(p)][:1]


def command_of(process):
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


def kill_one(folder, kind, delay):
    """Start a build, kill a part of it after `delay` seconds, and wait until all of it is gone."""
    process = scarafm(folder, "build", "--profile", "tiny", "--cores", "2")
    everyone, killed, deadline = set(), [], time.monotonic() + delay
    while process.poll() is None and not killed:
        try:
            everyone |= set(psutil.Process(process.pid).children(recursive=True))
        except psutil.NoSuchProcess:
            break
        if time.monotonic() > deadline:
            killed = victims_of(process, kind)
            for victim in killed:
                try:
                    os.kill(victim.pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
        time.sleep(0.05)
    output = process.communicate()[0]
    _, alive = psutil.wait_procs(list(everyone), timeout=20)
    assert not [p for p in alive if p.status() != psutil.STATUS_ZOMBIE], "a process outlived its build"
    return bool(killed), process.returncode, output


def finished(folder):
    """Score files with the moment at which each was written: a repeated evaluation writes it again."""
    found = (folder / "artifacts" / "tiny" / "scores").rglob("*.parquet")
    return {path.name: path.stat().st_mtime_ns for path in found if not path.name.startswith(".tmp-")}


def test_ten_kills_lose_nothing_and_repeat_no_finished_evaluation(tmp_path):
    whole, broken = copy_project(tmp_path / "whole"), copy_project(tmp_path / "broken")
    started = time.monotonic()
    build(whole, "--cores", "2")
    duration = time.monotonic() - started
    rng, done, struck = random.Random(1), {}, 0
    for number in range(10):
        kind = VICTIMS[number % len(VICTIMS)]
        killed, code, output = kill_one(broken, kind, rng.uniform(0.05, 0.5) * duration)
        struck += killed
        assert not killed or code != 0 or kind == "kernel", output
        now = finished(broken)
        assert done.items() <= now.items(), f"after killing {kind}, finished evaluations were lost or repeated"
        scores(broken)  # each can be read
        done = now
    build(broken, "--cores", "2")
    assert struck >= 5, "too few kills met a running build: the test shows nothing"
    assert done.items() <= finished(broken).items()
    assert_same(scores(whole), scores(broken))
    assert_same(tables(whole), tables(broken))
    assert not list((broken / "artifacts" / "tiny").rglob(".tmp-*")), "what a killed run left half-written is gone"
    print(f"kills that met a running build: {struck} of 10, lost: 0")


def test_two_builds_in_different_folders_are_equal_and_a_second_one_at_once_is_refused(tmp_path):
    first, second = copy_project(tmp_path / "a"), copy_project(tmp_path / "b")
    running = scarafm(first, "build", "--profile", "tiny", "--cores", "1")
    lock = first / "artifacts" / ".lock"
    while not lock.exists() and running.poll() is None:
        time.sleep(0.05)
    time.sleep(1)
    other = scarafm(first, "build", "--profile", "tiny", "--cores", "1")
    refusal = other.communicate()[0]
    assert other.returncode == 2 and "another build works in this folder" in refusal
    build(second, "--cores", "1")
    assert running.communicate() and running.returncode == 0
    assert_same(scores(first), scores(second))
    assert_same(tables(first), tables(second))
