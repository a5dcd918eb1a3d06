"""A file is whole or absent."""

from __future__ import annotations

import json

import pandas as pd
import pytest
from small_disk import make_read_only, small_disk

from scarafm_utils.errors import InputError
from scarafm_utils.files import (
    atomic_path,
    code_digest,
    hash_of,
    require_writable,
    sha256_file,
    write_csv,
    write_json,
)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_a_temporary_name_keeps_the_ending(tmp_path):
    with atomic_path(tmp_path / "deep" / "a.h5ad") as temporary:
        assert temporary.suffix == ".h5ad" and temporary.parent == tmp_path / "deep"
        temporary.write_text("x")
    assert (tmp_path / "deep" / "a.h5ad").read_text() == "x"


@pytest.fixture
def unwritable(tmp_path):
    """A folder that nobody, root included, may write to."""
    with small_disk(tmp_path / "disk", kilobytes=300) as folder:
        make_read_only(folder)
        yield folder


def test_a_folder_that_cannot_be_written_to_is_named_before_the_work(unwritable):
    message = r"^disk/ cannot be written to \(Read-only file system\). Make it writable and run again.$"
    with pytest.raises(InputError, match=message), atomic_path(unwritable / "a.csv"):
        pytest.fail("the work began")
    with pytest.raises(InputError, match=message):
        require_writable(unwritable)


def test_sha256_of_a_known_text(tmp_path):
    (tmp_path / "abc").write_text("abc")
    assert sha256_file(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_hashes_ignore_key_order_and_see_every_value():
    assert hash_of({"a": 1, "b": 2}) == hash_of({"b": 2, "a": 1}) != hash_of({"a": 1, "b": 3})


def test_the_digest_of_code_differs_between_modules():
    assert code_digest("errors") != code_digest("files")
    assert code_digest("errors", "files") == code_digest("files", "errors")


def test_tables_and_json_come_back(tmp_path):
    table = pd.DataFrame({"x": [0.1, 1 / 3]})
    read = pd.read_csv(write_csv(tmp_path / "t.csv", table), float_precision="round_trip")
    pd.testing.assert_frame_equal(read, table)
    assert json.loads(write_json(tmp_path / "j.json", {"k": [1]}).read_text()) == {"k": [1]}
