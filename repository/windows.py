"""Which recovery windows retention went by, and since when: the objects under ``windows/``.

FORMAT.md, section 14, rule 9: a window that became smaller counts for archived binlogs only after the grace
time, for they have no marks that could be taken back.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from fleet.errors import ObjectExists, ObjectLocked
from repository import layout
from repository.repository import Repository

Windows = Mapping[timedelta, datetime]
"""How long each window is, and since when retention goes by it, by the store's clock."""

_EARLIEST = datetime.min.replace(tzinfo=UTC)
_CONTENT = b'{"format": 1}'


def windows_of(repository: Repository, shard: str) -> Windows:
    """Those that are told of the shard; none where ``expire`` never ran. Raises what the store raises."""
    found: dict[timedelta, datetime] = {}
    for info in repository.store.list(layout.windows(shard)):
        if (seconds := layout.parse_window(info.key)) is not None:
            found[timedelta(seconds=seconds)] = info.modified_at
    return found


def length_of(start: datetime, now: datetime) -> timedelta:
    """How long a window is that began at ``start``: whole seconds, as names tell it."""
    return timedelta(seconds=math.ceil((now - start).total_seconds()))


def in_force(told: Windows, length: timedelta, grace: timedelta, now: datetime) -> timedelta:
    """The window by which binlogs stay: ``length``, or the longest before it until its grace time is over."""
    since = told.get(length)
    if since is not None and since + grace <= now:
        return length
    return max([length, *told])


def go_by(repository: Repository, shard: str, length: timedelta, grace: timedelta, now: datetime) -> None:
    """Tell that retention goes by windows of ``length`` from now on, and forget what says nothing any more.

    Shorter ones: to go back to one of them is to be waited for again. Longer ones when its grace time is
    over. Raises ``FormatUnsupported`` and what the store raises.
    """
    told = windows_of(repository, shard)
    if length not in told:
        repository.check_may("write")
        with suppress(ObjectExists):
            repository.store.put(layout.window(shard, length // timedelta(seconds=1)), _CONTENT)
    kept = in_force(told, length, grace, now)
    for each in told:
        if each < length or each > kept:
            repository.check_may("delete")
            with suppress(ObjectLocked):
                repository.store.delete(layout.window(shard, each // timedelta(seconds=1)))


def earlier(moment: datetime, *by: timedelta) -> datetime:
    """``moment`` less all of these, or the first that there is."""
    try:
        for each in by:
            moment -= each
    except OverflowError:
        return _EARLIEST
    return moment
