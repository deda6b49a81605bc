"""An HTTP server that stands before a real S3 server, so that a test can change what passes between.

Requests are signed anew on their way on: a front may leave out headers that the client signed.
"""

from __future__ import annotations

import http.client
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

# It belongs to the client's connection or signature, which end here.
_NOT_PASSED = {
    "authorization",
    "connection",
    "content-length",
    "expect",
    "host",
    "x-amz-content-sha256",
}
_NOT_PASSED_BACK = {"connection", "transfer-encoding", "content-length", "date", "server"}


@dataclass
class Request:
    """What the client asks. Header names are in small letters; ``receive`` reads bytes of the body."""

    method: str
    host: str
    path: str
    query: str
    headers: dict[str, str]
    receive: Callable[[int], bytes]

    @cached_property
    def body(self) -> bytes:
        """The whole of it, read when it is first asked for."""
        return self.receive(int(self.headers.get("content-length", "0")))

    @property
    def key(self) -> str:
        """The object's name in a path-style request; empty for requests to the bucket."""
        return self.path.lstrip("/").partition("/")[2]

    @property
    def operation(self) -> str:
        """``put``, ``get``, ``get_range``, ``list``, ``stat`` or ``delete``, as the store calls it."""
        if self.method == "GET" and "list-type" in dict(parse_qsl(self.query)):
            return "list"
        if self.method == "GET" and "range" in self.headers:
            return "get_range"
        return {"PUT": "put", "GET": "get", "HEAD": "stat", "DELETE": "delete"}[self.method]


@dataclass
class Answer:
    """What the client is told. ``cut_after``: so many bytes of the body, and then the connection ends."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    cut_after: int | None = None


def refusal(status: int, code: str, message: str = "") -> Answer:
    """An error as S3 and OSS write it."""
    text = f"<Error><Code>{code}</Code><Message>{message or code}</Message></Error>"
    return Answer(status, {"content-type": "application/xml"}, text.encode())


class Front:
    """Listens on a port of its own; ``answer`` decides, ``pass_on`` asks the server behind."""

    def __init__(self, upstream: str, access_key: str, secret_key: str) -> None:
        self.seen: list[Request] = []
        self._upstream = upstream
        self._credentials = Credentials(access_key, secret_key)
        self._server = _Server(("127.0.0.1", 0), _Exchange)
        self._server.front = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        """``http://127.0.0.1:<port>``."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, request: Request) -> Answer | None:
        """The answer, or None to end the connection without one."""
        raise NotImplementedError

    def pass_on(self, request: Request, *, bucket: str = "", without: tuple[str, ...] = ()) -> Answer:
        """Ask the server behind, path-style; ``bucket`` goes before the path."""
        headers = {
            name: value
            for name, value in request.headers.items()
            if name not in _NOT_PASSED and name not in without
        }
        path = f"/{bucket}{request.path}" if bucket else request.path
        url = f"{self._upstream}{path}" + (f"?{request.query}" if request.query else "")
        signed = AWSRequest(method=request.method, url=url, headers=headers, data=request.body)
        S3SigV4Auth(self._credentials, "s3", "us-east-1").add_auth(signed)
        connection = http.client.HTTPConnection(urlsplit(self._upstream).netloc, timeout=60)
        try:
            target = url.removeprefix(self._upstream)
            connection.request(request.method, target, request.body, dict(signed.headers.items()))
            answer = connection.getresponse()
            kept = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, _without_length(kept, request.method), answer.read())
        finally:
            connection.close()


def _without_length(headers: Mapping[str, str], method: str) -> dict[str, str]:
    kept = {name: value for name, value in headers.items() if name not in _NOT_PASSED_BACK}
    if method == "HEAD" and "content-length" in headers:
        kept["content-length"] = headers["content-length"]
    return kept


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    front: Front

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away in the middle are what these tests are about."""


class _Exchange(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def _exchange(self) -> None:
        url = urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        host = headers.get("host", "")
        request = Request(self.command, host, url.path, url.query, headers, self.rfile.read)
        self.server.front.seen.append(request)
        answer = self.server.front.answer(request)
        if answer is None:
            self.close_connection = True
            return
        # What is left of the request would be taken for the next one.
        _ = request.body
        self.send_response_only(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if "content-length" not in answer.headers:
            self.send_header("content-length", str(len(answer.body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body[: answer.cut_after])
        if answer.cut_after is not None:
            self.close_connection = True

    do_PUT = do_GET = do_HEAD = do_DELETE = _exchange  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the tests speak."""
