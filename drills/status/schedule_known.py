"""Since when each cron line is known: what a new line would have asked for before that, nobody missed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import TypeAlias

from pydantic import RootModel, ValidationError

from drills.status.lag_history import replace_file
from fleet.model import Fleet
from fleet.schedule import KINDS, Kind

_FORGOTTEN = timedelta(minutes=15)
"""So long a line that another process still goes by is remembered beside the new one."""

KnownSince: TypeAlias = Mapping[tuple[str, Kind], datetime]

_Lines: TypeAlias = dict[str, tuple[datetime | None, datetime]]


class _Document(RootModel[dict[str, _Lines]]):
    """By shard and kind, then by line: since when it is known, None for the first one, and seen last when."""


class ScheduleKnown:
    """What is known in ``path``. A disk that does not take it stops nothing, nor does a bad file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def note(self, fleet: Fleet, now: datetime) -> KnownSince:
        """Since when the lines of ``fleet`` are in force, for those that took another one's place."""
        known, found = self._read(), dict[tuple[str, Kind], datetime]()
        fresh: dict[str, _Lines] = {}
        for shard in fleet.shards:
            schedule = fleet.schedule_of(shard)
            for kind in KINDS:
                # Without the stagger: a shard more moves all others by minutes, and is no new schedule.
                cron = schedule.full_cron if kind == "full" else schedule.incremental_cron
                line, place = f"{cron} {schedule.timezone}", f"{kind} {shard.name}"
                lines = known.get(place, {})
                since = lines[line][0] if line in lines else (now if lines else None)
                others = {each: told for each, told in lines.items() if now - told[1] < _FORGOTTEN}
                if since is not None:
                    # Dated ahead by a clock that was set back since, it would excuse what is missed now.
                    since = found[shard.name, kind] = min(since, now)
                fresh[place] = others | {line: (since, now)}
        replace_file(self._path, _Document(fresh).model_dump_json())
        return found

    def _read(self) -> dict[str, _Lines]:
        try:
            return _Document.model_validate_json(self._path.read_text(encoding="utf-8")).root
        except (OSError, ValidationError):
            return {}
