"""How far apart the shards of a fleet stand after a restore to one moment."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

from fleet.moments import from_microseconds
from restore.fleet_restore import skew_seconds
from restore.point import Point, RecoveryTarget
from restore.point_plan import PointPlan
from tests.unit.restore.made_lines import SECOND, T0, gtids, transaction

AT = RecoveryTarget.at_time(from_microseconds(T0 + 10 * SECOND))


def plan(last: float | None, stop: float | None = None) -> PointPlan:
    before = (transaction("a:1", last),) if last is not None else ()
    point = Point(gtids("a:1"), transaction("a:2", stop) if stop is not None else None, before, ())
    return cast(PointPlan, SimpleNamespace(point=point))


def test_shards_whose_archives_go_beyond_the_time_all_stand_at_it() -> None:
    assert skew_seconds(AT, [plan(9, 11), plan(2, 30), plan(None, 11)]) == 0


def test_a_shard_whose_archive_ends_before_the_time_is_behind_by_that_much() -> None:
    assert skew_seconds(AT, [plan(9, 11), plan(7.5), plan(9)]) == 2.5


def test_a_shard_without_any_transaction_cannot_tell() -> None:
    assert skew_seconds(AT, [plan(9, 11), plan(None)]) is None
    assert skew_seconds(RecoveryTarget.latest(), [plan(9), plan(None)]) is None


def test_the_ends_of_the_archives_lie_apart_by_the_last_transactions() -> None:
    assert skew_seconds(RecoveryTarget.latest(), [plan(9), plan(4), plan(8)]) == 5
