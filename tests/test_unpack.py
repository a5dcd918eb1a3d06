"""Archives from elsewhere: inside the folder, up to a size, all or nothing."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
from pathlib import Path

import pytest

from scarafm_utils.errors import InputError
from scarafm_utils.unpack import extract_tar, gunzip, unpacked


def write_tar(path: Path, members: dict[str, bytes], *, special: list[tarfile.TarInfo] = ()) -> Path:
    with tarfile.open(path, "w") as tar:
        for info in special:
            tar.addfile(info)
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def special(kind: bytes, name: str, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def test_gunzip_by_hand(tmp_path):
    (tmp_path / "a.gz").write_bytes(gzip.compress(b"cells"))
    assert gunzip(tmp_path / "a.gz", tmp_path / "a", max_bytes=5).read_bytes() == b"cells"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (gzip.compress(bytes(10_000_000)), "unpacks to more than 1,000,000 bytes"),
        (gzip.compress(os.urandom(5000))[:-12], "not a whole gzip file"),
        (gzip.compress(os.urandom(5000))[:2000] + b"x" * 500, "not a whole gzip file"),
        (b"plain", "not a whole gzip file"),
    ],
)
def test_gunzip_refuses_bombs_and_damaged_files_and_leaves_nothing(tmp_path, content, message):
    (tmp_path / "a.gz").write_bytes(content)
    with pytest.raises(InputError, match=f"a.gz: {message}"):
        gunzip(tmp_path / "a.gz", tmp_path / "a", max_bytes=1_000_000)
    assert [p.name for p in tmp_path.iterdir()] == ["a.gz"]


def test_an_unpacked_copy_is_gone_afterwards(tmp_path):
    (tmp_path / "a.h5ad.gz").write_bytes(gzip.compress(b"cells"))
    with unpacked(tmp_path / "a.h5ad.gz") as plain:
        assert plain.name == "a.h5ad" and plain.read_bytes() == b"cells"
    assert [p.name for p in tmp_path.iterdir()] == ["a.h5ad.gz"]


def test_only_files_with_cells_are_unpacked(tmp_path):
    members = {
        "GSM1_a_matrix.mtx.gz": b"m",
        "GSM1_a_barcodes.tsv.gz": b"b",
        "GSM1_atac_fragments.tsv.gz": b"huge",
    }
    folder = extract_tar(write_tar(tmp_path / "A.tar", members), tmp_path / "A")
    assert sorted(p.name for p in folder.iterdir()) == ["GSM1_a_barcodes.tsv.gz", "GSM1_a_matrix.mtx.gz"]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["A", "A.tar"]


def test_an_archive_replaces_what_an_earlier_one_left(tmp_path):
    extract_tar(write_tar(tmp_path / "A.tar", {"a_matrix.mtx": b"1", "b_matrix.mtx": b"1"}), tmp_path / "A")
    extract_tar(write_tar(tmp_path / "A.tar", {"a_matrix.mtx": b"2"}), tmp_path / "A")
    assert {p.name: p.read_bytes() for p in (tmp_path / "A").iterdir()} == {"a_matrix.mtx": b"2"}


@pytest.mark.parametrize(
    ("members", "extra", "message"),
    [
        ({"../out_matrix.mtx": b"x"}, [], "would land outside"),
        ({"a/../../out_matrix.mtx": b"x"}, [], "would land outside"),
        ({"/tmp/out_matrix.mtx": b"x"}, [], "would land outside"),
        ({"..\\out_matrix.mtx": b"x"}, [], "would land outside"),
        ({"a_matrix.mtx": b"x"}, [special(tarfile.SYMTYPE, "link", "/etc")], "'link' is a link or a device"),
        ({"a_matrix.mtx": b"x"}, [special(tarfile.LNKTYPE, "link", "/etc/passwd")], "is a link"),
        ({"a_matrix.mtx": b"x"}, [special(tarfile.FIFOTYPE, "pipe")], "is a link or a device"),
        ({"a_matrix.mtx": bytes(2000)}, [], "unpacks to more than 1,000 bytes"),
        ({"a_matrix.mtx": bytes(600), "b_matrix.mtx": bytes(600)}, [], "unpacks to more than 1,000 bytes"),
        (
            {"a.rds": b"x", "b.txt": b"x"},
            [],
            r"no 10x or h5ad file in this archive \(it holds a.rds, b.txt\)",
        ),
        ({}, [], "it holds nothing"),
    ],
)
def test_dangerous_archives_are_refused_whole(tmp_path, members, extra, message):
    archive = write_tar(
        tmp_path / "A.tar", {"good_matrix.mtx": b"ok", **members} if extra else members, special=extra
    )
    (tmp_path / "data").mkdir()
    with pytest.raises(InputError, match=f"A.tar: .*{message}"):
        extract_tar(archive, tmp_path / "data" / "A", max_bytes=1000)
    assert [p.name for p in tmp_path.iterdir() if p.name != "A.tar"] == ["data"]
    assert not list((tmp_path / "data").iterdir())


@pytest.mark.parametrize("content", [b"<html>", b"", b"x" * 5000])
def test_what_is_no_archive_is_refused(tmp_path, content):
    (tmp_path / "A.tar").write_bytes(content)
    with pytest.raises(InputError, match="A.tar: "):
        extract_tar(tmp_path / "A.tar", tmp_path / "A")


def test_a_truncated_archive_is_refused_and_leaves_nothing(tmp_path):
    archive = write_tar(tmp_path / "A.tar", {"a_matrix.mtx": os.urandom(50_000)})
    archive.write_bytes(archive.read_bytes()[:20_000])
    with pytest.raises(InputError, match="not a whole tar archive"):
        extract_tar(archive, tmp_path / "A")
    assert [p.name for p in tmp_path.iterdir()] == ["A.tar"]
