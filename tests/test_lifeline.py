"""One build at a time in a folder, and nothing that outlives it."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import psutil
import pytest

from scarafm_utils.errors import InputError
from scarafm_utils.lifeline import NAME, exclusive


def python(code, *arguments, **options):
    return subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)], text=True, **options)


def wait_until(condition, seconds=20.0):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    return condition()


HOLDER = """
import sys, time
from pathlib import Path
from scarafm_utils.lifeline import exclusive
with exclusive(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""


def test_a_second_build_is_refused_and_a_killed_one_holds_nothing(tmp_path):
    holder = python(HOLDER, tmp_path, 60, stdout=subprocess.PIPE)
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(InputError, match="another build works in this folder"), exclusive(tmp_path):
        pass
    holder.kill()
    holder.wait()
    with exclusive(tmp_path):
        pass


def test_a_single_run_waits_and_says_so(tmp_path, capsys):
    holder = python(HOLDER, tmp_path, 0.5, stdout=subprocess.PIPE)
    assert holder.stdout.readline() == "held\n"
    with exclusive(tmp_path, wait=True):
        assert wait_until(lambda: holder.poll() == 0), "the lock was given before the holder ended"
    assert capsys.readouterr().err.count("waiting until it ends") == 1


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "artifacts").write_text("a file in its place")
    message = "^artifacts/: File exists. Work in a folder that can be written to$"
    with pytest.raises(InputError, match=message), exclusive(tmp_path / "artifacts"):
        pass


RUN = """
import subprocess, sys, time
from scarafm_utils.lifeline import follow_build
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print(child.pid, flush=True)
follow_build(every=0.05)
time.sleep(60)
"""

BUILD = """
import subprocess, sys, time
from scarafm_utils.lifeline import build_environment
run = subprocess.Popen([sys.executable, "-c", sys.argv[1]], env=build_environment(), stdout=subprocess.PIPE, text=True)
print(run.pid, run.stdout.readline().strip(), flush=True)
time.sleep(60)
"""


def test_a_run_and_its_children_end_when_their_build_is_killed():
    build = python(BUILD, RUN, stdout=subprocess.PIPE)
    processes = [psutil.Process(int(pid)) for pid in build.stdout.readline().split()]
    assert all(p.is_running() for p in processes)
    build.kill()
    build.wait()
    assert wait_until(lambda: not any(alive(p) for p in processes))


def alive(process):
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def test_outside_a_build_nothing_is_followed():
    environment = {k: v for k, v in os.environ.items() if k != NAME}
    code = "from scarafm_utils.lifeline import follow_build; import threading\n"
    code += "follow_build(); assert threading.active_count() == 1"
    assert python(code, env=environment).wait() == 0


def test_a_build_ends_what_a_killed_snakemake_leaves_behind():
    code = """
import os, subprocess, sys
from scarafm_utils.lifeline import adopt_orphans, end_children
adopt_orphans()
sleeper = "[sys.executable, '-c', 'import time; time.sleep(60)']"
middle = f"import subprocess, sys; p = subprocess.Popen({sleeper}, stdout=subprocess.DEVNULL); print(p.pid)"
out = subprocess.run([sys.executable, "-c", middle], stdout=subprocess.PIPE, text=True).stdout
end_children()
print(out.strip())
"""
    started = time.monotonic()
    build = python(code, stdout=subprocess.PIPE)
    orphan = int(build.stdout.readline())
    assert build.wait() == 0 and not psutil.pid_exists(orphan)
    assert time.monotonic() - started < 50, "the orphan was not killed, it ended by itself"
