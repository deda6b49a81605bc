"""When `backstay serve` ran on this machine: where it did not, that is why nothing was started."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal, NamedTuple, TypeAlias

from pydantic import RootModel, ValidationError

from drills.status.lag_history import replace_file

Doing: TypeAlias = Literal["service", "schedule"]
"""``schedule``: the embedded scheduler and its runner ran, too."""

STEP = timedelta(minutes=1)
"""How often it is noted: whoever is killed may have run for so long after."""

_JOINED = timedelta(minutes=2)
"""What is due in so short a pause is started after it."""
_KEPT = timedelta(days=60)
_MOST = 500


class Span(NamedTuple):
    """From when until when, UTC; the end is as old as the last note of it."""

    since: datetime
    until: datetime


class Ran(NamedTuple):
    """Oldest first; empty where nobody noted it."""

    service: tuple[Span, ...] = ()
    schedule: tuple[Span, ...] = ()

    def why_not(self, due: datetime) -> str | None:
        """Why nothing was started that was due then; None if that is not why, or not known."""
        if not self.service or due < self.service[0].since:
            return None
        if not _covers(self.service, due):
            return f"backstay serve did not run here then ({_gap(self.service, due)})"
        if self.schedule and due >= self.schedule[0].since and not _covers(self.schedule, due):
            return f"the scheduler of backstay serve did not run then ({_gap(self.schedule, due)})"
        return None


class _Document(RootModel[dict[Doing, tuple[Span, ...]]]):
    pass


class RanHistory:
    """The record in ``path``, of one writer. A disk that does not take it stops nothing; nor does a file
    without sense.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> Ran:
        """All that is known."""
        try:
            root = _Document.model_validate_json(self._path.read_bytes()).root
        except (OSError, ValidationError):
            return Ran()
        return Ran(root.get("service", ()), root.get("schedule", ()))

    def note(self, doing: Collection[Doing], now: datetime) -> bool:
        """This runs ``now``; False if the disk does not take it."""
        known = self.read()
        fresh: dict[Doing, tuple[Span, ...]] = {
            "service": _until(known.service, now, runs="service" in doing),
            "schedule": _until(known.schedule, now, runs="schedule" in doing),
        }
        return replace_file(self._path, _Document(fresh).model_dump_json())


def _until(spans: Sequence[Span], now: datetime, *, runs: bool) -> tuple[Span, ...]:
    """A clock that was ahead and was set back has noted what has not been yet."""
    been = [Span(each.since, min(each.until, now)) for each in spans if now - _KEPT <= each.until]
    been = [each for each in been if each.since <= now]
    if runs and been and now - been[-1].until <= _JOINED:
        been[-1] = Span(been[-1].since, now)
    elif runs:
        been.append(Span(now, now))
    return tuple(been[-_MOST:])


def _covers(spans: Sequence[Span], at: datetime) -> bool:
    return any(each.since <= at <= each.until + STEP for each in spans)


def _gap(spans: Sequence[Span], at: datetime) -> str:
    since = max(each.until for each in spans if each.until <= at)
    until = min((each.since for each in spans if each.since > at), default=None)
    end = f" until {until:%Y-%m-%d %H:%M}" if until is not None else ", and not yet again"
    return f"since {since:%Y-%m-%d %H:%M} UTC{end}"
