"""Clocks that disagree: whose is wrong, how bad that is, and that a lag is not reckoned by two of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Never

import pytest

from drills.status.clocks import AGAIN_SECONDS, StoreClock, judge_clocks
from drills.status.report import Health, Judged
from fleet.errors import StoreDenied
from fleet.skew import Skew
from repository.stores.memory import MemoryStore
from tests.conftest import ManualClock

NOW = datetime(2026, 3, 31, 9, 41, tzinfo=UTC)


def skew(seconds: float, give_or_take: float = 0.1) -> Skew:
    return Skew(seconds, give_or_take)


def judged(store: Skew | None = None, *, is_remote: bool = True, **servers: Skew) -> list[Judged]:
    return list(judge_clocks(servers, store, is_remote=is_remote))


def told(found: list[Judged]) -> list[tuple[str, Health]]:
    return [(each.subject, each.health) for each in found]


def test_an_answer_tells_a_clock_to_half_of_what_it_took() -> None:
    seen = Skew.of(NOW + timedelta(seconds=70), answered_at=NOW, took_seconds=4)
    assert seen == Skew(72.0, 2.0)
    assert seen.least_seconds == 70


def test_what_another_clock_has_dated_is_as_old_as_that_clock_says() -> None:
    theirs = Skew(90.0, 0.5)
    assert theirs.age_seconds(NOW + timedelta(seconds=80), NOW) == 10
    assert Skew(-90.0, 0.5).age_seconds(NOW - timedelta(seconds=100), NOW) == 10
    assert theirs.age_seconds(NOW + timedelta(seconds=91), NOW) == 0


def test_clocks_that_agree_are_no_finding() -> None:
    assert judged(skew(-0.4, 0.6), a=skew(0.1), b=skew(-4.9)) == []


@pytest.mark.parametrize(
    ("seconds", "health"), [(5.2, Health.WARNING), (-59.0, Health.WARNING), (-61.0, Health.CRITICAL)]
)
def test_a_server_whose_clock_is_off_is_named(seconds: float, health: Health) -> None:
    found = judged(skew(0.2), a=skew(0.1), b=skew(seconds))
    assert told(found) == [("server b", health)]
    assert ("ahead of" if seconds > 0 else "behind") in found[0].message
    assert found[0].hint is not None
    assert "chronyc" in found[0].hint


def test_what_a_slow_answer_may_explain_is_no_finding() -> None:
    assert judged(a=skew(20.0, 16.0)) == []
    assert told(judged(a=skew(20.0, 14.0))) == [("server a", Health.WARNING)]


def test_a_store_whose_clock_is_off_is_named() -> None:
    assert told(judged(skew(-90.0), a=skew(0.0))) == [("store", Health.CRITICAL)]


def test_where_all_others_agree_it_is_this_machine() -> None:
    found = judged(skew(72.0), a=skew(71.0), b=skew(71.5))
    assert told(found) == [("this machine", Health.CRITICAL)]
    assert found[0].message.startswith("its clock is 1 min 11 s behind those of 2 servers and the store")


def test_one_alone_may_be_wrong_itself() -> None:
    assert told(judged(a=skew(72.0))) == [("server a", Health.CRITICAL)]
    assert told(judged(skew(0.0), a=skew(72.0), b=skew(72.0))) == [
        ("server a", Health.CRITICAL),
        ("server b", Health.CRITICAL),
    ]


def test_others_that_do_not_agree_with_each_other_are_named_each() -> None:
    assert told(judged(a=skew(72.0), b=skew(-72.0))) == [
        ("server a", Health.CRITICAL),
        ("server b", Health.CRITICAL),
    ]


def test_a_folder_has_the_clock_of_this_machine_and_bears_no_witness() -> None:
    assert told(judged(skew(0.0), is_remote=False, a=skew(9.0), b=skew(9.0))) == [
        ("this machine", Health.WARNING)
    ]


def test_a_store_that_agreed_is_not_asked_again_for_an_hour_and_one_that_did_not_is() -> None:
    theirs, ours, asked = ManualClock(), ManualClock(), StoreClock()
    store = MemoryStore(theirs)
    first = asked.ask(store, ours)
    assert first == Skew(0.5, 0.5)
    ours.advance(AGAIN_SECONDS - 1)
    assert asked.ask(store, ours) == first
    ours.advance(1)
    assert asked.ask(store, ours) == Skew(0.5 - AGAIN_SECONDS, 0.5)
    ours.advance(60)
    assert asked.ask(store, ours) == Skew(0.5 - AGAIN_SECONDS - 60, 0.5)
    assert not list(store.list(""))


def test_who_may_put_nothing_looks_all_the_same() -> None:
    class ReadOnly(MemoryStore):
        def put(self, *_: object, **__: object) -> Never:
            raise StoreDenied("may not put")

    assert StoreClock().ask(ReadOnly(), ManualClock()) is None
