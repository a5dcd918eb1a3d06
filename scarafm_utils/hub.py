"""The authors' release on Hugging Face: the files asked for, at one commit."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path

from .errors import InputError
from .lockfile import checksum, read_lock, remember
from .tenx import first_line

REPOSITORY = "manufernandezbur/scAraFM-pretraining-finetuning"
#: Folder of the release inside the data folder; paths below it are those of the repository.
FOLDER = "release"

_COMMIT = re.compile(r"^[0-9a-f]{40}$")


def server() -> str:
    """The address of the hub, or of the mirror that its client was told to use."""
    from huggingface_hub import constants

    return str(constants.ENDPOINT)


def fetch_release(
    patterns: Sequence[str],
    *,
    data_dir: str | Path,
    repo: str = REPOSITORY,
    revision: str | None = None,
    endpoint: str | None = None,
) -> list[Path]:
    """Bring files of the release into ``<data_dir>/release``, or find them there whole.

    Parameters
    ----------
    patterns
        Paths inside the repository; ``*`` matches any characters.
    repo
        A Hugging Face dataset.
    revision
        Commit, branch or tag.  What is no commit (``unknown``, None, a branch) is resolved once and
        pinned in ``downloads.lock.json``, with the checksum of each file.
    endpoint
        Another server than huggingface.co.

    Returns
    -------
    list of Path
        The files that match, sorted.

    Raises
    ------
    InputError
        Where the server cannot be reached, there is no such repository, commit or file, or a file is
        not the one recorded.
    """
    data_dir = Path(data_dir)
    if found := _all_there(patterns, data_dir):
        return found
    commit = _pinned_commit(data_dir, repo, revision, endpoint)
    _snapshot(patterns, data_dir, repo=repo, commit=commit, endpoint=endpoint)
    found = sorted({path for pattern in patterns for path in _matches(pattern, data_dir)})
    for pattern in patterns:
        if not any(fnmatch(_name(path, data_dir), f"{FOLDER}/{pattern}") for path in found):
            raise InputError(f"{pattern}: no such file in {repo} at commit {commit[:12]}.")
    for path in found:
        _check_and_remember(path, data_dir, repo=repo, commit=commit)
    return found


def _name(path: Path, data_dir: Path) -> str:
    return path.relative_to(data_dir).as_posix()


def _matches(pattern: str, data_dir: Path) -> list[Path]:
    """Files of the release that are on disk and match a pattern, as the hub matches it."""
    files = (p for p in (data_dir / FOLDER).rglob("*") if p.is_file() and ".cache" not in p.parts)
    return [p for p in files if fnmatch(_name(p, data_dir), f"{FOLDER}/{pattern}")]


def _all_there(patterns: Sequence[str], data_dir: Path) -> list[Path]:
    """The files asked for, where each is named outright, recorded and unchanged; else nothing."""
    lock = read_lock(data_dir)
    paths = [data_dir / FOLDER / pattern for pattern in patterns]
    whole = [p.is_file() and lock.get(_name(p, data_dir), {}).get("sha256") == checksum(p) for p in paths]
    return sorted(paths) if all(whole) else []


def _pinned_commit(data_dir: Path, repo: str, revision: str | None, endpoint: str | None) -> str:
    """The commit to read: the one given, the one recorded, or today's, which is then recorded."""
    from huggingface_hub import HfApi

    wanted = None if revision in (None, "unknown") else revision
    if wanted and _COMMIT.match(wanted):
        return wanted
    key = f"{FOLDER}:{repo}@{wanted or 'main'}"
    if recorded := read_lock(data_dir).get(key, {}).get("commit"):
        return recorded
    with _one_line(repo):
        commit = HfApi(endpoint=endpoint).dataset_info(repo, revision=wanted).sha
    remember(data_dir, key, {"commit": commit})
    return str(commit)


def _snapshot(
    patterns: Sequence[str], data_dir: Path, *, repo: str, commit: str, endpoint: str | None
) -> None:
    from huggingface_hub import snapshot_download

    with _one_line(repo):
        snapshot_download(
            repo,
            repo_type="dataset",
            revision=commit,
            allow_patterns=list(patterns),
            local_dir=data_dir / FOLDER,
            endpoint=endpoint,
        )


@contextmanager
def _one_line(repo: str) -> Iterator[None]:
    """Turn what the hub's client raises into one line that says what to do."""
    from huggingface_hub import errors

    try:
        yield
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        raise InputError(f"Hugging Face has no dataset {repo}, or not this revision of it.") from error
    except (errors.HTTPError, errors.HFValidationError, OSError) as error:
        raise InputError(f"{repo} cannot be fetched from Hugging Face: {first_line(error)}") from error


def _check_and_remember(path: Path, data_dir: Path, *, repo: str, commit: str) -> None:
    """Compare a file with its record of the same commit; record what is new."""
    name, entry = _name(path, data_dir), {"repo": repo, "commit": commit, "sha256": checksum(path)}
    old = read_lock(data_dir).get(name, {})
    if old.get("commit") == commit and old["sha256"] != entry["sha256"]:
        raise InputError(
            f"{name}: not the file recorded in downloads.lock.json for this commit ({old['sha256']}). "
            "Delete the file and fetch it again."
        )
    if path.stat().st_size == 0:
        raise InputError(f"{name}: the release has an empty file here.")
    remember(data_dir, name, {**entry, "bytes": path.stat().st_size})
