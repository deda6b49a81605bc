"""When backups of a shard are due: staggered, in its own time zone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fleet.cron import check_cron, firings, shifted
from fleet.model import Fleet
from fleet.schedule import cron_of, due_times, last_due, next_due, stagger_minutes_of

_NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def _fleet(count: int = 3, /, shard: dict[str, Any] | None = None, **schedule: Any) -> Fleet:
    return Fleet.model_validate(
        {
            "name": "shop",
            "regions": ["eu"],
            "shards": [
                {
                    "name": f"s{number}",
                    "servers": [{"name": f"s{number}-a", "host": f"db{number}", "region": "eu"}],
                    **({"schedule": shard} if shard else {}),
                }
                for number in range(count)
            ],
            "accounts": {"backup": {"user": "b", "password": {"env": "P"}}},
            "repository": {"url": "file:///r"},
            "keys": [{"id": "k", "provider": "file", "file": "/k"}],
            "schedule": schedule,
        }
    )


@pytest.mark.parametrize(
    ("line", "minutes", "later"),
    [
        ("0 2 * * *", 0, "0 2 * * *"),
        ("0 2 * * *", 20, "20 2 * * *"),
        ("45 23 * * *", 30, "15 0 * * *"),
        ("0 */6 * * *", 61, "1 1,7,13,19 * * *"),
        ("0,30 * * * *", 45, "15,45 * * * *"),
        ("0 2 1 * *", 90, "30 3 1 * *"),
        ("30 2 * * sun", 29, "59 2 * * sun"),
        ("0,45 2 * * *", 30, None),
        ("45 23 * * sun", 30, None),
        ("45 23 1 * *", 30, None),
    ],
)
def test_a_line_is_shifted_where_one_line_can_say_it(line: str, minutes: int, later: str | None) -> None:
    assert shifted(line, minutes) == later


@pytest.mark.parametrize("line", ["0 2 * * *", "*/7 1-5 * * *", "0 */6 * * *", "5 23 * jan *", "* * * * *"])
@pytest.mark.parametrize("minutes", [1, 13, 59, 60, 137, 720])
def test_a_shifted_line_fires_so_much_later(line: str, minutes: int) -> None:
    later = shifted(line, minutes)
    if later is None:
        return
    check_cron(later)
    begin, end = datetime(2026, 1, 5, tzinfo=UTC), datetime(2026, 1, 12, tzinfo=UTC)
    by = timedelta(minutes=minutes)
    assert list(firings(later, UTC, begin, end)) == [
        at + by for at in firings(line, UTC, begin - by, end - by)
    ]


def test_shards_begin_evenly_over_the_minutes_of_the_stagger() -> None:
    fleet = _fleet(3, stagger_minutes=30)
    assert [stagger_minutes_of(fleet, shard) for shard in fleet.shards] == [0, 10, 20]
    assert [cron_of(fleet, shard, "full") for shard in fleet.shards] == [
        "0 2 * * *",
        "10 2 * * *",
        "20 2 * * *",
    ]


def test_a_shift_that_no_line_can_say_is_the_largest_that_one_can() -> None:
    fleet = _fleet(2, full_cron="45 23 * * sun", stagger_minutes=60)
    assert cron_of(fleet, fleet.shards[1], "full") == "59 23 * * sun"


def test_a_shard_is_due_by_its_own_clock() -> None:
    fleet = _fleet(2, stagger_minutes=30, shard={"timezone": "Europe/Berlin", "full_cron": "0 4 * * *"})
    due = due_times(fleet, fleet.shards[1], "full", _NOW, _NOW + timedelta(days=2))
    assert list(due) == [datetime(2026, 3, day, 3, 15, tzinfo=UTC) for day in (2, 3)]


def test_the_next_one_is_after_now_and_the_last_one_at_now_or_before() -> None:
    fleet = _fleet(1)
    (shard,) = fleet.shards
    assert next_due(fleet, shard, "incremental", _NOW) == _NOW + timedelta(hours=6)
    assert last_due(fleet, shard, "incremental", _NOW) == _NOW
    assert last_due(fleet, shard, "full", _NOW) == _NOW - timedelta(hours=10)


def test_a_line_that_seldom_fires_is_found_too() -> None:
    fleet = _fleet(1, full_cron="0 0 29 2 *")
    assert next_due(fleet, fleet.shards[0], "full", _NOW) == datetime(2028, 2, 29, tzinfo=UTC)
    assert last_due(fleet, fleet.shards[0], "full", _NOW) is None
