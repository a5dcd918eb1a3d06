"""A web server on loopback that serves files, and misbehaves as told."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Server:
    """Serves `files` (path → bytes); `faults[path]` holds one behaviour for each coming request.

    A behaviour is a function of the handler that answers the request itself, or returns False to
    have it answered as usual.  `log` keeps (method, path, headers) of all requests.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.faults: dict[str, list[Callable]] = defaultdict(list)
        self.log: list[tuple[str, str, dict]] = []
        self.etags = True
        self.ranges = True
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def do_GET(self):
                outer.answer(self)

            do_HEAD = do_GET

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True).start()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.http.server_port}{path}"

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()

    def requests(self, path: str) -> list[dict]:
        """Headers of the requests for `path`, in order."""
        return [headers for _, p, headers in self.log if p == path]

    def answer(self, handler) -> None:
        path = handler.path.split("?")[0]
        self.log.append((handler.command, path, dict(handler.headers)))
        if self.faults[path] and self.faults[path].pop(0)(handler) is not False:
            return
        if path not in self.files:
            send(handler, 404, b"not here")
            return
        self.serve(handler, self.files[path])

    def serve(self, handler, body: bytes, *, cut: int | None = None) -> None:
        """Answer with `body`, or the part asked for; break off after `cut` bytes of it."""
        etag = f'"{hashlib.sha256(body).hexdigest()}"'
        headers = {"ETag": etag, "Last-Modified": formatdate(0, usegmt=True)} if self.etags else {}
        start, code, total = 0, 200, len(body)
        asked = handler.headers.get("Range")
        if asked and self.ranges and handler.headers.get("If-Range") in (None, etag):
            start, code = int(asked.removeprefix("bytes=").split("-")[0]), 206
            headers["Content-Range"] = f"bytes {start}-{total - 1}/{total}"
        rest = body[start:]
        send(handler, code, rest if cut is None else rest[:cut], length=len(rest), headers=headers)


def send(handler, code: int, body: bytes, *, length: int | None = None, headers: dict | None = None) -> None:
    """Answer with `body` under a Content-Length that need not be true; then hang up."""
    handler.send_response(code)
    for name, value in (headers or {}).items():
        handler.send_header(name, value)
    handler.send_header("Content-Length", str(len(body) if length is None else length))
    handler.send_header("Connection", "close")
    handler.end_headers()
    if handler.command != "HEAD":
        handler.wfile.write(body)
    handler.close_connection = True


def status(code: int) -> Callable:
    return lambda handler: send(handler, code, b"no")


def body(content: bytes, **kwargs) -> Callable:
    return lambda handler: send(handler, 200, content, **kwargs)


def cut(server: Server, after: int) -> Callable:
    """Break off `after` bytes into what was asked for."""
    return lambda handler: server.serve(handler, server.files[handler.path], cut=after)


def hang(seconds: float) -> Callable:
    """Say nothing for a while, then hang up."""

    def behaviour(handler) -> None:
        time.sleep(seconds)
        handler.close_connection = True

    return behaviour


def hang_inside(server: Server, after: int, seconds: float) -> Callable:
    """Send headers and `after` bytes, then nothing for a while."""

    def behaviour(handler) -> None:
        server.serve(handler, server.files[handler.path], cut=after)
        handler.wfile.flush()
        time.sleep(seconds)

    return behaviour
