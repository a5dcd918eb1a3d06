"""Downloads against a server that breaks off, lies, hangs and changes its mind."""

from __future__ import annotations

import gzip
import hashlib
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import loopback
import pytest

from scarafm_utils.downloads import Network, download, require_server
from scarafm_utils.errors import InputError
from scarafm_utils.lockfile import HIDDEN, LOCK_FILE, checksum, read_lock

PROJECT = Path(__file__).resolve().parents[1]
FAST = Network(attempts=3, timeout=0.5, backoff=0.01)
BODY = gzip.compress(os.urandom(300_000))
DIGEST = hashlib.sha256(BODY).hexdigest()
NAME = "/A.h5ad.gz"


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = loopback.Server()
    server.files[NAME] = BODY
    yield server
    server.close()


def fetch(server, folder, **kwargs) -> Path:
    return download(server.url(NAME), folder, network=FAST, **kwargs)


def visible(folder: Path) -> list[str]:
    """Names in a folder, without the hidden one."""
    return sorted(p.name for p in folder.iterdir() if p.name != HIDDEN)


def test_a_file_arrives_whole_and_is_remembered(server, tmp_path):
    path = fetch(server, tmp_path)
    assert path.read_bytes() == BODY
    entry = read_lock(tmp_path)["A.h5ad.gz"]
    assert (entry["url"], entry["bytes"], entry["sha256"]) == (server.url(NAME), len(BODY), DIGEST)
    assert visible(tmp_path) == ["A.h5ad.gz", LOCK_FILE]
    assert not list((tmp_path / HIDDEN).glob("*.part*"))


def test_what_is_there_is_not_fetched_again(server, tmp_path):
    fetch(server, tmp_path)
    before = (tmp_path / LOCK_FILE).read_bytes()
    fetch(server, tmp_path)
    assert len(server.log) == 1
    assert (tmp_path / LOCK_FILE).read_bytes() == before


@pytest.mark.parametrize("damage", [b"", b"x" * 100, BODY[:-1] + b"!"])
def test_a_damaged_file_is_fetched_again(server, tmp_path, damage):
    path = fetch(server, tmp_path)
    path.write_bytes(damage)
    assert fetch(server, tmp_path).read_bytes() == BODY
    assert len(server.log) == 2


def test_a_file_of_another_size_is_fetched_again_though_no_checksum_is_known(server, tmp_path):
    (tmp_path / "A.h5ad.gz").write_bytes(BODY[:1000])
    assert fetch(server, tmp_path, size=len(BODY)).read_bytes() == BODY


def test_a_file_that_cannot_be_replaced_stays(server, tmp_path):
    (tmp_path / "A.h5ad.gz").write_bytes(BODY[:1000])
    server.faults[NAME].append(loopback.status(404))
    with pytest.raises(InputError, match="404"):
        fetch(server, tmp_path, size=len(BODY))
    assert (tmp_path / "A.h5ad.gz").read_bytes() == BODY[:1000]


def test_a_file_put_there_by_hand_is_taken_and_recorded(server, tmp_path):
    (tmp_path / "A.h5ad.gz").write_bytes(BODY)
    fetch(server, tmp_path, size=len(BODY))
    assert not server.log
    assert read_lock(tmp_path)["A.h5ad.gz"]["sha256"] == DIGEST


def test_a_broken_connection_is_resumed_where_it_broke(server, tmp_path):
    server.faults[NAME] += [loopback.cut(server, 100_000), loopback.cut(server, 50_000)]
    assert fetch(server, tmp_path).read_bytes() == BODY
    assert [h.get("Range") for h in server.requests(NAME)] == [None, "bytes=100000-", "bytes=150000-"]
    assert server.requests(NAME)[1]["If-Range"] == f'"{DIGEST}"'


def test_a_server_without_ranges_sends_it_all_again(server, tmp_path):
    server.ranges = False
    server.faults[NAME].append(loopback.cut(server, 100_000))
    assert fetch(server, tmp_path).read_bytes() == BODY


def test_without_a_validator_nothing_is_resumed(server, tmp_path):
    server.etags = False
    server.faults[NAME].append(loopback.cut(server, 100_000))
    assert fetch(server, tmp_path).read_bytes() == BODY
    assert "Range" not in server.requests(NAME)[1]


def test_a_file_that_changes_between_two_tries_is_not_glued_together(server, tmp_path):
    other = gzip.compress(os.urandom(300_000))

    def change(handler):
        server.files[NAME] = other
        return False

    server.faults[NAME] += [loopback.cut(server, 100_000), change]
    assert fetch(server, tmp_path).read_bytes() == other


def test_a_server_that_ignores_if_range_does_not_glue_either(server, tmp_path):
    other = gzip.compress(os.urandom(300_000))

    def change(handler):
        server.files[NAME] = other
        del handler.headers["If-Range"]
        return False

    server.faults[NAME] += [loopback.cut(server, 100_000), change]
    assert fetch(server, tmp_path).read_bytes() == other


def test_a_truncated_body_again_and_again_is_refused(server, tmp_path):
    server.ranges = False
    server.faults[NAME] += [loopback.cut(server, 1000)] * 9
    with pytest.raises(InputError, match="A.h5ad.gz: .* at 1,000 .*3 times in a row"):
        fetch(server, tmp_path)
    assert visible(tmp_path) == []


def test_a_later_call_goes_on_where_an_earlier_one_gave_up(server, tmp_path):
    server.faults[NAME] += [loopback.cut(server, 200_000), *[loopback.status(503)] * 3]
    with pytest.raises(InputError, match="503"):
        fetch(server, tmp_path)
    assert visible(tmp_path) == []
    assert fetch(server, tmp_path).read_bytes() == BODY
    assert server.requests(NAME)[-1]["Range"] == "bytes=200000-"


@pytest.mark.parametrize("code", [404, 403, 410])
def test_an_answer_that_will_not_change_is_not_asked_for_again(server, tmp_path, code):
    server.faults[NAME].append(loopback.status(code))
    with pytest.raises(InputError, match=f"the server answers {code} .*{NAME}"):
        fetch(server, tmp_path)
    assert len(server.log) == 1
    assert visible(tmp_path) == []


@pytest.mark.parametrize("code", [500, 503, 429])
def test_a_busy_server_is_asked_again(server, tmp_path, code):
    server.faults[NAME] += [loopback.status(code)] * 2
    assert fetch(server, tmp_path).read_bytes() == BODY


def test_a_busy_server_is_given_up(server, tmp_path):
    server.faults[NAME] += [loopback.status(500)] * 9
    with pytest.raises(InputError, match="the server answers 500 .*3 times in a row"):
        fetch(server, tmp_path)


def test_length_zero_under_status_200_is_refused(server, tmp_path):
    server.files[NAME] = b""
    with pytest.raises(InputError, match="empty file"):
        fetch(server, tmp_path, size=len(BODY))
    assert visible(tmp_path) == []


def test_another_size_than_expected_is_refused_before_the_download(server, tmp_path):
    with pytest.raises(InputError, match=rf"the server has {len(BODY):,} bytes, expected are 12,345"):
        fetch(server, tmp_path, size=12345)
    assert visible(tmp_path) == []


def test_a_length_shorter_than_the_file_is_noticed_by_its_size(server, tmp_path):
    server.faults[NAME] += [loopback.body(BODY[:1000], headers={"Transfer": "odd"})]
    with pytest.raises(InputError, match="1,000 bytes, expected"):
        fetch(server, tmp_path, size=len(BODY))


def test_a_page_instead_of_a_file_is_refused(server, tmp_path):
    server.faults[NAME].append(loopback.body(b"<html>moved</html>"))
    with pytest.raises(InputError, match="no .gz file"):
        fetch(server, tmp_path)
    assert visible(tmp_path) == []
    assert fetch(server, tmp_path).read_bytes() == BODY


def test_a_wrong_checksum_is_refused_and_nothing_stays(server, tmp_path):
    with pytest.raises(InputError, match=f"its checksum is not {'0' * 64}"):
        fetch(server, tmp_path, sha256="0" * 64)
    assert visible(tmp_path) == []


def test_bytes_that_changed_after_they_were_recorded_are_refused(server, tmp_path):
    path = fetch(server, tmp_path)
    path.unlink()
    server.files[NAME] = BODY[:-1] + bytes([BODY[-1] ^ 1])
    with pytest.raises(
        InputError, match=f"its checksum is not {DIGEST}, which stands in the manifest or {LOCK_FILE}"
    ):
        fetch(server, tmp_path)
    server.files[NAME] = gzip.compress(b"short")
    with pytest.raises(InputError, match="change its size in the manifest or in downloads.lock.json"):
        fetch(server, tmp_path)
    assert visible(tmp_path) == [LOCK_FILE]


def test_silence_counts_as_an_interruption(server, tmp_path):
    server.faults[NAME] += [loopback.hang(1.2), loopback.hang_inside(server, 100_000, 1.2)]
    assert fetch(server, tmp_path).read_bytes() == BODY
    assert server.requests(NAME)[2]["Range"] == "bytes=100000-"


def test_silence_for_ever_is_given_up(server, tmp_path):
    server.faults[NAME] += [loopback.hang(1)] * 9
    with pytest.raises(InputError, match="no answer within 0.1 seconds, 2 times in a row"):
        download(server.url(NAME), tmp_path, network=Network(attempts=2, timeout=0.1, backoff=0.01))


def test_no_server_fails_at_once_with_one_line(tmp_path):
    with pytest.raises(InputError, match="127.0.0.1:9 cannot be reached: is there a network") as error:
        download("http://127.0.0.1:9/A.gz", tmp_path, network=Network(attempts=99, backoff=60))
    assert "\n" not in str(error.value)


def test_a_server_is_asked_for_once_and_its_answer_does_not_matter(server):
    require_server(server.url("/nothing/there"))
    server.faults[NAME] += [loopback.hang(1)]
    require_server(server.url(NAME), timeout=0.1)
    with pytest.raises(InputError, match="^127.0.0.1:9 cannot be reached: is there a network"):
        require_server("http://127.0.0.1:9/A.gz")


def test_a_lock_file_that_is_no_json_is_named(server, tmp_path):
    (tmp_path / LOCK_FILE).write_text("{")
    with pytest.raises(InputError, match="downloads.lock.json: not valid JSON"):
        fetch(server, tmp_path)


def _fetch_in_process(url: str, folder: str, queue) -> None:
    queue.put(download(url, folder, network=FAST).read_bytes() == BODY)


def test_two_processes_that_want_the_same_file_fetch_it_once(server, tmp_path):
    def slowly(handler):
        time.sleep(0.3)
        return False

    server.faults[NAME].append(slowly)
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    children = [
        context.Process(target=_fetch_in_process, args=(server.url(NAME), str(tmp_path), queue))
        for _ in range(2)
    ]
    for child in children:
        child.start()
    assert [queue.get(timeout=20) for _ in children] == [True, True]
    for child in children:
        child.join(20)
    assert len(server.log) == 1


def test_a_killed_download_leaves_no_file_and_is_resumed(server, tmp_path):
    server.faults[NAME].append(loopback.hang_inside(server, 200_000, 20))
    code = f"from scarafm_utils.downloads import download; download({server.url(NAME)!r}, {str(tmp_path)!r})"
    child = subprocess.Popen([sys.executable, "-c", code], cwd=PROJECT)
    part = tmp_path / HIDDEN / "A.h5ad.gz.part"
    for _ in range(200):
        if part.exists() and part.stat().st_size:
            break
        time.sleep(0.05)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert not (tmp_path / "A.h5ad.gz").exists()
    assert fetch(server, tmp_path).read_bytes() == BODY
    assert server.requests(NAME)[-1]["Range"].startswith("bytes=")


def test_a_checksum_follows_the_file(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"one")
    assert checksum(path) == hashlib.sha256(b"one").hexdigest()
    path.write_bytes(b"another")
    assert checksum(path) == hashlib.sha256(b"another").hexdigest()
