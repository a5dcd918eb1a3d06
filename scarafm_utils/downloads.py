"""Files from the network: whole, checked, resumed after an interruption, and remembered.

A download goes to a hidden name, is compared with the size and checksum that are known, and only
then gets its own name.  What was not known is written into ``downloads.lock.json`` beside the files
at the first download, and later downloads must agree with it.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from .errors import InputError
from .files import room_for, write_json
from .lockfile import HIDDEN, LOCK_FILE, checksum, one_process, read_lock, remember

if TYPE_CHECKING:
    import requests

_BLOCK = 1 << 20
_MAGIC = {".gz": b"\x1f\x8b", ".h5ad": b"\x89HDF\r\n\x1a\n", ".h5": b"\x89HDF\r\n\x1a\n"}


@dataclass(frozen=True)
class Network:
    """How patient a download is.

    Attributes
    ----------
    attempts
        Tries in a row that bring no byte before it gives up.
    timeout
        Seconds without a byte that count as an interruption.
    backoff
        Seconds before the second try; each further wait is twice as long.
    """

    attempts: int = 5
    timeout: float = 60.0
    backoff: float = 1.0


#: What downloads use where nobody says otherwise.
PATIENT = Network()


class Watcher:
    """Is told how far downloads are; this one keeps silent."""

    def at(self, name: str, have: int, total: int | None) -> None:
        """Of the file `name`, `have` of `total` bytes are here; None where the server does not say."""

    def waits(self, name: str, reason: str, seconds: float) -> None:
        """The download of `name` was interrupted and goes on in `seconds`."""


SILENT = Watcher()


class _Interrupted(Exception):
    """The connection broke or the server is busy: worth another try."""


def download(
    url: str,
    folder: str | Path,
    *,
    size: int | None = None,
    sha256: str | None = None,
    network: Network = PATIENT,
    watcher: Watcher = SILENT,
) -> Path:
    """Bring the file at `url` into `folder`, or find it there whole.

    Parameters
    ----------
    url
        http or https address; its last part is the file's name.
    size, sha256
        Expected bytes and checksum.  Where None, the lock file's are expected; where it has none
        either, they are recorded there.
    network
        Patience.
    watcher
        Is told how far the download is.

    Raises
    ------
    InputError
        Where the server cannot be reached, answers with an error or an empty file, sends another
        size, checksum or kind of file than expected, or breaks off again and again.
    """
    folder, name = Path(folder), unquote(Path(urlsplit(url).path).name)
    with one_process(folder, name):
        known = read_lock(folder).get(name, {})
        size, sha256 = size or known.get("bytes"), sha256 or known.get("sha256")
        path = folder / name
        if not _is_whole(path, size=size, sha256=sha256):
            downloader = _Resuming(path, size=size, network=network, watcher=watcher)
            _retrieve(url, path, sha256=sha256, downloader=downloader)
        remember(folder, name, {"url": url, "bytes": path.stat().st_size, "sha256": checksum(path)})
    return path


def require_server(url: str, *, timeout: float = 10.0) -> None:
    """Refuse an address whose server cannot be reached; what it answers, and when, does not matter.

    Raises
    ------
    InputError
        No connection within `timeout` seconds.
    """
    import requests

    try:
        requests.head(url, timeout=timeout).close()
    except requests.ReadTimeout:
        return
    except requests.ConnectionError as error:
        if _no_connection(error):
            raise InputError(_unreachable(url)) from error


def _unreachable(url: str) -> str:
    return f"{urlsplit(url).netloc} cannot be reached: is there a network? (wanted: {url})"


def _no_connection(error: requests.ConnectionError) -> bool:
    """Whether nobody was there to talk to, rather than somebody who hung up."""
    import requests
    from urllib3.exceptions import NameResolutionError, NewConnectionError, ProxyError

    reason = getattr(error.args[0] if error.args else None, "reason", None)
    return isinstance(error, requests.ConnectTimeout) or isinstance(
        reason, NewConnectionError | NameResolutionError | ProxyError
    )


def _is_whole(path: Path, *, size: int | None, sha256: str | None) -> bool:
    if not path.is_file() or path.stat().st_size == 0:
        return False
    return (size is None or path.stat().st_size == size) and (sha256 is None or checksum(path) == sha256)


def _retrieve(url: str, path: Path, *, sha256: str | None, downloader: _Resuming) -> None:
    """Fetch with pooch, which compares the checksum before the file gets its name."""
    import pooch

    pooch.get_logger().setLevel("WARNING")  # its advice on hashes is what the lock file does
    arrived = path.parent / HIDDEN / f"{path.name}.new" / path.name
    shutil.rmtree(arrived.parent, ignore_errors=True)  # what a killed process left
    try:
        pooch.retrieve(
            url,
            known_hash=f"sha256:{sha256}" if sha256 else None,
            fname=arrived.name,
            path=arrived.parent,
            downloader=downloader,
        )
        os.replace(arrived, path)
    except InputError:
        raise
    except ValueError as error:  # pooch: the checksum does not match
        raise InputError(
            f"{path.name}: the file at {url} is not the one expected; its checksum is not {sha256}, which "
            f"stands in the manifest or {LOCK_FILE}. If it was renewed on purpose, change it there."
        ) from error
    finally:
        shutil.rmtree(arrived.parent, ignore_errors=True)


class _Resuming:
    """A downloader for pooch that goes on where an earlier try, or an earlier process, stopped."""

    def __init__(self, path: Path, *, size: int | None, network: Network, watcher: Watcher) -> None:
        self.name, self.size, self.network, self.watcher = path.name, size, network, watcher
        self.part = path.parent / HIDDEN / f"{path.name}.part"
        self.state = self.part.with_suffix(".part.json")

    def __call__(self, url: str, output_file: str, pooch) -> None:
        failures, before = 0, self._have()
        while True:
            try:
                self._go_on(url)
                break
            except _Interrupted as reason:
                failures = 1 if self._have() > before else failures + 1
                before = self._have()
                if failures >= self.network.attempts:
                    raise InputError(f"{self.name}: {reason}, {failures} times in a row ({url}).") from reason
                seconds = self.network.backoff * 2 ** (failures - 1)
                self.watcher.waits(self.name, str(reason), seconds)
                time.sleep(seconds)
        self._check_content(url)
        os.replace(self.part, output_file)
        self.state.unlink(missing_ok=True)

    def _have(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def _go_on(self, url: str) -> None:
        """One request, from where the part ends if the server still has the same file."""
        state = json.loads(self.state.read_text()) if self.state.exists() and self.part.exists() else {}
        if state and self._have() == state["total"]:
            return
        headers = {"Accept-Encoding": "identity"}
        if state.get("validator") and state["total"] and self._have():
            headers |= {"Range": f"bytes={self._have()}-", "If-Range": state["validator"]}
        with _open(url, headers, self.network) as response:
            start = self._have() if response.status_code in (206, 416) else 0
            if start and not _continues(response, start, state):
                self.part.unlink()
                raise _Interrupted("the file changed on the server")
            total = self._total(response, start, url)
            write_json(self.state, {"validator": _validator(response), "total": total})
            self._stream(response, start, total)
        if total is not None and self._have() != total:
            raise _Interrupted(f"the server broke off at {self._have():,} of {total:,} bytes")

    def _total(self, response: requests.Response, start: int, url: str) -> int | None:
        """Size that the server announces; refused where it cannot be right."""
        length = response.headers.get("Content-Length")
        total = None if length is None else start + int(length)
        if total == 0:
            raise InputError(
                f"{self.name}: the server answers with an empty file ({url}). It may be gone there."
            )
        if total is not None and self.size is not None and total != self.size:
            raise InputError(
                f"{self.name}: the server has {total:,} bytes, expected are {self.size:,} ({url}). "
                f"If the file was renewed, change its size in the manifest or in {LOCK_FILE}."
            )
        return total

    def _stream(self, response: requests.Response, start: int, total: int | None) -> None:
        """Write what comes; on a full disk what is there stays, and a later call goes on from it."""
        with room_for(self.name), open(self.part, "ab" if start else "wb") as out:
            while block := _next_block(response, out.tell()):
                out.write(block)
                out.flush()
                self.watcher.at(self.name, out.tell(), total)

    def _check_content(self, url: str) -> None:
        """Refuse a part that is complete but is another thing than its name says."""
        problem = None
        if self.size is not None and self._have() != self.size:
            problem = f"{self._have():,} bytes came, expected are {self.size:,}"
        magic = _MAGIC.get(Path(self.name).suffix.lower(), b"")
        with open(self.part, "rb") as part:
            if not (start := part.read(len(magic) or 1)):
                problem = "the server answers with an empty file"
            elif magic and start != magic:
                problem = f"what came is no {Path(self.name).suffix} file (a page of the server?)"
        if problem:
            self.part.unlink()
            self.state.unlink(missing_ok=True)
            raise InputError(f"{self.name}: {problem} ({url}).")


def _next_block(response: requests.Response, have: int) -> bytes:
    import requests
    from urllib3.exceptions import HTTPError

    try:
        return response.raw.read1(_BLOCK, decode_content=False)
    except (HTTPError, requests.RequestException, OSError) as error:
        raise _Interrupted(f"the connection broke at {have:,} bytes") from error


def _open(url: str, headers: dict, network: Network) -> requests.Response:
    """Send the request; tell what another try may mend from what it cannot."""
    import requests

    try:
        response = requests.get(
            url, headers=headers, stream=True, timeout=(min(10, network.timeout), network.timeout)
        )
    except requests.ConnectionError as error:
        if _no_connection(error):
            raise InputError(_unreachable(url)) from error
        raise _Interrupted("the connection broke before the first byte") from error
    except requests.Timeout as error:
        raise _Interrupted(f"no answer within {network.timeout:g} seconds") from error
    except requests.RequestException as error:
        raise InputError(f"{url}: {error}") from error
    return _checked(response, url)


def _checked(response: requests.Response, url: str) -> requests.Response:
    code = response.status_code
    if code in (200, 206) or (code == 416 and "Range" in response.request.headers):
        return response
    response.close()
    if code in (408, 429) or code >= 500:
        raise _Interrupted(f"the server answers {code} {response.reason}")
    raise InputError(f"the server answers {code} {response.reason} for {url}.")


def _validator(response: requests.Response) -> str | None:
    """What proves in a later request that the file is still the same."""
    etag = response.headers.get("ETag", "")
    return etag if etag and not etag.startswith("W/") else response.headers.get("Last-Modified")


def _continues(response: requests.Response, have: int, state: dict) -> bool:
    """Whether the answer is the rest of the same file after the first `have` bytes."""
    same = _validator(response) in (None, state["validator"])
    return (
        same
        and response.headers.get("Content-Range") == f"bytes {have}-{state['total'] - 1}/{state['total']}"
    )
