"""Leases: what is in force, who holds one, and what dies with it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sealed_backups import UUID, DyingStore, ToldStore, names

from fleet.errors import ObjectMissing, StoreDenied, StoreUnreachable, ToolError
from fleet.gtid import GtidSet
from repository import layout
from repository.held_lease import HeldLease
from repository.layout import BackupName
from repository.leases import Leases, LeaseTerms, held
from repository.repository import Repository
from repository.stores.interface import ObjectInfo
from repository.stores.memory import MemoryStore

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
TOKEN = "00112233aabbccdd"
DAY = 86_400
LABEL = "20260301T021500Z-full"
TERMS = LeaseTerms("s1", "backup", (LABEL,), GtidSet.parse(f"{UUID}:1-5"))


class SetClock:
    """It goes when it is told to."""

    def __init__(self) -> None:
        self.passed = 0.0

    def now(self) -> datetime:
        return NOON + timedelta(seconds=self.passed)

    def monotonic(self) -> float:
        return self.passed

    def sleep(self, seconds: float) -> None:
        self.passed += seconds


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
def place(clock: SetClock) -> MemoryStore:
    return MemoryStore(clock)


@pytest.fixture
def on(repository: Repository) -> Callable[[object], Repository]:
    """The repository as it is over another store."""
    return lambda store: Repository(store, repository.description, repository.keys)  # type: ignore[arg-type]


def document(**changes: object) -> bytes:
    said = {"format": 1, "kind": "restore", "labels": [LABEL], "gtids_from": None, "ttl_seconds": 900}
    return json.dumps(said | {"told_by": "host:7"} | changes).encode()


def lease_objects(store: MemoryStore) -> list[str]:
    return names(store, "leases/")


# What is in force


@given(
    st.dictionaries(
        st.integers(0, 30),
        st.tuples(st.integers(0, 3 * DAY), st.integers(1, 2 * DAY)),
        min_size=1,
        max_size=6,
    ),
    st.integers(0, 5 * DAY),
)
def test_the_highest_number_counts_for_its_ttl_and_never_longer_than_a_day(
    objects: dict[int, tuple[int, int]], now: int
) -> None:
    clock = SetClock()
    store = MemoryStore(clock)
    for number, (put_at, ttl) in objects.items():
        clock.passed = put_at
        store.put(layout.lease("s1", TOKEN, number), document(ttl_seconds=ttl))
    put_at, ttl = objects[max(objects)]
    until = put_at + min(ttl, DAY)
    found = Leases(Repository(store, None, None)).in_force(NOON + timedelta(seconds=now))  # type: ignore[arg-type]
    assert [lease.until for lease in found] == ([NOON + timedelta(seconds=until)] if now < until else [])
    clock.passed = now
    leftovers = Leases(Repository(store, None, None)).left_over(clock.now())  # type: ignore[arg-type]
    for name in leftovers:
        store.delete(name)
    again = Leases(Repository(store, None, None)).in_force(clock.now())  # type: ignore[arg-type]
    assert again == found
    assert len(lease_objects(store)) == (1 if now < put_at + DAY else 0)


def test_a_lease_says_what_prune_prints(clock: SetClock, place: MemoryStore, on) -> None:
    place.put(layout.lease("s1", TOKEN, 0), document(kind="standby", labels=[], gtids_from=f"{UUID}:1-7"))
    (lease,) = Leases(on(place)).in_force(clock.now())
    assert (lease.kind, lease.told_by, lease.labels) == ("standby", "host:7", ())
    assert lease.gtids_from == GtidSet.parse(f"{UUID}:1-7")
    assert (lease.until, lease.unreadable) == (NOON + timedelta(minutes=15), None)
    assert not lease.keeps(BackupName("s1", LABEL))


def test_leases_of_one_shard_are_asked_for_alone(clock: SetClock, place: MemoryStore, on) -> None:
    place.put(layout.lease("s1", TOKEN, 0), document())
    place.put(layout.lease("s10", TOKEN, 0), document())
    assert [lease.shard for lease in Leases(on(place)).in_force(clock.now())] == ["s1", "s10"]
    (lease,) = Leases(on(place)).in_force(clock.now(), "s1")
    assert lease.keeps(BackupName("s1", LABEL))
    assert not lease.keeps(BackupName("s10", LABEL))
    assert not lease.keeps(BackupName("s1", "20260302T021500Z-full"))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not json",
        b"[]",
        document(format=2),
        document(kind="party"),
        document(labels=["../up"]),
        document(labels=None),
        document(gtids_from="nonsense"),
        document(ttl_seconds=0),
        document(told_by="\x1b[2J"),
        b" " * ((1 << 20) + 1),
    ],
)
def test_what_cannot_be_read_keeps_all_of_its_shard_for_a_day(
    clock: SetClock, place: MemoryStore, on, content: bytes
) -> None:
    place.put(layout.lease("s1", TOKEN, 3), content)
    clock.passed = DAY - 1
    (lease,) = Leases(on(place)).in_force(clock.now())
    assert lease.unreadable
    assert lease.until == NOON + timedelta(days=1)
    assert lease.keeps(BackupName("s1", LABEL))
    assert not lease.keeps(BackupName("s2", LABEL))
    assert lease.gtids_from == GtidSet()
    assert Leases(on(place)).left_over(clock.now()) == ()
    clock.passed = DAY
    assert Leases(on(place)).in_force(clock.now()) == ()
    assert len(Leases(on(place)).left_over(clock.now())) == 1


def test_what_is_no_lease_by_its_name_is_not_looked_at(clock: SetClock, place: MemoryStore, on) -> None:
    for name in ("leases/s1/short/000000", f"leases/s1/{TOKEN}/1", f"leases/s1/{TOKEN}/000000/x"):
        place.put(name, b"?")
    assert Leases(on(place)).in_force(clock.now()) == ()
    assert Leases(on(place)).left_over(clock.now() + timedelta(days=9)) == ()


class Meanwhile(ToldStore):
    """Something happens between a list and the reading of what it showed."""

    def __init__(self, inner: MemoryStore, happens: Callable[[], None], *, behind: bool = False) -> None:
        super().__init__(inner)
        self._happens: Callable[[], None] | None = happens
        self._behind: list[ObjectInfo] | None = None
        self._is_behind = behind

    def list(self, prefix: str):
        if self._is_behind and self._behind is None:
            self._behind = list(super().list(prefix))
        return iter(self._behind if self._behind is not None else list(super().list(prefix)))

    def before(self, operation: str, key: str) -> None:
        if operation == "get" and self._happens:
            happens, self._happens = self._happens, None
            happens()


@pytest.mark.parametrize("behind", [False, True])
def test_one_that_is_renewed_while_it_is_looked_at_is_in_force(
    clock: SetClock, place: MemoryStore, on, behind: bool
) -> None:
    def renew() -> None:
        clock.sleep(300)
        place.put(layout.lease("s1", TOKEN, 1), document())
        place.delete(layout.lease("s1", TOKEN, 0))

    place.put(layout.lease("s1", TOKEN, 0), document())
    (lease,) = Leases(on(Meanwhile(place, renew, behind=behind))).in_force(NOON)
    assert lease.until == NOON + timedelta(seconds=1200)


def test_one_that_was_renewed_more_than_once_meanwhile_is_in_force(clock, place, on) -> None:
    def renew() -> None:
        place.put(layout.lease("s1", TOKEN, 4), document())
        place.delete(layout.lease("s1", TOKEN, 0))

    place.put(layout.lease("s1", TOKEN, 0), document())
    assert len(Leases(on(Meanwhile(place, renew))).in_force(NOON)) == 1


def test_one_that_is_released_while_it_is_looked_at_is_over(clock: SetClock, place, on) -> None:
    name = layout.lease("s1", TOKEN, 0)
    place.put(name, document())
    assert Leases(on(Meanwhile(place, lambda: place.delete(name)))).in_force(clock.now()) == ()


# Who holds one


def hold(repository: Repository, clock: SetClock, terms: LeaseTerms = TERMS) -> HeldLease:
    return HeldLease(repository, terms, clock, ttl_seconds=900)


def test_a_lease_is_one_object_that_is_put_anew_and_gone_in_the_end(clock, place, on) -> None:
    lease = hold(on(place), clock)
    assert lease.take()
    for number in range(3):
        assert lease_objects(place) == [layout.lease("s1", lease.token, number)]
        (seen,) = Leases(on(place)).in_force(clock.now())
        assert (seen.kind, seen.labels, seen.gtids_from) == ("backup", (LABEL,), TERMS.gtids_from)
        assert seen.until == clock.now() + timedelta(minutes=15)
        lease.check()
        clock.sleep(lease.pause_seconds)
        assert lease.renew()
    lease.release()
    assert lease_objects(place) == []


def test_two_holders_do_not_know_of_each_other(clock: SetClock, place: MemoryStore, on) -> None:
    first, second = hold(on(place), clock), hold(on(place), clock, LeaseTerms("s1", "restore", ()))
    assert first.take()
    assert second.take()
    assert first.renew()
    first.release()
    (left,) = Leases(on(place)).in_force(clock.now())
    assert (left.token, left.kind) == (second.token, "restore")


def test_less_is_said_with_the_second_renewal(clock: SetClock, place: MemoryStore, on) -> None:
    lease = hold(on(place), clock)
    lease.take()
    lease.narrow(labels=())
    lease.narrow(gtids_from=GtidSet.parse(f"{UUID}:1-8"))
    said = []
    for _ in range(3):
        (seen,) = Leases(on(place)).in_force(clock.now())
        said.append((len(seen.labels), str(seen.gtids_from)))
        lease.renew()
    assert said == [(1, f"{UUID}:1-5"), (1, f"{UUID}:1-5"), (0, f"{UUID}:1-8")]


def test_who_may_not_delete_leaves_numbers_of_which_the_highest_counts(clock, place, on) -> None:
    asked = []

    class Undeletable(ToldStore):
        def before(self, operation: str, key: str) -> None:
            asked.append(operation)
            if operation == "delete":
                raise StoreDenied("no")

    lease = hold(on(Undeletable(place)), clock)
    lease.take()
    for _ in range(4):
        clock.sleep(300)
        assert lease.renew()
    lease.check()
    lease.release()
    assert asked.count("delete") == 1
    assert len(lease_objects(place)) == 5
    clock.sleep(899)
    assert len(Leases(on(place)).in_force(clock.now())) == 1
    assert len(Leases(on(place)).left_over(clock.now())) == 4
    clock.sleep(1)
    assert Leases(on(place)).in_force(clock.now()) == ()


class Failing(ToldStore):
    """Puts fail with ``error`` while there is one."""

    error: ToolError | None = None

    def before(self, operation: str, key: str) -> None:
        if operation == "put" and self.error:
            raise self.error


def test_a_store_that_fails_for_a_while_costs_nothing(clock: SetClock, place: MemoryStore, on) -> None:
    store = Failing(place)
    lease = hold(on(store), clock)
    lease.take()
    for error in (StoreUnreachable("it rains"), StoreDenied("the token is being renewed")):
        store.error = error
        clock.sleep(lease.pause_seconds)
        assert lease.renew()
        assert lease.pause_seconds == 30
        lease.check()
        assert len(Leases(on(place)).in_force(clock.now())) == 1
        store.error = None
        assert lease.renew()
        assert lease.pause_seconds == 300
    assert len(lease_objects(place)) == 1


def test_a_lease_that_cannot_be_renewed_is_told_and_another_one_does_not_hide_it(clock, place, on) -> None:
    store = Failing(place)
    lease = hold(on(store), clock)
    lease.take()
    store.error = StoreUnreachable("it rains")
    clock.sleep(809)
    assert lease.renew()
    lease.check()
    clock.sleep(2)
    with pytest.raises(StoreUnreachable, match=f"lease on {LABEL} .* 15 min 00 s: it rains") as caught:
        lease.check()
    assert caught.value.retryable
    store.error = None
    clock.sleep(89)
    assert Leases(on(place)).in_force(clock.now()) == ()
    first = lease.token
    assert lease.renew()
    assert lease.token != first
    assert len(Leases(on(place)).in_force(clock.now())) == 1
    with pytest.raises(StoreUnreachable):
        lease.check()
    assert lease_objects(place) == [layout.lease("s1", lease.token, 1)]
    lease.release()
    assert lease_objects(place) == []


def test_a_process_that_stood_still_has_lost_its_lease(clock: SetClock, place: MemoryStore, on) -> None:
    lease = hold(on(place), clock)
    lease.take()
    clock.sleep(1000)
    with pytest.raises(StoreUnreachable, match="stood still"):
        lease.check()


def test_a_renewal_that_came_too_late_does_not_count(clock: SetClock, place: MemoryStore, on) -> None:
    class Slow(ToldStore):
        def before(self, operation: str, key: str) -> None:
            if key.endswith("000001"):
                clock.sleep(700)

    lease = hold(on(Slow(place)), clock)
    lease.take()
    clock.sleep(300)
    lease.renew()
    with pytest.raises(StoreUnreachable):
        lease.check()


def test_a_first_put_that_fails_is_tried_again_and_told_until_then(clock, place, on) -> None:
    store = Failing(place)
    store.error = StoreUnreachable("it rains")
    lease = hold(on(store), clock)
    assert lease.take()
    assert lease.without == "it rains"
    with pytest.raises(StoreUnreachable, match="it rains"):
        lease.check()
    store.error = None
    assert lease.renew()
    lease.check()
    assert lease.without is None


def test_who_is_about_to_commit_with_little_time_left_renews_it_now(clock, place, on) -> None:
    lease = hold(on(place), clock)
    lease.take()
    clock.sleep(850)
    lease.check()
    assert lease_objects(place) == [layout.lease("s1", lease.token, 1)]
    clock.sleep(800)
    lease.check()
    assert lease_objects(place) == [layout.lease("s1", lease.token, 1)]


@pytest.mark.parametrize("unheard", [False, True], ids=["refused", "unheard"])
@pytest.mark.parametrize("forever", [False, True], ids=["once", "killed"])
def test_a_holder_that_dies_at_any_operation_leaves_a_lease_that_is_over_by_itself(
    on, unheard: bool, forever: bool
) -> None:
    for at in range(1, 20):
        clock = SetClock()
        place = MemoryStore(clock)
        dying = DyingStore(place, at, unheard=unheard, forever=forever)
        lease = hold(on(dying), clock)
        lease.take()
        heard_at = None if lease.without else clock.passed
        for _ in range(3):
            clock.sleep(lease.pause_seconds)
            if lease.renew() and lease.pause_seconds == 300:
                heard_at = clock.passed
            if heard_at is not None and clock.passed < heard_at + 900:
                assert len(Leases(on(place)).in_force(clock.now())) == 1
        lease.release()
        if not forever:
            # One operation failed: the one thing that may be left is what its delete left.
            assert len(lease_objects(place)) <= 1
        assert all(name.startswith(f"leases/s1/{lease.token}/") for name in names(place))
        clock.sleep(900)
        assert Leases(on(place)).in_force(clock.now()) == ()
        clock.sleep(DAY)
        assert set(Leases(on(place)).left_over(clock.now())) == set(names(place))
        if dying.operations < at:
            break
    else:
        pytest.fail("it never came to its end")


# While work goes on


def test_a_thread_keeps_it_as_long_as_the_block_lasts(clock: SetClock, place: MemoryStore, on) -> None:
    renewed, turns = threading.Semaphore(0), threading.Semaphore(0)

    def wait(event: threading.Event, seconds: float) -> bool:
        if event.is_set() or seconds == 30:
            return event.wait()
        renewed.release()
        turns.acquire()
        clock.sleep(seconds)
        return event.is_set()

    told: list[str] = []
    with held(on(place), TERMS, clock, note=told.append, wait=wait) as lease:
        for number in range(4):
            renewed.acquire()
            assert lease_objects(place) == [layout.lease("s1", lease.token, number)]
            lease.check()
            turns.release()
        # It waits for its turn again, which comes with the end of the block at the latest.
        renewed.acquire()
        turns.release()
        renewed.acquire()
        turns.release(100)
    assert (lease_objects(place), told) == ([], [])


@pytest.mark.parametrize("error", [StoreDenied("the store is read-only"), ObjectMissing("no such bucket")])
def test_who_may_not_write_goes_on_without_and_is_told_once(clock, place, on, error: ToolError) -> None:
    store = Failing(place)
    store.error = error
    told: list[str] = []
    with held(on(store), TERMS, clock, note=told.append) as lease:
        lease.check()
        assert lease.without == error.message
    assert told == [f"without a lease, so pruning does not know of this backup: {error.message}"]
    assert names(place) == []


def test_a_store_that_does_not_answer_holds_nobody_up(clock: SetClock, place: MemoryStore, on) -> None:
    answers = threading.Event()

    class Frozen(ToldStore):
        def before(self, operation: str, key: str) -> None:
            if operation == "put":
                answers.wait()

    def wait(event: threading.Event, seconds: float) -> bool:
        return False if seconds == 30 else event.wait()

    told: list[str] = []
    with held(on(Frozen(place)), TERMS, clock, note=told.append, wait=wait) as lease:
        assert lease.without == "the store has not answered yet"
        answers.set()
    assert told == [
        "without a lease, so pruning does not know of this backup: the store has not answered yet"
    ]
    assert names(place) == []


def test_a_repository_that_only_newer_versions_may_write_is_read_without(clock, place, repository) -> None:
    needs = repository.description.needs.model_copy(update={"write": ("tomorrow",)})
    description = repository.description.model_copy(update={"needs": needs})
    with held(Repository(place, description, repository.keys), TERMS, clock) as lease:
        assert "tomorrow" in (lease.without or "")
        lease.check()
    assert names(place) == []


def test_an_error_in_the_block_lets_go(clock: SetClock, place: MemoryStore, on) -> None:
    with pytest.raises(ValueError, match="mine"), held(on(place), TERMS, clock):
        assert len(lease_objects(place)) == 1
        raise ValueError("mine")
    assert names(place) == []
