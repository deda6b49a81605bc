"""What the schedule asked for, and what came of it: where nothing came, that is shown. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import NamedTuple

from drills.status.ran import Ran
from drills.status.report import RunSeen
from drills.status.run_journal import RunEnded
from drills.status.schedule_known import KnownSince
from drills.status.shelf import Taken
from fleet.model import Fleet, Shard
from fleet.schedule import KINDS, Kind, due_times, last_due, next_due

SHOWN = timedelta(days=2)

_SLACK = timedelta(minutes=1)
"""Clocks of the scheduler's machine and of this one differ by less, or both say so."""

_INSTANT = timedelta(microseconds=1)


class Past(NamedTuple):
    """What is known of a shard's backups. ``journal``: how scheduled runs ended.

    ``known_since``: when a kind's cron line took the place of another one. ``ran``: when the service ran that
    starts what is due, where it is this machine's.
    """

    taken: tuple[Taken, ...]
    journal: tuple[RunEnded, ...]
    at_work: bool
    known_since: Mapping[Kind, datetime] = {}
    ran: Ran = Ran()

    @property
    def since(self) -> datetime | None:
        """Before it nothing was expected: the first that was taken, or tried."""
        return min(
            (*(each.started_at for each in self.taken), *(_due(each) for each in self.journal)), default=None
        )

    def is_asked_for(self, kind: Kind, due: datetime) -> bool:
        """Was a backup expected then at all?"""
        known = self.known_since.get(kind)
        return self.since is not None and due >= self.since - _SLACK and (known is None or due >= known)


class Overdue(NamedTuple):
    """The last run whose time is over, and that brought nothing. ``again``: nor did the one before it."""

    run: RunSeen
    again: bool


def past_of(
    shard: str,
    taken: tuple[Taken, ...],
    journal: Sequence[RunEnded],
    *,
    at_work: bool,
    known_since: KnownSince | None = None,
    ran: Ran | None = None,
) -> Past:
    """What concerns the backups of ``shard``."""
    own = tuple(each for each in journal if each.shard == shard and each.flow in KINDS)
    known: dict[Kind, datetime] = {
        kind: at for (name, kind), at in (known_since or {}).items() if name == shard
    }
    return Past(taken, own, at_work, known, ran or Ran())


def seen_runs(fleet: Fleet, shard: Shard, past: Past, now: datetime) -> tuple[RunSeen, ...]:
    """The last two days, oldest first."""
    return tuple(sorted(_runs(fleet, shard, past, now), key=lambda each: (each.due_at, each.kind)))


def next_run(fleet: Fleet, shard: Shard, now: datetime) -> RunSeen | None:
    """What is asked for next; a full, where both are due at once."""
    found = [RunSeen(kind, at, "waiting") for kind in KINDS if (at := next_due(fleet, shard, kind, now))]
    return min(found, key=lambda each: (each.due_at, each.kind), default=None)


def overdue_runs(fleet: Fleet, shard: Shard, past: Past, now: datetime) -> Iterator[Overdue]:
    """What should have been there for `alerts.backup_overdue_seconds`, kind by kind.

    What failed is told at once, and not when its time is over.
    """
    patience = timedelta(seconds=fleet.alerts.backup_overdue_seconds)
    for kind in KINDS:
        due = last_due(fleet, shard, kind, now - patience)
        newest = last_due(fleet, shard, kind, now)
        if newest is not None and due != newest and _ended(kind, newest, now, past) == "failed":
            due = newest
        if due is None or not past.is_asked_for(kind, due):
            continue
        run = _run(kind, due, now + _INSTANT, past, is_last=True, is_waiting=False)
        if run.state in ("done", "running"):
            continue
        before = last_due(fleet, shard, kind, due - _INSTANT)
        again = (
            before is not None
            and past.is_asked_for(kind, before)
            and _run(kind, before, due, past, is_last=False, is_waiting=False).state != "done"
        )
        yield Overdue(run, again)


def failed_runs(past: Past) -> Iterator[RunEnded]:
    """The newest failure of each kind, whoever asked for it, unless a backup as good was taken since."""
    for kind in KINDS:
        failed = [each for each in past.journal if each.flow == kind and each.outcome == "failed"]
        if failed and not _is_healed(failed[-1], kind, past):
            yield failed[-1]


def _is_healed(failed: RunEnded, kind: Kind, past: Past) -> bool:
    """By one that was being taken then, too: no second one was wanted. What is no longer there was taken."""
    began = failed.started_at
    return any(
        (kind == "incremental" or each.kind == "full") and began <= each.finished_at for each in past.taken
    ) or any(
        each.flow in (kind, "full") and each.outcome == "done" and each.started_at >= began
        for each in past.journal
    )


def _runs(fleet: Fleet, shard: Shard, past: Past, now: datetime) -> Iterator[RunSeen]:
    patience = timedelta(seconds=fleet.alerts.backup_overdue_seconds)
    for kind in KINDS:
        due = [
            at
            for at in due_times(fleet, shard, kind, now - SHOWN, now + _INSTANT)
            if past.is_asked_for(kind, at)
        ]
        for at, end in pairwise([*due, now + _INSTANT]):
            is_last = at == due[-1]
            yield _run(kind, at, end, past, is_last=is_last, is_waiting=is_last and now - at < patience)


def _run(kind: Kind, due: datetime, end: datetime, past: Past, *, is_last: bool, is_waiting: bool) -> RunSeen:
    """What came of the run that was due then; ``end``: when the next one was, or now."""
    told = _told(kind, due, end, past)
    since = due - _SLACK
    if told is not None and told.due_at is not None and told.outcome in ("failed", "cancelled"):
        # What was there before this one began is not what came of it.
        since = max(since, told.started_at)
    label = _taken(kind, due, since, end, past)
    if label is not None:
        return RunSeen(kind, due, "done", label)
    if is_last and past.at_work:
        return RunSeen(kind, due, "running")
    if told is None:
        because = None if is_waiting else past.ran.why_not(due) or "nothing started it"
        return RunSeen(kind, due, "waiting" if is_waiting else "not run", because=because)
    if told.outcome == "done":
        return RunSeen(kind, due, "done", told.label)
    if told.outcome == "skipped":
        return RunSeen(kind, due, "not run", because=told.message)
    return RunSeen(kind, due, "failed", because=told.message or told.outcome)


def _ended(kind: Kind, due: datetime, now: datetime, past: Past) -> str:
    return _run(kind, due, now + _INSTANT, past, is_last=True, is_waiting=True).state


def _taken(kind: Kind, due: datetime, since: datetime, end: datetime, past: Past) -> str | None:
    """A full is as good as an incremental, not the other way round; nor is a second one wanted while one is
    being taken.
    """
    return next(
        (
            each.label
            for each in past.taken
            if (kind == "incremental" or each.kind == "full")
            and (since <= each.started_at < end or each.started_at <= due <= each.finished_at)
        ),
        None,
    )


def _told(kind: Kind, due: datetime, end: datetime, past: Past) -> RunEnded | None:
    """The scheduler's own word for when a run was due needs no slack; one by hand has its start."""
    fits = [
        each
        for each in past.journal
        if each.flow == kind
        and (
            due <= each.due_at < end
            if each.due_at is not None
            else due - _SLACK <= each.started_at < end - _SLACK
        )
    ]
    return fits[-1] if fits else None


def _due(run: RunEnded) -> datetime:
    return run.due_at or run.started_at
