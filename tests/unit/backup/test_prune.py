"""Prune: what is free goes whole, what is needed stays whole, and a run that dies is carried on."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from backup.prune import Prepared, prepare_prune, prune
from backup.prune_plan import PruneResult
from fleet.errors import (
    NotFound,
    ObjectLocked,
    ObjectMissing,
    RetentionRefused,
    StoreUnreachable,
    TargetUnreachable,
    UsageError,
)
from fleet.policy import Retention
from repository import layout
from repository.catalog import Catalog
from repository.damage_notes import DamageNotes
from repository.holds import Holds
from repository.keys import Keyring
from repository.layout import BackupName
from repository.leases import HeldLease, LeaseTerms
from repository.manifest import Manifest
from repository.marks import Marks
from repository.repository import Repository
from repository.shorts import Shorts
from repository.stores.interface import ObjectInfo, Page
from repository.stores.memory import MemoryStore
from restore.promised import plan_promised
from tests.unit.repository.chained import Donor, Taken, begin_link, by_overlay, take_link, take_referring
from tests.unit.repository.sealed_backups import (
    TickingClock,
    ToldStore,
    differing,
    file_keyring,
    names,
    replace,
)

pytestmark = pytest.mark.usefixtures("policy_agrees")

POLICY = Retention(days=30.0, grace_hours=24.0, repack_below=0.0)


@pytest.fixture
def clock() -> TickingClock:
    return TickingClock()


@pytest.fixture
def store(clock: TickingClock) -> MemoryStore:
    return MemoryStore(clock)


@pytest.fixture
def keyring(tmp_path: Path) -> Keyring:
    return file_keyring(tmp_path)


@pytest.fixture
def repository(store: MemoryStore, keyring: Keyring, clock: TickingClock) -> Repository:
    return Repository.create(store, keyring, clock)


@dataclass
class History:
    """Two chains: a full and two incrementals each; and a full that refers to the end of the first."""

    first: list[Taken]
    second: list[Taken]
    referring: Taken

    @classmethod
    def made(cls, repository: Repository, clock: TickingClock) -> History:
        donor = Donor(random.Random(5))
        for space, pages in ((1, 9), (2, 14)):
            donor.create(space, pages)
        first = _chain(repository, clock, donor, 3)
        referring = take_referring(repository, clock, donor, first[-1].manifest)
        return cls(first, _chain(repository, clock, donor, 3), referring)

    def every(self) -> list[Taken]:
        return [*self.first, *self.second, self.referring]


def _chain(repository: Repository, clock: TickingClock, donor: Donor, links: int) -> list[Taken]:
    taken: list[Taken] = []
    while len(taken) < links:
        for page in (1, 4):
            donor.change(donor.files[0], page)
        taken.append(take_link(repository, clock, donor, taken[-1].manifest if taken else None))
    return taken


@pytest.fixture
def history(repository: Repository, clock: TickingClock) -> History:
    return History.made(repository, clock)


def plan(
    repository: Repository,
    clock: TickingClock,
    *,
    give_up: Sequence[BackupName] = (),
    policy: Retention = POLICY,
) -> Prepared:
    return prepare_prune(repository, policy, clock=clock, give_up=give_up, plan_points=plan_promised)


def run(
    repository: Repository,
    clock: TickingClock,
    *,
    give_up: Sequence[BackupName] = (),
    policy: Retention = POLICY,
) -> PruneResult:
    return prune(repository, plan(repository, clock, give_up=give_up, policy=policy), clock=clock)


def twice(repository: Repository, clock: TickingClock, *, policy: Retention = POLICY) -> PruneResult:
    """The run that says what will go, and the one that deletes it an hour later."""
    run(repository, clock, policy=policy)
    clock.sleep(3700)
    return run(repository, clock, policy=policy)


def mark(repository: Repository, clock: TickingClock, taken: Sequence[Taken], *, hours: float = 25) -> None:
    for each in taken:
        Marks(repository).put(each.manifest.backup, "31 days old, and the window is 30 days")
    clock.sleep(hours * 3600)


def labels(repository: Repository) -> set[str]:
    return {each.label for each in Catalog(repository).backups()}


def owned(store: MemoryStore, manifest: Manifest) -> list[str]:
    return [name for name in names(store) if f"/{manifest.label}" in name]


def restores(repository: Repository, taken: Sequence[Taken]) -> bool:
    return not any(differing(by_overlay(repository, each.manifest), each.content) for each in taken)


def copy_of(store: MemoryStore, clock: TickingClock) -> MemoryStore:
    """The same objects with their times."""
    made = MemoryStore(clock)
    made._objects = dict(store._objects)  # pyright: ignore[reportPrivateUsage]
    return made


def at(repository: Repository, store: object) -> Repository:
    return Repository(store, repository.description, repository.keys)  # pyright: ignore[reportArgumentType]


def test_without_a_mark_nothing_goes(
    repository: Repository, store: MemoryStore, clock: TickingClock, history: History
) -> None:
    clock.sleep(400 * 86400)
    before = names(store)
    prepared = plan(repository, clock)
    assert prepared.plan.is_idle
    assert prepared.plan.kept_backups == len(history.every())
    assert twice(repository, clock).objects == 0
    assert names(store) == before


def test_a_chain_goes_in_two_runs_and_nothing_of_it_is_left(
    repository: Repository, store: MemoryStore, clock: TickingClock, history: History
) -> None:
    mark(repository, clock, history.second)
    first = run(repository, clock)
    assert (first.objects, len(first.begun)) == (0, 3)
    assert first.next_at is not None
    assert first.next_at - timedelta(hours=2) < clock.now() < first.next_at
    assert restores(repository, history.every())
    soon = run(repository, clock)
    assert (soon.objects, soon.begun, soon.next_bytes) == (0, (), first.next_bytes)
    clock.sleep(3700)
    result = run(repository, clock)
    assert list(result.backups) == [f"s1/{each.manifest.label}" for each in reversed(history.second)]
    assert not any(owned(store, each.manifest) for each in history.second)
    assert result.freed_bytes >= first.next_bytes > 0
    assert restores(repository, [*history.first, history.referring])
    assert run(repository, clock).objects == 0


def test_a_mark_within_its_grace_time_keeps_the_backup_and_says_until_when(
    repository: Repository, clock: TickingClock, history: History
) -> None:
    mark(repository, clock, history.second, hours=23)
    told = plan(repository, clock).plan
    assert not told.backups
    assert all("can be taken back until" in each.reasons[0] for each in told.marked)


def test_what_a_kept_full_refers_to_stays_though_it_is_marked(
    repository: Repository, clock: TickingClock, history: History
) -> None:
    mark(repository, clock, history.first)
    twice(repository, clock)
    # The newest link's manifest names packs of all of them.
    assert {each.manifest.label for each in history.first} <= labels(repository)
    assert restores(repository, history.every())
    mark(repository, clock, [history.referring])
    result = twice(repository, clock)
    assert result.backups[0] == f"s1/{history.referring.manifest.label}"
    assert labels(repository) == {each.manifest.label for each in history.second}
    assert restores(repository, history.second)


def test_a_retention_that_is_shorter_than_a_chain_keeps_its_beginning(
    repository: Repository, clock: TickingClock, history: History
) -> None:
    mark(repository, clock, history.second[:2])
    assert twice(repository, clock).objects == 0
    kept = plan(repository, clock).plan.marked
    assert f"needed by s1/{history.second[2].manifest.label}" in kept[-1].reasons


def test_a_hold_on_the_middle_of_a_chain_keeps_it_and_what_is_below(
    repository: Repository, clock: TickingClock, history: History
) -> None:
    middle = history.second[1]
    Holds(repository).place(
        middle.manifest.backup, "an audit", clock.now() + timedelta(days=99), now=clock.now(), by="ann"
    )
    mark(repository, clock, history.second)
    result = twice(repository, clock)
    assert result.backups == (f"s1/{history.second[2].manifest.label}",)
    assert restores(repository, [*history.second[:2], *history.first])
    (held,) = [each for each in plan(repository, clock).plan.marked if each.label == middle.manifest.label]
    assert "an audit" in held.reasons[0]
    clock.sleep(100 * 86400)
    assert len(twice(repository, clock).backups) == 2


def test_a_lease_keeps_a_chain_until_it_is_over(
    repository: Repository, clock: TickingClock, history: History
) -> None:
    mark(repository, clock, history.second)
    run(repository, clock)
    clock.sleep(3700)
    prepared = plan(repository, clock)
    # It comes between the plan and the deed, and names the newest link alone.
    lease = HeldLease(repository, LeaseTerms("s1", "restore", (history.second[2].manifest.label,)), clock)
    assert lease.take()
    result = prune(repository, prepared, clock=clock)
    assert (result.backups, len(result.spared)) == ((), 3)
    assert restores(repository, history.second)
    lease.release()
    assert len(run(repository, clock).backups) == 3


def test_of_turns_the_highest_number_stays(
    repository: Repository, store: MemoryStore, clock: TickingClock, history: History
) -> None:
    for name in ("s1", "s2"):
        for number in range(3):
            store.put(layout.turn("shard", name, number), b"whatever it says")
    assert plan(repository, clock).plan.turns == 4
    run(repository, clock)
    assert names(store, layout.TURNS) == [layout.turn("shard", name, 2) for name in ("s1", "s2")]
    assert plan(repository, clock).plan.is_idle
    assert restores(repository, history.every())


def test_of_how_runs_ended_the_last_four_of_a_duty_stay(
    repository: Repository, store: MemoryStore, clock: TickingClock, history: History
) -> None:
    told = [
        layout.outcome("shard", "s1", duty, clock.now(), f"{number:016x}")
        for duty in ("full", "incremental")
        for number in range(6)
    ]
    for name in told:
        store.put(name, b"whatever it says")
    assert plan(repository, clock).plan.outcomes == 4
    run(repository, clock)
    assert names(store, layout.OUTCOMES) == sorted([*told[2:6], *told[8:]])
    assert plan(repository, clock).plan.is_idle
    assert restores(repository, history.every())


def test_a_mark_that_is_taken_back_at_the_last_moment_counts(
    repository: Repository, store: MemoryStore, clock: TickingClock, history: History
) -> None:
    mark(repository, clock, history.second)
    run(repository, clock)
    clock.sleep(3700)
    prepared = plan(repository, clock)
    for each in history.second:
        Marks(repository).take_back(each.manifest.backup)
    assert prune(repository, prepared, clock=clock).objects == 0
    assert restores(repository, history.second)
    assert names(store, layout.EXPIRED) == []


def test_a_pruning_from_before_the_mark_does_not_shorten_the_hour(
    repository: Repository, clock: TickingClock, history: History
) -> None:
    for each in history.second:
        Marks(repository).begin_pruning(each.manifest.backup)
    mark(repository, clock, history.second)
    result = run(repository, clock)
    assert (result.backups, len(result.begun)) == ((), 3)


def test_an_incremental_that_lands_on_a_base_that_is_about_to_go_saves_it(
    repository: Repository, store: MemoryStore, clock: TickingClock
) -> None:
    donor = Donor(random.Random(2))
    donor.create(1, 9)
    _chain(repository, clock, donor, 1)
    (full,) = _chain(repository, clock, donor, 1)
    mark(repository, clock, [full])
    donor.change(donor.files[0], 3)
    # It looked for its base a moment before prune said that it would go.
    late = copy_of(store, clock)
    taken = take_link(at(repository, late), clock, donor, full.manifest)
    run(repository, clock)
    for name in owned(late, taken.manifest):
        store.put(name, late.get(name))
    clock.sleep(3700)
    assert run(repository, clock).objects == 0
    assert restores(repository, [full, taken])
    assert not names(store, layout.pruning_mark(full.manifest.backup))


def test_a_writer_finds_that_its_base_is_about_to_go(
    repository: Repository, clock: TickingClock, history: History
) -> None:
    mark(repository, clock, [history.second[2]])
    run(repository, clock)
    donor = Donor(random.Random(3))
    donor.create(1, 3)
    donor.lsn = 10_000
    with pytest.raises(ObjectMissing, match="is about to be pruned"):
        take_link(repository, clock, donor, history.second[2].manifest)


def test_a_backup_in_the_making_is_left_alone_and_one_that_died_goes_after_the_grace_time(
    repository: Repository, store: MemoryStore, clock: TickingClock, history: History
) -> None:
    label = ""
    with pytest.raises(StoreUnreachable), begin_link(repository, clock, "full") as writer:
        label = writer.backup.label
        store.put(layout.pack(writer.backup, 0), b"half a backup")
        # Who may only put objects says that it was ended long ago.
        store.put(layout.expired_mark(writer.backup), b"forged")
        store.put(layout.pruning_mark(writer.backup), b"{}")
        lease = HeldLease(repository, LeaseTerms("s1", "backup", (label,)), clock, ttl_seconds=80_000)
        assert lease.take()
        clock.sleep(2 * 3600)
        assert plan(repository, clock).plan.is_idle
        raise StoreUnreachable("the machine is gone")
    for name in (layout.wrapped_key(writer.backup, "k1"), layout.pack(writer.backup, 0)):
        if name not in names(store):
            store.put(name, b"what was left of it")
    clock.sleep(20 * 3600)
    assert not plan(repository, clock).plan.leftovers
    clock.sleep(5 * 3600)
    (leftover,) = plan(repository, clock).plan.leftovers
    assert leftover.label == label
    run(repository, clock)
    assert not [name for name in names(store) if label in name]
    assert restores(repository, history.every())


def test_a_leftover_that_is_written_again_between_plan_and_deed_stays(
    repository: Repository, store: MemoryStore, clock: TickingClock, history: History
) -> None:
    backup = BackupName("s1", "20260301T000000Z-full")
    store.put(layout.wrapped_key(backup, "k1"), b"a claim")
    clock.sleep(30 * 3600)
    prepared = plan(repository, clock)
    store.put(layout.pack(backup, 0), b"it lives")
    result = prune(repository, prepared, clock=clock)
    assert [each.label for each in result.spared] == [backup.label]
    assert layout.pack(backup, 0) in names(store)
    assert restores(repository, history.first)


def test_a_manifest_that_cannot_be_read_stops_everything_until_it_is_given_up(
    repository: Repository, store: MemoryStore, clock: TickingClock, history: History
) -> None:
    bad = history.second[2].manifest.backup
    mark(repository, clock, [*history.second[:2], history.referring])
    replace(store, layout.manifest(bad), b"not a manifest")
    prepared = plan(repository, clock)
    assert prepared.refusal is not None
    assert f"--give-up {bad}" in (prepared.refusal.hint or "")
    before = names(store)
    with pytest.raises(RetentionRefused, match=str(bad)):
        prune(repository, prepared, clock=clock)
    assert names(store) == before
    run(repository, clock, give_up=[bad])
    clock.sleep(3700)
    result = run(repository, clock, give_up=[bad])
    assert result.backups[:3] == tuple(f"s1/{each.manifest.label}" for each in reversed(history.second))
    assert restores(repository, history.first)


def test_only_what_cannot_be_read_is_given_up(
    repository: Repository, clock: TickingClock, history: History
) -> None:
    with pytest.raises(UsageError, match="can be read"):
        plan(repository, clock, give_up=[history.second[0].manifest.backup])
    with pytest.raises(NotFound, match="no backup"):
        plan(repository, clock, give_up=[BackupName("s1", "20200101T000000Z-full")])


def test_a_given_up_backup_in_whose_packs_others_have_pages_stays(
    repository: Repository, store: MemoryStore, clock: TickingClock, history: History
) -> None:
    bad = history.first[0].manifest.backup
    replace(store, layout.manifest(bad), b"not a manifest")
    run(repository, clock, give_up=[bad])
    clock.sleep(3700)
    assert run(repository, clock, give_up=[bad]).objects == 0
    assert restores(repository, history.second)


def test_a_thief_who_may_only_put_has_nothing_deleted(
    repository: Repository, store: MemoryStore, clock: TickingClock, history: History
) -> None:
    true = history.second[0].manifest.backup
    Marks(repository).put(true, "ended")
    stolen = store.get(layout.expired_mark(true))
    Marks(repository).take_back(true)
    for each in history.every():
        store.put(layout.expired_mark(each.manifest.backup), stolen)
        store.put(layout.pruning_mark(each.manifest.backup), b'{"format": 1}')
    # Put back where it was, it is a mark again: of that backup alone, which others need.
    clock.sleep(40 * 86400)
    told = plan(repository, clock).plan
    assert len(told.forged) == len(history.every()) - 1
    assert not told.backups
    twice(repository, clock)
    assert restores(repository, history.every())
    assert not [name for name in names(store) if name.endswith("/pruning")]


class Forgetful(ToldStore):
    """Lists lack some of the objects, and have others twice."""

    def __init__(self, inner: MemoryStore, seed: int, lacking: str) -> None:
        super().__init__(inner)
        self.chance = random.Random(seed)
        self.lacking = lacking

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        for info in super().list(prefix):
            if info.key.startswith(self.lacking) and self.chance.random() < 0.5:
                continue
            yield info
            if self.chance.random() < 0.3:
                yield info

    def list_page(self, prefix: str, token: str | None = None) -> Page:
        return Page(list(self.list(prefix)), None)


@pytest.mark.parametrize("lacking", [layout.MANIFESTS, layout.KEYS, layout.EXPIRED, layout.DATA])
def test_a_list_that_lacks_objects_or_repeats_them_never_frees_what_is_needed(
    repository: Repository, store: MemoryStore, clock: TickingClock, history: History, lacking: str
) -> None:
    mark(repository, clock, [*history.first, *history.second[:2]])
    for seed in range(12):
        again = at(repository, Forgetful(copy_of(store, clock), seed, lacking))
        twice(again, clock)
        assert restores(again, history.every()), seed


def test_an_object_that_the_store_locks_is_told_with_its_date_and_what_rests_on_it_stays(
    repository: Repository, store: MemoryStore, clock: TickingClock, history: History
) -> None:
    until = clock.now() + timedelta(days=90)

    class Locked(ToldStore):
        def before(self, operation: str, key: str) -> None:
            if operation == "delete" and key == layout.manifest(history.second[1].manifest.backup):
                raise ObjectLocked(f"{key} is locked", until=until)

    mark(repository, clock, history.second)
    locked = at(repository, Locked(store))
    result = twice(locked, clock)
    assert result.backups == (f"s1/{history.second[2].manifest.label}",)
    assert [each.until for each in result.locked] == [until]
    assert [each.label for each in result.spared] == [history.second[0].manifest.label]
    assert restores(repository, history.second[:2])
    assert len(run(repository, clock).backups) == 2


class Killed(ToldStore):
    """Every put and every delete from number ``at`` on fails; the first is ``unheard``, or has no effect."""

    def __init__(self, inner: MemoryStore, at: int, *, unheard: bool) -> None:
        super().__init__(inner)
        self.left = at
        self.unheard = unheard

    def before(self, operation: str, key: str) -> None:
        if operation in {"put", "delete"} and not key.startswith(layout.TRIALS):
            self.left -= 1
            if self.left < 0 or (self.left == 0 and not self.unheard):
                raise StoreUnreachable(f"{operation} {key}: the store is gone")

    def after(self, operation: str, key: str) -> None:
        if self.left == 0 and not key.startswith(layout.TRIALS):
            raise StoreUnreachable(f"{operation} {key}: no answer")


@pytest.mark.parametrize("unheard", [False, True])
def test_a_prune_that_is_killed_at_any_step_leaves_a_readable_repository_and_is_carried_on(
    repository: Repository, store: MemoryStore, clock: TickingClock, history: History, unheard: bool
) -> None:
    gone = [*history.second[1:], history.referring]
    stays = [*history.first, history.second[0]]
    mark(repository, clock, gone)
    step, done = 0, 0
    while not done:
        step += 1
        left = copy_of(store, clock)
        dying = at(repository, Killed(left, step, unheard=unheard))
        try:
            twice(dying, clock)
            done = step
        except StoreUnreachable:
            pass
        again = at(repository, left)
        survey = Catalog(again).survey()
        assert not survey.unreadable
        assert not [each.label for each in survey.backups if each.broken]
        for label in [each.label for each in survey.backups]:
            (taken,) = [each for each in history.every() if each.manifest.label == label]
            assert restores(again, [taken])
        twice(again, clock)
        clock.sleep(25 * 3600)
        run(again, clock)
        assert not [name for each in gone for name in owned(left, each.manifest)]
        assert restores(again, stays)
    assert done > 20


def test_two_prunes_at_once_do_each_others_work(
    repository: Repository, clock: TickingClock, history: History
) -> None:
    mark(repository, clock, history.second)
    run(repository, clock)
    clock.sleep(3700)
    one, other = plan(repository, clock), plan(repository, clock)
    prune(repository, one, clock=clock)
    prune(repository, other, clock=clock)
    assert labels(repository) == {each.manifest.label for each in [*history.first, history.referring]}
    assert restores(repository, [*history.first, history.referring])


def test_what_cannot_be_planned_from_what_will_be_left_is_not_deleted(
    repository: Repository, store: MemoryStore, clock: TickingClock, history: History
) -> None:
    mark(repository, clock, history.second)
    before = names(store)

    def refuses(
        view: Repository, shard: str, _at: Sequence[datetime], labels: Sequence[str], _shorts: Shorts
    ) -> None:
        if view is not repository and labels:
            raise TargetUnreachable(f"{shard} cannot be restored")

    prepared = prepare_prune(repository, POLICY, clock=clock, plan_points=refuses)
    with pytest.raises(RetentionRefused, match="could not be planned any more: s1 cannot be restored"):
        prune(repository, prepared, clock=clock)
    assert names(store) == before


def test_a_shard_that_is_not_named_keeps_what_it_has(
    repository: Repository, clock: TickingClock, history: History
) -> None:
    mark(repository, clock, history.second)
    assert prepare_prune(repository, POLICY, ["s2"], clock=clock).plan.is_idle
    assert len(prepare_prune(repository, POLICY, ["s1"], clock=clock).plan.backups) == 3


def test_findings_go_with_their_backup_and_those_that_a_dead_deletion_left_go_too(
    repository: Repository, store: MemoryStore, clock: TickingClock, history: History
) -> None:
    notes = DamageNotes(repository)
    gone, stays = history.second[0].manifest, history.referring.manifest
    for each in (gone, stays):
        notes.put(layout.pack(each.backup, 0), "frame 0 does not unseal")
    mark(repository, clock, history.second)
    twice(repository, clock)
    assert [each.owner for each in notes.all()] == [stays.backup]
    assert len(names(store, layout.FINDINGS)) == 1
    left = layout.finding(layout.pack(gone.backup, 1), "0" * 8)
    store.put(left, b"")
    clock.sleep(100 * 3600)
    twice(repository, clock)
    assert left not in names(store, layout.FINDINGS)
