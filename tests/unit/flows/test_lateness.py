"""What is still wanted of what was due while nobody could start it."""

from __future__ import annotations

from datetime import UTC, datetime

from flows.lateness import not_wanted_because
from tests.unit.flows.scheduled_fleets import described

FLEET = described(
    schedule={"full_cron": "0 2 * * *", "incremental_cron": "0 */6 * * *", "stagger_minutes": 0}
)
A = FLEET.shard("a")


def at(day: int, hour: int, minute: int = 0) -> datetime:
    return datetime(2026, 3, day, hour, minute, tzinfo=UTC)


def test_a_full_that_is_late_is_taken_where_none_began_since_it_was_due() -> None:
    labels = ["20260301T020000Z-full", "20260302T060000Z-incremental"]
    assert not_wanted_because(FLEET, A, "full", at(2, 2), now=at(3, 9), labels=labels) is None


def test_of_two_fulls_that_are_late_only_one_is_taken() -> None:
    labels = ["20260303T090000Z-full"]
    why = not_wanted_because(FLEET, A, "full", at(3, 2), now=at(3, 9, 30), labels=labels)
    assert why == "20260303T090000Z-full was taken since it was due, at 2026-03-03 02:00:00 UTC"


def test_a_full_that_began_in_the_second_in_which_it_was_due_is_the_one() -> None:
    assert not_wanted_because(FLEET, A, "full", at(3, 2), now=at(3, 3), labels=["20260303T020000Z-full"])


def test_a_full_that_may_have_begun_before_somebody_asked_for_one_does_not_stand_in_for_it() -> None:
    """What was changed in between would be in no backup, and the run would say that all is well."""
    asked, labels = at(3, 2).replace(microsecond=900_000), ["20260303T020000Z-full"]
    assert not_wanted_because(FLEET, A, "full", asked, now=asked, labels=labels) is None
    assert not_wanted_because(FLEET, A, "incremental", asked, now=asked, labels=labels) is None


def test_an_incremental_that_is_late_is_left_out_where_a_later_one_is_due_too() -> None:
    why = not_wanted_because(FLEET, A, "incremental", at(3, 0), now=at(3, 6, 1), labels=[])
    assert why == "it was due at 2026-03-03 00:00:00 UTC, and another one at 2026-03-03 06:00:00 UTC"
    assert not_wanted_because(FLEET, A, "incremental", at(3, 6), now=at(3, 11), labels=[]) is None


def test_an_incremental_is_left_out_where_anything_was_taken_since() -> None:
    for label in ("20260303T063000Z-full", "20260303T063000Z-incremental"):
        assert not_wanted_because(FLEET, A, "incremental", at(3, 6), now=at(3, 7), labels=[label])


def test_of_many_that_waited_for_a_long_full_the_newest_incremental_is_taken_in_whatever_order() -> None:
    labels = ["20260302T020000Z-full"]
    waited = [at(2, 6), at(2, 12), at(2, 18), at(3, 0)]
    told = [not_wanted_because(FLEET, A, "incremental", due, now=at(3, 1), labels=labels) for due in waited]
    assert [why is None for why in told] == [False, False, False, True]
    # The full that is due an hour later finds none of that day.
    assert not_wanted_because(FLEET, A, "full", at(3, 2), now=at(3, 3), labels=labels) is None


def test_of_a_full_and_an_incremental_due_together_the_full_is_taken_whichever_comes_first() -> None:
    due = at(3, 6)
    for kind in ("full", "incremental"):
        assert not_wanted_because(FLEET, A, kind, due, now=due, labels=[]) is None
    assert (
        not_wanted_because(FLEET, A, "full", due, now=at(3, 7), labels=["20260303T060001Z-incremental"])
        is None
    )
    assert not_wanted_because(FLEET, A, "incremental", due, now=at(3, 7), labels=["20260303T060001Z-full"])


def test_an_incremental_does_not_stand_in_for_a_full() -> None:
    labels = ["20260303T063000Z-incremental"]
    assert not_wanted_because(FLEET, A, "full", at(3, 2), now=at(3, 7), labels=labels) is None
