"""A full disk: one line, nothing under the final name, nothing left over, and room helps."""

from __future__ import annotations

import gzip
import io
import os
import subprocess
import sys
import tarfile

import loopback
import numpy as np
import pytest
import scipy.sparse as sp
from small_disk import grow, small_disk

from scarafm_utils.downloads import download
from scarafm_utils.errors import InputError
from scarafm_utils.files import atomic_path, write_text
from scarafm_utils.hdf5_files import open_hdf5, write_h5ad
from scarafm_utils.lockfile import HIDDEN, LOCK_FILE
from scarafm_utils.readers import read_file
from scarafm_utils.rows import RowStore
from scarafm_utils.unpack import extract_tar, gunzip

BODY = gzip.compress(os.urandom(400_000))


@pytest.fixture
def disk(tmp_path):
    with small_disk(tmp_path / "disk", kilobytes=300) as folder:
        yield folder


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = loopback.Server()
    server.files["/A.h5ad.gz"] = BODY
    yield server
    server.close()


def names(folder) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_a_download_stops_with_one_line_and_goes_on_once_there_is_room(server, disk):
    with pytest.raises(InputError, match="^A.h5ad.gz: the disk is full. Free some space and run again.$"):
        download(server.url("/A.h5ad.gz"), disk)
    assert names(disk) == [HIDDEN]
    grow(disk, kilobytes=2000)
    assert download(server.url("/A.h5ad.gz"), disk).read_bytes() == BODY
    assert server.requests("/A.h5ad.gz")[-1]["Range"].startswith("bytes=")
    assert names(disk) == [HIDDEN, "A.h5ad.gz", LOCK_FILE]
    assert names(disk / HIDDEN) == ["A.h5ad.gz.lock", f"{LOCK_FILE}.lock"]


def test_unpacking_stops_with_one_line_and_leaves_nothing(tmp_path, disk):
    packed = disk / "a.h5ad.gz"
    packed.write_bytes(gzip.compress(bytes(5_000_000)))
    with pytest.raises(InputError, match="a.h5ad.gz: the disk is full"):
        gunzip(packed, disk / "a.h5ad")
    with pytest.raises(InputError, match="a.h5ad.gz: the disk is full"):
        read_file(packed)
    with tarfile.open(tmp_path / "A.tar", "w") as tar:
        info = tarfile.TarInfo("a_matrix.mtx")
        info.size = 1_000_000
        tar.addfile(info, io.BytesIO(bytes(info.size)))
    with pytest.raises(InputError, match="A.tar: the disk is full"):
        extract_tar(tmp_path / "A.tar", disk / "A")
    assert names(disk) == ["a.h5ad.gz"]


def test_results_are_whole_or_absent(disk):
    with pytest.raises(InputError, match="table.csv: the disk is full"):
        write_text(disk / "table.csv", "x" * 1_000_000)
    assert names(disk) == []


WRITE_MANY = """
import sys, anndata, numpy as np, pandas as pd, scipy.sparse as sp
from scarafm_utils.hdf5_files import write_h5ad
for n_rows in range(150, 510, 6):
    matrix = sp.random(n_rows, 200, density=0.4, format="csr", dtype=np.float32, random_state=0)
    obs = pd.DataFrame({"words": [f"w{i}" for i in range(n_rows)]}, index=[f"cell{i}" for i in range(n_rows)])
    try:
        write_h5ad(sys.argv[1] + "/cells.h5ad", anndata.AnnData(matrix, obs=obs, uns={"a": {"b": "c"}})).unlink()
        print("written")
    except ValueError as error:
        print(error)
"""


def test_a_processed_file_is_whole_or_absent_wherever_the_disk_ends(disk):
    # In a process of its own, whose end counts: HDF5 crashes there if it could not close a file.
    result = subprocess.run([sys.executable, "-c", WRITE_MANY, disk], capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")
    full = "cells.h5ad: the disk is full. Free some space and run again."
    said = result.stdout.splitlines()
    assert set(said) == {"written", full} and said == sorted(said, reverse=True) and len(said) == 60
    assert names(disk) == []


def test_a_command_that_fills_the_disk_says_one_line_and_ends_with_2(disk):
    from scarafm_utils import __file__ as package

    code = "from scarafm_utils.cli import main; main()"
    command = [sys.executable, "-c", code, "data", "example", str(disk / "mine")]
    result = subprocess.run(command, capture_output=True, text=True, cwd=os.path.dirname(os.path.dirname(package)))
    assert result.returncode == 2
    assert result.stderr == "scarafm: study_b.h5ad: the disk is full. Free some space and run again.\n"
    assert names(disk / "mine") == []


@pytest.mark.parametrize("with_raw", [False, True])
def test_cells_are_written_as_anndata_writes_them(tmp_path, with_raw):
    import anndata as ad
    import h5py

    cells = ad.AnnData(sp.csr_matrix(np.eye(3, dtype=np.float32)), uns={"a": {"b": 1}}, layers={"c": np.eye(3)})
    cells.obs["word"], cells.varm["measured"] = ["x", "y", "x"], np.ones((3, 2), dtype=bool)
    if with_raw:
        cells.raw = cells.copy()
    found = {}
    for name, write in (("theirs", cells.write_h5ad), ("ours", lambda path: write_h5ad(path, cells))):
        write(tmp_path / name)
        with h5py.File(tmp_path / name) as file:
            places = ["/"]
            file.visit(places.append)
            found[name] = {place: sorted((k, str(v)) for k, v in file[place].attrs.items()) for place in places}
    assert found["ours"] == found["theirs"]
    assert str(ad.read_h5ad(tmp_path / "ours")) == str(ad.read_h5ad(tmp_path / "theirs"))


def test_an_hdf5_file_takes_changes_as_any_other(tmp_path):
    import h5py

    with open_hdf5(tmp_path / "a.h5") as file:
        file["x"] = np.arange(5)
    with open_hdf5(tmp_path / "a.h5", "r+") as file:
        file["y"] = file["x"][:] + 1
    with h5py.File(tmp_path / "a.h5") as file:
        assert file["y"][:].tolist() == [1, 2, 3, 4, 5]
    with pytest.raises(KeyError, match="none"), open_hdf5(tmp_path / "a.h5", "r+") as file:
        raise KeyError("none")


def test_rows_that_wait_on_a_full_disk_are_one_line(disk):
    store = RowStore(disk / "D1", n_columns=1000)
    store.append(sp.random(100, 1000, density=0.05, format="csr", dtype=np.float32, random_state=0))
    with pytest.raises(InputError, match="^D1: the disk is full"):
        store.append(sp.random(1000, 1000, density=0.5, format="csr", dtype=np.float32, random_state=0))


def test_other_faults_of_a_disk_are_not_called_full(tmp_path):
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "a"):
        raise FileNotFoundError(2, "No such file or directory")


def test_a_limit_on_file_sizes_counts_as_full_and_needs_no_root(tmp_path):
    code = (
        "import resource; from pathlib import Path; from scarafm_utils.files import write_text\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        f"try: write_text(Path({str(tmp_path)!r}) / 'a.csv', 'x' * 5000)\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout == "InputError a.csv: the disk is full. Free some space and run again.\n"
    assert names(tmp_path) == []
