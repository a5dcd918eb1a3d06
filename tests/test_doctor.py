"""What the doctor finds: each check says what is wrong and what to do."""

from __future__ import annotations

from importlib import metadata

import psutil
import pytest

from scarafm_utils import doctor
from scarafm_utils.workspace import Workspace, open_workspace


def test_this_environment_is_as_pinned():
    check = doctor.check_packages(doctor.PROJECT / "requirements.txt")
    assert check.state == "ok", check.found


@pytest.mark.parametrize(
    ("line", "state", "found"),
    [
        ("numpy==0.1", "problem", f"numpy ({metadata.version('numpy')})"),
        ("no-such-package==1.0", "problem", "no-such-package (absent)"),
        ("no-such-package==1.0 ; sys_platform == 'nowhere'", "ok", "0 as pinned"),
        (f"numpy=={metadata.version('numpy')}", "ok", "1 as pinned"),
    ],
)
def test_a_package_that_is_not_as_pinned_is_named(tmp_path, line, state, found):
    (tmp_path / "requirements.txt").write_text(f"# made by a tool\n{line}\n")
    check = doctor.check_packages(tmp_path / "requirements.txt")
    assert check.state == state and found in check.found


def test_too_little_memory_or_disk_is_a_problem_with_both_numbers(monkeypatch):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("m", (), {"available": 1.5e9}))
    assert doctor.check_memory(2.0).state == "problem"
    assert "1.5 GB free, 2 GB needed" in doctor.check_memory(2.0).found
    assert doctor.check_memory(1.0) == doctor.Check("memory", "ok", "1.5 GB free")


def test_a_container_has_no_more_than_its_limit(tmp_path, monkeypatch):
    """Binder and hubs give less than the machine has."""
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("m", (), {"available": 64e9}))
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(doctor, "LIMITS", (limit, tmp_path / "absent"))
    limit.write_text("700000000\n")
    assert doctor.check_memory(1.0).found.startswith("0.7 GB free, 1 GB needed")
    limit.write_text("max\n")
    assert doctor.check_memory(1.0) == doctor.Check("memory", "ok", "64.0 GB free")


def test_a_class_asks_for_less_memory_and_has_no_makefile(tmp_path, monkeypatch):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("m", (), {"available": 1.2e9, "total": 2e9}))
    states = [{c.name: c.state for c in doctor.examine(open_workspace("demo"), memory=m)} for m in (None, 1)]
    assert [s["memory"] for s in states] == ["problem", "ok"]
    (tmp_path / "requirements.txt").write_text("no-such-package==1.0\n")
    assert "make" not in doctor.check_packages(tmp_path / "requirements.txt").found


def test_data_of_a_local_profile_are_looked_for(tmp_path):
    real = open_workspace("real_root")
    workspace = Workspace(real.profile, real.manifest, tmp_path)
    assert doctor.check_data(workspace).state == "warning"
    (tmp_path / "data").mkdir()
    missing = doctor.check_data(workspace)
    assert missing.state == "problem" and "SRP169576" in missing.found
    for name in ("SRP169576.h5ad", "SRP182008.h5ad", "root_nuclei_10x.h5"):
        (tmp_path / "data" / name).write_bytes(b"x")
    assert doctor.check_data(workspace) == doctor.Check("data", "ok", "3 files found")


def test_a_simulated_profile_needs_no_files():
    checks = {c.name: c for c in doctor.examine(open_workspace("demo"))}
    assert "nothing to fetch" in checks["data"].found
    assert set(checks) == {"Python", "packages", "cores", "memory", "disk", "device", "data"}
