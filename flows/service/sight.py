"""The fleet as it was seen last, for everybody who visits; looked at again and again by one thread."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from drills.status.last_known import unasked
from drills.status.look import Looker
from drills.status.notify import notify
from drills.status.report import FleetStatus
from drills.status.served import with_service
from fleet.clock import Clock
from fleet.errors import StoreUnreachable, ToolError
from fleet.figures import duration
from fleet.model import Fleet

NOTIFIED_FILE = "notified.json"

_LOOKS_MISSED = 4


class Sight:
    """What ``run`` has seen last; ``latest`` may be called from any thread."""

    def __init__(self, fleet: Fleet, directory: Path, clock: Clock, say: Callable[[str], None]) -> None:
        self._fleet = fleet
        self._directory = directory
        self._clock = clock
        self._say = say
        self._looker = Looker(fleet, clock=clock)
        self._seen: tuple[FleetStatus, datetime, float] | None = None

    def run(self, cancelled: threading.Event) -> None:
        """Look every `service.look_seconds` until ``cancelled`` is set, and tell who is to be told."""
        while not cancelled.is_set():
            begun = self._clock.monotonic()
            try:
                self._look()
            except ToolError as error:
                self._say(f"the fleet could not be looked at: {error.message}")
            except Exception as error:  # noqa: BLE001 (the next look may do; meanwhile the page shows its age)
                self._say(f"the fleet could not be looked at: {type(error).__name__}: {error}")
            cancelled.wait(max(1.0, begun + self._fleet.service.look_seconds - self._clock.monotonic()))

    def latest(self) -> tuple[FleetStatus, datetime] | None:
        """The newest status and when it was asked for; None before the first look has ended.

        One that is old, because looking fails or hangs, is never shown as if it were true now.
        """
        if self._seen is None:
            return None
        status, looked_at, monotonic = self._seen
        age_seconds = self._clock.monotonic() - monotonic
        if age_seconds > self._fleet.service.look_seconds * _LOOKS_MISSED + 30 and not status.unreachable:
            problem = f"the fleet could not be looked at for {duration(age_seconds)}"
            away = StoreUnreachable(problem, hint=f"See {self._directory / 'logs' / 'page.log'}.")
            status = unasked(status, away, age_seconds=age_seconds)
        return status, looked_at

    def _look(self) -> None:
        looked_at = self._clock.now()
        status = with_service(self._looker.look(), self._fleet, self._directory, self._clock.now())
        self._seen = status, looked_at, self._clock.monotonic()
        for problem in notify(status, self._fleet.notify, self._directory / NOTIFIED_FILE):
            self._say(problem)
