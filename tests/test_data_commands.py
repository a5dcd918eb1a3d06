"""`scarafm data …` against a server that misbehaves: clear lines, honest exits, the rest still fetched."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import re
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import loopback
import pytest
import yaml
from small_disk import small_disk
from test_manifest_draft import study
from typer.testing import CliRunner

from scarafm_utils import fetching, unpack
from scarafm_utils.cli import app
from scarafm_utils.data_requests import read_request
from scarafm_utils.errors import InputError
from scarafm_utils.lockfile import HIDDEN, LOCK_FILE, read_lock
from scarafm_utils.manifest import load_manifest

SCARAFM = Path(sys.executable).with_name("scarafm")
BODY = gzip.compress(os.urandom(200_000))
QUICK = ["--attempts", "2", "--timeout", "0.3"]


@pytest.fixture
def world(tmp_path, monkeypatch):
    """A server, and a manifest of three data sets on it: A and B are packed files, T is a RAW.tar."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.chdir(tmp_path)
    server = loopback.Server()
    server.files |= {"/A.h5ad.gz": BODY, "/B.h5ad.gz": BODY}
    entry = {"tissue": "leaf", "role": "pretraining", "n_cells": 4}
    entries = {
        "A": {**entry, "sources": {"scplantdb": {"url": server.url("/A.h5ad.gz"), "bytes": len(BODY)}}},
        "B": {**entry, "sources": {"scplantdb": {"url": server.url("/B.h5ad.gz")}}, "tissue": "root"},
        "T": {**entry, "sources": {"geo": {"url": server.url("/T_RAW.tar"), "format": "raw_tar"}}},
    }
    Path("m.yaml").write_text(yaml.safe_dump({"datasets": entries}))
    yield server
    server.close()


def call(*arguments: str) -> tuple[int, str, str]:
    """Exit status, output and errors of ``scarafm data``, with the manifest and folder of `world`."""
    where = [] if arguments[0] == "init" else ["--manifest", "m.yaml", "--data-dir", "d"]
    result = CliRunner().invoke(app, ["data", *arguments, *where])
    if isinstance(result.exception, InputError):
        return 2, result.stdout, f"{result.stderr}scarafm: {result.exception}\n"
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


def visible(folder: str = "d") -> list[str]:
    return sorted(p.name for p in Path(folder).iterdir() if p.name != HIDDEN)


def parts() -> list[str]:
    return [p.name for p in (Path("d") / HIDDEN).rglob("*") if not p.name.endswith(".lock")]


# ---- list, fetch, verify, path ----------------------------------------------------------------


def test_a_data_set_is_fetched_listed_verified_and_found(world):
    code, out, err = call("fetch", "A")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "1 data set from public: 0.2 MB to fetch."
    digest = hashlib.sha256(BODY).hexdigest()
    assert re.match(rf"\[1/1\] A: fetched in \d+ s, 0.2 MB, sha256 {digest[:12]}… as recorded", lines[1])
    assert lines[2] == "1 data set in d, whole."
    assert read_lock("d")["A.h5ad.gz"]["sha256"] == digest
    assert visible() == ["A.h5ad.gz", LOCK_FILE] and parts() == []
    assert call("fetch", "A")[1].splitlines()[1].startswith("[1/1] A: was there, 0.2 MB")
    assert len(world.log) == 1
    listed = [line.split() for line in call("list")[1].splitlines()]
    assert [(row[0], row[-1]) for row in listed] == [("A", "there"), ("B", "absent"), ("T", "absent")]
    verified = f"A            whole      sha256 {digest[:12]}… as recorded\n1 of 3 data sets in d.\n"
    assert call("verify")[:2] == (0, verified)
    assert call("path", "A") == (0, f"{Path('d/A.h5ad.gz').absolute()}\n", "")
    assert call("path", "B") == (0, f"{Path('d/B.h5ad.gz').absolute()}\n", "(not there yet)\n")


def test_verify_tells_what_changed_and_fetch_mends_it(world):
    call("fetch", "A")
    Path("d/A.h5ad.gz").write_bytes(BODY[:-1] + bytes([BODY[-1] ^ 1]))
    code, out, err = call("verify", "A", "B")
    assert code == 1 and "A            damaged    A.h5ad.gz has the checksum" in out and "B            absent" in out
    assert "scarafm data fetch brings what is missing or damaged" in err
    assert call("fetch", "A")[0] == 0
    assert Path("d/A.h5ad.gz").read_bytes() == BODY and call("verify", "A")[0] == 0


def test_nothing_there_is_no_success(world):
    assert call("verify")[:2] == (1, "0 of 3 data sets in d.\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fetch"], "which data sets? Give ids, --tissue, --role, --profile or --all."),
        (["fetch", "C"], "data set 'C' is not in the manifest: Allowed: A, B, T."),
        (["fetch", "A", "--source", "scplantbd"], "source 'scplantbd' is not known: did you mean 'scplantdb'?"),
        (["fetch", "A", "--source", "local"], "local files are your own"),
        (["fetch", "A", "--profile", "demo"], "profile 'demo' simulates its cells"),
        (["list", "--tissue", "leef"], "tissue 'leef' is not known: did you mean 'leaf'?"),
        (["list", "--tissue", "root", "--role", "downstream"], "no data set fits these options"),
        (["path", "A", "--source", "geo"], "A: no source 'geo' in the manifest (it names: scplantdb)."),
    ],
)
def test_what_cannot_be_asked_is_refused_in_one_line(world, arguments, message):
    code, out, err = call(*arguments)
    assert (code, out) == (2, "") and err.count("\n") == 1
    assert message in err


def test_a_profile_chooses_data_sets_source_and_folder():
    asked = read_request(profile="laptop")
    assert asked.source == "public" and len(asked.datasets) == 9
    assert {d.id for d in asked.datasets} >= {"ERP132245", "DRP009643", "SRP285040"}
    assert asked.folder.name == "data"
    assert [d.id for d in read_request(profile="laptop", tissue="leaf").datasets] == ["ERP132245", "DRP009643"]


# ---- faults, from the server to the exit status -----------------------------------------------

FAULTS = {
    "truncated body": (lambda s: [loopback.cut(s, 1000)] * 9, "the server broke off|at 1,000"),
    "wrong length": (lambda s: [loopback.body(BODY[:500])], "the server has 500 bytes, expected are"),
    "length 0 under status 200": (lambda s: [loopback.body(b"")], "the server answers with an empty file"),
    "404": (lambda s: [loopback.status(404)], "the server answers 404"),
    "500 for ever": (lambda s: [loopback.status(500)] * 9, "the server answers 500 .*2 times in a row"),
    "silence": (lambda s: [loopback.hang(0.6)] * 9, "no answer within 0.3 seconds, 2 times in a row"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_failed_download_is_one_line_and_the_rest_is_fetched(world, fault):
    make, message = FAULTS[fault]
    world.ranges = False
    world.faults["/A.h5ad.gz"] += make(world)
    code, out, err = call("fetch", "A", "B", *QUICK)
    failures = [line for line in err.splitlines() if "failed" in line]
    assert code == 1 and len(failures) == 2
    assert re.match(rf"\[1/2\] A: failed: .*({message})", failures[0])
    assert failures[1] == "scarafm: 1 of 2 failed: A. Run the same command again to go on."
    assert "[2/2] B: fetched" in out
    assert visible() == ["B.h5ad.gz", LOCK_FILE]
    world.faults.clear()
    assert call("fetch", "A", "B", *QUICK)[0] == 0 and visible() == ["A.h5ad.gz", "B.h5ad.gz", LOCK_FILE]
    assert parts() == []


def test_a_busy_server_is_asked_again_and_the_wait_is_told(world):
    world.faults["/B.h5ad.gz"].append(loopback.status(500))
    code, out, err = call("fetch", "B", *QUICK)
    assert code == 0 and out.startswith("1 data set from public: 1 file of unknown size to fetch.")
    assert err == "  B.h5ad.gz: the server answers 500 Internal Server Error; going on in 0.3 s\n"


def test_bytes_that_changed_after_they_were_recorded_are_refused(world):
    call("fetch", "B")
    Path("d/B.h5ad.gz").unlink()
    world.files["/B.h5ad.gz"] = BODY[:-1] + bytes([BODY[-1] ^ 1])
    code, _, err = call("fetch", "B")
    assert code == 1 and "its checksum is not" in err and visible() == [LOCK_FILE] and parts() == []


@pytest.mark.parametrize("member", ["../matrix.mtx", "/matrix.mtx"])
def test_an_archive_that_would_write_elsewhere_is_refused(world, member):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        tar.addfile(tarfile.TarInfo(member))
    world.files["/T_RAW.tar"] = buffer.getvalue()
    code, _, err = call("fetch", "T")
    assert code == 1 and f"T_RAW.tar: member '{member}' would land outside its folder" in err
    assert visible() == ["T_RAW.tar", LOCK_FILE]


def test_a_disk_without_room_is_refused_before_and_during_a_download(world):
    with small_disk(Path("d"), kilobytes=100):
        code, out, err = call("fetch", "A")  # its size is known
        assert (code, visible()) == (2, []) and "d has room for 0.1 MB: 0.2 MB are needed" in err
        code, out, err = call("fetch", "B")  # its size is not
        assert code == 1 and "[1/1] B: failed: B.h5ad.gz: the disk is full. Free some space" in err
        assert visible() == []


def test_a_killed_fetch_goes_on_where_it_was(world):
    world.faults["/A.h5ad.gz"].append(loopback.hang_inside(world, 120_000, 20))
    command = [SCARAFM, "data", "fetch", "A", "--manifest", "m.yaml", "--data-dir", "d"]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    part = Path("d") / HIDDEN / "A.h5ad.gz.part"
    for _ in range(400):
        if part.exists() and part.stat().st_size == 120_000:
            break
        time.sleep(0.05)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert visible() == []
    assert call("list")[1].splitlines()[0].split()[-1] == "incomplete"
    code, out, _ = call("fetch", "A")
    assert (code, out.splitlines()[0]) == (0, "1 data set from public: 0.1 MB to fetch.")
    assert world.requests("/A.h5ad.gz")[-1]["Range"] == "bytes=120000-"
    assert call("verify", "A")[0] == 0 and parts() == []


def test_two_fetches_at_once_bring_one_file(world):
    def slowly(handler):
        time.sleep(1)
        return False

    world.faults["/A.h5ad.gz"].append(slowly)
    command = [SCARAFM, "data", "fetch", "A", "--manifest", "m.yaml", "--data-dir", "d"]
    children = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for _ in range(2)]
    assert [child.wait(60) for child in children] == [0, 0]
    assert len(world.log) == 1 and visible() == ["A.h5ad.gz", LOCK_FILE] and parts() == []


# ---- progress ---------------------------------------------------------------------------------


def test_plain_lines_come_at_tenths_of_large_files_only(capsys):
    lines = fetching._Lines()
    for have in range(0, 101, 2):
        lines.at("large", have * 1_000_000, 100_000_000)
        lines.at("small", have * 1000, 100_000)
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == "  large: 10.0 MB of 100.0 MB" and len(shown) == 9


def test_on_a_terminal_there_is_a_bar(monkeypatch):
    from rich.progress import Progress

    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    with fetching._watching() as watcher:
        watcher.at("A", 5, 10)
        (task,) = watcher.progress.tasks
        assert isinstance(watcher.progress, Progress) and (task.completed, task.total) == (5, 10)
        watcher.end()
        assert not watcher.progress.tasks


# ---- init -------------------------------------------------------------------------------------


def test_init_writes_an_entry_says_what_the_design_allows_and_never_overwrites(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    study(**{"Orig.ident": ["a"] * 4 + ["b"] * 4, "Repeat": None}).write_h5ad("mine.h5ad")
    code, out, err = call("init", "mine.h5ad", "--tissue", "root")
    assert (code, err) == (0, "")
    assert "  random       with care: 2 libraries: a random split measures the library\n" in out
    assert "  replicate    no: nothing of control and stress is left to train on" in out
    assert "  cross        no: needs a second study with the same stress and the same classes\n" in out
    assert out.endswith("Written to mine_manifest.yaml: check every line.\n")
    assert load_manifest("mine_manifest.yaml")["mine"].libraries == 2
    before = Path("mine_manifest.yaml").read_bytes()
    code, out, err = call("init", "mine.h5ad")
    assert (code, out) == (2, "") and "mine_manifest.yaml is there already" in err
    assert Path("mine_manifest.yaml").read_bytes() == before
    assert call("init", "mine.h5ad", "--out", "other.yaml", "--id", "X1")[0] == 0
    assert "tissue: FILL_IN" in Path("other.yaml").read_text() and "  X1:" in Path("other.yaml").read_text()


def test_init_refuses_what_it_cannot_read_and_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("bad.h5ad").write_bytes(b"x" * 50)
    Path("seurat.rds").write_bytes(b"x")
    refused = {"bad.h5ad": "cannot be read as .h5ad", "seurat.rds": "Rscript", "no.h5ad": "no such file"}
    for name, message in refused.items():
        code, out, err = call("init", name)
        assert (code, out, err.count("\n")) == (2, "", 1) and message in err
    assert visible(".") == ["bad.h5ad", "seurat.rds"]


def damage(adata, value) -> object:
    adata.X = adata.X.toarray()
    adata.X[0, 0] = value
    return adata


@pytest.mark.parametrize(
    ("value", "remark"),
    [(-1.0, "no counts: X has negative values"), (float("nan"), "no counts: X has values that are NaN")],
)
def test_init_says_what_is_wrong_with_the_values(tmp_path, monkeypatch, value, remark):
    monkeypatch.chdir(tmp_path)
    damage(study(), value).write_h5ad("mine.h5ad")
    code, out, _ = call("init", "mine.h5ad")
    assert code == 0 and f"  note: {remark}" in out and "counts: FILL_IN" in Path("mine_manifest.yaml").read_text()


def test_a_bomb_is_refused_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(unpack, "MAX_UNPACKED", 1_000_000)
    Path("bomb.h5ad.gz").write_bytes(gzip.compress(bytes(20_000_000)))
    code, out, err = call("init", "bomb.h5ad.gz")
    assert (code, out) == (2, "") and err == "scarafm: bomb.h5ad.gz: unpacks to more than 1,000,000 bytes; refused.\n"
    assert visible(".") == ["bomb.h5ad.gz"]


def test_a_folder_that_may_not_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    result = subprocess.run(
        [SCARAFM, "data", "fetch", "ERP132245", "--data-dir", tmp_path / "file" / "d"], capture_output=True, text=True
    )
    assert result.returncode == 2 and result.stderr.count("\n") == 1 and "Not a directory" in result.stderr
