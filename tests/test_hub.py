"""The release: only the files asked for, at one commit, against a server that speaks the hub's language."""

from __future__ import annotations

import hashlib
import json

import loopback
import pytest

from scarafm_utils.errors import InputError
from scarafm_utils.hub import fetch_release
from scarafm_utils.lockfile import read_lock

REPO = "lab/release"
COMMITS = ["a" * 40, "b" * 40]
FILES = {
    "data/leaf/A_subset.h5ad": b"cells A",
    "data/leaf/B_subset.h5ad": b"cells B",
    "model/w.pth": b"weights",
}


class Hub(loopback.Server):
    """Answers the few questions of `snapshot_download`: which commit, which files, each file."""

    def __init__(self) -> None:
        super().__init__()
        self.commits = {COMMITS[0]: dict(FILES)}
        self.head = COMMITS[0]

    def answer(self, handler) -> None:
        path = handler.path.split("?")[0]
        self.log.append((handler.command, path, dict(handler.headers)))
        parts = path.strip("/").split("/")
        if parts[:4] == ["api", "datasets", *REPO.split("/")] and (len(parts) == 4 or parts[4] == "revision"):
            revision = parts[5] if len(parts) > 5 else "main"
            commit = self.head if revision == "main" else revision
            self.reply(
                handler, {"id": REPO, "sha": commit, "siblings": []} if commit in self.commits else None
            )
        elif parts[:5] == ["api", "datasets", *REPO.split("/"), "tree"]:
            files = self.commits[parts[5]]
            self.reply(
                handler, [{"type": "file", "path": p, "size": len(c), "oid": "0"} for p, c in files.items()]
            )
        elif parts[:4] == ["datasets", *REPO.split("/"), "resolve"]:
            content = self.commits[parts[4]]["/".join(parts[5:])]
            etag = f'"{hashlib.sha1(content).hexdigest()}"'
            loopback.send(handler, 200, content, headers={"ETag": etag, "X-Repo-Commit": parts[4]})
        else:
            self.reply(handler, None)

    def reply(self, handler, value) -> None:
        code = 404 if value is None else 200
        headers = {
            "Content-Type": "application/json",
            "X-Error-Code": "RepoNotFound" if value is None else "",
        }
        loopback.send(handler, code, json.dumps({} if value is None else value).encode(), headers=headers)

    def fetched(self) -> list[str]:
        return sorted({p.split("/", 6)[-1] for m, p, _ in self.log if "/resolve/" in p and m == "GET"})


@pytest.fixture
def hub(monkeypatch, tmp_path):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    hub = Hub()
    yield hub
    hub.close()


def fetch(hub, folder, *patterns, **kwargs):
    return fetch_release(patterns, data_dir=folder, repo=REPO, endpoint=hub.url("").rstrip("/"), **kwargs)


def test_only_the_files_asked_for_come_and_the_commit_is_pinned(hub, tmp_path):
    paths = fetch(hub, tmp_path, "data/leaf/A_subset.h5ad")
    assert [p.relative_to(tmp_path).as_posix() for p in paths] == ["release/data/leaf/A_subset.h5ad"]
    assert paths[0].read_bytes() == b"cells A"
    assert hub.fetched() == ["data/leaf/A_subset.h5ad"]
    lock = read_lock(tmp_path)
    assert lock[f"release:{REPO}@main"]["commit"] == COMMITS[0]
    entry = lock["release/data/leaf/A_subset.h5ad"]
    assert (entry["commit"], entry["bytes"]) == (COMMITS[0], 7)
    assert entry["sha256"] == hashlib.sha256(b"cells A").hexdigest()


def test_patterns_match_several_files(hub, tmp_path):
    assert [p.name for p in fetch(hub, tmp_path, "data/leaf/*", revision="unknown")] == [
        "A_subset.h5ad",
        "B_subset.h5ad",
    ]


def test_the_pin_holds_when_the_repository_moves_on(hub, tmp_path):
    fetch(hub, tmp_path, "data/leaf/A_subset.h5ad")
    hub.commits[COMMITS[1]] = {path: b"new" for path in FILES}
    hub.head = COMMITS[1]
    assert fetch(hub, tmp_path, "model/w.pth")[0].read_bytes() == b"weights"


def test_a_commit_given_is_the_commit_read(hub, tmp_path):
    hub.commits[COMMITS[1]] = {"model/w.pth": b"other weights"}
    assert fetch(hub, tmp_path, "model/w.pth", revision=COMMITS[1])[0].read_bytes() == b"other weights"


def test_what_is_there_needs_no_server(hub, tmp_path):
    fetch(hub, tmp_path, "model/w.pth")
    hub.close()
    assert fetch(hub, tmp_path, "model/w.pth")[0].read_bytes() == b"weights"


def test_a_changed_file_is_noticed(hub, tmp_path):
    path = fetch(hub, tmp_path, "model/w.pth")[0]
    path.write_bytes(b"weird")
    with pytest.raises(InputError, match="release/model/w.pth: not the file recorded .* Delete the file"):
        fetch(hub, tmp_path, "model/w.pth")
    path.unlink()
    assert fetch(hub, tmp_path, "model/w.pth")[0].read_bytes() == b"weights"


def test_refusals_are_one_line(hub, tmp_path):
    with pytest.raises(InputError, match=f"model/x.pth: no such file in {REPO} at commit aaaa"):
        fetch(hub, tmp_path, "model/x.pth")
    with pytest.raises(InputError, match="Hugging Face has no dataset lab/nothing"):
        fetch_release(["a"], data_dir=tmp_path, repo="lab/nothing", endpoint=hub.url("").rstrip("/"))
    with pytest.raises(InputError, match="cannot be fetched from Hugging Face") as error:
        fetch_release(["a"], data_dir=tmp_path, repo="lab/far", endpoint="http://127.0.0.1:9")
    assert "\n" not in str(error.value)
