"""The command line: bad input ends with one line and status 2."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from scarafm_utils.chapters import CHAPTERS

SCARAFM = Path(sys.executable).parent / "scarafm"


def call(*arguments, cwd=None):
    return subprocess.run([SCARAFM, *arguments], capture_output=True, text=True, cwd=cwd)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "leaf_result"], "unknown chapter 'leaf_result': did you mean 'leaf_results'"),
        (["run", "leaf_results", "-p", "hads=LR"], "did you mean 'heads'"),
        (["run", "leaf_results", "-p", "heads"], "write -p name=value"),
        (["run", "leaf_results", "-p", "heads=LR", "-p", "heads=XGB"], "given twice"),
        (["run", "leaf_results", "-p", "task=random:NOPE"], "'NOPE' is not in data_manifest.yaml"),
        (["run", "leaf_results", "-p", "task=random:A\nimport os"], "'A\\nimport os' is not in data_manifest.yaml"),
        (["run", "claims", "-p", "label=stres", "--dry-run"], "has no 'stres', did you mean 'stress'"),
        (["build", "--profile", "dmo"], "dmo"),
        (["build", "--profile", "real_root", "--data-dir", "nowhere"], "nowhere is not a folder"),
        (["build", "--profile", "demo", "--data-dir", "."], "simulates its cells and reads no folder"),
    ],
)
def test_bad_input_is_one_line_and_a_non_zero_exit(arguments, message):
    result = call(*arguments)
    assert result.returncode == 2
    assert result.stdout == ""
    assert message in result.stderr
    assert result.stderr.count("\n") == 1 and "Traceback" not in result.stderr


def test_chapters_and_parameters_are_listed():
    listed = call("chapters").stdout.splitlines()
    assert [line.split()[0] for line in listed] == list(CHAPTERS)
    shown = call("params", "leaf_results").stdout
    assert "n_train (list" in shown and "allowed: raw, CLS, WM" in shown


def test_data_sets_are_listed():
    lines = call("data", "list", "--tissue", "leaf", "--role", "downstream").stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["ERP132245", "GSE226826", "GSE273033", "SRP398011"]
