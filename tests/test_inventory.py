"""What is on disk is compared with the manifest and the lock file, and told apart."""

from __future__ import annotations

from pathlib import Path

import h5py
import pytest

from scarafm_utils.errors import InputError
from scarafm_utils.files import sha256_file, write_json
from scarafm_utils.inventory import bytes_to_fetch, expected_files, inspect, locate, require_servers
from scarafm_utils.lockfile import HIDDEN, remember
from scarafm_utils.manifest import Dataset, SourceSpec, load_manifest

PROJECT = Path(__file__).resolve().parents[1]


def dataset(source="scplantdb", **spec) -> Dataset:
    spec = {"url": "https://a.example/D1.h5ad.gz", **spec}
    return Dataset(id="D1", tissue="leaf", role="pretraining", n_cells=4, sources={source: SourceSpec(**spec)})


def found(described: Dataset, folder: Path, *, source="public", hashed=True) -> tuple[str, str]:
    finding = inspect(described, source=source, data_dir=folder, hashed=hashed)
    return finding.state, finding.detail


def test_a_file_is_absent_incomplete_there_whole_or_damaged(tmp_path):
    known = dataset(bytes=5)
    path = tmp_path / "D1.h5ad.gz"
    assert found(known, tmp_path) == ("absent", "")
    (tmp_path / HIDDEN).mkdir()
    (tmp_path / HIDDEN / "D1.h5ad.gz.part").write_bytes(b"abc")
    assert found(known, tmp_path) == ("incomplete", "3 bytes of an unfinished download")
    path.write_bytes(b"abcde")
    assert found(known, tmp_path) == ("there", "no checksum is known to compare with")
    remember(tmp_path, "D1.h5ad.gz", {"bytes": 5, "sha256": sha256_file(path)})
    assert found(known, tmp_path, hashed=False) == ("there", "")
    assert found(known, tmp_path)[0] == "whole"
    path.write_bytes(b"abcdX")
    assert found(known, tmp_path, hashed=False) == ("there", "")
    assert found(known, tmp_path)[0] == "damaged"
    path.write_bytes(b"abc")
    assert found(known, tmp_path, hashed=False) == ("damaged", "D1.h5ad.gz has 3 bytes, expected are 5")
    path.write_bytes(b"")
    assert found(dataset(), tmp_path, hashed=False)[0] == "damaged"


def test_the_manifest_has_the_last_word_on_a_checksum(tmp_path):
    (tmp_path / "D1.h5ad.gz").write_bytes(b"abcde")
    remember(tmp_path, "D1.h5ad.gz", {"bytes": 5, "sha256": sha256_file(tmp_path / "D1.h5ad.gz")})
    assert found(dataset(sha256="0" * 64), tmp_path)[0] == "damaged"


def test_a_data_set_in_parts_is_as_well_as_its_worst_part(tmp_path):
    described = dataset("geo", parts=["https://a.example/D1_b.h5ad"], bytes=5)
    assert [f.path for f in expected_files(described, source="public", data_dir=tmp_path)] == [
        tmp_path / "D1" / "D1.h5ad.gz", tmp_path / "D1" / "D1_b.h5ad",
    ]  # fmt: skip
    (tmp_path / "D1").mkdir()
    (tmp_path / "D1" / "D1.h5ad.gz").write_bytes(b"abcde")
    assert found(described, tmp_path)[0] == "absent"
    (tmp_path / "D1" / "D1_b.h5ad").write_bytes(b"xy")
    assert found(described, tmp_path)[0] == "there"
    assert locate(described, source="public", data_dir=tmp_path) == tmp_path / "D1"


def test_what_is_still_to_come_is_added_up(tmp_path):
    files = expected_files(dataset(bytes=100), source="public", data_dir=tmp_path)
    files += expected_files(dataset("geo", url="https://a.example/x.tar"), source="public", data_dir=tmp_path)
    assert bytes_to_fetch(files) == (100, 1)
    (tmp_path / HIDDEN).mkdir()
    (tmp_path / HIDDEN / "D1.h5ad.gz.part").write_bytes(b"a" * 30)
    assert bytes_to_fetch(files) == (70, 1)
    (tmp_path / "D1.h5ad.gz").write_bytes(b"a" * 100)
    (tmp_path / "x.tar").write_bytes(b"a" * 10)
    assert bytes_to_fetch(files) == (0, 0)


@pytest.mark.parametrize(
    ("source", "spec", "name"),
    [
        ("scplantdb", {}, "D1.h5ad.gz"),
        ("geo", {"url": "https://a.example/D1_RAW.tar", "format": "raw_tar"}, "D1"),
        ("geo", {"url": "https://a.example/x.rds", "format": "rds"}, "D1.h5ad"),
        ("portal", {"url": None, "format": "manual", "note": "By hand."}, "D1.h5ad"),
        ("release", {"url": None, "path": "x/D1_subset.h5ad"}, "release/x/D1_subset.h5ad"),
    ],
)
def test_where_a_file_would_be(tmp_path, source, spec, name):
    asked = source if source == "release" else "public"
    assert locate(dataset(source, **spec), source=asked, data_dir=tmp_path) == tmp_path / name


def test_what_is_converted_or_fetched_by_hand_says_so_until_it_is_there(tmp_path):
    described = dataset("portal", url=None, format="manual", note="Get it by hand.")
    assert found(described, tmp_path) == ("by hand", "Get it by hand.")
    with h5py.File(tmp_path / "D1.h5", "w") as file:
        file["x"] = range(1000)
    assert found(described, tmp_path) == ("there", "no checksum is known to compare with")


@pytest.mark.parametrize("share", [0.5, 0.0])
def test_a_file_of_ones_own_that_is_cut_short_is_damaged_though_no_checksum_is_known(tmp_path, share):
    path = tmp_path / "D1.h5ad"
    with h5py.File(path, "w") as file:
        file["x"] = range(1000)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))] or b"something else")
    message = "D1.h5ad cannot be opened as HDF5: cut short, or something else"
    assert found(dataset(), tmp_path, source="local") == ("damaged", message)


def test_local_files_and_folders_are_found_under_each_of_their_names(tmp_path):
    assert found(dataset(), tmp_path, source="local") == ("absent", "")
    (tmp_path / "D1").mkdir()
    assert found(dataset(), tmp_path, source="local") == ("there", "a folder")
    mine = dataset("local", url=None, path="mine.h5", bytes=3)
    (tmp_path / "mine.h5").write_bytes(b"abcd")
    assert found(mine, tmp_path, source="local")[0] == "damaged"


def test_a_file_of_the_release_is_known_by_the_lock_file(tmp_path):
    described = dataset("release", url=None, path="x/D1_subset.h5ad")
    path = tmp_path / "release" / "x" / "D1_subset.h5ad"
    write_json(path, {})
    remember(tmp_path, "release/x/D1_subset.h5ad", {"bytes": 3, "sha256": sha256_file(path), "repo": "lab/r"})
    assert found(described, tmp_path, source="release")[0] == "whole"


def test_every_data_set_of_the_paper_has_a_place(tmp_path):
    for d in load_manifest(PROJECT / "data_manifest.yaml").values():
        assert locate(d, source="public", data_dir=tmp_path).name.startswith((d.id, d.scplantdb_id or d.id))
        assert found(d, tmp_path)[0] in ("absent", "by hand")


def test_a_server_is_asked_only_for_what_is_not_here(tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    known = dataset(url="http://127.0.0.1:9/D1.h5ad.gz")
    with pytest.raises(InputError, match="^127.0.0.1:9 cannot be reached: is there a network"):
        require_servers([known], source="public", data_dir=tmp_path)
    (tmp_path / "D1.h5ad.gz").write_bytes(b"abc")
    require_servers([known], source="public", data_dir=tmp_path)
