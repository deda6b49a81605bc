"""When each shard's backups are due: its cron lines, spread so that not all shards begin at once. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import islice
from typing import Literal, NamedTuple, TypeAlias
from zoneinfo import ZoneInfo

from fleet.cron import firings, shifted
from fleet.model import Fleet, Shard

Kind: TypeAlias = Literal["full", "incremental"]

KINDS: tuple[Kind, ...] = ("full", "incremental")

_LONGEST = timedelta(days=9 * 366)
"""Within it every line fires that fires at all: a 29th of February is at most 8 years away."""


def stagger_minutes_of(fleet: Fleet, shard: Shard) -> int:
    """How many minutes after its cron lines the shard begins: its part of `stagger_minutes`, by its place
    in the configuration.
    """
    place = [each.name for each in fleet.shards].index(shard.name)
    return place * fleet.schedule.stagger_minutes // len(fleet.shards)


def cron_of(fleet: Fleet, shard: Shard, kind: Kind) -> str:
    """The cron line by which the shard's backups of that kind begin, staggering included.

    Where a single line cannot say the shift, it is the largest smaller one that a line can say.
    """
    schedule = fleet.schedule_of(shard)
    line = schedule.full_cron if kind == "full" else schedule.incremental_cron
    for minutes in range(stagger_minutes_of(fleet, shard), 0, -1):
        if later := shifted(line, minutes):
            return later
    return line


def due_times(fleet: Fleet, shard: Shard, kind: Kind, start: datetime, end: datetime) -> Iterator[datetime]:
    """When backups of that kind begin, from ``start`` on and before ``end``; in UTC, in order."""
    return firings(cron_of(fleet, shard, kind), zone_of(fleet, shard), start, end)


def next_due(fleet: Fleet, shard: Shard, kind: Kind, after: datetime) -> datetime | None:
    """The first one after that moment; None for a line that fires on no day of the next nine years."""
    start = after + timedelta(microseconds=1)
    return next(due_times(fleet, shard, kind, start, start + _LONGEST), None)


def last_due(fleet: Fleet, shard: Shard, kind: Kind, before: datetime, *, days: int = 400) -> datetime | None:
    """The last one at that moment or before it, if there was one in the last ``days``."""
    return _last_firing(cron_of(fleet, shard, kind), zone_of(fleet, shard), before, days)


def last_due_of_all(fleet: Fleet, line: str, before: datetime, *, days: int = 400) -> datetime | None:
    """The same of a cron line of the whole fleet, as that of retention."""
    return _last_firing(line, _zone(fleet.schedule.timezone), before, days)


def zone_of(fleet: Fleet, shard: Shard) -> tzinfo:
    """The time zone of the shard's cron lines."""
    return _zone(fleet.schedule_of(shard).timezone)


def _last_firing(line: str, zone: tzinfo, before: datetime, days: int) -> datetime | None:
    end = before + timedelta(microseconds=1)
    for span in (2, 32, days):
        found = list(firings(line, zone, end - timedelta(days=min(span, days)), end))
        if found:
            return found[-1]
    return None


def _zone(name: str) -> tzinfo:
    # UTC must work on a machine without a time zone database.
    return UTC if name == "UTC" else ZoneInfo(name)


class Firing(NamedTuple):
    """A moment, and the same by the clocks of the line's time zone, as ``2026-03-29T03:00:00+02:00``."""

    at: datetime
    local: str


class Firings(NamedTuple):
    """What a cron line asks for next. ``shard`` is None for a line of the whole fleet; ``cron``: with the
    shard's stagger.
    """

    shard: str | None
    kind: str
    cron: str
    timezone: str
    next: tuple[Firing, ...]


def coming_firings(fleet: Fleet, after: datetime, count: int) -> Iterator[Firings]:
    """The next ``count`` of every line: of each shard's backups, then of what concerns the whole fleet."""
    for shard in fleet.shards:
        zone = zone_of(fleet, shard)
        for kind in KINDS:
            line, name = cron_of(fleet, shard, kind), fleet.schedule_of(shard).timezone
            yield Firings(shard.name, kind, line, name, _coming(line, zone, after, count))
    schedule, zone = fleet.schedule, _zone(fleet.schedule.timezone)
    lines = {"retention": schedule.retention_cron, "verify": schedule.verify_cron}
    if fleet.proof.enabled:
        lines["proof"] = fleet.proof.cron
    for kind, line in lines.items():
        yield Firings(None, kind, line, schedule.timezone, _coming(line, zone, after, count))


def _coming(line: str, zone: tzinfo, after: datetime, count: int) -> tuple[Firing, ...]:
    start = after + timedelta(microseconds=1)
    found = islice(firings(line, zone, start, start + _LONGEST), count)
    return tuple(Firing(at, at.astimezone(zone).isoformat()) for at in found)
