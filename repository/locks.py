"""Locks that last as long as what they protect is needed (FORMAT.md, section 14, rule 11).

Every object of a backup is locked from birth for the store's ``lock.duration``. What a later backup builds on
is needed longer than that: its lock is prolonged, an eighth of the duration beyond what is needed, so that
what comes soon after finds nothing to do. The manifest goes last, after all that the backup rests on: its
date, or that of the first pack where it is earlier, is that of the whole, so two requests for each backup
tell that nothing is due. A prolonging is one request for each object.

Where the store was not told to lock, nothing here asks it anything.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property, partial
from typing import NamedTuple

from fleet.errors import Cancelled, ObjectMissing, StoreDenied, ToolError
from repository import layout
from repository.catalog import Catalog
from repository.layout import BackupName
from repository.manifest import Manifest
from repository.repository import Repository

STEPS = 8
"""A lock that is prolonged is prolonged by this part of its duration more than is needed now."""

_THREADS = 16


@dataclass(frozen=True, slots=True)
class Prolonged:
    """What was locked for longer: backups, and objects (requests) over all."""

    backups: tuple[BackupName, ...] = ()
    objects: int = 0


def prolong_foundations(
    repository: Repository, manifest: Manifest, now: datetime, *, cancelled: threading.Event | None = None
) -> Prolonged:
    """Lock what the backup of ``manifest`` builds on at least as long as the backup itself will be.

    And what every backup needs: the description, the keyring, the keys of the shard's archive. To be called
    before the manifest is put. Raises ``ObjectMissing`` if something that it builds on has no manifest,
    ``Cancelled`` and what the store raises.
    """
    lock = repository.store.lock
    if lock is None:
        return Prolonged()
    until = now + lock.duration
    work = _Work(repository, lock.duration, now, cancelled)
    work.common([manifest.shard])
    for backup in manifest.foundations():
        work.whole(backup, until)
    return work.done()


def prolong_kept(
    repository: Repository,
    needed: Mapping[BackupName, datetime],
    now: datetime,
    *,
    cancelled: threading.Event | None = None,
) -> Prolonged:
    """Lock each backup of ``needed``, and all that it rests on, until its date (UTC).

    But never further ahead than the lock's duration and one step: what is needed for years is prolonged again
    and again. One request and the manifest for each backup where nothing is due. A backup that has no
    manifest any more, or whose manifest cannot be read, is prolonged by itself as far as it is there. Raises
    ``Cancelled`` and what the store raises.
    """
    lock = repository.store.lock
    if lock is None or not needed:
        return Prolonged()
    work = _Work(repository, lock.duration, now, cancelled)
    work.common(sorted({backup.shard for backup in needed}))
    for backup, until in sorted(needed.items()):
        try:
            work.whole(backup, min(until, now + lock.duration))
        except ObjectMissing:
            continue
    return work.done()


class _Seen(NamedTuple):
    """What counts of a manifest; of one that cannot be read, nothing."""

    foundations: tuple[BackupName, ...]
    has_packs: bool


class _Work:
    def __init__(
        self, repository: Repository, duration: timedelta, now: datetime, cancelled: threading.Event | None
    ) -> None:
        self._repository = repository
        self._store = repository.store
        self._step = duration / STEPS
        self._duration = duration
        self._now = now
        self._cancelled = cancelled or threading.Event()
        self._manifests: dict[BackupName, _Seen] = {}
        self._backups: dict[BackupName, None] = {}
        self._objects = 0

    def done(self) -> Prolonged:
        return Prolonged(tuple(self._backups), self._objects)

    def common(self, shards: Iterable[str]) -> None:
        """What no backup can be read without. Always needed, so always for the whole duration."""
        until = self._now + self._duration
        self._one_set(self._keyring(), layout.DESCRIPTION, until)
        for shard in shards:
            self._one_set(self._epochs(shard), layout.epoch_opened(shard, 1), until)

    def _one_set(self, names: Iterable[str], last: str, until: datetime) -> None:
        # There may be no archive. And an account that only takes backups may not look at what it did not put:
        # whoever may runs expire.
        with suppress(ObjectMissing, StoreDenied):
            if self._is_due(last, until):
                self._prolong(names, last, until + self._step)

    def whole(self, backup: BackupName, until: datetime) -> None:
        """Lock ``backup`` until ``until``, and what it rests on before.

        Whatever locks a backup locked what it rests on for at least as long: where its own lock lasts long
        enough, nothing else is asked.
        """
        if until <= self._now or not self._is_due_backup(backup, until):
            return
        until += self._step
        for name in self._resting_first(backup):
            if self._is_due_backup(name, until):
                self._prolong(self._own(name), layout.manifest(name), until)
                self._backups[name] = None

    def _is_due_backup(self, backup: BackupName, until: datetime) -> bool:
        if self._is_due(layout.manifest(backup), until):
            return True
        # Its data was put, and locked, earlier than the manifest: hours, or in a mirror days.
        with suppress(ObjectMissing):
            return self._seen(backup).has_packs and self._is_due(layout.pack(backup, 0), until)
        return False

    def _resting_first(self, backup: BackupName) -> list[BackupName]:
        """The backup and all below it, each behind what it rests on."""
        found: dict[BackupName, None] = {}
        met: set[BackupName] = set()
        waiting = [(backup, False)]
        while waiting:
            name, is_open = waiting.pop()
            if is_open:
                found[name] = None
            elif name not in met:
                met.add(name)
                waiting.append((name, True))
                waiting += [(below, False) for below in self._seen(name).foundations]
        return list(found)

    def _is_due(self, name: str, until: datetime) -> bool:
        locked = self._store.locked_until(name)
        return locked is None or locked < until

    def _prolong(self, names: Iterable[str], last: str, until: datetime) -> None:
        """Prolong ``names`` in any order, and ``last`` when all are done."""
        with ThreadPoolExecutor(_THREADS, thread_name_prefix="prolong") as threads:
            for batch in _batches(names, 64 * _THREADS):
                list(threads.map(partial(self._one, until), batch))
                self._objects += len(batch)
        self._one(until, last)
        self._objects += 1

    def _one(self, until: datetime, name: str) -> None:
        if self._cancelled.is_set():
            raise Cancelled(
                "prolonging locks was stopped", hint="What was prolonged stays so; run it again for the rest."
            )
        # What was deleted since it was listed needs no lock: a rotated key, a segment.
        try:
            self._store.prolong(name, until)
        except ObjectMissing:
            if name.startswith(layout.MANIFESTS):
                raise

    def _seen(self, backup: BackupName) -> _Seen:
        if backup not in self._manifests:
            try:
                manifest = Catalog(self._repository).read_manifest(backup)
                seen = _Seen(tuple(manifest.foundations()), manifest.sizes.packs > 0)
            except ToolError as error:
                if error.retryable or isinstance(error, Cancelled | ObjectMissing):
                    raise
                seen = _Seen((), has_packs=True)
            self._manifests[backup] = seen
        return self._manifests[backup]

    def _own(self, backup: BackupName) -> Iterator[str]:
        yield from self._unless_retiring(layout.wrapped_keys(backup))
        yield from (info.key for info in self._store.list(layout.packs_and_parts(backup)))

    def _keyring(self) -> Iterator[str]:
        yield from (layout.RESCUE_GUIDE, layout.RESCUE_PROGRAM)
        yield from self._unless_retiring(layout.KEYRING)

    def _epochs(self, shard: str) -> Iterator[str]:
        for number in range(1, layout.MAX_EPOCHS):
            keys = list(self._unless_retiring(layout.archive_keys(shard, number)))
            if not keys:
                return
            yield from (*keys, layout.epoch_opened(shard, number))

    def _unless_retiring(self, prefix: str) -> Iterator[str]:
        """Objects that bear a key's id; but not of a key that is being retired, or it never could be."""
        for info in self._store.list(prefix):
            key_id = layout.parse_key_id(info.key)
            if key_id is not None and layout.retiring_mark(key_id) not in self._retiring:
                yield info.key

    @cached_property
    def _retiring(self) -> frozenset[str]:
        names = (info.key for info in self._store.list(layout.KEYRING))
        return frozenset(name for name in names if layout.parse_key_id(name) is None)


def _batches(names: Iterable[str], size: int) -> Iterator[list[str]]:
    """So that a million names are not held at once."""
    batch: list[str] = []
    for name in names:
        batch.append(name)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
