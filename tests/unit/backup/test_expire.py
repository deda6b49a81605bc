"""Expire on a repository: what gets a mark, what does not and why; every step may be the last one."""

from __future__ import annotations

import base64
import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from copy import copy
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event

import pytest

from backup.expire import Expiry, expire, plan_expire, refusal_of
from backup.keeping import hold, release, take_back
from fleet.errors import Cancelled, KeyUnusable, NotFound, RetentionRefused, StoreUnreachable, UsageError
from fleet.parallelism import Parallelism
from fleet.policy import Retention
from repository import layout
from repository.attached import put_attached
from repository.catalog import Catalog
from repository.codec import encode_document
from repository.held_lease import HeldLease
from repository.holds import Holds
from repository.key_pair import PairSource, create_pair
from repository.keys import Binding, FileSource, Keyring, WrappedKey, create_key_file
from repository.layout import BackupName
from repository.leases import Leases, LeaseTerms
from repository.manifest import Base, GtidBracket, Manifest
from repository.marks import MarkDocument, Marks
from repository.repository import Repository
from repository.seal import BackupKey, Identity, ObjectKind, seal_object
from repository.stores.interface import ObjectInfo, Store
from repository.stores.memory import MemoryStore
from repository.writer import begin_backup
from tests.unit.repository.sealed_backups import (
    DyingStore,
    ToldStore,
    facts,
    file_keyring,
    names,
)

TODAY = datetime(2026, 3, 31, 12, tzinfo=UTC)
WEEK = Retention(days=7.0, minimum_fulls=2)


class SetClock:
    """Stands where it was set; the store's clock too, unless it is given another."""

    def __init__(self, now: datetime = TODAY) -> None:
        self.time = now

    def now(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        return 0.0

    def sleep(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)


class Place:
    """A repository with backups of certain ages, by the number of days before ``TODAY``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = SetClock()
        self.store = MemoryStore(self.clock)
        self.repository = Repository.create(self.store, file_keyring(folder), self.clock)

    def take(
        self, age_days: float, base: Manifest | None = None, *, shard: str = "s1", gtids: str | None = None
    ) -> Manifest:
        now, self.clock.time = self.clock.time, TODAY - timedelta(days=age_days)
        kind = "incremental" if base else "full"
        with begin_backup(
            self.repository,
            shard,
            kind,
            parallelism=Parallelism(),
            pack_size=1 << 16,
            level=1,
            clock=self.clock,
        ) as writer:
            lane = writer.open_lane()
            lane.close()
            known = base and Base(label=base.label, checkpoint_lsn=base.lsn.checkpoint)
            held = {"gtid": GtidBracket(low=gtids, high=gtids)} if gtids else {}
            made = writer.complete(facts((), base=known, **held))
        self.clock.time = now
        return made

    def open(self, store: Store) -> Repository:
        return Repository.open(store, file_keyring(self.folder))

    def copy(self) -> Place:
        made = copy(self)
        made.store = MemoryStore(self.clock)
        for name in names(self.store):
            made.store.put(name, self.store.get(name))
        made.repository = made.open(made.store)
        return made

    def plan(self, policy: Retention = WEEK, *, store: Store | None = None, **given: bool) -> Expiry:
        repository = self.open(store) if store else self.repository
        return plan_expire(repository, policy, clock=self.clock, may_shrink=given.get("may_shrink", True))

    def expire(self, policy: Retention = WEEK, *, store: Store | None = None) -> Expiry:
        repository = self.open(store) if store else self.repository
        return expire(repository, plan_expire(repository, policy, clock=self.clock, may_shrink=True))

    def marked(self) -> list[str]:
        return sorted(name.label for name in Marks(self.repository).all("s1"))

    def check_no_kept_backup_rests_on_a_marked_one(self) -> None:
        marked = Marks(self.repository).all()
        for each in Catalog(self.repository).backups():
            if each.name not in marked and each.base is not None:
                assert BackupName(each.shard, each.base) not in marked


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
def history(place: Place) -> list[Manifest]:
    """Two old chains of three, a newer one that leads into the window, and two backups in it."""
    made: list[Manifest] = []
    for full, *rest in ((40, 39, 38), (30, 29, 28), (10, 9, 8)):
        made.append(place.take(full))
        for age in rest:
            made.append(place.take(age, made[-1]))
    made.append(place.take(3))
    made.append(place.take(1, made[-1]))
    return made


def labels(manifests: list[Manifest]) -> list[str]:
    return [each.label for each in manifests]


def test_a_plan_says_what_stays_and_why_and_marks_nothing(place: Place, history: list[Manifest]) -> None:
    plan = place.plan()
    (shard,) = plan.shards
    assert not plan.done
    assert sorted(each.label for each in shard.expires) == labels(history[:6])
    assert [each.label for each in shard.kept] == labels(history[6:])
    assert shard.kept[2].reasons == ("leads to the first points of the window",)
    assert shard.expires[0].stays_until == TODAY + timedelta(hours=24)
    assert not place.marked()
    assert not [name for name in names(place.store) if name.startswith((layout.EXPIRED, layout.TRIALS))]


def test_what_expired_is_no_latest_and_can_be_taken_back_with_its_chain(
    place: Place, history: list[Manifest]
) -> None:
    place.expire()
    assert place.marked() == labels(history[:6])
    (shard,) = place.plan().shards
    assert not shard.expires
    assert [each.label for each in shard.expired] == labels(history[:6])
    assert shard.expired[0].marked_at == TODAY
    assert take_back(place.repository, "s1", history[5].label).labels == tuple(labels(history[3:6]))
    assert place.marked() == labels(history[:3])
    assert take_back(place.repository, "s1", history[5].label).labels == ()


def test_what_is_about_to_be_deleted_is_taken_back_as_well(place: Place, history: list[Manifest]) -> None:
    place.expire()
    Marks(place.repository).begin_pruning(history[3].backup)
    assert take_back(place.repository, "s1", history[3].label).labels == (history[3].label,)
    assert Marks(place.repository).pruning() == {}
    assert take_back(place.repository, "s1", history[3].label).labels == ()


def test_of_all_marked_none_is_the_latest_and_the_way_back_is_told(
    place: Place, history: list[Manifest]
) -> None:
    marks = Marks(place.repository)
    for manifest in history[6:]:
        marks.put(manifest.backup, "a trial")
    assert Catalog(place.repository).name("s1").label == history[5].label
    for manifest in history[:6]:
        marks.put(manifest.backup, "a trial")
    with pytest.raises(NotFound, match="retention has ended every backup of shard s1") as caught:
        Catalog(place.repository).manifest("s1")
    assert f"backstay expire s1 --take-back {history[-1].label}" in (caught.value.hint or "")
    assert Catalog(place.repository).manifest("s1", history[0].label).label == history[0].label


def test_a_mark_without_the_key_is_none_and_makes_way_for_one(place: Place, history: list[Manifest]) -> None:
    forged = layout.expired_mark(history[-1].backup)
    place.store.put(forged, b"BACKSTAY" + bytes(200))
    # A true mark of another backup under this one's name is none either.
    Marks(place.repository).put(history[0].backup, "true")
    moved = layout.expired_mark(history[-2].backup)
    place.store.put(moved, place.store.get(layout.expired_mark(history[0].backup)))
    (shard,) = place.plan().shards
    assert {each.label for each in shard.refused_marks} == {history[-1].label, history[-2].label}
    assert Catalog(place.repository).name("s1").label == history[-1].label
    assert Marks(place.repository).put(history[-1].backup, "now")
    assert history[-1].label in place.marked()


def test_a_key_that_somebody_put_beside_a_backup_makes_no_mark_for_it(
    place: Place, history: list[Manifest], tmp_path: Path
) -> None:
    """Who has a public half can wrap a key of his own for a backup, and seal a mark under that."""
    victim = history[-1].backup
    create_key_file(tmp_path / "k0.key")
    source = FileSource("k0", tmp_path / "k0.key")
    place.repository.add_key(source, place.clock)
    keyring = Keyring([source, *file_keyring(place.folder).sources])
    repository = Repository.open(place.store, keyring)
    his = bytes(range(32))
    wrapped = repository.keys.keks["k0"].wrap(his, Binding(repository.repository_id, victim))
    envelope = WrappedKey(key_id="k0", wrapped=base64.b64encode(wrapped).decode())
    place.store.put(layout.wrapped_key(victim, "k0"), envelope.model_dump_json().encode())
    name = layout.expired_mark(victim)
    text = MarkDocument(reason="mine", marked_by="me").model_dump_json().encode()
    identity = Identity(repository.repository_id, name, ObjectKind.MARK)
    place.store.put(name, seal_object(identity, BackupKey(his), encode_document(text, 1)))
    assert Marks(repository).all() == {}
    (refused,) = Marks(repository).survey().refused
    assert refused.backup == victim
    assert Catalog(repository).name("s1") == victim
    assert Marks(repository).put(victim, "true")
    assert Marks(repository).all()[victim].reason == "true"


def test_who_can_read_nothing_ends_nothing(place: Place, history: list[Manifest], tmp_path: Path) -> None:
    create_pair(tmp_path / "reader.pem", tmp_path / "writer.pem")
    writer = PairSource("pair", public=tmp_path / "writer.pem", private=None)
    place.repository.add_key(writer, place.clock)
    with pytest.raises(KeyUnusable, match="only the public half"):
        plan_expire(Repository.open(place.store, Keyring([writer])), WEEK, clock=place.clock)


def test_the_mark_of_a_backup_that_is_gone_says_nothing(place: Place, history: list[Manifest]) -> None:
    place.expire()
    place.store.delete(layout.manifest(history[0].backup))
    seen = Marks(place.repository).survey("s1")
    assert seen.left_behind == (history[0].backup,)
    assert history[0].backup not in seen.marks
    assert not seen.refused


def test_where_a_manifest_cannot_be_read_nothing_of_that_shard_is_marked(
    place: Place, history: list[Manifest]
) -> None:
    for age in (50, 40, 3, 2):
        place.take(age, shard="s2")
    name = layout.manifest(history[4].backup)
    place.store.put(name, place.store.get(name)[:-1], if_absent=False)
    done = place.expire()
    assert place.marked() == []
    assert len(Marks(place.repository).all("s2")) == 1
    refused = refusal_of(done)
    assert refused is not None
    assert "nothing of shard s1 expires: 1 manifest cannot be read" in refused.message
    assert refused.hint


def test_a_policy_that_was_mistyped_is_asked_about(place: Place) -> None:
    for age in range(1, 33):
        place.take(age)
    month = Retention(days=30.0, minimum_fulls=2)
    assert refusal_of(place.plan(month, may_shrink=False)) is None
    plan = place.plan(Retention(days=3.0, minimum_fulls=2), may_shrink=False)
    refused = refusal_of(plan)
    assert refused is not None
    assert "is retention.days = 3 what was meant?" in refused.message
    assert "--yes-shrink" in (refused.hint or "")
    expire(place.repository, plan)
    assert place.marked() == []
    place.expire(Retention(days=3.0, minimum_fulls=2))
    assert len(place.marked()) == 28


def test_a_chain_that_goes_as_one_is_no_shrinking(place: Place) -> None:
    """Daily runs, and all of a long chain leaves at once: more than half, but only today."""
    links = [place.take(8.9)]
    for age in range(20):
        links.append(place.take(8.8 - age / 3, links[-1]))
    place.take(1.5)
    plan = place.plan(Retention(days=1.0, minimum_fulls=1), may_shrink=False)
    assert len(plan.shards[0].expires) == 21
    assert refusal_of(plan) is None


@pytest.mark.parametrize("hours", [1, -1])
def test_a_clock_that_is_an_hour_off_marks_nothing(place: Place, history: list[Manifest], hours: int) -> None:
    with pytest.raises(RetentionRefused, match="more than five minutes are too much"):
        plan_expire(place.repository, WEEK, clock=SetClock(TODAY + timedelta(hours=hours)))
    assert place.marked() == []


def test_a_lease_keeps_what_it_names_with_its_chain(place: Place, history: list[Manifest]) -> None:
    lease = HeldLease(place.repository, LeaseTerms("s1", "restore", (history[5].label,)), place.clock)
    assert lease.take()
    assert Leases(place.repository).in_force(TODAY)
    assert sorted(each.label for each in place.plan().shards[0].expires) == labels(history[:3])
    place.expire()
    assert place.marked() == labels(history[:3])
    lease.release()
    assert sorted(each.label for each in place.plan().shards[0].expires) == labels(history[3:6])


def test_a_lease_takes_no_mark_back(place: Place, history: list[Manifest]) -> None:
    place.expire()
    assert HeldLease(place.repository, LeaseTerms("s1", "restore", (history[5].label,)), place.clock).take()
    (shard,) = place.expire().shards
    assert shard.taken_back == ()
    assert place.marked() == labels(history[:6])


def test_a_retention_that_was_too_short_for_a_day_ends_nothing_for_good(
    place: Place, history: list[Manifest]
) -> None:
    first = place.expire(Retention(days=0.001, minimum_fulls=1))
    assert len(place.marked()) == 9
    plan = place.plan()
    assert plan.shards[0].taken_back == tuple(labels(history[6:9]))
    assert place.marked() == [each.label for each in sorted(first.shards[0].expires, key=lambda e: e.label)]
    (shard,) = expire(place.repository, plan).shards
    assert place.marked() == labels(history[:6])
    assert [each.label for each in shard.expired] == labels(history[:6])
    assert {each.label for each in shard.kept} == set(labels(history[6:]))
    assert place.plan().shards[0].taken_back == ()


def test_what_was_shrunk_stays_marked_whatever_the_retention(place: Place, history: list[Manifest]) -> None:
    place.expire(Retention(days=0.001, minimum_fulls=1))
    marks = Marks(place.repository)
    marks.set_reduced(history[7].backup)
    marks.begin_reducing(history[6].backup)
    (shard,) = place.expire().shards
    assert shard.taken_back == (history[6].label,)
    assert place.marked() == sorted(labels([*history[:6], *history[7:9]]))
    assert history[8].label in [each.label for each in shard.expired]
    assert not marks.reducing()


def test_what_is_shrunk_in_this_moment_keeps_its_mark(place: Place, history: list[Manifest]) -> None:
    place.expire(Retention(days=0.001, minimum_fulls=1))
    plan = place.plan()

    class Shrinking(ToldStore):
        def after(self, operation: str, key: str) -> None:
            if operation == "delete" and key == layout.expired_mark(history[6].backup):
                Marks(place.repository).set_reduced(history[6].backup)

    expire(place.open(Shrinking(place.store)), plan)
    assert set(labels(history[6:9])) <= set(place.marked())


def test_a_hold_on_a_chains_middle_keeps_it_until_its_date(place: Place, history: list[Manifest]) -> None:
    place.expire()
    until = TODAY + timedelta(days=30)
    placed = hold(
        place.repository, "s1", history[1].label, reason="audit", until=until, by="ops", clock=place.clock
    )
    assert placed.taken_back == tuple(labels(history[:2]))
    (shard,) = place.expire().shards
    assert [each.reasons for each in shard.kept[:2]] == [
        (f"base of {history[1].label}",),
        ("held",),
    ]
    assert place.marked() == labels(history[2:6])
    place.clock.time = until
    for age in (-29, -30):
        place.take(age)
    place.expire()
    assert set(labels(history[:2])) <= set(place.marked())


def test_a_hold_that_cannot_be_read_is_in_force_until_released(place: Place, history: list[Manifest]) -> None:
    place.store.put(layout.hold(history[2].backup, "00000000"), b"scratched")
    assert sorted(each.label for each in place.plan().shards[0].expires) == labels(history[3:6])
    (kept,) = Holds(place.repository).in_force(TODAY + timedelta(days=10**5))
    assert kept.unreadable
    assert kept.until is None
    assert release(place.repository, "s1", history[2].label).holds == (kept,)
    with pytest.raises(NotFound, match="nothing holds backup"):
        release(place.repository, "s1", history[2].label)


def test_a_hold_needs_a_reason_a_date_to_come_and_a_label(place: Place, history: list[Manifest]) -> None:
    label = history[0].label
    for change in ({"reason": " "}, {"until": TODAY}, {"label": "latest"}):
        given = {"label": label, "reason": "audit", "until": TODAY + timedelta(days=1)} | change
        with pytest.raises(UsageError):
            hold(place.repository, "s1", by="ops", clock=place.clock, **given)  # pyright: ignore[reportArgumentType]
    assert not Holds(place.repository).all()


def test_a_backup_that_came_to_rest_on_what_was_just_marked_takes_the_mark_back(
    place: Place, history: list[Manifest]
) -> None:
    """An incremental was on its way when its base was marked."""
    place.expire()
    place.take(0.5, history[5])
    (shard,) = place.expire().shards
    assert shard.taken_back == tuple(labels(history[3:6]))
    place.check_no_kept_backup_rests_on_a_marked_one()


def test_what_is_being_deleted_in_this_moment_cannot_be_taken_back(
    place: Place, history: list[Manifest]
) -> None:
    place.expire()

    class Pruned(ToldStore):
        def after(self, operation: str, key: str) -> None:
            if operation == "delete" and key.startswith(layout.EXPIRED):
                self.inner.delete(layout.manifest(history[0].backup))

    with pytest.raises(NotFound, match="in this very moment"):
        take_back(place.open(Pruned(place.store)), "s1", history[0].label)


@pytest.mark.parametrize("unheard", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("forever", [False, True], ids=["once", "killed"])
def test_a_run_that_dies_at_any_operation_is_done_by_the_next(
    place: Place, history: list[Manifest], *, unheard: bool, forever: bool
) -> None:
    def run(stopped: Place, store: Store) -> None:
        stopped.expire(store=store)

    for stopped in died_everywhere(place, run, unheard=unheard, forever=forever, least=20):
        stopped.check_no_kept_backup_rests_on_a_marked_one()
        assert set(stopped.marked()) <= set(labels(history[:6]))
        stopped.expire()
        assert stopped.marked() == labels(history[:6])


@pytest.mark.parametrize("unheard", [False, True], ids=["before", "after"])
def test_taking_back_and_holding_may_die_at_any_operation(
    place: Place, history: list[Manifest], *, unheard: bool
) -> None:
    place.expire()
    label = history[5].label

    def back(stopped: Place, store: Store) -> None:
        take_back(stopped.open(store), "s1", label)

    def held(stopped: Place, store: Store) -> None:
        end = TODAY + timedelta(days=1)
        hold(stopped.open(store), "s1", label, reason="audit", until=end, by="ops", clock=stopped.clock)

    def raced(stopped: Place, store: Store) -> None:
        stopped.expire(store=store)

    for stopped in died_everywhere(place, back, unheard=unheard, forever=True, least=8):
        stopped.check_no_kept_backup_rests_on_a_marked_one()
        back(stopped, stopped.store)
        assert stopped.marked() == labels(history[:3])
    for stopped in died_everywhere(place, held, unheard=unheard, forever=True, least=12):
        stopped.check_no_kept_backup_rests_on_a_marked_one()
        held(stopped, stopped.store)
        assert stopped.marked() == labels(history[:3])
    # An incremental was on its way when its base was marked: that mark is taken back by the next run.
    place.take(0.5, history[5])
    for stopped in died_everywhere(place, raced, unheard=unheard, forever=True, least=20):
        stopped.expire()
        assert stopped.marked() == labels(history[:3])


def died_everywhere(
    place: Place, run: Callable[[Place, Store], None], *, unheard: bool, forever: bool, least: int
) -> Iterator[Place]:
    """Copies of ``place`` after ``run`` died at its first, second, ... operation; the last did not."""
    at, died = 0, True
    while died:
        at += 1
        stopped = place.copy()
        dying = DyingStore(stopped.store, at, unheard=unheard, forever=forever)
        with suppress(StoreUnreachable):
            run(stopped, dying)
        died = dying.operations >= at
        yield stopped
    assert at > least


def test_two_runs_at_once_mark_the_same(place: Place, history: list[Manifest]) -> None:
    first, second = place.plan(), place.plan()
    chance = random.Random(1)
    done: list[str] = []

    class Between(ToldStore):
        def before(self, operation: str, key: str) -> None:
            if operation == "put" and not done and chance.random() < 0.5:
                done.append(key)
                expire(place.repository, second)

    expire(place.open(Between(place.store)), first)
    assert done
    assert place.marked() == labels(history[:6])


class Behind(ToldStore):
    """Its lists lack what is below ``room`` of one label."""

    def __init__(self, inner: MemoryStore, room: str, label: str) -> None:
        super().__init__(inner)
        self._room, self._label = room, label

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        for each in self.inner.list(prefix):
            if not (each.key.startswith(self._room) and self._label in each.key):
                yield each


@pytest.mark.parametrize("room", [layout.MANIFESTS, ""], ids=["its manifest", "all of it"])
def test_a_list_that_misses_a_backup_ends_nothing_that_is_needed(
    place: Place, history: list[Manifest], room: str
) -> None:
    for missing in labels(history):
        stopped = place.copy()
        assert refusal_of(stopped.expire(store=Behind(stopped.store, room, missing))) is None
        # What one list lacks, another one or the backup that continues it names.
        if room or missing not in labels([history[2], history[5]]):
            stopped.check_no_kept_backup_rests_on_a_marked_one()
            assert stopped.marked() == labels(history[:6])
        stopped.expire()
        stopped.check_no_kept_backup_rests_on_a_marked_one()
        assert stopped.marked() == labels(history[:6])


def test_a_list_that_repeats_objects_changes_nothing(place: Place, history: list[Manifest]) -> None:
    class Repeating(ToldStore):
        def list(self, prefix: str):
            return (info for one in self.inner.list(prefix) for info in (one, one))

    place.expire(store=Repeating(place.store))
    assert place.marked() == labels(history[:6])
    (shard,) = place.plan(store=Repeating(place.store)).shards
    assert len(shard.kept) == 5
    assert len(shard.expired) == 6


def test_it_stops_between_two_marks_when_it_is_told_to(place: Place, history: list[Manifest]) -> None:
    stopped = Event()
    stopped.set()
    with pytest.raises(Cancelled):
        expire(place.repository, place.plan(), cancelled=stopped)
    assert place.marked() == []


def test_an_empty_repository_has_nothing_to_expire(place: Place) -> None:
    assert place.plan().shards == ()


def test_marks_say_who_put_them_and_pruning_is_told_by_its_time(
    place: Place, history: list[Manifest]
) -> None:
    marks, backup = Marks(place.repository), history[0].backup
    assert marks.put(backup, "old", by="ops@host")
    assert not marks.put(backup, "older")
    assert marks.all()[backup].reason == "old"
    assert marks.all()[backup].marked_by.endswith("(ops@host)")
    assert marks.begin_pruning(backup) == TODAY
    place.clock.time += timedelta(hours=2)
    assert marks.pruning("s1") == {backup: TODAY}
    # Begun anew, its hour begins anew.
    assert marks.begin_pruning(backup) == place.clock.time
    marks.take_back(backup)
    assert not names(place.store, layout.EXPIRED)


def test_a_mark_of_another_kind_is_none(place: Place, history: list[Manifest]) -> None:
    backup = history[0].backup
    document = MarkDocument(reason="a hold in its place", marked_by="x")
    put_attached(place.repository, backup, layout.expired_mark(backup), ObjectKind.HOLD, document)
    (refused,) = Marks(place.repository).survey().refused
    assert "its kind is 9, and should be 10" in refused.problem
