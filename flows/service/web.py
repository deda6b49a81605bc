"""The page of the fleet, its status as JSON, and whether the service itself runs, over HTTP.

It only answers: nothing that is sent to it changes anything.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from drills.status import exporter
from drills.status.page import render_page
from drills.status.report import FleetStatus
from drills.status.service_state import read_service

RELOAD_SECONDS = 30
"""How often the page asks for itself again."""

_STATUS = TypeAdapter(FleetStatus)
_HTML = "text/html; charset=utf-8"
_ROUTES = ("/", "/status.json", "/metrics")
_SLOWEST_VISITOR_SECONDS = 10
_ALLOWED = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
_FIRST_LOOK = b"""<!doctype html><html lang="en"><meta charset="utf-8"><meta http-equiv="refresh" content="2">
<title>Backstay</title><p>The fleet is looked at for the first time; this takes some seconds.</p></html>
"""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a visitor gets. ``kind``: its media type."""

    status: HTTPStatus
    kind: str
    body: bytes


def answer(path: str, seen: tuple[FleetStatus, datetime] | None, directory: Path, now: datetime) -> Answer:
    """The answer to ``GET path``. ``seen``: a status and when it was asked for, None before the first."""
    route = path.partition("?")[0]
    if route == "/healthz":
        return _health(directory)
    if route not in _ROUTES:
        return _json(HTTPStatus.NOT_FOUND, {"error": f"there are: /healthz {' '.join(_ROUTES)}"})
    if seen is None:
        return Answer(HTTPStatus.SERVICE_UNAVAILABLE, _HTML, _FIRST_LOOK)
    status, looked_at = seen
    if route == "/status.json":
        return Answer(HTTPStatus.OK, "application/json", _STATUS.dump_json(status))
    if route == "/metrics":
        return Answer(HTTPStatus.OK, exporter.CONTENT_TYPE, exporter.exposition(status, looked_at))
    return Answer(HTTPStatus.OK, _HTML, render_page(status, now, reload_seconds=RELOAD_SECONDS).encode())


def _health(directory: Path) -> Answer:
    """200 while every part of the service runs, whatever the state of the fleet."""
    seen = read_service(directory)
    if seen is None:
        return _json(HTTPStatus.SERVICE_UNAVAILABLE, {"service": "not known"})
    status = HTTPStatus.OK if seen.is_well else HTTPStatus.SERVICE_UNAVAILABLE
    return Answer(status, "application/json", seen.model_dump_json().encode())


def _json(status: HTTPStatus, document: dict[str, Any]) -> Answer:
    return Answer(status, "application/json", json.dumps(document).encode())


class PageServer(ThreadingHTTPServer):
    """Answers on a socket that listens already; ``sight`` gives the newest status, ``say`` takes problems."""

    daemon_threads = True

    def __init__(
        self,
        listening: socket.socket,
        sight: Callable[[], tuple[FleetStatus, datetime] | None],
        directory: Path,
        say: Callable[[str], None],
    ) -> None:
        super().__init__(listening.getsockname()[:2], _Visit, bind_and_activate=False)
        self.socket.close()
        self.socket = listening
        self._sight = sight
        self._directory = directory
        self._say = say

    def answer(self, path: str) -> Answer:
        """The answer to ``GET path`` now."""
        return answer(path, self._sight(), self._directory, datetime.now(UTC))

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Visitors that go away before they are answered are no problem of ours."""

    def tell(self, problem: str) -> None:
        """Write down what kept us from answering."""
        self._say(problem)


class _Visit(BaseHTTPRequestHandler):
    server: PageServer  # pyright: ignore[reportIncompatibleVariableOverride]
    timeout = _SLOWEST_VISITOR_SECONDS
    server_version, sys_version = "Backstay", ""

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def log_message(self, format: str, *args: Any) -> None:
        """A log of visits would only fill the disk."""

    def _answer(self, *, with_body: bool) -> None:
        try:
            found = self.server.answer(self.path)
        except Exception as error:  # noqa: BLE001 (a page that cannot be made must not end the others)
            self.server.tell(f"{self.path} could not be shown: {type(error).__name__}: {error}")
            found = _json(HTTPStatus.INTERNAL_SERVER_ERROR, {"error": "see logs/page.log of the service"})
        self.send_response(found.status)
        self.send_header("Content-Type", found.kind)
        self.send_header("Content-Length", str(len(found.body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Content-Security-Policy", _ALLOWED)
        self.end_headers()
        if with_body:
            self.wfile.write(found.body)
