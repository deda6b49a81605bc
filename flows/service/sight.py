"""The fleet as it was seen last, for everybody who visits; looked at again and again by one thread. Another
one tells who is to be told: also that looking fails, or does not end.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from drills.status.last_known import unasked
from drills.status.look import Looker
from drills.status.notify import notify
from drills.status.notify_prefect import EventsApi
from drills.status.report import FleetStatus, Health
from drills.status.served import with_service
from drills.status.service_state import read_service
from fleet.clock import Clock
from fleet.errors import StoreUnreachable, ToolError
from fleet.figures import duration
from fleet.model import Fleet
from flows.environment import events_api_of

NOTIFIED_FILE = "notified.json"

_LOOKS_MISSED = 4

SETTLING_SECONDS = 60.0
SETTLING_LOOK_SECONDS = 2.0
"""So often it is looked while not all is well in the first minute: the other parts were just started."""


def seconds_between_looks(usual: float, health: Health, *, after_start: float) -> float:
    """From a look with that outcome, so many seconds after the start of the page, to the next one. Pure."""
    is_settling = after_start < SETTLING_SECONDS and health is not Health.OK
    return min(usual, SETTLING_LOOK_SECONDS) if is_settling else usual


class Sight:
    """What ``run`` has seen last; ``latest`` may be called from any thread."""

    def __init__(
        self,
        fleet: Fleet,
        directory: Path,
        clock: Clock,
        say: Callable[[str], None],
        *,
        looker: Looker | None = None,
    ) -> None:
        self._fleet = fleet
        self._directory = directory
        self._clock = clock
        self._say = say
        self._looker = looker or Looker(fleet, clock=clock, asks_time=True)
        self._known: FleetStatus | None = None
        self._began = clock.now(), clock.monotonic()
        self._seen: tuple[FleetStatus, datetime, float] | None = None
        self._has_looked = threading.Event()
        self._has_told = False

    def run(self, cancelled: threading.Event) -> None:
        """Look every `service.look_seconds` until ``cancelled`` is set, and tell who is to be told.

        What is not well yet is looked at again sooner in the first minute.
        """
        threading.Thread(target=self._tell_until, args=(cancelled,), name="tell", daemon=True).start()
        while not cancelled.is_set():
            begun, looked_at = self._clock.monotonic(), self._clock.now()
            try:
                status = self._look()
            except ToolError as error:
                status = self._failed(error.message, error.hint)
            except Exception as error:  # noqa: BLE001 (the next look may do; meanwhile nothing counts as well)
                status = self._failed(f"{type(error).__name__}: {error}")
            self._seen = status, looked_at, self._clock.monotonic()
            self._has_looked.set()
            seconds = seconds_between_looks(
                self._fleet.service.look_seconds, status.health, after_start=begun - self._began[1]
            )
            cancelled.wait(max(1.0, begun + seconds - self._clock.monotonic()))

    def latest(self) -> tuple[FleetStatus, datetime] | None:
        """The newest status and when it was asked for; None before the first look has ended.

        One that is old, because a look hangs, is never shown as if it were true now.
        """
        seen = self._seen
        looked_at, monotonic = seen[1:] if seen is not None else self._began
        age_seconds = self._clock.monotonic() - monotonic
        if age_seconds > self._fleet.service.look_seconds * _LOOKS_MISSED + 30:
            return self._unasked(f"the fleet could not be looked at for {duration(age_seconds)}"), looked_at
        return seen[:2] if seen is not None else None

    def _look(self) -> FleetStatus:
        status = self._looker.look()
        if status.unreachable is None:
            self._known = status
        return with_service(status, self._fleet, self._directory, self._clock.now())

    def _failed(self, why: str, hint: str | None = None) -> FleetStatus:
        problem = f"the fleet could not be looked at: {why}"
        self._say(problem)
        return self._unasked(problem, hint)

    def _unasked(self, problem: str, hint: str | None = None) -> FleetStatus:
        away = StoreUnreachable(problem, hint=hint or f"See {self._directory / 'logs' / 'page.log'}.")
        if self._known is None:
            return self._looker.last_known(away)
        age_seconds = max(0.0, (self._clock.now() - self._known.seen_at).total_seconds())
        return unasked(self._known, away, age_seconds=age_seconds)

    def _tell_until(self, cancelled: threading.Event) -> None:
        """After every look; and while one hangs, as often as there should be one."""
        while not cancelled.is_set():
            self._has_looked.wait(self._fleet.service.look_seconds)
            self._has_looked.clear()
            try:
                self._tell()
            except Exception as error:  # noqa: BLE001 (who cannot be told now is told after the next look)
                self._say(f"nobody could be told: {type(error).__name__}: {error}")

    def _tell(self) -> None:
        if (seen := self.latest()) is not None:
            path, now = self._directory / NOTIFIED_FILE, self._clock.now()
            # A changed configuration starts this process anew: what it puts right is to be tried at once.
            at_once, self._has_told = not self._has_told, True
            for line in notify(
                seen[0], self._fleet.notify, path, at=now, prefect=self._events_api(), at_once=at_once
            ):
                self._say(line)

    def _events_api(self) -> EventsApi | None:
        """None as long as the embedded server is only being started: that is no failure to tell of."""
        service = read_service(self._directory) if self._fleet.scheduler.api_url is None else None
        if service is not None and service.is_only_starting("scheduler"):
            return None
        return events_api_of(self._fleet, self._directory)
