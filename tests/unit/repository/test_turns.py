"""Turns: one at a time has one, whoever dies, stands still or has a wrong clock."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from sealed_backups import DyingStore, ToldStore, names

from fleet.errors import Cancelled, StoreDenied, StoreUnreachable, ToolError, TurnTaken
from fleet.process import is_gone, this_process
from repository import layout
from repository.held_turn import HeldTurn
from repository.repository import Repository
from repository.stores.interface import Properties
from repository.stores.memory import MemoryStore
from repository.stores.opening import LOCKED
from repository.turns import Turns, TurnTerms, one_turn_of, turn

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
TERMS = TurnTerms("shard", "s1")
PLACES = [TurnTerms("region", f"us-east.{number}") for number in range(2)]


class SetClock:
    """It goes when it is told to; the time of day may be wrong."""

    def __init__(self, off_seconds: float = 0.0) -> None:
        self.passed = 0.0
        self._off = off_seconds

    def now(self) -> datetime:
        return NOON + timedelta(seconds=self.passed + self._off)

    def monotonic(self) -> float:
        return self.passed

    def sleep(self, seconds: float) -> None:
        self.passed += max(seconds, 0.0)


class OtherClock(SetClock):
    """The same time as ``clock``'s, by a machine whose time of day is wrong."""

    def __init__(self, clock: SetClock, off_seconds: float) -> None:
        super().__init__(off_seconds)
        self._clock = clock

    @property
    def passed(self) -> float:  # type: ignore[override]
        return self._clock.passed

    @passed.setter
    def passed(self, passed: float) -> None:
        if hasattr(self, "_clock"):
            self._clock.passed = passed


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
    said = {"format": 1, "token": "00112233aabbccdd", "told_by": "elsewhere:7", "ttl_seconds": 120}
    return json.dumps(said | changes).encode()


def turns_of(store: MemoryStore) -> list[str]:
    return names(store, "turns/")


def number(value: int, terms: TurnTerms = TERMS) -> str:
    return layout.turn(terms.scope, terms.name, value)


# What it looks like


def test_a_turn_is_one_object_at_a_time_and_its_end_stays_written(clock, place, on) -> None:
    held = HeldTurn(on(place), TERMS, clock)
    assert held.take() is None
    for count in range(3):
        assert turns_of(place) == [number(count)]
        (seen,) = Turns(on(place)).in_force(clock.now())
        assert (seen.terms, seen.token, seen.since) == (TERMS, held.token, NOON)
        assert seen.told_by.endswith(f":{os.getpid()}")
        assert held.put_at == clock.now()
        held.check()
        clock.sleep(held.pause_seconds)
        assert held.renew()
    held.release()
    assert turns_of(place) == [number(4)]
    assert Turns(on(place)).in_force(clock.now()) == ()
    again = HeldTurn(on(place), TERMS, clock)
    assert again.take() is None
    assert turns_of(place) == [number(5)]


def test_names_are_those_of_the_format_and_nobody_locks_them() -> None:
    assert number(7) == "turns/shard/s1/00000007"
    assert layout.parse_turn(number(7)) == ("shard", "s1", 7)
    assert layout.parse_turn("turns/shard/s1/7") is None
    longest = f"{'r' * 63}.{10**6 - 1}"
    assert layout.parse_turn(layout.turn("region", longest, 0)) == ("region", longest, 0)
    assert not LOCKED.fullmatch(number(7))


# Who has it


def test_while_somebody_has_it_nobody_else_gets_it_and_is_told_who(clock, place, on) -> None:
    with turn(on(place), TERMS, clock) as held:
        with (
            pytest.raises(TurnTaken, match=r"shard s1 is taken by .*:\d+ since 2026-03-01 12:00:00") as error,
            turn(on(place), TERMS, clock),
        ):
            pytest.fail("two at once")
        assert error.value.retryable
        assert "2 min 01 s" in (error.value.hint or "")
        held.check()
        with turn(on(place), TurnTerms("shard", "s2"), clock), turn(on(place), PLACES[0], clock):
            pass
    with turn(on(place), TERMS, clock) as held:
        held.check()


def test_a_turn_that_nobody_renews_is_free_by_the_stores_clock_whatever_ours_says(clock, place, on) -> None:
    place.put(number(3), document())
    for off in (-3600, 0, 3600):
        ours = OtherClock(clock, off)
        clock.passed = 118.0
        taken = HeldTurn(on(place), TERMS, ours).take()
        assert taken is not None
        assert taken.told_by == "elsewhere:7"
    clock.passed = 121.0
    assert HeldTurn(on(place), TERMS, OtherClock(clock, -3600)).take() is None
    assert turns_of(place) == [number(4)]


@pytest.mark.parametrize("content", [b"", b"[]", document(format=2), document(token="?"), b" " * 70_000])
def test_what_cannot_be_read_is_in_force_for_a_quarter_of_an_hour(clock, place, on, content: bytes) -> None:
    place.put(number(0), content)
    clock.passed = 898.0
    assert len(Turns(on(place)).in_force(clock.now())) == 1
    assert HeldTurn(on(place), TERMS, clock).take() is not None
    clock.passed = 901.0
    assert Turns(on(place)).in_force(clock.now()) == ()
    assert HeldTurn(on(place), TERMS, clock).take() is None


def test_nobody_has_a_turn_for_longer_than_that_without_renewing(clock, place, on) -> None:
    place.put(number(0), document(ttl_seconds=10**6))
    clock.passed = 902.0
    assert HeldTurn(on(place), TERMS, clock).take() is None


def test_who_died_on_this_machine_has_no_turn_any_more(clock, place, on) -> None:
    code = "from fleet.process import this_process; print(this_process())"
    dead = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    place.put(number(0), document(process=dead.strip()))
    assert Turns(on(place)).in_force(clock.now()) == ()
    assert HeldTurn(on(place), TERMS, clock).take() is None


def test_who_is_elsewhere_may_live() -> None:
    mine = this_process()
    assert mine is not None
    boot, space, pid, start = mine.split("/")
    assert not is_gone(mine)
    assert is_gone(f"{boot}/{space}/{pid}/{int(start) + 1}")
    assert not is_gone(f"{boot}x/{space}/{pid}/{int(start) + 1}")
    assert not is_gone(f"{boot}/{space}0/{pid}/{int(start) + 1}")
    for nonsense in (None, "", "a/b/c/d", f"{boot}/{space}/-1/{start}", f"{boot}/{space}/{'9' * 30}/1"):
        assert not is_gone(nonsense)


def test_a_process_that_only_its_parent_knows_of_is_gone() -> None:
    code = "from fleet.process import this_process; print(this_process(), flush=True)"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        mark = child.stdout.readline().strip()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert is_gone(mark)


# Who loses it


def test_who_stood_still_for_too_long_has_lost_it_to_who_took_it(clock, place, on) -> None:
    slow = HeldTurn(on(place), TERMS, clock)
    slow.take()
    clock.sleep(130)
    fast = HeldTurn(on(place), TERMS, clock)
    assert fast.take() is None
    with pytest.raises(TurnTaken, match="turn of shard s1 was lost: by ") as caught:
        slow.check()
    assert caught.value.retryable
    assert slow.lost.is_set()
    assert not slow.renew()
    slow.release()
    fast.check()
    (seen,) = Turns(on(place)).in_force(clock.now())
    assert seen.token == fast.token


@pytest.mark.parametrize("act", ["check", "renew", "release"])
def test_that_others_had_it_meanwhile_is_found_though_their_numbers_are_gone(
    clock, place, on, act: str
) -> None:
    slow = HeldTurn(on(place), TERMS, clock)
    slow.take()
    clock.sleep(130)
    for _ in range(2):
        between = HeldTurn(on(place), TERMS, clock)
        assert between.take() is None
        between.release()
    before = turns_of(place)
    if act == "check":
        with pytest.raises(TurnTaken):
            slow.check()
    elif act == "renew":
        assert not slow.renew()
    else:
        slow.release()
    assert slow.lost.is_set()
    assert turns_of(place)[-1] == before[-1]
    assert HeldTurn(on(place), TERMS, clock).take() is None


def test_who_stood_still_while_nobody_else_wanted_it_has_it_still(clock, place, on) -> None:
    held = HeldTurn(on(place), TERMS, clock)
    held.take()
    clock.sleep(1000)
    held.check()
    assert len(Turns(on(place)).in_force(clock.now())) == 1
    assert HeldTurn(on(place), TERMS, clock).take() is not None


class Failing(ToldStore):
    """Fails with ``error`` while there is one, at ``operation``."""

    error: ToolError | None = None
    operation = "put"

    def before(self, operation: str, key: str) -> None:
        if operation == self.operation and key.startswith("turns/") and self.error:
            raise self.error


def test_a_store_that_is_away_for_a_while_costs_nothing(clock, place, on) -> None:
    store = Failing(place)
    held = HeldTurn(on(store), TERMS, clock)
    held.take()
    for operation in ("put", "list"):
        store.operation, store.error = operation, StoreUnreachable("it rains")
        clock.sleep(held.pause_seconds)
        assert held.renew()
        assert held.pause_seconds == 4
        store.error = None
        assert held.renew()
        assert held.pause_seconds == 40
    held.check()
    store.error = StoreUnreachable("it rains")
    with pytest.raises(StoreUnreachable):
        held.check()
    assert not held.lost.is_set()


def test_a_renewal_that_was_heard_though_it_failed_counts_from_then_on(clock, place, on) -> None:
    held = HeldTurn(on(DyingStore(place, 5, unheard=True, forever=False)), TERMS, clock)
    held.take()
    for _ in range(4):
        clock.sleep(10)
        assert held.renew()
    held.check()
    held.release()
    assert Turns(on(place)).in_force(clock.now()) == ()


@pytest.mark.parametrize("unheard", [False, True], ids=["refused", "unheard"])
def test_whatever_fails_once_a_turn_is_released_or_ends_by_itself(on, unheard: bool) -> None:
    for at in range(1, 40):
        clock = SetClock()
        place = MemoryStore(clock)
        place.put(number(0), document(released=True))
        dying = DyingStore(place, at, unheard=unheard, forever=False)
        held = HeldTurn(on(dying), TERMS, clock)
        try:
            assert held.take() is None
        except StoreUnreachable:
            # Who failed to get it has not got it: the next one need not wait.
            assert Turns(on(place)).in_force(clock.now()) == ()
            continue
        assert held.renew()
        assert len(Turns(on(place)).in_force(clock.now())) == 1
        held.release()
        clock.sleep(125)
        assert HeldTurn(on(place), TERMS, clock).take() is None
        if dying.operations < at:
            break
    else:
        pytest.fail("it never came to its end")


def test_two_at_once_is_never_whoever_stands_still_dies_or_is_slow(on) -> None:
    for seed in range(60):
        chance = random.Random(seed)
        clock = SetClock()
        place = MemoryStore(clock)
        sure: dict[str, tuple[HeldTurn, float]] = {}
        holders = [HeldTurn(on(place), TERMS, clock) for _ in range(3)]
        for _ in range(60):
            clock.sleep(chance.choice([0, 1, 40, 125]))
            at = chance.randrange(3)
            held = holders[at]
            if held.token not in sure:
                if held.take() is None:
                    sure[held.token] = held, clock.passed
                continue
            match chance.choice(["check", "renew", "release", "die"]):
                case "check":
                    try:
                        held.check()
                    except TurnTaken:
                        sure.pop(held.token)
                        holders[at] = HeldTurn(on(place), TERMS, clock)
                        continue
                    # Who was just told that it has the turn is the only one who would be told so now.
                    for other in holders:
                        if other is not held and other.token in sure:
                            with pytest.raises(TurnTaken):
                                other.check()
                case "renew":
                    held.renew()
                case "release":
                    held.release()
                    sure.pop(held.token)
                    holders[at] = HeldTurn(on(place), TERMS, clock)
                case _:
                    sure.pop(held.token)
                    holders[at] = HeldTurn(on(place), TERMS, clock)


@pytest.mark.parametrize("conditional", [True, False])
def test_of_two_who_try_in_the_same_moment_one_gets_it(clock, place, on, conditional: bool) -> None:
    got: list[HeldTurn] = []

    class Simultaneous(ToldStore):
        """The other's put comes between our look and our put, and is overwritten where that can be."""

        def before(self, operation: str, key: str) -> None:
            if operation == "put" and not got:
                other = HeldTurn(on(place), TERMS, clock)
                got.append(other)
                assert other.take() is None

        def put(self, key: str, data, *, if_absent: bool = True, sha256: bytes | None = None):
            return super().put(key, data, if_absent=if_absent and conditional, sha256=sha256)

    store = Simultaneous(place)
    store.properties = Properties(conditional_put=conditional, object_lock=False, versioned=False)
    mine = HeldTurn(on(store), TERMS, clock)
    is_mine = mine.take() is None
    assert is_mine is not conditional
    if is_mine:
        got[0]._store = store  # type: ignore[assignment]
        with pytest.raises(TurnTaken):
            got[0].check()
        mine.check()
    else:
        got[0].check()


# Who waits


def test_who_waits_is_told_for_whom_and_gets_it_when_it_is_free(clock, place, on) -> None:
    told: list[str] = []
    place.put(number(0), document())
    with turn(on(place), TERMS, clock, note=told.append, wait_seconds=600) as held:
        assert 118 <= clock.passed <= 127
        held.check()
    assert told == [
        "waiting up to 10 min 00 s for its turn: shard s1 is taken by elsewhere:7 since "
        "2026-03-01 12:00:00 UTC"
    ]


def test_who_waits_for_one_of_several_takes_the_first_that_is_free(clock, place, on) -> None:
    with (
        one_turn_of(on(place), PLACES, clock) as first,
        one_turn_of(on(place), PLACES, clock) as second,
    ):
        assert [first.terms, second.terms] == PLACES
        with (
            pytest.raises(TurnTaken, match=r"us-east\.0 is taken .* and region us-east\.1 is taken .* 30 s"),
            one_turn_of(on(place), PLACES, clock, wait_seconds=30),
        ):
            pytest.fail("three at once")
    with one_turn_of(on(place), PLACES, clock) as again:
        assert again.terms == PLACES[0]


def test_who_waits_for_one_that_goes_on_is_not_fooled_by_its_renewals(clock, place, on) -> None:
    count = 0

    class Renewed(SetClock):
        def sleep(self, seconds: float) -> None:
            nonlocal count
            super().sleep(seconds)
            if clock.passed < self.passed and self.passed // 40 > count:
                count += 1
                clock.passed = self.passed
                place.put(number(count), document())
            clock.passed = self.passed

    place.put(number(0), document())
    ours = Renewed()
    with pytest.raises(TurnTaken), turn(on(place), TERMS, ours, wait_seconds=500):
        pytest.fail("two at once")
    assert count == 12


def test_a_wait_can_be_cancelled(clock, place, on) -> None:
    cancelled = threading.Event()
    place.put(number(0), document())
    with (
        pytest.raises(Cancelled),
        turn(on(place), TERMS, clock, wait_seconds=600, cancelled=cancelled, note=lambda _: cancelled.set()),
    ):
        pytest.fail("cancelled")
    assert clock.passed < 1


# Who may not


@pytest.mark.parametrize("operation", ["put", "get", "list"])
def test_an_account_that_may_not_goes_on_without_and_is_told(clock, place, on, operation: str) -> None:
    place.put(number(0), document(released=True))
    store = Failing(place)
    store.operation, store.error = operation, StoreDenied("turns/ is not for this account")
    told: list[str] = []
    with turn(on(store), TERMS, clock, note=told.append) as held:
        held.check()
        assert held.without
    assert told == [
        "without a turn, so others may be at work on shard s1 too: turns/ is not for this account"
    ]


def test_who_may_not_delete_leaves_numbers_for_prune(clock, place, on) -> None:
    store = Failing(place)
    store.operation, store.error = "delete", StoreDenied("no")
    with turn(on(store), TERMS, clock) as held:
        assert held.renew()
        held.check()
    assert turns_of(place) == [number(count) for count in range(3)]
    for name in Turns(on(place)).left_over():
        place.delete(name)
    assert turns_of(place) == [number(2)]
    with turn(on(place), TERMS, clock):
        assert turns_of(place) == [number(3)]


def test_a_turn_whose_numbers_are_used_up_is_done_without(clock, place, on) -> None:
    place.put(number(layout.MAX_TURNS - 1), document(released=True))
    told: list[str] = []
    with turn(on(place), TERMS, clock, note=told.append):
        pass
    assert "used up" in told[0]


# While work goes on


def test_a_thread_renews_it_and_tells_and_an_error_in_the_block_releases_it(place, on) -> None:
    renewed = threading.Event()
    with (
        pytest.raises(ValueError, match="mine"),
        turn(on(place), TERMS, ttl_seconds=1, on_renewal=lambda _: renewed.set()) as held,
    ):
        assert renewed.wait(20)
        assert not held.lost.is_set()
        raise ValueError("mine")
    assert Turns(on(place)).in_force(NOON) == ()
    assert json.loads(place.get(turns_of(place)[-1]))["released"]
