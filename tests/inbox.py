"""A small HTTP server of a test, which keeps what it is sent and answers as it is told."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, NamedTuple


class Post(NamedTuple):
    """What somebody sent. ``auth``: as whom."""

    path: str
    auth: str | None
    body: Any


class Inbox:
    """What was sent, the answer's ``code``, and how many seconds it takes (``pause``)."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.posts: list[Post] = []
        self.code, self.pause = 200, 0.0

    @property
    def bodies(self) -> list[Any]:
        """What was sent, as JSON is read."""
        return [post.body for post in self.posts]


@contextmanager
def inbox() -> Generator[Inbox]:
    """An inbox on loopback, as long as it is needed."""

    class Visit(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.headers["Content-Type"] == "application/json"
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            made.posts.append(Post(self.path, self.headers["Authorization"], body))
            time.sleep(made.pause)
            self.send_response(made.code)
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Visit) as server:
        made = Inbox(server.server_port)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield made
        finally:
            server.shutdown()
            thread.join()
