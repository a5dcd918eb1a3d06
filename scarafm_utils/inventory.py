"""What of the data is on disk: where each file is or would be, and whether it is the one expected."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit

from .downloads import require_server
from .hub import FOLDER, server
from .lockfile import HIDDEN, checksum, read_lock
from .manifest import Dataset, SourceSpec
from .sources import local_names

#: ``there``: found, size as far as known right; ``whole``: the checksum was compared as well.
State = Literal["absent", "by hand", "incomplete", "there", "whole", "damaged"]


@dataclass(frozen=True)
class ExpectedFile:
    """A file that a source promises, and what it must be: by the manifest, else by the lock file."""

    path: Path
    url: str
    bytes: int | None
    sha256: str | None

    @property
    def have(self) -> int:
        """Bytes that are here, those of an unfinished download included."""
        part = self.path.parent / HIDDEN / f"{self.path.name}.part"
        found = self.path if self.path.exists() else part
        return found.stat().st_size if found.exists() else 0


@dataclass(frozen=True)
class Finding:
    """What was found of one data set."""

    state: State
    detail: str
    path: Path
    have: int = 0


def expected_files(dataset: Dataset, *, source: str, data_dir: Path) -> list[ExpectedFile]:
    """The files that a download of `dataset` brings; none where it is fetched or converted by hand."""
    key = dataset.source_name(source)
    spec = dataset.sources.get(key, SourceSpec())
    if key == "release" and spec.path:
        return [_expected(data_dir, f"{FOLDER}/{spec.path}", "", spec)]
    if key == "local" or not spec.url or spec.format in ("rds", "manual"):
        return []
    folder = data_dir / dataset.id if spec.parts else data_dir
    parts = [(spec.url, spec), *((url, SourceSpec()) for url in spec.parts)]
    return [_expected(folder, unquote(Path(urlsplit(url).path).name), url, known) for url, known in parts]


def require_servers(datasets: list[Dataset], *, source: str, data_dir: Path) -> None:
    """Refuse, before any work, data sets that are not here while their server cannot be reached.

    Raises
    ------
    InputError
        With the first address that was tried of the server.
    """
    expected = [f for d in datasets for f in expected_files(d, source=source, data_dir=data_dir)]
    first: dict[str, str] = {}
    for file in expected:
        if not file.path.exists():
            url = file.url if file.url.startswith("http") else server()
            first.setdefault(urlsplit(url).netloc, url)
    for url in first.values():
        require_server(url)


def locate(dataset: Dataset, *, source: str, data_dir: Path) -> Path:
    """The file or folder that reading `dataset` opens: where it is, or where it would be."""
    key = dataset.source_name(source)
    spec = dataset.sources.get(key, SourceSpec())
    expected = expected_files(dataset, source=source, data_dir=data_dir)
    if key == "release" and expected:
        return expected[0].path
    if expected:
        return data_dir / dataset.id if spec.parts or spec.url.endswith(".tar") else expected[0].path
    names = [spec.path] if key == "local" and spec.path else local_names(dataset)
    found = [data_dir / name for name in names if (data_dir / name).exists()]
    return found[0] if found else data_dir / (dataset.id if spec.parts else names[0])


def inspect(dataset: Dataset, *, source: str, data_dir: Path, hashed: bool) -> Finding:
    """Compare what is on disk with what the manifest and the lock file say.

    Parameters
    ----------
    source
        ``public``, ``release``, ``local``, or one key of the data set's sources.
    hashed
        Whether files are read whole to compare their checksums; else only sizes are compared.
    """
    path = locate(dataset, source=source, data_dir=data_dir)
    expected = expected_files(dataset, source=source, data_dir=data_dir)
    if not expected:
        return _by_hand(dataset, source, path, hashed)
    findings = [_compare(file, hashed) for file in expected]
    worst = min(findings, key=lambda f: _SEVERITY.index(f.state))
    return Finding(worst.state, worst.detail, path, sum(f.have for f in findings))


def bytes_to_fetch(files: list[ExpectedFile]) -> tuple[int, int]:
    """Bytes that are still to come, and the number of files of which nobody knows the size."""
    missing = [f for f in files if _compare(f, False).state != "there"]
    known = sum(f.bytes - (f.have if f.have < f.bytes else 0) for f in missing if f.bytes)
    return known, sum(f.bytes is None for f in missing)


#: The worst first: a data set is as well as its worst file.
_SEVERITY: tuple[State, ...] = ("damaged", "absent", "by hand", "incomplete", "there", "whole")


def _expected(folder: Path, name: str, url: str, spec: SourceSpec) -> ExpectedFile:
    known = read_lock(folder).get(name, {})
    sha256 = spec.sha256 or known.get("sha256")
    return ExpectedFile(folder / name, url or known.get("repo", ""), spec.bytes or known.get("bytes"), sha256)


def _compare(file: ExpectedFile, hashed: bool) -> Finding:
    path, have = file.path, file.have
    if not path.exists():
        detail = f"{have:,} bytes of an unfinished download" if have else ""
        return Finding("incomplete" if have else "absent", detail, path, have)
    if have == 0 or file.bytes not in (None, have):
        wanted = f", expected are {file.bytes:,}" if file.bytes else ""
        return Finding("damaged", f"{path.name} has {have:,} bytes{wanted}", path, have)
    if not hashed or file.sha256 is None:
        return Finding("there", "" if file.sha256 else "no checksum is known to compare with", path, have)
    if (found := checksum(path)) != file.sha256:
        return Finding("damaged", f"{path.name} has the checksum {found}, expected is {file.sha256}", path, have)
    return Finding("whole", f"sha256 {found[:12]}… as recorded", path, have)


def _by_hand(dataset: Dataset, source: str, path: Path, hashed: bool) -> Finding:
    """A file of the user's own, which nothing says how large it must be, but perhaps the manifest."""
    spec = dataset.sources.get(dataset.source_name(source), SourceSpec())
    if not path.exists():
        return Finding("by hand" if spec.format in ("rds", "manual") else "absent", spec.note, path)
    if path.is_dir():
        return Finding("there", "a folder", path)
    promised = spec if dataset.source_name(source) == "local" else SourceSpec()
    finding = _compare(ExpectedFile(path, "", promised.bytes, promised.sha256), hashed)
    if finding.state == "there" and hashed and path.suffix in (".h5ad", ".h5") and not _opens(path):
        detail = f"{path.name} cannot be opened as HDF5: cut short, or something else"
        return Finding("damaged", detail, path, finding.have)
    return finding


def _opens(path: Path) -> bool:
    """Whether HDF5 finds a whole file: it knows how long one must be."""
    import h5py

    try:
        h5py.File(path, "r").close()
    except OSError:
        return False
    return True


def in_bytes(n: int) -> str:
    """A number of bytes as people write it.

    >>> in_bytes(25_925_673), in_bytes(2_662_249_535)
    ('25.9 MB', '2.66 GB')
    """
    return f"{n / 1e9:.2f} GB" if n >= 1e9 else f"{n / 1e6:.1f} MB"
