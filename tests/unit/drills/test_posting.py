"""Sending a document by HTTP: who is sent elsewhere has told nobody."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from drills.status.notify_prefect import EventsApi, post_events
from fleet.errors import ToolError


@contextmanager
def gate(asked: list[str]) -> Generator[str]:
    """Its address: it sends everybody to a page that lets anybody in."""

    class Visit(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(self.command)
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(302)
            self.send_header("Location", f"http://127.0.0.1:{server.server_port}/login")
            self.end_headers()

        def do_GET(self) -> None:
            asked.append(self.command)
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Visit) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/hook"
        finally:
            server.shutdown()
            thread.join()


def test_a_prefect_server_behind_a_login_is_not_told_and_the_login_learns_no_credentials() -> None:
    asked: list[str] = []
    with gate(asked) as address, pytest.raises(ToolError) as refused:
        post_events(EventsApi(address, lambda: "a:b"), [], 10)
    assert (refused.value.message, asked) == ("the Prefect server answered 302", ["POST"])
