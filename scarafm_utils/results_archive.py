"""Results of a profile as one file: packed where they were computed, rendered elsewhere without computing"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
import shutil
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from .errors import InputError
from .files import atomic_path, hash_of, sha256_file
from .tidy import page_notice
from .unpack import extract_tar
from .workspace import FACTS, PROJECT, Workspace, processed_facts

LIST = "packed.json"
MAX_BYTES = 8 * 2**30
#: Folders and endings that an archive may hold, and nothing else.
_ALLOWED = re.compile(
    r"(runs/[\w-]+/[\w.=,+-]+\.ipynb|tables/[\w./=,+-]+\.(csv|json)|scores/[\w./=,+-]+\.parquet"
    r"|vocabulary/[\w-]+\.csv|processed/[\w-]+/[\w-]+\.facts\.json|packed\.json)"
)
#: Tables with a row for each cell.
_PER_CELL = re.compile(r"tables/maps-")


def pack_results(workspace: Workspace, out: str | Path, *, scores: bool = False) -> list[str]:
    """Write what the pages of a profile are rendered from to one ``.tar.gz``.

    Executed notebooks, tables, vocabularies and the facts of processed data sets go in; cells never do.
    Equal results give equal bytes.

    Parameters
    ----------
    workspace
        The profile; its runs must be there.
    out
        Where the archive goes.
    scores
        Also what has a row for each test cell (scores and maps), from which metrics can be
        computed anew; such rows name cells, by library and barcode.

    Returns
    -------
    Names in the archive.

    Raises
    ------
    InputError
        Where the profile has no runs, the name ends otherwise, or a text holds a path of this machine.
    """
    if not str(out).endswith(".tar.gz"):
        raise InputError(f"{out}: name the archive NAME.tar.gz")
    if not any(workspace.runs_dir.glob("*/*.ipynb")):
        raise InputError(f"profile '{workspace.profile.name}' has no runs to pack: build it first, scarafm build")
    contents = {name: path.read_bytes() for name, path in _members(workspace, scores=scores).items()}
    contents |= _processed(workspace)
    for name, content in contents.items():
        _refuse_machine_paths(name, content)
    _write(Path(out), {LIST: _listed(workspace, contents), **contents})
    return sorted(contents)


def unpack_results(workspace: Workspace, archive: str | Path, *, replace: bool = False) -> list[str]:
    """Put the results of an archive into a profile's folder; `scarafm site` then renders them.

    Nothing of the archive is run here, but its pages may hold scripts: take archives from
    people whose pages you would open.

    Parameters
    ----------
    workspace
        The profile that was packed.
    archive
        Made by `pack_results`.
    replace
        Throw away results that are here already.

    Returns
    -------
    Names of the files, now below the profile's folder.

    Raises
    ------
    InputError
        Where the archive is unsafe, incomplete, damaged or of another profile, and where results
        are here already.
    """
    archive, folder = Path(archive), workspace.folder
    if not archive.is_file():
        raise InputError(f"{archive}: no such file")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".tmp-", dir=folder) as scratch:
        found = extract_tar(archive, Path(scratch) / "x", max_bytes=MAX_BYTES, wanted=re.compile("."))
        names = _checked(found, archive.name, workspace)
        _install(found, names, workspace, replace=replace)
    return names


def _install(found: Path, names: list[str], workspace: Workspace, *, replace: bool) -> None:
    """Move unpacked folders into a profile's; processed cells that are here stay, beside the facts of others."""
    folder = workspace.folder
    tops = sorted({Path(name).parts[0] for name in names} - {"processed"})
    here = [top for top in tops if (folder / top).exists()]
    if here and not replace:
        raise InputError(f"profile '{workspace.profile.name}' has results here ({', '.join(here)}): use --replace")
    for top in tops:
        shutil.rmtree(folder / top, ignore_errors=True)
        (found / top).rename(folder / top)
    for name in names:
        if name.startswith("processed/"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (found / name).replace(folder / name)


def packed_profile(archive: str | Path) -> str:
    """The name of the profile that an archive holds, read without unpacking it."""
    try:
        with tarfile.open(archive, "r:gz") as tar:
            member = tar.next()
            text = tar.extractfile(member).read(1 << 24) if member and member.name == LIST and member.isfile() else b""
    except (OSError, EOFError, tarfile.TarError) as error:
        raise InputError(f"{archive}: not an archive of results ('scarafm pack' makes them)") from error
    return _read_list(text, str(archive))["profile"]


def _read_list(text: bytes, archive: str) -> dict[str, Any]:
    try:
        listed = json.loads(text)
        return {"profile": str(listed["profile"]), **{k: listed[k] for k in ("profile_digest", "files")}}
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{archive}: not an archive of results ('scarafm pack' makes them)") from error


def _members(workspace: Workspace, *, scores: bool) -> dict[str, Path]:
    patterns = ["runs/*/*.ipynb", "tables/**/*.csv", "tables/**/*.json", "vocabulary/*.csv"]
    patterns += ["scores/**/*.parquet"] if scores else []
    found = sorted(path for pattern in patterns for path in workspace.folder.glob(pattern) if path.is_file())
    named = {path.relative_to(workspace.folder).as_posix(): path for path in found if path.name[0] != "."}
    return {name: path for name, path in named.items() if scores or not _PER_CELL.match(name)}


def _processed(workspace: Workspace) -> dict[str, bytes]:
    """What the data page says of processed data sets, whose cells stay here."""
    datasets = [d for tissue in workspace.profile.tissues for d in workspace.datasets(tissue)]
    facts = [(d, processed_facts(workspace.processed_path(d.tissue, d.id))) for d in datasets]
    return {
        f"processed/{d.tissue}/{d.id}{FACTS}": json.dumps(known, sort_keys=True).encode()
        for d, known in facts
        if known is not None
    }


def _listed(workspace: Workspace, contents: dict[str, bytes]) -> bytes:
    listed: dict[str, Any] = {
        "profile": workspace.profile.name,
        "profile_digest": hash_of(workspace.profile.model_dump(mode="json")),
        "notice": page_notice(workspace),
        "files": {name: hashlib.sha256(content).hexdigest() for name, content in sorted(contents.items())},
    }
    return json.dumps(listed, indent=1, sort_keys=True).encode()


def _refuse_machine_paths(name: str, content: bytes) -> None:
    """No text leaves with a path of this machine in it (score files are numbers and names of cells)."""
    if name.endswith(".parquet"):
        return
    for folder in (PROJECT, Path.home()):
        if len(folder.parts) > 2 and re.search(re.escape(str(folder)).encode() + rb"(?![\w.-])", content):
            raise InputError(f"{name}: holds a path of this machine. Run the chapter again, then pack.")


def _write(out: Path, contents: dict[str, bytes]) -> None:
    """A tar file without owners and dates, so that equal contents give equal bytes."""
    with (
        atomic_path(out) as temporary,
        open(temporary, "wb") as raw,
        gzip.GzipFile("", "wb", mtime=0, fileobj=raw) as packed,
        tarfile.open(fileobj=packed, mode="w") as tar,
    ):
        for name, content in contents.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), 0o644
            tar.addfile(info, io.BytesIO(content))


def _checked(folder: Path, archive: str, workspace: Workspace) -> list[str]:
    """The names in an unpacked archive, each as it was listed and no other."""
    found = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    strange = [name for name in found if not _ALLOWED.fullmatch(name)]
    if strange or LIST not in found:
        raise InputError(f"{archive}: no archive of results: {strange[0] if strange else f'{LIST} is missing'}")
    listed = _read_list((folder / LIST).read_bytes(), archive)
    if listed["profile_digest"] != hash_of(workspace.profile.model_dump(mode="json")):
        raise InputError(
            f"{archive}: made with profile '{listed['profile']}' as it was there, which is not "
            f"profile '{workspace.profile.name}' as it is here: take that version of the repository."
        )
    names = [name for name in found if name != LIST]
    damaged = sorted(listed["files"].keys() ^ set(names))
    damaged += [name for name in names if listed["files"].get(name) != sha256_file(folder / name)]
    if damaged:
        raise InputError(f"{archive}: {damaged[0]} is missing or not as it was packed. Fetch the archive again.")
    (folder / LIST).unlink()
    return names
