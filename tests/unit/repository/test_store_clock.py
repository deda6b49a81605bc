"""What time it is by the store's own clock, and how far off this machine's is."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sealed_backups import ToldStore, names

from fleet.errors import ObjectLocked, RetentionRefused, StoreDenied
from repository.store_clock import StoreTime, ask_store_time, check_clock
from repository.stores.filesystem import FilesystemStore
from repository.stores.interface import ObjectInfo
from repository.stores.memory import MemoryStore

NOON = datetime(2026, 3, 1, 12, 0, 0, 250_000, tzinfo=UTC)


class SetClock:
    """It goes when it is told to, ``off_seconds`` from the true time that it shares with ``of``."""

    def __init__(self, off_seconds: float = 0.0, of: SetClock | None = None) -> None:
        self._of = of
        self._off = timedelta(seconds=off_seconds)
        self.passed = 0.0

    def now(self) -> datetime:
        return NOON + timedelta(seconds=self.monotonic()) + self._off

    def monotonic(self) -> float:
        return self._of.passed if self._of is not None else self.passed

    def sleep(self, seconds: float) -> None:
        self.passed += seconds


class Place(ToldStore):
    """A store with a clock of its own, that takes its time; ``whole``: it tells times in whole seconds."""

    def __init__(
        self, clock: SetClock, off_seconds: float, *, delays: tuple[float, ...] = (), whole: bool = False
    ) -> None:
        self.clock = SetClock(off_seconds, of=clock)
        super().__init__(MemoryStore(self.clock))
        self._here = clock
        self._delays = list(delays)
        self._whole = whole

    def before(self, operation: str, key: str) -> None:
        if operation == "put" and self._delays:
            self._here.sleep(self._delays.pop(0))

    def after(self, operation: str, key: str) -> None:
        if operation == "put" and self._delays:
            self._here.sleep(self._delays.pop(0))

    def stat(self, key: str) -> ObjectInfo:
        found = super().stat(key)
        return found._replace(modified_at=found.modified_at.replace(microsecond=0)) if self._whole else found


def test_it_is_the_time_of_an_object_that_is_gone_again() -> None:
    clock = SetClock()
    place = Place(clock, 7.0)
    told = ask_store_time(place, clock)
    assert told.now == NOON + timedelta(seconds=7)
    assert (told.ahead_seconds, told.give_or_take_seconds) == (7.0, 0.0)
    check_clock(told)
    assert names(place.inner) == []


@given(
    st.floats(-4000, 4000),
    st.lists(st.floats(0, 400), max_size=6),
    st.booleans(),
)
def test_the_true_difference_is_within_what_is_told(off: float, delays: list[float], whole: bool) -> None:
    clock = SetClock()
    place = Place(clock, off, delays=tuple(delays), whole=whole)
    told = ask_store_time(place, clock)
    assert abs(told.ahead_seconds - off) <= told.give_or_take_seconds + 1e-4
    assert told.now <= place.clock.now()
    if abs(off) > 300.001:
        with pytest.raises(RetentionRefused):
            check_clock(told)
    elif abs(off) < 280 and not delays:
        check_clock(told)


@pytest.mark.parametrize(
    ("off", "said"),
    [(432.0, "7 min 12 s ahead of this machine's"), (-3725.0, "1 h 02 min behind this machine's")],
)
def test_a_clock_that_is_off_is_told_with_the_side_and_the_way_out(off: float, said: str) -> None:
    clock = SetClock()
    with pytest.raises(RetentionRefused, match=said) as caught:
        check_clock(ask_store_time(Place(clock, off), clock))
    assert "memory:" in caught.value.message
    assert "NTP" in (caught.value.hint or "")


def test_a_slow_answer_is_asked_for_again_and_the_closest_counts() -> None:
    clock = SetClock()
    told = ask_store_time(Place(clock, 2.0, delays=(100.0, 30.0, 1.0, 1.0)), clock)
    assert told.give_or_take_seconds == 1.0
    assert told.now == NOON + timedelta(seconds=2 + 100 + 30 + 1)


def test_a_store_that_stays_slow_tells_nothing_that_could_be_relied_on() -> None:
    clock = SetClock()
    told = ask_store_time(Place(clock, 0.0, delays=(700.0,) * 6), clock)
    with pytest.raises(RetentionRefused, match="so slowly") as caught:
        check_clock(told)
    assert "Try again" in (caught.value.hint or "")


@pytest.mark.parametrize("error", [StoreDenied, ObjectLocked])
def test_who_may_not_delete_leaves_the_trial_where_it_is(error: type[StoreDenied]) -> None:
    class Undeletable(Place):
        def before(self, operation: str, key: str) -> None:
            if operation == "delete":
                raise error(f"{key} stays")

    clock = SetClock()
    place = Undeletable(clock, 1.0)
    assert ask_store_time(place, clock).ahead_seconds == 1.0
    (left,) = names(place.inner)
    assert left.startswith("trials/")


def test_a_folder_tells_the_time_of_who_keeps_the_files(tmp_path) -> None:
    store = FilesystemStore(tmp_path / "place")
    told = ask_store_time(store)
    check_clock(told)
    assert abs(told.ahead_seconds) <= told.give_or_take_seconds + 0.1
    assert list(store.list("")) == []


def test_five_minutes_are_still_fine() -> None:
    check_clock(StoreTime(NOON, -300.0, 0.0, "memory:"))
    with pytest.raises(RetentionRefused):
        check_clock(StoreTime(NOON, -299.9, 0.2, "memory:"))
