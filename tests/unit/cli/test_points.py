"""How the command line names the point to restore to."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from cli.points import recovery_target
from fleet.errors import GtidSetMalformed, UsageError
from fleet.gtid import GtidSet
from fleet.transaction import Gtid
from restore.point import RecoveryTarget

UUID = "3e11fa47-71ca-11e1-9e33-c80aa9429562"


def test_no_option_is_no_point() -> None:
    assert recovery_target() is None


def test_each_option_names_its_point() -> None:
    at = datetime(2026, 3, 1, 1, 15, 0, 250_000, tzinfo=UTC)
    assert recovery_target(to="2026-03-01T02:15:00.25+01:00") == RecoveryTarget.at_time(at)
    assert recovery_target(before_gtid=f"{UUID}:7") == RecoveryTarget.before(Gtid(UUID, "", 7))
    assert recovery_target(to_gtids=f"{UUID}:1-7") == RecoveryTarget.exactly(GtidSet.parse(f"{UUID}:1-7"))
    assert recovery_target(latest=True) == RecoveryTarget.latest()


def test_several_transactions_can_be_left_out() -> None:
    target = recovery_target(latest=True, skip_gtid=[f"{UUID}:7", f"{UUID}:tag:9"])
    assert target == RecoveryTarget.latest(skip=GtidSet.parse(f"{UUID}:7:tag:9"))


def test_two_points_are_refused_by_their_names() -> None:
    with pytest.raises(UsageError, match="--to and --latest name different points"):
        recovery_target(to="2026-03-01T02:15:00Z", latest=True)
    with pytest.raises(UsageError, match="--before-gtid and --to-gtids name different points"):
        recovery_target(before_gtid=f"{UUID}:7", to_gtids=f"{UUID}:1-7")


def test_a_naive_time_is_refused_with_both_ways_out() -> None:
    with pytest.raises(UsageError, match="does not say in which time zone") as caught:
        recovery_target(to="2026-03-01 02:15:00")
    assert "2026-03-01T02:15:00Z" in (caught.value.hint or "")


def test_a_set_is_no_transaction_to_stop_before() -> None:
    with pytest.raises(GtidSetMalformed, match="names 3 transactions"):
        recovery_target(before_gtid=f"{UUID}:7-9")


def test_leaving_out_needs_a_point_to_go_to() -> None:
    with pytest.raises(UsageError, match="no point is given") as caught:
        recovery_target(skip_gtid=[f"{UUID}:7"])
    assert "--latest" in (caught.value.hint or "")
