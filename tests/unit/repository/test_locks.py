"""Locks that are prolonged: what rests on something is never locked longer than what it rests on."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from chained import Donor, Taken, take_link, take_referring
from sealed_backups import TickingClock, ToldStore, begin, file_keyring, fill, names, sample, take

from fleet.errors import Cancelled, ObjectLocked, ObjectMissing, StoreDenied
from repository import layout
from repository.catalog import Catalog
from repository.keys import Keyring
from repository.layout import BackupName
from repository.locks import STEPS, Prolonged, prolong_foundations, prolong_kept
from repository.manifest import Manifest
from repository.repository import Repository
from repository.retirement import retire
from repository.rotation import plan_rotation, rotate
from repository.stores.interface import LockTerms
from repository.stores.memory import MemoryStore
from repository.stores.opening import LOCKED

DAY = timedelta(days=1)
LOCK = 32 * DAY
STEP = LOCK / STEPS
MINUTE = timedelta(minutes=1)


@pytest.fixture
def store(ticking: TickingClock) -> MemoryStore:
    """One that locks, in place of that which does not."""
    return MemoryStore(ticking, lock=LockTerms("compliance", LOCK, LOCKED))


class Counted(ToldStore):
    """Counts what is asked, and keeps the order in which locks were prolonged."""

    def __init__(self, inner: MemoryStore) -> None:
        super().__init__(inner)
        self.asked: dict[str, int] = {}
        self.prolonged: list[str] = []
        self._guard = threading.Lock()

    def before(self, operation: str, key: str) -> None:
        with self._guard:
            self.asked[operation] = self.asked.get(operation, 0) + 1

    def prolong(self, key: str, until: datetime) -> None:
        super().prolong(key, until)
        with self._guard:
            self.prolonged.append(key)


@pytest.fixture
def counted(repository: Repository, store: MemoryStore) -> Iterator[Counted]:
    """The repository's store, counted from now on."""
    counted = Counted(store)
    repository.store = counted
    yield counted
    repository.store = store


def donor() -> Donor:
    made = Donor(random.Random(7))
    made.create(5, 12)
    return made


def ends(store: MemoryStore, manifest: Manifest) -> list[datetime]:
    """When the locks of all objects of a backup end, that of its manifest last."""
    backup = manifest.backup
    own = names(store, layout.wrapped_keys(backup)) + names(store, layout.packs_and_parts(backup))
    found = [store.locked_until(name) for name in (*own, layout.manifest(backup))]
    assert None not in found
    return [each for each in found if each is not None]


def a_chain(repository: Repository, clock: TickingClock, days: int) -> list[Taken]:
    """A full, and an incremental on the link before a day later each."""
    source = donor()
    taken = [take_link(repository, clock, source)]
    for _ in range(days):
        clock.sleep(DAY.total_seconds())
        source.change(source.files[0], 3)
        taken.append(take_link(repository, clock, source, taken[-1].manifest))
    return taken


def test_what_a_backup_is_made_of_is_locked_and_nothing_else(
    repository: Repository, store: MemoryStore, ticking: TickingClock
) -> None:
    take_link(repository, ticking, donor())
    locked = [name for name in names(store) if store.locked_until(name)]
    assert locked == names(store)
    for name in locked:
        with pytest.raises(ObjectLocked):
            store.delete(name)


def test_no_link_is_locked_longer_than_what_it_rests_on(
    repository: Repository, store: MemoryStore, ticking: TickingClock
) -> None:
    for newest in a_chain(repository, ticking, 12)[1:]:
        assert newest.manifest.base is not None
    chain = Catalog(repository).manifests("s1")
    for base, link in pairwise(chain):
        # What was put while the backup was made is locked from then on: a little shorter than its manifest.
        assert min(ends(store, base)) >= ends(store, link)[-1] - MINUTE


def test_what_a_full_refers_to_is_locked_as_long_as_the_full(
    repository: Repository, store: MemoryStore, ticking: TickingClock
) -> None:
    source = donor()
    first = take_link(repository, ticking, source)
    ticking.sleep(20 * DAY.total_seconds())
    source.change(source.files[0], 3)
    second = take_referring(repository, ticking, source, first.manifest)
    assert second.manifest.refers_to
    assert min(ends(store, first.manifest)) >= ends(store, second.manifest)[-1] - MINUTE


def test_most_days_there_is_nothing_to_prolong(
    repository: Repository, ticking: TickingClock, counted: Counted
) -> None:
    source = donor()
    last = take_link(repository, ticking, source)
    asked: list[int] = []
    for _ in range(16):
        ticking.sleep(DAY.total_seconds())
        counted.asked.clear()
        last = take_link(repository, ticking, source, last.manifest)
        asked.append(counted.asked.get("prolong", 0))
    # A base is due a day after it was taken, and then once in a step of four days.
    due = [number for number in asked if number]
    assert len(due) >= 4
    objects = len(names(counted.inner))
    assert sum(asked) < 16 * objects


def test_nothing_is_asked_of_a_store_that_does_not_lock(keyring: Keyring, ticking: TickingClock) -> None:
    counted = Counted(MemoryStore(ticking))
    repository = Repository.create(counted, keyring, ticking)
    taken = a_chain(repository, ticking, 1)
    assert prolong_kept(repository, {taken[1].manifest.backup: ticking.now() + LOCK}, ticking.now()) == (
        Prolonged()
    )
    assert not {"prolong", "locked_until"} & set(counted.asked)


def test_the_manifest_is_prolonged_last_and_its_base_before(
    repository: Repository, ticking: TickingClock, counted: Counted
) -> None:
    full, link = a_chain(repository, ticking, 1)
    ticking.sleep(20 * DAY.total_seconds())
    counted.prolonged.clear()
    now = ticking.now()
    done = prolong_kept(repository, {link.manifest.backup: now + 60 * DAY}, now)
    assert done.backups == (full.manifest.backup, link.manifest.backup)
    assert done.objects == len(counted.prolonged)
    for backup in done.backups:
        own = [name for name in counted.prolonged if f"{backup}" in name]
        assert own[-1] == layout.manifest(backup)
        assert sorted(own) == names(counted.inner, f"data/{backup}/") + names(
            counted.inner, f"keys/{backup}/"
        ) + [layout.manifest(backup)]
    order = [name for name in counted.prolonged if name.startswith("manifests/")]
    assert order == [layout.manifest(backup) for backup in done.backups]


def test_a_lock_reaches_as_far_ahead_as_its_duration_and_a_step(
    repository: Repository, store: MemoryStore, ticking: TickingClock
) -> None:
    taken = take_link(repository, ticking, donor()).manifest
    ticking.sleep(10 * DAY.total_seconds())
    now = ticking.now()
    for _ in range(2):
        prolong_kept(repository, {taken.backup: now + 3650 * DAY}, now)
        for end in ends(store, taken):
            assert now + LOCK <= end <= now + LOCK + STEP + MINUTE


def test_what_is_needed_for_a_day_more_is_not_locked_for_a_month(
    repository: Repository, store: MemoryStore, ticking: TickingClock
) -> None:
    taken = take_link(repository, ticking, donor()).manifest
    ticking.sleep(31.5 * DAY.total_seconds())
    now = ticking.now()
    prolong_kept(repository, {taken.backup: now + DAY}, now)
    assert all(now + DAY <= end <= now + DAY + STEP + MINUTE for end in ends(store, taken))
    before = ends(store, taken)
    prolong_kept(repository, {taken.backup: now - DAY}, now)
    assert ends(store, taken) == before


def test_where_nothing_is_due_a_backup_costs_two_questions_of_its_lock(
    repository: Repository, ticking: TickingClock, counted: Counted
) -> None:
    taken = a_chain(repository, ticking, 3)
    now = ticking.now()
    needed = {each.manifest.backup: now + DAY for each in taken}
    assert prolong_kept(repository, needed, now) == Prolonged((), 0)
    counted.asked.clear()
    prolong_kept(repository, needed, now)
    # The description, an archive that is not there, and of each backup the manifest and the first pack.
    assert counted.asked["locked_until"] == 2 + 2 * len(taken)
    assert "prolong" not in counted.asked
    assert "list" not in counted.asked


def test_description_keyring_and_the_archives_keys_are_prolonged_too(
    repository: Repository, store: MemoryStore, ticking: TickingClock
) -> None:
    manifest = take_link(repository, ticking, donor()).manifest
    archived = [layout.epoch_opened("s1", 1), layout.archive_key("s1", 1, "k1")]
    archived += [layout.epoch_opened("s1", 2), layout.archive_key("s1", 2, "k1")]
    for name in archived:
        store.put(name, b"")
    ticking.sleep(30 * DAY.total_seconds())
    now = ticking.now()
    prolong_foundations(repository, manifest, now)
    common = [layout.DESCRIPTION, layout.RESCUE_GUIDE, layout.RESCUE_PROGRAM, *names(store, layout.KEYRING)]
    for name in common + archived:
        end = store.locked_until(name)
        assert end is not None and end >= now + LOCK


def test_a_backup_whose_manifest_is_gone_is_passed_over_and_the_others_are_prolonged(
    repository: Repository, store: MemoryStore, ticking: TickingClock
) -> None:
    taken = take_link(repository, ticking, donor()).manifest
    ticking.sleep(20 * DAY.total_seconds())
    now = ticking.now()
    gone = BackupName("s1", "20200101T000000Z-full")
    done = prolong_kept(repository, {gone: now + LOCK, taken.backup: now + LOCK}, now)
    assert done.backups == (taken.backup,)


def test_a_backup_that_builds_on_what_is_gone_is_not_completed(
    repository: Repository, store: MemoryStore, ticking: TickingClock
) -> None:
    source = donor()
    full = take_link(repository, ticking, source)
    ticking.sleep(2 * LOCK.total_seconds())
    store.delete(layout.manifest(full.manifest.backup))
    with pytest.raises(ObjectMissing):
        take_link(repository, ticking, source, full.manifest)
    assert names(store, layout.MANIFESTS) == []


def test_prolonging_can_be_stopped(repository: Repository, ticking: TickingClock) -> None:
    taken = take_link(repository, ticking, donor()).manifest
    ticking.sleep(20 * DAY.total_seconds())
    stop = threading.Event()
    stop.set()
    now = ticking.now()
    with pytest.raises(Cancelled):
        prolong_kept(repository, {taken.backup: now + LOCK}, now, cancelled=stop)


def test_an_attempt_that_is_given_up_leaves_what_is_locked_to_prune(
    repository: Repository, store: MemoryStore, ticking: TickingClock
) -> None:
    made = sample()
    with pytest.raises(ValueError, match="the donor died"), begin(repository, ticking) as writer:
        fill(writer, made)
        raise ValueError("the donor died")
    assert names(store, layout.MANIFESTS) == []
    assert names(store, layout.KEYS)
    assert take(repository, ticking, made).label


def test_a_key_whose_objects_are_locked_is_retired_after_that_date(
    keyring: Keyring, store: MemoryStore, ticking: TickingClock, tmp_path: Path
) -> None:
    old = Repository.create(store, keyring, ticking)
    take(old, ticking, sample())
    both = Keyring((*file_keyring(tmp_path, "k2").sources, *keyring.sources))
    Repository.look_at(store, both).add_key(both.sources[0], ticking)
    repository = Repository.open(store, both)
    rotate(repository, plan_rotation(repository, ["s1"]))
    with pytest.raises(ObjectLocked, match="key k1 is being retired, but 1 object") as refused:
        retire(repository, "k1", ticking, ["s1"])
    assert refused.value.until is not None
    assert store.get(layout.retiring_mark("k1"))
    ticking.sleep((LOCK + DAY).total_seconds())
    take(repository, ticking, sample(2))
    ticking.sleep((STEP + DAY).total_seconds())
    retire(repository, "k1", ticking, ["s1"])
    assert "k1" not in repository.keyring()


def test_an_account_that_may_only_put_takes_its_backups_all_the_same(
    repository: Repository, store: MemoryStore, ticking: TickingClock
) -> None:
    class PutsOnly(ToldStore):
        def before(self, operation: str, key: str) -> None:
            if operation == "prolong" or (operation == "locked_until" and not key.startswith("keyring/")):
                raise StoreDenied(f"{operation} {key}: this account may not")

    store.put(layout.epoch_opened("s1", 1), b"")
    ticking.sleep(20 * DAY.total_seconds())
    repository.store = PutsOnly(store)
    assert take(repository, ticking, sample()).label


def test_data_that_was_stored_days_before_its_manifest_is_not_locked_days_shorter(
    repository: Repository, store: MemoryStore, ticking: TickingClock
) -> None:
    """As in a mirror, where copying a large backup takes long."""
    taken = take_link(repository, ticking, donor()).manifest
    ticking.sleep(5 * DAY.total_seconds())
    store.prolong(layout.manifest(taken.backup), ticking.now() + LOCK)
    now = ticking.now()
    assert prolong_kept(repository, {taken.backup: now + LOCK}, now).backups == (taken.backup,)
    assert min(ends(store, taken)) >= now + LOCK
