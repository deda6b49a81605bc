"""What a person does against the end of a backup: take its mark back, hold it until a date, release it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from fleet.clock import Clock, SystemClock
from fleet.errors import NotFound, RetentionRefused, ToolError, UsageError
from repository import layout
from repository.attached import raise_what_passes
from repository.catalog import LATEST, Catalog
from repository.holds import Hold, Holds
from repository.layout import BackupName
from repository.marks import Marks
from repository.repository import Repository, is_there
from repository.store_clock import ask_store_time, check_clock


@dataclass(frozen=True, slots=True)
class TakenBack:
    """``labels``: the backup and those of its chain that had a mark, and have none any more."""

    shard: str
    label: str
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Held:
    """A hold that was placed; ``taken_back``: labels that retention had ended, and that stay again."""

    shard: str
    label: str
    reason: str
    until: datetime
    taken_back: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Released:
    """``holds``: those that there were, ended ones too."""

    shard: str
    label: str
    holds: tuple[Hold, ...]


def take_back(repository: Repository, shard: str, label: str) -> TakenBack:
    """Delete the mark of a backup, and those of what it rests on. The next ``expire`` decides anew. That is
    possible until prune has deleted the backup, or let go of parts of it.

    Raises ``NotFound`` if there is no such backup, or if pruning was faster; ``RetentionRefused`` if only
    what others refer to is left of it; and what the store raises.
    """
    backup = _named(repository, shard, label)
    marks, labels = Marks(repository), list[str]()
    _check_not_reduced(repository, _chain(repository, backup))
    # From its first link on: no backup without a mark ever rests on one with a mark.
    for link in reversed(_chain(repository, backup)):
        if is_there(repository.store, layout.expired_mark(link)):
            if not take_mark_back(marks, link):
                # What rests on it must not come back without it.
                break
            labels.append(link.label)
    _check_not_reduced(repository, _chain(repository, backup))
    for link in _chain(repository, backup):
        if not is_there(repository.store, layout.manifest(link)):
            raise NotFound(
                f"backup {link} was being deleted in this very moment, and is gone",
                hint="Within the grace time a mark can be taken back for certain; then until prune deletes.",
            )
    return TakenBack(shard, label, tuple(labels))


def take_mark_back(marks: Marks, backup: BackupName) -> bool:
    """False if prune was faster: what lacks parts keeps its mark, for it is that which says so."""
    mark = marks.get(backup)
    if marks.is_said_reduced(backup):
        return False
    marks.take_back(backup)
    # Prune says it before the first part goes, and looks for the mark afterwards.
    if mark is not None and marks.is_said_reduced(backup):
        marks.put(backup, mark.reason)
        return False
    return True


def hold(
    repository: Repository,
    shard: str,
    label: str,
    *,
    reason: str,
    until: datetime,
    by: str,
    clock: Clock | None = None,
) -> Held:
    """Keep a backup, and what it rests on, until ``until`` (aware); one that was ended is taken back.

    Raises ``UsageError`` for a date that has passed and an empty reason, ``NotFound``, ``RetentionRefused``
    if the clocks disagree, ``KeyUnusable`` where the backup cannot be read, and what the store raises.
    """
    backup = _named(repository, shard, label)
    if not reason.strip():
        raise UsageError("a hold without a reason", hint="Say who needs the backup: --reason TEXT.")
    time = ask_store_time(repository.store, clock or SystemClock())
    check_clock(time)
    _check_not_reduced(repository, _chain(repository, backup))
    if until <= time.now:
        raise UsageError(f"the hold would end at {until:%Y-%m-%d %H:%M:%S} UTC, which has passed")
    Holds(repository).place(backup, reason, until, now=time.now, by=by)
    return Held(shard, label, reason, until, take_back(repository, shard, label).labels)


def release(repository: Repository, shard: str, label: str) -> Released:
    """End every hold of a backup. Raises ``NotFound`` if it has none, and what the store raises."""
    backup = _named(repository, shard, label)
    holds = Holds(repository).release(backup)
    if not holds:
        raise NotFound(
            f"nothing holds backup {backup}", hint=f"`backstay backup list {shard}` shows what is held."
        )
    return Released(shard, label, holds)


def _named(repository: Repository, shard: str, label: str) -> BackupName:
    """``latest`` would be another one tomorrow, and is never one that was ended."""
    if label == LATEST:
        newest = _newest(repository, shard)
        raise UsageError(
            f"{LATEST!r} is another backup tomorrow: name this one by its label",
            hint=f"The newest is {newest}."
            if newest
            else f"`backstay backup list {shard}` shows the labels.",
        )
    return Catalog(repository).name(shard, label)


def _check_not_reduced(repository: Repository, links: list[BackupName]) -> None:
    marks = Marks(repository)
    for link in links:
        if marks.is_said_reduced(link):
            raise RetentionRefused(
                f"only what other backups refer to is left of {link}, since its grace time was over",
                hint=f"Nothing can bring it back. {_newer(repository, link)}",
            )


def _newest(repository: Repository, shard: str) -> str | None:
    try:
        return Catalog(repository).name(shard, LATEST).label
    except ToolError as error:
        raise_what_passes(error)
        return None


def _newer(repository: Repository, backup: BackupName) -> str:
    newest = _newest(repository, backup.shard)
    return f"The newest backup without a mark is {newest}." if newest else "No other of its shard is left."


def _chain(repository: Repository, backup: BackupName) -> list[BackupName]:
    """The backup and what it continues, as far down as that can be read."""
    catalog, links = Catalog(repository), [backup]
    while True:
        try:
            base = catalog.read_manifest(links[-1]).base
        except ToolError as error:
            raise_what_passes(error)
            return links
        below = BackupName(backup.shard, base.label) if base is not None else None
        if below is None or below in links:
            return links
        links.append(below)
