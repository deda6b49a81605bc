"""``backstay metrics``: the fleet's status for Prometheus, once or whenever it asks."""

from __future__ import annotations

import sys
import threading
from contextlib import suppress
from datetime import datetime
from typing import Annotated
from urllib.parse import urlsplit

import typer
from prometheus_client import start_http_server

from cli.configured import open_fleet
from cli.invocation import invocation_of
from drills.status.exporter import exposition, registry_of
from drills.status.look import Looker
from drills.status.report import FleetStatus
from fleet.clock import Clock, SystemClock
from fleet.errors import PortTaken, UsageError

_FRESH_SECONDS = 10.0
"""Several Prometheus servers may ask at once; none of them makes us look more often than that."""


def metrics(
    context: typer.Context,
    listen: Annotated[
        str | None,
        typer.Option(
            "--listen", metavar="HOST:PORT", help="Answer Prometheus there, until Ctrl-C; look when it asks."
        ),
    ] = None,
) -> None:
    """Print the fleet's status as Prometheus reads it, or answer Prometheus.

    Printed once it fits the textfile collector of node_exporter. `backstay serve` answers at /metrics, too.
    Names and meanings stand in fleet/metrics.py, alerts in infra/prometheus.
    """
    invocation = invocation_of(context)
    if invocation.as_json:
        raise UsageError("metrics have a text format of their own", hint="As JSON: backstay status --json")
    place = None if listen is None else _place(listen)
    looks = Looks(Looker(open_fleet(context), asks_time=place is not None), SystemClock())
    if place is None:
        sys.stdout.write(exposition(*looks.latest()).decode())
        return
    try:
        server, thread = start_http_server(place[1], place[0], registry_of(looks.latest))
    except OSError as error:
        raise PortTaken(
            f"{listen} cannot be listened on: {error.strerror}", hint="Name another: --listen HOST:PORT"
        ) from error
    with invocation.interruption.orderly() as cancelled:
        while not cancelled.wait(1.0):
            pass
    server.shutdown()
    thread.join()


class Looks:
    """Looks when somebody asks, one at a time, and not more often than every ten seconds."""

    def __init__(self, looker: Looker, clock: Clock) -> None:
        self._looker = looker
        self._clock = clock
        self._lock = threading.Lock()
        self._seen: tuple[FleetStatus, datetime, float] | None = None

    def latest(self) -> tuple[FleetStatus, datetime]:
        """A status and when it was asked for. Raises what ``Looker.look`` raises."""
        with self._lock:
            if self._seen is None or self._clock.monotonic() - self._seen[2] >= _FRESH_SECONDS:
                began = self._clock.monotonic()
                looked_at = self._clock.now()
                self._seen = self._looker.look(), looked_at, began
            return self._seen[:2]


def _place(text: str) -> tuple[str, int]:
    """Host and port of ``HOST:PORT``; a host of IPv6 stands in brackets. Raises ``UsageError``."""
    host, port = None, None
    with suppress(ValueError):
        parts = urlsplit(f"//{text}")
        if parts.netloc == text:
            host, port = parts.hostname, parts.port
    if not host or not port:
        raise UsageError(f"{text!r} is no HOST:PORT", hint="Such as 127.0.0.1:9117.")
    return host, port
