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


def test_a_processed_file_is_whole_or_absent(disk):
    code = (  # in a process of its own, which does not end as others do: HDF5 crashes at exit after a full disk
        "import os, sys, anndata, numpy as np; from scarafm_utils.preprocessing import write_h5ad\n"
        "try: write_h5ad(sys.argv[1], anndata.AnnData(np.random.default_rng(0).random((300, 300), dtype=np.float32)))\n"
        "except ValueError as error: print(error, flush=True)\n"
        "os._exit(0)"
    )
    result = subprocess.run([sys.executable, "-c", code, disk / "cells.h5ad"], capture_output=True, text=True)
    assert result.stdout == "cells.h5ad: the disk is full. Free some space and run again.\n"
    assert names(disk) == []


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
