"""What several files of slow tests share."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_project import build, copy_project


@pytest.fixture(scope="session")
def whole(tmp_path_factory) -> Path:
    """A copy of the project in which the tiny book was built once, without any fault; nobody changes it."""
    folder = copy_project(tmp_path_factory.mktemp("whole"))
    build(folder, "--cores", "2")
    return folder
